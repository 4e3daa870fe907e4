"""The suite that every source must pass, and what files, pipes and terminals do to `FileSource`."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import select
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fetcher.errors import ConfigError
from fetcher.model import Entry
from fetcher.ports import Source
from fetcher.sources.arguments import Arguments
from fetcher.sources.file_source import FileSource
from fetcher.sources.iterables import IterableSource

BLOCK = 262_144


def urls(many: int) -> list[str]:
    return [f"http://127.0.0.1/{i}" for i in range(many)]


async def everything(source: Source) -> list[Entry]:
    return [entry async for batch in source for entry in batch]


def names(entries: list[Entry]) -> list[str]:
    return [entry.url for entry in entries]


async def as_async(items: list[str]) -> AsyncIterator[str]:
    for item in items:
        yield item


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """After each test no thread of a source and no descriptor may be left."""
    before = set(os.listdir("/dev/fd"))
    yield
    for thread in threading.enumerate():
        if thread.name == "fetcher-source":
            thread.join(60)
            assert not thread.is_alive()
    assert set(os.listdir("/dev/fd")) <= before


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: read end, write end. A test may close either."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


Make = Callable[[list[str]], Source]


@pytest.fixture(params=["arguments", "sync", "async", "text", "jsonl", "csv", "gzip", "stdin"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes a source of the given URLs."""

    def write(name: str, lines: list[str], head: str = "") -> str:
        path = tmp_path / name
        data = (head + "".join(line + "\n" for line in lines)).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    feeders: list[threading.Thread] = []
    read_end, write_end = os.pipe()

    def piped(lines: list[str]) -> FileSource:
        def feed() -> None:
            with contextlib.suppress(BrokenPipeError), os.fdopen(write_end, "w", closefd=False) as out:
                out.writelines(line + "\n" for line in lines)
            os.close(write_end)

        feeders.append(threading.Thread(target=feed))
        feeders[0].start()
        return FileSource("-", stdin=read_end)

    yield {
        "arguments": Arguments,
        "sync": lambda lines: IterableSource(lines, batch=100),
        "async": lambda lines: IterableSource(as_async(lines)),
        "text": lambda lines: FileSource(write("list", lines)),
        "jsonl": lambda lines: FileSource(write("list.jsonl", [f'{{"url": "{line}"}}' for line in lines])),
        "csv": lambda lines: FileSource(write("list.csv", [f"x,{line}" for line in lines], "a,url\n")),
        "gzip": lambda lines: FileSource(write("list.gz", lines)),
        "stdin": piped,
    }[request.param]
    os.close(read_end)
    if feeders:
        feeders[0].join(60)  # what it still writes meets a closed pipe
    else:
        os.close(write_end)


# ------------------------------------------------------------------ the contract


async def test_every_url_is_handed_over_once_and_in_order(make: Make) -> None:
    source = make(urls(20_000))
    found = await everything(source)
    assert names(found) == urls(20_000)
    assert all(entry.bad is None for entry in found)
    await source.aclose()


async def test_lines_grow_and_batches_are_bounded_and_never_empty(make: Make) -> None:
    source = make(urls(20_000))
    line = 0
    async for batch in source:
        assert 1 <= len(batch) <= 4_096
        for entry in batch:
            assert entry.line is not None
            assert entry.line > line
            line = entry.line
    await source.aclose()


async def test_an_empty_list_has_no_batches(make: Make) -> None:
    source = make([])
    assert await everything(source) == []
    await source.aclose()


async def test_a_source_may_be_closed_early_twice_and_before_it_was_read(make: Make) -> None:
    source = make(urls(20_000))
    async for _ in source:
        break
    await source.aclose()
    await source.aclose()


async def test_a_source_that_is_never_read_is_closed_without_a_trace(tmp_path: Path) -> None:
    for source in (Arguments([]), IterableSource([]), FileSource(str(tmp_path / "gone"))):
        await source.aclose()
        await source.aclose()
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ files


async def test_entries_name_the_file_as_given_and_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("# list\nhttp://a/\n\nhttp://b/")
    assert await everything(FileSource("./a.txt")) == [
        Entry("http://a/", "./a.txt", 2),
        Entry("http://b/", "./a.txt", 4),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.jsonl", '"http://a/"\n'),
        ("list.NDJSON", '{"url": "http://a/"}\n'),
        ("list", '\n{"url": "http://a/"}\n'),
        ("list.csv", "url\nhttp://a/\n"),
        ("list.tsv", "x\tURL\n\thttp://a/\n"),
        ("list.txt", "name,url\n,http://a/\n"),
        ("list.data", "http://a/\n"),
        ("list.json", '["http://a/"]'),
        ("list.jsonl", '\n[{"url": "http://a/"}]'),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
async def test_the_format_is_found_by_name_or_content(
    tmp_path: Path, name: str, content: str, suffix: str
) -> None:
    path = tmp_path / (name + suffix)
    path.write_bytes(gzip.compress(content.encode()) if suffix else content.encode())
    assert names(await everything(FileSource(str(path)))) == ["http://a/"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("is_zipped", [False, True])
async def test_utf16_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str, is_zipped: bool) -> None:
    path = tmp_path / "list"
    data = ("\ufeff" if encoding == "utf-16-be" else "").encode(encoding) + "http://a/\r\nhttp://é/".encode(
        encoding
    )
    path.write_bytes(gzip.compress(data) if is_zipped else data)
    assert await everything(FileSource(str(path))) == [
        Entry("http://a/", str(path), 1),
        Entry("http://é/", str(path), 2),
    ]


async def test_what_is_no_list_is_said_in_one_line_before_and_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bin.bin"
    path.write_bytes(b"\n# x\n\x7fELF\0\0\1\2\n" * 100)
    for tried in (FileSource(str(path)).check, lambda: asyncio.run(everything(FileSource(str(path))))):
        with pytest.raises(ConfigError, match=r"bin\.bin:3: this is no list of URLs$"):
            await asyncio.to_thread(tried)
    table = tmp_path / "x.csv"
    table.write_bytes(b"PK\3\4\0\0\n,\n")
    with pytest.raises(ConfigError, match=r"x\.csv:1: this is no list of URLs$"):
        FileSource(str(table)).check()


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n", "[]", "url,x\n"])
async def test_an_empty_list_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "list"
    path.write_text(content)
    told: list[tuple[str, str]] = []
    assert await everything(FileSource(str(path), notice=lambda *notice: told.append(notice))) == []
    assert told == [("warning", f"{path} is empty: there is no URL in it")]


async def test_an_array_that_is_cut_gives_what_came_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text('["http://a/",\n"http://b/", "ht')
    found: list[Entry] = []

    async def read() -> None:
        async for batch in FileSource(str(path)):
            found.extend(batch)

    with pytest.raises(ConfigError, match=r"its JSON array is cut short \(after line 2\)"):
        await read()
    assert names(found) == ["http://a/", "http://b/"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("http://a/\n", set()),
        ("url,a,name,B,\n", {"a", "B"}),
        ('{"url": "http://a/", "x": 1}\n{"url": "http://a/", "y": 1}\n', {"x", "y"}),
        ('[{"url": "http://a/", "z": 1}]', {"z"}),
    ],
)
def test_check_gives_the_columns_of_a_file(tmp_path: Path, content: str, expected: set[str]) -> None:
    path = tmp_path / "list"
    path.write_text(content)
    columns = FileSource(str(path)).check()
    assert columns is not None
    assert set(columns) == expected


async def test_gzip_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "zipped.txt").write_bytes(gzip.compress(b"http://a/\n") + gzip.compress(b"http://b/\n"))
    (tmp_path / "plain.gz").write_bytes(b"http://c/\n")
    assert names(await everything(FileSource(str(tmp_path / "zipped.txt")))) == ["http://a/", "http://b/"]
    assert names(await everything(FileSource(str(tmp_path / "plain.gz")))) == ["http://c/"]


async def test_a_named_format_overrules_name_and_content(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text("http://a/\n")
    assert names(await everything(FileSource(str(path), "text"))) == ["http://a/"]
    (entry,) = await everything(FileSource(str(path)))
    assert entry.bad is not None


def test_check_refuses_what_cannot_be_read_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, why in (
        (tmp_path / "gone", "no such file"),
        (tmp_path, "it is a directory"),
        (tmp_path / "file" / "below", "not a directory"),
        (str(tmp_path) + "/\0", "null"),
        ("", "no such file"),
    ):
        with pytest.raises(ConfigError, match=r"^cannot read ") as raised:
            FileSource(str(path)).check()
        assert why in str(raised.value)


def test_check_passes_for_a_file_a_fifo_and_a_device(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "file", tmp_path / "fifo", "/dev/null"):
        FileSource(str(path)).check()


def test_check_refuses_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0o200)
    who = os.geteuid()
    if who == 0:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(ConfigError, match="permission denied"):
            FileSource(str(tmp_path / "secret")).check()
    finally:
        os.seteuid(who)


def test_check_refuses_a_closed_standard_input(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(ConfigError, match="cannot read standard input"):
        FileSource("-", stdin=pipe[0]).check()


def test_check_refuses_a_standard_input_that_was_closed_before_the_start() -> None:
    code = "from fetcher.sources.file_source import FileSource; FileSource('-').check()"
    shell = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" <&-', sys.executable, code],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "cannot read standard input" in shell.stderr


async def test_a_file_that_vanished_after_the_check_is_an_error_of_the_iteration(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("http://a/\n")
    source = FileSource(str(path))
    source.check()
    path.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        await everything(source)


async def test_cut_gzip_gives_its_whole_lines_and_then_the_line_reached(tmp_path: Path) -> None:
    path = tmp_path / "list.gz"
    path.write_bytes(
        gzip.compress(b"".join(b"http://127.0.0.1/%d\n" % (i * i) for i in range(50_000)))[:-40_000]
    )
    found: list[str] = []

    async def read() -> None:
        async for batch in FileSource(str(path)):
            found.extend(entry.url for entry in batch)

    with pytest.raises(ConfigError, match=r"its gzip data is cut short \(after line [0-9,]+\)") as raised:
        await read()
    assert f"after line {len(found):,}" in str(raised.value)
    assert 1_000 < len(found) < 50_000
    assert found == [f"http://127.0.0.1/{i * i}" for i in range(len(found))]


async def test_a_header_without_url_is_an_error_before_any_entry(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("name,link\nx,http://a/\n")
    with pytest.raises(ConfigError, match="its columns are name, link"):
        await everything(FileSource(str(path)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.binary(max_size=400).filter(lambda data: not data.startswith(b"\x1f\x8b")))
def test_any_bytes_in_a_text_file_give_at_most_an_entry_for_each_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(data)
    found = asyncio.run(everything(FileSource(str(path), "text")))
    lines = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
    expected = [n for n, line in enumerate(lines, 1) if line.strip() and not line.strip().startswith("#")]
    assert [entry.line for entry in found] == expected


async def test_memory_does_not_grow_with_the_list_or_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "list.gz"
    with gzip.open(path, "wb", 1) as out:
        for _ in range(20):
            out.write(b"http://127.0.0.1/\n" * 50_000)
        for _ in range(32):
            out.write(b"x" * 1_000_000)
        out.write(b"\nhttp://b/\n")
    many = 0
    tracemalloc.start()
    try:
        async for batch in FileSource(str(path)):
            many += len(batch)
            last = batch[-1]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (many, last) == (1_000_002, Entry("http://b/", str(path), 1_000_002))
    assert peak < 12_000_000


@pytest.mark.parametrize("indent", [b"", b"\n    "])
async def test_memory_does_not_grow_with_an_array(tmp_path: Path, indent: bytes) -> None:
    path = tmp_path / "list.json.gz"
    with gzip.open(path, "wb", 1) as out:
        out.write(b"[")
        for _ in range(10):
            out.write((indent + b'{"url": "http://127.0.0.1/"},') * 20_000)
        out.write(b'"http://b/"]')
    many = 0
    tracemalloc.start()
    try:
        async for batch in FileSource(str(path)):
            many += len(batch)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert many == 200_001
    assert peak < 12_000_000


async def test_a_file_is_read_a_block_at_a_time_and_only_when_more_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"http://127.0.0.1/%9d\n" * 100_000 % tuple(range(100_000)))
    descriptor = os.open(path, os.O_RDONLY)
    source = FileSource("-", stdin=descriptor)
    batches = source.__aiter__()
    seen = 0
    while seen < BLOCK // 27:
        seen += len(await anext(batches))
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == BLOCK
    await anext(batches)
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 2 * BLOCK
    await source.aclose()
    os.close(descriptor)  # still open: it is not the source's


# ------------------------------------------------------------------ pipes


async def test_a_line_comes_through_as_soon_as_it_is_written(pipe: tuple[int, int]) -> None:
    source = FileSource("-", stdin=pipe[0])
    batches = source.__aiter__()
    os.write(pipe[1], b"http://a/\nhttp://un")
    async with asyncio.timeout(60):
        assert list(await anext(batches)) == [Entry("http://a/", "-", 1)]
        os.write(pipe[1], b"finished/\n")
        assert list(await anext(batches)) == [Entry("http://unfinished/", "-", 2)]
    os.write(pipe[1], b"http://last/")
    os.close(pipe[1])
    async with asyncio.timeout(60):
        assert names(list(await anext(batches))) == ["http://last/"]
        with pytest.raises(StopAsyncIteration):
            await anext(batches)
    await source.aclose()


async def test_gzip_on_standard_input_is_decompressed_as_it_comes(pipe: tuple[int, int]) -> None:
    source = FileSource("-", stdin=pipe[0])
    batches = source.__aiter__()
    data = gzip.compress(b'{"url": "http://a/"}\n') + gzip.compress(b'{"url": "http://b/"}\n')
    os.write(pipe[1], data)  # and the pipe stays open
    async with asyncio.timeout(60):
        first = names(list(await anext(batches)))
        second = names(list(await anext(batches)))
    assert first + second == ["http://a/", "http://b/"]
    await source.aclose()


async def test_a_consumer_that_stops_stops_the_reading(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)

    def fill() -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe[1], b"http://127.0.0.1/\n" * 200)

    source = FileSource("-", stdin=pipe[0])
    fill()
    batches = source.__aiter__()
    await anext(batches)
    fill()
    assert select.select([], [pipe[1]], [], 0.05)[1] == []  # the pipe is full, and stays so
    await anext(batches)
    await source.aclose()


async def wait_for_data(source: FileSource) -> asyncio.Task[list[Entry]]:
    """A task that iterates, once its thread waits."""
    task = asyncio.create_task(everything(source))
    while not any(thread.name == "fetcher-source" for thread in threading.enumerate()):
        await asyncio.sleep(0)
    return task


async def test_closing_ends_the_wait_for_a_silent_pipe(pipe: tuple[int, int]) -> None:
    source = FileSource("-", stdin=pipe[0])
    task = await wait_for_data(source)
    async with asyncio.timeout(60):
        await source.aclose()
        assert await task == []
    os.write(pipe[1], b"mine")
    assert os.read(pipe[0], 10) == b"mine"  # nobody reads there any more


async def test_cancelling_ends_the_wait_for_a_silent_pipe(pipe: tuple[int, int]) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    source = FileSource("-", stdin=pipe[0])
    task = await wait_for_data(source)
    task.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await task
        await source.aclose()
    assert complaints == []  # the late answer found nobody, and that is no error
    os.fstat(pipe[0])


async def test_closing_leaves_an_unfinished_last_line_out(pipe: tuple[int, int]) -> None:
    source = FileSource("-", stdin=pipe[0])
    os.write(pipe[1], b"http://a/\nhttp://exam")
    batches = source.__aiter__()
    await anext(batches)
    await source.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(batches)


async def test_a_fifo_is_waited_for_without_a_writer_and_then_read(tmp_path: Path) -> None:
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    source = FileSource(path)
    task = await wait_for_data(source)
    writer = await asyncio.to_thread(os.open, path, os.O_WRONLY)
    os.write(writer, b"http://a/\n")
    os.close(writer)
    async with asyncio.timeout(60):
        assert names(await task) == ["http://a/"]

    silent = FileSource(path)
    task = await wait_for_data(silent)
    async with asyncio.timeout(60):
        await silent.aclose()
        assert await task == []


async def test_a_terminal_and_the_null_device_are_read_like_pipes() -> None:
    leader, terminal = os.openpty()
    source = FileSource("-", stdin=terminal)
    batches = source.__aiter__()
    os.write(leader, b"http://a/\n")
    async with asyncio.timeout(60):
        assert names(list(await anext(batches))) == ["http://a/"]
        os.write(leader, b"\x04")  # end of input, typed once
        with pytest.raises(StopAsyncIteration):
            await anext(batches)
    await source.aclose()
    os.close(leader)
    os.close(terminal)
    assert await everything(FileSource("/dev/null")) == []


def test_a_program_ends_while_its_standard_input_stays_open_and_silent() -> None:
    code = """
import asyncio
from fetcher.sources.file_source import FileSource

async def main():
    batches = FileSource("-").__aiter__()
    print((await anext(batches))[0].url, flush=True)
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    print("leaving")

asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(b"http://a/\n")
        program.stdin.flush()
        try:
            assert program.stdout.read() == b"http://a/\nleaving\n"
            assert program.wait(20) == 0
        finally:
            program.kill()
