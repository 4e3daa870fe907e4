"""Links of pages: HTML, CSS, feeds, sitemaps and header fields."""
