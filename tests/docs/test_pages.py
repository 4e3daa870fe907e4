"""The pages are so: their blocks run as they stand, one folder for each page, in the order of the page.

A page's shell is typed line after line by somebody whose lists are those of the page (`support.documents`).
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
from support.documents import (
    KERNEL,
    PROGRAMS,
    ROOT,
    SITE,
    Reader,
    blocks,
    languages,
    text_of,
)
from support.faultserver import FaultServer
from support.objectstore import object_server

from fetcher import config
from fetcher.cli import main

FOLDERS = "fetcher|tests|docs|examples|benchmarks|policy|engine|backends|frontiers|stores|sources|observers|cli|lab|demo_site"
LINKED = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
OWN_TEST = {
    "docs/two-worlds.md",
    "docs/concurrency.md",
    "docs/hostile-input.md",
}  # tested in files of their own
TYPED = ["README.md", *(name for name in PAGES if name not in OWN_TEST)]
OBJECTS = "docs/how-to/object-stores.md"
NOTEBOOK, WEB = "docs/how-to/notebook.md", "docs/how-to/web-frameworks.md"
PREPARING = {"make", "pip"}  # what comes before there is a program: looked at, not run
SHELL = {"fetcher", "gzip", "cat", "head", "jq", "env"}
STANDING_IN = (
    "fetcher get -i urls.txt -o pages -q"  # what a reader of a page that begins with status has done
)


def with_blocks(language: str) -> list[str]:
    return [name for name in TYPED if language in languages(text_of(name))]


def scripts(name: str) -> list[str]:
    """The lines of shell of a page, without what comes before there is a program, and the demo (tests/cli)."""
    lines = [line for block in blocks(text_of(name), "sh") for line in block.splitlines() if line.strip()]
    return [line for line in lines if line.split()[0] not in PREPARING and "fetcher demo" not in line]


def parse(words: list[str]) -> None:
    """Read a command line as the program does, without running it."""
    assert Path(words[0]).name == "fetcher"
    command = main.cli.get_command(click.Context(main.cli), words[1])
    assert command is not None, words[1]
    command.make_context(words[1], words[2:])


# --- blocks ------------------------------------------------------------------------------------------


def test_the_pages_have_blocks_of_the_kinds_that_are_checked_and_of_no_other() -> None:
    found = set().union(*(languages(text_of(name)) for name in TYPED))
    assert found == {"sh", "text", "json", "toml", "python", "crontab", "ini"}


@pytest.fixture
def variables(request: pytest.FixtureRequest) -> Iterator[Mapping[str, str]]:
    """What the reader of a page has in the environment: of that on object stores, a server with its bucket."""
    if request.getfixturevalue("name") != OBJECTS:
        yield {}
        return
    with object_server() as store:
        store.control.create_bucket(Bucket="my-bucket")
        yield store.variables


@pytest.mark.parametrize("name", with_blocks("sh"))
def test_the_shell_of_a_page_runs_as_it_stands(
    name: str, tmp_path: Path, server: FaultServer, variables: Mapping[str, str]
) -> None:
    lines = scripts(name)
    assert {line.split()[0] for line in lines} <= SHELL
    reader = Reader(tmp_path, server, text_of(name), variables)
    if "-o pages" not in lines[0] and any(re.search(r"(?:status|verify) pages", line) for line in lines):
        lines.insert(0, STANDING_IN)
    ended = reader.shell("\n".join(f"{line}\necho 'ended: {n}' >&2" for n, line in enumerate(lines)))
    assert ended.returncode == 0, f"{lines[ended.stderr.count('ended: ')]}\n{ended.stderr}"
    assert ended.stdout or ended.stderr


@pytest.mark.parametrize("name", [name for name in with_blocks("python") if name not in {NOTEBOOK, WEB}])
def test_the_python_of_a_page_runs_as_it_stands(name: str, tmp_path: Path, server: FaultServer) -> None:
    reader = Reader(tmp_path, server)
    written = [reader.localised(block) for block in blocks(text_of(name), "python")]
    ended = reader.python(PROGRAMS, stdin=json.dumps(written))
    assert (ended.returncode, ended.stderr) == (0, "")
    said = re.findall(r"print\(error\)  # (.*)$", "".join(written), re.MULTILINE)
    assert set(said) <= set(ended.stdout.splitlines())


def test_the_cells_of_the_notebook_run_in_a_running_loop(tmp_path: Path, server: FaultServer) -> None:
    reader = Reader(tmp_path, server)
    cells = [reader.localised(block) for block in blocks(text_of(NOTEBOOK), "python")]
    checks = "assert result.ok and len(rows) == 20 and rows[0]['status'] == 200 and summary.done == 50"
    ended = reader.python(KERNEL, stdin=json.dumps([*cells, checks]))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split() == ["50", "0"]


SERVED = f"""
import fastapi.testclient
from service import app

with fastapi.testclient.TestClient(app) as client:
    denied = client.get("/title", params={{"url": "{SITE}/a"}})
    assert denied.status_code == 502 and "private-address" in denied.text, denied.text
import service, inspect
code = inspect.getsource(service).replace('private_addresses="deny"', 'private_addresses="allow"')
names = {{"__name__": "service"}}
exec(code, names)
with fastapi.testclient.TestClient(names["app"]) as client:
    assert client.get("/title", params={{"url": "{SITE}/a"}}).json()["title"] == "/a"
"""
VIEWED = f"""
import asyncio, django, json
from django.conf import settings
settings.configure(DEBUG=True, ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x")
django.setup()
import sys, types, views
from django.urls import path
sys.modules["urls"] = urls = types.ModuleType("urls")
urls.urlpatterns = [path("status", views.status), path("plain", views.plain_status)]
from django.test import AsyncClient, Client

def seen():
    plain = Client().get("/plain", {{"url": "{SITE}/a"}}).json()
    return plain, json.loads(asyncio.run(AsyncClient().get("/status", {{"url": "{SITE}/a"}})).content)

assert seen() == ({{"status": None, "error": "private-address"}},) * 2, seen()
views.RULES["private_addresses"] = "allow"
assert seen() == ({{"status": 200, "error": None}},) * 2, seen()
"""


@pytest.mark.parametrize("program", [SERVED, VIEWED], ids=["FastAPI", "Django"])
def test_the_web_frameworks_serve_what_the_page_says_and_refuse_private_addresses(
    program: str, tmp_path: Path, server: FaultServer
) -> None:
    reader = Reader(tmp_path, server, text_of(WEB))
    ended = reader.run(sys.executable, "-c", reader.localised(program))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", with_blocks("toml"))
def test_a_toml_block_is_a_file_that_loads(name: str, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(text_of(name), "toml")):
        path = tmp_path / f"block{number}.toml"
        path.write_text(block)
        if "[job]" in block:
            job = config.load_job(path, flags={}, environ={})
            assert job.inputs == (str(tmp_path / "urls.txt"),)
        else:
            effective = config.load("get", flags={}, environ={}, config_path=path)
            assert any(str(path) in origin for origin in effective.origins.values())
            assert all(host.delay == 1.5 for host in effective.settings.hosts.values())


def test_the_block_of_json_is_a_list_whose_columns_are_understood(
    tmp_path: Path, server: FaultServer
) -> None:
    reader = Reader(tmp_path, server, text_of("docs/how-to/batch.md"))
    ended = reader.shell("fetcher get -i urls.jsonl -o out --name '{team}/{stem}-{index}{ext}' --json -q")
    found = {record["path"]: record for record in map(json.loads, ended.stdout.splitlines())}
    assert set(found) == {"reports/2026.html", "blue/search-2", "red/data-3.csv"}
    assert found["blue/search-2"]["meta"] == {"team": "blue"}


def test_the_commands_that_come_before_the_program_exist() -> None:
    targets = set(re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE))
    for name in with_blocks("sh"):
        lines = [line for block in blocks(text_of(name), "sh") for line in block.splitlines()]
        for words in (line.split("#")[0].split() for line in lines):
            assert words[:1] != ["make"] or words[1] in targets
            assert words[:1] != ["pip"] or words == ["pip", "install", "."]


@pytest.mark.parametrize("name", with_blocks("crontab"))
def test_the_crontab_and_systemd_blocks_are_command_lines_of_the_examples(name: str) -> None:
    (cron,) = blocks(text_of(name), "crontab")
    assert cron.strip() in text_of("examples/nightly.cron")
    commands = [cron.split(maxsplit=5)[5]]
    for unit in blocks(text_of(name), "ini"):
        assert set(unit.splitlines()) <= set(text_of("examples/fetcher-nightly.service").splitlines())
        commands += re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    for words in map(shlex.split, commands):
        parse(words)
        assert (ROOT / "examples" / Path(words[2]).name).is_file()


# --- every document --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LINKED, *PAGES])
def test_every_link_and_every_path_of_a_document_exists(name: str) -> None:
    text = text_of(name)
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", text)
    paths = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", text)
    here = (ROOT / name).parent
    assert [link for link in links if not (here / link).exists()] == []
    assert [
        path for path in paths if not any((top / path).exists() for top in (ROOT, ROOT / "fetcher"))
    ] == []


@pytest.mark.parametrize("name", [*LINKED, *PAGES])
def test_no_line_of_a_document_is_longer_than_120_but_in_tables(name: str) -> None:
    lines = [line for line in text_of(name).splitlines() if not line.startswith(("|", "> "))]
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("name", [*LINKED, *PAGES])
def test_no_document_speaks_in_riddles(name: str) -> None:
    riddles = r"turns? round|reckoned|that it deserves|a stream of one\b(?! URL)|limit on silence|both worlds"
    assert re.findall(riddles, text_of(name)) == []


def test_readme_is_short_and_leads_to_every_page() -> None:
    readme = text_of("README.md")
    assert len(readme.splitlines()) <= 200
    assert [name for name in PAGES if f"]({name}" not in readme] == []
