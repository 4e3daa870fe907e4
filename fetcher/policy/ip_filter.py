"""Filter of IP addresses, judged on the address itself and never on its spelling.

Invariant: an address is public only if it is, and everything embedded in it is, outside every range
below. What is not understood is not public. `ipaddress.is_global` is no such guard: it is True for
`64:ff9b::7f00:1`, `2002:7f00:1::`, `::127.0.0.1`, `fec0::1`, `224.0.0.1` and `168.63.129.16`.

Sources: the IANA special-purpose registries (RFC 6890), RFC 6598 (CGNAT), RFC 6052 and 8215 (NAT64),
RFC 3056 (6to4), RFC 4380 (Teredo), RFC 4291 §2.5.5 (embedded IPv4), RFC 6761 (localhost).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_DENIED_4 = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",
    "100.64.0.0/10",  # CGNAT; Alibaba's metadata at 100.100.100.200
    "127.0.0.0/8",
    "168.63.129.16/32",  # Azure's host agent, in the midst of public space
    "169.254.0.0/16",  # link-local; the usual metadata address at 169.254.169.254
    "172.16.0.0/12",
    "192.0.0.0/24",  # protocol assignments; Oracle's metadata at 192.0.0.192
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # the retired 6to4 relays (RFC 7526)
    "192.168.0.0/16",
    "198.18.0.0/15",  # benchmarking
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
)
# Only 2000::/3 is global unicast: loopback, ULA (fd00:ec2::254), link-local, site-local (fec0::/10),
# discard, SRv6 and multicast all lie outside. These are the exceptions within.
_GLOBAL_UNICAST = (0x2000 << 112, (0x4000 << 112) - 1)
_DENIED_6 = (
    "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
    "2001:db8::/32",  # documentation
    "3fff::/20",  # documentation (RFC 9637)
)

_RANGES_4 = tuple(
    (int(network.network_address), int(network.broadcast_address))
    for network in map(ipaddress.IPv4Network, _DENIED_4)
)
_RANGES_6 = tuple(
    (int(network.network_address), int(network.broadcast_address))
    for network in map(ipaddress.IPv6Network, _DENIED_6)
)

# Prefixes of 96 bits whose last 32 are an IPv4 address.
_EMBEDDED = (
    bytes(12),  # ::a.b.c.d, compatible; also :: and ::1, whose inner 0/8 is denied
    bytes(10) + b"\xff\xff",  # ::ffff:a.b.c.d, mapped
    bytes(8) + b"\xff\xff\x00\x00",  # ::ffff:0:a.b.c.d, translated
    bytes.fromhex("0064ff9b") + bytes(8),  # 64:ff9b::a.b.c.d, NAT64
)
_LOCAL_NAT64 = bytes.fromhex("0064ff9b0001")  # 64:ff9b:1::/48
_6TO4 = bytes.fromhex("2002")


def is_public(address: str | bytes | IPAddress) -> bool:
    """Return True if policy lets anyone connect to `address`.

    Takes numeric text as `getaddrinfo` gives it (with or without `%scope`), packed bytes (4 or 16),
    or an `ipaddress` object. What does not parse is not public.
    """
    if isinstance(address, str):
        return _is_public_text(address)
    if isinstance(address, bytes):
        try:
            address = ipaddress.ip_address(address)
        except ValueError:
            return False
    return _is_public_number(address)


def permitted_addresses(addresses: Iterable[str]) -> list[str]:
    """Return those of a name's addresses that are public, in their order. Empty means: denied."""
    return [address for address in addresses if _is_public_text(address)]


def literal_address(name: str) -> str | None:
    """Return the canonical address if `name` (of a `Target`) is an IP literal, else None."""
    if ":" not in name and not name[-1:].isdigit():
        return None
    try:
        return canonical_address(ipaddress.ip_address(name))
    except ValueError:
        return None


def canonical_address(address: IPAddress) -> str:
    """Return the one spelling of an address (RFC 5952), the same in every version of Python."""
    mapped = None if isinstance(address, ipaddress.IPv4Address) else address.ipv4_mapped
    if mapped is None:
        return address.compressed
    number = int(mapped)  # 3.13 began to write these with dots; the URL standard does not
    return f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}"


def is_local_name(name: str) -> bool:
    """Return True if `name` is this machine by definition, to be denied without resolving (RFC 6761 §6.3)."""
    bare = name.rstrip(".").lower()
    return bare == "localhost" or bare.endswith(".localhost")


@lru_cache(maxsize=8192)
def _is_public_text(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return _is_public_number(address)


def _is_public_number(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return _is_public_4(int(address))
    packed = address.packed
    if packed[:12] in _EMBEDDED:
        return _is_public_4(int.from_bytes(packed[12:], "big"))
    if packed.startswith(_6TO4):
        return _is_public_4(int.from_bytes(packed[2:6], "big"))
    if packed.startswith(_LOCAL_NAT64):
        return packed[8] == 0 and _is_public_4(int.from_bytes(_translated(packed), "big"))
    number = int(address)
    low, high = _GLOBAL_UNICAST
    return low <= number <= high and not any(first <= number <= last for first, last in _RANGES_6)


def _is_public_4(number: int) -> bool:
    return not any(first <= number <= last for first, last in _RANGES_4)


def _translated(packed: bytes) -> bytes:
    """Return the IPv4 address within 64:ff9b:1::/48 (RFC 6052 §2.2; octet 8 is always zero).

    An operator may use a prefix of 48 bits or a longer one. The suffix after the address is zero, so
    the shortest layout whose suffix is zero is taken.
    """
    if not any(packed[11:]):
        return packed[6:8] + packed[9:11]
    if not any(packed[12:]):
        return packed[7:8] + packed[9:12]
    if not any(packed[13:]):
        return packed[9:13]
    return packed[12:]
