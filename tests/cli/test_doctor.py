"""What works on this machine and what does not, and why; and what a shell completes."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner
from support.documents import text_of
from support.program import COMMAND, Program

from fetcher.cli.completion import SHELLS
from fetcher.cli.main import cli
from fetcher.wiring import BACKENDS


def findings(
    program: Program, *arguments: str | Path, code: int, **variables: str
) -> dict[str, dict[str, str]]:
    """By topic and first word."""
    ended = program.run("doctor", "--json", "--host", "localhost", *arguments, variables=variables)
    assert ended.code == code, ended.out + ended.err
    [rows] = ended.lines
    return {f"{row['topic']} {row['text'].split(':')[0]}": row for row in rows}


def test_every_backend_extra_and_part_of_the_machine_is_tried(program: Program) -> None:
    found = findings(program, code=0)
    for name in BACKENDS:
        assert found[f"backend {name}"]["state"] == "ok"
    assert "2, 3" in found["backend curl"]["text"]
    extras = text_of("pyproject.toml").partition("[project.optional-dependencies]")[2].partition("\n\n")[0]
    for line in extras.splitlines()[1:]:
        name = line.partition(" =")[0]
        assert found[f"extra {name}"]["state"] == "ok", name
    assert {key.split()[0] for key in found} >= {"program", "descriptors", "disk", "certificates", "clock"}
    assert list(program.folder.iterdir()) == [program.folder / "home"], "nothing is left behind"


def test_what_is_broken_fails_and_says_why(program: Program, tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "blake3.py").write_text("raise ImportError('built for another machine')\n")
    (modules / "pycurl.py").write_text("raise ImportError('libcurl.so.4: no such file')\n")
    (program.folder / "taken").write_text("")
    found = findings(
        program,
        "taken",
        code=1,
        PYTHONPATH=str(modules),
        https_proxy="http://user:secret@proxy.example:3128",
    )
    assert found["extra blake3"]["state"] == "fails"
    assert "built for another machine" in found["extra blake3"]["text"]
    assert found["backend curl"]["state"] != "ok"
    assert found["backend asyncio"]["state"] == "ok"
    [disk] = [row for row in found.values() if row["topic"] == "disk"]
    assert (disk["state"], disk["advice"]) == ("fails", "choose another --output")
    [proxy] = [row for row in found.values() if row["topic"] == "proxy"]
    assert "proxy.example:3128" in proxy["text"]
    assert "secret" not in proxy["text"]


def test_few_descriptors_and_an_unknown_name_are_told_to_people(program: Program) -> None:
    ended = subprocess.run(
        [*COMMAND, "doctor", "--host", "no-such-name.invalid"],
        cwd=program.folder,
        env=program.environment,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)),
    )
    assert ended.returncode == 1
    assert "note  descriptors  100 at most: fewer exchanges at once than the default of 64\n" in ended.stdout
    assert "fails resolver     no-such-name.invalid: " in ended.stdout


@pytest.mark.parametrize(
    ("typed", "incomplete", "found"),
    [
        ("", "dem", [("plain", "demo")]),
        ("get", "--max-f", [("plain", "--max-failures")]),
        ("get --backend", "th", [("plain", "threads")]),
        ("get -o", "pa", [("dir", "pa")]),
        ("get -i", "pa", [("file", "pa")]),
        ("crawl --ignore", "meta,n", [("plain", "meta,nofollow")]),
        ("get --limit-rate 4", "--stor", [("plain", "--store")]),  # of another program: no word about it
        ("nonsense", "--x", []),
    ],
)
def test_a_shell_completes_commands_options_and_values(
    typed: str, incomplete: str, found: list[tuple[str, str]]
) -> None:
    items = BashComplete(cli, {}, "fetcher", "").get_completions(typed.split(), incomplete)
    assert [(item.type, item.value) for item in items] == found


def test_the_script_works_in_bash(program: Program) -> None:
    script = program.run("completion", "bash").out
    (program.folder / "complete.sh").write_text(script)
    (program.folder / "fetcher").write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    (program.folder / "fetcher").chmod(0o755)
    typed = (
        ". ./complete.sh; COMP_WORDS=(./fetcher get --max-f); COMP_CWORD=2;"
        "_fetcher_completion ./fetcher; echo ${COMPREPLY[@]}; complete -p fetcher"
    )
    ended = subprocess.run(
        ["bash", "-c", typed], cwd=program.folder, env=program.environment, capture_output=True, text=True
    )
    assert ended.stderr == ""
    offered, registered = ended.stdout.splitlines()
    assert offered == "--max-failures"
    assert registered.endswith("-F _fetcher_completion fetcher")


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert f"_FETCHER_COMPLETE={shell}_complete" in result.output
