"""Charsets: from the bytes of a page to its text, as browsers do it.

HTML Standard §13.2.3.2 and WHATWG Encoding: a byte order mark wins, then the header's charset, then what
the page says of itself: in its first 1,024 bytes, or behind them in its head. Labels are the WHATWG's and no
others, so that no page can name a codec of Python that is none of text. Invariant: there is always an
encoding, and decoding never fails.

Where nothing is said, the standard leaves it to the reader's language. Here it is UTF-8 if the bytes are
valid UTF-8, else windows-1252: the commonest of each kind, and the same everywhere.
"""

from __future__ import annotations

import re
from functools import lru_cache

import webencodings  # type: ignore[import-untyped]

from fetcher import re_compat
from fetcher.model import BOMS

_SCANNED = 1024  # bytes that may say what they are, wherever that stands (§13.2.3.2)
_MOST_SCANNED = 65536  # as long as they are the page's head; Chromium knows no bound
_OF_HEAD = frozenset(
    (b"base", b"head", b"html", b"link", b"meta", b"noscript", b"object", b"script", b"style", b"title")
)
_RAW = frozenset((b"script", b"style", b"textarea", b"title", b"xmp", b"noembed", b"noframes", b"iframe"))

# Python's codecs that decode a superset of what WHATWG means, where the name alone would give less
_CODECS = {
    "big5": "big5hkscs",
    "euc-kr": "cp949",
    "gbk": "gb18030",
    "iso-8859-8-i": "iso8859-8",
    "macintosh": "mac-roman",
    "shift_jis": "cp932",
    "utf-16be": "utf-16-be",
    "utf-16le": "utf-16-le",
    "windows-874": "cp874",
    "x-mac-cyrillic": "mac-cyrillic",
    "x-user-defined": "cp1252",
}
_IGNORED = frozenset({"replacement"})  # what was used to smuggle markup; decoded as nothing in particular

_header_charset = re_compat.compile(
    r""";\s*charset\s*=\s*(?:"([^"]*)"?|'([^']*)'?|([^;\s]*))""", re.IGNORECASE
).search
_meta_charset = re_compat.compile(
    rb"""charset[\t\n\x0c\r ]*=[\t\n\x0c\r ]*(?:"([^"]*)"|'([^']*)'|([^\t\n\x0c\r ;]*))""", re.IGNORECASE
).search
_xml_encoding = re_compat.compile(
    rb"""<\?xml[^>]*?encoding[\x00-\x20]*=[\x00-\x20]*(?:"([^"\x00-\x20>]*)"|'([^'\x00-\x20>]*)')"""
).match
_meta_start = re_compat.compile(rb"<meta[\t\n\x0c\r /]", re.IGNORECASE).match
_tag_start = re_compat.compile(rb"<(/?)([A-Za-z][^\t\n\x0c\r />]*+)").match
_tag_name_end = re_compat.compile(rb"[\t\n\x0c\r >]").search
_end_of_raw = {
    name: re_compat.compile(rb"</%b(?=[\t\n\x0c\r />])" % name, re.IGNORECASE).search for name in _RAW
}
_attribute = re_compat.compile(
    rb"""[\t\n\x0c\r /]*+(=?[^\t\n\x0c\r /=>]*+)"""  # a name may begin with `=`
    rb"""(?:[\t\n\x0c\r ]*+=[\t\n\x0c\r ]*+(?:"([^"]*+)("?)|'([^']*+)('?)|([^\t\n\x0c\r >]*+)))?+""",
).match


def charset_of(body: bytes, content_type: str | None) -> str:
    """Return the Python codec for a page. `content_type` is the header field, or None. Never raises."""
    for bom, codec in BOMS:
        if body.startswith(bom):
            return codec
    stated = content_type and _of_header(content_type)
    return stated or _prescan(body[:_MOST_SCANNED]) or _guess(body)


def decode(body: bytes, content_type: str | None) -> str:
    """Return the page as text, without byte order mark; what does not fit becomes U+FFFD. Never raises."""
    for bom, codec in BOMS:
        if body.startswith(bom):
            return body[len(bom) :].decode(codec, "replace")
    return body.decode(charset_of(body, content_type), "replace")


def _guess(body: bytes) -> str:
    try:
        body.decode()
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


@lru_cache(maxsize=1024)
def _of_header(content_type: str) -> str | None:
    found = _header_charset(content_type[:4096])
    return None if found is None else _codec(found[1] or found[2] or found[3] or "")


def _codec(label: str) -> str | None:
    """Return the Python codec of a WHATWG label, or None if it is none or one that is not to be decoded."""
    encoding = webencodings.lookup(label)
    if encoding is None or encoding.name in _IGNORED:
        return None
    name: str = encoding.name
    return _CODECS.get(name, name)


def _codec_of_bytes(label: bytes) -> str | None:
    """Return the same of a label inside a page: read as ASCII it can't be UTF-16, whatever it says."""
    codec = _codec(label.decode("latin-1"))
    return "utf-8" if codec in {"utf-16-le", "utf-16-be"} else codec


# --- what a page says of itself -------------------------------------------------------------------


def _prescan(head: bytes) -> str | None:
    """Prescan a byte stream to determine its encoding (HTML Standard §13.2.3.2).

    Beyond the standard, as Chromium does: what stands in a script or the like is none of markup, and behind
    `_SCANNED` bytes it goes on to the end of the page's head.
    """
    if head.startswith(b"<\0?\0x\0"):
        return "utf-16-le"
    if head.startswith(b"\0<\0?\0x"):
        return "utf-16-be"
    is_head = True
    endless: set[bytes] = set()  # raw text elements that nothing ends: their text is markup
    at = head.find(b"<")
    while at >= 0 and (is_head or at < _SCANNED):
        if head.startswith(b"<!--", at):
            end = head.find(b"-->", at + 2)  # `<!-->` is a whole comment
            end = end + 2 if end >= 0 else -1
        elif _meta_start(head, at):
            codec, end = _of_meta(head, at + 5)
            if codec is not None:
                return codec
        elif (tag := _tag_start(head, at)) is not None:
            end = _end_of_tag(head, at)
            name, is_end = tag[2].lower(), bool(tag[1])
            is_head = is_head and name in _OF_HEAD and not (is_end and name in {b"head", b"html"})
            if name in _RAW and not is_end and end >= 0 and name not in endless:
                closing = _end_of_raw[name](head, end)
                if closing is None:
                    endless.add(name)
                else:
                    end = closing.start()
        elif head[at + 1 : at + 2] in {b"!", b"/", b"?"}:
            end = head.find(b">", at)
        else:
            end = at
        if end < 0:
            break
        at = head.find(b"<", end + 1 if end == at else end)
    return _of_xml(head)


def _of_xml(head: bytes) -> str | None:
    found = _xml_encoding(head)
    return None if found is None else _codec_of_bytes(found[1] or found[2] or b"")


def _end_of_tag(head: bytes, at: int) -> int:
    """Find the end of the tag, its attributes passed over: a `>` in a quoted value does not end it."""
    name_end = _tag_name_end(head, at)
    if name_end is None:
        return -1
    at = name_end.start()
    while True:
        name, _, at = _next_attribute(head, at)
        if name is None:
            return at


def _next_attribute(head: bytes, at: int) -> tuple[bytes | None, bytes, int]:
    """Name, value and where it ends; no name at the end of the tag, and -1 where the bytes end before."""
    found = _attribute(head, at)
    if found is None:
        return None, b"", -1
    name, double, double_end, single, single_end, bare = found.groups()
    end = found.end()
    is_cut = (
        end >= len(head) or (double is not None and not double_end) or (single is not None and not single_end)
    )
    if is_cut:
        return None, b"", -1
    if not name:
        return None, b"", end
    return name.lower(), (double or single or bare or b""), end


def _of_meta(head: bytes, at: int) -> tuple[str | None, int]:
    """Return the encoding that a `meta` names, if it does, and where it ends."""
    seen: set[bytes] = set()
    is_pragma = False
    needs_pragma: bool | None = None
    codec: str | None = None
    while True:
        name, value, at = _next_attribute(head, at)
        if name is None:
            break
        if name in seen:
            continue
        seen.add(name)
        if name == b"http-equiv":
            is_pragma = value.lower() == b"content-type"
        elif name == b"content":
            if needs_pragma is None and (found := _meta_charset(value)) is not None:
                codec = _codec_of_bytes(found[1] or found[2] or found[3] or b"")
                if codec is not None:
                    needs_pragma = True
        elif name == b"charset":
            codec = _codec_of_bytes(value)
            needs_pragma = False
    if at < 0 or needs_pragma is None or (needs_pragma and not is_pragma):
        return None, at
    return codec, at
