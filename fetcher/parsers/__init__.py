"""Reading of pages: built-in links, and the user's parser, inline, in threads or in worker processes."""
