"""A large body whose run is killed again and again: it must arrive whole, and little may be asked for twice."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from support.faultserver import Exchange, FaultServer
from support.program import Program, by_url, parts

MIB = 1 << 20
_BLOCKS = 2 * MIB  # one being filled, one being written
_LIFE_S = 0.7  # the least time in which a run that is killed receives something
_KEPT_EVERY_S = 0.25
_BUFFERS = 4 * MIB  # what the system holds between the server and the run
_SECRET = random.Random(0).randbytes(MIB - 8)


class LargeFile:
    """A script that serves `size` bytes, every MiB of which begins with its number; it honours ranges.

    `sent` has the time and the end of each MiB that was sent; `asked` the beginning of each answer.
    """

    def __init__(self, size: int, bytes_per_s: float) -> None:
        self.size = size
        self.sent: list[tuple[float, int]] = []
        self.asked: list[int] = []
        self.pause_s = MIB / bytes_per_s
        self.sha256 = sha256()
        for at in range(0, size, MIB):
            self.sha256.update(self._piece(at))

    def _piece(self, at: int) -> bytes:
        """What stands from `at` to the end of its MiB."""
        piece = (at // MIB).to_bytes(8) + _SECRET
        return piece[at % MIB : min(MIB, self.size - at // MIB * MIB)]

    async def __call__(self, x: Exchange) -> None:
        wanted = x.hit.header("range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.asked.append(start)
        fields = [("ETag", '"large"'), ("Content-Length", str(self.size - start))]
        if start:
            fields.append(("Content-Range", f"bytes {start}-{self.size - 1}/{self.size}"))
        await x.head(206 if start else 200, fields)
        at = start
        while at < self.size:
            piece = self._piece(at)
            await x.send(piece)
            at += len(piece)
            self.sent.append((time.monotonic(), at))
            await x.pause(self.pause_s)


def torture_large(folder: Path, backend: str, size: int, kills: int, seed: int) -> bool:
    """Kill the run of one body so many times; say what was asked for again. True if all is as promised."""
    chance = random.Random(f"{seed} {backend}")
    life = size // (kills + 1)
    script = LargeFile(size, life / _LIFE_S)
    out = folder / "out"
    again: list[int] = []
    problems: list[str] = []
    with FaultServer() as server:
        server.route("/large", script)
        program = Program(folder)
        command = ["get", server.url("/large"), "-o", "out", "--backend", backend, "--min-free", "0"]
        for number in range(kills):
            begun = len(script.sent)
            wanted = life * chance.uniform(0.8, 1.1)
            known = len(script.asked)
            with program.start(*command) as run:
                server.wait(
                    lambda _, known=known, begun=begun, wanted=wanted: (
                        len(script.asked) > known
                        and len(script.sent) > begun
                        and script.sent[-1][1] - script.asked[-1]
                        >= min(wanted, size - script.asked[-1] - MIB)
                    )
                )
                run.send(signal.SIGKILL)
                run.process.wait(60)
            killed_at, end = script.sent[-1]
            late = end - next((e for t, e in reversed(script.sent) if t < killed_at - _KEPT_EVERY_S), 0)
            vouched = _vouched(out)
            again.append(end - vouched)
            # A busy machine runs the timer of a quarter of a second late.
            if again[-1] > 4 * late + _BLOCKS + _BUFFERS:
                problems.append(f"kill {number}: {again[-1]:,} bytes are asked for again, {late:,} came last")
        script.pause_s = 0
        ended = program.run(*command, limit_s=600)
        record = by_url(out)[server.url("/large")]
        if ended.code or record["sha256"] != script.sha256.hexdigest():
            problems.append(f"it did not arrive whole: {ended.code} {record}")
        if len(record["resumed_at"]) != kills:
            problems.append(f"it was continued {len(record['resumed_at'])} times")
        if parts(out):
            problems.append("a part is left")
        if program.run("verify", "out").code:
            problems.append("verify finds something off")
    for problem in problems:
        print(f"OFF  large {backend}: {problem}")
    print(
        f"large {backend}: {size / MIB:,.0f} MiB, killed {kills} times, continued {len(record['resumed_at'])} times; "
        f"asked again for each kill: {max(again) / MIB:.1f} MiB at most, {sum(again) / len(again) / MIB:.1f} in the "
        f"mean, where {life / _LIFE_S * _KEPT_EVERY_S / MIB:.1f} MiB come in {_KEPT_EVERY_S} s",
        flush=True,
    )
    shutil.rmtree(out)
    return not problems


def _vouched(out: Path) -> int:
    """How much of the body the state vouches for, which the next run does not ask for."""
    with closing(sqlite3.connect(f"file:{out}/.fetcher/state.db?mode=ro", uri=True)) as state:
        row = state.execute("SELECT json_extract(part, '$.extents[0][1]') FROM part").fetchone()
    return 0 if row is None else int(row[0])
