"""What the documents say is so: README's blocks run, its tables are the code's, and every path exists."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest
from support.faultserver import Exchange, FaultServer

from fetcher import config
from fetcher.cli import main, session
from fetcher.model import FINAL_STATES, Record

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
FOLDERS = (
    "fetcher|tests|examples|benchmarks|policy|engine|backends|frontiers|stores|sources|observers|cli|lab"
)
SITE = "https://example.org"
PREPARING = {"make", "pip"}  # what comes before there is a program: looked at, not run
SHELL = {"fetcher", "gzip", "cat"}
LIMIT_S = 60.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def heading_of(block: str) -> str:
    """The first words of a block, as the name of its test."""
    return re.sub(r"\W+", "-", block[:40]).strip("-")


def first_words(block: str) -> set[str]:
    return {line.split()[0] for line in block.splitlines() if line.strip()}


def rows_below(header: str) -> list[list[str]]:
    """The rows of the table with that header line, each a list of cells."""
    lines = README[README.index(header) :].splitlines()[2:]
    table = lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


PREPARATION = [block for block in blocks("sh") if first_words(block) <= PREPARING]
SCRIPTS = [block for block in blocks("sh") if block not in PREPARATION]


@pytest.fixture
def site(server: FaultServer) -> FaultServer:
    """Stands in for https://example.org: every path is a page with a validator."""

    async def page(x: Exchange) -> None:
        body = f"<title>{x.hit.path}</title>\n".encode()
        is_known = x.hit.header("if-none-match") == '"1"'
        fields = [("ETag", '"1"'), ("Content-Type", "text/html; charset=utf-8")]
        await x.answer(304 if is_known else 200, fields, b"" if is_known else body)

    server.route("/", page)
    return server


@pytest.fixture
def reader(tmp_path: Path, site: FaultServer) -> Reader:
    return Reader(tmp_path, site)


class Reader:
    """Somebody who types what README says, in a folder with the lists that it speaks of."""

    def __init__(self, folder: Path, site: FaultServer) -> None:
        self._site = site
        self.folder = folder / "reader"
        self.folder.mkdir()
        self._write("urls.txt", f"# pages\n{SITE}/a\n\n{SITE}/b\n{SITE}/c\n")
        self._write("more.txt", f"{SITE}/d\n")
        self._write("urls.jsonl", blocks("json")[0])
        for block in blocks("python"):
            if block.startswith("# extractor.py"):
                self._write("extractor.py", block)
        self._tools = folder / "bin"
        self._tools.mkdir()
        self._tool("fetcher", f'exec {shlex.quote(sys.executable)} -m fetcher "$@"')
        if shutil.which("jq") is None:  # then it is enough that it would get lines of JSON
            self._tool("jq", f"exec {shlex.quote(sys.executable)} -m json.tool --json-lines")
        self._home = folder / "home"
        self._home.mkdir()

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(self.localised(text))

    def _tool(self, name: str, script: str) -> None:
        path = self._tools / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def localised(self, text: str) -> str:
        return text.replace(SITE, self._site.url(""))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": f"{self._tools}:{os.environ['PATH']}", "HOME": str(self._home), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        return self.run("bash", "-euo", "pipefail", "-c", self.localised(script))


def parse(words: list[str]) -> None:
    """Read a command line as the program does, without running it."""
    assert Path(words[0]).name == "fetcher"
    command = main.cli.get_command(click.Context(main.cli), words[1])
    assert command is not None, words[1]
    command.make_context(words[1], words[2:])


# --- blocks ------------------------------------------------------------------------------------------


def test_readme_has_blocks_of_every_kind_that_is_checked_and_of_no_other() -> None:
    found = set(re.findall(r"^```(\w+)$", README, re.MULTILINE))
    assert found == {"sh", "text", "json", "toml", "python", "crontab", "ini"}


@pytest.mark.parametrize("block", SCRIPTS, ids=heading_of)
def test_a_shell_block_runs_as_it_stands(block: str, reader: Reader) -> None:
    assert first_words(block) <= SHELL
    assert reader.shell("fetcher get -i urls.txt -o pages").returncode == 0
    ended = reader.shell(block)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout or ended.stderr


@pytest.mark.parametrize("block", blocks("python"), ids=heading_of)
def test_a_python_block_runs_as_it_stands(block: str, reader: Reader) -> None:
    ended = reader.run(sys.executable, "-W", "error", "-c", reader.localised(block))
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


@pytest.mark.parametrize("block", blocks("toml"), ids=heading_of)
def test_a_toml_block_is_a_file_that_loads(block: str, tmp_path: Path) -> None:
    path = tmp_path / "block.toml"
    path.write_text(block)
    if "[job]" in block:
        job = config.load_job(path, flags={}, environ={})
        assert job.inputs == (str(tmp_path / "urls.txt"),)
    else:
        effective = config.load("get", flags={}, environ={}, config_path=path)
        assert effective.settings.hosts["example.org"].delay == 1.5


def test_the_block_of_json_is_a_list_whose_columns_are_understood(reader: Reader) -> None:
    ended = reader.shell("fetcher get -i urls.jsonl -o out --name '{team}/{stem}-{index}{ext}' --json -q")
    found = {Path(record["path"]): record for record in map(json.loads, ended.stdout.splitlines())}
    assert set(found) == {
        Path("reports/2026.html"),
        Path("blue/search-2"),
        Path("red/data-3.csv"),
    }
    assert found[Path("blue/search-2")]["meta"] == {"team": "blue"}


def test_the_commands_that_come_before_the_program_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    commands = [line.split("#")[0].split() for block in PREPARATION for line in block.splitlines()]
    assert {words[1] for words in commands if words[0] == "make"} == {"demo", "test"} <= targets
    assert [words for words in commands if words[0] == "pip"] == [["pip", "install", "."]]


def test_the_crontab_and_systemd_blocks_are_command_lines_of_the_examples() -> None:
    (cron,) = blocks("crontab")
    (unit,) = blocks("ini")
    assert cron.strip() in (ROOT / "examples/nightly.cron").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert command is not None
    service = (ROOT / "examples/fetcher-nightly.service").read_text()
    assert set(unit.splitlines()) <= set(service.splitlines())
    for text in (cron.split(maxsplit=5)[5], command[1]):
        words = shlex.split(text)
        parse(words)
        assert (ROOT / "examples" / Path(words[2]).name).is_file()


def test_what_the_library_is_said_to_print_is_printed(reader: Reader) -> None:
    block = next(block for block in blocks("python") if "retrys" in block)
    said = re.search(r"# (unknown .*)$", block, re.MULTILINE)
    assert said is not None
    assert reader.run(sys.executable, "-c", reader.localised(block)).stdout.strip() == said[1]


# --- tables ------------------------------------------------------------------------------------------


def test_the_fields_of_a_record_are_the_codes_in_their_order() -> None:
    names = [row[0].strip("`") for row in rows_below("| field | meaning |")]
    assert names == [field.name for field in msgspec.structs.fields(Record)]


def test_the_states_are_the_codes() -> None:
    assert [row[0].strip("`") for row in rows_below("| state | meaning |")] == list(FINAL_STATES)


def test_the_exit_codes_are_the_codes() -> None:
    codes = [int(code) for row in rows_below("| code | meaning |") for code in row[0].split(",")]
    signals = [128 + number for number in (*session.SIGNALS.values(), signal.SIGPIPE)]
    named = [main.USAGE, main.IN_USE, session.STOPPED_CLEANLY, main.STORAGE, main.DEFECT]
    assert codes == [0, 1, *named, *sorted(signals)]


def test_every_command_is_named_and_no_other() -> None:
    said = re.search(r"The commands are (.*?); each has", README, re.DOTALL)
    assert said is not None
    assert re.findall(r"`(\w+)`", said[1]) == list(main.COMMANDS)


def test_every_value_of_error_that_is_named_stands_in_the_code() -> None:
    said = re.search(r"values of `error`:(.*?)\n\n", README, re.DOTALL)
    assert said is not None
    code = "".join(path.read_text() for path in (ROOT / "fetcher").rglob("*.py"))
    slugs = re.findall(r"`([a-z-]+)`", said[1])
    assert len(slugs) > 10
    assert [slug for slug in slugs if f'"{slug}"' not in code] == []


# --- all documents -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_and_every_path_of_a_document_exists(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    paths = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", text)
    missing = [
        path
        for path in [*links, *paths]
        if not ((ROOT / path).exists() or (ROOT / "fetcher" / path).exists())
    ]
    assert missing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_line_of_a_document_is_longer_than_120_but_in_tables(name: str) -> None:
    text = re.sub(r"^\|.*$", "", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE)
    assert [line for line in text.splitlines() if len(line) > 120] == []
