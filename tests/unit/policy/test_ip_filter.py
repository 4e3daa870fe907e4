"""Section B of what must be survived: addresses that policy denies, however they are wrapped."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.policy.ip_filter import (
    canonical_address,
    is_local_name,
    is_public,
    literal_address,
    permitted_addresses,
)

PRIVATE_4 = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1",
    "127.255.255.254", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170",
    "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.7",
    "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
]  # fmt: skip
METADATA = ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"]
PRIVATE_6 = [
    "::", "::1", "fe80::1", "fe80::1%eth0", "fe80::1%1", "febf::1", "fec0::1", "feff::1", "fc00::1", "fd12::1",
    "ff02::1", "ff0e::1", "100::1", "2001:db8::1", "3fff::1", "2001:2::1", "2001:10::1", "2001:20::1",
    "5f00::1", "4000::1", "1fff::1", "e000::1",
]  # fmt: skip
PUBLIC_4 = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255",
    "172.32.0.0", "192.0.1.1", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
]  # fmt: skip
PUBLIC_6 = [
    "2000::1",
    "2606:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450:4001:80b::200e",
    "3ffe::1",
    "2001:200::1",
]


def wrappings(inner: str) -> dict[str, str]:
    """Every way in which IPv6 carries the IPv4 address `inner`."""
    number = int(ipaddress.IPv4Address(inner))
    high, low = number >> 16, number & 0xFFFF
    return {
        "mapped": f"::ffff:{inner}",
        "compatible": f"::{inner}",
        "translated": f"::ffff:0:{inner}",
        "nat64": f"64:ff9b::{high:x}:{low:x}",
        "local nat64, /48": f"64:ff9b:1:{high:x}:{low >> 8:x}:{(low & 0xFF) << 8:x}::",
        "local nat64, /96": f"64:ff9b:1::{high:x}:{low:x}",
        "6to4": f"2002:{high:x}:{low:x}::1",
    }


@pytest.mark.parametrize("address", PRIVATE_4 + METADATA + PRIVATE_6)
def test_a_special_purpose_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC_4 + PUBLIC_6)
def test_a_global_address_is_public_also_next_to_a_denied_range(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "inner", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "168.63.129.16", "224.0.0.1"]
)
@pytest.mark.parametrize("way", list(wrappings("0.0.0.0")))
def test_a_private_address_stays_private_in_every_wrapping(way: str, inner: str) -> None:
    assert not is_public(wrappings(inner)[way])


@pytest.mark.parametrize("way", list(wrappings("0.0.0.0")))
def test_a_public_address_stays_public_in_every_wrapping(way: str) -> None:
    assert is_public(wrappings("8.8.4.1")[way])


@pytest.mark.parametrize(
    "address",
    ["64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "::127.0.0.1", "fec0::1", "224.0.0.1", "192.0.0.192", "168.63.129.16"],
)  # fmt: skip
def test_what_the_standard_library_calls_global_wrongly_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_a_mapped_loopback_is_not_public() -> None:
    assert not is_public("::ffff:127.0.0.1")
    assert not is_public("::ffff:7f00:1")


def test_teredo_is_denied_even_with_public_addresses_inside() -> None:
    assert not is_public("2001:0:808:808:0:0:f7f7:f7f7")
    assert not is_public("2001::1")


def test_local_nat64_of_longer_prefixes_is_unwrapped() -> None:
    assert not is_public("64:ff9b:1:a:7f:0:100:0")  # /64 and 127.0.0.1
    assert not is_public("64:ff9b:1:a:8:808::")  # /56 and 10.8.8.8
    assert is_public("64:ff9b:1:a:8:808:800:0")  # /64 and 8.8.8.8


def test_local_nat64_with_the_reserved_octet_set_is_denied() -> None:
    assert not is_public("64:ff9b:1:808:ff08:800::")


@pytest.mark.parametrize(
    "text",
    ["", "example.org", "127.1", "0x7f.1", "1.2.3.4.5", "[::1]", "::g", "1.2.3.4%eth0", "\udc80", "١.١.١.١"],
)
def test_what_is_not_a_numeric_address_is_not_public(text: str) -> None:
    assert not is_public(text)


def test_packed_bytes_and_address_objects_are_judged_like_text() -> None:
    assert is_public(bytes([8, 8, 8, 8]))
    assert not is_public(bytes([127, 0, 0, 1]))
    assert not is_public(ipaddress.ip_address("::1"))
    assert is_public(ipaddress.ip_address("2606:4700::1"))
    assert not is_public(b"8.8.8.8")


def test_a_scope_changes_nothing_about_the_address() -> None:
    assert not is_public("fe80::8.8.8.8%eth0")
    assert is_public("2606:4700::1%eth0")


@given(st.ip_addresses(v=4))
def test_every_public_ipv4_address_is_global_to_the_standard_library_too(
    address: ipaddress.IPv4Address,
) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_every_public_ipv6_address_is_global_to_the_standard_library_too(
    address: ipaddress.IPv6Address,
) -> None:
    carries_ipv4 = address.packed.startswith((bytes(8), b"\x00\x64\xff\x9b", b"\x20\x02"))
    if is_public(address) and not carries_ipv4:
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_site_local


@given(st.ip_addresses(v=4))
def test_wrapping_never_changes_the_verdict_of_mapped_and_nat64(address: ipaddress.IPv4Address) -> None:
    ways = wrappings(str(address))
    for way in ("mapped", "compatible", "translated", "nat64", "6to4"):
        assert is_public(ways[way]) == is_public(address)


@given(st.text())
def test_any_text_gets_a_verdict(text: str) -> None:
    assert is_public(text) in {True, False}
    assert literal_address(text) is None or ipaddress.ip_address(text)


def test_private_answers_are_dropped_from_a_mixed_answer_in_order() -> None:
    answers = ["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1", "64:ff9b::7f00:1", "1.1.1.1"]
    assert permitted_addresses(answers) == ["8.8.8.8", "2606:4700::1", "1.1.1.1"]
    assert permitted_addresses(["127.0.0.1", "::1"]) == []


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST", "localhost.", "localhost..", "a.localhost", "a.b.LocalHost."]
)
def test_localhost_is_local_without_resolving(name: str) -> None:
    assert is_local_name(name)


@pytest.mark.parametrize("name", ["localhost.example.org", "notlocalhost", "example.org", "", "127.0.0.1"])
def test_other_names_are_not_local(name: str) -> None:
    assert not is_local_name(name)


def test_an_address_literal_is_recognised_and_canonical() -> None:
    assert literal_address("127.0.0.1") == "127.0.0.1"
    assert literal_address("0:0::0:1") == "::1"
    assert literal_address("::ffff:127.0.0.1") == "::ffff:7f00:1"


@pytest.mark.parametrize("name", ["example.org", "h1", "1.example1", "1.2.3", "127.1", "", "::zz"])
def test_a_name_is_no_literal(name: str) -> None:
    assert literal_address(name) is None


def test_mapped_addresses_are_spelled_in_hexadecimal_in_every_python() -> None:
    assert canonical_address(ipaddress.ip_address("::ffff:0.0.0.0")) == "::ffff:0:0"
    assert canonical_address(ipaddress.ip_address("::ffff:1.2.3.4")) == "::ffff:102:304"
