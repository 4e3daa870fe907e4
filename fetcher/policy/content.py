"""Which content-codings are to be removed from a body (RFC 9110 §8.4).

A coding is how the server packed the answer, and goes. A coding that repeats the file's own type is
the file: `a.tar.gz` with `Content-Encoding: gzip` is kept as sent, or its name would be a lie.
"""

from __future__ import annotations

from fetcher.errors import BadEncoding
from fetcher.model import Headers

ACCEPT_ENCODING = "gzip, deflate, br, zstd"

MOST_CODINGS = 2  # a longer chain is an attack or a defect (CVE-2022-32206)

_KNOWN = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "br", "zstd": "zstd"}
_NONE = frozenset({"", "identity", "none"})  # "none" is not registered, but sent; curl takes it so too

_SUFFIXES = {
    "gz": "gzip",
    "tgz": "gzip",
    "taz": "gzip",
    "svgz": "gzip",
    "vgz": "gzip",
    "emz": "gzip",
    "wmz": "gzip",
    "br": "br",
    "zst": "zstd",
    "tzst": "zstd",
}
_TYPES = {
    "application/gzip": "gzip",
    "application/x-gzip": "gzip",
    "application/x-gunzip": "gzip",
    "application/gzipped": "gzip",
    "application/gzip-compressed": "gzip",
    "application/x-tgz": "gzip",
    "application/x-tar-gz": "gzip",
    "application/x-compressed-tar": "gzip",
    "image/svg+xml-compressed": "gzip",
    "application/x-brotli": "br",
    "application/zstd": "zstd",
    "application/x-zstd": "zstd",
}


def codings(response_headers: Headers, url_path: str) -> tuple[str, ...]:
    """The codings to remove, in the order to undo them: the last that was applied comes first.

    Each is `gzip`, `deflate`, `br` or `zstd`. `url_path` is the path of the URL, without a query.

    Raises:
        BadEncoding: a coding that nobody knows, or a chain of more than two.
    """
    if response_headers.find(b"content-encoding") is None:
        return ()
    applied = _applied(response_headers)
    if applied and repeats_type(applied[0], response_headers, url_path):
        applied = applied[1:]
    return tuple(reversed(applied))


def repeats_type(coding: str, response_headers: Headers, url_path: str) -> bool:
    """Whether `coding` is what the file itself is, by its name or its Content-Type."""
    _, dot, suffix = url_path[url_path.rfind("/") + 1 :].rpartition(".")
    if dot and _SUFFIXES.get(suffix.lower()) == coding:
        return True
    media_type = (response_headers.get("content-type") or "").partition(";")[0].strip().lower()
    return _TYPES.get(media_type) == coding


def _applied(response_headers: Headers) -> list[str]:
    """The codings as listed, over all header lines: in the order in which they were applied."""
    applied: list[str] = []
    for listed in ",".join(response_headers.get_all("content-encoding")).split(","):
        name = listed.strip(" \t").lower()
        if name in _NONE:
            continue
        coding = _KNOWN.get(name)
        if coding is None:
            raise BadEncoding(f"unknown content-coding {name[:40]!r}")
        if len(applied) == MOST_CODINGS:
            raise BadEncoding(f"more than {MOST_CODINGS} content-codings in a row")
        applied.append(coding)
    return applied
