"""The table of settings and its kinds."""

from __future__ import annotations

import pickle
from datetime import datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import ConfigError
from fetcher.settings import (
    DEFAULTS,
    GROUPS,
    LONGEST_S,
    OPTIONS,
    RATE,
    SECONDS,
    SIZE,
    Deadline,
    HostSettings,
    Settings,
    as_text,
    convert,
    deadline_seconds,
    host_key,
    make,
    optional,
    whole,
)

BERLIN = ZoneInfo("Europe/Berlin")


def one(key: str, value: Any) -> Any:
    return getattr(make({key: value}), key)


def complaint(key: str, value: Any) -> str | None:
    try:
        make({key: value})
    except ConfigError as error:
        return str(error)
    return None


# --- the table ---


def test_the_table_and_the_fields_are_the_same_keys_but_for_config() -> None:
    assert OPTIONS.keys() - {"config"} == {field.name for field in msgspec.structs.fields(Settings)}


def test_the_defaults_are_those_of_the_contract() -> None:
    assert (DEFAULTS.concurrency, DEFAULTS.per_host, DEFAULTS.retries, DEFAULTS.max_redirects) == (
        64,
        8,
        3,
        10,
    )
    assert (DEFAULTS.connect_timeout, DEFAULTS.header_timeout, DEFAULTS.read_timeout) == (10, 60, 30)
    assert (DEFAULTS.timeout, DEFAULTS.rate, DEFAULTS.max_size, DEFAULTS.deadline) == (None, None, None, None)
    assert (DEFAULTS.max_wait, DEFAULTS.grace, DEFAULTS.min_speed) == (300, 10, 100)
    assert DEFAULTS.min_free == 256 * 1024 * 1024
    assert DEFAULTS.retry_on == {408, 425, 429, 500, 502, 503, 504}


@pytest.mark.parametrize("key", [key for key in OPTIONS if key != "config"])
def test_each_default_reads_back_from_its_plain_form_and_its_text(key: str) -> None:
    option, default = OPTIONS[key], getattr(DEFAULTS, key)
    plain = option.kind.plain(default)
    if plain is not None:
        assert option.kind.parse(plain) == default
    if plain is not None and not option.kind.is_repeatable and key != "hosts":
        assert option.kind.parse(as_text(plain)) == default


def test_each_option_has_a_heading_and_one_short_line_of_help() -> None:
    for option in OPTIONS.values():
        assert option.group in GROUPS
        assert 0 < len(option.help) <= 90
        assert "\n" not in option.help
        assert not option.help.endswith(".")


def test_short_forms_and_long_forms_are_unique() -> None:
    forms = [form for option in OPTIONS.values() for form in (option.flag, option.short) if form]
    forms += [f"--no-{option.flag[2:]}" for option in OPTIONS.values() if option.is_flag]
    assert len(forms) == len(set(forms))


# --- kinds ---


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
    plain = SIZE.plain(size)
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
    assert RATE.parse(RATE.plain(rate)) == rate


@given(st.integers(1, 100_000), st.sampled_from("smhd"))
def test_a_rate_of_whole_numbers_is_shown_with_whole_numbers(count: int, unit: str) -> None:
    plain = RATE.plain(RATE.parse(f"{count}/{unit}"))
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
    plain = SECONDS.plain(seconds)
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
    assert kind.plain(None) == "none"
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
    assert one("header", ["Accept: text/html", "X-Tag:a: b"]) == expected
    assert one("header", {"Accept": "text/html", "X-Tag": "a: b"}) == expected
    assert one("header", expected) == expected
    assert one("header", "Accept: text/html") == expected[:1]


def test_a_header_is_taken_away_or_sent_empty_as_in_curl() -> None:
    assert one("header", ["Accept:", "X-Empty;"]) == (("Accept", None), ("X-Empty", ""))
    kind = OPTIONS["header"].kind
    assert kind.parse(kind.plain((("Accept", None), ("X-Empty", "")))) == (("Accept", None), ("X-Empty", ""))


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
    with pytest.raises(ConfigError, match=r"^header: expected 'Name: value' on one line"):
        make({"header": header})


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
    assert kind.parse(kind.plain(value)) == value


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


def test_a_method_is_post_where_there_is_data_and_no_method() -> None:
    assert make({}).method == "GET"
    assert make({"data": "a=b"}).method == "POST"
    assert make({"data": ""}).method == "POST"
    assert make({"data": b"\xff", "method": "put"}) == Settings(data=b"\xff", method="PUT")
    assert make({"data": None}).method == "GET"


def test_a_path_may_be_a_path_object() -> None:
    assert one("cookies", Path("a") / "b") == "a/b"


def test_not_given_may_be_said_as_none() -> None:
    assert make({"proxy": None, "user": None, "cookies": None}) == DEFAULTS


def test_user_may_be_a_pair() -> None:
    assert one("user", ("alice", "a:b")) == "alice:a:b"


# --- hosts ---


def test_hosts_have_settings_of_their_own() -> None:
    hosts = one("hosts", {"Example.ORG:8443": {"per_host": "2", "rate": "30/m", "headers": {"A": "b"}}})
    assert hosts == {"example.org:8443": HostSettings(per_host=2, rate=0.5, headers=(("A", "b"),))}
    assert one("hosts", hosts) == hosts


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


def test_a_wrong_setting_of_a_host_names_host_and_key() -> None:
    with pytest.raises(ConfigError, match=r'^host\."example\.org"\.per_host: expected a whole number'):
        make({"hosts": {"example.org": {"per_host": "many"}}})
    with pytest.raises(
        ConfigError, match=r'^host\."example\.org": unknown key header; did you mean headers\?'
    ):
        make({"hosts": {"example.org": {"header": {}}}})
    with pytest.raises(ConfigError, match=r'^host\."http://a/": expected a host'):
        make({"hosts": {"http://a/": {}}})


# --- errors ---


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("concurrency", "x", "concurrency: expected a whole number from 1 to 100000, got 'x'"),
        ("concurrency", 0, "concurrency: expected a whole number from 1 to 100000, got 0"),
        ("concurrency", True, "concurrency: expected a whole number from 1 to 100000, got True"),
        ("concurrency", 1.5, "concurrency: expected a whole number from 1 to 100000, got 1.5"),
        ("per_host", "٣", "per_host: expected a whole number from 1 to 100000, got '٣'"),
        ("max_size", "10X", "max_size: expected a size such as 500K, 10M or 1.5G, or none, got '10X'"),
        ("max_size", "1.5", "max_size: expected a size such as 500K, 10M or 1.5G, or none, got '1.5'"),
        ("max_size", -1, "max_size: expected a size such as 500K, 10M or 1.5G, or none, got -1"),
        ("rate", "10/w", "rate: expected a rate such as 10/s, 300/m or 5/h, or none, got '10/w'"),
        ("rate", "nan", "rate: expected a rate such as 10/s, 300/m or 5/h, or none, got 'nan'"),
        ("delay", "-1", "delay: expected seconds, or a time such as 1.5s, 2m or 1h30m, got '-1'"),
        ("delay", float("inf"), "delay: expected seconds, or a time such as 1.5s, 2m or 1h30m, got inf"),
        ("delay", "1h30", "delay: expected seconds, or a time such as 1.5s, 2m or 1h30m, got '1h30'"),
        (
            "read_timeout",
            0,
            "read_timeout: expected more than 0 seconds, or a time such as 1.5s, 2m or 1h30m, got 0",
        ),
        (
            "deadline",
            "25:00",
            "deadline: expected a duration such as 2h, or a time of day such as 06:00, or none, got '25:00'",
        ),
        ("retry_on", "200", "retry_on: expected statuses from 400 to 999 such as 429,503, got '200'"),
        ("http", "4", "http: expected auto, 1.1, 2 or 3, got '4'"),
        ("store", "s3", "store: expected files or none, got 's3'"),
        ("netrc", "maybe", "netrc: expected true or false, got 'maybe'"),
        ("cookies", "", "cookies: expected the path of a file, got ''"),
        ("method", "CONNECT", "method: expected an HTTP method such as GET or POST, got 'CONNECT'"),
        ("backend", "../x", "backend: expected the name of a backend, got '../x'"),
        ("user_agent", "a\nb", r"user_agent: expected text without control characters, got 'a\nb'"),
        ("ipv4", "\x1b[2J", r"ipv4: expected true or false, got '\x1b[2J'"),
    ],
)
def test_a_bad_value_gives_one_line_with_the_key_and_what_was_expected(
    key: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make({key: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("user", "s3cret-token"),
        ("user", "a:s3cret\n"),
        ("header", "Authorization s3cret"),
        ("proxy", "ftp://a:s3cret@h/x"),
        ("proxy", "http://a:s3cret@h/x"),
        ("data", ["s3cret"]),
    ],
)
def test_a_bad_value_that_may_be_a_secret_is_never_shown(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make({key: value})
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).startswith(f"{key}: expected ")


def test_an_unknown_key_names_the_closest_one() -> None:
    with pytest.raises(ConfigError, match=r"^unknown key perhost; did you mean per_host\?$"):
        make({"perhost": 3})
    with pytest.raises(ConfigError, match=r"^unknown key zzzzzzz$"):
        make({"zzzzzzz": 3})


def test_the_library_has_no_settings_for_printing_or_files_of_settings() -> None:
    for key in ("quiet", "json", "config", "input", "output", "log_file"):
        with pytest.raises(ConfigError, match=f"^unknown key {key}"):
            make({key: "x"})


def test_ipv4_and_ipv6_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"^ipv4: cannot stand together with ipv6$"):
        make({"ipv4": True, "ipv6": True})


def test_a_number_too_long_to_print_is_refused_like_any_other() -> None:
    with pytest.raises(ConfigError, match=r"^concurrency: expected"):
        make({"concurrency": 10**5000})
    with pytest.raises(ConfigError, match=r"^delay: expected"):
        make({"delay": 10**5000})


def test_the_repr_shows_what_differs_and_no_secret() -> None:
    settings = make(
        {
            "concurrency": 3,
            "user": "alice:s3cret",
            "header": ["Cookie: s3cret", "Accept: text/html"],
            "proxy": "http://bob:s3cret@proxy.example:3128",
            "data": "s3cret",
            "hosts": {"example.org": {"user": "a:s3cret", "headers": {"X-Key": "s3cret"}}},
        }
    )
    shown = repr(settings)
    assert "s3cret" not in shown
    assert "concurrency=3" in shown
    assert "text/html" in shown
    assert "http://***:***@proxy.example:3128" in shown
    assert "per_host" not in shown


def test_settings_can_be_sent_to_another_process() -> None:
    settings = make({"deadline": "06:00", "hosts": {"a.example": {"delay": 1}}})
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_whole_number_names_its_bounds() -> None:
    assert whole(1, 3).expected == "a whole number from 1 to 3"
    assert convert(OPTIONS["concurrency"], " 5 ") == 5


# --- the deadline ---


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
    assert kind.parse(as_text(kind.plain(deadline))) == deadline


def test_a_duration_is_its_seconds_whatever_the_time() -> None:
    assert deadline_seconds(Deadline(after_s=7200.0), datetime(2025, 1, 1, tzinfo=BERLIN)) == 7200.0


def test_a_time_of_day_is_the_next_one_to_come() -> None:
    six = Deadline(clock=time(6))
    assert deadline_seconds(six, datetime(2025, 1, 1, 5, 59, 30, tzinfo=BERLIN)) == 30.0
    assert deadline_seconds(six, datetime(2025, 1, 1, 6, 0, tzinfo=BERLIN)) == 86400.0
    assert deadline_seconds(six, datetime(2025, 1, 1, 22, 0, tzinfo=BERLIN)) == 8 * 3600.0


def test_a_time_of_day_counts_the_seconds_that_pass_over_a_change_of_the_clock() -> None:
    six = Deadline(clock=time(6))
    assert deadline_seconds(six, datetime(2025, 3, 29, 22, 0, tzinfo=BERLIN)) == 7 * 3600.0
    assert deadline_seconds(six, datetime(2025, 10, 25, 22, 0, tzinfo=BERLIN)) == 9 * 3600.0


def test_a_time_that_comes_twice_in_one_night_is_taken_the_second_time_if_the_first_is_past() -> None:
    half_past_two = Deadline(clock=time(2, 30))
    assert deadline_seconds(half_past_two, datetime(2025, 10, 26, 2, 45, tzinfo=BERLIN)) == 45 * 60.0


@given(st.integers(0, 2**32), st.integers(0, 86399))
def test_a_time_of_day_is_never_past_nor_more_than_a_long_day_away(now: int, second: int) -> None:
    clock = time(second // 3600, second // 60 % 60, second % 60)
    assert 0 < deadline_seconds(Deadline(clock=clock), datetime.fromtimestamp(now, BERLIN)) <= 25 * 3600
