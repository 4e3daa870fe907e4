"""The durable frontier over sessions, kills, flags and faults."""

import contextlib
import json
import os
import sqlite3
import stat
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.frontiers import (
    Place,
    by_path,
    claim_all,
    deferred,
    ended,
    finish,
    job,
    jobs,
    urls_of,
)

from fetcher.errors import ConfigError, StorageError
from fetcher.frontiers.sqlite.frontier import Mode, SqliteFrontier
from fetcher.frontiers.sqlite.report import read_report
from fetcher.frontiers.sqlite.schema import open_state
from fetcher.model import Added, CacheEntry, Counts, Job, Outcome, Wait
from fetcher.policy.fingerprint import request_fingerprint
from fetcher.serial_executor import SerialExecutor

CANARY = "canary-5f3759df"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "run")


def known(added: Added) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(added).items() if value}


# ---- sessions ----


@pytest.mark.parametrize("is_killed", [False, True], ids=["closed", "killed"])
async def test_a_new_session_has_everything_and_what_was_claimed_is_pending_again(
    place: Place, is_killed: bool
) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(f"http://a/{n}" for n in range(10)))
        claimed = await frontier.claim(6, per_host=10, now=0.0)
        states = ["done", "unchanged", "failed", "refused"]
        await frontier.settle([ended(job, state) for job, state in zip(claimed, states, strict=False)])
        left = place.killed()
    async with (left if is_killed else place).session() as frontier:
        wanted = Counts(pending=6, done=1, unchanged=1, failed=1, refused=1)
        assert await frontier.counts() == wanted
        assert urls_of(await claim_all(frontier)) == [f"http://a/{n}" for n in range(4, 10)]


async def test_what_was_added_and_never_claimed_survives_a_kill(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1"], source="list", line=3))
        left = place.killed()
    async with left.session() as frontier:
        (got,) = await claim_all(frontier)
    assert (got.id, got.source, got.line) == (1, "list", 3)


async def test_the_same_list_again_counts_what_earlier_sessions_made_of_it(place: Place) -> None:
    urls = [f"http://a/{n}" for n in range(6)]
    async with place.session() as frontier:
        await frontier.add(jobs(urls))
        claimed = await frontier.claim(5, per_host=10, now=0.0)
        await frontier.settle(
            [
                ended(claimed[0]),
                ended(claimed[1], "unchanged"),
                ended(claimed[2], "failed", error="timed-out"),
                ended(claimed[3], "refused", error="private-address"),
                deferred(claimed[4]),
            ]
        )
    async with place.session() as frontier:
        added = await frontier.add(jobs([*urls, "http://a/new", urls[0]]))
        assert known(added) == {
            "new": 1,
            "pending": 2,
            "duplicates": 1,
            "finals": {"done": 1, "unchanged": 1, "failed": 1, "refused": 1},
            "errors": {"timed-out": 1, "private-address": 1},
        }
        assert urls_of(await claim_all(frontier)) == ["http://a/4", "http://a/5", "http://a/new"]


async def test_what_a_deferral_says_survives_a_kill(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1"]))
        (got,) = await claim_all(frontier)
        await frontier.settle([deferred(got, not_before=1234.5, attempts=2, waited_s=7.25)])
        place = place.killed()
    async with place.session() as frontier:
        (got,) = await claim_all(frontier)
        assert (got.attempts, got.waited_s, got.not_before) == (2, 7.25, 1234.5)
        assert got.history == (Wait("backoff", 1.5, 2, "timed-out"),)
        await frontier.settle(
            [deferred(got, not_before=2000.0, attempts=3, waited_s=9.0, reason="retry-after")]
        )
        place = place.killed()
    async with place.session() as frontier:
        (got,) = await claim_all(frontier)
    assert (got.attempts, got.waited_s, got.not_before) == (3, 9.0, 2000.0)
    assert [wait.reason for wait in got.history] == ["backoff", "retry-after"]


async def test_a_job_that_was_deferred_and_ended_in_one_batch_has_the_attempts_of_its_end(
    place: Place,
) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1"]))
        (got,) = await claim_all(frontier)
        await frontier.settle([deferred(got, attempts=1, not_before=1234.5), ended(got, attempts=2)])
    assert place.rows("SELECT state, attempts, not_before, history FROM url") == [(1, 2, 0.0, None)]


async def test_credentials_that_are_listed_again_get_back_the_attempts_that_were_spent(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add([job(f"http://user:{CANARY}@a/")])
        await frontier.settle([deferred(got, attempts=2) for got in await claim_all(frontier)])
    async with place.session() as frontier:
        await frontier.add([job(f"http://user:{CANARY}@a/")])
        (got,) = await claim_all(frontier)
    assert (got.attempts, got.not_before, len(got.history)) == (2, 1e9, 1)


async def test_what_is_known_of_a_success_comes_back_when_it_is_asked_again(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", candidate=by_path)
    async with place.session(complete=True) as frontier:
        await frontier.add(jobs(["http://a/x", "http://a/y"]))
        first, second = await claim_all(frontier)
        fields = {"etag": '"v1"', "last_modified": "yesterday", "bytes": 7, "sha256": "0f" * 32}
        await frontier.settle([ended(first, **fields), ended(second, **{**fields, "sha256": None})])
    async with place.session(refresh=True) as frontier:
        await frontier.add(jobs(["http://a/x", "http://a/y"]))
        first, second = await claim_all(frontier)
    assert first.cached == CacheEntry("x", 7, "0f" * 32, '"v1"', "yesterday")
    assert second.cached is None


async def test_every_field_of_a_job_survives_a_kill_except_its_secrets(place: Place) -> None:
    entry: dict[str, Any] = {
        "url": "HTTPS://[::1]:8443/p?q#f", "source": "s", "line": 2**40, "name": "n", "sha256": "ab" * 32,
        "priority": -(2**53 - 1), "method": "POST", "body": "\x00é", "headers": {"Referer": "é"}, "meta": {"é": [1.5, None]},
    }  # fmt: skip
    async with place.session() as frontier:
        await frontier.add([job(**entry)])
        place = place.killed()
    async with place.session() as frontier:
        (got,) = await claim_all(frontier)
    wanted = job(**entry)
    wanted.id = 1
    assert got == wanted


async def test_ids_go_on_where_the_last_session_ended(place: Place) -> None:
    await place.run(jobs(["http://a/1", "http://a/2", "http://a/1"]))
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/3"]))
        (got,) = await claim_all(frontier)
    assert got.id > 2


async def test_the_hosts_of_earlier_lists_stay_named(place: Place) -> None:
    await place.run(jobs(["http://a/1", "http://[::1]:81/"]))
    async with place.session() as frontier:
        assert await frontier.is_user_host("a", 80)
        assert await frontier.is_user_host("::1", 81)
        assert not await frontier.is_user_host("::1", 80)


@pytest.mark.parametrize("mode", [{}, {"refresh": True}, {"restart": True}])
async def test_the_directory_of_another_command_is_refused_and_left_alone(
    place: Place, mode: dict[str, bool]
) -> None:
    await place.run(jobs(["http://a/1"]), command="crawl")
    before = place.results.read_bytes()
    frontier = place.frontier(**mode)
    with pytest.raises(ConfigError, match="belongs to fetcher crawl, not get") as caught:
        await frontier.open()
    await frontier.aclose(complete=False)
    assert caught.value.hint
    assert place.results.read_bytes() == before
    async with place.session(command="crawl") as frontier:
        assert await frontier.counts() == Counts(done=1)


# ---- the journal and the transaction ----


async def test_each_outcome_has_one_line(place: Place) -> None:
    await place.run(jobs(["http://a/1", "http://a/2"]))
    await place.run(jobs(["http://a/2", "http://a/3"]))
    assert place.lines() == ["http://a/1", "http://a/2", "http://a/3"]


async def test_a_deferral_has_no_line(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1"]))
        await frontier.settle([deferred(got) for got in await claim_all(frontier)])
    assert place.lines() == []


async def test_lines_that_were_appended_without_their_transaction_are_cut(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1", "http://a/2"]))
        first, second = await claim_all(frontier)
        await frontier.settle([ended(first)])
        settled = place.results.read_bytes()
        place.results.write_bytes(settled + ended(second).line + b'\n{"url": "http://a/ha')
        place = place.killed()
    async with place.session(complete=True) as frontier:
        assert place.results.read_bytes() == settled
        assert await frontier.counts() == Counts(pending=1, done=1)
        await finish(frontier)
    assert place.lines() == ["http://a/1", "http://a/2"]


async def test_records_that_are_shorter_than_settled_are_continued(place: Place) -> None:
    await place.run(jobs(["http://a/1"]))
    place.results.write_bytes(b"")
    assert await place.run(jobs(["http://a/1", "http://a/2"])) == ["http://a/2"]
    place.results.unlink()
    assert await place.run(jobs(["http://a/3"])) == ["http://a/3"]
    assert await place.run() == []
    assert place.lines() == ["http://a/3"]


@pytest.mark.parametrize("left", ["nothing", "an empty file", "a new state"])
async def test_a_state_that_is_lost_beside_its_records_is_refused_until_restart(
    place: Place, left: str
) -> None:
    await place.run(jobs(["http://a/1"]))
    for file in place.state.parent.iterdir():
        file.unlink()
    if left == "an empty file":
        place.state.touch()
    elif left == "a new state":
        open_state(place.state, fsync=False).close()
    with pytest.raises(StorageError, match="lost") as caught:
        await place.run(jobs(["http://a/2"]))
    assert "--rebuild" in caught.value.hint
    assert "--restart" in caught.value.hint
    assert place.lines() == ["http://a/1"]
    await place.run(jobs(["http://a/2"]), restart=True)
    assert place.lines() == ["http://a/2"]


def shortened(data: bytes) -> bytes:
    return data[: data.index(b"\n") + 1]


def torn(data: bytes) -> bytes:
    return data[:-9]


def another(data: bytes) -> bytes:
    return b"x" * len(data) + b"more\n"


@pytest.mark.parametrize("harm", [shortened, torn, another, lambda _: b""])
async def test_records_that_are_not_as_they_were_left_are_told_of_and_never_joined_to(
    place: Place, harm: Callable[[bytes], bytes]
) -> None:
    await place.run(jobs(["http://a/1", "http://a/2"]))
    left = harm(place.results.read_bytes())
    place.results.write_bytes(left)
    for number in (3, 4):  # it is told until they are made anew
        async with place.session(complete=True) as frontier:
            assert [note for note in frontier.notes if "--rebuild" in note]
            await frontier.add(jobs([f"http://a/{number}"]))
            await finish(frontier)
    lines = place.results.read_bytes().splitlines()
    assert [json.loads(line)["url"] for line in lines[-2:]] == ["http://a/3", "http://a/4"]
    assert place.results.read_bytes().startswith(left)


async def test_a_transaction_that_fails_takes_its_lines_back_and_changes_nothing(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1", "http://a/2", "http://a/3"]))
        first, second, third = await claim_all(frontier)
        await frontier.settle([ended(first)])
        before = place.results.read_bytes()
        frontier._db.execute(
            "CREATE TEMP TRIGGER no BEFORE UPDATE ON url WHEN old.id = 3 BEGIN SELECT raise(FAIL, 'broken'); END"
        )
        with pytest.raises(StorageError, match="settling: the state failed: broken"):
            await frontier.settle([ended(second), ended(third)])
        assert place.results.read_bytes() == before
        assert await frontier.counts() == Counts(pending=2, done=1)
        frontier._db.execute("DROP TRIGGER no")
        await frontier.settle([ended(second), ended(third)])
    assert place.lines() == ["http://a/1", "http://a/2", "http://a/3"]


async def test_when_sqlite_has_ended_the_transaction_itself_the_error_is_still_the_first(
    place: Place,
) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1"]))
        frontier._db.execute(
            "CREATE TEMP TRIGGER no BEFORE UPDATE ON url BEGIN SELECT raise(ROLLBACK, 'broken'); END"
        )
        with pytest.raises(StorageError, match="settling: the state failed: broken"):
            await frontier.settle([ended(got) for got in await claim_all(frontier)])
        assert not frontier._db.in_transaction


async def test_adding_is_all_or_nothing(place: Place) -> None:
    async with place.session() as frontier:
        frontier._db.execute(
            "CREATE TEMP TRIGGER no BEFORE INSERT ON url WHEN new.url = 'http://a/3' BEGIN SELECT raise(FAIL, 'broken'); END"
        )
        with pytest.raises(StorageError, match="adding URLs"):
            await frontier.add(jobs(f"http://a/{n}" for n in range(5)))
        assert await frontier.counts() == Counts()


# ---- keys that collide ----


def other(key: int) -> int:
    return key + 1 if key < 2**63 - 1 else -(2**63)


async def test_a_url_whose_key_is_taken_by_another_is_kept_beside_it(place: Place) -> None:
    """Rows of a state whose first 64 bits are those of a URL to come: three in a row."""
    await place.run(jobs(["http://b/1", "http://b/2", "http://b/3"]))
    wanted = "http://a/wanted"
    key, check = request_fingerprint(job(wanted))
    for number in (1, 2, 3):
        place.rows("UPDATE url SET key = ? WHERE id = ?", key, number)
        key = other(key)
    async with place.session(complete=True) as frontier:
        added = await frontier.add([job(wanted), job(wanted), job("http://a/2")])
        assert known(added) == {"new": 2, "duplicates": 1}
        assert urls_of(await finish(frontier)) == [wanted, "http://a/2"]
    assert place.rows("SELECT key, check_key FROM url WHERE url = ?", wanted) == [(key, check)]
    async with place.session() as frontier:
        assert known(await frontier.add([job(wanted)])) == {"finals": {"done": 1}}


class Colliding(SqliteFrontier):
    """Every request has one of two keys: the largest number there is, or the one before it."""

    def _row(self, job: Job, number: int) -> tuple[Any, ...]:
        row = super()._row(job, number)
        return row[0], 2**63 - 1 - row[1] % 2, *row[2:]


async def test_many_urls_with_one_key_are_all_told_apart(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", kind=Colliding)
    urls = [f"http://h{n % 5}/{n}" for n in range(60)]
    async with place.session() as frontier:
        assert known(await frontier.add(jobs(urls[:30]))) == {"new": 30}
        assert known(await frontier.add(jobs([*urls[30:], *urls]))) == {"new": 30, "duplicates": 60}
        claimed = await claim_all(frontier)
        assert sorted(urls_of(claimed)) == sorted(urls)
        await frontier.settle([ended(got) for got in claimed[:20]])
    async with place.session() as frontier:
        added = await frontier.add(jobs([*urls, "http://new/"]))
        assert known(added) == {"new": 1, "pending": 40, "finals": {"done": 20}}


async def test_credentials_of_a_url_whose_key_is_taken_are_its_own(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", kind=Colliding)
    async with place.session() as frontier:
        await frontier.add([job(f"http://user:{n}@a/") for n in range(4)])
        assert [got.secret for got in await claim_all(frontier)] == [f"user:{n}" for n in range(4)]


# ---- the flags ----

LIST = ["http://a/done", "http://a/unchanged", "http://a/failed", "http://a/refused", "http://a/pending"]


async def mixed(place: Place) -> None:
    """One URL in each state, and one failed line."""
    async with place.session() as frontier:
        await frontier.add(jobs([*LIST[:4], "ftp://a/", LIST[4]]))
        for got in await claim_all(frontier):
            state = got.url.rpartition("/")[2]
            if state == "pending":
                await frontier.settle([deferred(got, attempts=2)])
            elif state:
                await frontier.settle([ended(got, state, **({"etag": '"e"'} if state == "done" else {}))])
            else:
                await frontier.settle([ended(got, "refused", error="bad-url")])


async def test_without_a_flag_every_final_state_stays(place: Place) -> None:
    await mixed(place)
    assert await place.run(jobs([*LIST, "ftp://a/"])) == ["http://a/pending"]


async def test_retry_failed_puts_back_what_failed_with_fresh_attempts_and_nothing_else(place: Place) -> None:
    await mixed(place)
    async with place.session(retry_failed=True) as frontier:
        assert await frontier.counts() == Counts(pending=2, done=1, unchanged=1, refused=2)
        claimed = {got.url: got for got in await claim_all(frontier)}
    assert set(claimed) == {"http://a/failed", "http://a/pending"}
    assert (claimed["http://a/failed"].attempts, claimed["http://a/failed"].history) == (0, ())
    assert claimed["http://a/pending"].attempts == 2


async def test_retry_failed_puts_back_what_an_unreachable_robots_file_refused(place: Place) -> None:
    async with place.session(complete=True) as frontier:
        await frontier.add(jobs(["http://a/1", "http://a/2"]))
        first, second = await claim_all(frontier)
        await frontier.settle(
            [ended(first, "refused", error="robots-unreachable"), ended(second, "refused", error="robots")]
        )
    assert await place.run(retry_failed=True) == ["http://a/1"]


async def test_an_interrupted_retry_is_continued_and_a_finished_one_begun_anew(place: Place) -> None:
    await place.run(jobs(["http://a/1", "http://a/2"]), state="failed")
    async with place.session(retry_failed=True) as frontier:
        (got,) = await frontier.claim(1, per_host=1, now=0.0)
        await frontier.settle([ended(got, "failed")])
        place = place.killed()
    again = await place.run(state="failed", retry_failed=True)
    assert [got.url, *again] == ["http://a/1", "http://a/2"]
    assert await place.run(state="failed", retry_failed=True) == ["http://a/1", "http://a/2"]


async def test_a_retry_after_an_interrupted_plain_run_is_begun(place: Place) -> None:
    await mixed(place)
    async with place.session(retry_failed=True) as frontier:
        assert (await frontier.counts()).failed == 0


async def test_refresh_asks_for_every_listed_url_again_and_for_no_other(place: Place) -> None:
    await mixed(place)
    async with place.session(refresh=True) as frontier:
        assert (await frontier.counts()).pending == 1
        added = await frontier.add(jobs([*LIST[:3], LIST[4]]))
        assert known(added) == {"again": 3, "pending": 1}
        claimed = {got.url: got for got in await claim_all(frontier)}
    assert set(claimed) == {*LIST[:3], LIST[4]}
    assert claimed["http://a/done"].cached is not None
    assert claimed["http://a/done"].cached.etag == '"e"'
    assert claimed["http://a/failed"].attempts == 0


async def test_a_line_that_is_no_url_keeps_its_reason_when_it_is_refreshed(place: Place) -> None:
    await mixed(place)
    async with place.session(refresh=True) as frontier:
        assert known(await frontier.add([job("ftp://a/")])) == {"again": 1}
        (got,) = [got for got in await claim_all(frontier) if got.target is None]
    assert got.refusal == job("ftp://a/").refusal


async def test_a_url_listed_twice_is_refreshed_once(place: Place) -> None:
    await place.run(jobs(["http://a/1"]))
    async with place.session(refresh=True) as frontier:
        assert known(await frontier.add(jobs(["http://a/1", "http://a/1"]))) == {"again": 1, "duplicates": 1}
        await finish(frontier)
        assert known(await frontier.add(jobs(["http://a/1"]))) == {"duplicates": 1}
        assert await claim_all(frontier) == []


async def test_what_is_put_back_is_claimed_before_what_follows_it_in_the_list(place: Place) -> None:
    await place.run(jobs(["http://a/1"]))
    async with place.session(refresh=True) as frontier:
        await frontier.add(jobs(f"http://a/{n}" for n in (2, 3, 4, 5)))
        assert urls_of(await frontier.claim(2, per_host=9, now=0.0)) == ["http://a/2", "http://a/3"]
        await frontier.add(jobs(["http://a/1"]))
        assert urls_of(await frontier.claim(2, per_host=9, now=0.0)) == ["http://a/1", "http://a/4"]
        assert urls_of(await claim_all(frontier)) == ["http://a/5"]


async def test_what_is_put_back_while_every_host_is_full_is_found(place: Place) -> None:
    await place.run([job("http://b/1", priority=-5)])
    async with place.session(refresh=True) as frontier:
        await frontier.add([job("http://a/1"), job("http://a/2", priority=-1)])
        assert len(await frontier.claim(9, per_host=1, now=0.0)) == 1
        assert await frontier.claim(9, per_host=1, now=0.0) == []
        await frontier.add([job("http://b/1", priority=-9)])
        assert urls_of(await frontier.claim(9, per_host=1, now=0.0)) == ["http://b/1"]


async def test_an_interrupted_refresh_is_continued_and_a_finished_one_begun_anew(place: Place) -> None:
    urls = ["http://a/1", "http://a/2", "http://a/3"]
    await place.run(jobs(urls))
    async with place.session(refresh=True) as frontier:
        await frontier.add(jobs(urls[:2]))
        (got,) = await frontier.claim(1, per_host=1, now=0.0)
        await frontier.settle([ended(got, "unchanged")])
        place = place.killed()
    async with place.session(refresh=True, complete=True) as frontier:
        added = await frontier.add(jobs(urls))
        assert known(added) == {"finals": {"unchanged": 1}, "pending": 1, "again": 1}
        assert urls_of(await finish(frontier)) == urls[1:]
    assert await place.run(jobs(urls), refresh=True) == urls


async def test_what_an_earlier_list_left_pending_is_fetched_once_by_an_interrupted_refresh(
    place: Place,
) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1"]))
    async with place.session(refresh=True) as frontier:
        await finish(frontier)
        place = place.killed()
    assert await place.run(jobs(["http://a/1"]), refresh=True) == []


async def test_what_ended_before_this_list_came_to_it_is_not_fetched_again_by_a_refresh(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1"]))
    async with place.session(refresh=True) as frontier:
        await finish(frontier)
        assert known(await frontier.add(jobs(["http://a/1", "http://a/1"]))) == {
            "pending": 1,
            "duplicates": 1,
        }
        assert await claim_all(frontier) == []


async def test_a_refresh_that_fails_keeps_what_is_known(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", candidate=by_path)
    async with place.session(complete=True) as frontier:
        await frontier.add(jobs(["http://a/x"]))
        await frontier.settle([ended(got, etag='"v1"', bytes=7) for got in await claim_all(frontier)])
    await place.run(jobs(["http://a/x"]), state="failed", refresh=True)
    async with place.session(refresh=True) as frontier:
        assert await frontier.counts() == Counts(failed=1)
        await frontier.add(jobs(["http://a/x"]))
        (got,) = await claim_all(frontier)
    assert got.path == "x"
    assert got.cached == CacheEntry("x", 7, "ab" * 32, '"v1"', None)


async def test_a_refresh_takes_the_columns_that_are_listed_now(place: Place) -> None:
    old = {"sha256": "aa" * 32, "meta": {"v": 1}, "priority": 1, "source": "old", "line": 1}
    new = {"sha256": "bb" * 32, "meta": {"v": 2}, "priority": 2, "source": "new", "line": 2}
    await place.run([job("http://a/1", **old), job("http://a/2", **old)])
    async with place.session(refresh=True) as frontier:
        await frontier.add([job("http://a/1", **new), job("http://a/2")])
        first, second = await claim_all(frontier)
    assert first.overrides is not None
    assert (first.overrides.sha256, first.overrides.meta) == ("bb" * 32, {"v": 2})
    assert (first.rank, first.source, first.line) == (-2, "new", 2)
    assert (second.overrides, second.rank, second.source) == (None, 0, None)


@pytest.mark.parametrize("before", ["finished", "interrupted", "interrupted under the flag"])
async def test_a_restart_forgets_what_happened_and_keeps_names(tmp_path: Path, before: str) -> None:
    place = Place(tmp_path / "run", candidate=by_path)
    urls = ["http://a/x", "http://b/x", "http://a/y"]
    async with place.session(complete=before == "finished", restart=before.endswith("flag")) as frontier:
        await frontier.add(jobs(urls))
        names = {got.url: got.path for got in await finish(frontier)}
    old = place.results.read_bytes()
    async with place.session(restart=True) as frontier:
        assert await frontier.counts() == Counts()
        assert await claim_all(frontier) == []
        assert known(await frontier.add(jobs(reversed(urls)))) == {"again": 3}
        claimed = await finish(frontier)
    assert {got.url: got.path for got in claimed} == names
    assert all(got.cached is None for got in claimed)
    assert place.results.with_name("results.jsonl.1").read_bytes() == old
    assert place.lines() == urls_of(claimed)


async def test_a_restart_that_lists_less_leaves_the_rest_forgotten(place: Place) -> None:
    await place.run(jobs(["http://a/1", "http://a/2"]))
    assert await place.run(jobs(["http://a/2"]), restart=True) == ["http://a/2"]
    assert await place.run() == []
    async with place.session() as frontier:
        assert await frontier.counts() == Counts(done=1)
        assert known(await frontier.add(jobs(["http://a/1"]))) == {"again": 1}


async def test_after_a_restart_an_ordinary_run_continues_it(place: Place) -> None:
    await place.run(jobs(["http://a/1", "http://a/2"]))
    async with place.session(restart=True) as frontier:
        await frontier.add(jobs(["http://a/1", "http://a/2"]))
        (got,) = await frontier.claim(1, per_host=1, now=0.0)
        await frontier.settle([ended(got)])
    assert await place.run(jobs(["http://a/1", "http://a/2"])) == ["http://a/2"]
    assert place.lines() == ["http://a/1", "http://a/2"]


# ---- credentials ----

SECRET: list[dict[str, Any]] = [
    {"url": f"http://user:{CANARY}@a/1"},
    {"url": "http://a/2", "headers": {"Authorization": f"Bearer {CANARY}", "X-Api-Key": CANARY, "Accept": "*/*"}},
    {"url": f"ftp://user:{CANARY}@a/3"},
    {"url": f"http://user:{CANARY}@/4"},
]  # fmt: skip


async def test_no_credential_is_in_any_file_at_any_time(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add([job(**entry) for entry in SECRET] + jobs(["http://a/5"]))
        claimed = await claim_all(frontier)
        assert sum(CANARY in repr((got.secret, got.secret_headers)) for got in claimed) == 2
        await frontier.settle([deferred(claimed[0]), *(ended(got, "failed") for got in claimed[1:])])
        place.killed()
    files = [file for file in place.root.parent.rglob("*") if file.is_file()]
    assert {"state.db", "state.db-wal", "results.jsonl"} <= {file.name for file in files}
    assert [file for file in files if CANARY.encode() in file.read_bytes()] == []
    assert any(b"user:***@a/1" in file.read_bytes() for file in files)


async def test_what_needs_credentials_waits_until_it_is_listed_again(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add([job(**entry) for entry in SECRET[:2]] + jobs(["http://a/5"]))
        await frontier.claim(1, per_host=1, now=0.0)
    async with place.session() as frontier:
        assert await frontier.counts() == Counts(pending=1, withheld=2)
        assert urls_of(await claim_all(frontier)) == ["http://a/5"]
        added = await frontier.add([job(**SECRET[0]), job(**SECRET[0])])
        assert known(added) == {"again": 1, "duplicates": 1}
        (got,) = await claim_all(frontier)
        assert got.secret == f"user:{CANARY}"
        assert await frontier.counts() == Counts(pending=2, withheld=1)
        await frontier.settle([ended(got)])
    async with place.session() as frontier:
        assert await frontier.counts() == Counts(pending=1, done=1, withheld=1)


@pytest.mark.parametrize("mode", [{"retry_failed": True}, {"refresh": True}, {"restart": True}])
async def test_what_failed_with_credentials_is_put_back_with_those_of_the_new_list(
    place: Place, mode: dict[str, bool]
) -> None:
    await place.run([job(**entry) for entry in SECRET[:2]], state="failed")
    async with place.session(**mode) as frontier:
        assert await claim_all(frontier) == []
        assert (await frontier.add([job(**entry) for entry in SECRET[:2]])).again == 2
        first, second = await claim_all(frontier)
    assert first.secret == f"user:{CANARY}"
    assert second.secret_headers == {"Authorization": f"Bearer {CANARY}", "X-Api-Key": CANARY}


async def test_credentials_of_what_has_ended_are_not_kept_in_memory(place: Place) -> None:
    many = [job(f"http://user:{n}@a/") for n in range(100)]
    async with place.session() as frontier:
        await frontier.add(many)
        await finish(frontier)
        assert frontier._secrets == {}
    async with place.session() as frontier:
        await frontier.add(many)
        assert frontier._secrets == {}


# ---- faults ----


async def test_the_state_is_closed_to_others(place: Place) -> None:
    await place.run(jobs(["http://a/1"]))
    assert stat.S_IMODE(place.state.stat().st_mode) == 0o600


@pytest.mark.parametrize("harm", ["foreign", "corrupt", "no table"])
async def test_a_state_that_cannot_be_used_is_refused_and_the_records_stay(place: Place, harm: str) -> None:
    await place.run(jobs(["http://a/1"]))
    records = place.results.read_bytes()
    match harm:
        case "foreign":
            place.state.unlink()
            place.rows("CREATE TABLE photos (name)")
        case "corrupt":
            place.state.write_bytes(b"not a state" * 1000)
        case _:
            place.rows("DROP TABLE meta")
    before = place.state.read_bytes()
    frontier = place.frontier()
    with pytest.raises(StorageError):
        await frontier.open()
    await frontier.aclose(complete=False)
    assert place.state.read_bytes() == before
    assert place.results.read_bytes() == records


async def test_a_page_that_is_damaged_is_a_storage_error_when_it_is_met(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(f"http://a/{n}?{'x' * 200}" for n in range(2000)))
    data = bytearray(place.state.read_bytes())
    data[8 * 4096 :] = b"\xa5" * (len(data) - 8 * 4096)
    place.state.write_bytes(data)
    with pytest.raises(StorageError, match="malformed"):
        await place.run()


async def test_records_that_cannot_be_opened_are_a_storage_error(place: Place) -> None:
    place.results.mkdir()
    frontier = place.frontier()
    with pytest.raises(StorageError, match=r"results\.jsonl"):
        await frontier.open()
    await frontier.aclose(complete=False)


async def test_closing_frees_the_descriptors_whatever_happened(place: Place) -> None:
    before = sorted(os.listdir("/dev/fd"))
    for fault in (None, StorageError("x")):
        with contextlib.suppress(StorageError):
            async with place.session() as frontier:
                await frontier.add(jobs(["http://a/1"]))
                if fault is not None:
                    raise fault
    assert sorted(os.listdir("/dev/fd")) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_disk_that_fills_up_stops_the_run_and_what_was_settled_is_there(small_disk: Path) -> None:
    place = Place(small_disk / "run")
    settled: list[str] = []
    count = 0

    async def fill() -> None:
        nonlocal count
        async with place.session() as frontier:
            while True:
                await frontier.add(jobs(f"http://a/{n}?{'x' * 500}" for n in range(count, count + 20)))
                count += 20
                claimed = await claim_all(frontier)
                await frontier.settle([ended(got) for got in claimed])
                settled.extend(urls_of(claimed))

    with pytest.raises(StorageError, match="space") as caught:
        await fill()
    assert settled
    assert "space" in caught.value.hint
    assert place.lines() == settled
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    again = await place.run(jobs(f"http://a/{n}?{'x' * 500}" for n in range(count + 20)))
    assert not set(again).intersection(settled)
    assert len(again) + len(settled) == count + 20
    assert Counter(place.lines()) == Counter([*settled, *again])


async def test_a_disk_that_is_full_at_the_start_is_a_storage_error(small_disk: Path) -> None:
    place = Place(small_disk / "run")
    with (small_disk / "rest").open("wb", buffering=0) as rest, contextlib.suppress(OSError):
        while True:
            rest.write(b"x" * 4096)
    frontier = place.frontier()
    with pytest.raises(StorageError):
        await frontier.open()
    await frontier.aclose(complete=False)
    (small_disk / "rest").unlink()
    assert await place.run(jobs(["http://a/1"])) == ["http://a/1"]


# ---- what it costs, in statements and steps of SQLite's machine ----


class Costs:
    """Counts what the database does while it is open."""

    EVERY = 100

    def __init__(self, db: sqlite3.Connection) -> None:
        self.statements = 0
        self.steps = 0
        db.set_trace_callback(self._on_statement)
        db.set_progress_handler(self._on_steps, self.EVERY)

    def _on_statement(self, _: str) -> None:
        self.statements += 1

    def _on_steps(self) -> int:
        self.steps += self.EVERY
        return 0

    def reset(self) -> None:
        self.statements = self.steps = 0


async def test_claiming_and_settling_cost_the_same_however_many_hosts_there_are(place: Place) -> None:
    async with place.session() as frontier:
        for start in range(0, 100_000, 10_000):
            batch = [job(f"http://h{n % 50_000}.example/{n}") for n in range(start, start + 10_000)]
            await frontier.add(batch)
        costs = Costs(frontier._db)
        seen: set[int] = set()
        while claimed := await frontier.claim(256, per_host=32, now=0.0):
            seen.update(got.id for got in claimed)
            await frontier.settle([ended(got) for got in claimed])
        assert len(seen) == 100_000
        assert costs.steps < 200 * 100_000
        assert costs.statements < 3 * 100_000


async def test_claiming_from_one_large_host_costs_the_same_at_its_end(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(f"http://a/{n}" for n in range(20_000)))
        costs = Costs(frontier._db)
        held: list[Outcome] = []
        dearest = 0
        while claimed := await frontier.claim(256, per_host=32, now=0.0):
            dearest = max(dearest, costs.steps)
            held += [ended(got) for got in claimed]
            await frontier.settle(held[:16])
            del held[:16]
            costs.reset()
        assert 0 < dearest < 20_000


async def test_looking_for_work_where_every_host_is_full_is_cheap_whatever_the_priorities(
    place: Place,
) -> None:
    async with place.session() as frontier:
        await frontier.add([job(f"http://a/{n}", priority=n) for n in range(5_000)])
        assert len(await frontier.claim(256, per_host=32, now=0.0)) == 32
        costs = Costs(frontier._db)
        assert await frontier.claim(256, per_host=32, now=0.0) == []
        assert costs.statements < 500


async def test_a_lane_of_its_own_is_closed_with_the_frontier(tmp_path: Path) -> None:
    lane = SerialExecutor("state")
    frontier = SqliteFrontier(tmp_path / "state.db", tmp_path / "results.jsonl", mode=Mode(), lane=lane)
    await frontier.open()
    await frontier.aclose(complete=True)
    await frontier.aclose(complete=True)
    assert lane._executor is None


# ---- whether it is complete ----


async def test_a_state_can_be_resumed_until_its_run_was_complete(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1"]))
        await finish(frontier)
    assert read_report(place.state, "run").is_resumable
    await place.run()
    assert not read_report(place.state, "run").is_resumable
    assert read_report(place.state, "run").sessions == 2


async def test_a_refresh_is_complete_though_other_urls_wait_for_credentials(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add([job(**SECRET[0])])
    await place.run(jobs(["http://a/1"]))
    for _ in range(2):
        assert await place.run(jobs(["http://a/1"]), refresh=True) == ["http://a/1"]
    assert read_report(place.state, "run").is_resumable
