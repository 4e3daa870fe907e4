"""What a newcomer types in the first hour, and what the program then says."""

from __future__ import annotations

import pytest
from support.program import Program
from support.site import Site

import fetcher

FILES = {
    "urls.txt": "http://127.0.0.1:1/\n",
    "list.json": '[{"link": "http://127.0.0.1:1/"}]',
    "yes.toml": "[common]\nrefresh = yes\n",
    "dots.toml": "[host.example.org]\ndelay = 2\n",
    "star.toml": '[host."*.example.org"]\ndelay = 2\n',
    "whole.py": "def read(page):\n    return page\n",
    "when.py": "def read(page):\n    return {page.status, object()}\n",
    "page.txt": "\n<!DOCTYPE html>\n<a href='http://127.0.0.1:1/'>there</a>",
    "old/.fetcher/state.db": "",
    "old/results.jsonl": "",
}


@pytest.fixture
def started(program: Program) -> Program:
    for name, text in FILES.items():
        path = program.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return program


@pytest.mark.parametrize(
    ("typed", "said", "advice"),
    [
        (
            "get -i urls.txt,more.txt",
            "cannot read urls.txt,more.txt: no",
            "--input is given once for each file",
        ),
        ("get --resolve a:1.2.3.4 http://a/", "ADDRESS, with IPv6 in brackets, got 'a:1.2.3.4'", ""),
        ("get --config yes.toml http://a/", "yes.toml:2: not TOML", "text stands in quotes, and yes is true"),
        ("get --config dots.toml http://a/", 'dots.toml:1: host."example"', '[host."example.org"]'),
        ("get --config star.toml http://a/", 'star.toml:1: host."*.example.org"', "a host is named whole"),
        ("run nothere.toml", "cannot read nothere.toml", "a job is a TOML file with a section [job]"),
        ("run urls.txt", "urls.txt:1: not TOML", "a list of URLs is for fetcher get --input FILE"),
        ("status old/results.jsonl", "is not a run directory", "name the folder that it is in: old"),
        ("report old out.html", "out.html is not a run directory", "the page's name: --output FILE"),
        ("get -i page.txt", "page.txt:1: this is a page, no list of URLs", "fetcher crawl follows the links"),
        ("get http://a/ --on-done nothere", "there is no program nothere", "name it by its path"),
        ("export old", "expected DIR... FILE", "see fetcher export --help"),
        ("why http://a/", "expected DIR... URL", "see fetcher why --help"),
        ("completion tcsh", "expected bash, zsh or fish, got 'tcsh'", "see fetcher completion --help"),
        ("config get", "fetcher config takes no argument get", "see fetcher config --help"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(started: Program, typed: str, said: str, advice: str) -> None:
    ended = started.run(*typed.split())
    assert ended.code == 2, ended.err
    assert said in ended.err
    assert advice in ended.err
    assert ended.err.startswith("fetcher: ")
    assert len(ended.err.splitlines()) <= 2


def test_a_json_list_without_the_column_names_the_option_for_it(started: Program) -> None:
    ended = started.run("get", "-i", "list.json")
    assert ended.code == 1
    assert "no url; its columns are link, and --url-column NAME says which holds the URL" in ended.err


def test_two_urls_in_one_argument_are_told_as_two(started: Program) -> None:
    ended = started.run("get", "http://127.0.0.1:1/a http://127.0.0.1:1/b", "* http://127.0.0.1:1/")
    assert ended.err.count("there are two URLs in it; separate them: a line or an argument for each") == 1


def test_a_port_that_is_taken_is_told_once(started: Program, site: Site) -> None:
    port = site.url("").rstrip("/").rpartition(":")[2]
    ended = started.run("get", site.url("/p/0"), "--dashboard", port)
    assert ended.code == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use\n" in ended.err


@pytest.mark.parametrize(
    ("parser", "said"),
    [("whole.py:read", "it gave the page itself"), ("when.py:read", "what it gave has no form in JSON")],
)
def test_what_a_parser_may_not_give_is_said(started: Program, site: Site, parser: str, said: str) -> None:
    ended = started.run("crawl", site.url("/p/0"), "--max-pages", "1", "--parser", parser)
    assert ended.code == 1
    assert f"parse-failed (TypeError: {said}" in ended.err


def test_a_run_that_was_stopped_with_its_last_url_is_complete(program: Program, site: Site) -> None:
    urls = [site.url("/p/0"), site.url("/no-such-page")]
    ended = program.run("get", *urls, "-o", "out", "-c", "1", "--max-failures", "1")
    assert ended.code == 4
    assert "complete" in program.run("status", "out").out
    [report] = program.run("status", "out", "--json").lines
    assert report["is_resumable"] is False
    assert "run the same command again" not in ended.err


@pytest.mark.parametrize(
    ("name", "meant"), [("get", "fetch"), ("AsyncClient", "Fetcher"), ("urlretrieve", "Fetcher().download")]
)
def test_a_name_of_another_library_is_told_by_ours(name: str, meant: str) -> None:
    with pytest.raises(
        AttributeError, match=rf"did you mean fetcher\.{meant.replace('(', '.').replace(')', '.')}\?"
    ):
        getattr(fetcher, name)
    with pytest.raises(AttributeError) as caught:
        fetcher.nonsense  # noqa: B018
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"), [("status_code", "status"), ("content", "body"), ("is_success", "ok")]
)
def test_a_part_of_a_result_by_another_name_is_told_by_ours(name: str, meant: str) -> None:
    result = fetcher.fetch("nonsense")
    with pytest.raises(
        AttributeError, match=rf"'Result' object has no attribute '{name}'; did you mean {meant}\?"
    ):
        getattr(result, name)
    assert not hasattr(result, "nonsense")


def test_a_list_for_one_url_is_told_what_takes_many() -> None:
    with pytest.raises(TypeError, match="got list; fetch_all and stream take many"):
        fetcher.fetch(["http://127.0.0.1:1/"])  # type: ignore[arg-type]


def test_a_fetcher_is_not_opened_in_plain_code() -> None:
    with pytest.raises(TypeError, match="async with"), fetcher.Fetcher():  # type: ignore[attr-defined]
        pass
    assert fetcher.Fetcher().fetch("nonsense").error == "bad-url"
