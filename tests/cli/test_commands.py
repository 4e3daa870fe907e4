"""The other commands, and settings from files and the environment."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from support.program import Program, by_url, records, stored, write_list
from support.site import Site

import fetcher
from fetcher.cli.main import COMMANDS

MakeSite = Callable[..., Site]


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()
    }


def test_the_version_is_the_packages(program: Program) -> None:
    ended = program.run("--version")
    assert (ended.code, ended.out, ended.err) == (0, f"fetcher {fetcher.__version__}\n", "")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_help_of_every_command_has_an_example(program: Program, command: str) -> None:
    ended = program.run(*([command] if command else []), "--help")
    assert ended.code == 0
    assert re.search(rf"Example: fetcher {command}", ended.out)
    assert ended.err == ""


def test_without_a_command_the_help_is_shown(program: Program) -> None:
    ended = program.run()
    assert (ended.code, ended.out) == (2, "")
    assert re.search(r"^  status +what a run directory holds$", ended.err, re.MULTILINE)


def test_a_dry_run_names_and_counts_makes_no_request_and_writes_nothing(program: Program, site: Site) -> None:
    write_list(
        program.folder / "urls.txt", [site.url("/p/0"), site.url("/p/1"), site.url("/p/0"), "nonsense"]
    )
    before = contents(program.folder)
    ended = program.run("get", "-i", "urls.txt", "--dry-run", "--name", "{stem}.bin")
    assert ended.code == 1, "something would be refused"
    assert ended.out.splitlines() == [f"0.bin\t{site.url('/p/0')}", f"1.bin\t{site.url('/p/1')}"]
    assert "refused: urls.txt:4: nonsense" in ended.err
    for counted in ("2 to fetch", "1 refused", "1 duplicates"):
        assert counted in ended.err
    assert site.log == []
    assert contents(program.folder) == before
    assert not (program.folder / "downloads").exists()


def test_a_dry_run_in_a_run_directory_knows_what_is_done_and_leaves_it_alone(
    program: Program, site: Site
) -> None:
    out = program.folder / "out"
    urls = [site.url("/p/0"), site.url("/p/1")]
    assert program.run("get", urls[0], "-o", "out").code == 0
    site.log.clear()
    before = contents(out)
    ended = program.run("get", *urls, "-o", "out", "--dry-run")
    assert ended.code == 0
    assert [line.split("\t")[1] for line in ended.out.splitlines()] == [urls[1]]
    assert "1 done already" in ended.err
    refreshing = program.run("get", *urls, "-o", "out", "--dry-run", "--refresh")
    assert len(refreshing.out.splitlines()) == 2
    assert program.run("status", "out").code == 0
    assert site.log == []
    assert contents(out) == before


def test_status_as_json_has_the_counts(program: Program, site: Site) -> None:
    urls = [site.url("/p/0"), site.url("/p/1"), site.url("/gone"), "ftp://h/nonsense"]
    program.run("get", *urls, "-o", "out")
    ended = program.run("status", "out", "--json")
    assert ended.code == 0
    [report] = ended.lines
    assert report["states"] == {"pending": 0, "done": 2, "unchanged": 0, "failed": 1, "refused": 1}
    assert report["errors"]["http-status"] == 1
    assert report["hosts"] == {f"127.0.0.1:{site.port}": {"done": 2, "failed": 1}}
    assert report["bytes"] == len(site.pages["/p/0"]) + len(site.pages["/p/1"])
    assert report["is_resumable"] is False
    assert report["running"] is None


def test_the_demo_needs_nothing_and_succeeds(program: Program) -> None:
    ended = program.run("demo", "tour")
    assert ended.code == 0, ended.err
    assert ended.stdout == b""
    found = records(program.folder / "tour")
    assert len(found) > 100
    assert [record["status"] for record in found if record["state"] == "failed"] == [404]
    assert len(stored(program.folder / "tour")) > 100
    crawled = records(program.folder / "tour" / "crawl")
    assert len(crawled) > 100
    assert {record["depth"] for record in crawled} > {0, 1}
    assert [record["status"] for record in crawled if record["state"] == "failed"] == [404]


# Settings from files and the environment.


def job(program: Program, site: Site, **lines: str) -> Path:
    folder = program.folder / "jobs"
    folder.mkdir()
    write_list(folder / "list.txt", [site.url("/p/1"), site.url("/p/2")])
    body = f"""
        [job]
        command = "get"
        urls = ["{site.url("/p/0")}"]
        inputs = ["list.txt"]
        output = "pages"
        [common]
        concurrency = 3
        [get]
        name = "{{stem}}.page"
        """
    path = folder / "nightly.toml"
    path.write_text(re.sub(r"^ +", "", body, flags=re.MULTILINE))
    return path


def test_a_job_file_is_run_with_paths_relative_to_it(program: Program, site: Site) -> None:
    path = job(program, site)
    (program.folder / "fetcher.toml").write_text("nonsense = ")  # a job reads no fetcher.toml
    ended = program.run("run", path)
    assert ended.code == 0, ended.err
    assert sorted(stored(path.parent / "pages")) == ["0.page", "1.page", "2.page"]
    assert not (program.folder / "downloads").exists()
    site.log.clear()
    assert program.run("run", path, "-q").stderr == b""
    assert site.log == []


def test_the_command_line_overrides_a_job_file(program: Program, site: Site) -> None:
    path = job(program, site)
    write_list(program.folder / "mine.txt", [site.url("/p/5")])
    ended = program.run("run", path, "-o", "elsewhere", "--name", "x{stem}", "-i", "mine.txt")
    assert ended.code == 0, ended.err
    assert sorted(stored(program.folder / "elsewhere")) == ["x0", "x5"]
    assert not (path.parent / "pages").exists()


def test_settings_come_from_the_file_the_environment_and_flags_the_later_winning(
    program: Program, site: Site
) -> None:
    (program.folder / "fetcher.toml").write_text(
        '[common]\nconcurrency = 5\nretries = 1\n[get]\ndelay = 0.5\nper_host = 2\n[host."example.org"]\nrate = "1/s"\n'
    )
    variables = {"FETCHER_RETRIES": "7", "FETCHER_PER_HOST": "3"}
    ended = program.run("config", "--per-host", "4", "-u", "me:canary", variables=variables)
    assert ended.code == 0
    assert ended.err == ""
    shown = tomllib.loads(ended.out)
    common = shown["common"]
    assert (common["concurrency"], common["retries"], common["delay"], common["per_host"]) == (5, 7, 0.5, 4)
    assert shown["host"]["example.org"]["rate"] == "1/s"
    origins = {
        line.split(" = ")[0]: line.rpartition("# ")[2] for line in ended.out.splitlines() if " = " in line
    }
    assert origins["concurrency"] == "file fetcher.toml:2"
    assert origins["retries"] == "environment FETCHER_RETRIES"
    assert origins["per_host"] == "flag --per-host"
    assert origins["max_redirects"] == "default"
    assert "canary" not in ended.out
    (program.folder / "again.toml").write_text(ended.out.replace("***:***", "me:it"))
    assert program.run("config", "--config", "again.toml").code == 0, "what config prints can be read back"


def test_settings_of_a_file_take_effect(program: Program, site: Site) -> None:
    (program.folder / "fetcher.toml").write_text(
        f'[get]\noutput = "here"\nuser_agent = "mine/1"\n[host."127.0.0.1:{site.port}"]\nheaders = {{ X-Only = "yes" }}\n'
    )
    ended = program.run("get", site.url("/p/0"))
    assert ended.code == 0, ended.err
    [hit] = site.log
    assert (hit.header("user-agent"), hit.header("x-only")) == ("mine/1", "yes")
    assert len(by_url(program.folder / "here")) == 1


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("[common]\nconcurency = 5\n", "fetcher.toml:2", "concurency"),
        ("[common]\n\nconcurrency = 'many'\n", "fetcher.toml:3", "concurrency: expected a whole number"),
        ("[get]\nretries = -1\n", "fetcher.toml:2", "retries"),
        ("[gett]\n", "fetcher.toml:1", "gett"),
        ("concurrency = 5\n", "fetcher.toml:1", "[common]"),
        ("[common]\nconcurrency = \n", "fetcher.toml:2", "not TOML"),
        ("[job]\ncommand = 'get'\n", "fetcher.toml:1", "job"),
        ('[host."a b"]\ndelay = 1\n', "fetcher.toml:1", "host"),
        ('[host."example.org"]\nspeed = 1\n', "fetcher.toml:2", "speed"),
        ("[common]\nuser = 'canary'\n", "fetcher.toml:2", "user: expected USER:PASSWORD"),
    ],
)
def test_a_mistake_in_a_settings_file_is_named_with_file_line_and_key(
    program: Program, site: Site, text: str, place: str, said: str
) -> None:
    (program.folder / "fetcher.toml").write_text(text)
    ended = program.run("get", site.url("/p/0"))
    assert ended.code == 2
    assert place in ended.err
    assert said in ended.err
    assert "canary" not in ended.err
    assert site.log == []
    assert not (program.folder / "downloads").exists()


def test_a_mistake_in_the_environment_is_named(program: Program, site: Site) -> None:
    for name, value, said in (
        ("FETCHER_CONCURENCY", "5", "FETCHER_CONCURRENCY"),
        ("FETCHER_RETRIES", "x", "FETCHER_RETRIES: retries: expected"),
    ):
        ended = program.run("get", site.url("/p/0"), variables={name: value})
        assert ended.code == 2
        assert said in ended.err
    assert site.log == []


def test_the_proxy_of_the_environment_is_used_and_no_proxy_goes_round_it(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(3)
    proxy = {"http_proxy": site.url("").removesuffix("/")}
    ended = program.run("get", site.url("/p/0"), "-o", "out", variables=proxy)
    assert ended.code == 0, ended.err
    assert [hit.target for hit in site.log] == [site.url("/p/0"), "/p/0"]
    assert "proxy" in ended.err, "that private addresses are not guarded is said"
    site.log.clear()
    assert (
        program.run("get", site.url("/p/1"), "-o", "out", "--no-proxy", "127.0.0.1", variables=proxy).code
        == 0
    )
    assert [hit.target for hit in site.log] == ["/p/1"]
    site.log.clear()
    assert program.run("get", site.url("/p/2"), "-o", "out", "--proxy", "", variables=proxy).code == 0
    assert [hit.target for hit in site.log] == ["/p/2"]


def test_the_continue_command_can_be_pasted(program: Program, make_site: MakeSite) -> None:
    site = make_site(20)
    write_list(program.folder / "my list.txt", [site.url(path) for path in site.pages])
    site.hold_after(5)
    stopped = program.run(
        "get", "-i", "my list.txt", "-o", "out", "--deadline", "0.3", "--grace", "0", "--json"
    )
    assert stopped.code == 4
    line = next(line for line in stopped.err.splitlines() if line.startswith("to continue:"))
    import shlex

    words = shlex.split(line.removeprefix("to continue:"))
    assert words[:4] == ["fetcher", "get", "-i", "my list.txt"]
    site.release()
    again = program.run(*[word for word in words[1:] if word not in {"--deadline", "0.3"}])
    assert again.code == 0
    assert len(stopped.lines) + len(again.lines) == 20
    assert json.loads(again.stdout.splitlines()[0])["state"] == "done"
