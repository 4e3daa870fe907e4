"""The settings of a crawl as the program takes them: where they may stand, and what is said otherwise."""

from __future__ import annotations

import re
import tomllib

import pytest
from support.program import Program, write_list
from support.site import Site


def test_a_crawl_from_nowhere_is_a_mistake(program: Program) -> None:
    ended = program.run("crawl", "-o", "out")
    assert ended.code == 2
    assert ended.err.startswith("fetcher: nowhere to begin\n  give the URLs to start from")
    assert not (program.folder / "out").exists()


def test_a_crawl_may_begin_with_the_urls_of_a_file(program: Program, site: Site) -> None:
    write_list(program.folder / "seeds.txt", [site.url("/p/0"), site.url("/p/1")])
    ended = program.run("crawl", site.url("/p/2"), "-i", "seeds.txt", "--dry-run")
    assert ended.code == 0, ended.err
    urls = {line.split("\t")[1] for line in ended.out.splitlines()}
    assert urls == {site.url(f"/p/{n}") for n in range(3)}


def test_a_dry_run_of_a_crawl_checks_the_seeds_asks_nobody_and_writes_nothing(
    program: Program, site: Site
) -> None:
    ended = program.run(
        "crawl", site.url("/p/0"), site.url("/p/0"), "ftp://h/nonsense", "-o", "out", "--dry-run"
    )
    assert ended.code == 1, "a seed would be refused"
    assert [line.split("\t")[1] for line in ended.out.splitlines()] == [site.url("/p/0")]
    assert "nonsense" in ended.err
    for counted in ("1 to fetch", "1 refused", "1 duplicates"):
        assert counted in ended.err
    assert site.log == [], "not even robots.txt"
    assert not (program.folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(["-O", "page.html"], {}), (["--output-file", "-"], {}), ([], {"FETCHER_OUTPUT_FILE": "page.html"})],
)
def test_a_crawl_into_one_file_is_refused_and_why_is_said(
    program: Program, site: Site, arguments: list[str], variables: dict[str, str]
) -> None:
    ended = program.run("crawl", site.url("/p/0"), *arguments, variables=variables)
    assert ended.code == 2
    where = "FETCHER_OUTPUT_FILE: output_file" if variables else "--output-file"
    assert ended.err == (
        f"fetcher: {where}: one URL goes straight to a file, and a crawl finds many\n  use --output DIR\n"
    )
    assert site.log == []


def test_a_batch_does_not_know_the_options_of_a_crawl(program: Program, site: Site) -> None:
    ended = program.run("get", site.url("/p/0"), "--depth", "3")
    assert ended.code == 2
    assert "there is no option --depth" in ended.err
    assert "only crawl takes it" in ended.err
    assert site.log == []


def test_a_job_that_is_a_batch_takes_no_option_of_a_crawl(program: Program, site: Site) -> None:
    job = program.folder / "job.toml"
    job.write_text(f'[job]\ncommand = "get"\nurls = ["{site.url("/p/0")}"]\n[crawl]\ndepth = 1\n')
    ended = program.run("run", job, "--scope", "any")
    assert ended.code == 2
    assert ended.err == (
        "fetcher: --scope: only crawl takes it, and the command is get\n"
        "  leave it out, or see fetcher crawl --help\n"
    )
    assert site.log == []
    assert program.run("run", job, "-q").code == 0, "its section for crawls is nobody's business here"


def test_a_job_that_is_a_crawl_has_its_urls_for_seeds(program: Program, site: Site) -> None:
    job = program.folder / "job.toml"
    job.write_text(f'[job]\ncommand = "crawl"\nurls = ["{site.url("/p/0")}"]\n[crawl]\ndepth = 1\n')
    ended = program.run("run", job, "--scope", "any", "--dry-run")
    assert ended.code == 0, ended.err
    assert ended.out.split("\t")[1].strip() == site.url("/p/0")
    job.write_text('[job]\ncommand = "crawl"\n')
    nothing = program.run("run", job)
    assert (nothing.code, nothing.err.split("\n")[0]) == (2, "fetcher: nowhere to begin")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[common]\ndepth = 2\n", "fetcher.toml:2: depth: expected in [crawl]"),
        ("[crawl]\n\ninclude = ['(']\n", "fetcher.toml:3: include: bad pattern '(': missing ): ("),
        (
            '[common]\nparser = "pages:read"\n',
            "fetcher.toml:2: parser: it names code to run, and this file was found, not named",
        ),
    ],
)
@pytest.mark.parametrize("command", ["get", "crawl"])
def test_a_mistake_in_the_file_stops_every_command(
    program: Program, site: Site, command: str, text: str, said: str
) -> None:
    (program.folder / "fetcher.toml").write_text(text)
    ended = program.run(command, site.url("/p/0"))
    assert ended.code == 2
    assert ended.err.startswith(f"fetcher: {said}\n")
    assert site.log == []


def test_config_shows_what_is_different_for_a_crawl_and_where_it_came_from(program: Program) -> None:
    (program.folder / "fetcher.toml").write_text("[crawl]\nmax_pages = 100\n")
    ended = program.run("config", "--depth", "2", variables={"FETCHER_SCOPE": "prefix"})
    assert ended.code == 0, ended.err
    shown = tomllib.loads(ended.out)
    crawl = shown["crawl"]
    assert (crawl["depth"], crawl["max_pages"], crawl["scope"], crawl["per_host"]) == (2, 100, "prefix", 4)
    assert shown["common"]["per_host"] == 8
    section = ended.out[ended.out.index("[crawl]") :]
    for key, origin in {
        "depth": "flag --depth",
        "max_pages": "file fetcher.toml:2",
        "scope": "environment FETCHER_SCOPE",
        "per_host": "default",
    }.items():
        assert re.search(rf"^{key} = .* # {re.escape(origin)}$", section, re.MULTILINE), key
    again = program.folder / "again.toml"
    again.write_text(ended.out)
    assert tomllib.loads(program.run("config", "--config", again).out) == shown


def test_the_robots_of_a_file_can_be_heeded_again_by_a_flag(program: Program) -> None:
    (program.folder / "fetcher.toml").write_text("[crawl]\nno_robots = true\n")
    assert tomllib.loads(program.run("config").out)["crawl"]["no_robots"] is True
    assert tomllib.loads(program.run("config", "--robots").out)["crawl"]["no_robots"] is False
