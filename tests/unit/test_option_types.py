"""The kinds of settings: what each takes, and that it reads back what it shows."""

from __future__ import annotations

from datetime import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import ConfigError
from fetcher.option_types import as_text, optional
from fetcher.option_types.request import host_key
from fetcher.option_types.values import (
    FUNCTION,
    LONGEST_S,
    PATTERNS,
    RATE,
    SECONDS,
    SIZE,
    Deadline,
    whole,
    words,
)
from fetcher.settings import OPTIONS, convert, make


def one(key: str, value: Any) -> Any:
    return getattr(make({key: value}), key)


def complaint(key: str, value: Any) -> str | None:
    try:
        make({key: value})
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("100", 100),
        ("500K", 512_000),
        ("500k", 512_000),
        ("10MB", 10 * 1024**2),
        ("1.5GiB", 3 * 512 * 1024**2),
        (" 2T ", 2 * 1024**4),
        ("0.3K", 307),
        (4096, 4096),
        (1e6, 1_000_000),
    ],
)
def test_a_size_counts_in_units_of_1024(text: str | float, size: int) -> None:
    assert SIZE.parse(text) == size


@given(st.integers(0, 2**63 - 1))
def test_a_size_reads_back_as_it_was_shown(size: int) -> None:
    plain = SIZE.to_plain(size)
    assert SIZE.parse(plain) == size
    assert SIZE.parse(as_text(plain)) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/s", 10.0),
        ("300/m", 5.0),
        ("5/h", 5 / 3600),
        ("0.5/s", 0.5),
        ("2", 2.0),
        (3, 3.0),
        ("12 / d", 12 / 86400),
    ],
)
def test_a_rate_is_starts_per_second(text: str | float, rate: float) -> None:
    assert RATE.parse(text) == rate


@given(st.one_of(st.just(0.0), st.floats(1 / LONGEST_S, 1e6)))
def test_a_rate_reads_back_as_it_was_shown(rate: float) -> None:
    assert RATE.parse(RATE.to_plain(rate)) == rate


@given(st.integers(1, 100_000), st.sampled_from("smhd"))
def test_a_rate_of_whole_numbers_is_shown_with_whole_numbers(count: int, unit: str) -> None:
    plain = RATE.to_plain(RATE.parse(f"{count}/{unit}"))
    assert str(plain)[:-2].isdigit()
    assert RATE.parse(plain) == RATE.parse(f"{count}/{unit}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1.5", 1.5),
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("1d", 86400.0),
        ("90s", 90.0),
        ("1.5h", 5400.0),
        (0, 0.0),
        (".5", 0.5),
    ],
)
def test_a_duration_is_seconds(text: str | float, seconds: float) -> None:
    assert SECONDS.parse(text) == seconds


@given(st.floats(0, LONGEST_S))
def test_a_duration_reads_back_as_it_was_shown(seconds: float) -> None:
    plain = SECONDS.to_plain(seconds)
    assert SECONDS.parse(plain) == seconds
    assert SECONDS.parse(as_text(plain)) == seconds


@given(st.text())
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for option in OPTIONS.values():
        try:
            value = option.kind.parse(text)
        except ValueError:
            continue
        assert option.kind.parse(value) == value, option.key


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    )
)
def test_anything_at_all_is_a_value_or_a_config_error_of_one_line(value: object) -> None:
    for key, option in OPTIONS.items():
        if "library" not in option.where:
            continue
        message = complaint(key, value)
        assert message is None or message.startswith((key, "host."))
        assert message is None or (message.isprintable() and len(message) < 250)


@pytest.mark.parametrize("value", ["none", "None", 0, "0", None])
def test_none_and_zero_are_no_limit(value: object) -> None:
    for key in ("rate", "max_bandwidth", "timeout", "min_speed", "max_size", "max_failures", "min_free"):
        assert one(key, value) is None


def test_none_is_shown_as_a_word_that_reads_back() -> None:
    kind = optional(SIZE)
    assert kind.to_plain(None) == "none"
    assert kind.parse("none") is None


def test_zero_is_no_deadline_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"^deadline: expected a duration such as 2h"):
        make({"deadline": 0})


def test_statuses_come_as_text_or_as_any_collection_of_numbers() -> None:
    assert one("retry_on", "429, 503") == {429, 503}
    assert one("retry_on", [429, "503"]) == {429, 503}
    assert one("retry_on", {429}) == {429}
    assert one("retry_on", "none") == one("retry_on", []) == frozenset()


def test_truth_has_the_usual_words() -> None:
    for word in ("true", "1", "yes", "ON", True, 1):
        assert one("netrc", word) is True
    for word in ("false", "0", "no", "Off", False, 0):
        assert one("netrc", word) is False


def test_an_http_version_may_be_a_number() -> None:
    assert one("http", 2) == "2"
    assert one("http", 1.1) == "1.1"


def test_headers_come_as_lines_pairs_or_a_mapping() -> None:
    expected = (("Accept", "text/html"), ("X-Tag", "a: b"))
    assert one("headers", ["Accept: text/html", "X-Tag:a: b"]) == expected
    assert one("headers", {"Accept": "text/html", "X-Tag": "a: b"}) == expected
    assert one("headers", expected) == expected
    assert one("headers", "Accept: text/html") == expected[:1]


def test_a_header_is_taken_away_or_sent_empty_as_in_curl() -> None:
    assert one("headers", ["Accept:", "X-Empty;"]) == (("Accept", None), ("X-Empty", ""))
    kind = OPTIONS["headers"].kind
    assert kind.parse(kind.to_plain((("Accept", None), ("X-Empty", "")))) == (
        ("Accept", None),
        ("X-Empty", ""),
    )


@pytest.mark.parametrize(
    "header",
    [
        "A: b\r\nEvil: c",
        "A: b\nc",
        "A: \0",
        "A : b",
        "no colon",
        ": b",
        "",
        "Ä: b",
        "A: \ud800",
        5,
        [5],
        [["A", "b"]],
        {"A": 5},
    ],
)
def test_a_header_that_could_break_the_message_is_refused(header: object) -> None:
    with pytest.raises(ConfigError, match=r"^headers: expected 'Name: value' on one line"):
        make({"headers": header})


def test_resolve_takes_ipv6_in_brackets_and_several_addresses() -> None:
    assert one("resolve", ["Example.org:443:192.0.2.1,[2001:db8::1]", "[::1]:80:127.0.0.1"]) == (
        ("example.org", 443, "192.0.2.1"),
        ("example.org", 443, "2001:db8::1"),
        ("::1", 80, "127.0.0.1"),
    )


@given(st.ip_addresses(), st.integers(1, 65535))
def test_resolve_reads_back_as_it_was_shown(address: object, port: int) -> None:
    kind = OPTIONS["resolve"].kind
    value = kind.parse(f"[::1]:{port}:{address}") + kind.parse(f"a.example:{port}:[{address}]")
    assert kind.parse(kind.to_plain(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "a:80",
        "a:0:127.0.0.1",
        "a:65536:127.0.0.1",
        "a:80:example.org",
        "::1:80:127.0.0.1",
        "a:80:fe80::1%eth0",
    ],
)
def test_resolve_refuses_what_is_not_a_host_a_port_and_an_address(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^resolve: expected HOST:PORT:ADDRESS"):
        make({"resolve": text})


def test_a_path_may_be_a_path_object() -> None:
    assert one("cookies", Path("a") / "b") == "a/b"


def test_user_may_be_a_pair() -> None:
    assert one("user", ("alice", "a:b")) == "alice:a:b"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Example.org", "example.org"),
        ("bücher.example:80", "xn--bcher-kva.example:80"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("[0:0::1]:80", "[::1]:80"),
    ],
)
def test_a_host_is_looked_up_by_its_canonical_name(text: str, key: str) -> None:
    assert host_key(text) == key
    assert host_key(key) == key


def test_a_whole_number_names_its_bounds() -> None:
    assert whole(1, 3).expected == "a whole number from 1 to 3"
    assert convert(OPTIONS["concurrency"], " 5 ") == 5


def test_a_number_too_long_to_print_is_refused_like_any_other() -> None:
    with pytest.raises(ConfigError, match=r"^concurrency: expected"):
        make({"concurrency": 10**5000})
    with pytest.raises(ConfigError, match=r"^delay: expected"):
        make({"delay": 10**5000})


def test_a_deadline_is_a_duration_or_a_time_of_day() -> None:
    assert one("deadline", "2h") == Deadline(after_s=7200.0)
    assert one("deadline", "06:00") == one("deadline", time(6)) == Deadline(clock=time(6))
    assert one("deadline", "6:05:30") == Deadline(clock=time(6, 5, 30))
    assert one("deadline", 90) == Deadline(after_s=90.0)


@given(
    st.one_of(
        st.builds(Deadline, after_s=st.floats(0.001, LONGEST_S)),
        st.builds(lambda s: Deadline(clock=time(s // 3600, s // 60 % 60, s % 60)), st.integers(0, 86399)),
    )
)
def test_a_deadline_reads_back_as_it_was_shown(deadline: Deadline) -> None:
    kind = OPTIONS["deadline"].kind
    assert kind.parse(as_text(kind.to_plain(deadline))) == deadline


def test_some_words_come_as_text_or_as_any_collection() -> None:
    kind = words("nofollow", "meta", "canonical")
    assert kind.parse("Meta, nofollow") == kind.parse(["nofollow", "meta"]) == {"meta", "nofollow"}
    assert kind.parse("none") == kind.parse("") == kind.parse([]) == frozenset()
    assert kind.to_plain(frozenset({"nofollow", "meta"})) == ["meta", "nofollow"]
    for value in ("meta,robots", 5, [["meta"]], None):
        with pytest.raises(ValueError):
            kind.parse(value)


def test_patterns_stay_as_they_were_written_however_many_there_are() -> None:
    assert PATTERNS.parse("/a,b/") == ("/a,b/",), "a comma belongs to the pattern"
    assert PATTERNS.parse(["a", "b$"]) == PATTERNS.parse(("a", "b$")) == ("a", "b$")
    assert PATTERNS.to_plain(("a", "b$")) == ["a", "b$"]
    for value in ("", [""], "a\nb", ["a", 5], {"a": 1}, "\ud800"):
        with pytest.raises(ValueError):
            PATTERNS.parse(value)


@pytest.mark.parametrize(
    "text",
    [
        "pages:read",
        "my.pages:Reader.read",
        "módulo:función",
        "my-pages.py:read",
        "/srv/a b/c:d.py:Reader.read",
    ],
)
def test_a_function_is_named_by_its_module_and_its_name(text: str) -> None:
    assert one("parser", text) == text
    assert FUNCTION.to_plain(text) == text


@pytest.mark.parametrize(
    "value",
    [
        "read",
        "pages:",
        ":read",
        "a:b:c",
        "a b:c",
        "a/b:c",
        "a..b:c",
        "1a:b",
        "a.py:",
        "a\n.py:b",
        "",
        5,
        ["a:b"],
    ],
)
def test_what_names_no_function_of_a_module_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^parser: expected MODULE:FUNCTION, such as my_pages:read, got "):
        make({"parser": value})


def test_the_library_takes_the_function_itself() -> None:
    assert one("parser", len) is len
    assert FUNCTION.to_plain(complaint) == f"{__name__}:complaint"
    assert isinstance(FUNCTION.to_plain(Path("x").joinpath), str)
