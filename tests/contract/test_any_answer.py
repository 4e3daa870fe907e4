"""Whatever bytes a server sends, and wherever packets end: all backends give one and the same verdict."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answer_server import AnswerServer
from support.answers import ANSWERS
from support.campaign import TIMES, tried

from fetcher import Fetcher

BACKENDS = ("asyncio", "curl", "threads", "sync")

WIRES = [wire for row in ANSWERS for wire in row.wires if len(wire) < 2000]
PIECES = sorted({piece for wire in WIRES for piece in re.findall(rb"[^\r\n]*\r?\n|[^\r\n]+|\r", wire)})
TOKENS = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b":", b",", b";", b"\0", b"\x0b", b"\x85", b"\xff"),
    *(b"0", b"5", b"-1", b"+5", b"0x5", b"ffffffffffffffff", b"7fffffffffffffff", b"18446744073709551616"),
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 X\r\n\r\n", b"HTTP/1.0 204\r\n", b"HTTP/1.1 304 X\r\n", b"HTTP/2 200\r\n"),
    *(b"Content-Length", b"Transfer-Encoding", b"chunked", b"identity", b"gzip", b"Content-Encoding: gzip\r\n"),
    *(b"Connection: close\r\n", b"Content-Range: bytes 0-4/5\r\n", b"Location: /end\r\n", b"Trailer: X\r\n", b"hello"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"Set-Cookie: a=b\r\n", b"Retry-After: 0\r\n", b"Upgrade: h2c\r\n"),
    *(b"Content-Encoding: deflate\r\n", b"Keep-Alive: max=0\r\n", b"Proxy-Connection: close\r\n", b"Alt-Svc: h3\r\n"),
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An answer of the table with a few changes."""
    wire = bytearray(draw(st.sampled_from(WIRES)))
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(wire)))
        end = min(len(wire), begin + draw(st.sampled_from([0, 0, 1, 2, 5, 20])))
        wire[begin:end] = draw(st.sampled_from(TOKENS) | st.binary(max_size=2) | st.sampled_from(PIECES))
    return bytes(wire)


ANY = (
    mutated()
    | st.lists(st.sampled_from(PIECES) | st.sampled_from(TOKENS), max_size=12).map(b"".join)
    | st.lists(st.sampled_from(TOKENS), max_size=12).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + b"".join(rest))
    | st.binary(max_size=60)
)


class Verdict(NamedTuple):
    """What a result says: all that may not depend on the backend."""

    state: str
    status: int | None
    error: str | None
    completeness: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Readers:
    """Every backend, open, on a loop of its own; each asks the same server."""

    def __init__(self) -> None:
        self._pieces: Mapping[str, Sequence[bytes]] = {}
        self._numbers = itertools.count()
        self._server = AnswerServer(lambda _, target: self._pieces.get(target, [END]), pause_s=0.001)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._fetchers = {
            name: Fetcher(backend=name, retries=0, private_addresses="allow", timeout=20) for name in BACKENDS
        }

    def __enter__(self) -> Self:
        self._thread.start()
        self._server.__enter__()
        for fetcher in self._fetchers.values():
            asyncio.run_coroutine_threadsafe(fetcher.__aenter__(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        for fetcher in self._fetchers.values():
            asyncio.run_coroutine_threadsafe(fetcher.__aexit__(None, None, None), self._loop).result(10)
        self._server.__exit__()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def verdicts(self, pieces: Sequence[bytes], method: str) -> dict[str, Verdict]:
        """What each backend makes of the pieces."""
        target = f"/{next(self._numbers)}"
        self._pieces = {target: pieces}
        url = f"http://127.0.0.1:{self._server.port}{target}"

        async def one(fetcher: Fetcher) -> Verdict:
            async for result in fetcher.stream([{"url": url, "method": method}]):
                return Verdict(
                    result.state,
                    result.status,
                    result.error,
                    result.completeness,
                    result.headers.raw,
                    result.body if result.state == "done" else b"",
                )
            raise AssertionError("no result")

        async def all_of_them() -> list[Verdict]:
            return await asyncio.gather(*map(one, self._fetchers.values()))

        found = asyncio.run_coroutine_threadsafe(all_of_them(), self._loop).result(60)
        return dict(zip(self._fetchers, found, strict=True))


END = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nend"


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    with Readers() as running:
        yield running


@tried(150, derandomize=TIMES == 1)  # the campaign looks for more
@given(
    wire=ANY, cuts=st.lists(st.integers(0, 400), max_size=3), method=st.sampled_from(["GET", "HEAD", "POST"])
)
def test_any_bytes_have_one_verdict_wherever_packets_end(
    readers: Readers, wire: bytes, cuts: list[int], method: str
) -> None:
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(wire)}), len(wire)]
    pieces = [wire[begin:end] for begin, end in itertools.pairwise(edges)]
    verdicts = readers.verdicts(pieces, method)
    assert len(set(map(str, verdicts.values()))) == 1, verdicts
