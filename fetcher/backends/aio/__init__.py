"""The `asyncio` backend: HTTP/1.1 on aiohttp's connector, parser and resolver.

`backend` performs an exchange, `answer` reads one, `connection` makes connections and judges addresses,
`failures` says what aiohttp's errors mean. aiohttp's session is left out: what it does for an exchange
(cookies, redirects, repeats, timers, decoding) is the engine's, and costs as much as all the rest.
"""

from fetcher.backends.aio.backend import AioBackend

__all__ = ["AioBackend"]
