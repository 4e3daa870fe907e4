"""The reference is the program's: its tables are made from the code, and its names stand in the code."""

from __future__ import annotations

import re
import shlex

import click
import msgspec
import pytest
from support.documents import ROOT, program_beside_the_documents, text_of

from fetcher.cli import main
from fetcher.model import FINAL_STATES, Record
from fetcher.settings import OPTIONS

MAKER = program_beside_the_documents("make_reference")
REFERENCE, COMING = text_of("docs/reference.md"), text_of("docs/coming-from.md")
SWITCHES = {
    name for o in OPTIONS.values() if "cli" in o.where for name in (o.flag, o.short, o.flag_off) if name
}


def rows_below(header: str) -> list[list[str]]:
    """The rows of the reference's table with that header line, each a list of cells."""
    lines = REFERENCE[REFERENCE.index(header) :].splitlines()[2:]
    table = lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.parametrize("page", MAKER.PAGES, ids=lambda page: page.name)
def test_the_tables_are_what_the_program_says_now(page) -> None:
    text = page.read_text("utf-8")
    assert MAKER.filled(text) == text, "make them anew: python docs/make_reference.py"


def test_every_part_stands_in_a_page_once() -> None:
    found = [name for page in MAKER.PAGES for name in MAKER.parts_of(page.read_text("utf-8"))]
    assert sorted(found) == sorted(MAKER.PARTS)


def test_the_fields_of_a_record_are_the_codes_in_their_order() -> None:
    names = [row[0].strip("`") for row in rows_below("| field | meaning |")]
    assert names == [field.name for field in msgspec.structs.fields(Record)]


def test_the_states_are_the_codes() -> None:
    assert [row[0].strip("`") for row in rows_below("| state | meaning |")] == list(FINAL_STATES)


def test_every_value_of_error_that_is_named_stands_in_the_code() -> None:
    said = re.search(r"values of `error`:(.*?)\n\n", REFERENCE, re.DOTALL)
    assert said is not None
    code = "".join(path.read_text() for path in (ROOT / "fetcher").rglob("*.py"))
    slugs = re.findall(r"`([a-z-]+)`", said[1])
    assert len(slugs) > 10
    assert [slug for slug in slugs if f'"{slug}"' not in code] == []


def test_what_others_typed_is_here_a_good_command_line() -> None:
    commands = re.findall(r"\| `(fetcher (?:get|crawl) [^`]*)`", COMING)
    assert len(commands) > 15
    for typed in commands:
        line = (
            typed.replace("\\|", "|").split(" | ")[0].replace(" -i list", "").replace(" URL", " https://x/")
        )
        _, name, *words = shlex.split(line)
        command = main.cli.get_command(click.Context(main.cli), name)
        assert command is not None
        command.make_context(name, words)


def test_every_option_that_a_page_names_as_ours_is_one() -> None:
    ours = COMING[COMING.index("## Scrapy") :]
    named = set(re.findall(r"`(--[a-z-]+)", ours))
    assert len(named) > 15
    assert named <= SWITCHES
