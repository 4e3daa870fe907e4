"""Parsers for tests: good ones, slow ones, hostile ones. A page's body says what it asks for."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from fetcher.model import Headers, Job, Kind, Record
from fetcher.parsers.page import Parsed


class HeldBody:
    """A body in memory, or in a part file."""

    sha256 = ""

    def __init__(self, data: bytes | None = None, part: Path | None = None) -> None:
        self._data = data
        self._part = part
        self.length = len(data) if data is not None else part.stat().st_size if part else 0

    def data(self) -> bytes | None:
        return self._data

    def part(self) -> str | None:
        return None if self._part is None else str(self._part)


def visit(
    body: bytes | Path,
    url: str = "http://site.test/",
    *,
    kind: Kind = "page",
    was_claimed: bool = False,
    content_type: str = "text/html",
) -> tuple[Job, Record, Headers, HeldBody]:
    """A page as the engine hands it to a reader."""
    held = HeldBody(part=body) if isinstance(body, Path) else HeldBody(body)
    job = Job(id=1, url=url, target=None, kind=kind, was_claimed=was_claimed)
    record = Record(url=url, final_url=url, state="done", status=200, content_type=content_type)
    return job, record, Headers([(b"Content-Type", content_type.encode())]), held


def echo(page: Any) -> Any:
    return {"url": page.url, "text": page.text()}


def who(page: Any) -> Any:
    return {"pid": os.getpid(), "nice": os.nice(0)}


class Counting:
    """State per worker; says on a file when it is closed."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, page: Any) -> Any:
        self.seen += 1
        self.file = Path(page.text())
        return {"pid": os.getpid(), "seen": self.seen}

    def close(self) -> None:
        self.file.write_text("closed")


class NeedsArgument:
    def __init__(self, needed: int) -> None: ...

    def __call__(self, page: Any) -> Any: ...


class NotCallable: ...


not_callable = 5
with_argument = functools.partial(lambda extra, page: {"extra": extra}, 7)  # can't be pickled


def takes_nothing() -> None: ...


async def awaits(page: Any) -> Any:
    return {"text": page.text()}


async def awaits_items(page: Any) -> Any:
    yield 1
    yield 2


class AwaitsEach:
    async def __call__(self, page: Any) -> Any:
        return "awaited"


def gives_coroutine(page: Any) -> Any:
    return awaits(page)


class Point(msgspec.Struct):
    x: int


GIVEN: dict[bytes, Any] = {
    b"none": None,
    b"text": "one\nline",
    b"dict": {"a": 1},
    b"struct": Point(1),
    b"list": [{"a": 1}, None, 2],
    b"tuple": (1, 2),
    b"empty": [],
}


def gives(page: Any) -> Any:
    if page.body == b"generator":
        return (number for number in range(3))
    return GIVEN[page.body]


def gives_links(page: Any) -> Any:
    page.follow("followed")
    return Parsed([{"a": 1}, Parsed({"b": 2}, ["in-a-list"])], ["/returned"])


def gives_no_link(page: Any) -> Any:
    return Parsed(1, [5] if page.body == b"bad" else [])  # type: ignore[list-item]


def prints(page: Any) -> Any:
    print("printed by a parser")
    os.write(1, b"written by a parser\n")
    return 1


def fails(page: Any) -> Any:
    raise ValueError("always")


def stopped_once(page: Any) -> Any:
    """As if the system had frozen it, once."""
    mark = Path(page.text())
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    return "alive"


def killed_once(page: Any) -> Any:
    """As if the system were short of memory, once."""
    mark = Path(page.text())
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def spins(page: Any) -> Any:
    """20 ms of CPU."""
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    return 1


def sleeps(page: Any) -> Any:
    """No CPU, and yet not for a loop."""
    time.sleep(0.002)
    return 1


_kept: list[bytes] = []


def leaks(page: Any) -> Any:
    _kept.append(b"x" * (24 << 20))
    return {"pid": os.getpid()}


def hangs_uninterruptibly(page: Any) -> Any:
    """In compiled code, with the alarm switched off."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    re.match(r"(a*)*b", "a" * 60)


def _loop() -> None:
    while True:
        pass


def _raise() -> None:
    raise ValueError("not\nin \x1b[31mone http://user:secret@host/ line")


def _recurse(depth: int) -> int:
    return _recurse(depth + 1) + 1


_EVERY_FAULT: dict[bytes, Any] = {
    b"abort": os.abort,
    b"loop": _loop,
    b"regex": lambda: re.match(r"(a*)*b", "a" * 60),
    b"sleep": lambda: time.sleep(3600),
    b"allocate": lambda: bytearray(4 << 30),
    b"allocate-slowly": lambda: [bytes(1 << 20) for _ in range(4096)],
    b"segfault": lambda: ctypes.string_at(0),
    b"exit": lambda: sys.exit(3),
    b"_exit": lambda: os._exit(0),
    b"kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"unencodable": object,
    b"raise": _raise,
    b"close": lambda: os.closerange(3, 256),
    b"recurse": lambda: _recurse(0),
}


def hostile(page: Any) -> Any:
    """Does what the body says, if it says something bad."""
    fault = _EVERY_FAULT.get(page.body)
    return {"text": page.text()} if fault is None else fault()


def marked(page: Any) -> Any:
    """The body is a file and a fault: the file is there once the fault is about to be committed."""
    mark, _, fault = page.body.partition(b" ")
    Path(os.fsdecode(mark)).touch()
    return _EVERY_FAULT[fault]() if fault else "unharmed"
