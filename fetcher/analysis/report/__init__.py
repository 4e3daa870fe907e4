"""Reports of run directories: figures counted in one pass, and the page that shows them."""
