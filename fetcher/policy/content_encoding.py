"""Content-codings to be removed from a body (RFC 9110 §8.4).

A coding is how the server packed the answer, and goes. A coding that repeats the file's own type is
the file: `a.tar.gz` with `Content-Encoding: gzip` is kept as sent, or its name would be a lie. Unless the
file is inside: then it was packed once more on its way. That shows at its first bytes, except for br.
"""

from __future__ import annotations

import re

from fetcher.errors import BadEncoding
from fetcher.model import Headers

ACCEPT_ENCODING = "gzip, deflate, br, zstd"

MOST_CODINGS = 2  # a longer chain is an attack or a defect (CVE-2022-32206)

_KNOWN = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "br", "zstd": "zstd"}
# Packing by the names of the registry, and by those that are seen. What names none of them, such as UTF-8,
# binary or none, says nothing of the bytes: browsers ignore it. What names one and is not known is refused.
_names_packing = re.compile(
    r"(?<![a-z0-9])(?:gzip|gz|deflate|zlib|compress|br|brotli|zstd|zstandard|dcb|dcz|sdch|exi|aes128gcm|pack200"
    r"|bz|bz2|bzip|bzip2|lzma|lzma2|xz|lz4|lzip|lzop|snappy|zip|7z)(?![a-z0-9])"
).search
_MAGIC = frozenset({"gzip", "zstd"})  # the codings that can be told by their first bytes

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


def content_codings(response_headers: Headers, url_path: str) -> tuple[str, ...]:
    """Return the codings to remove, in the order to undo them: the last that was applied comes first.

    Each is `gzip`, `deflate`, `br` or `zstd`; `gzip?` and `zstd?` are to be removed only if what they hold
    begins as they do. `url_path` is the path of the URL, without a query.

    Raises:
        BadEncoding: a coding that can't be removed, or a chain of more than two.
    """
    if response_headers.find(b"content-encoding") is None:
        return ()
    applied = _applied(response_headers)
    if applied:
        own = _layers_of_file(applied[0], response_headers, url_path)
        if own == 1 and applied[0] in _MAGIC:
            applied[0] += "?"
        elif own:
            del applied[0]
    return tuple(reversed(applied))


def _layers_of_file(coding: str, response_headers: Headers, url_path: str) -> int:
    """Count `coding` in the file itself, by its name or its Content-Type: `a.tar.gz` has gzip once."""
    stem, dot, suffix = url_path[url_path.rfind("/") + 1 :].rpartition(".")
    if dot and _SUFFIXES.get(suffix.lower()) == coding:
        return 1 + (_SUFFIXES.get(stem.rpartition(".")[2].lower()) == coding)
    media_type = (response_headers.get("content-type") or "").partition(";")[0].strip().lower()
    return int(_TYPES.get(media_type) == coding)


def _applied(response_headers: Headers) -> list[str]:
    """Return the codings as listed, over all header lines: in the order in which they were applied."""
    applied: list[str] = []
    for listed in ",".join(response_headers.get_all("content-encoding")).split(","):
        name = listed.strip(" \t").lower()
        coding = _KNOWN.get(name)
        if coding is None:
            if _names_packing(name) is None:
                continue
            raise BadEncoding(f"unknown content-coding {name[:40]!r}")
        if len(applied) == MOST_CODINGS:
            raise BadEncoding(f"more than {MOST_CODINGS} content-codings in a row")
        applied.append(coding)
    return applied
