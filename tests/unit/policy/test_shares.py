"""Shares of hosts: stable, exhaustive and disjoint; limits of divided hosts add up."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.model import Job
from fetcher.policy.shares import HeavyHosts, Share, ShareRules, stable_hash
from fetcher.policy.throttle import HostThrottle
from fetcher.policy.urls import admit

VECTORS = {
    "example.org:443": 0x3F56B5FB01044D41,
    "example.org:80": 0x0FC46E2DED9BD4CF,
    "localhost:8080": 0x8B1FDC44BDAF9D6B,
    "[2001:db8::1]:443": 0x53143C1F9D634931,
}


def rules(count: int, divided: dict[str, int] | None = None) -> list[ShareRules]:
    return [ShareRules(Share(index, count, divided or {})) for index in range(count)]


def job(url: str) -> Job:
    return Job(id=0, url=url, target=admit(url))


@pytest.mark.parametrize(("host", "expected"), VECTORS.items())
def test_the_hash_is_the_one_of_the_documents_for_ever(host: str, expected: int) -> None:
    assert stable_hash(host) == expected


def test_a_host_and_port_has_one_share_however_its_url_is_spelled() -> None:
    share = rules(16)[1]
    for url in ("https://example.org/", "HTTPS://EXAMPLE.ORG:443/a?b#c", "https://ex%61mple.org/x"):
        assert share.takes(job(url))
    assert not share.takes(job("http://example.org/"))


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 30), st.text("abc/é?=", max_size=8)), max_size=30),
    st.dictionaries(st.integers(0, 30), st.integers(2, 40), max_size=8),
)
def test_each_url_is_in_exactly_one_share(
    count: int, urls: list[tuple[int, str]], divided: dict[int, int]
) -> None:
    shares = {f"h{host}.test:80": min(k, count) for host, k in divided.items()}
    jobs = [job(f"http://h{host}.test/{path}") for host, path in urls]
    jobs += [Job(id=0, url=path, target=None) for _, path in urls]
    for one in jobs:
        assert sum(share.takes(one) for share in rules(count, shares)) == 1


def test_the_limits_of_a_divided_host_add_up_and_a_strange_host_has_only_a_part() -> None:
    host = "example.org:443"
    shares = rules(8, {host: 3})
    parts = [share.throttle(host, lambda _: HostThrottle(8, delay_s=0.5, rate=6.0)) for share in shares]
    own = [part for share, part in zip(shares, parts, strict=True) if part.delay_s == 1.5]
    assert sorted(part.most for part in own) == [2, 3, 3]
    assert all(part.delay_s == 4.0 and part.most == 1 for part in parts if part not in own)
    takers = {
        share.share.index for share in shares for n in range(50) if share.takes(job(f"https://{host}/{n}"))
    }
    assert takers == {index for index, part in enumerate(parts) if part in own}
    [whole] = [share for share in rules(8) if share.takes(job(f"https://{host}/"))]
    assert whole.throttle(host, lambda _: HostThrottle(8, delay_s=0.5)).most == 8


def test_heavy_hosts_are_found_among_many_and_divided_no_further_than_their_limit_allows() -> None:
    heavy = HeavyHosts(10)
    names = [f"h{n}:80" for n in range(20_000)] + ["large:80"] * 12_000 + ["shy:80"] * 8_000
    heavy.count(sorted(names, key=stable_hash))
    assert heavy.divided(lambda host: 1 if host == "shy:80" else 8) == {"large:80": 3}


def test_even_hosts_are_not_divided() -> None:
    heavy = HeavyHosts(4)
    heavy.count(f"h{n % 300}:80" for n in range(50_000))
    assert heavy.divided(lambda _: 8) == {}
    spread = Counter(stable_hash(f"h{n}:80") % 4 for n in range(300))
    assert min(spread.values()) > 50
