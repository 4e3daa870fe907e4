"""The `curl` backend: HTTP/1.1, HTTP/2 and HTTP/3 on libcurl's multi interface, through pycurl.

`backend` performs an exchange, `transfer` is one easy handle and its callbacks, `multi` drives libcurl
from the event loop, `errors` translates libcurl's codes. Redirects, cookies, decoding,
credentials and the environment's proxies are the engine's, and are off in libcurl.
"""

from fetcher.errors import ConfigError

try:
    from fetcher.backends.curl.backend import CurlBackend
except ModuleNotFoundError as cause:
    if cause.name != "pycurl":
        raise
    raise ConfigError("the curl backend needs pycurl", hint="install fetcher[curl]") from cause

__all__ = ["CurlBackend"]
