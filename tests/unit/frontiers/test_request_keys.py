"""Keys of requests: found in either level, and in no danger while they move from one to the other."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from support.frontiers import Place, claim_all, ended, job, jobs, urls_of

from fetcher.errors import StorageError
from fetcher.frontiers.soundness import damage_of
from fetcher.frontiers.sqlite import request_keys
from fetcher.frontiers.sqlite.request_keys import KeyFilter, RequestKeys
from fetcher.frontiers.sqlite.schema import SCHEMA, open_memory, open_state, read_state
from fetcher.model import Counts

PUT = """INSERT INTO url (id, key, check_key, url, host, rank, state, generation, session)
 VALUES (?, ?, ?, 'http://a/', 0, 0, 0, 0, 0)"""
FIND = "SELECT check_key, id FROM url WHERE id = ?"


def urls(number: int, first: int = 0) -> list[str]:
    return [f"http://h{n % 7}/{n}" for n in range(first, first + number)]


@pytest.fixture
def _moves_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys move once there are a hundred."""
    monkeypatch.setattr(request_keys, "_LEAST_MOVED", 100)


def moved(place: Place) -> int:
    return int(place.rows("SELECT count(*) FROM request_key")[0][0])


def is_keyed(place: Place) -> bool:
    return bool(place.rows("SELECT 1 FROM meta WHERE name = 'keyed'"))


def test_a_request_is_found_past_rows_of_others_and_over_the_last_key() -> None:
    db = open_memory()
    keys = RequestKeys(db)

    def put(number: int, key: int, check: int) -> None:
        db.execute(PUT, (number, key, check))
        keys.add(key, number)

    last, first = 2**63 - 1, -(2**63)
    put(1, last, 1)
    assert keys.find(FIND, last, 2) == (first, None)
    put(2, first, 2)
    assert keys.find(FIND, last, 1) == (last, (1, 1))
    assert keys.find(FIND, last, 2) == (first, (2, 2))
    assert keys.find(FIND, last, 3) == (first + 1, None)


@pytest.mark.usefixtures("_moves_early")
async def test_a_kill_at_any_moment_of_a_move_loses_no_key_and_doubles_none(tmp_path: Path) -> None:
    place = Place(tmp_path / "run")
    listed: list[str] = []
    seen = set()
    for batches in (10, 40, 200, 3, 70, 150, 20, 300):
        async with place.session() as frontier:
            again = await frontier.add(jobs(listed))
            assert (again.new, again.pending) == (0, len(listed))
            for _ in range(batches):
                some = urls(5, len(listed))
                listed += some
                assert (await frontier.add(jobs(some))).new == 5
            left = place.killed()
        seen.add((moved(left) > 0, is_keyed(left)))
        place = left
    assert seen == {(False, False), (True, False), (True, True)}  # before the first move, in it, after it
    async with place.session() as frontier:
        assert await frontier.counts() == Counts(pending=len(listed))
        assert sorted(urls_of(await claim_all(frontier))) == sorted(listed)


@pytest.mark.usefixtures("_moves_early")
async def test_keys_move_while_a_list_is_read_and_few_stay_in_memory(tmp_path: Path) -> None:
    place = Place(tmp_path / "run")
    async with place.session() as frontier:
        for start in range(0, 6000, 10):
            await frontier.add(jobs(urls(10, start)))
        assert sum(map(len, frontier._keys._slices)) < 100 + 2 * 128 * 10
        assert (await frontier.add(jobs(urls(6000)))).duplicates == 6000
    assert moved(place) > 3000
    (keyed,) = place.rows("SELECT value FROM meta WHERE name = 'keyed'")[0]
    lost = "SELECT count(*) FROM url WHERE id <= ? AND NOT EXISTS (SELECT 1 FROM request_key k WHERE k.key = url.key AND k.url = id)"
    assert place.rows(lost, keyed) == [(0,)]


@pytest.mark.usefixtures("_moves_early")
async def test_a_transaction_that_fails_leaves_no_key_without_its_row(tmp_path: Path) -> None:
    place = Place(tmp_path / "run")
    frontier = place.frontier()
    await frontier.open()
    await frontier.add(jobs(urls(50)))
    frontier._db.execute(
        "CREATE TEMP TRIGGER no BEFORE INSERT ON request_key BEGIN SELECT raise(FAIL, 'broken'); END"
    )
    with pytest.raises(StorageError, match="adding URLs"):
        await frontier.add(jobs(urls(500, 50)))
    await frontier.aclose(complete=False)
    async with place.session() as again:
        added = await again.add(jobs(urls(60)))
        assert (added.new, added.pending) == (10, 50)


# ---- a state of the first version ----


async def of_first_version(place: Place) -> None:
    """Three URLs, the first of them done, in a state with an index instead of the table."""
    async with place.session() as frontier:
        await frontier.add(jobs(urls(3)))
        await frontier.settle([ended((await claim_all(frontier))[0])])
    for statement in (
        "DROP TABLE request_key",
        "CREATE UNIQUE INDEX url_key ON url (key)",
        "PRAGMA user_version = 1",
    ):
        place.rows(statement)


async def test_a_state_of_the_first_version_is_continued(tmp_path: Path) -> None:
    place = Place(tmp_path / "run")
    await of_first_version(place)
    async with place.session() as frontier:
        added = await frontier.add(jobs(urls(5)))
        assert (added.new, added.pending, added.finals) == (2, 2, {"done": 1})
    assert place.rows("PRAGMA user_version") == [(SCHEMA,)]
    assert place.rows("SELECT name FROM sqlite_master WHERE name = 'url_key'") == []
    db = read_state(place.state)
    assert damage_of(db) is None
    db.close()


async def test_a_state_of_the_first_version_can_be_read(tmp_path: Path) -> None:
    place = Place(tmp_path / "run")
    await of_first_version(place)
    before = place.state.read_bytes()
    db = read_state(place.state)
    key, check = db.execute("SELECT key, check_key FROM url WHERE id = 2").fetchone()
    assert RequestKeys(db).find(FIND, key, check) == (key, (check, 2))
    db.close()
    assert place.state.read_bytes() == before


async def test_a_kill_while_a_state_is_brought_up_to_date_leaves_it_as_it_was(tmp_path: Path) -> None:
    place = Place(tmp_path / "run")
    await of_first_version(place)
    place.rows("CREATE TABLE request_key (in_the_way)")
    with pytest.raises(StorageError, match="request_key"):
        open_state(place.state, fsync=False)
    assert place.rows("PRAGMA user_version") == [(1,)]
    place.rows("DROP TABLE request_key")
    async with place.session() as frontier:
        assert (await frontier.add([job(urls(1)[0])])).finals == {"done": 1}


@pytest.mark.usefixtures("_moves_early")
async def test_a_key_that_is_wrong_in_the_table_is_told_as_damage(tmp_path: Path) -> None:
    place = Place(tmp_path / "run")
    async with place.session() as frontier:
        for start in range(0, 3000, 10):
            await frontier.add(jobs(urls(10, start)))
    place.rows("UPDATE request_key SET key = key - 1 WHERE key = (SELECT key FROM url WHERE id = 1)")
    db: sqlite3.Connection = read_state(place.state)
    assert damage_of(db) == "a URL is not found by its key"
    assert damage_of(db, quick=True) is None
    db.close()


def test_a_filter_holds_every_key_it_took_and_few_others() -> None:
    draw = random.Random(7)
    of_slice = [draw.randrange(2**57) - 2**63 for _ in range(40_000)]
    taken, others = of_slice[:20_000], of_slice[20_000:]
    older = KeyFilter(taken[:10_000])
    assert older.take(taken[10_000:])
    assert all(older.may_hold(key) for key in taken)
    assert sum(older.may_hold(key) for key in others) < len(others) / 4
    assert not older.take(others * 4)
