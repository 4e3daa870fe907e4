"""Hints: other programs' options, words near ours, and arguments that were meant otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fetcher.cli.arguments import meant_urls
from fetcher.cli.hints import FOREIGN, command_hint, foreign_hint, misread
from fetcher.cli.main import COMMANDS
from fetcher.errors import ConfigError
from fetcher.settings import OPTIONS

OURS = {name for o in OPTIONS.values() if "cli" in o.where for name in (o.flag, o.short, o.flag_off) if name}
ROWS = [(tool, name, here) for tool, options in FOREIGN.items() for name, here in options.items()]


@pytest.mark.parametrize(("tool", "name", "here"), ROWS)
def test_every_hint_can_be_reached_and_names_only_options_that_there_are(
    tool: str, name: str, here: str
) -> None:
    assert name not in OURS, "an option of this program gets no hint"
    assert set(re.findall(r"--[a-z][a-z0-9-]*|(?<!\S)-[A-Za-z](?!\S)", here)) <= OURS, tool
    assert set(re.findall(r"fetcher (\w+)", here)) <= set(COMMANDS)


@pytest.mark.parametrize(
    "name",
    ["-k", "-A", "-x", "-b", "-I", "-L", "-s", "--tries", "--limit-rate", "--continue", "-P", "-nc", "-r"],
)
def test_what_users_of_curl_wget_and_aria2_try_first_has_a_hint(name: str) -> None:
    assert foreign_hint([name]) is not None


def test_programs_that_mean_different_things_are_told_apart() -> None:
    hint = foreign_hint(["-x"])
    assert hint is not None
    assert "curl's -x is --proxy here" in hint
    assert "aria2's -x is --per-host here" in hint


def test_every_word_for_a_command_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("urls.txt").write_text("")
    Path("job.toml").write_text("")
    told = {word: command_hint(word, [], COMMANDS) for word in ("gett", "mirror", "urls.txt", "job.toml")}
    assert told == {
        "gett": "did you mean fetcher get?",
        "mirror": "did you mean fetcher crawl?",
        "urls.txt": "its URLs: fetcher get -i urls.txt",
        "job.toml": "its job: fetcher run job.toml",
    }


def test_only_an_option_is_misread_never_the_value_of_one() -> None:
    options = [option for option in OPTIONS.values() if "cli" in option.where]
    assert misread(["-output", "x"], options) == ("-output has one hyphen", "write --output")
    assert misread(["–output", "x"], options) is not None
    assert misread(["-o", "-output", "--data", "–output", "-qO-", "-c4"], options) is None
    assert misread(["--", "-output"], options) is None


@pytest.mark.parametrize(
    ("word", "url"),
    [
        ("example.org", "https://example.org/"),
        ("//example.org/a", "https://example.org/a"),
        ("localhost:80/a", "https://localhost:80/a"),
        ("“https://example.org/”", "https://example.org/"),
    ],
)
def test_an_argument_without_a_scheme_is_tried_as_https_and_that_is_said(word: str, url: str) -> None:
    told: list[tuple[str, str]] = []
    assert meant_urls([word], lambda *notice: told.append(notice)) == [url]
    assert len(told) == 1
    assert word in told[0][1]


@pytest.mark.parametrize("word", ["https://example.org/", "mailto:a@b.example", "ftp://a/", "two words", ""])
def test_an_argument_that_has_a_scheme_or_is_no_url_stays_as_it_is(word: str) -> None:
    assert meant_urls([word], lambda *_: pytest.fail("there is nothing to say")) == [word]


def test_what_nothing_expands_is_told() -> None:
    told: list[str] = []
    meant_urls(["http://a.example/[1-9]", "http://a.example/{a,b}"], lambda _, text: told.append(text))
    assert [text.split(" ")[0] for text in told] == ["[1-9]", "{a,b}"]


def test_a_file_and_a_hyphen_are_no_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("urls.txt").write_text("")
    for word, hint in (("urls.txt", "--input urls.txt"), ("-", "--input -")):
        with pytest.raises(ConfigError) as caught:
            meant_urls([word], lambda *_: None)
        assert hint in (caught.value.hint or "")
