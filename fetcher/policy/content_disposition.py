"""The file name that a Content-Disposition field gives (RFC 6266), with the mistakes that browsers forgive.

Invariant: a name that comes out is one segment: no separator, no control character, no dot at its beginning.
What else a name on disk must be is the rule of `policy.filenames`, as for every other name.
"""

from __future__ import annotations

import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

_MOST: Final = 4096  # characters that are looked at
_PARAMETER = re.compile(r"""[;\s]*([^=;\s"]+)\s*(?:=\s*("(?:[^"\\]|\\.)*"?|[^;]*))?""", re.DOTALL).match
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_WINDOWS_PATH = re.compile(r"[A-Za-z]:\\|\\\\").match
_ENCODED_WORD = re.compile(r"=\?[A-Za-z0-9-]+\?[BbQq]\?[^?]*\?=")
_CHARSETS: Final = frozenset({"utf-8", "iso-8859-1"})  # RFC 8187 §3.2.1; the second as RFC 5987 had it


def filename_of(field: str) -> str | None:
    """Return the name in the value of the field (in Latin-1, as it came), or None if it gives none.

    `filename*` wins over `filename` where it can be decoded; of several the first counts. Any type is taken,
    and none. A path is cut to its last segment.
    """
    parameters = _parameters(field[:_MOST])
    extended = parameters.get("filename*")
    name = None if extended is None else _extended(extended)
    if name is None and (plain := parameters.get("filename")) is not None:
        name = _plain(plain)
    return None if name is None else _one_segment(name)


def _parameters(field: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while (match := _PARAMETER(field, at)) is not None:
        at = match.end()
        name, value = match[1].lower(), match[2]
        if value is not None:
            found.setdefault(name, value.strip())
    return found


def _extended(value: str) -> str | None:
    """Decode an `ext-value` of RFC 8187; quotes around it are forgiven."""
    charset, quote, rest = value.strip('"').partition("'")
    _, second, text = rest.partition("'")
    if not (quote and second and text) or charset.strip().lower() not in _CHARSETS:
        return None
    try:
        return unquote_to_bytes(text).decode(charset.strip())
    except UnicodeDecodeError:
        return None


def _plain(value: str) -> str:
    """Take the quotes away; bytes of UTF-8 and encoded words (RFC 2047) are not allowed there, and common."""
    if value.startswith('"'):
        value = value[1:].removesuffix('"')
        if not _WINDOWS_PATH(value):
            value = _QUOTED_PAIR.sub(r"\1", value)
    try:
        value = value.encode("latin-1").decode()
    except UnicodeError:
        value = value.encode("latin-1", "replace").decode("cp1252", "replace")
    if _ENCODED_WORD.search(value):
        import email.header  # noqa: PLC0415  (heavy, and rarely needed)

        try:
            value = str(email.header.make_header(email.header.decode_header(value)))
        except (LookupError, UnicodeError, ValueError, binascii.Error):  # it stays as it is
            return value
    return value


def _one_segment(name: str) -> str | None:
    last = re.split(r"[/\\]", name)[-1]
    printable = "".join(char for char in last if char.isprintable())
    return printable.strip().lstrip(".").strip() or None
