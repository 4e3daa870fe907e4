"""What a state holds, read without changing it."""

from pathlib import Path
from typing import Any

import pytest
from support.frontiers import Place, by_path, claim_all, deferred, ended, job, jobs

from fetcher.errors import ConfigError, StorageError
from fetcher.frontiers.sqlite.report import Report, read_report


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "run", candidate=by_path)


def report(place: Place, **options: int) -> Report:
    return read_report(place.state, "run", **options)


async def mixed(place: Place, *, complete: bool = False) -> None:
    """Seven URLs of three hosts, and a line that is none."""
    outcomes: dict[str, tuple[str, dict[str, Any]]] = {
        "1": ("done", {"bytes": 100}),
        "2": ("unchanged", {"bytes": 20, "path": "2"}),
        "3": ("failed", {"error": "timed-out"}),
        "4": ("failed", {"error": "timed-out"}),
        "5": ("failed", {"error": "http-status"}),
        "6": ("refused", {"error": "private-address"}),
        "bad": ("refused", {"error": "bad-url"}),
    }
    async with place.session(complete=complete) as frontier:
        hosts = dict(zip("1234567", "aaabbca", strict=True))
        await frontier.add(jobs(f"http://{host}/{name}" for name, host in hosts.items()))
        await frontier.add([job("bad"), job("http://user:secret@d/8")])
        for got in await claim_all(frontier):
            name = got.url.rpartition("/")[2]
            if name in outcomes:
                state, fields = outcomes[name]
                await frontier.settle([ended(got, state, **fields)])
            else:
                await frontier.settle([deferred(got)])


async def test_urls_are_counted_by_state_host_and_error(place: Place) -> None:
    await mixed(place)
    got = report(place)
    assert got.states == {"pending": 2, "done": 1, "unchanged": 1, "failed": 3, "refused": 2}
    assert got.hosts == {
        "a:80": {"pending": 1, "done": 1, "unchanged": 1, "failed": 1},
        "b:80": {"failed": 2},
        "c:80": {"refused": 1},
        "d:80": {"pending": 1},
    }
    assert list(got.errors.items()) == [
        ("timed-out", 2),
        ("bad-url", 1),
        ("http-status", 1),
        ("private-address", 1),
    ]
    assert got.bytes == 120
    assert (got.directory, got.command, got.sessions) == ("run", "get", 1)
    assert got.created.endswith("+00:00")
    assert got.running is None


async def test_the_largest_hosts_come_first_and_no_more_than_asked_for(place: Place) -> None:
    await mixed(place)
    assert list(report(place, most_hosts=2).hosts) == ["a:80", "b:80"]


async def test_what_waits_for_credentials_has_a_count_of_its_own(place: Place) -> None:
    await mixed(place)
    async with place.session():
        pass
    got = report(place)
    assert got.states["withheld"] == 1
    assert got.states["pending"] == 1
    assert got.hosts["d:80"] == {"withheld": 1}


async def test_what_a_restart_forgot_has_no_bytes_and_no_errors(place: Place) -> None:
    await mixed(place)
    async with place.session(restart=True, complete=True):
        pass
    got = report(place)
    assert got.states == {"pending": 0, "done": 0, "unchanged": 0, "failed": 0, "refused": 0, "forgotten": 9}
    assert (got.bytes, got.errors) == (0, {})
    assert not got.is_resumable


async def test_a_state_is_resumable_while_something_waits_or_its_run_was_interrupted(place: Place) -> None:
    async with place.session(complete=True) as frontier:
        await frontier.add(jobs(["http://a/1"]))
        assert report(place).is_resumable
    assert report(place).is_resumable, "a URL is pending"
    async with place.session() as frontier:
        await frontier.settle([ended(got) for got in await claim_all(frontier)])
    assert report(place).is_resumable, "the run was interrupted"
    async with place.session(complete=True):
        pass
    assert not report(place).is_resumable
    assert report(place).sessions == 3


async def test_a_run_under_way_and_one_that_was_killed_can_be_read(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1"]))
        assert report(place).states["pending"] == 1
        left = place.killed()
    assert report(left).states["pending"] == 1


async def test_reading_changes_no_file(place: Place) -> None:
    await mixed(place, complete=True)
    before = {path: path.read_bytes() for path in place.root.rglob("*") if path.is_file()}
    report(place)
    assert {path: path.read_bytes() for path in place.root.rglob("*") if path.is_file()} == before


def test_a_folder_without_a_state_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run directory") as caught:
        read_report(tmp_path / ".fetcher" / "state.db", "run")
    assert caught.value.hint


async def test_a_state_that_cannot_be_read_is_a_storage_error(place: Place) -> None:
    await mixed(place, complete=True)
    place.rows("DROP TABLE host")
    with pytest.raises(StorageError, match="no such table"):
        report(place)
    place.state.write_bytes(b"no state" * 1000)
    with pytest.raises(StorageError):
        report(place)
