"""Pages in UTF-8, whatever they were in: one encoding for all that reads them."""

from __future__ import annotations

from fetcher.policy.charset import charset_of

_BOM = b"\xef\xbb\xbf"


def to_utf8(body: bytes, content_type: str | None) -> tuple[bytes, str]:
    """Return a text in UTF-8 without byte order mark, and the encoding in which its links' queries are sent.

    What was UTF-8 stays as it is, errors included. UTF-16 is never sent (WHATWG Encoding §4.3).
    """
    codec = charset_of(body, content_type)
    if codec == "utf-8":
        return body.removeprefix(_BOM), codec
    text = body.decode(codec, "replace").removeprefix("\ufeff")
    return text.encode(), "utf-8" if codec.startswith("utf-16") else codec
