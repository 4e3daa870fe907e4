"""Facts and limits of HTTP that backends and engine share.

Each stands here once, with its reason or its section. libcurl's own limits on a header are compiled in
(300 KiB in all, 100 KiB for a line); ours are inside them, so that every backend accepts the same answers.
"""

from __future__ import annotations

from typing import Final

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})  # RFC 9110 §9.2.2
BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})  # sent with a length, even of nothing

BODILESS: Final = frozenset({204, 304})  # the header ends the answer (RFC 9112 §6.3)
NO_CONTENT: Final = frozenset({204, 205, 304})  # nothing to store (RFC 9110 §15.3.5, §15.3.6, §15.4.5)
DEFAULT_PORTS: Final = {"http": 80, "https": 443}  # RFC 9110 §4.2
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})  # RFC 9110 §15.4

HEAD_BYTES: Final = 300 * 1024  # of all that arrives before a final header is complete, interim ones too
FIELD_BYTES: Final = 100_000  # of one line of a header; Content-Security-Policy can be long
MOST_FIELDS: Final = 512  # in a header or a trailer
TRAILER_LINE_BYTES: Final = 4000  # libcurl takes 4096
MOST_INTERIM: Final = 32  # 1xx answers before the final one

SMALL_REST: Final = 64 * 1024  # an unwanted body that is cheaper to read than a new connection
REST_TIME_S: Final = 1.0  # and for how long


def authority(name: str, port: int) -> str:
    """Join a host's name, or an address without brackets, and a port, as a URL has them (RFC 3986 §3.2)."""
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
