"""The life of a body: wanted or not, decoded, in memory or spooled, and what faults leave behind."""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import os
import resource
import stat
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import brotli
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.engine.body import ERROR_BODY, Body
from fetcher.engine.body_options import BodyOptions
from fetcher.engine.budget import Bandwidth, ByteBudget
from fetcher.engine.digest import Algorithm, Algorithms
from fetcher.engine.room import DiskRoom
from fetcher.errors import BadEncoding, BodyTooLarge, ConnectionLost, ProtocolBroken, StorageError
from fetcher.model import Headers, Response

KIB = 1024
NOISE = os.urandom(700 * KIB)


class Place:
    """A folder for parts, an executor with one thread, a budget, and what must be left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.executor = ThreadPoolExecutor(1)
        self.executor.submit(int).result()  # its thread is up
        self.budget = ByteBudget(64 * 1024 * KIB)
        self.descriptors = set(os.listdir("/proc/self/fd"))

    def rules(self, *, in_memory: bool = False, **changes: Any) -> BodyOptions:
        settings: dict[str, Any] = {"budget": self.budget, "now": time.monotonic} | changes
        if not in_memory:
            settings |= {"parts": str(self.folder), "executor": self.executor}
        return BodyOptions(**settings)

    def parts(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def open_parts(self) -> list[str]:
        found = []
        for name in set(os.listdir("/proc/self/fd")) - self.descriptors:
            try:
                found.append(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                continue
        return [path for path in found if str(self.folder) in path]

    def assert_nothing_is_left(self) -> None:
        self.executor.shutdown(wait=True)
        assert self.budget.used == 0
        assert self.parts() == []
        assert self.open_parts() == []

    @contextmanager
    def stuck_disk(self) -> Iterator[None]:
        """Every write waits until the end of the block."""
        gate = threading.Event()
        self.executor.submit(gate.wait, 20)
        try:
            yield
        finally:
            gate.set()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.executor.shutdown(wait=True)


def answer(
    status: int = 200, *, length: int | None = None, completeness: str = "none", **fields: str
) -> Response:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return Response(status=status, headers=Headers(raw), length=length, completeness=completeness)


async def take(body: Body, pieces: list[bytes], response: Response | None = None) -> Body:
    """What a backend and the engine do with a body."""
    body.set_phase("header")
    if body.begin(response or answer()):
        for piece in pieces:
            if body.feed(piece):
                await body.drain()
    await body.finish()
    return body


def slices(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def content(body: Body) -> bytes:
    part = body.part()
    if part is None:
        data = body.data()
        assert data is not None
        return data
    assert body.data() is None
    return Path(part).read_bytes()


# --- in memory and spooled ---------------------------------------------------------------------------


async def test_a_small_body_stays_in_memory_and_is_charged_until_it_is_discarded(place):
    body = await take(Body(place.rules(), "/"), [b"hello ", b"world"])
    assert body.data() == b"hello world"
    assert body.part() is None
    assert body.sha256 == hashlib.sha256(b"hello world").hexdigest()
    assert (body.length, body.wire_bytes, place.budget.used) == (11, 11, 11)
    body.discard()
    body.discard()
    assert place.budget.used == 0


async def test_an_empty_body_has_the_hash_of_nothing(place):
    body = await take(Body(place.rules(), "/"), [], answer(length=0))
    assert (body.data(), body.sha256) == (b"", hashlib.sha256(b"").hexdigest())


async def test_a_large_body_goes_to_a_part_file_and_leaves_memory(place):
    body = await take(Body(place.rules(), "/"), slices(NOISE, 16 * KIB))
    assert place.budget.used == 0
    assert place.open_parts() == []
    assert content(body) == NOISE
    assert body.sha256 == hashlib.sha256(NOISE).hexdigest()
    assert body.length == len(NOISE)
    body.discard()
    body.discard()
    place.assert_nothing_is_left()


async def test_a_large_body_without_a_folder_for_parts_stays_in_memory(place):
    body = await take(Body(place.rules(in_memory=True), "/"), slices(NOISE * 3, 16 * KIB))
    assert body.data() == NOISE * 3
    assert body.sha256 == hashlib.sha256(NOISE * 3).hexdigest()
    assert place.budget.used == len(NOISE) * 3
    body.discard()
    place.assert_nothing_is_left()


PACK = {"": lambda data: data, "gzip": gzip.compress, "br": lambda data: brotli.compress(data, quality=1)}


@settings(max_examples=120, deadline=None)
@given(
    data=st.binary(max_size=300).map(lambda seed: seed * 97),
    cuts=st.lists(st.integers(0, 40_000), max_size=30),
    coding=st.sampled_from(sorted(PACK)),
    is_spooled=st.booleans(),
    is_spent=st.booleans(),
)
def test_any_split_in_memory_or_spooled_gives_the_same_body(data, cuts, coding, is_spooled, is_spent):
    wire = PACK[coding](data)
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    pieces = [wire[a:b] for a, b in pairwise(edges)]
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        if is_spent:
            place.budget.limit = 1
        rules = place.rules(in_memory=not is_spooled, spool_at=1000, block=2000)
        body = asyncio.run(take(Body(rules, "/"), pieces, answer(content_encoding=coding, length=len(wire))))
        if not is_spooled or len(data) < 1000:
            assert body.part() is None
        elif len(data) > 40_000:
            assert body.part() is not None
        assert content(body) == data
        assert (body.length, body.wire_bytes) == (len(data), len(wire))
        assert body.sha256 == hashlib.sha256(data).hexdigest()
        body.discard()
        place.assert_nothing_is_left()


async def test_a_part_is_a_new_file_of_the_user(place):
    before = os.umask(0o027)
    try:
        body = await take(Body(place.rules(), "/"), [NOISE])
    finally:
        os.umask(before)
    part = body.part()
    assert part is not None
    assert stat.S_IMODE(os.stat(part).st_mode) == 0o640


async def test_two_runs_of_one_process_number_never_use_a_name_twice(place):
    names = []
    for _ in range(2):
        body = await take(Body(place.rules(), "/"), [NOISE])
        names.append(body.part())
        body.discard()
    assert names[0] != names[1]


async def test_a_body_that_is_stopped_as_its_rest_is_written_leaves_its_part(place):
    body = Body(place.rules(resumes=True), "/")
    piece = NOISE[: 600 * KIB]
    assert body.begin(answer(length=9999 * KIB, etag='"v"', completeness="length"))
    for _ in range(4):
        if body.feed(piece):
            await body.drain()
    await asyncio.to_thread(place.executor.submit(int).result)
    with place.stuck_disk():
        body.feed(piece)
        suspending = asyncio.create_task(body.suspend())
        await asyncio.sleep(0)
        suspending.cancel()
        await asyncio.wait([suspending])
        part = body.leave()
    assert part is not None
    place.executor.shutdown(wait=True)
    assert place.parts() == [part.name]
    assert os.path.getsize(place.folder / part.name) >= part.end >= 1024 * KIB
    assert place.budget.used == 0
    assert place.open_parts() == []


async def test_a_disk_at_its_floor_costs_no_part(place):
    disk = 2048 * KIB
    room = DiskRoom(lambda: disk - sum(each.stat().st_size for each in place.folder.iterdir()), 0)
    body = Body(place.rules(resumes=True, room=room), "/")
    assert body.begin(answer(length=9999 * KIB, etag='"v"', completeness="length"))

    async def fill() -> None:
        while True:
            if body.feed(NOISE):
                await body.drain()

    with pytest.raises(StorageError):
        await fill()
    part = body.leave()
    assert part is not None
    assert os.path.getsize(place.folder / part.name) == part.end >= 1024 * KIB
    assert place.budget.used == 0
    assert place.open_parts() == []


async def test_a_name_that_is_taken_is_left_alone_be_it_a_file_or_a_link(place):
    old = place.folder / "0.part"
    old.write_bytes(b"old")
    victim = place.folder / "victim"
    link = place.folder / "1.part"
    link.symlink_to(victim)
    body = await take(Body(place.rules(names=iter(["0.part", "1.part", "2.part"])), "/"), [NOISE])
    assert content(body) == NOISE
    body.discard()
    assert old.read_bytes() == b"old"
    assert link.is_symlink()
    assert not victim.exists()


async def test_a_part_that_the_store_moved_stays_where_it_is(place):
    body = await take(Body(place.rules(), "/"), [NOISE])
    part = body.part()
    assert part is not None
    final = place.folder / "final"
    os.rename(part, final)
    body.discard()
    assert final.read_bytes() == NOISE


async def test_a_writer_that_ignores_drain_loses_nothing(place):
    body = Body(place.rules(), "/")
    packed = gzip.compress(bytes(3_000_000) + NOISE)
    assert body.begin(answer(content_encoding="gzip"))
    for piece in slices(packed, 5000):
        body.feed(piece)
    await body.finish()
    assert content(body) == bytes(3_000_000) + NOISE


async def test_tiny_chunks_take_little_more_memory_than_their_bytes(place):
    body = Body(place.rules(in_memory=True), "/")
    body.begin(answer())
    tracemalloc.start()
    try:
        for number in range(400_000):
            body.feed(number.to_bytes(4, "big"))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await body.finish()
    assert body.length == 1_600_000
    assert used < 2 * body.length


async def test_300_mb_leave_memory_flat(place):
    body = Body(place.rules(), "/")
    body.begin(answer(length=300 * 1024 * KIB))
    most = 0
    tracemalloc.start()
    try:
        for _ in range(300 * 16):
            if body.feed(bytes(64 * KIB)):
                await body.drain()
            most = max(most, place.budget.used)
        await body.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert os.path.getsize(body.part() or "") == body.length == 300 * 1024 * KIB
    assert most <= 640 * KIB
    assert peak < 3 * 1024 * KIB
    body.discard()
    place.assert_nothing_is_left()


# --- what is wanted ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 203, 299])
async def test_the_body_of_a_success_is_wanted(place, status):
    assert Body(place.rules(), "/").begin(answer(status))


@pytest.mark.parametrize("status", [204, 205, 304, 300, 301, 302, 303, 307, 308, 400, 404, 500, 999])
async def test_other_bodies_are_not_wanted(place, status):
    body = Body(place.rules(), "/")
    assert not body.begin(answer(status, location="/b", content_encoding="compress", length=10**12))
    assert not body.feed(b"x" * 100)
    await body.finish()
    assert (body.is_wanted, body.sha256, body.length, place.budget.used) == (False, "", 0, 0)


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("status", [200, 404])
async def test_an_answer_to_head_has_no_body(place, status, keeps):
    body = Body(place.rules(keep_error_bodies=keeps), "/", "HEAD")
    assert not body.begin(answer(status, length=10**12))
    await body.finish()


@pytest.mark.parametrize(("status", "location"), [(301, ""), (300, "/b"), (308, "/b")])
async def test_a_library_keeps_the_page_of_a_redirect_only_if_it_is_not_followed(place, status, location):
    fields = {"location": location} if location else {}
    body = Body(place.rules(keep_error_bodies=True), "/")
    assert body.begin(answer(status, **fields)) == (status != 308)


# --- limits ------------------------------------------------------------------------------------------


async def test_a_declared_length_beyond_the_limit_is_refused_before_reading(place):
    body = Body(place.rules(max_size=1000), "/")
    with pytest.raises(BodyTooLarge, match="1000"):
        body.begin(answer(length=1001))
    assert Body(place.rules(max_size=1000), "/").begin(answer(length=1000))


async def test_the_limit_is_on_decoded_bytes(place):
    wire = gzip.compress(b"x", compresslevel=0)
    body = await take(
        Body(place.rules(max_size=1), "/"), [wire], answer(content_encoding="gzip", length=len(wire))
    )
    assert body.data() == b"x"
    with pytest.raises(BodyTooLarge):
        await take(
            Body(place.rules(max_size=9999), "/"),
            [gzip.compress(bytes(10_000))],
            answer(content_encoding="gzip"),
        )


async def test_a_file_kept_as_sent_is_judged_by_its_declared_length(place):
    body = Body(place.rules(max_size=1000), "/a.gz")
    with pytest.raises(BodyTooLarge):
        body.begin(answer(length=1001, content_encoding="gzip"))


@pytest.mark.parametrize("limit", [1, 999, 1000])
async def test_an_endless_body_ends_at_the_limit(place, limit):
    body = Body(place.rules(max_size=limit), "/")
    assert body.begin(answer())
    for _ in range(limit // 10):
        body.feed(b"x" * 10)
    with pytest.raises(BodyTooLarge):
        body.feed(b"x" * 10)
    body.discard()
    assert place.budget.used == 0


@pytest.mark.parametrize("in_memory", [False, True])
async def test_a_bomb_gives_the_loop_its_turns_and_stops_at_the_limit(place, in_memory):
    body = Body(place.rules(max_size=20_000_000, in_memory=in_memory), "/")
    body.begin(answer(content_encoding="gzip"))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.timeout(20):
        other = asyncio.create_task(others())
        assert body.feed(gzip.compress(bytes(50_000_000)))
        assert body.length <= 1024 * KIB
        with pytest.raises(BodyTooLarge):
            await body.drain()
        other.cancel()
    assert turns >= 20
    body.discard()
    place.assert_nothing_is_left()


# --- wholeness ---------------------------------------------------------------------------------------


async def test_fewer_bytes_than_declared_are_a_lost_connection(place):
    with pytest.raises(ConnectionLost, match="cut at 9 of 10") as caught:
        await take(Body(place.rules(), "/"), [b"x" * 9], answer(length=10))
    assert caught.value.phase == "body"


async def test_more_bytes_than_declared_break_the_protocol(place):
    with pytest.raises(ProtocolBroken, match="11 bytes"):
        await take(Body(place.rules(), "/"), [b"x" * 11], answer(length=10))


async def test_a_cut_coding_is_refused_though_the_length_agrees(place):
    wire = gzip.compress(NOISE[:5000])[:-1]
    with pytest.raises(BadEncoding, match="cut short"):
        await take(Body(place.rules(), "/"), [wire], answer(content_encoding="gzip", length=len(wire)))


async def test_a_finished_body_holds_no_decoder_while_it_waits_for_the_store(place):
    body = await take(Body(place.rules(), "/"), [brotli.compress(NOISE)], answer(content_encoding="br"))
    assert body._decoder is None


async def test_a_large_body_in_memory_is_hashed_while_others_have_their_turns(place):
    body = Body(place.rules(in_memory=True), "/")
    body.begin(answer())
    for piece in slices(NOISE * 20, 64 * KIB):
        body.feed(piece)
    finishing = asyncio.create_task(body.finish())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not finishing.done()
    await finishing
    assert body.sha256 == hashlib.sha256(NOISE * 20).hexdigest()


async def test_a_file_of_the_coding_s_own_type_is_kept_as_sent(place):
    wire = gzip.compress(b"tar")
    body = await take(
        Body(place.rules(), "/a.tar.gz"), [wire], answer(content_encoding="gzip", length=len(wire))
    )
    assert body.data() == wire


@pytest.mark.parametrize("size", [0, 3, 2_000_000])
async def test_a_file_that_was_packed_once_more_on_its_way_is_stored_as_it_was(place, size):
    file = gzip.compress(os.urandom(size))
    wire = gzip.compress(file)
    body = await take(
        Body(place.rules(), "/a.tar.gz"),
        slices(wire, 16 * KIB),
        answer(content_encoding="gzip", length=len(wire)),
    )
    assert body.sha256 == hashlib.sha256(file).hexdigest()
    assert body.read_all() == file
    body.discard()
    place.assert_nothing_is_left()


async def test_a_body_says_that_text_stood_after_its_end(place):
    wire = gzip.compress(b"page")
    for trailer in (b"<!-- cached -->", b"\0\0", b""):
        body = await take(Body(place.rules(), "/"), [wire + trailer], answer(content_encoding="gzip"))
        assert (body.data(), body.has_trailer) == (b"page", trailer.startswith(b"<"))


# --- bodies of errors --------------------------------------------------------------------------------


async def test_a_library_keeps_the_body_of_an_error(place):
    rules = place.rules(keep_error_bodies=True)
    body = await take(Body(rules, "/"), [gzip.compress(b"not here")], answer(404, content_encoding="gzip"))
    assert (body.data(), body.is_cut) == (b"not here", False)


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize(("max_size", "kept"), [(None, ERROR_BODY), (1000, 1000)])
async def test_the_body_of_an_error_is_cut_in_memory(place, coding, max_size, kept):
    wire = PACK[coding](NOISE * 3)
    body = Body(place.rules(keep_error_bodies=True, max_size=max_size), "/")
    with pytest.raises(BodyTooLarge):
        await take(body, slices(wire, 16 * KIB), answer(500, content_encoding=coding, length=len(wire)))
    assert body.is_cut
    with pytest.raises(BodyTooLarge):
        body.feed(b"more")
    await body.finish()
    assert body.data() == (NOISE * 3)[:kept]
    assert body.sha256 == hashlib.sha256((NOISE * 3)[:kept]).hexdigest()
    assert place.budget.used == body.length == kept
    body.discard()
    place.assert_nothing_is_left()


async def test_what_is_wrong_with_the_body_of_an_error_does_not_matter(place):
    rules = place.rules(keep_error_bodies=True)
    short = await take(Body(rules, "/"), [b"half"], answer(500, length=8))
    assert (short.data(), short.is_cut) == (b"half", True)
    cut = await take(Body(rules, "/"), [gzip.compress(b"page")[:-3]], answer(500, content_encoding="gzip"))
    assert (cut.data(), cut.is_cut) == (b"page", True)
    assert not Body(rules, "/").begin(answer(500, content_encoding="compress"))
    broken = Body(rules, "/")
    with pytest.raises(BadEncoding):
        await take(broken, [b"plain"], answer(500, content_encoding="gzip"))
    assert broken.is_cut
    with pytest.raises(BodyTooLarge):
        broken.feed(b"more")
    await broken.finish()
    assert broken.data() == b""


# --- waiting -----------------------------------------------------------------------------------------


async def test_one_block_fills_while_another_is_written_and_then_the_feeder_waits(place):
    body = Body(place.rules(), "/")
    body.begin(answer())
    quarter = NOISE[: 64 * KIB]
    with place.stuck_disk():
        assert not any(body.feed(quarter) for _ in range(4))  # the first block is with the thread
        assert not any(body.feed(quarter) for _ in range(3))
        assert body.feed(quarter)
        draining = asyncio.create_task(body.drain())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not draining.done()
        assert body.is_paused
        assert place.budget.used == 512 * KIB
    await draining
    assert not body.is_paused
    assert body.paused_s > 0
    assert place.budget.used <= 256 * KIB
    await body.finish()
    assert content(body) == quarter * 8


async def test_a_spent_budget_makes_bodies_spool_early_and_never_stops_them(place):
    place.budget.limit = 1
    place.budget.reserve(1)
    rules = place.rules()
    data = NOISE[: 200 * KIB]
    most = 0

    async def one() -> Body:
        nonlocal most
        body = Body(rules, "/")
        body.begin(answer(length=len(data)))
        for piece in slices(data, 16 * KIB):
            must_drain = body.feed(piece)
            most = max(most, place.budget.used)
            if must_drain:
                await body.drain()
        await body.finish()
        return body

    async with asyncio.timeout(60):
        bodies = await asyncio.gather(*(one() for _ in range(20)))
    assert all(content(body) == data for body in bodies)
    assert most <= 20 * 80 * KIB + 1
    for body in bodies:
        body.discard()
    place.budget.release(1)
    place.assert_nothing_is_left()


async def test_a_drain_under_a_spent_budget_leaves_nothing_in_memory(place):
    place.budget.limit = 1
    body = Body(place.rules(), "/")
    body.begin(answer())
    with place.stuck_disk():
        assert body.feed(NOISE[: 64 * KIB])
        assert body.feed(NOISE[: 64 * KIB])
        assert place.budget.used == 128 * KIB
    await body.drain()
    assert place.budget.used == 0
    body.discard()


async def test_small_bodies_and_bodies_in_memory_never_wait_for_a_spent_budget(place):
    place.budget.limit = 1
    small, memory = Body(place.rules(), "/"), Body(place.rules(in_memory=True), "/")
    for body, pieces in ((small, slices(NOISE[: 60 * KIB], 4 * KIB)), (memory, slices(NOISE, 64 * KIB))):
        body.begin(answer())
        assert not any(body.feed(piece) for piece in pieces)
        await body.finish()
        assert body.part() is None
        body.discard()
    assert place.budget.used == 0


async def test_a_limit_on_bandwidth_makes_the_feeder_wait_and_not_the_server_slow(place):
    class LoopClock:
        now = staticmethod(time.monotonic)
        utc = staticmethod(time.time)

    body = Body(place.rules(bandwidth=Bandwidth(1_000_000, LoopClock())), "/")
    body.begin(answer())
    started = time.monotonic()
    assert not body.feed(bytes(100_000))  # the burst
    assert body.feed(bytes(400_000))
    await body.drain()
    assert time.monotonic() - started >= 0.39
    await body.finish()
    assert body.length == 500_000


async def test_phases_are_told_in_the_time_of_the_loop(place):
    moment = 10.0
    body = Body(place.rules(now=lambda: moment), "/")
    assert (body.phase, body.phase_since) == ("connect", 10.0)
    moment = 11.0
    body.set_phase("header")
    assert (body.phase, body.phase_since) == ("header", 11.0)
    moment = 12.0
    body.begin(answer())
    body.feed(b"x")
    assert (body.phase, body.wire_bytes) == ("body", 1)


# --- faults ------------------------------------------------------------------------------------------


@contextmanager
def limit(which: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(which)
    resource.setrlimit(which, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


async def fails(body: Body, expected: type[Exception], **kwargs: Any) -> Any:
    with pytest.raises(expected) as caught:
        await take(body, slices(NOISE, 16 * KIB), answer(**kwargs))
    body.discard()
    return caught.value


async def test_a_missing_folder_stops_the_run(place):
    rules = place.rules()
    rules.parts = str(place.folder / "missing")
    error = await fails(Body(rules, "/"), StorageError)
    assert error.systemic
    assert error.__cause__.errno == errno.ENOENT
    place.assert_nothing_is_left()


async def test_a_missing_folder_is_told_at_the_end_even_if_nobody_drained(place):
    rules = place.rules()
    rules.parts = str(place.folder / "missing")
    body = Body(rules, "/")
    body.begin(answer())
    assert body.feed(NOISE)
    with pytest.raises(StorageError):
        await body.finish()
    body.discard()
    place.assert_nothing_is_left()


async def test_a_full_disk_stops_the_run(place):
    body = Body(place.rules(), "/")
    body.begin(answer())
    body.feed(NOISE[: 250 * KIB])
    with place.stuck_disk():
        body.feed(NOISE[: 250 * KIB])  # the part is open, and its write waits
        (part,) = place.open_parts()
        full = os.open("/dev/full", os.O_WRONLY)
        number = next(n for n in os.listdir("/proc/self/fd") if _target(n) == part)
        os.dup2(full, int(number))
        os.close(full)
    with pytest.raises(StorageError, match="No space left") as caught:
        await body.finish()
    assert caught.value.systemic
    assert caught.value.hint
    body.discard()
    place.assert_nothing_is_left()


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


@pytest.mark.parametrize("largest", [300 * KIB, len(NOISE) - 1])
async def test_a_file_too_large_for_the_file_system_is_one_body_s_fault(place, largest):
    with limit(resource.RLIMIT_FSIZE, largest):
        error = await fails(Body(place.rules(), "/"), StorageError)
    assert not error.systemic
    assert error.__cause__.errno == errno.EFBIG
    place.assert_nothing_is_left()


async def test_a_lack_of_descriptors_is_one_body_s_fault(place):
    with limit(resource.RLIMIT_NOFILE, 3):
        error = await fails(Body(place.rules(), "/"), StorageError)
    assert not error.systemic
    assert error.__cause__.errno == errno.EMFILE
    place.assert_nothing_is_left()


async def test_a_write_that_failed_stops_the_feeder_at_the_next_drain(place):
    body = Body(place.rules(), "/")
    with limit(resource.RLIMIT_FSIZE, 10 * KIB):
        with pytest.raises(StorageError):
            await take(body, slices(NOISE, 64 * KIB))
        assert body.feed(NOISE)
    body.discard()
    place.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("kwargs", "changes", "expected"),
    [
        ({"length": len(NOISE) + 1}, {}, ConnectionLost),
        ({"length": len(NOISE) - 1}, {}, ProtocolBroken),
        ({"content_encoding": "gzip"}, {}, BadEncoding),
        ({}, {"max_size": len(NOISE) - 1}, BodyTooLarge),
        ({"length": len(NOISE)}, {"max_size": 9}, BodyTooLarge),
        ({"content_encoding": "lzma"}, {}, BadEncoding),
    ],
)
async def test_nothing_is_left_of_a_body_that_failed(place, kwargs, changes, expected):
    await fails(Body(place.rules(**changes), "/"), expected, **kwargs)
    place.assert_nothing_is_left()


async def test_a_coding_that_breaks_after_it_spooled_leaves_nothing(place):
    wire = bytearray(gzip.compress(NOISE))
    wire[-6] ^= 1
    body = Body(place.rules(), "/")
    with pytest.raises(BadEncoding):
        await take(body, slices(bytes(wire), 16 * KIB), answer(content_encoding="gzip"))
    assert body.part() is not None
    body.discard()
    place.assert_nothing_is_left()


@pytest.mark.parametrize("fed", [0, 10, 100 * KIB, 256 * KIB, 300 * KIB, 600 * KIB])
async def test_a_body_can_be_discarded_at_any_moment(place, fed):
    body = Body(place.rules(), "/")
    body.begin(answer())
    with place.stuck_disk():
        for piece in slices(NOISE[:fed], 16 * KIB):
            body.feed(piece)
        body.discard()
        assert place.budget.used == 0
        body.discard()
        assert not body.feed(NOISE)
        assert place.budget.used == 0
    await asyncio.get_running_loop().run_in_executor(place.executor, int)
    await body.finish()
    place.assert_nothing_is_left()


async def test_a_drain_that_is_cancelled_leaves_nothing_behind(place):
    body = Body(place.rules(), "/")
    body.begin(answer())
    with place.stuck_disk():
        for piece in slices(NOISE, 64 * KIB):
            body.feed(piece)
        draining = asyncio.create_task(body.drain())
        await asyncio.sleep(0)
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
        assert not body.is_paused
        body.discard()
    place.assert_nothing_is_left()


async def test_a_finish_that_is_cancelled_leaves_nothing_behind(place):
    with place.stuck_disk():
        body = Body(place.rules(), "/")
        body.begin(answer())
        for piece in slices(NOISE[: 400 * KIB], 64 * KIB):
            body.feed(piece)
        finishing = asyncio.create_task(body.finish())
        await asyncio.sleep(0)
        finishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await finishing
        body.discard()
    place.assert_nothing_is_left()


async def test_a_part_is_removed_by_the_thread_that_is_writing_it_and_not_under_its_hands(place):
    body = Body(place.rules(), "/")
    body.begin(answer())
    body.feed(bytes(150_000_000))
    spool = body._spool
    assert spool is not None
    async with asyncio.timeout(60):
        while not spool._part._is_busy:
            await asyncio.sleep(0)
    body.discard()
    assert not spool._part.closed  # its descriptor is still in use
    assert place.budget.used == 0
    place.assert_nothing_is_left()


def test_a_loop_that_ends_in_the_middle_of_a_write_leaves_nothing_behind(tmp_path):
    place = Place(tmp_path)

    async def run() -> Body:
        body = Body(place.rules(), "/")
        body.begin(answer())
        body.feed(bytes(50_000_000))
        await asyncio.sleep(0)
        return body

    body = asyncio.run(run())
    body.discard()
    place.assert_nothing_is_left()


# --- parts -------------------------------------------------------------------------------------------


async def test_a_part_that_nobody_asked_for_is_not_wanted_and_is_named(place):
    body = Body(place.rules(), "/")
    assert not body.begin(answer(206, content_range="bytes 0-4/9000"))
    assert body.part_held == "bytes 0-4 of 9000"
    assert not body.feed(b"hello")
    await body.finish()
    assert (body.length, place.budget.used) == (0, 0)


async def test_a_part_that_was_asked_for_is_a_body_like_any_other(place):
    body = Body(place.rules(), "/", asked=[("range", "bytes=0-4")])
    await take(body, [b"hello"], answer(206, content_range="bytes 0-4/9000"))
    assert (body.part_held, body.data()) == (None, b"hello")
    body.discard()


async def test_a_part_that_is_the_whole_has_to_be_as_long_as_it_says(place):
    body = await take(Body(place.rules(), "/"), [b"hello"], answer(206, content_range="bytes 0-4/5"))
    assert body.data() == b"hello"
    body.discard()
    short = Body(place.rules(), "/")
    with pytest.raises(ConnectionLost):
        await take(short, [b"hell"], answer(206, content_range="bytes 0-4/5"))
    short.discard()
    place.assert_nothing_is_left()


# --- received without a copy --------------------------------------------------------------------------


async def take_into_room(body: Body, data: bytes, step: int) -> None:
    """What a backend does that receives into the body's own blocks where there is room."""
    body.set_phase("header")
    assert body.begin(answer(length=len(data)))
    at = 0
    while at < len(data):
        piece = data[at : at + step]
        room = body.room()
        if room is None:
            must_drain = body.feed(piece)
        else:
            piece = piece[: len(room)]
            room[: len(piece)] = piece
            must_drain = body.fill(len(piece))
        at += len(piece)
        if must_drain:
            await body.drain()
    await body.finish()


@pytest.mark.parametrize("step", [1000, 70_001, 300_000])
async def test_a_body_received_into_its_own_blocks_is_whole_and_gives_them_back(
    place: Place, step: int
) -> None:
    data = NOISE * 5
    body = Body(place.rules(spool_at=64 * KIB, block=256 * KIB), "/")
    await take_into_room(body, data, step)
    assert content(body) == data
    assert body.sha256 == hashlib.sha256(data).hexdigest()
    assert place.budget.used == 0
    body.discard()
    place.assert_nothing_is_left()


async def test_no_more_than_two_blocks_are_held_however_slow_the_disk(place: Place) -> None:
    block = 256 * KIB
    body = Body(place.rules(spool_at=64 * KIB, block=block), "/")
    assert body.begin(answer(length=100 * block))
    assert not body.feed(NOISE[: 64 * KIB])
    with place.stuck_disk():
        filled = 0
        while (room := body.room()) is not None:
            filled += len(room)
            if body.fill(len(room)):
                break
        assert filled <= 2 * block
        body.discard()
    place.assert_nothing_is_left()


@pytest.mark.parametrize("steps", [(16 * KIB,), (900, 3000), (16 * KIB, 200 * KIB), (5000, 16 * KIB, 70_001)])
async def test_small_chunks_of_a_large_body_are_gathered_in_its_blocks(
    place: Place, steps: tuple[int, ...]
) -> None:
    data = NOISE * 5
    body = Body(place.rules(spool_at=64 * KIB), "/")
    body.begin(answer())
    sizes, at, most = cycle(steps), 0, 0
    tracemalloc.start()
    try:
        while at < len(data):
            piece = data[at : at + next(sizes)]
            at += len(piece)
            if body.feed(piece):
                await body.drain()
            most = max(most, place.budget.used)
        await body.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert content(body) == data
    assert body.sha256 == hashlib.sha256(data).hexdigest()
    assert most <= 4 * 272 * KIB  # two blocks, and as much in chunks
    assert peak < 2 * 1024 * KIB
    body.discard()
    place.assert_nothing_is_left()


async def test_chunks_that_nobody_drains_are_kept_in_their_order(place: Place) -> None:
    body = Body(place.rules(spool_at=64 * KIB), "/")
    body.begin(answer())
    with place.stuck_disk():
        for piece in slices(NOISE, 10_000):
            body.feed(piece)
    await body.finish()
    assert content(body) == NOISE
    body.discard()
    place.assert_nothing_is_left()


async def fill_behind_the_disk(place: Place, body: Body, data: bytes) -> int:
    """Fill a body while each of its writes is late, and return the largest room that it had."""
    at = largest = 0
    while at < len(data):
        room = body.room()
        assert room is not None
        piece = data[at : at + len(room)]
        largest = max(largest, len(room))
        room[: len(piece)] = piece
        at += len(piece)
        if body.fill(len(piece)):
            with place.stuck_disk():
                drained = asyncio.ensure_future(body.drain())
                await asyncio.sleep(0)
            await drained
    await body.finish()
    return largest


async def test_blocks_grow_to_their_limit_while_the_disk_is_behind(place: Place) -> None:
    data = NOISE * 5
    body = Body(place.rules(spool_at=64 * KIB, block=64 * KIB, largest_block=256 * KIB), "/")
    assert body.begin(answer(length=len(data)))
    assert not body.feed(data[: 64 * KIB])
    assert await fill_behind_the_disk(place, body, data[64 * KIB :]) == 256 * KIB
    assert content(body) == data
    assert body.sha256 == hashlib.sha256(data).hexdigest()
    body.discard()
    place.assert_nothing_is_left()


async def test_blocks_that_grow_are_charged(place: Place) -> None:
    place.budget.reserve(place.budget.limit // 2 - 2 * 200 * KIB)
    used = place.budget.used
    body = Body(place.rules(spool_at=64 * KIB, block=64 * KIB, largest_block=1024 * KIB), "/")
    assert body.begin(answer(length=len(NOISE)))
    assert not body.feed(NOISE[: 64 * KIB])
    assert await fill_behind_the_disk(place, body, NOISE[64 * KIB :]) == 128 * KIB
    body.discard()
    assert place.budget.used == used
    place.budget.release(used)
    place.assert_nothing_is_left()


async def turns() -> None:
    """Let the loop begin, or end, what waits for nothing else."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_blocks_stay_small_where_the_network_is_behind(place: Place) -> None:
    body = Body(place.rules(spool_at=64 * KIB, block=64 * KIB, largest_block=256 * KIB), "/")
    assert body.begin(answer(length=len(NOISE)))
    body.feed(NOISE[: 64 * KIB])
    at = 64 * KIB
    while at < len(NOISE):
        await turns()
        await asyncio.get_running_loop().run_in_executor(place.executor, int)  # what was begun before is over
        await turns()
        room = body.room()
        assert room is not None
        assert len(room) <= 64 * KIB
        piece = NOISE[at : at + len(room)]
        room[: len(piece)] = piece
        at += len(piece)
        if body.fill(len(piece)):
            await body.drain()
    await body.finish()
    assert content(body) == NOISE
    body.discard()
    place.assert_nothing_is_left()


async def test_a_body_has_no_blocks_of_its_own_while_half_of_the_budget_is_used(place: Place) -> None:
    place.budget.reserve(place.budget.limit // 2)
    body = Body(place.rules(spool_at=64 * KIB), "/")
    assert body.begin(answer(length=10**9))
    body.feed(NOISE[: 100 * KIB])
    assert body.is_spooled
    assert body.room() is None
    body.discard()
    place.budget.release(place.budget.limit // 2)
    place.assert_nothing_is_left()


# --- digests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 100 * KIB, 3000 * KIB])
@pytest.mark.parametrize("late", [False, True])
async def test_each_digest_is_of_the_whole_body_in_memory_and_on_disk(
    place: Place, size: int, late: bool
) -> None:
    data = (NOISE * 5)[:size]
    sha256, blake = hashlib.sha256(data).hexdigest(), f"blake3:{blake3(data).hexdigest()}"
    cases: tuple[tuple[Algorithm, bool, tuple[str, str]], ...] = (
        ("sha256", False, (sha256, "")),
        ("blake3", False, ("", blake)),
        ("blake3", True, (sha256, blake)),
        ("none", False, ("", "none")),
        ("none", True, (sha256, "")),
    )
    for algorithm, needs, found in cases:
        rules = place.rules(algorithms=Algorithms(algorithm))
        body = Body(rules, "/", needs=frozenset({"sha256"} if needs else ()), hashes_late=late)
        await take(body, slices(data, 16 * KIB))
        assert body.hash() == found
        assert (body.sha256, body.digest) == found
        assert content(body) == data
        body.discard()
    place.assert_nothing_is_left()


class SlowHelper(ThreadPoolExecutor):
    """Executor that begins at once what one of its own threads gives it, and is slow at it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not threading.current_thread().name.startswith("ThreadPoolExecutor"):
            return super().submit(fn, *args, **kwargs)
        has_begun = threading.Event()

        def late() -> Any:
            has_begun.set()
            time.sleep(0.02)
            return fn(*args, **kwargs)

        future = super().submit(late)
        assert has_begun.wait(20)
        return future


@pytest.mark.parametrize("state", ["alone", "with one free", "with one stuck", "with one that is slow"])
async def test_a_large_block_is_hashed_by_whoever_is_free(tmp_path: Path, state: str) -> None:
    """A block is filled again as soon as it is written: a hash that is not waited for is of something else."""
    place, gate = Place(tmp_path), threading.Event()
    data = NOISE * 40
    if state != "alone":
        place.executor.shutdown()
        place.executor = SlowHelper(2) if state == "with one that is slow" else ThreadPoolExecutor(2)
    if state == "with one stuck":
        place.executor.submit(gate.wait, 20)
    try:
        body = Body(place.rules(spool_at=64 * KIB, block=1024 * KIB), "/")
        body.begin(answer())
        for piece in slices(data, 50_000):
            if body.feed(piece):
                await body.drain()
        await body.finish()
        assert body.sha256 == hashlib.sha256(data).hexdigest()
        assert content(body) == data
        body.discard()
    finally:
        gate.set()
    place.assert_nothing_is_left()
