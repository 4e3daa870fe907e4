"""The four places that settings come from, job files, and how the effective settings are shown."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.config import Effective, find, load, load_job
from fetcher.config_output import as_json, as_toml, describe
from fetcher.errors import ConfigError
from fetcher.settings import CRAWL_DEFAULTS, DEFAULTS, OPTIONS, HostSettings, make

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = "fetcher.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def read(path: Path | None = None, *, environ: dict[str, str] | None = None, **flags: Any) -> Effective:
    return load("get", flags=flags, environ=environ or {}, config_path=path)


def read_crawl(path: Path | None = None, *, environ: dict[str, str] | None = None, **flags: Any) -> Effective:
    return load("crawl", flags=flags, environ=environ or {}, config_path=path)


def refusal(path: Path) -> str:
    """What is wrong with a file, its folder left out."""
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value).isprintable()
    return str(caught.value).replace(f"{path.parent}/", "")


# --- precedence and origins ---


def test_without_any_place_everything_is_a_default() -> None:
    effective = read()
    assert effective.settings == DEFAULTS
    assert set(effective.origins.values()) == {"default"}
    assert effective.origins.keys() == OPTIONS.keys() - {"config", "hosts"}


def test_later_places_win_and_each_value_knows_its_origin(write: Write) -> None:
    path = write(
        "[common]\nconcurrency = 1\nper_host = 1\ndelay = 1\nretries = 1\n\n[get]\nper_host = 2\ndelay = 2\nretries = 2\n"
    )
    effective = read(path, environ={"FETCHER_DELAY": "3", "FETCHER_RETRIES": "3"}, retries="4")
    settings = effective.settings
    assert (settings.concurrency, settings.per_host, settings.delay, settings.retries) == (1, 2, 3.0, 4)
    assert effective.origins["concurrency"] == f"file {path}:2"
    assert effective.origins["per_host"] == f"file {path}:8"
    assert effective.origins["delay"] == "environment FETCHER_DELAY"
    assert effective.origins["retries"] == "flag --retries"
    assert effective.origins["grace"] == "default"


def test_a_list_of_a_later_place_replaces_the_earlier_one(write: Write) -> None:
    path = write('[common]\nheaders = ["A: b"]\n')
    assert read(path).settings.headers == (("A", "b"),)
    assert read(path, headers=("C: d", "E: f")).settings.headers == (("C", "d"), ("E", "f"))


def test_the_old_name_of_a_key_is_read_everywhere(write: Write) -> None:
    path = write('[common]\nheader = ["A: b"]\n[host."a.example"]\nheader = { C = "d" }\n')
    effective = read(path)
    assert effective.settings.headers == (("A", "b"),)
    assert effective.settings.hosts["a.example"].headers == (("C", "d"),)
    assert effective.origins["headers"] == f"file {path}:2"
    assert read(environ={"FETCHER_HEADER": "A: b"}).settings.headers == (("A", "b"),)


def test_two_names_of_a_key_in_one_section_are_an_error_with_its_line(write: Write) -> None:
    path = write('[common]\nheaders = ["A: b"]\nheader = ["A: b"]\n')
    with pytest.raises(
        ConfigError, match=rf"^{re.escape(str(path))}:3: header: it is headers by its old name"
    ):
        read(path)


def test_settings_that_exclude_each_other_are_named_as_they_were_given(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"^--retry-failed: cannot stand together with --restart$"):
        read(retry_failed="true", restart="true")
    path = write("[common]\nrefresh = true\n")
    assert read(path, restart="true").settings.refresh is False, "what is given later wins"


def test_a_flag_turns_off_what_a_file_turned_on(write: Write) -> None:
    path = write("[get]\noverwrite = true\n")
    assert read(path).settings.overwrite
    assert not read(path, overwrite=False).settings.overwrite


def test_the_later_of_two_that_exclude_each_other_wins(write: Write) -> None:
    path = write("[common]\nipv4 = true\nquiet = true\n")
    effective = read(path, environ={"FETCHER_VERBOSE": "yes"}, ipv6=True)
    settings = effective.settings
    assert (settings.ipv4, settings.ipv6, settings.quiet, settings.verbose) == (False, True, False, True)
    assert effective.origins["ipv4"] == "default"
    with pytest.raises(ConfigError, match=r"^--ipv4: cannot stand together with --ipv6$"):
        read(ipv4=True, ipv6=True)


def test_a_named_file_takes_the_place_of_a_found_one(write: Write) -> None:
    found, named = write("[common]\nretries = 1\n"), write("[common]\ndelay = 1\n", "named.toml")
    for effective in (
        load("get", flags={}, environ={}, config_path=named, found=found),
        load("get", flags={"config": str(named)}, environ={}, found=found),
        load("get", flags={}, environ={"FETCHER_CONFIG": str(named)}, found=found),
    ):
        assert (effective.settings.retries, effective.settings.delay) == (3, 1.0)
    assert load("get", flags={}, environ={}, found=found).settings.retries == 1


def test_a_file_is_found_by_its_name(tmp_path: Path, write: Write) -> None:
    assert find(tmp_path) is None
    path = write("")
    assert find(tmp_path) == path


# --- what differs by command ---


def test_a_crawl_has_defaults_of_its_own_and_they_are_defaults() -> None:
    effective = read_crawl()
    assert effective.settings == CRAWL_DEFAULTS
    assert set(effective.origins.values()) == {"default"}


@pytest.mark.parametrize("text", ["[common]\nper_host = 8\n", "[crawl]\nper_host = 8\n"])
def test_what_is_chosen_for_a_crawl_stands_even_if_it_is_the_default_elsewhere(
    write: Write, text: str
) -> None:
    settings = read_crawl(write(text)).settings
    assert (settings.per_host, settings.timeout) == (8, 120)
    assert read_crawl(environ={"FETCHER_PER_HOST": "8"}, timeout="none").settings.timeout is None


def test_each_command_reads_its_own_section_over_the_common_one(write: Write) -> None:
    path = write(
        "[common]\nretries = 1\n[get]\nretries = 2\n[crawl]\nretries = 4\ndepth = 2\nignore = 'meta'\n"
    )
    get, crawl = read(path), read_crawl(path)
    assert (get.settings.retries, get.settings.depth) == (2, DEFAULTS.depth)
    assert (crawl.settings.retries, crawl.settings.depth, crawl.settings.ignore) == (4, 2, {"meta"})
    assert crawl.origins["depth"] == f"file {path}:7"
    assert get.origins["depth"] == "default"


def test_a_variable_of_a_crawl_is_known_to_all_and_used_by_crawls() -> None:
    environ = {"FETCHER_DEPTH": "2", "FETCHER_EXCLUDE": "a,b\n\\.pdf$\n", "FETCHER_NO_ROBOTS": "1"}
    settings = read_crawl(environ=environ).settings
    assert (settings.depth, settings.exclude, settings.no_robots) == (2, ("a,b", r"\.pdf$"), True)
    assert read(environ=environ).settings == DEFAULTS
    assert read(environ=environ).origins["depth"] == "default"
    with pytest.raises(ConfigError, match=r"^FETCHER_DEPTH: depth: expected a whole number"):
        read(environ={"FETCHER_DEPTH": "deep"})
    with pytest.raises(ConfigError, match=r"^FETCHER_INCLUDE: include: bad pattern '\[': missing \]: \[$"):
        read(environ={"FETCHER_INCLUDE": "["})


def test_a_flag_of_a_crawl_is_refused_by_another_command() -> None:
    assert read_crawl(depth="2").settings.depth == 2
    with pytest.raises(ConfigError) as caught:
        read(depth="2")
    assert caught.value.message == "--depth: only crawl takes it, and the command is get"
    assert caught.value.hint == "leave it out, or see fetcher crawl --help"


def test_a_bad_pattern_of_a_flag_is_named_with_what_is_wrong_in_it() -> None:
    assert read_crawl(include=("/a/", "b$")).settings.include == ("/a/", "b$")
    with pytest.raises(ConfigError, match=r"^--include: bad pattern 'b\)': unexpected \): b\)$"):
        read_crawl(include=("/a/", "b)"))


@pytest.mark.parametrize("section", ["common", "get", "crawl"])
def test_a_parser_is_taken_from_a_file_that_was_named_and_from_no_other(write: Write, section: str) -> None:
    path = write(f'[{section}]\n\nparser = "pages:read"\n')
    command = "crawl" if section == "crawl" else "get"
    for named in (
        load(command, flags={}, environ={}, config_path=path, found=path),
        load(command, flags={"config": str(path)}, environ={}, found=path),
        load(command, flags={}, environ={"FETCHER_CONFIG": str(path)}, found=path),
        load(command, flags={"parser": "pages:read"}, environ={}),
    ):
        assert named.settings.parser == "pages:read"
    with pytest.raises(ConfigError) as caught:
        load("get", flags={}, environ={}, found=path)
    assert (
        caught.value.message == f"{path}:3: parser: it names code to run, and this file was found, not named"
    )
    assert caught.value.hint == "name the file with --config, or give --parser"


def test_what_a_found_file_says_of_the_parser_but_not_which_is_taken(write: Write) -> None:
    path = write('[common]\noffload = "processes"\nparser_workers = 2\nparser_memory = "1G"\n')
    settings = load("get", flags={"parser": "pages:read"}, environ={}, found=path).settings
    assert (settings.parser, settings.offload, settings.parser_workers) == ("pages:read", "processes", 2)
    assert settings.parser_memory == 1024**3


# --- the environment ---


def test_a_list_in_the_environment_has_one_item_on_each_line() -> None:
    environ = {"FETCHER_HEADERS": "A: b\nC: d\n", "FETCHER_RETRY_ON": "429,503"}
    settings = read(environ=environ).settings
    assert settings.headers == (("A", "b"), ("C", "d"))
    assert settings.retry_on == {429, 503}


def test_other_variables_are_nobodys_business() -> None:
    assert read(environ={"HOME": "/", "http_proxy": "x", "fetcher_rate": "x"}).settings == DEFAULTS


def test_an_unknown_variable_is_refused_with_the_closest_one() -> None:
    with pytest.raises(
        ConfigError, match=r"^environment: unknown key FETCHER_PERHOST; did you mean FETCHER_PER_HOST\?$"
    ):
        read(environ={"FETCHER_PERHOST": "3"})


def test_the_name_of_an_unknown_variable_is_escaped() -> None:
    with pytest.raises(ConfigError) as caught:
        read(environ={"FETCHER_\x1b[2J": "3"})
    assert str(caught.value) == r"environment: unknown key 'FETCHER_\x1b[2J'"


def test_a_bad_variable_is_named_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"^FETCHER_RATE: rate: expected a rate such as .*, got 'fast'$"):
        read(environ={"FETCHER_RATE": "fast"})


# --- flags ---


def test_a_bad_flag_is_named_as_it_was_typed() -> None:
    with pytest.raises(ConfigError, match=r"^--per-host: expected a whole number from 1 to 100000, got 'x'$"):
        read(per_host="x")


def test_a_flag_that_is_no_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^unknown key perhost; did you mean per_host\?$"):
        read(perhost="3")


def test_data_comes_from_a_file_as_in_curl(write: Write) -> None:
    path = write(b"a=b\r\n&c=\xff\0\n", "form.txt")
    settings = read(data=f"@{path}").settings
    assert settings.data == b"a=b&c=\xff"
    assert settings.method == "POST"
    with pytest.raises(ConfigError, match=r"^--data: cannot read .*missing: No such file or directory$"):
        read(data=f"@{path.parent}/missing")


# --- files ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[common]\n\nperhost = 3\n", "fetcher.toml:3: unknown key perhost; did you mean per_host?"),
        ("[get]\nper-host = 3\n", "fetcher.toml:2: unknown key 'per-host'; did you mean per_host?"),
        (
            "[get]\nretries = 'x'\n",
            "fetcher.toml:2: retries: expected a whole number from 0 to 1000, got 'x'",
        ),
        ("get.retries = [1]\n", "fetcher.toml:1: retries: expected a whole number from 0 to 1000, got [1]"),
        ("[gett]\n", "fetcher.toml:1: unknown section gett; did you mean get?"),
        ("[crwal]\n", "fetcher.toml:1: unknown section crwal; did you mean crawl?"),
        ("[common]\n\ndepth = 3\n", "fetcher.toml:3: depth: expected in [crawl]"),
        ("[get]\ninclude = 'x'\n", "fetcher.toml:2: include: expected in [crawl]"),
        ("depth = 3\n", "fetcher.toml:1: depth: expected in [crawl]"),
        ("[get]\nscop = 'any'\n", "fetcher.toml:2: unknown key scop"),
        ("[crawl]\nscop = 'any'\n", "fetcher.toml:2: unknown key scop; did you mean scope?"),
        (
            "[crawl]\ndepth = 'deep'\n",
            "fetcher.toml:2: depth: expected a whole number from 0 to 1000000, got 'deep'",
        ),
        ("[crawl]\ninclude = ['a', '(']\n", "fetcher.toml:2: include: bad pattern '(': missing ): ("),
        (
            "[crawl]\nexclude = '(?=a)'\n",
            "fetcher.toml:2: exclude: bad pattern '(?=a)': invalid perl operator: (?=",
        ),
        ("\n[job]\n", "fetcher.toml:2: [job] stands only in a job file, for fetcher run"),
        ("retries = 1\n", "fetcher.toml:1: retries: expected in [common] or [get]"),
        ("common = 1\n", "fetcher.toml:1: common: expected a section [common]"),
        ("[[get]]\n", "fetcher.toml:1: get: expected a section [get]"),
        ("[common]\nconfig = 'x'\n", "fetcher.toml:2: unknown key config"),
        ("[hosts.'a.example']\n", "fetcher.toml:1: unknown section hosts; did you mean host?"),
        ("[common]\n'\\u001b[2J' = 1\n", "fetcher.toml:2: unknown key '\\\\u001b[2J'"),
        ('[common]\n"\\u001b[2J" = 1\n', "fetcher.toml:2: unknown key '\\x1b[2J'"),
        (
            "[host.'a.example']\n\nperhost = 1\n",
            'fetcher.toml:3: host."a.example": unknown key perhost; did you mean per_host?',
        ),
        (
            "[host.'a.example']\nrate = 'x'\n",
            "fetcher.toml:2: host.\"a.example\".rate: expected a rate such as 10/s, 300/m or 5/h, or none, got 'x'",
        ),
        (
            "host.'a.example' = 1\n",
            'fetcher.toml:1: host."a.example": expected a table of per_host, delay, rate, headers, user',
        ),
        ("[host.'a b']\n", 'fetcher.toml:1: host."a b": expected a host such as example.org'),
        ("[common]\nretries == 1\n", "fetcher.toml:2: not TOML: Invalid value"),
        ("[common]\nretries = 1\nretries = 2\n", "fetcher.toml:3: not TOML: Cannot overwrite a value"),
        (b"[common]\nname = '\xff'\n", "fetcher.toml:2: not TOML: the text is not UTF-8"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_the_key_and_what_was_expected(
    write: Write, text: str | bytes, message: str
) -> None:
    assert refusal(write(text)) == message


def test_an_array_nested_too_deeply_is_a_config_error(write: Write) -> None:
    assert refusal(write("[common]\nname = " + "[" * 100_000)).startswith("fetcher.toml: not TOML: ")


def test_a_secret_in_a_file_is_not_shown_when_it_is_wrong(write: Write) -> None:
    assert "s3cret" not in refusal(write("[common]\nuser = 's3cret'\n"))
    assert "s3cret" not in refusal(write("[host.'a.example']\nheaders = ['s3cret']\n"))


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml") == "--config: cannot read none.toml: No such file or directory"
    assert refusal(tmp_path) == f"--config: cannot read {tmp_path.name}: Is a directory"


def test_a_byte_order_mark_is_no_part_of_the_file(write: Write) -> None:
    assert read(write(b"\xef\xbb\xbf[common]\r\nretries = 1\r\n")).settings.retries == 1


def test_a_host_has_settings_of_its_own_with_their_origins(write: Write) -> None:
    path = write('[common]\nrate = "5/s"\n\n[host."Example.org"]\nper_host = 2\nrate = "30/m"\n')
    effective = read(path)
    assert effective.settings.hosts == {"example.org": HostSettings(per_host=2, rate=0.5)}
    assert effective.settings.rate == 5.0
    assert effective.origins['host."example.org".rate'] == f"file {path}:6"


def test_line_numbers_follow_dotted_and_quoted_keys(write: Write) -> None:
    path = write(
        '# retries = 9\nget.retries = 1\nhost."a.example".delay = 2\n[common]\n"grace" = 3 # x = 1\n'
    )
    origins = read(path).origins
    assert origins["retries"] == f"file {path}:2"
    assert origins['host."a.example".delay'] == f"file {path}:3"
    assert origins["grace"] == f"file {path}:5"


@given(st.text() | st.binary())
def test_any_bytes_are_settings_or_a_config_error_of_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    try:
        read(path)
    except ConfigError as error:
        message = str(error)
    else:
        message = ""
    assert message.isprintable()


# --- job files ---

JOB = """\
[job]
command = "get"
urls = ["https://example.org/"]
inputs = ["lists/a.txt", "-", "/srv/b.jsonl"]
output = "out"

[common]
cookies = "cookies.txt"
log_file = "logs/run.log"
ca_file = "/etc/ca.pem"
data = "@form.txt"
"""


def test_the_paths_of_a_job_file_are_relative_to_it(write: Write, tmp_path: Path) -> None:
    write("a=b", "jobs/form.txt")
    job = load_job(write(JOB, "jobs/job.toml"), flags={}, environ={})
    folder = tmp_path / "jobs"
    settings = job.effective.settings
    assert (job.command, job.urls) == ("get", ("https://example.org/",))
    assert job.inputs == settings.input == (str(folder / "lists/a.txt"), "-", "/srv/b.jsonl")
    assert job.output == settings.output == str(folder / "out")
    assert settings.cookies == str(folder / "cookies.txt")
    assert settings.log_file == str(folder / "logs/run.log")
    assert settings.ca_file == "/etc/ca.pem"
    assert settings.data == b"a=b"
    assert job.effective.origins["output"] == f"file {folder / 'job.toml'}:5"


def test_paths_of_flags_and_the_environment_are_not_relative_to_the_job_file(write: Write) -> None:
    path = write('[job]\ncommand = "get"\n', "jobs/job.toml")
    job = load_job(path, flags={"output": "here", "input": ("a.txt",)}, environ={"FETCHER_COOKIES": "c.txt"})
    assert (job.output, job.inputs, job.effective.settings.cookies) == ("here", ("a.txt",), "c.txt")
    assert job.effective.origins["output"] == "flag --output"


def test_paths_of_other_files_of_settings_stay_as_they_are(write: Write) -> None:
    assert read(write("[common]\ncookies = 'c.txt'\n", "etc/fetcher.toml")).settings.cookies == "c.txt"


def test_the_file_of_a_jobs_parser_is_relative_to_the_job_file(write: Write, tmp_path: Path) -> None:
    path = write('[job]\ncommand = "crawl"\n[crawl]\nparser = "own/parse.py:read"\n', "jobs/job.toml")
    assert load_job(path, flags={}, environ={}).effective.settings.parser == str(
        tmp_path / "jobs/own/parse.py:read"
    )
    given = load_job(path, flags={"parser": "parse.py:read"}, environ={})
    assert given.effective.settings.parser == "parse.py:read"
    write('[job]\ncommand = "crawl"\n[crawl]\nparser = "own.parse:read"\n', "jobs/job.toml")
    assert load_job(path, flags={}, environ={}).effective.settings.parser == "own.parse:read"


def test_a_job_without_an_output_has_the_default_one_beside_its_file(write: Write, tmp_path: Path) -> None:
    job = load_job(write('[job]\ncommand = "get"\n', "jobs/job.toml"), flags={}, environ={})
    assert job.output == str(tmp_path / "jobs" / "downloads")
    assert job.effective.origins["output"] == "default"


def test_a_job_reads_no_other_file(write: Write) -> None:
    other = write("[common]\nretries = 1\n", "jobs/fetcher.toml")
    job = load_job(
        write('[job]\ncommand = "get"\n', "jobs/job.toml"), flags={}, environ={"FETCHER_CONFIG": str(other)}
    )
    assert job.effective.settings.retries == DEFAULTS.retries


def test_a_job_may_be_a_crawl_with_its_urls_for_seeds(write: Write) -> None:
    path = write(
        """
        [job]
        command = "crawl"
        urls = ["https://example.org/"]
        [common]
        max_size = "1M"
        parser = "pages:read"
        [get]
        retries = 9
        [crawl]
        depth = 2
        """,
        "job.toml",
    )
    job = load_job(path, flags={"max_pages": "10"}, environ={"FETCHER_SCOPE": "prefix"})
    settings = job.effective.settings
    assert (job.command, job.urls) == ("crawl", ("https://example.org/",))
    assert (settings.depth, settings.max_pages, settings.scope, settings.retries) == (2, 10, "prefix", 3)
    assert (settings.max_size, settings.per_host, settings.parser) == (1024**2, 4, "pages:read")


def test_a_flag_of_a_crawl_is_refused_by_a_job_that_is_none(write: Write) -> None:
    path = write('[job]\ncommand = "get"\n[crawl]\ndepth = 2\n', "job.toml")
    assert load_job(path, flags={}, environ={"FETCHER_DEPTH": "3"}).effective.settings.depth == DEFAULTS.depth
    with pytest.raises(ConfigError, match=r"^--no-robots: only crawl takes it, and the command is get$"):
        load_job(path, flags={"no_robots": True}, environ={})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[common]\n", "job.toml: expected a section [job] with a command"),
        ("[job]\nurls = []\n", "job.toml:1: command: expected get or crawl"),
        ("[job]\ncommand = 'gte'\n", "job.toml:2: command: expected get or crawl, got 'gte'"),
        ("[job]\ncommand = ['get']\n", "job.toml:2: command: expected get or crawl, got ['get']"),
        ("[job]\ncommand = 'crawl'\n[common]\ndepth = 1\n", "job.toml:4: depth: expected in [crawl]"),
        ("[job]\ncommand = 'get'\nurls = 'x'\n", "job.toml:3: urls: expected a list of URLs, got 'x'"),
        ("[job]\ncommand = 'get'\ninput = 'x'\n", "job.toml:3: unknown key input; did you mean inputs?"),
        ("[job]\ncommand = 'get'\ninputs = 3\n", "job.toml:3: inputs: expected paths of files, got 3"),
        (
            "[job]\ncommand = 'get'\n[common]\ndata = '@none'\n",
            "job.toml:4: data: cannot read none: No such file or directory",
        ),
    ],
)
def test_a_wrong_job_file_is_refused(write: Write, text: str, message: str) -> None:
    path = write(text, "job.toml")
    with pytest.raises(ConfigError) as caught:
        load_job(path, flags={}, environ={})
    assert str(caught.value).replace(f"{path.parent}/", "") == message


# --- showing them ---


def test_the_description_has_every_key_of_a_file_with_value_and_origin() -> None:
    rows = {key: (shown, origin) for key, shown, origin in describe(read(rate="300/m", min_free="1.5G"))}
    assert rows.keys() == {key for key, option in OPTIONS.items() if "toml" in option.where}
    assert rows["rate"] == ('"5/s"', "flag --rate")
    assert rows["min_free"] == ('"1536M"', "flag --min-free")
    assert rows["concurrency"] == ("64", "default")
    assert rows["timeout"] == ('"none"', "default")
    assert rows["cookies"] == ("", "default")


def test_what_is_shown_reads_back_as_the_same_settings(write: Write) -> None:
    path = write(
        '[common]\nrate = "5/h"\ndeadline = 06:00:00\nresolve = ["[::1]:80:127.0.0.1"]\nname = "\\u001b{host}\\"\\\\"\n'.replace(
            "\\u001b", "\\u00e9\\u202e"
        )
        + 'header = ["Accept:", "Accept-Language: de"]\nhttp = 2\nretry_on = "429"\n'
        + '[host."a.example"]\ndelay = 0.5\n[host."b.example:8080"]\nrate = "none"\n'
    )
    first = read(path)
    again = read(write(as_toml(first), "again.toml"))
    assert again.settings == first.settings
    assert f"# file {path}:2" in as_toml(first)


def sections_of(get: Effective, crawl: Effective) -> dict[str, Any]:
    return tomllib.loads(as_toml(get, crawl))


def test_what_is_different_for_a_crawl_is_shown_in_its_section() -> None:
    shown = sections_of(read(), read_crawl())
    only = {key for key, option in OPTIONS.items() if option.only == "crawl"}
    assert shown["crawl"].keys() == only | {"per_host", "timeout", "max_size"}
    assert (shown["crawl"]["per_host"], shown["crawl"]["max_size"], shown["crawl"]["depth"]) == (4, "32M", 5)
    assert not shown["common"].keys() & only
    assert shown["common"]["per_host"] == 8
    assert "get" not in shown


def test_what_was_chosen_for_both_is_shown_once() -> None:
    environ = {"FETCHER_PER_HOST": "6"}
    shown = sections_of(read(environ=environ), read_crawl(environ=environ, depth="2"))
    assert shown["common"]["per_host"] == 6
    assert "per_host" not in shown["crawl"]
    assert shown["crawl"]["depth"] == 2


def test_what_is_shown_reads_back_for_both_commands(write: Write) -> None:
    path = write(
        '[common]\nretries = 1\nmax_size = "2M"\nuser_agent = "a"\n'
        '[get]\ncookies = "c.txt"\nper_host = 9\n'
        '[crawl]\nretries = 2\nlog_file = "l"\ninclude = ["a", "\\\\.x"]\nignore = "meta"\n'
        '[host."a.example"]\ndelay = 0.5\n'
    )
    shown = as_toml(read(path), read_crawl(path))
    again = write(shown, "again.toml")
    assert read(again).settings == read(path).settings
    assert read_crawl(again).settings == read_crawl(path).settings
    assert tomllib.loads(shown)["get"] == {"cookies": "c.txt"}, "it could not be taken back for a crawl"
    assert f"retries = 2                              # file {path}:9" in shown.split("[crawl]")[1]


def test_secrets_are_masked_and_the_rest_is_not(write: Write) -> None:
    path = write(
        '[common]\nuser = "alice:s3cret"\nproxy = "http://bob:s3cret@proxy.example:3128"\ndata = "s3cret"\n'
        'headers = ["Authorization: Bearer s3cret", "Accept: text/html"]\n'
        '[host."a.example"]\nheaders = { X-Api-Key = "s3cret" }\nuser = "s3cret:"\n'
    )
    text = as_toml(read(path))
    shown = tomllib.loads(text)
    assert "s3cret" not in text
    assert shown["common"]["user"] == "***:***"
    assert shown["common"]["proxy"] == "http://***:***@proxy.example:3128"
    assert shown["common"]["headers"] == ["Authorization: ***", "Accept: text/html"]
    assert shown["host"]["a.example"] == {"headers": ["X-Api-Key: ***"], "user": "***:***"}


def test_the_settings_as_json_have_value_and_origin_and_no_secret(write: Write) -> None:
    path = write('[common]\nrate = "3/s"\nuser = "alice:s3cret"\n[host."a.example"]\ndelay = 2\n')
    text = as_json(read(path), read_crawl(path))
    assert b"s3cret" not in text
    found = json.loads(text)
    assert found["common"]["rate"] == {"value": "3/s", "origin": f"file {path}:2"}
    assert found["common"]["cookies"] == {"value": None, "origin": "default"}
    assert found["crawl"]["per_host"] == {"value": 4, "origin": "default"}
    assert found["host"]['"a.example".delay']["value"] == 2


def test_a_byte_that_is_not_utf_8_is_shown_as_a_replacement() -> None:
    assert ("cookies", '"a\\uFFFD"', "flag --cookies") in describe(read(cookies="a\udcff"))


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_path_is_shown_as_valid_toml_on_a_line_without_control_characters(path: str) -> None:
    text = as_toml(Effective(make({"cookies": path}), dict.fromkeys(OPTIONS, "flag --cookies")))
    line = next(line for line in text.split("\n") if line.startswith("cookies"))
    assert line.isprintable()
    assert tomllib.loads(text)["common"]["cookies"] == path
