"""`config.example.toml` and the code agree, both ways."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from fetcher.config import load
from fetcher.settings import CRAWL_DEFAULTS, DEFAULTS, HOST_OPTIONS, OPTIONS, convert

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
TEXT = EXAMPLE.read_text("utf-8")
FILE_KEYS = {key for key, option in OPTIONS.items() if "toml" in option.where}
CRAWL_KEYS = {key for key in FILE_KEYS if OPTIONS[key].only == "crawl"}
CRAWL_PART = TEXT.index("\n[crawl]\n")
HOST_PART = TEXT.index('# [host."')
SET = tomllib.loads(TEXT)["common"]
OF_CRAWL = tomllib.loads(TEXT)["crawl"]
UNSET = {
    key: tomllib.loads(f"{key} = {value}")[key]
    for key, value in re.findall(r"^# (\w+) = (.+)$", TEXT[:CRAWL_PART], re.MULTILINE)
}


def test_the_example_as_it_stands_gives_exactly_the_defaults() -> None:
    effective = load("get", flags={}, environ={}, config_path=EXAMPLE)
    assert effective.settings == DEFAULTS
    assert SET.keys() == {key for key, origin in effective.origins.items() if origin != "default"}


def test_the_example_as_it_stands_gives_exactly_the_defaults_of_a_crawl() -> None:
    effective = load("crawl", flags={}, environ={}, config_path=EXAMPLE)
    assert effective.settings == CRAWL_DEFAULTS
    assert SET.keys() | CRAWL_KEYS == {
        key for key, origin in effective.origins.items() if origin != "default"
    }


def test_every_key_of_the_code_stands_in_the_example_once_and_no_other() -> None:
    assert SET.keys() | UNSET.keys() | CRAWL_KEYS == FILE_KEYS
    assert not SET.keys() & UNSET.keys()


def test_the_section_of_a_crawl_has_its_own_keys_and_the_other_defaults() -> None:
    different = {key for key in SET if getattr(DEFAULTS, key) != getattr(CRAWL_DEFAULTS, key)}
    assert OF_CRAWL.keys() == CRAWL_KEYS | different
    assert not re.findall(r"^# (\w+) = ", TEXT[CRAWL_PART:HOST_PART], re.MULTILINE)


def test_a_key_is_commented_out_exactly_when_it_has_no_default_to_write_down() -> None:
    absent = {
        key
        for key in FILE_KEYS - CRAWL_KEYS
        if OPTIONS[key].shown is not None or OPTIONS[key].kind.to_plain(getattr(DEFAULTS, key)) is None
    }
    assert UNSET.keys() == absent


def test_the_examples_of_commented_keys_are_valid_and_not_the_default() -> None:
    for key, value in UNSET.items():
        assert convert(OPTIONS[key], value) != getattr(DEFAULTS, key), key


def test_uncommenting_every_key_gives_a_file_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "all.toml"
    path.write_text(re.sub(r"^# (?=\w+ = |\[host)", "", TEXT, flags=re.MULTILINE))
    settings = load("get", flags={}, environ={}, config_path=path).settings
    assert settings.hosts["example.org"].per_host == 2
    assert settings.user_agent == UNSET["user_agent"]


def test_every_key_of_a_host_stands_in_the_example() -> None:
    assert set(re.findall(r"^# (\w+) = ", TEXT[HOST_PART:], re.MULTILINE)) == set(HOST_OPTIONS)


def test_every_key_has_a_comment_of_its_own_and_the_choices_are_named() -> None:
    for part, keys in (
        (TEXT[:CRAWL_PART], SET.keys() | UNSET.keys()),
        (TEXT[CRAWL_PART:HOST_PART], OF_CRAWL),
    ):
        lines = part.splitlines()
        for key in keys:
            index = next(i for i, line in enumerate(lines) if re.match(rf"(# )?{key} = ", line))
            comment = lines[index - 1]
            assert re.match(r"# [A-Z].*\.$", comment), key
            assert all(word in comment for word in OPTIONS[key].kind.choices), key
            assert len(comment) <= 120, key
