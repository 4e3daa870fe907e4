"""URLs of links on a page, and the canonical key that all spellings of a URL share.

`resolve_link` follows the WHATWG URL Standard, as browsers do, because pages are written for browsers: it
repairs where RFC 3986 and `policy.urls` refuse. What it gives is still to be admitted there, which alone
decides what is fetched. `canonical_key` is for de-duplication only: the URL that is sent is the one that the
page gave. Invariant: a key is its own key.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ada_url import join_url

from fetcher import re_compat
from fetcher.errors import Refused
from fetcher.policy.hosts import HOST_PATTERN
from fetcher.policy.urls import admit

LONGEST_LINK = 65536  # characters; what is longer is a `data:` picture, or not admitted anyway

_SCHEMES = ("http://", "https://")
_TAB_OR_BREAK = str.maketrans("", "", "\t\n\r")
_ESCAPED_IN_QUERY = re_compat.compile(rb"[^!$%&(-;=?-~]")  # the special-query percent-encode set

_ORIGIN = rf"https?://{HOST_PATTERN}(?::(?!80/|443/)(?:[1-9][0-9]{{0,3}}|[1-5][0-9]{{4}}))?+"

# Links that are sent as they stand, or behind the page's origin or directory: no dot segment, nothing to
# be encoded. Nine in ten are, and this costs a third of the parser.
_IN_PATH = r"!$-.0-;=@-\[\]_a-z|~"  # printable, without space " # / < > ? \ ^ ` { }
_NO_DOTS = r"(?!\.|%2[Ee])"
_PATH = rf"(?:/{_NO_DOTS}[{_IN_PATH}]*+)++"
_QUERY = r"(?:\?[!$-&(-;=?-\[\]-~]*+)?+"  # printable, without space " # ' < > \
_ordinary = re_compat.compile(
    rf"(?:({_ORIGIN}{_PATH}{_QUERY})|((?!//){_PATH}{_QUERY})"
    rf"|({_NO_DOTS}[{_IN_PATH.replace('0-;', '0-9;')}]++(?:{_PATH})?+{_QUERY}))(?:#[!-~]*+)?+"
).fullmatch

_RELATIVE = 3  # the group of those

_UNRESERVED = "(?:2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])"  # RFC 3986 §2.3, escaped
_ESCAPE = f"%(?!{_UNRESERVED})[0-9A-F]{{2}}"
# Nothing is left to be done for these. `.` at the begin of a segment may be a dot segment.
_is_canonical = re_compat.compile(
    rf"{_ORIGIN}(?:/(?!\.)(?:[{_IN_PATH.replace('$-.', '$&-.')}]++|{_ESCAPE})*+)++"
    rf"(?:\?(?:[!$&-;=?-\[\]-~]++|{_ESCAPE})*+)?+"
).fullmatch

_ANY_ESCAPE = re_compat.compile("%[0-9A-Fa-f]{2}")
# Not after a stray `%`: `%%32e` would become `%2e`, another URL.
_NEEDLESS_ESCAPE = re_compat.compile(f"(?<!%)(?<!%[0-9A-Fa-f])%{_UNRESERVED}")


def resolve_link(base: str, href: str, *, encoding: str = "utf-8") -> str | None:
    """Return the absolute http or https URL that `href` means on a page, without fragment, or None.

    WHATWG URL Standard §4.4: white space around it stripped, tabs and line breaks removed, backslashes
    read as slashes, dot segments resolved, the host in IDNA, the rest percent-encoded. `base` is the
    page's URL or what its `<base>` says, absolute itself. `encoding` is the Python codec of the page:
    what is not ASCII in a query is sent in it (§4.4, query state). None where it is no URL at all, has
    another scheme, or is longer than `LONGEST_LINK`. Never raises.
    """
    if len(href) > LONGEST_LINK:
        return None
    ordinary = _ordinary(href, _end_of_ups(href) if href[:3] == "../" else 0)
    if ordinary is not None and (anchors := _anchors(base)) is not None:
        which = ordinary.lastindex or 1
        if not (ups := ordinary.start() // 3):
            return ordinary[1] if which == 1 else anchors[which - 2] + ordinary[which]
        if which == _RELATIVE and ordinary[which][:1] != "?":
            return _above(anchors[1], ups) + ordinary[which]
    if encoding != "utf-8" and not href.isascii() and "?" in href:
        href = _with_encoded_query(href, encoding)
    try:
        url = join_url(base, href)
    except ValueError:
        return None
    if not url.startswith(_SCHEMES):
        return None
    return url.partition("#")[0] if "#" in url else url


def _end_of_ups(href: str) -> int:
    """Return where the `../` end that a link begins with."""
    at = 3
    while href.startswith("../", at):
        at += 3
    return at


@lru_cache(maxsize=256)
def _above(directory: str, ups: int) -> str:
    """Return the folder that many levels above a directory."""
    return join_url(directory, "../" * ups)


@lru_cache(maxsize=256)
def _anchors(base: str) -> tuple[str, str] | None:
    """Return the prefixes for links that begin with `/`, and for those that name no folder."""
    try:
        directory = join_url(base, ".")
        origin = join_url(base, "/")
    except ValueError:
        return None
    return (origin[:-1], directory) if directory.startswith(_SCHEMES) else None


def canonical_key(url: str, *, sort_query: bool = False) -> str:
    """Return the key that URLs for the same thing share (RFC 3986 §6.2.2 and §6.2.3).

    Fragment, userinfo and default port gone, host in lower case and punycode, dot segments resolved,
    empty path `/`, escapes in upper case and none for what needs none. The order of the query stays,
    unless `sort_query`: then by name, those of one name as they stood. What is not admitted is its
    own key. Never raises.
    """
    key = url if _is_canonical(url) is not None else _canonical(url)
    if sort_query and "&" in key:
        head, question, query = key.partition("?")
        return head + question + "&".join(sorted(query.split("&"), key=_name_of))
    return key


def _canonical(url: str) -> str:
    try:
        url = admit(url).url
    except Refused:
        return url
    if "%" in url:
        url = _ANY_ESCAPE.sub(_in_upper_case, url)
        url = _NEEDLESS_ESCAPE.sub(_unescaped, url)
    return url


def _in_upper_case(found: re.Match[str]) -> str:
    return found[0].upper()


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[0][1:], 16))


def _name_of(parameter: str) -> str:
    return parameter.partition("=")[0]


def _with_encoded_query(href: str, encoding: str) -> str:
    """`href` with its query percent-encoded after encoding, so that nothing is left to UTF-8."""
    head, hash_sign, fragment = href.translate(_TAB_OR_BREAK).partition("#")
    path, question, query = head.partition("?")
    if query.isascii():
        return href
    try:
        raw = b"".join(_encoded(query, encoding))
    except LookupError:
        return href
    escaped = _ESCAPED_IN_QUERY.sub(lambda found: b"%%%02X" % found[0][0], raw)
    return path + question + escaped.decode("ascii") + hash_sign + fragment


def _encoded(text: str, encoding: str) -> list[bytes]:
    """Encode text; a character that the encoding lacks becomes `&#…;`, escaped, as forms send it."""
    try:
        return [text.encode(encoding)]
    except UnicodeEncodeError as error:
        missing = "".join(f"%26%23{ord(c)}%3B" for c in text[error.start : error.end])
        return [
            text[: error.start].encode(encoding),
            missing.encode("ascii"),
            *_encoded(text[error.end :], encoding),
        ]
