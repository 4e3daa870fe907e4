"""The port `Reader` over every place where a parser can run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.parsers import AwaitsEach, Counting, awaits_items, visit, with_argument

from fetcher.errors import ConfigError
from fetcher.model import Record
from fetcher.parsers.adaptive import _PAGES, _SURE
from fetcher.parsers.reader import PageReader, make_reader
from fetcher.parsers.run_parser import LinkOptions

TESTS = Path(__file__).parents[1]
LINKS = LinkOptions()
OFFLOADS = ("inline", "threads", "processes", "auto")
Make = Callable[..., PageReader]


class Said:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, level: str, text: str) -> None:
        self.lines.append((level, text))


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
async def make(said: Said) -> AsyncIterator[Make]:
    """Readers that are closed at the end."""
    made: list[PageReader] = []

    def one(parser: Any = None, offload: str = "processes", **more: Any) -> PageReader:
        named = f"support.parsers:{parser}" if isinstance(parser, str) and ":" not in parser else parser
        settings = {"notice": said, "workers": 2, "base": TESTS, "timeout_s": 20.0, **more}
        reader = make_reader(parser=named, offload=offload, **settings)
        made.append(reader)
        return reader

    yield one
    for reader in made:
        await reader.aclose()


def data_of(lines: Any) -> list[Any]:
    return [msgspec.json.decode(line) for line in lines]


@pytest.mark.parametrize("offload", OFFLOADS)
async def test_each_page_gets_what_the_parser_made_of_it_in_order(offload: str, make: Make) -> None:
    reader = make("echo", offload)
    pages = [visit(b"%d" % number, f"http://site.test/{number}") for number in range(40)]
    readings = await reader.read(pages)
    assert [data_of(reading.data) for reading in readings] == [
        [{"url": f"http://site.test/{number}", "text": str(number)}] for number in range(40)
    ]


@pytest.mark.parametrize("offload", OFFLOADS)
async def test_many_batches_under_way_do_not_mix(offload: str, make: Make) -> None:
    reader = make("echo", offload)

    async def one(number: int) -> None:
        body = b"%d" % number
        readings = await reader.read([visit(body), visit(body + b"!")])
        assert [data_of(reading.data)[0]["text"] for reading in readings] == [f"{number}", f"{number}!"]

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(one(number))


@pytest.mark.parametrize("offload", OFFLOADS)
async def test_a_body_in_a_part_file_is_read_where_it_is_parsed(
    offload: str, make: Make, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"from the file")
    (reading,) = await make("echo", offload).read([visit(part)])
    assert data_of(reading.data)[0]["text"] == "from the file"


@pytest.mark.parametrize("offload", OFFLOADS)
async def test_a_part_file_that_is_gone_fails_its_page_only(offload: str, make: Make, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"x")
    gone, fine = visit(part), visit(b"y")
    part.unlink()
    first, second = await make("echo", offload).read([gone, fine])
    assert first.error is not None
    assert "No such file" in first.error.message
    assert second.data


@pytest.mark.parametrize("offload", OFFLOADS)
@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (b"none", []),
        (b"text", ["one\nline"]),
        (b"dict", [{"a": 1}]),
        (b"struct", [{"x": 1}]),
        (b"list", [{"a": 1}, 2]),
        (b"tuple", [[1, 2]]),
        (b"empty", []),
        (b"generator", [0, 1, 2]),
    ],
)
async def test_what_a_parser_returns_becomes_lines(
    offload: str, given: bytes, lines: list[Any], make: Make
) -> None:
    (reading,) = await make("gives", offload).read([visit(given)])
    assert reading.error is None
    assert data_of(reading.data) == lines
    assert not any(b"\n" in line for line in reading.data)


@pytest.mark.parametrize("offload", OFFLOADS)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (b"raise", "ValueError: not in \\x1b[31mone http://user:***@host/ line ("),
        (b"exit", "SystemExit: 3 ("),
        (b"unencodable", "TypeError: what it gave has no form in JSON: Encoding objects of type object"),
        (b"recurse", "RecursionError: "),
    ],
)
async def test_an_error_is_its_pages_own_and_names_the_line(
    offload: str, fault: bytes, message: str, make: Make
) -> None:
    bad, good = await make("hostile", offload).read([visit(fault), visit(b"good")])
    assert bad.error is not None
    assert message in bad.error.message
    assert "parsers.py:" in bad.error.message or fault == b"unencodable"
    assert bad.data == ()
    assert data_of(good.data) == [{"text": "good"}]


@pytest.mark.parametrize("offload", OFFLOADS)
async def test_a_class_keeps_state_per_worker_and_is_closed_at_the_end(
    offload: str, tmp_path: Path, said: Said
) -> None:
    closed = tmp_path / "closed"
    reader = make_reader(
        notice=said, parser="support.parsers:Counting", offload=offload, workers=1, base=TESTS
    )
    readings = await reader.read([visit(str(closed).encode()) for _ in range(3)])
    await reader.aclose()
    assert [data_of(reading.data)[0]["seen"] for reading in readings] == [1, 2, 3]
    assert closed.read_text() == "closed"


@pytest.mark.parametrize("offload", OFFLOADS)
@pytest.mark.parametrize(("parser", "lines"), [(awaits_items, [1, 2]), (AwaitsEach, ["awaited"])])
async def test_an_asynchronous_parser_runs_inline_wherever_it_was_wanted(
    offload: str, parser: Any, lines: list[Any], make: Make, said: Said
) -> None:
    (reading,) = await make(parser, offload).read([visit(b"x")])
    assert data_of(reading.data) == lines
    assert said.lines == ([] if offload == "inline" else [("info", "parser: inline (it is asynchronous)")])


async def test_an_asynchronous_parser_has_a_limit_of_time(make: Make) -> None:
    async def never(page: Any) -> None:
        await asyncio.Event().wait()

    (reading,) = await make(never, timeout_s=0.05).read([visit(b"x")])
    assert reading.error is not None
    assert reading.error.message == "the parser was still busy after 0.05 s"


async def test_asynchronous_pages_wait_side_by_side(make: Make) -> None:
    waiting = 0
    all_there = asyncio.Event()

    async def meet(page: Any) -> int:
        nonlocal waiting
        waiting += 1
        if waiting == 4:
            all_there.set()
        await all_there.wait()
        return waiting

    reader = make(meet, "auto")
    assert reader.most_at_once >= 4
    readings = await asyncio.gather(*(reader.read([visit(b"x")]) for _ in range(4)))
    assert [reading.error for (reading,) in readings] == [None] * 4


async def test_cancelling_cancels_an_asynchronous_parser(make: Make) -> None:
    begun, ended = asyncio.Event(), []

    async def waits(page: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    task = asyncio.create_task(make(waits, "inline").read([visit(b"x")]))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


@pytest.mark.parametrize("offload", ["threads", "processes"])
async def test_a_plain_function_that_gives_a_coroutine_is_told_to_be_async(offload: str, make: Make) -> None:
    (reading,) = await make("gives_coroutine", offload).read([visit(b"x")])
    assert reading.error is not None
    assert "declare it with async def" in reading.error.message


async def test_inline_such_a_coroutine_is_awaited(make: Make) -> None:
    (reading,) = await make("gives_coroutine", "inline").read([visit(b"x")])
    assert data_of(reading.data) == [{"text": "x"}]


async def test_what_can_not_travel_is_refused_for_processes_and_inline_for_auto(
    make: Make, said: Said
) -> None:
    with pytest.raises(ConfigError, match="can't go to a worker process: it can't be pickled"):
        make(with_argument, "processes")
    (reading,) = await make(with_argument, "auto").read([visit(b"x")])
    assert data_of(reading.data) == [{"extra": 7}]
    assert [level for level, text in said.lines if "parser: inline (it can't go" in text] == ["warning"]


async def test_workers_are_other_processes_with_less_priority(make: Make) -> None:
    reader = make("who")
    got = await asyncio.gather(*(reader.read([visit(b"x")] * 8) for _ in range(4)))
    seen = [data_of(reading.data)[0] for readings in got for reading in readings]
    assert os.getpid() not in {one["pid"] for one in seen}
    assert len({one["pid"] for one in seen}) == 2
    assert {one["nice"] for one in seen} == {min(19, os.nice(0) + 5)}


async def test_auto_goes_inline_for_a_cheap_parser_and_says_so_once(make: Make, said: Said) -> None:
    reader = make("who", "auto")
    pids: list[int] = []
    while len(pids) < _SURE + 200:
        readings = await reader.read([visit(b"x")] * reader.batch)
        pids += [data_of(reading.data)[0]["pid"] for reading in readings]
    assert os.getpid() not in pids[:_SURE]
    assert set(pids[-10:]) == {os.getpid()}
    ((level, text),) = said.lines
    assert level == "info"
    assert text.startswith("parser: inline (a page costs 0.")
    (claimed,) = await reader.read([visit(b"x", was_claimed=True)])
    assert data_of(claimed.data)[0]["pid"] != os.getpid()


@pytest.mark.parametrize("parser", ["spins", "sleeps"])
async def test_auto_stays_out_for_a_parser_that_costs_time_or_waits(
    parser: str, make: Make, said: Said
) -> None:
    reader = make(parser, "auto")
    for _ in range(3):
        await reader.read([visit(b"x")] * (_PAGES // 2))
    ((_, text),) = said.lines
    assert text.startswith("parser: in 2 worker processes (a page costs ")


async def test_auto_stays_out_for_a_parser_that_was_too_much_once(make: Make, said: Said) -> None:
    reader = make("hostile", "auto", workers=1)
    await reader.read([visit(b"abort"), *[visit(b"x")] * (_PAGES + 2)])
    await reader.read([visit(b"x")] * _SURE)
    ((_, text),) = said.lines
    assert "parser: in a worker process (a page was too much for its worker" in text


@pytest.mark.timeout(240)
async def test_what_a_parser_prints_in_a_worker_goes_to_standard_error(tmp_path: Path) -> None:
    program = (
        "import asyncio\nfrom support.parsers import visit\nfrom fetcher.parsers.reader import make_reader\n"
        "async def main():\n"
        "    reader = make_reader(notice=print, parser='support.parsers:prints',"
        " offload='processes', workers=1)\n"
        "    await reader.read([visit(b'x')])\n"
        "    await reader.aclose()\n"
        "asyncio.run(main())\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0
    assert done.stdout == ""
    assert "printed by a parser" in done.stderr
    assert "written by a parser" in done.stderr


HTML = b'<html><a href="http://site.test/next">next</a></html>'


@pytest.mark.parametrize("offload", OFFLOADS)
async def test_built_in_links_are_there_even_if_the_parser_fails(offload: str, make: Make) -> None:
    reader = make("fails", offload, links=LINKS)
    (reading,) = await reader.read([visit(HTML)])
    assert reading.error is not None
    assert [link.url for link in reading.links or ()] == ["http://site.test/next"]


async def test_without_following_links_are_not_looked_for(make: Make) -> None:
    (reading,) = await make("echo").read([visit(HTML)])
    assert reading.links is None


async def test_links_of_a_large_page_in_a_part_file_are_found(make: Make, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(HTML + b"<p>x</p>" * 100_000)
    (reading,) = await make(None, links=LINKS).read([visit(part)])
    assert [link.url for link in reading.links or ()] == ["http://site.test/next"]


async def test_the_parser_sees_no_asset_and_no_sitemap(make: Make) -> None:
    reader = make("echo", "inline", links=LINKS)
    sheet, picture, site_map = await reader.read(
        [
            visit(b"@import 'b.css';", kind="asset", content_type="text/css"),
            visit(b"\x89PNG", kind="asset", content_type="image/png"),
            visit(b"<urlset/>", kind="sitemap", content_type="application/xml"),
        ]
    )
    assert [reading.data for reading in (sheet, picture, site_map)] == [(), (), ()]
    assert not picture.links


async def test_links_of_a_page_that_was_claimed_are_taken_in_a_worker(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fatal(*_: Any, **__: Any) -> None:
        raise AssertionError("it was read in the program itself")

    monkeypatch.setattr("fetcher.parsers.reader.read_links", fatal)
    (reading,) = await make(None, links=LINKS).read([visit(HTML, was_claimed=True)])
    assert reading.error is None
    assert [link.url for link in reading.links or ()] == ["http://site.test/next"]


@pytest.mark.parametrize("offload", OFFLOADS)
async def test_the_links_that_a_parser_gives_are_resolved_and_added(offload: str, make: Make) -> None:
    (reading,) = await make("gives_links", offload, links=LINKS).read([visit(HTML, "http://site.test/a/b")])
    assert [link.url for link in reading.links or ()] == [
        "http://site.test/next",
        "http://site.test/a/followed",
        "http://site.test/returned",
        "http://site.test/a/in-a-list",
    ]
    assert data_of(reading.data) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("offload", OFFLOADS)
async def test_a_link_that_is_none_fails_its_page_only(offload: str, make: Make) -> None:
    bad, good = await make("gives_no_link", offload).read([visit(b"bad"), visit(b"good")])
    assert bad.error is not None
    assert data_of(good.data) == [1]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text("stored text")
    record = Record(
        url="http://site.test/a?b=1 c", final_url="http://site.test/a", path="page.html", state="failed"
    )
    (tmp_path / "results.jsonl").write_bytes(msgspec.json.encode(record) + b"\n")
    return tmp_path


@pytest.mark.timeout(240)
async def test_the_message_names_a_command_that_repeats_the_page(make: Make, stored: Path) -> None:
    reader = make(f"{TESTS}/support/parsers.py:hostile", "inline", root=stored)
    (reading,) = await reader.read([visit(b"raise", "http://site.test/a?b=1 c")])
    assert reading.error is not None
    _, _, command = reading.error.message.partition("; repeat: ")
    assert command.startswith("python -m fetcher.parsers ")
    done = subprocess.run(
        command.replace("python", sys.executable, 1),
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == '{"text":"stored text"}\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "usage: "),
        (["support.parsers:echo", "DIR", "http://site.test/unknown"], "has no page http://site.test/unknown"),
        (["no_such_module_here:f", "DIR", "http://site.test/a"], "there is no module"),
    ],
)
def test_a_repetition_that_can_not_be_says_why(
    arguments: list[str], message: str, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fetcher.parsers.__main__ import main

    assert main([str(stored) if each == "DIR" else each for each in arguments]) == 2
    assert message in capsys.readouterr().err


async def test_nothing_is_started_before_the_first_page(make: Make) -> None:
    make("echo")
    make(Counting, "threads")
    me = os.getpid()
    assert not Path(f"/proc/{me}/task/{me}/children").read_text()
