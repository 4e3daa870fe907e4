"""Admission of URLs: text in, a `Target` out, or one clear reason why not.

Invariant: what policy judges is what goes on the wire. A target's URL has a canonical host, no
userinfo, no fragment, and only printable ASCII; admitting it again gives the same URL. An ordinary URL
costs one regular expression; only the odd ones are taken apart by the WHATWG URL standard, and where
that would silently repair (tabs, backslashes, missing slashes) `admit` refuses and says what to write: the
user can. Nobody can mend the Location of an answer, so that is repaired as browsers do, and then admitted
like any other URL.

Path and query are sent as given, escapes included, but for dot segments and for characters that HTTP
can't carry. No message ever contains userinfo or a raw control character.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

import msgspec

from fetcher.errors import RedirectFailed, Refused
from fetcher.model import Target
from fetcher.policy.hosts import HOST_PATTERN, refuse, split_location
from fetcher.policy.http import DEFAULT_PORTS

MAX_URL_BYTES = 8192  # RFC 9110 §4.1 asks for at least 8000

_IN_PATH = r"!$-;=@-\[\]_a-z|~"  # printable, without space " # < > ? \ ^ ` { }
_IN_QUERY = r"!$-;=?-\[\]-~"  # printable, without space " # < > \
_ordinary = re.compile(
    rf"((https?)://({HOST_PATTERN})"
    rf"(?::([1-9][0-9]{{0,4}}+))?+(/[{_IN_PATH}]*+(?:\?[{_IN_QUERY}]*+)?+)?+)(?:#[!-\[\]-~]*+)?+"
).fullmatch

_URL_THEN_URL = re.compile(r"https?://\S+ +https?://", re.IGNORECASE)
_FORBIDDEN = re.compile("[\x00-\x20\x7f\\\\\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_UNSENDABLE_IN_PATH = re.compile(rf"[^{_IN_PATH}]+")
_UNSENDABLE_IN_QUERY = re.compile(rf"[^{_IN_QUERY}]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # other than a tab: not repaired
_ODD_START = re.compile(r"///|https?:(?!//[^/])", re.IGNORECASE).match  # as only browsers understand it
_WITHOUT_SLASHES = frozenset(
    {"about", "blob", "data", "file", "javascript", "mailto", "tel", "urn", "view-source"}
)


def admit(text: str, *, max_bytes: int = MAX_URL_BYTES) -> Target:
    """The URL taken apart once, ready for policy and for the wire.

    Raises:
        Refused: with the slug `bad-url` and a message that says what is wrong and what to write.
    """
    if len(text) < max_bytes and (found := _ordinary(text)) is not None:
        url, scheme, name, digits, tail = found.groups()
        if tail is None:
            url += "/"
        elif "/." in tail or "/%2" in tail:  # a dot segment, or one in disguise, perhaps
            return _admit_odd(text, max_bytes)
        if "xn--" in name or len(name) > 253:
            return _admit_odd(text, max_bytes)
        if digits is None:
            if scheme == "https":
                return Target(url, "https", name, 443, name + ":443")
            return Target(url, "http", name, 80, name + ":80")
        port = int(digits)
        if port <= 65535 and port != DEFAULT_PORTS[scheme]:
            return Target(url, scheme, name, port, f"{name}:{digits}")
    return _admit_odd(text, max_bytes)


def lacks_scheme(text: str) -> bool:
    """Tell whether a text lacks its scheme; `host:80` and `user:pw@host` only seem to have one."""
    found = _SCHEME.match(text)
    if found is None:
        return True
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme in DEFAULT_PORTS or scheme in _WITHOUT_SLASHES or rest.startswith("/"):
        return False
    return "@" in text or rest[:1].isdigit()


def resolve_redirect(base: Target, reference: str) -> Target:
    """Resolve a redirect from `base` (RFC 3986 §5.3, with the dot segments of the URL standard).

    A tab or a backslash in it, and too many or too few slashes before the host, are repaired as that standard
    says.

    `reference` is the Location field as Latin-1 text, so that non-ASCII bytes survive; they and spaces
    are percent-encoded. Userinfo of the base goes along only where the reference names no host.

    Raises:
        RedirectFailed: with the slug `bad-redirect`: missing, too long, another scheme, not a URL.
    """
    reference = reference.strip(" \t")
    if not reference:
        raise RedirectFailed("bad-redirect", "the answer is a redirect without a Location")
    wanted = _located(reference)
    if _is_odd(wanted):
        wanted = _repaired(base.url, wanted)
    wanted = wanted.replace(" ", "%20")
    inherits = False
    if wanted.startswith("//"):
        wanted = f"{base.scheme}:{wanted}"
    elif not _SCHEME.match(wanted):
        wanted = _merge(base.url, wanted)
        inherits = True
    try:
        target = admit(wanted)
    except Refused as refused:
        raise RedirectFailed("bad-redirect", f"the Location can't be followed: {refused.message}") from None
    if inherits and base.userinfo is not None:
        return msgspec.structs.replace(target, userinfo=base.userinfo)
    return target


def _is_odd(reference: str) -> bool:
    """Return True if only browsers understand the reference."""
    if "\t" not in reference and "\\" not in reference and _ODD_START(reference) is None:
        return False
    return _CONTROL.search(reference) is None


def _repaired(base_url: str, reference: str) -> str:
    """Return the absolute URL that `reference` means to browsers (WHATWG URL Standard §4.4), or itself."""
    from ada_url import join_url  # noqa: PLC0415  (few redirects need it)

    try:
        url = join_url(base_url, reference)
    except ValueError:
        return reference
    return url.partition("#")[0].replace("\\", "%5C")  # left over in a query


def path_start(url: str) -> int:
    """Return the index of the path in an http or https URL with a host; its length if there is none."""
    start = url.find("/", 8)  # behind `https://`; with `http://`, the eighth character is of the host
    return start if start >= 0 else len(url)


def origin_of(url: str) -> str:
    """Scheme and authority of an admitted URL, as in `https://example.org:8443`."""
    return url[: path_start(url)]


def _located(reference: str) -> str:
    """Location bytes as text: UTF-8 where they are, so that an IDN host works, else each byte encoded."""
    if reference.isascii():
        return reference
    try:
        return reference.encode("latin-1").decode("utf-8")
    except UnicodeEncodeError:  # not from a header: text already
        return reference
    except UnicodeDecodeError:
        return "".join(c if c < "\x80" else f"%{ord(c):02X}" for c in reference)


def _merge(base_url: str, reference: str) -> str:
    start = path_start(base_url)
    if reference[0] == "/":
        return base_url[:start] + reference
    if reference[0] == "#":
        return base_url
    path_end = base_url.find("?", start)
    path = base_url[start:] if path_end < 0 else base_url[start:path_end]
    if reference[0] != "?":
        path = path[: path.rindex("/") + 1]
    return base_url[:start] + path + reference


# --- the odd ones ---------------------------------------------------------------------------------


def _admit_odd(text: str, max_bytes: int) -> Target:
    if len(text) > max_bytes:
        refuse(f"the URL is longer than {max_bytes} bytes")
    text = text.strip(" \t\r\n")
    if not text:
        refuse("the URL is empty")
    _check_characters(text)
    scheme, rest = _split_scheme(text)
    head, question, query = rest.partition("#")[0].partition("?")
    authority, slash, path = head.partition("/")
    if not authority:
        refuse("the URL has no host")
    credentials, _, location = authority.rpartition("@")  # the last: what is before is not the host
    host, name, digits = split_location(location)
    port = _port(digits, scheme)
    url = (
        f"{scheme}://{host}"
        + ("" if port == DEFAULT_PORTS[scheme] else f":{port}")
        + _resolve_dots(_UNSENDABLE_IN_PATH.sub(_percent_encoded, slash + path))
        + _UNSENDABLE_IN_QUERY.sub(_percent_encoded, question + query)
    )
    if len(url) > max_bytes:
        refuse(f"the URL is longer than {max_bytes} bytes")
    return Target(url, scheme, name, port, f"{host}:{port}", _userinfo(credentials))


def _check_characters(text: str) -> None:
    found = _FORBIDDEN.search(text)
    if found is None:
        return
    character = found[0]
    if character == " ":
        if _URL_THEN_URL.match(text):
            refuse("there are two URLs in it", "separate them: a line or an argument for each")
        refuse("the URL has a space in it", "write it as %20")
    if character == "\\":
        if "?" in text[: found.start()]:
            refuse("the URL has a backslash in it", "write it as %5C")
        refuse("the URL has a backslash in it", _suggestion(text.replace("\\", "/"), "write / instead"))
    if character in "\t\r\n":
        refuse("the URL has a tab or a line break in it")
    if character >= "\ud800":
        refuse("the URL has bytes in it that are not UTF-8")
    refuse(f"the URL has a control character in it (U+{ord(character):04X})")


def _split_scheme(text: str) -> tuple[str, str]:
    if lacks_scheme(text):
        bare = text.removeprefix(":").removeprefix("//")
        refuse("the URL has no scheme", _suggestion(f"https://{bare}", "put https:// or http:// before it"))
    found = _SCHEME.match(text)
    assert found is not None
    scheme = found[1].lower()
    rest = text[found.end() :]
    if scheme not in DEFAULT_PORTS:
        named = scheme if len(scheme) <= 20 else scheme[:20] + "…"
        refuse(f"the scheme {named} is not supported", "only http and https are")
    if not rest.startswith("//"):
        fix = _suggestion(f"{scheme}://{rest.lstrip('/')}", f"write {scheme}:// before the host")
        refuse(f"the URL has no // after {scheme}:", fix)
    return scheme, rest[2:]


def _suggestion(candidate: str, otherwise: str) -> str:
    """Return a question with the URL that was perhaps meant, if it is one and can hold no password."""
    if "@" in candidate or len(candidate) > 500:
        return otherwise
    try:
        return f"did you mean {admit(candidate).url}?"
    except Refused:
        return otherwise


def _userinfo(credentials: str) -> str | None:
    """`user:password`, percent-decoded, or None if both are empty."""
    user, _, password = credentials.partition(":")
    if not user and not password:
        return None
    raw = unquote_to_bytes(f"{user}:{password}")
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError:
        decoded = raw.decode("latin-1")
    if any(c < " " or "\x7f" <= c <= "\x9f" for c in decoded):  # RFC 7617 §2
        refuse("the user name or password has a control character in it")
    return decoded


def _percent_encoded(found: re.Match[str]) -> str:
    return quote(found[0], safe="")


def _resolve_dots(path: str) -> str:
    """Return the path without dot segments, also those that are written with `%2e`. Empty is `/`."""
    if "/." not in path and "/%2" not in path:
        return path or "/"
    kept: list[str] = []
    plain = ""
    for segment in path[1:].split("/"):
        plain = segment.lower().replace("%2e", ".") if len(segment) <= 6 else segment
        if plain == "..":
            del kept[-1:]
        elif plain != ".":
            kept.append(segment)
    if plain in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


def _port(digits: str, scheme: str) -> int:
    # Not shown in messages: of `http://user:pass/word@host/` it is half a password.
    if not digits:
        return DEFAULT_PORTS[scheme]
    if not (digits.isascii() and digits.isdigit()):
        refuse("the port is not a number")
    significant = digits.lstrip("0")
    if not significant or len(significant) > 5 or int(significant) > 65535:
        refuse("the port is not between 1 and 65535")
    return int(significant)
