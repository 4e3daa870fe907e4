"""Hosts of URLs: names in the form that DNS and certificates have, and addresses in their one spelling.

As the host parser of the WHATWG URL standard has them, but stricter in what a name may hold. What can't be a
host is refused with a message that never contains userinfo.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NoReturn
from urllib.parse import unquote_to_bytes

from fetcher.errors import Refused
from fetcher.policy.ip_filter import canonical_address

_LABEL = "[a-z0-9_-]"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
HOST_PATTERN = (  # an IPv4 address, or a name whose last label begins with a letter
    rf"(?:(?=[0-9])(?:{_OCTET}\.){{3}}{_OCTET}|(?:{_LABEL}{{1,63}}+\.)*+[a-z]{_LABEL}{{0,62}}+)"
)
_NAME = re.compile(rf"{_LABEL}{{1,63}}(?:\.{_LABEL}{{1,63}})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def refuse(problem: str, fix: str = "") -> NoReturn:
    """Raise `Refused` with the slug `bad-url`, what is wrong, and what to write."""
    raise Refused("bad-url", f"{problem}; {fix}" if fix else problem, hint=fix)


def split_location(location: str) -> tuple[str, str, str]:
    """Return the host as a URL has it, its name, and the port's digits."""
    if location.startswith("["):
        inner, bracket, rest = location[1:].partition("]")
        if not bracket or (rest and rest[0] != ":"):
            refuse("the URL has brackets that hold no IPv6 address")
        name = _ipv6(inner)
        return f"[{name}]", name, rest[1:]
    raw, _, digits = location.partition(":")
    if ":" in digits:
        refuse("the URL has more than one port", "an IPv6 address stands in brackets, as in http://[::1]/")
    name = _canonical_name(raw)
    return name, name, digits


def _canonical_name(raw: str) -> str:
    """Return a host that is a name or an IPv4 address, as the host parser of the URL standard has it.

    It is stricter in what a name may hold: letters, digits, hyphens and underscores, in labels that
    DNS can carry (RFC 1035 §2.3.4). A dot at the end is dropped.
    """
    if "%" in raw:
        try:
            raw = unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError:
            refuse("the host has escapes in it that are not UTF-8")
    if len(raw) > 1024:
        refuse("the host is longer than DNS allows")
    name = raw.lower() if raw.isascii() else _mapped(raw)
    name = name.removesuffix(".")
    if not name:
        refuse("the URL has no host")
    if "xn--" in name or not name.isascii():
        name = ".".join(map(_to_ascii, name.split(".")))
    if not _NAME.fullmatch(name):
        _refuse_name(name)
    if len(name) > 253:
        refuse("the host is longer than DNS allows")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _ipv4(name)
    return name


def _refuse_name(name: str) -> NoReturn:
    labels = name.split(".")
    if "" in labels:
        refuse("the host has an empty label")
    forbidden = next((c for c in name if not re.match(_LABEL, c) and c != "."), None)
    if forbidden is not None:
        refuse(f"the host has a character in it that is not allowed (U+{ord(forbidden):04X})")
    refuse("the host has a label longer than 63 characters")


def _mapped(raw: str) -> str:
    import idna  # noqa: PLC0415  (only for international names)

    try:
        return idna.uts46_remap(raw, std3_rules=False)
    except (idna.IDNAError, ValueError):
        refuse("the host is not a valid international name")


def _to_ascii(label: str) -> str:
    """Return one label by UTS 46 §4.2, not transitional: checked, then in punycode."""
    if label.isascii() and not label.startswith("xn--"):
        return label
    if len(label) > 63:
        refuse("the host has a label longer than 63 characters")
    import idna  # noqa: PLC0415
    from idna.core import check_bidi, check_initial_combiner, valid_contextj  # noqa: PLC0415

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
        refuse("the host is not a valid international name")
    return encoded


def _ipv4(name: str) -> str:
    """Return the dotted form of an address in any spelling: `127.1`, `0x7f.1`, `0177.1`, `2130706433`."""
    parts = name.split(".")
    try:
        *first, last = [_ipv4_number(part) for part in parts]
        if len(first) <= 3 and all(number <= 255 for number in first) and last < 256 ** (4 - len(first)):
            return str(ipaddress.IPv4Address(sum(n << 8 * (3 - i) for i, n in enumerate(first)) + last))
    except ValueError:
        pass
    refuse("the host ends in a number and is not an IPv4 address")


def _ipv4_number(part: str) -> int:
    if not _NUMBER.fullmatch(part):
        raise ValueError(part)
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if len(part) > 1 and part[0] == "0" else 10)


def _ipv6(inner: str) -> str:
    if "%" in inner:  # RFC 6874 zones mean something on one machine only
        refuse("the host is an IPv6 address with a zone")
    try:
        return canonical_address(ipaddress.IPv6Address(inner))
    except ValueError:
        refuse("the URL has brackets that hold no IPv6 address")
