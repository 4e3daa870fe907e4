"""A file on the fault server that is sent in ranges, cut off, changed, or answered falsely on demand."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from support.faultserver import BLOCK, Exchange

MIB = 1024 * 1024
DATE = ("Date", "Sun, 29 Nov 2026 10:00:00 GMT")


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes in which no two places look alike, so that a wrong offset shows."""
    return b"".join(b"%08d:%d;" % (n, seed) for n in range(size // 11 + 1))[:size]


@dataclass
class Ranged:
    """A script. Each request is cut off after the next number of `cuts` bytes of its body; then none is.

    `answers` may take a request's place: the n-th of it is called with the exchange, None is the ordinary one.
    `is_deaf` ignores ranges. A change of `body` and `etag` is a new version.
    """

    body: bytes
    cuts: Sequence[int] = ()
    fields: Sequence[tuple[str, str]] = (("ETag", '"one"'), DATE)
    is_deaf: bool = False
    is_chunked: bool = False
    false: Callable[[Exchange], object] | None = None  # answers each request for a range
    ranges: str | None = "bytes"  # what it says that it takes
    answers: Sequence[Callable[[Exchange], object] | None] = ()
    pause_s: float = 0.0  # after each MiB
    held_at: int | None = None  # the byte of the body beyond which nothing is sent for now
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    conditions: list[str | None] = field(default_factory=list)  # and its If-Range
    first_waits_for: int = 0  # requests, after its first MiB
    sent: int = 0
    at_once: int = 0
    most_at_once: int = 0

    @property
    def sha256(self) -> str:
        return sha256(self.body).hexdigest()

    async def __call__(self, x: Exchange) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._answer(x)
        finally:
            self.at_once -= 1

    async def _answer(self, x: Exchange) -> None:
        number = len(self.asked)
        wanted = x.hit.header("range")
        self.asked.append(wanted)
        self.conditions.append(x.hit.header("if-range"))
        if number < len(self.answers) and (other := self.answers[number]) is not None:
            await other(x)  # type: ignore[misc]
            return
        if wanted and self.false is not None:
            await self.false(x)  # type: ignore[misc]
            return
        validator = dict(self.fields).get("ETag") or dict(self.fields).get("Last-Modified")
        condition = x.hit.header("if-range")
        start, end = 0, len(self.body)
        is_part = bool(wanted) and not self.is_deaf and condition in {None, validator}
        if wanted and is_part:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), int(last) + 1 if last else end
        rest = self.body[start:end]
        fields = [*self.fields, *([("Accept-Ranges", self.ranges)] if self.ranges else [])]
        if is_part:
            fields.append(("Content-Range", f"bytes {start}-{end - 1}/{len(self.body)}"))
        fields.append(
            ("Transfer-Encoding", "chunked") if self.is_chunked else ("Content-Length", str(len(rest)))
        )
        await x.head(206 if is_part else 200, fields)
        most = self.cuts[number] if number < len(self.cuts) else len(rest)
        for at in range(0, min(most, len(rest)), BLOCK):
            while self.held_at is not None and start + at >= self.held_at:
                await x.pause(0.01)
            block = rest[at : min(at + BLOCK, most)]
            await x.send(b"%x\r\n%b\r\n" % (len(block), block) if self.is_chunked else block)
            self.sent += len(block)
            if self.pause_s and at % MIB == 0:
                await x.pause(self.pause_s)
            while at >= MIB and number == 0 and len(self.asked) < self.first_waits_for:
                await x.pause(0.01)
        if self.is_chunked and most >= len(rest):
            await x.send(b"0\r\n\r\n")


def records(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_bytes().splitlines()]


def assert_whole(out: Path, script: Ranged) -> dict[str, object]:
    """The one record says `done`, its file is the body, and nothing is left of the part."""
    record = records(out)[-1]
    assert (record["state"], record["error"], record["sha256"]) == ("done", None, script.sha256)
    assert (out / str(record["path"])).read_bytes() == script.body
    assert list((out / ".fetcher" / "parts").iterdir()) == []
    with sqlite3.connect(out / ".fetcher" / "state.db") as state:
        assert state.execute("SELECT count(*) FROM part").fetchone() == (0,)
    return record


def holds(condition: Callable[[], bool], limit_s: float = 40) -> bool:
    """Look until the condition holds."""
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
