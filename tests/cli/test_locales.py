"""Locales that are not UTF-8: what is fetched, named and recorded is the same, and text can be printed.

`C` needs nothing of the system: Python is told to take it as it is. Others are made where there is a
`localedef` with its sources.
"""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from support.program import COMMAND, Program, by_url, stored
from support.site import Site

AS_IT_IS = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
MADE = {
    name: charset
    for name, charset in (
        ("de_DE.ISO-8859-1", "ISO-8859-1"),
        ("zh_CN.GBK", "GBK"),
        ("ja_JP.EUC-JP", "EUC-JP"),
    )
    if shutil.which("localedef") and Path("/usr/share/i18n/locales", name.partition(".")[0]).exists()
}
NAMES = ("Ω", "日本", "é…", "😀")


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the locales that can be made here."""
    folder = tmp_path_factory.mktemp("locales")
    for name, charset in MADE.items():
        made = [
            "localedef",
            "--no-warnings=ascii",
            "-i",
            name.partition(".")[0],
            "-f",
            charset,
            folder / name,
        ]
        subprocess.run(made, check=False, capture_output=True, timeout=60)
        assert (folder / name / "LC_CTYPE").exists()
    return folder


@pytest.fixture(params=["C", *MADE])
def foreign(request: pytest.FixtureRequest, program: Program, locales: Path) -> Program:
    """The program in a locale that is not UTF-8."""
    made = {"LC_ALL": request.param, "LOCPATH": str(locales)}
    program.environment |= AS_IT_IS if request.param == "C" else made
    return program


@pytest.fixture
def urls(site: Site) -> list[str]:
    for name in NAMES:
        site.pages[f"/p/{quote(name)}"] = b"found"
        site.route(f"/p/{quote(name)}", site._serve)
    return [site.url(f"/p/{name}") for name in NAMES]


def test_files_have_names_in_utf8_whatever_the_locale(foreign: Program, urls: list[str]) -> None:
    (foreign.folder / "list.txt").write_text("".join(f"{url}\n" for url in urls), encoding="utf-8")
    out = foreign.folder / "out"
    for processes in ("1", "2"):
        ended = foreign.run("get", "-i", "list.txt", "-o", "out", "-v", "--processes", processes, "--restart")
        assert ended.code == 0, ended.stderr
        names = {os.path.basename(name) for name in os.listdir(os.fsencode(next(out.glob("127*")) / "p"))}
        assert names == {name.encode() for name in NAMES}
        assert set(by_url(out)) == set(urls)
    again = foreign.run("get", "-i", "list.txt", "-o", "out")
    assert again.code == 0
    assert b"nothing left to fetch: " in again.stderr
    assert foreign.run("get", "-i", "list.txt", "-o", "else", "--dry-run").code == 0
    assert foreign.run("status", "out").code == 0


def test_arguments_that_the_locale_cannot_read_are_utf8(
    program: Program, urls: list[str], site: Site
) -> None:
    program.environment |= AS_IT_IS
    ended = program.run(
        "get", *urls, "-o", "größe", "--log-file", "lög", "-H", "X-Name: é", "--name", "é-{stem}"
    )
    assert ended.code == 0, ended.stderr
    assert set(stored(program.folder / "größe")) == {f"é-{name}" for name in NAMES}
    assert (program.folder / "lög").exists()
    assert program.run("get", urls[0], "-O", "eins-é").code == 0
    assert (program.folder / "eins-é").read_bytes() == b"found"
    assert all(record["state"] == "done" for record in by_url(program.folder / "größe").values())


def test_a_folder_that_a_file_names_is_utf8_where_the_locale_has_no_characters_for_it(
    foreign: Program, urls: list[str]
) -> None:
    (foreign.folder / "job.toml").write_text('[common]\noutput = "😀"\n', encoding="utf-8")
    assert foreign.run("get", urls[0], "--config", "job.toml").code == 0
    assert (foreign.folder / "😀" / "results.jsonl").exists()


def test_a_terminal_gets_what_it_has_characters_for_and_escapes_else(
    foreign: Program, urls: list[str]
) -> None:
    leader, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "get", *urls[:2], "http://127.0.0.1:1/x", "-o", "out", "--retries", "0"],
        cwd=foreign.folder,
        env={**foreign.environment, "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            seen += os.read(leader, 65_536)
        except OSError:  # the terminal is closed
            break
    os.close(leader)
    assert process.wait(60) == 1
    assert b"connect-failed" in seen
    assert b"\\u25" not in seen  # no piece of the display is spelled out
    assert b"defect" not in seen
