"""A store that keeps exchanges gets all that an archive needs; one that does not costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import pytest
from support.fakeloop import in_virtual_time
from support.scripted import Answer, fails, redirect, status
from support.stage import Stage

from fetcher import wiring
from fetcher.errors import ConnectFailed, StorageError
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.model import Exchange, Outcome
from fetcher.settings import make
from fetcher.sources.iterables import IterableSource

A = "http://a.example/"


class Archive:
    """A store that writes down every exchange: when its outcome came, what was asked, what came of it."""

    keeps_files = False
    keeps_exchanges = True

    def __init__(self) -> None:
        self.kept: list[tuple[Outcome, Exchange]] = []
        self.bodies: dict[str, bytes] = {}

    async def put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        for outcome in batch:
            self.kept += [(outcome, exchange) for exchange in outcome.exchanges]
            if outcome.body is not None:
                self.bodies[outcome.exchanges[-1].request.url] = outcome.body.data()
        return [None] * len(batch)

    def existing(self, paths: Collection[str]) -> Collection[str]:
        return ()

    def has_file(self, path: str, length: int) -> bool:
        return False

    async def aclose(self) -> None:
        pass

    def told(self) -> list[tuple[str, int | None, str | None]]:
        """Of each exchange its URL, its status, and the slug of its error."""
        return [
            (
                one.request.url,
                None if one.response is None else one.response.status,
                None if one.error is None else one.error.slug,
            )
            for _, one in self.kept
        ]


@in_virtual_time
async def test_every_hop_and_failure_reaches_a_store_that_keeps_exchanges_in_order() -> None:
    lost = ConnectFailed("refused")
    archive = Archive()
    stage = Stage(
        {
            A: [fails(lost), status(503), redirect("/next")],
            A + "next": Answer(body=b"the page", headers=[("X-One", "1"), ("X-One", "2")]),
        },
        store=archive,
        user="me:secret",
    )
    await stage.run([A])
    assert archive.told() == [
        (A, None, "connect-failed"),
        (A, 503, None),
        (A, 302, None),
        (A + "next", 200, None),
    ]
    assert [outcome.deferral is not None for outcome, _ in archive.kept] == [True, True, False, False]
    assert {outcome.job.id for outcome, _ in archive.kept} == {1}
    last = archive.kept[-1][1]
    assert last.response is not None
    assert list(last.response.headers.raw) == [(b"X-One", b"1"), (b"X-One", b"2")]
    assert dict(last.request.headers)["User-Agent"].startswith("fetcher/")
    assert archive.bodies == {A + "next": b"the page"}
    starts = [one.started_at for _, one in archive.kept]
    assert starts == sorted(starts)
    assert starts[0] < starts[1] < starts[2]


@in_virtual_time
async def test_the_page_of_an_error_is_kept_with_its_exchange() -> None:
    archive = Archive()
    stage = Stage({A: Answer(status=404, body=b"no such page")}, store=archive)
    summary = await stage.run([A])
    assert summary.failed == 1
    assert archive.told() == [(A, 404, None)]
    assert archive.bodies == {A: b"no such page"}


@in_virtual_time
async def test_what_is_refused_before_anything_is_sent_has_no_exchange() -> None:
    archive = Archive()
    await Stage({A: redirect("http://127.0.0.1:1/")}, store=archive, private_addresses="deny").run(["x:y", A])
    assert ("x:y", None, None) not in archive.told()
    assert archive.told()[0] == (A, 302, None)


@in_virtual_time
async def test_an_error_of_the_store_fails_the_url_and_leaves_deferrals_alone() -> None:
    class Broken(Archive):
        async def put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
            await super().put(batch)
            return [StorageError("no record of this size", systemic=False) for _ in batch]

    stage = Stage({A: [status(503), Answer(body=b"x")]}, store=Broken())
    summary = await stage.run([A])
    assert (summary.failed, stage.states()) == (1, {A: "storage-failed"})
    assert "no record of this size" in stage.notices()


@in_virtual_time
async def test_a_store_that_keeps_none_is_given_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: Any, **__: Any) -> None:
        raise AssertionError("an exchange was made for nobody")

    monkeypatch.setattr("fetcher.engine.fetch_task.Exchange", made)
    summary = await Stage({A: redirect("/next")}).run([A])
    assert summary.done == 1


@pytest.mark.parametrize("backend", ["asyncio", "threads", "curl"])
async def test_an_archive_sees_the_status_line_and_fields_as_they_came(backend: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 Very well\r\nX-Odd: 1\r\nx-odd: \xe9\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    archive = Archive()
    exchanging = wiring.make_backend(make({"backend": backend}))
    run = wiring.make_local_run(make({"backend": backend}), exchanging, MemoryFrontier(), archive)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            await run.run([IterableSource([url], batch=1)])
        finally:
            await exchanging.aclose()
    ((_, exchange),) = archive.kept
    response = exchange.response
    assert response is not None
    assert (response.http_version, response.status, response.reason) == ("1.1", 200, "Very well")
    assert list(response.headers.raw) == [
        (b"X-Odd", b"1"),
        (b"x-odd", b"\xe9"),
        (b"Content-Length", b"2"),
    ]
    assert archive.bodies == {url: b"ok"}
