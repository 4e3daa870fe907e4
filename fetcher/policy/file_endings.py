"""The ending of a file's name, completed from the Content-Type (wget's `-E`).

Invariant: a name is only ever added to, and one that fits its type already is left alone.
"""

from __future__ import annotations

import mimetypes
import posixpath
from functools import lru_cache
from typing import Final

_PAGES: Final = frozenset({"text/html", "application/xhtml+xml", "text/css"})
_VAGUE: Final = frozenset({"application/octet-stream", "binary/octet-stream", "text/plain"})
_USUAL: Final = {
    "application/gzip": ".gz",
    "application/javascript": ".js",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/rss+xml": ".rss",
    "application/atom+xml": ".atom",
    "application/xhtml+xml": ".xhtml",
    "application/xml": ".xml",
    "application/zip": ".zip",
    "audio/mpeg": ".mp3",
    "image/avif": ".avif",
    "image/jpeg": ".jpg",
    "image/svg+xml": ".svg",
    "image/webp": ".webp",
    "text/css": ".css",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/javascript": ".js",
    "text/plain": ".txt",
    "text/xml": ".xml",
}


def completed(name: str, content_type: str | None) -> str:
    """Return `name`, a file's, with the ending of its type where it lacks one.

    A page and a style sheet get theirs even behind another (`a.php.html`), anything else where there is none
    that is known. A type that says nothing adds nothing, and `text/plain` only where there is no dot.
    """
    media_type = (content_type or "").partition(";")[0].strip().lower()
    ending, fitting = _endings(media_type)
    own = posixpath.splitext(name)[1].lower()
    if not ending or own in fitting:
        return name
    if media_type in _PAGES or not own or (own not in _known() and media_type not in _VAGUE):
        return f"{name}{ending}"
    return name


@lru_cache(maxsize=256)
def _endings(media_type: str) -> tuple[str, frozenset[str]]:
    """Return the usual ending of a type, "" for none, and all that fit."""
    table = _table()
    fitting = table.guess_all_extensions(media_type, strict=False) if media_type else []
    if media_type in _PAGES and media_type != "text/css":
        fitting += [".html", ".htm", ".xhtml", ".xht"]
    usual = _USUAL.get(media_type) or (table.guess_extension(media_type, strict=False) if fitting else None)
    if usual is None or media_type.endswith("/octet-stream"):
        return "", frozenset()
    return usual, frozenset((usual, *fitting))


@lru_cache(maxsize=1)
def _table() -> mimetypes.MimeTypes:
    """Make the table that Python brings, whatever the system's files say."""
    return mimetypes.MimeTypes()


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    table = _table()
    packed = (*table.encodings_map, *table.suffix_map, ".zst", ".7z")
    return frozenset((*_USUAL.values(), *packed, *table.types_map[0], *table.types_map[1]))
