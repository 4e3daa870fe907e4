"""What makes two requests the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.engine.job_factory import JobFactory
from fetcher.model import Entry
from fetcher.policy.fingerprint import request_fingerprint, text_fingerprint

URL = "http://h/p?q"


def key(url: str = URL, **columns: Any) -> tuple[int, int]:
    return request_fingerprint(JobFactory().job_of(Entry(url, **columns)))


def test_a_key_is_two_numbers_that_sqlite_can_hold_and_never_changes() -> None:
    """The numbers are stored: another value would fetch everything again."""
    assert key("http://example.org/") == (6723038665159202879, -2812927864484411060)
    assert key("http://example.org/", method="POST", body="x") != key("http://example.org/")
    assert text_fingerprint("example.org/index.html") == -4777884565685229113


@given(st.text())
def test_keys_fit_in_64_bits_with_a_sign(text: str) -> None:
    for number in (*key(f"line {text!a}"), text_fingerprint(text)):
        assert -(2**63) <= number < 2**63


SAME = [
    {"url": "HTTP://H:80/p?q#fragment"},
    {"url": "http://h/./x/../p?q"},
    {"method": "get"},
    {"name": "n", "sha256": "ab" * 32, "priority": 9, "source": "s", "line": 1, "meta": {"k": 1}},
    {"headers": {}},
]


@pytest.mark.parametrize("columns", SAME)
def test_what_does_not_change_the_request_does_not_change_the_key(columns: dict[str, Any]) -> None:
    assert key(**columns) == key()


def test_headers_have_no_order_and_their_names_no_case() -> None:
    one = key(headers={"Accept": "x", "X-Token": "y"})
    assert one == key(headers={"x-token": "y", "ACCEPT": "x"})


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"url": "http://h/p?Q"},
    {"url": "http://h/P?q"},
    {"url": "http://h/p?q&"},
    {"url": "https://h/p?q"},
    {"url": "http://h:81/p?q"},
    {"url": "http://u:a@h/p?q"},
    {"url": "http://u:b@h/p?q"},
    {"url": "http://ua@h/p?q"},
    {"method": "HEAD"},
    {"method": "POST"},
    {"method": "POST", "body": "a"},
    {"method": "POST", "body": "61"},
    {"method": "GET", "body": "a"},
    {"headers": {"A": "x"}},
    {"headers": {"A": "X"}},
    {"headers": {"A": "x", "B": "y"}},
    {"headers": {"A": "x, B: y"}},
    {"headers": {"Authorization": "x"}},
    {"headers": {"Authorization": "y"}},
    {"url": "http://u:a@h/p?q", "headers": {"A": "x"}},
    {"url": "http:h/p?q"},
    {"url": "refused"},
]


def test_whatever_changes_the_request_changes_the_key() -> None:
    keys = [key(**columns) for columns in DIFFERENT]
    assert len(set(keys)) == len(DIFFERENT)
    assert len({first for first, _ in keys}) == len(DIFFERENT)


def test_the_runs_own_method_and_body_are_part_of_it() -> None:
    entry = Entry(URL)
    keys = {
        request_fingerprint(job_factory.job_of(entry))
        for job_factory in (JobFactory(), JobFactory("POST", b"a"), JobFactory("POST", b"b"))
    }
    assert len(keys) == 3


def test_a_line_that_is_no_url_is_known_by_its_text() -> None:
    assert key("no url") == key("no url", meta={"k": 1})
    assert key("no url") != key("no url either")


def test_the_key_does_not_need_the_credentials_to_be_stored() -> None:
    """Listed again, a URL is found by the digest of what it holds, not by a stored secret."""
    assert key("http://u:a@h/") == key("http://u:a@h/")
