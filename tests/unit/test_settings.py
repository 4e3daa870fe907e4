"""The table of settings, its defaults for each command, and settings made of values."""

from __future__ import annotations

import pickle
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import ConfigError
from fetcher.option_types import as_text
from fetcher.option_types.values import Deadline
from fetcher.settings import (
    CRAWL_DEFAULTS,
    DEFAULTS,
    GROUPS,
    HOST_OPTIONS,
    OLD_KEYS,
    OPTIONS,
    SYNONYMS,
    HostSettings,
    Settings,
    build,
    crawl_defaults,
    deadline_seconds,
    make,
)

BERLIN = ZoneInfo("Europe/Berlin")


def one(key: str, value: Any) -> Any:
    return getattr(make({key: value}), key)


# --- the table ---


def test_the_table_and_the_fields_are_the_same_keys_but_for_config() -> None:
    assert OPTIONS.keys() - {"config"} == {field.name for field in msgspec.structs.fields(Settings)}


def test_the_defaults_are_those_of_the_contract() -> None:
    assert (DEFAULTS.concurrency, DEFAULTS.per_host) == (64, 8)
    assert (DEFAULTS.retries, DEFAULTS.max_redirects) == (3, 10)
    assert (DEFAULTS.connect_timeout, DEFAULTS.header_timeout, DEFAULTS.read_timeout) == (10, 60, 30)
    assert (DEFAULTS.timeout, DEFAULTS.rate, DEFAULTS.max_size, DEFAULTS.deadline) == (None, None, None, None)
    assert (DEFAULTS.max_wait, DEFAULTS.grace, DEFAULTS.min_speed) == (300, 10, 100)
    assert DEFAULTS.min_free == 256 * 1024 * 1024
    assert DEFAULTS.retry_on == {408, 425, 429, 500, 502, 503, 504}
    assert (DEFAULTS.processes, DEFAULTS.parser, DEFAULTS.offload) == (1, None, "auto")
    assert (DEFAULTS.parser_workers, DEFAULTS.parser_timeout) == (None, 10)
    assert DEFAULTS.parser_memory == 512 * 1024 * 1024
    assert (DEFAULTS.depth, DEFAULTS.max_pages, DEFAULTS.scope) == (5, None, "host")
    assert (DEFAULTS.max_variants, DEFAULTS.max_host_pages) == (1000, None)
    assert (DEFAULTS.include, DEFAULTS.exclude, DEFAULTS.ignore) == ((), (), frozenset())
    assert not any((DEFAULTS.no_robots, DEFAULTS.sitemaps, DEFAULTS.assets, DEFAULTS.sort_query))


def test_three_defaults_are_different_for_a_crawl() -> None:
    assert (CRAWL_DEFAULTS.per_host, CRAWL_DEFAULTS.timeout, CRAWL_DEFAULTS.max_size) == (
        4,
        120,
        32 * 1024**2,
    )
    others = {key: getattr(DEFAULTS, key) for key in ("per_host", "timeout", "max_size")}
    assert msgspec.structs.replace(CRAWL_DEFAULTS, **others) == DEFAULTS
    assert build({}, "crawl") == CRAWL_DEFAULTS


def test_what_was_chosen_is_no_default_even_where_it_is_the_same() -> None:
    chosen = build({"per_host": 8, "timeout": None, "depth": 2}, "crawl")
    assert (chosen.per_host, chosen.timeout, chosen.max_size, chosen.depth) == (8, None, 32 * 1024**2, 2)
    settings = make({"max_size": "none", "concurrency": 3})
    assert crawl_defaults(settings, {"max_size", "concurrency"}) == Settings(
        max_size=None, concurrency=3, per_host=4, timeout=120
    )
    assert crawl_defaults(settings, ()).max_size == 32 * 1024**2


def test_a_default_is_told_for_one_command_or_for_all() -> None:
    per_host = OPTIONS["per_host"]
    assert [per_host.default_for(command) for command in ("get", "crawl", None)] == ["8", "4", "8 (crawl: 4)"]
    assert OPTIONS["timeout"].default_for(None) == "none (crawl: 120)"
    assert OPTIONS["max_size"].default_for("crawl") == "32M"
    for key in ("concurrency", "depth"):
        option = OPTIONS[key]
        assert option.default_for("get") == option.default_for("crawl") == option.default_for(None) != ""
    assert OPTIONS["no_robots"].default_for(None) == ""


def test_what_only_a_crawl_takes_is_the_contracts_list_and_the_limits_on_traps() -> None:
    only = {key for key, option in OPTIONS.items() if not option.is_for("get")}
    assert only == {
        *("depth", "max_pages", "scope", "include", "exclude", "no_robots", "sitemaps", "assets", "ignore"),
        "convert_links",
        *("sort_query", "keep_session_ids", "max_variants", "max_host_pages"),
    }
    assert all(option.is_for("crawl") and option.is_for(None) for option in OPTIONS.values())


def test_the_settings_of_a_host_have_no_defaults_of_a_command() -> None:
    assert all(option.crawl_default is msgspec.UNSET for option in HOST_OPTIONS.values())


def test_a_flag_that_says_no_is_turned_off_by_saying_yes() -> None:
    assert (OPTIONS["no_robots"].flag, OPTIONS["no_robots"].flag_off) == ("--no-robots", "--robots")
    assert (OPTIONS["sitemaps"].flag, OPTIONS["sitemaps"].flag_off) == ("--sitemaps", "--no-sitemaps")


@pytest.mark.parametrize("key", [key for key in OPTIONS if key != "config"])
def test_each_default_reads_back_from_its_plain_form_and_its_text(key: str) -> None:
    option, default = OPTIONS[key], getattr(DEFAULTS, key)
    plain = option.kind.to_plain(default)
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
    forms += [option.flag_off for option in OPTIONS.values() if option.is_flag]
    assert len(forms) == len(set(forms))


def test_a_method_is_post_where_there_is_data_and_no_method() -> None:
    assert make({}).method == "GET"
    assert make({"data": "a=b"}).method == "POST"
    assert make({"data": ""}).method == "POST"
    assert make({"data": b"\xff", "method": "put"}) == Settings(data=b"\xff", method="PUT")
    assert make({"data": None}).method == "GET"


def test_not_given_may_be_said_as_none() -> None:
    assert make({"proxy": None, "user": None, "cookies": None}) == DEFAULTS


# --- hosts ---


def test_hosts_have_settings_of_their_own() -> None:
    hosts = one("hosts", {"Example.ORG:8443": {"per_host": "2", "rate": "30/m", "headers": {"A": "b"}}})
    assert hosts == {"example.org:8443": HostSettings(per_host=2, rate=0.5, headers=(("A", "b"),))}
    assert one("hosts", hosts) == hosts


def test_a_wrong_setting_of_a_host_names_host_and_key() -> None:
    with pytest.raises(ConfigError, match=r'^host\."example\.org"\.per_host: expected a whole number'):
        make({"hosts": {"example.org": {"per_host": "many"}}})
    with pytest.raises(ConfigError, match=r'^host\."example\.org": unknown key head; did you mean headers\?'):
        make({"hosts": {"example.org": {"head": {}}}})
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
        ("parser_memory", "none", "parser_memory: expected a size from 1M on, such as 512M, got 'none'"),
        ("parser_memory", "1023K", "parser_memory: expected a size from 1M on, such as 512M, got '1023K'"),
        ("processes", 0, "processes: expected a whole number from 1 to 256, got 0"),
        ("depth", "none", "depth: expected a whole number from 0 to 1000000, got 'none'"),
        ("scope", "page", "scope: expected host, domain, prefix or any, got 'page'"),
        ("ignore", "robots", "ignore: expected some of nofollow, meta, canonical, got 'robots'"),
        ("offload", "thread", "offload: expected auto, inline, threads or processes, got 'thread'"),
        (
            "parser_timeout",
            0,
            "parser_timeout: expected more than 0 seconds, or a time such as 1.5s, 2m or 1h30m, got 0",
        ),
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
        ("store", "s3", "store: expected files, none, warc or parquet, got 's3'"),
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
        ("headers", "Authorization s3cret"),
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


@pytest.mark.parametrize(
    ("theirs", "ours"), [("verify", "insecure"), ("auth", "user"), ("max_workers", "concurrency")]
)
def test_a_name_that_other_libraries_have_names_the_setting_here(theirs: str, ours: str) -> None:
    with pytest.raises(ConfigError, match=rf"^unknown key {theirs}; did you mean {ours}\?$"):
        make({theirs: "x"})


def test_every_synonym_stands_for_a_setting_and_is_none_itself() -> None:
    assert set(SYNONYMS.values()) | set(OLD_KEYS.values()) <= set(OPTIONS)
    assert not set(SYNONYMS) & set(OPTIONS)
    assert not set(OLD_KEYS) & set(OPTIONS)


def test_the_old_name_of_a_key_is_understood_and_not_beside_the_new_one() -> None:
    assert make({"header": {"A": "b"}}) == make({"headers": {"A": "b"}})
    assert make({"hosts": {"a.example": {"header": {"A": "b"}}}}).hosts["a.example"].headers == (("A", "b"),)
    with pytest.raises(ConfigError, match=r"^header: is headers by its old name, and headers is given too$"):
        make({"header": "A: b", "headers": "A: b"})


@pytest.mark.parametrize("other", ["retry_failed", "refresh"])
def test_restart_and_what_keeps_the_past_exclude_each_other(other: str) -> None:
    with pytest.raises(ConfigError, match=f"^{other}: cannot stand together with restart$"):
        make({other: True, "restart": True})


def test_the_library_has_no_settings_for_printing_or_files_of_settings() -> None:
    for key in ("quiet", "json", "config", "input", "output", "log_file"):
        with pytest.raises(ConfigError, match=f"^unknown key {key}"):
            make({key: "x"})


def test_ipv4_and_ipv6_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"^ipv4: cannot stand together with ipv6$"):
        make({"ipv4": True, "ipv6": True})


def test_the_repr_shows_what_differs_and_no_secret() -> None:
    settings = make(
        {
            "concurrency": 3,
            "user": "alice:s3cret",
            "headers": ["Cookie: s3cret", "Accept: text/html"],
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


# --- the deadline ---


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
