"""The manual page is the program's, and troff reads it without a complaint."""

from __future__ import annotations

import re
import subprocess

from support.documents import program_beside_the_documents, text_of

from fetcher.cli.main import COMMANDS
from fetcher.settings import OPTIONS

MAKER = program_beside_the_documents("make_man_page")


def test_the_page_is_what_the_program_says_now() -> None:
    assert text_of("docs/fetcher.1") == MAKER.page(), "make it anew: python docs/make_man_page.py"


def test_troff_reads_it_and_shows_every_command_and_option() -> None:
    ended = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-P-cbou", "-rLL=200n", "docs/fetcher.1"],
        cwd=MAKER.HERE.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = [line.strip() for line in ended.stdout.splitlines()]
    for name in COMMANDS:
        assert f"fetcher {name}" in lines
    for option in OPTIONS.values():
        if "cli" in option.where:
            assert any(re.search(rf"(^|, ){option.flag}( |$)", line) for line in lines), option.flag
