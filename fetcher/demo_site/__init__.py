"""Demo web site on the loopback: `pages` plans its resources, `site` serves them."""
