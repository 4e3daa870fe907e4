"""A concurrent URL fetcher: a command line, a library and a scheduled job."""

__version__ = "0.1.0"
