"""The completion as each shell itself makes it: typed at its prompt, TAB included, and what the program is given."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.program import COMMAND, Program, eventually
from support.screen import Screen

SHELLS = ["bash", pytest.param("zsh", marks=pytest.mark.zsh), pytest.param("fish", marks=pytest.mark.fish)]
START = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"], "fish": ["fish", "-i"]}
PLACE = {"bash": "completions", "zsh": "zsh/_fetcher", "fish": ".config/fish/completions/fetcher.fish"}
SETUP = {
    "bash": ". home/completions; PS1='re''ady> '",
    "zsh": "fpath=($HOME/zsh $fpath); autoload -Uz compinit; compinit -u -D; PS1='re''ady> '",
    "fish": "function fish_prompt; echo 're''ady> '; end",
}
# Asked by a shell it completes; called by its user it notes what it was given.
PROGRAM = f"""#!{sys.executable}
import json, os, sys
if "_FETCHER_COMPLETE" in os.environ:
    os.execv({COMMAND[0]!r}, [*{COMMAND!r}, *sys.argv[1:]])
with open("given.new", "w") as file:
    json.dump(sys.argv[1:], file)
os.rename("given.new", "given")
"""


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    os.close(screen.primary)
    os.close(screen.secondary)


@pytest.fixture(params=SHELLS)
def prompt(request: pytest.FixtureRequest, program: Program, screen: Screen) -> Iterator[Path]:
    """A shell at its prompt, with the completion installed as the help says; the folder that it is in."""
    shell: str = request.param
    home = program.folder / "home"
    (home / "fetcher").write_text(PROGRAM)
    (home / "fetcher").chmod(0o755)
    script = home / PLACE[shell]
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(program.run("completion", shell).out)
    (program.folder / "urls.txt").write_text("")
    (program.folder / "pages").mkdir()
    # Where this is there, fish makes no completions of all manual pages behind the test's back.
    (home / ".local/share/fish/generated_completions").mkdir(parents=True)
    path = f"{home}:{program.environment['PATH']}"
    with subprocess.Popen(
        START[shell],
        cwd=program.folder,
        env={**program.environment, "PATH": path, "TERM": "xterm"},
        stdin=screen.secondary,
        stdout=screen.secondary,
        stderr=screen.secondary,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(screen.secondary, termios.TIOCSCTTY, 0),  # noqa: PLW1509  (of Popen)
    ) as running:
        screen.type(SETUP[shell] + "\r")
        assert screen.shows("ready> ")
        yield program.folder
        running.kill()


@pytest.mark.parametrize(
    ("typed", "shown", "given"),
    [
        ("fetcher rehe", "arse", ["rehearse"]),
        ("fetcher get --max-fail", "ures", ["get", "--max-failures"]),
        ("fetcher get --backend thr", "eads", ["get", "--backend", "threads"]),
        ("fetcher get --backend=thr", "eads", ["get", "--backend=threads"]),
        ("fetcher crawl --ignore meta,no", "follow", ["crawl", "--ignore", "meta,nofollow"]),
        ("fetcher get -i url", "s.txt", ["get", "-i", "urls.txt"]),
        ("fetcher get -o pag", "es", ["get", "-o", "pages"]),
        ("fetcher get --output=pag", "es", ["get", "--output=pages"]),
    ],
)
def test_a_shell_completes_what_is_typed(
    prompt: Path, screen: Screen, typed: str, shown: str, given: list[str]
) -> None:
    for _ in range(2):  # what is loaded by the first is there for the second
        screen.type(typed + "\t")
        assert screen.shows(shown)
        screen.type("\r")
        assert eventually((prompt / "given").exists, 30)
        words = json.loads((prompt / "given").read_text())
        assert [word.rstrip("/") for word in words] == given  # zsh takes the slash away again
        (prompt / "given").unlink()
