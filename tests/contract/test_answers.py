"""Every answer has one outcome, whichever backend reads it: the table of `support.answers`, row by row.

All rows of a backend are fetched in one run through the library, each from a host of its own (127.0.0.0/8 is all
loopback), so that no row meets a connection of another.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from support.answer_server import AnswerServer
from support.answers import ANSWERS, Answer, Outcome

from fetcher import Fetcher

BACKENDS = ["asyncio", "curl", "threads", "sync"]
END = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend"


class Rows:
    """Each row's bytes, at the row's own address, in one piece or in two."""

    def __init__(self, *, in_two: bool) -> None:
        self._in_two = in_two
        self._asked: Counter[str] = Counter()

    def __call__(self, address: str, target: str) -> list[bytes]:
        _, third, fourth = address.split(".")[1:]
        row = ANSWERS[int(third) * 250 + int(fourth) - 1]
        wire = END
        if target.startswith("/x"):
            number = self._asked[row.title]
            self._asked[row.title] += 1
            wire = row.wires[min(number, len(row.wires) - 1)]
        return [wire[: len(wire) // 2], wire[len(wire) // 2 :]] if self._in_two else [wire]


def url_of(server: AnswerServer, number: int) -> str:
    return f"http://127.1.{number // 250}.{1 + number % 250}:{server.port}/x"


async def outcomes(backend: str, *, in_two: bool) -> dict[str, Outcome]:
    """What became of every row."""
    found: dict[str, Outcome] = {}
    with AnswerServer(Rows(in_two=in_two)) as server:
        items: list[dict[str, Any]] = [
            {
                "url": url_of(server, number),
                "method": row.method,
                **({"headers": row.headers} if row.headers else {}),
            }
            for number, row in enumerate(ANSWERS)
        ]
        titles = {url_of(server, number): row.title for number, row in enumerate(ANSWERS)}
        async with Fetcher(
            backend=backend, retries=1, retry_on="503", private_addresses="allow", concurrency=64
        ) as fetcher:
            async for result in fetcher.stream(items):
                found[titles[result.url]] = Outcome(
                    result.state,
                    result.status,
                    result.error,
                    result.attempts,
                    result.body if result.state == "done" else b"",
                    result.completeness,
                )
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "in-two"])
def in_two(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module", params=BACKENDS)
def found(request: pytest.FixtureRequest, in_two: bool) -> dict[str, Outcome]:
    return asyncio.run(outcomes(request.param, in_two=in_two))


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: row.title)
def test_an_answer_has_one_outcome(row: Answer, found: dict[str, Outcome]) -> None:
    assert found[row.title] == row.outcome


def test_the_table_names_each_answer_once() -> None:
    assert len({row.title for row in ANSWERS}) == len(ANSWERS) >= 120
