"""The library's verbs in both worlds: what they give, what they leave, and what they never do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop
from blockbuster import BlockingError, blockbuster_ctx
from support.faultserver import FaultServer
from support.scripted import Answer, Script, ScriptedBackend, fails, status
from yarl import URL

import fetcher
from fetcher import ConfigError, Fetcher, FetchFailed, Result, wiring
from fetcher.errors import ConnectionLost, DirectoryInUse

A = "http://a.example/"


class Scripted(Fetcher):
    """A Fetcher on a scripted backend."""

    def __init__(
        self, table: dict[str, Script] | None = None, *, default: Script | None = None, **given: Any
    ) -> None:
        super().__init__(**given)
        self.script = ScriptedBackend(table, default=default)

    async def __aenter__(self) -> Self:
        self._backend = self.script
        return self


async def all_of(stream: fetcher.Stream) -> list[Result]:
    return [result async for result in stream]


async def turns(number: int = 50) -> None:
    """Let the loop go on until nothing happens by itself."""
    for _ in range(number):
        await asyncio.sleep(0)


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fetcher")]


def sockets() -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return found


@pytest.fixture
def nothing_left(server: FaultServer) -> Iterator[None]:
    """After the test every connection has ended, on both sides, and no thread is ours."""
    before = sockets()
    yield
    assert server.wait(lambda it: all(hit.ended is not None for hit in it.log))
    assert server.wait(lambda _: sockets() <= before)
    assert our_threads() == []


def endless(server: FaultServer, pulled: list[int]) -> Iterator[str]:
    while True:
        pulled.append(1)
        yield server.url(f"/ok/{len(pulled)}")


# -- fetch ---------------------------------------------------------------------------------------------------


def test_fetch_in_plain_code_gives_a_result(server):
    result = fetcher.fetch(server.url("/ok/1?type=text/plain"))
    assert isinstance(result, Result)
    assert result.ok
    assert (result.status, result.state, len(result.body)) == (200, "done", 100)
    assert (result.bytes, result.content_type) == (100, "text/plain")
    assert result.headers["ETag"] == result.etag
    assert result.path is None
    assert our_threads() == []


async def test_fetch_in_a_loop_is_awaited(server):
    result = await fetcher.fetch(server.url("/echo"), header=["X-Mine: 1"])
    assert ["X-Mine", "1"] in result.json()["headers"]
    assert others() == set()


async def test_a_url_that_fails_is_a_result_and_not_an_exception(server):
    for url, error in [
        (server.url("/status/404"), "http-status"),
        (server.url("/reset"), "connection-lost"),
        ("http://127.0.0.1:9/", "connect-failed"),
        ("not a url", "bad-url"),
        ("ftp://a.example/", "bad-url"),
        ("", "bad-url"),
    ]:
        result = await fetcher.fetch(url, retries=0)
        assert (result.ok, result.error) == (False, error)
        with pytest.raises(FetchFailed) as caught:
            result.raise_for_error()
        assert caught.value.slug == error


async def test_the_body_of_a_failing_status_is_in_the_result(server):
    result = await fetcher.fetch(server.url("/status/418"))
    assert (result.state, result.status, result.text()) == ("failed", 418, "status 418\n")
    assert result.headers.get("content-length") == "11"


@pytest.mark.parametrize("path", ["/cut?at=10&of=100", "/bytes/3000", "/gzip/3000?cut=9"])
async def test_a_body_that_is_not_whole_is_not_given(server, path):
    result = await fetcher.fetch(server.url(path), retries=0, max_size=1000)
    assert result.error in {"connection-lost", "too-large", "bad-encoding"}
    assert result.body == b""


async def test_a_body_larger_than_64_mib_is_too_large_unless_more_is_allowed(server):
    assert Fetcher(max_size="1G").stream([])._settings.max_size == 1 << 30
    assert Fetcher().stream([])._settings.max_size == 64 << 20
    assert fetcher.stream([])._settings.max_size == 64 << 20
    assert Fetcher().settings.max_size is None


async def test_a_mapping_says_more_of_a_request(server):
    result = await fetcher.fetch(
        {"url": server.url("/echo"), "method": "POST", "body": "x=1", "headers": {"X-Mine": "1"}, "tag": 7}
    )
    seen = result.json()
    assert (seen["method"], seen["body"]) == ("POST", "x=1")
    assert result.meta == {"tag": 7}


async def test_cancelling_a_fetch_closes_its_connection(server, nothing_left):
    task = asyncio.create_task(fetcher.fetch(server.url("/hang")))
    while not server.log:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert others() == set()


async def test_a_timeout_around_a_fetch_ends_it(server, nothing_left):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await fetcher.fetch(server.url("/hang"))
    assert others() == set()


# -- fetch_all ---------------------------------------------------------------------------------------------------


def test_fetch_all_gives_a_list_in_the_order_of_the_input(server):
    urls = [server.url("/ok/slow?delay=0.1"), *[server.url(f"/ok/{n}") for n in range(20)]]
    results = fetcher.fetch_all(urls, concurrency=4)
    assert [result.url for result in results] == urls
    assert all(result.ok for result in results)


async def test_there_is_one_result_for_each_item_repeated_and_bad_ones_too(server):
    url = server.url("/ok/1")
    items = [url, "nonsense", url, {"url": url}, {}, URL(url), "", url, {"url": 5}]
    results = await fetcher.fetch_all(items)
    states = [result.state for result in results]
    assert states == ["done", "refused", "done", "done", "refused", "done", "refused", "done", "refused"]
    assert server.count("/ok/1") == 5
    assert [result.line for result in results] == list(range(1, 10))


async def test_the_order_is_the_inputs_whatever_lines_the_entries_have(server):
    entries = [fetcher.Entry(server.url(f"/ok/{line}"), line=line, source="mine") for line in (30, 10, 20)]
    results = await fetcher.fetch_all(entries)
    assert [(result.line, result.source) for result in results] == [(30, "mine"), (10, "mine"), (20, "mine")]


async def test_fetch_all_takes_an_asynchronous_iterable(server):
    async def urls() -> AsyncIterator[str]:
        for n in range(7):
            yield server.url(f"/ok/{n}")
            await asyncio.sleep(0)

    assert len(await fetcher.fetch_all(urls())) == 7


def test_fetch_all_of_nothing_is_an_empty_list():
    assert fetcher.fetch_all([]) == []


async def test_cancelling_fetch_all_abandons_everything(server, nothing_left):
    task = asyncio.create_task(fetcher.fetch_all([server.url(f"/hang?{n}") for n in range(5)]))
    while len(server.log) < 5:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert others() == set()


# -- misuse --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"concurency": 5}, "concurency"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "many"}, "concurrency"),
        ({"backend": "telepathy"}, "telepathy"),
        ({"retry_on": [99]}, "retry_on"),
        ({"http": "3"}, "HTTP/3"),
    ],
)
async def test_a_setting_that_cannot_be_used_raises(given, told):
    with pytest.raises(ConfigError, match=told):
        await fetcher.fetch(A, **given)
    with pytest.raises(ConfigError, match=told):
        async with Fetcher(**given):
            pass


def test_a_wrong_setting_raises_in_plain_code_before_anything_begins():
    with pytest.raises(ConfigError, match="concurency"):
        fetcher.stream([A], concurency=5)
    with pytest.raises(ConfigError, match="concurency"):
        fetcher.fetch_all([A], concurency=5)
    assert our_threads() == []


@pytest.mark.parametrize("item", [None, 5, b"http://a.example/", ["http://a.example/"]])
async def test_an_item_that_is_no_url_at_all_raises_type_error(item):
    async with Scripted() as f:
        with pytest.raises(TypeError, match="item 2"):
            await all_of(f.stream(iter([A, item])))
    assert others() == set()


def test_an_item_that_is_no_url_at_all_raises_in_plain_code_too():
    with pytest.raises(TypeError, match="item 1"):
        list(fetcher.stream([None]))
    assert our_threads() == []


@pytest.mark.parametrize("urls", [A, None, 5, b"x"])
async def test_a_single_url_is_not_a_list_of_urls(urls):
    with pytest.raises(TypeError, match="iterable"):
        await fetcher.fetch_all(urls)


async def test_what_the_callers_iterable_raises_is_raised_as_it_is(server):
    def broken() -> Iterator[str]:
        yield server.url("/ok/1")
        raise LookupError("the database is gone")

    with pytest.raises(LookupError, match="the database is gone"):
        await all_of(fetcher.stream(broken(), concurrency=1))
    assert others() == set()


async def test_a_fetcher_that_is_not_open_says_how_to_open_it():
    with pytest.raises(RuntimeError, match="async with"):
        await all_of(Fetcher().stream([A]))


async def test_a_fetcher_is_opened_once_at_a_time():
    f = Fetcher()
    async with f:
        with pytest.raises(RuntimeError, match="open already"):
            async with f:
                pass
    async with f:
        pass


async def test_plain_iteration_inside_a_loop_says_what_to_write():
    with pytest.raises(RuntimeError, match="async for"):
        next(iter(fetcher.stream([A])))


async def test_the_stream_of_a_fetcher_is_not_iterated_in_another_thread():
    async with Scripted() as f:
        with pytest.raises(RuntimeError, match="async for"):
            await asyncio.to_thread(list, f.stream([A]))


# -- how far ahead -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("concurrency", [1, 2, 3, 8, 16, 100])
async def test_an_iterable_is_pulled_at_most_twice_the_concurrency_ahead(concurrency, is_async):
    pulled = 0

    def urls() -> Iterator[str]:
        nonlocal pulled
        while True:
            pulled += 1
            yield f"{A}{pulled}"

    async def urls_in_time() -> AsyncIterator[str]:
        for url in urls():
            yield url

    taken = 0
    async with Scripted(concurrency=concurrency, per_host=concurrency) as f:
        async for _ in f.stream(urls_in_time() if is_async else urls()):
            taken += 1
            await turns()
            assert pulled - taken <= 2 * concurrency
            if taken == 4 * concurrency:
                break
        await turns()
        assert pulled - taken <= 2 * concurrency
        assert len(f.script.hits) <= pulled
    assert pulled > 4 * concurrency


def test_in_plain_code_too(server):
    pulled: list[int] = []
    most = 0
    for taken, _ in enumerate(fetcher.stream(endless(server, pulled), concurrency=4), 1):
        most = max(most, len(pulled) - taken)
        if taken == 40:
            break
    assert most <= 8


async def test_a_consumer_that_takes_nothing_stops_the_reading_for_good():
    pulled: list[int] = []

    def urls() -> Iterator[str]:
        while True:
            pulled.append(1)
            yield f"{A}{len(pulled)}"

    async with Scripted(concurrency=4) as f:
        results = aiter(f.stream(urls()))
        await anext(results)
        await turns()
        before = len(pulled), len(f.script.hits)
        await turns(500)
        assert (len(pulled), len(f.script.hits)) == before


async def test_results_come_as_they_end_and_not_in_order():
    table: dict[str, Script] = {A + "slow": Answer(header_s=0.05)}
    async with Scripted(table) as f:
        got = [result.url async for result in f.stream([A + "slow", A + "1", A + "2"])]
    assert got[-1] == A + "slow"


async def test_a_result_is_given_while_the_input_is_still_silent():
    async def urls() -> AsyncIterator[str]:
        yield A
        await asyncio.get_running_loop().create_future()

    async with asyncio.timeout(60), Scripted() as f:
        async for result in f.stream(urls()):
            assert result.url == A
            break


async def test_bodies_are_charged_until_the_next_result_is_asked_for(monkeypatch):
    monkeypatch.setattr(wiring, "BYTE_BUDGET", 100_000)
    async with Scripted(default=Answer(body=b"x" * 60_000), concurrency=1) as f:
        results = aiter(f.stream(f"{A}{n}" for n in range(6)))
        await anext(results)
        await turns()
        assert len(f.script.hits) == 2  # 120,000 bytes, more than the budget: nothing starts
        await anext(results)
        await turns()
        assert len(f.script.hits) == 3
        assert len([result async for result in results]) == 4


async def test_what_was_received_of_a_body_that_is_not_whole_is_charged_no_longer(monkeypatch):
    monkeypatch.setattr(wiring, "BYTE_BUDGET", 100_000)
    cut = Answer(body=[b"x" * 60_000, ConnectionLost("cut", phase="body")], length=99_999)
    async with Scripted(default=cut, concurrency=4, retries=0) as f:
        results = aiter(f.stream(f"{A}{n}" for n in range(8)))
        assert (await anext(results)).error == "connection-lost"
        await turns()
        assert len(f.script.hits) == 8
        assert len([result async for result in results]) == 7


# -- leaving early ---------------------------------------------------------------------------------------------------


async def test_breaking_out_of_an_async_for_leaves_nothing(server, nothing_left):
    pulled: list[int] = []
    async for result in fetcher.stream(endless(server, pulled), concurrency=8):
        assert result.ok
        break
    async with asyncio.timeout(60):
        while others():
            await asyncio.sleep(0)
    stopped_at = len(pulled)
    await turns()
    assert len(pulled) == stopped_at


async def test_closing_a_stream_outright_leaves_nothing_at_once(server, nothing_left):
    results: Any = aiter(fetcher.stream([server.url("/ok/1"), *[server.url(f"/hang?{n}") for n in range(5)]]))
    await anext(results)
    await results.aclose()
    assert others() == set()


def test_breaking_out_of_a_plain_for_leaves_nothing(server, nothing_left):
    pulled: list[int] = []
    for _ in fetcher.stream(endless(server, pulled), concurrency=8):
        break
    assert our_threads() == []
    stopped_at = len(pulled)
    gc.collect()
    assert len(pulled) == stopped_at


async def test_cancelling_the_consumer_leaves_nothing(server, nothing_left):
    urls = [server.url("/ok/1"), *[server.url(f"/hang?{n}") for n in range(5)]]
    task = asyncio.create_task(all_of(fetcher.stream(urls)))
    while len(server.log) < 6:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert others() == set()


async def test_a_cancellation_while_a_stream_is_closed_is_not_lost():
    class Clinging(ScriptedBackend):
        """Its exchanges take a while to be cancelled."""

        async def exchange(self, request: Any, body: Any) -> Any:
            try:
                return await super().exchange(request, body)
            except asyncio.CancelledError:
                await released.wait()
                raise

    released = asyncio.Event()
    reached = False

    async def consume(f: Fetcher) -> None:
        nonlocal reached
        results: Any = aiter(f.stream([A, A + "slow"]))
        await anext(results)
        closing.set()
        await results.aclose()
        reached = True

    closing = asyncio.Event()
    f = Scripted()
    f.script = Clinging({A + "slow": Answer(header_s=None)})
    async with f:
        task = asyncio.create_task(consume(f))
        await closing.wait()
        await turns()
        task.cancel()
        await turns()
        assert not task.done()  # it still waits for the exchange, so that nothing is left
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not reached
    assert others() == set()


async def test_an_error_in_the_loops_body_leaves_nothing(server, nothing_left):
    async def consume() -> None:
        async for _ in fetcher.stream([server.url("/ok/1"), server.url("/hang")]):
            raise LookupError

    with pytest.raises(LookupError):
        await consume()
    async with asyncio.timeout(60):
        while others():
            await asyncio.sleep(0)


async def test_closing_the_fetcher_ends_the_streams_that_others_read():
    async with Scripted({A: Answer(header_s=None)}) as f:
        task = asyncio.create_task(all_of(f.stream([A])))
        await turns()
        assert f.script.active == 1
    with pytest.raises(RuntimeError, match="closed"):
        await task
    assert not task.cancelled()
    assert f.script.is_closed
    assert others() == set()


async def test_a_stream_may_be_iterated_again_and_fetches_anew():
    async with Scripted() as f:
        stream = f.stream([A, A + "1"])
        for _ in range(2):
            assert len([result async for result in stream]) == 2
        assert len(f.script.hits) == 4


# -- side by side -------------------------------------------------------------------------------------------------------


async def test_two_streams_of_one_fetcher_run_side_by_side():
    async with Scripted(concurrency=4) as f:
        first, second = aiter(f.stream([A + "1", A + "2"])), aiter(f.stream([A + "3", A + "4"]))
        got = [(await anext(first)).url, (await anext(second)).url, (await anext(first)).url]
        got.append((await anext(second)).url)
        assert sorted(got) == [A + str(n) for n in (1, 2, 3, 4)]
        for stream in (first, second):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)


async def test_two_fetchers_in_one_process_have_their_own_settings():
    async with (
        Scripted(default=status(500), retries=0) as one,
        Scripted(default=status(500), retries=1) as two,
    ):
        a = [result async for result in one.stream([A])]
        b = [result async for result in two.stream([A])]
    assert (a[0].attempts, b[0].attempts) == (1, 2)


async def test_a_hundred_fetches_at_once_know_nothing_of_each_other(server):
    results = await asyncio.gather(*(fetcher.fetch(server.url(f"/ok/{n}")) for n in range(100)))
    assert Counter(result.url for result in results) == Counter(server.url(f"/ok/{n}") for n in range(100))
    assert others() == set()


def test_it_works_in_several_threads_at_once(server):
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for result in fetcher.stream([server.url(f"/ok/{number}/{n}") for n in range(10)]):
                assert result.ok
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert len(server.log) == 40


async def test_it_works_in_a_thread_beside_a_running_loop(server):
    results = await asyncio.to_thread(fetcher.fetch_all, [server.url(f"/ok/{n}") for n in range(5)])
    assert [result.ok for result in results] == [True] * 5


@pytest.mark.parametrize(
    "factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
)
def test_it_works_on_either_loop(server, factory):
    async def main() -> list[Result]:
        urls = [server.url(f"/ok/{n}") for n in range(50)] + [server.url("/once/503/k?retry-after=1")]
        results = await fetcher.fetch_all(urls, delay=0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await fetcher.fetch(server.url("/hang"))
        assert others() == set()
        return results

    with asyncio.Runner(loop_factory=factory) as runner:
        results = runner.run(main())
    assert Counter(result.state for result in results) == {"done": 51}
    assert results[-1].attempts == 2


def test_it_works_in_debug_mode_and_the_loop_reports_nothing(server, caplog):
    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 5.0  # a busy machine is not the matter here
        results = await fetcher.fetch_all([server.url(f"/ok/{n}") for n in range(30)])
        assert all(result.ok for result in results)
        async for _ in fetcher.stream([server.url("/ok/1"), server.url("/hang")]):
            break

    with asyncio.Runner(debug=True) as runner:
        runner.run(main())
    gc.collect()
    assert [
        record.getMessage() for record in caplog.records if record.name == "asyncio" and record.levelno > 20
    ] == []


async def test_the_loop_is_never_blocked(server):
    body = b"x" * 300_000
    async with Scripted(
        {A: Answer(body=body)}, default=fails(ConnectionLost("gone"), "header"), retries=0
    ) as f:
        with blockbuster_ctx() as blocking:
            blocking.functions["os.listdir"].can_block_in("fetcher/open_files.py", "number")  # of /proc
            with pytest.raises(BlockingError):
                Path("/etc/hostname").read_bytes()  # so it is on
            got = [result.state async for result in f.stream([A, A + "1", "nonsense"])]
    assert sorted(got) == ["done", "failed", "refused"]
    await fetcher.fetch(server.url("/ok/0"))  # imports are done
    with blockbuster_ctx() as blocking:
        blocking.functions["os.listdir"].can_block_in("fetcher/open_files.py", "number")
        results = await fetcher.fetch_all(
            [server.url("/bytes/300000"), server.url("/gzip/300000"), server.url("/status/404")]
        )
    assert [result.status for result in results] == [200, 200, 404]


# -- what it never does -------------------------------------------------------------------------------------------------


@pytest.mark.timeout(240)
def test_no_environment_file_signal_or_stream_is_touched(server, tmp_path):
    """Everything around the program tempts it: settings, proxies, netrc, a broken fetcher.toml."""
    (tmp_path / "fetcher.toml").write_text("this is no TOML\n")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    code = f"""
import asyncio, json, os, signal, sys, threading
import fetcher

handlers = {{number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}}
results = [fetcher.fetch({server.url("/echo")!r})]
results += list(fetcher.stream([{server.url("/echo")!r}]))

async def main():
    results.append(await fetcher.fetch({server.url("/echo")!r}))
    async with fetcher.Fetcher() as f:
        async for result in f.stream([{server.url("/echo")!r}]):
            results.append(result)

asyncio.run(main())
assert handlers == {{number: signal.getsignal(number) for number in handlers}}
assert [thread for thread in threading.enumerate() if not thread.daemon] == [threading.main_thread()]
assert all(result.ok for result in results), [result.message for result in results]
assert len(results) == 4
for result in results:
    names = {{name.lower() for name, _ in result.json()["headers"]}}
    assert "authorization" not in names, names
assert sorted(os.listdir()) == [".netrc", "fetcher.toml"]
"""
    dead = "http://127.0.0.1:9"
    environment = {
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(Path(fetcher.__file__).parents[1]),
        "FETCHER_CONCURRENCY": "not a number",
        "FETCHER_USER": "me:secret",
        **{f"{scheme}_proxy": dead for scheme in ("http", "https", "all")},
        **{f"{scheme}_PROXY": dead for scheme in ("HTTP", "HTTPS", "ALL")},
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert server.count("/echo") == 4


def test_a_program_that_ends_in_the_middle_of_a_stream_ends(server):
    code = f"""
import fetcher
results = iter(fetcher.stream([{server.url("/ok/1")!r}, {server.url("/hang")!r}]))
print(next(results).status, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("200\n", "", 0)


def test_an_interrupt_ends_a_plain_call_and_leaves_nothing(server, nothing_left):
    main = threading.main_thread().ident
    assert main is not None
    interrupted = threading.Thread(
        target=lambda: server.wait(lambda it: bool(it.log)) and signal.pthread_kill(main, signal.SIGINT)
    )
    interrupted.start()
    with pytest.raises(KeyboardInterrupt):
        fetcher.fetch(server.url("/hang"))
    interrupted.join()


# -- download ---------------------------------------------------------------------------------------------------------------


def test_download_in_plain_code_fills_a_run_directory(server, tmp_path):
    urls = [server.url(f"/ok/{n}") for n in range(5)]
    summary = Fetcher(name="{path}").download([*urls, server.url("/status/404"), urls[0]], tmp_path / "out")
    assert (summary.done, summary.failed, summary.duplicates) == (5, 1, 1)
    assert summary.errors == {"http-status": 1}
    assert not summary.ok
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert Counter(json.loads(line)["state"] for line in lines) == {"done": 5, "failed": 1}
    assert len((tmp_path / "out" / "ok" / "3").read_bytes()) == 100
    assert our_threads() == []


async def test_download_in_a_loop_is_awaited_and_continues(server, tmp_path):
    urls = [server.url(f"/ok/{n}") for n in range(5)]
    async with Fetcher() as f:
        first = await f.download(urls[:3], tmp_path / "out")
        second = await f.download(urls, tmp_path / "out")
    assert (first.done, second.done, second.earlier) == (3, 5, 3)
    assert len(server.log) == 5
    assert others() == set()


async def test_download_takes_one_url_and_a_directory_by_default(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with Fetcher() as f:
        summary = await f.download(server.url("/ok/1"))
    assert summary.done == 1
    assert (tmp_path / "downloads" / "results.jsonl").exists()


async def test_two_downloads_into_one_directory_at_once_are_refused(server, tmp_path):
    is_refused = threading.Event()

    async def held(x):
        while not is_refused.is_set():
            await x.pause(0.01)
        await x.answer(200, body=b"late")

    server.route("/held", held)
    async with Fetcher() as f:
        first = asyncio.create_task(f.download([server.url("/held")], tmp_path / "out"))
        while not server.log:
            await asyncio.sleep(0.001)
        with pytest.raises(DirectoryInUse):
            await f.download([server.url("/ok/2")], tmp_path / "out")
        is_refused.set()
        assert (await first).done == 1


async def test_a_cancelled_download_is_continued_by_the_same_call(server, tmp_path):
    urls = [server.url("/ok/1"), server.url("/slow?delay=30")]
    async with Fetcher() as f:
        task = asyncio.create_task(f.download(urls, tmp_path / "out"))
        while len(server.log) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        server.route("/slow", lambda x: x.answer(200, body=b"fast"))
        summary = await f.download(urls, tmp_path / "out")
    assert summary.done == 2
    assert list((tmp_path / "out" / ".fetcher" / "parts").iterdir()) == []
    assert our_threads() == []


async def test_closing_the_fetcher_ends_its_downloads(server, tmp_path):
    async with Fetcher() as f:
        task = asyncio.create_task(f.download([server.url("/hang")], tmp_path / "out"))
        while not server.log:
            await asyncio.sleep(0.001)
    with pytest.raises(RuntimeError, match="closed"):
        await task
    assert others() == set()
    assert server.wait(lambda it: all(hit.ended is not None for hit in it.log))
    assert our_threads() == []
    async with Fetcher() as f:  # its lock is free
        assert (await f.download([server.url("/ok/1")], tmp_path / "out2")).done == 1
