"""Statements that name states, and what is counted of their rows."""

import re
import sqlite3
from pathlib import Path

import pytest

import fetcher.frontiers.sqlite
from fetcher.frontiers.sqlite.schema import open_memory
from fetcher.frontiers.sqlite.url_rows import count_rows, sql
from fetcher.model import FINAL_STATES, State

SOURCES = sorted(Path(fetcher.frontiers.sqlite.__file__).parent.rglob("*.py"))
PUT = """INSERT INTO url (key, check_key, url, host, rank, state, generation, session)
 VALUES (?, ?, 'http://a/', 0, 0, ?, 0, 0)"""


@pytest.fixture
def db() -> sqlite3.Connection:
    return open_memory()


def test_states_and_sets_of_them_stand_in_a_statement_as_their_numbers() -> None:
    assert sql("state = :LEFT_OUT OR state IN :SUCCESSFUL") == "state = 7 OR state IN (1, 2)"
    assert sql("state IN :FINAL AND id = ?") == "state IN (1, 2, 3, 4) AND id = ?"


def test_a_state_that_there_is_not_is_told_at_once() -> None:
    with pytest.raises(KeyError, match="PARKED"):
        sql("state = :PARKED")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_statement_spells_a_state_as_a_number(source: Path) -> None:
    assert not re.findall(r"state\s*(?:=|<>|!=|<|>|IN)\s*\(?\d", source.read_text())


def test_rows_are_counted_under_the_name_of_their_state(db: sqlite3.Connection) -> None:
    for state in State:
        for number in range(state.value + 1):
            db.execute(PUT, (state.value * 100 + number, 0, state))
    counts = count_rows(db)
    assert counts.finals() == {name: state.value + 1 for name, state in FINAL_STATES.items()}
    assert (counts.pending, counts.withheld) == (State.PENDING + 1, State.WITHHELD + 1)
    assert counts.ended == 2 + 3 + 4 + 5
    only_some = count_rows(db, "key % 100 = 0")
    assert set(only_some.finals().values()) == {1}
    assert only_some.withheld == State.WITHHELD + 1
