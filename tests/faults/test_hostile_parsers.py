"""What a page can do to the parser's process costs that page only, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.parsers import visit
from support.processes import is_alive, own_children

from fetcher.errors import WorkerDied
from fetcher.parsers.reader import PageReader, make_reader
from fetcher.ports import Reading

TESTS = Path(__file__).parents[1]


def said(_level: str, _text: str) -> None: ...


def reader_of(parser: str, *, offload: str = "processes", workers: int = 2, **more: object) -> PageReader:
    settings = {"timeout_s": 1.0, "memory": 128 << 20, **more}
    return make_reader(
        notice=said,
        parser=f"support.parsers:{parser}",
        offload=offload,
        workers=workers,
        base=TESTS,
        **settings,
    )


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """No process and no descriptor survives a test, not even as a zombie."""
    before, open_before = own_children(), len(os.listdir("/proc/self/fd"))
    yield
    assert own_children() == before
    await asyncio.sleep(0)
    assert len(os.listdir("/proc/self/fd")) <= open_before


async def read_all(reader: PageReader, bodies: list[bytes]) -> dict[int, Reading]:
    """Everything through the reader, as the engine does it: several batches under way."""
    left = list(enumerate(bodies))
    readings: dict[int, Reading] = {}

    async def drive() -> None:
        while left:
            batch, left[: reader.batch] = left[: reader.batch], []
            got = await reader.read([visit(body, f"http://site.test/{number}") for number, body in batch])
            readings.update(zip((number for number, _ in batch), got, strict=True))

    async with asyncio.timeout(120):
        await asyncio.gather(*(drive() for _ in range(reader.most_at_once)))
    return readings


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (b"abort", "ended its worker process by SIGABRT ("),
        (b"loop", "still busy after 1 s ("),
        (b"regex", "still busy after 1 s ("),
        (b"sleep", "still busy after 1 s ("),
        (b"allocate", "needs more than 128 MiB: MemoryError ("),
        (b"allocate-slowly", "needs more than 128 MiB: MemoryError ("),
        (b"segfault", "ended its worker process by SIGSEGV ("),
        (b"exit", "SystemExit: 3 ("),
        (b"_exit", "ended its worker process with exit code 0"),
        (b"kill", "ended its worker process by SIGKILL"),
        (b"unencodable", "TypeError: what it gave has no form in JSON: Encoding objects of type object"),
        (b"raise", "ValueError: not in \\x1b[31mone http://user:***@host/ line ("),
        (b"close", "ended its worker process with exit code"),
        (b"recurse", "RecursionError: "),
    ],
)
async def test_a_hostile_page_fails_alone_and_says_what_it_did_and_where(fault: bytes, message: str) -> None:
    reader = reader_of("hostile")
    try:
        readings = await reader.read([visit(b"before"), visit(fault), visit(b"after"), visit(b"last")])
    finally:
        await reader.aclose()
    assert [reading.data for reading in readings] == [
        [b'{"text":"before"}'],
        (),
        [b'{"text":"after"}'],
        [b'{"text":"last"}'],
    ]
    error = readings[1].error
    assert error is not None
    assert message in error.message
    assert error.slug == "parse-failed"
    assert "\n" not in error.message
    if message.endswith("("):
        assert "support/parsers.py:" in error.message


async def test_of_a_thousand_pages_exactly_the_three_hostile_ones_fail() -> None:
    bodies = [b"%d" % number for number in range(1000)]
    hostile = {7: b"abort", 501: b"loop", 998: b"allocate"}
    for number, fault in hostile.items():
        bodies[number] = fault
    reader = reader_of("hostile")
    try:
        readings = await read_all(reader, bodies)
    finally:
        await reader.aclose()
    assert {number for number, reading in readings.items() if reading.error} == set(hostile)
    assert all(
        readings[number].data == [b'{"text":"%d"}' % number]
        for number in range(1000)
        if number not in hostile
    )


async def test_hostile_pages_side_by_side_in_every_worker_cost_no_other_page() -> None:
    bodies = [b"abort", b"1", b"kill", b"2", b"_exit", b"3", b"segfault", b"abort", b"4"]
    reader = reader_of("hostile")
    try:
        readings = await read_all(reader, bodies)
    finally:
        await reader.aclose()
    assert [bool(readings[number].error) for number in range(len(bodies))] == [
        not body.isdigit() for body in bodies
    ]


async def test_a_worker_that_does_not_hear_its_alarm_is_killed_by_the_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fetcher.parsers.parser_handle._PATIENCE_S", 0.2)
    reader = reader_of("hangs_uninterruptibly", timeout_s=0.3)
    try:
        (reading,) = await reader.read([visit(b"x")])
    finally:
        await reader.aclose()
    assert reading.error is not None
    assert "had to be killed" in reading.error.message


async def test_a_worker_that_keeps_too_much_is_replaced_and_no_page_fails_for_it() -> None:
    reader = reader_of("leaks", workers=1, memory=64 << 20)
    try:
        readings = await read_all(reader, [b"x"] * 9)
    finally:
        await reader.aclose()
    assert not [reading.error for reading in readings.values() if reading.error]
    assert len({reading.data[0] for reading in readings.values()}) >= 3


async def test_a_page_whose_worker_was_killed_from_outside_is_read_again(tmp_path: Path) -> None:
    reader = reader_of("killed_once")
    try:
        (reading,) = await reader.read([visit(str(tmp_path / "mark").encode())])
    finally:
        await reader.aclose()
    assert reading.error is None
    assert reading.data == [b'"alive"']


async def test_a_page_whose_worker_was_stopped_is_read_by_another_and_the_stopped_one_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetcher.parsers.parser_handle._PATIENCE_S", 0.2)
    reader = reader_of("stopped_once", workers=1, timeout_s=2.0)
    try:
        (reading,) = await reader.read([visit(str(tmp_path / "mark").encode())])
        (worker,) = own_children()
        assert is_alive(worker)
    finally:
        await reader.aclose()
    assert reading.error is None
    assert reading.data == [b'"alive"']


async def test_idle_workers_that_were_stopped_are_replaced_however_many_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fetcher.parsers.parser_handle._PATIENCE_S", 0.2)
    reader = reader_of("hostile", workers=4, timeout_s=1.0)
    try:
        await read_all(reader, [b"x"] * 40)
        stopped = own_children()
        for worker in stopped:
            os.kill(worker, signal.SIGSTOP)
        (reading,) = await reader.read([visit(b"x")])
        assert reading.data == [b'{"text":"x"}']
        assert len(stopped) == 4
        assert not stopped & own_children()
    finally:
        await reader.aclose()


async def appears(mark: Path) -> None:
    async with asyncio.timeout(60):
        while not mark.exists():
            await asyncio.sleep(0.005)


async def test_cancelling_a_batch_ends_its_worker_and_the_next_batch_gets_another(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    reader = reader_of("marked", workers=1, timeout_s=60.0)
    try:
        task = asyncio.create_task(reader.read([visit(b"%s loop" % os.fsencode(mark))]))
        await appears(mark)
        (busy,) = own_children()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(20):  # long before its alarm
            while is_alive(busy):
                await asyncio.sleep(0.005)
        (reading,) = await reader.read([visit(os.fsencode(mark))])
    finally:
        await reader.aclose()
    assert reading.data == [b'"unharmed"']


async def test_closing_while_a_worker_starts_leaves_nothing() -> None:
    reader = reader_of("hostile")
    task = asyncio.create_task(reader.read([visit(b"x")]))
    while not own_children():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await reader.aclose()


@pytest.mark.parametrize(
    ("then", "says"),
    [
        ("import no_such_module_at_all", r"can't be loaded in a worker process: .*no_such_module_at_all"),
        ("import os\nos._exit(9)", r"before they read anything: .*exit code 9"),
    ],
)
async def test_a_parser_that_loads_here_and_in_no_worker_ends_the_run_and_says_why(
    then: str, says: str, tmp_path: Path
) -> None:
    module = tmp_path / "here_only.py"
    module.write_text("def parse(page): return 1\n")
    reader = make_reader(notice=said, parser=f"{module}:parse", offload="processes", workers=1, timeout_s=1.0)
    module.write_text(f"{then}\n")
    try:
        with pytest.raises(WorkerDied, match=says):
            await reader.read([visit(b"x")])
    finally:
        await reader.aclose()


_PROGRAM = """
import asyncio, os, sys
from support.parsers import visit
from fetcher.parsers.reader import make_reader

async def main():
    reader = make_reader(notice=lambda *_: None, parser="support.parsers:marked",
                         offload="processes", workers=1, timeout_s=float(sys.argv[1]))
    await reader.read([visit(b"warm")])
    me = os.getpid()
    print(open(f"/proc/{me}/task/{me}/children").read(), flush=True)
    await reader.read([visit(sys.argv[2].encode() + b" " + sys.argv[3].encode())])

asyncio.run(main())
"""


@pytest.mark.parametrize("busy_with", ["loop", "sleep", "regex"])
async def test_no_worker_outlives_a_program_that_is_killed(busy_with: str, tmp_path: Path) -> None:
    # Compiled code that keeps the interpreter to itself is ended by its alarm; the others at once.
    timeout_s = "3" if busy_with == "regex" else "3600"
    mark = tmp_path / "mark"
    program = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, timeout_s, str(mark), busy_with],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert program.stdout is not None
        pids = [int(pid) for pid in program.stdout.readline().split()]
        assert len(pids) == 1
        await appears(mark)
        assert all(map(is_alive, pids))
    finally:
        os.kill(program.pid, signal.SIGKILL)
        program.communicate()
    async with asyncio.timeout(60):
        while any(map(is_alive, pids)):
            await asyncio.sleep(0.01)
