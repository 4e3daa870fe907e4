"""The `asyncio` backend: HTTP/1.1 on aiohttp's connector and resolver.

`backend` performs an exchange, `response` reads one, `protocol` receives its bytes, `connection` makes
connections and judges addresses, `errors` translates aiohttp's, and `internals` is all that relies on more of
aiohttp than it documents. aiohttp's session is left out:
what it does for an exchange (cookies, redirects, repeats, timers, decoding) is the engine's, and costs as
much as all the rest. So is its parser: it forgives and refuses otherwise than the other backends do, and
loses a whole answer to a byte that follows it.
"""

from fetcher.backends.aiohttp.backend import AiohttpBackend

__all__ = ["AiohttpBackend"]
