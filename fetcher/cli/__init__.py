"""Layer 5: the command line, thin twins of the library's calls."""
