"""The strict gate: text in, an admitted `Target` out, or one clear reason why not.

Invariant: what policy judges is what goes on the wire. A target's URL has a canonical host, no
userinfo, no fragment, and only printable ASCII; admitting it again gives the same URL. An ordinary URL
costs one regular expression; only the odd ones are taken apart by the WHATWG URL standard, and where
that would silently repair (tabs, backslashes, missing slashes) the gate refuses and says what to write.

Path and query are sent as given, escapes included, but for dot segments and for characters that HTTP
can't carry. No message ever contains userinfo or a raw control character.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NoReturn
from urllib.parse import quote, unquote_to_bytes

import idna
import msgspec
from idna.core import check_bidi, check_initial_combiner, valid_contextj

from fetcher.errors import RedirectFailed, Refused
from fetcher.model import Target
from fetcher.policy.addresses import canonical

MAX_URL_BYTES = 8192  # RFC 9110 §4.1 asks for at least 8000

_LABEL = "[a-z0-9_-]"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IN_PATH = r"!$-;=@-\[\]_a-z|~"  # printable, without space " # < > ? \ ^ ` { }
_IN_QUERY = r"!$-;=?-\[\]-~"  # printable, without space " # < > \
_ordinary = re.compile(
    rf"((https?)://((?=[0-9])(?:{_OCTET}\.){{3}}{_OCTET}|(?:{_LABEL}{{1,63}}+\.)*+[a-z]{_LABEL}{{0,62}}+)"
    rf"(?::([1-9][0-9]{{0,4}}+))?+(/[{_IN_PATH}]*+(?:\?[{_IN_QUERY}]*+)?+)?+)(?:#[!-\[\]-~]*+)?+"
).fullmatch

_FORBIDDEN = re.compile("[\x00-\x20\x7f\\\\\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_NAME = re.compile(rf"{_LABEL}{{1,63}}(?:\.{_LABEL}{{1,63}})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_UNSENDABLE_IN_PATH = re.compile(rf"[^{_IN_PATH}]+")
_UNSENDABLE_IN_QUERY = re.compile(rf"[^{_IN_QUERY}]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
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
        if port <= 65535 and port != _DEFAULT_PORTS[scheme]:
            return Target(url, scheme, name, port, f"{name}:{digits}")
    return _admit_odd(text, max_bytes)


def resolve(base: Target, reference: str) -> Target:
    """Where a redirect from `base` leads (RFC 3986 §5.3, with the dot segments of the URL standard).

    `reference` is the Location field as Latin-1 text, so that non-ASCII bytes survive; they and spaces
    are percent-encoded. Userinfo of the base goes along only where the reference names no host.

    Raises:
        RedirectFailed: with the slug `bad-redirect`: missing, too long, another scheme, not a URL.
    """
    reference = reference.strip(" \t")
    if not reference:
        raise RedirectFailed("bad-redirect", "the answer is a redirect without a Location")
    wanted = _located(reference).replace(" ", "%20")
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
    start = base_url.index("/", base_url.index("//") + 2)
    if reference[0] == "/":
        return base_url[:start] + reference
    if reference[0] == "#":
        return base_url
    path_end = base_url.find("?", start)
    path = base_url[start:] if path_end < 0 else base_url[start:path_end]
    if reference[0] != "?":
        path = path[: path.rindex("/") + 1]
    return base_url[:start] + path + reference


def _refuse(problem: str, fix: str = "") -> NoReturn:
    raise Refused("bad-url", f"{problem}; {fix}" if fix else problem, hint=fix)


# --- the odd ones ---------------------------------------------------------------------------------


def _admit_odd(text: str, max_bytes: int) -> Target:
    if len(text) > max_bytes:
        _refuse(f"the URL is longer than {max_bytes} bytes")
    text = text.strip(" \t\r\n")
    if not text:
        _refuse("the URL is empty")
    _check_characters(text)
    scheme, rest = _split_scheme(text)
    head, question, query = rest.partition("#")[0].partition("?")
    authority, slash, path = head.partition("/")
    if not authority:
        _refuse("the URL has no host")
    credentials, _, location = authority.rpartition("@")  # the last: what is before is not the host
    host, name, digits = _split_location(location)
    port = _port(digits, scheme)
    url = (
        f"{scheme}://{host}"
        + ("" if port == _DEFAULT_PORTS[scheme] else f":{port}")
        + _resolve_dots(_UNSENDABLE_IN_PATH.sub(_percent_encoded, slash + path))
        + _UNSENDABLE_IN_QUERY.sub(_percent_encoded, question + query)
    )
    if len(url) > max_bytes:
        _refuse(f"the URL is longer than {max_bytes} bytes")
    return Target(url, scheme, name, port, f"{host}:{port}", _userinfo(credentials))


def _check_characters(text: str) -> None:
    found = _FORBIDDEN.search(text)
    if found is None:
        return
    character = found[0]
    if character == " ":
        _refuse("the URL has a space in it", "write it as %20")
    if character == "\\":
        if "?" in text[: found.start()]:
            _refuse("the URL has a backslash in it", "write it as %5C")
        _refuse("the URL has a backslash in it", _suggestion(text.replace("\\", "/"), "write / instead"))
    if character in "\t\r\n":
        _refuse("the URL has a tab or a line break in it")
    if character >= "\ud800":
        _refuse("the URL has bytes in it that are not UTF-8")
    _refuse(f"the URL has a control character in it (U+{ord(character):04X})")


def _split_scheme(text: str) -> tuple[str, str]:
    found = _SCHEME.match(text)
    if found is None:
        bare = text.removeprefix(":").removeprefix("//")
        _refuse("the URL has no scheme", _suggestion(f"https://{bare}", "put https:// or http:// before it"))
    scheme = found[1].lower()
    rest = text[found.end() :]
    if scheme in _DEFAULT_PORTS:
        if rest.startswith("//"):
            return scheme, rest[2:]
        fix = _suggestion(f"{scheme}://{rest.lstrip('/')}", f"write {scheme}:// before the host")
        _refuse(f"the URL has no // after {scheme}:", fix)
    if scheme not in _WITHOUT_SLASHES and not rest.startswith("/") and ("@" in text or rest[:1].isdigit()):
        # `user:password@host` and `host:8080` only look as if they had a scheme
        _refuse("the URL has no scheme", _suggestion(f"https://{text}", "put https:// or http:// before it"))
    named = scheme if len(scheme) <= 20 else scheme[:20] + "…"
    _refuse(f"the scheme {named} is not supported", "only http and https are")


def _suggestion(candidate: str, otherwise: str) -> str:
    """A question with the URL that was perhaps meant, if it is one and can hold no password."""
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
        _refuse("the user name or password has a control character in it")
    return decoded


def _percent_encoded(found: re.Match[str]) -> str:
    return quote(found[0], safe="")


def _resolve_dots(path: str) -> str:
    """The path without dot segments, also those that are written with `%2e`. Empty is `/`."""
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


# --- hosts ----------------------------------------------------------------------------------------


def _split_location(location: str) -> tuple[str, str, str]:
    """The host as a URL has it, its name, and the port's digits."""
    if location.startswith("["):
        inner, bracket, rest = location[1:].partition("]")
        if not bracket or (rest and rest[0] != ":"):
            _refuse("the URL has brackets that hold no IPv6 address")
        name = _ipv6(inner)
        return f"[{name}]", name, rest[1:]
    raw, _, digits = location.partition(":")
    if ":" in digits:
        _refuse("the URL has more than one port", "an IPv6 address stands in brackets, as in http://[::1]/")
    name = _canonical_name(raw)
    return name, name, digits


def _port(digits: str, scheme: str) -> int:
    # Not shown in messages: of `http://user:pass/word@host/` it is half a password.
    if not digits:
        return _DEFAULT_PORTS[scheme]
    if not (digits.isascii() and digits.isdigit()):
        _refuse("the port is not a number")
    significant = digits.lstrip("0")
    if not significant or len(significant) > 5 or int(significant) > 65535:
        _refuse("the port is not between 1 and 65535")
    return int(significant)


def _canonical_name(raw: str) -> str:
    """A host that is a name or an IPv4 address, as the host parser of the URL standard has it.

    It is stricter in what a name may hold: letters, digits, hyphens and underscores, in labels that
    DNS can carry (RFC 1035 §2.3.4). A dot at the end is dropped.
    """
    if "%" in raw:
        try:
            raw = unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError:
            _refuse("the host has escapes in it that are not UTF-8")
    if len(raw) > 1024:
        _refuse("the host is longer than DNS allows")
    name = raw.lower() if raw.isascii() else _mapped(raw)
    name = name.removesuffix(".")
    if not name:
        _refuse("the URL has no host")
    if "xn--" in name or not name.isascii():
        name = ".".join(map(_to_ascii, name.split(".")))
    if not _NAME.fullmatch(name):
        _refuse_name(name)
    if len(name) > 253:
        _refuse("the host is longer than DNS allows")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _ipv4(name)
    return name


def _refuse_name(name: str) -> NoReturn:
    labels = name.split(".")
    if "" in labels:
        _refuse("the host has an empty label")
    forbidden = next((c for c in name if not re.match(_LABEL, c) and c != "."), None)
    if forbidden is not None:
        _refuse(f"the host has a character in it that is not allowed (U+{ord(forbidden):04X})")
    _refuse("the host has a label longer than 63 characters")


def _mapped(raw: str) -> str:
    try:
        return idna.uts46_remap(raw, std3_rules=False)
    except (idna.IDNAError, ValueError):
        _refuse("the host is not a valid international name")


def _to_ascii(label: str) -> str:
    """One label by UTS 46 §4.2, not transitional: checked, then in punycode."""
    if label.isascii() and not label.startswith("xn--"):
        return label
    if len(label) > 63:
        _refuse("the host has a label longer than 63 characters")
    try:
        decoded = label[4:].encode("ascii").decode("punycode") if label.isascii() else label
        check_initial_combiner(decoded)
        check_bidi(decoded)
        encoded = "xn--" + decoded.encode("punycode").decode("ascii")
        is_valid = (
            not decoded.isascii()
            and not decoded.startswith("xn--")
            and idna.uts46_remap(decoded, std3_rules=False) == decoded  # NFC, too
            and all(valid_contextj(decoded, i) for i, c in enumerate(decoded) if c in "\u200c\u200d")
            and (encoded == label or not label.isascii())
        )
    except (idna.IDNAError, ValueError, OverflowError, IndexError):
        is_valid = False
    if not is_valid:
        _refuse("the host is not a valid international name")
    return encoded


def _ipv4(name: str) -> str:
    """The dotted form of an address in any spelling: `127.1`, `0x7f.1`, `0177.1`, `2130706433`."""
    parts = name.split(".")
    try:
        *first, last = [_ipv4_number(part) for part in parts]
        if len(first) <= 3 and all(number <= 255 for number in first) and last < 256 ** (4 - len(first)):
            return str(ipaddress.IPv4Address(sum(n << 8 * (3 - i) for i, n in enumerate(first)) + last))
    except ValueError:
        pass
    _refuse("the host ends in a number and is not an IPv4 address")


def _ipv4_number(part: str) -> int:
    if not _NUMBER.fullmatch(part):
        raise ValueError(part)
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if len(part) > 1 and part[0] == "0" else 10)


def _ipv6(inner: str) -> str:
    if "%" in inner:  # RFC 6874 zones mean something on one machine only
        _refuse("the host is an IPv6 address with a zone")
    try:
        return canonical(ipaddress.IPv6Address(inner))
    except ValueError:
        _refuse("the URL has brackets that hold no IPv6 address")
