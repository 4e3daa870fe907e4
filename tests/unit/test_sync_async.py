"""From plain code into async code and back."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.documents import MYPY_CACHE
from support.fakeloop import run_virtually

import fetcher
from fetcher import async_or_sync, async_wrap
from fetcher.sync_async import iterate

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@async_or_sync
async def double(number: int, *, plus: int = 0) -> int:
    """Twice the number."""
    await asyncio.sleep(0)
    return 2 * number + plus


class Counter:
    """Its method is callable from both worlds."""

    def __init__(self) -> None:
        self.total = 0

    @async_or_sync
    async def add(self, number: int) -> int:
        """Add and return the total."""
        await asyncio.sleep(0)
        self.total += number
        return self.total


# -- async_or_sync -----------------------------------------------------------------------------------------


def test_in_plain_code_a_call_gives_the_result():
    assert double(4, plus=1) == 9


async def test_in_a_loop_a_call_gives_what_is_to_be_awaited():
    pending = double(4)
    assert asyncio.iscoroutine(pending)
    assert await pending == 8


async def test_it_decides_by_the_loop_of_this_thread_and_not_of_another():
    assert await asyncio.to_thread(double, 4) == 8


def test_both_ways_can_be_said_outright():
    assert double.sync(4) == 8
    assert asyncio.run(double.aio(4)) == 8


async def test_sync_under_a_running_loop_raises_and_names_await():
    with pytest.raises(RuntimeError, match=r"await double\(…\) instead of double\.sync"):
        double.sync(4)


async def test_a_method_under_a_running_loop_raises_with_its_own_name():
    with pytest.raises(RuntimeError, match=r"await add\("):
        Counter().add.sync(4)


async def test_methods_are_bound_in_both_worlds():
    counter = Counter()
    assert await counter.add(1) == 1
    assert await counter.add.aio(2) == 3
    assert await asyncio.to_thread(counter.add, 3) == 6
    assert await asyncio.to_thread(counter.add.sync, 4) == 10
    assert await Counter.add(counter, 5) == 15


def test_name_and_docstring_are_the_functions_own():
    assert (double.__name__, double.__doc__) == ("double", "Twice the number.")
    assert (Counter().add.__name__, Counter.add.__doc__) == ("add", "Add and return the total.")
    assert double.__module__ == __name__


def test_what_the_coroutine_raises_is_raised_as_it_is():
    @async_or_sync
    async def fails() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        fails()


def test_wrong_arguments_are_a_type_error_and_leave_no_coroutine():
    with pytest.raises(TypeError):
        double("a", "b", "c")  # type: ignore[call-arg,arg-type]
    gc.collect()  # a coroutine that was never awaited would warn, and warnings are errors


@pytest.mark.timeout(360)
def test_the_types_are_exact_for_both_ways(tmp_path):
    """Checked by mypy, and true when it runs."""
    code = """
import asyncio
from collections.abc import Coroutine
from typing import Any, assert_type
import fetcher

@fetcher.async_or_sync
async def double(number: int, *, plus: int = 0) -> int:
    return 2 * number + plus

class Counter:
    @fetcher.async_or_sync
    async def add(self, number: int) -> str:
        return "x" * number

@fetcher.async_wrap()
def size(text: str) -> int:
    return len(text)

async def main() -> None:
    pending = assert_type(double.aio(1), Coroutine[Any, Any, int])
    assert_type(await pending, int)
    assert_type(await Counter().add.aio(2), str)
    assert_type(await size("abc"), int)
    assert_type(await fetcher.fetch.aio("x:"), fetcher.Result)

assert_type(double.sync(1, plus=2), int)
assert_type(Counter().add.sync(2), str)
assert_type(fetcher.fetch_all.sync(["x:"]), list[fetcher.Result])
asyncio.run(main())
"""
    good = tmp_path / "good.py"
    good.write_text(code)
    bad = tmp_path / "bad.py"
    bad.write_text(
        code + '\ndouble.sync("1")\nCounter().add.sync(b"1")\nasyncio.run(double.aio(1, minus=2))\n'
    )
    found = mypy(good, bad)
    assert [line.partition(":")[0] for line in found] == ["bad.py"] * 3
    subprocess.run([sys.executable, str(good)], check=True, timeout=60)


def mypy(*files: Path) -> list[str]:
    """Check files strictly, as their users would; the errors found in them."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", MYPY_CACHE, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=files[0].parent,
        env={**os.environ, "MYPYPATH": str(Path(fetcher.__file__).parents[1])},
    )
    assert done.returncode in {0, 1}, done.stderr
    names = tuple(file.name for file in files)
    return [line for line in done.stdout.splitlines() if line.startswith(names) and "error:" in line]


def test_context_variables_are_seen_by_the_coroutine_and_its_changes_stay_there():
    seen = []

    @async_or_sync
    async def look() -> None:
        seen.append(WHO.get())
        WHO.set("the coroutine")

    WHO.set("the caller")
    look()
    assert seen == ["the caller"]
    assert WHO.get() == "the caller"


def test_a_call_leaves_no_task_thread_or_loop():
    cancelled = []

    @async_or_sync
    async def leaves_a_task() -> int:
        async def forever() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                cancelled.append(True)

        asyncio.get_running_loop().create_task(forever())
        await asyncio.to_thread(time.sleep, 0)
        return 1

    before = threading.active_count()
    assert leaves_a_task() == 1
    assert cancelled == [True]
    assert threading.active_count() == before
    gc.collect()


def test_no_signal_handler_is_installed():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    @async_or_sync
    async def look() -> None:
        seen.append(signal.getsignal(signal.SIGINT))

    look()
    assert seen == [before]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_keyboard_interrupt_cancels_the_work_and_is_raised():
    told = []

    @async_or_sync
    async def waits() -> None:
        asyncio.get_running_loop().call_later(0.01, _thread.interrupt_main)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
            await asyncio.sleep(0)  # there is time to clean up
            told.append("cleaned up")
            raise

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        waits()
    assert told == ["cancelled", "cleaned up"]
    assert time.monotonic() - begun < 30


async def test_cancelling_the_awaiting_task_is_told_to_the_work():
    told = []

    @async_or_sync
    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["cancelled"]


def test_plain_calls_work_in_many_threads_at_once():
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(double, range(50))) == [2 * n for n in range(50)]


# -- async_wrap -----------------------------------------------------------------------------------------------


async def test_a_blocking_function_runs_in_another_thread():
    wrapped = async_wrap()(threading.get_ident)
    assert await wrapped() != threading.get_ident()


async def test_it_runs_in_the_executor_that_was_given():
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as mine:
        wrapped = async_wrap(executor=mine)(lambda: threading.current_thread().name)
        assert (await wrapped()).startswith("mine")


async def test_arguments_results_and_errors_pass_through():
    @async_wrap()
    def divide(a: int, *, by: int) -> float:
        """One by the other."""
        return a / by

    assert await divide(6, by=4) == 1.5
    with pytest.raises(ZeroDivisionError):
        await divide(6, by=0)
    assert (divide.__name__, divide.__doc__) == ("divide", "One by the other.")


async def test_context_variables_are_seen_in_the_thread_as_they_are_at_the_call():
    @async_wrap()
    def look() -> str:
        seen = WHO.get()
        WHO.set("the thread")
        return seen

    WHO.set("the caller")
    pending = asyncio.ensure_future(look())
    assert await pending == "the caller"
    assert WHO.get() == "the caller"


async def test_a_cancelled_await_leaves_a_function_that_has_begun_to_its_end():
    begun, go, ended = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @async_wrap()
    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(20)
        ended.set()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended.is_set()
    go.set()
    assert await asyncio.to_thread(ended.wait, 20)


def test_the_two_are_each_others_reverse():
    @async_or_sync
    async def size_of(text: str) -> int:
        return await async_wrap()(len)(text)

    assert size_of("abc") == 3


# -- iterate ----------------------------------------------------------------------------------------------------


class Numbers:
    """Numbers as an async iterator that notes what happens to it."""

    def __init__(self, stop: int | None = None, *, error: Exception | None = None) -> None:
        self.asked = 0
        self.is_closed = False
        self.threads: set[str] = set()
        self._stop = stop
        self._error = error

    async def __call__(self) -> AsyncIterator[int]:
        try:
            while self._stop is None or self.asked < self._stop:
                self.asked += 1
                self.threads.add(threading.current_thread().name)
                await asyncio.sleep(0)
                yield self.asked
            if self._error is not None:
                raise self._error
        finally:
            await asyncio.sleep(0)
            self.is_closed = True


def assert_no_thread() -> None:
    assert [thread.name for thread in threading.enumerate() if thread.name == "fetcher-stream"] == []


def test_all_items_come_in_order_and_nothing_is_left():
    numbers = Numbers(1000)
    assert list(iterate(numbers)) == list(range(1, 1001))
    assert numbers.is_closed
    assert numbers.threads == {"fetcher-stream"}
    assert_no_thread()


def test_the_next_item_is_asked_for_only_when_this_one_is_done_with():
    numbers = Numbers(5)
    for number in iterate(numbers):
        assert numbers.asked == number


def test_leaving_the_loop_early_closes_the_iterator_and_ends_the_thread():
    numbers = Numbers()
    for number in iterate(numbers):
        if number == 3:
            break
    assert numbers.is_closed
    assert numbers.asked == 3
    assert_no_thread()


def test_an_error_in_the_loops_body_closes_the_iterator():
    numbers = Numbers()

    def use() -> None:
        for number in iterate(numbers):
            if number == 3:
                raise LookupError

    with pytest.raises(LookupError) as caught:
        use()
    del caught  # the traceback holds the frame, and that the iterator
    gc.collect()
    assert numbers.is_closed
    assert_no_thread()


def test_closing_it_outright_ends_the_thread():
    numbers = Numbers()
    iterator: Any = iterate(numbers)
    assert next(iterator) == 1
    iterator.close()
    assert numbers.is_closed
    assert_no_thread()


def test_one_that_was_never_begun_starts_no_thread():
    numbers = Numbers()
    iterator = iterate(numbers)
    assert_no_thread()
    del iterator
    gc.collect()
    assert numbers.asked == 0


def test_an_error_of_the_iterator_is_raised_in_the_loop():
    numbers = Numbers(2, error=LookupError("no more"))
    iterator = iterate(numbers)
    assert [next(iterator), next(iterator)] == [1, 2]
    with pytest.raises(LookupError, match="no more"):
        next(iterator)
    assert numbers.is_closed
    assert_no_thread()


async def test_under_a_running_loop_it_raises_and_names_async_for():
    with pytest.raises(RuntimeError, match="async for"):
        next(iter(iterate(Numbers())))


def test_under_a_virtual_loop_it_raises_too():
    async def main() -> None:
        with pytest.raises(RuntimeError, match="async for"):
            list(iterate(Numbers()))

    run_virtually(main())


def test_the_callers_context_variables_are_seen_by_the_iterator():
    async def look() -> AsyncIterator[str]:
        yield WHO.get()

    WHO.set("the caller")
    assert list(iterate(look)) == ["the caller"]


def test_a_keyboard_interrupt_while_waiting_for_an_item_ends_the_thread():
    told = []

    async def silent() -> AsyncIterator[int]:
        try:
            main = threading.main_thread().ident
            assert main is not None
            asyncio.get_running_loop().call_later(0.05, signal.pthread_kill, main, signal.SIGINT)
            await asyncio.sleep(60)
            yield 1
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for _ in iterate(silent):
            pass
    assert time.monotonic() - begun < 30
    assert told == ["cancelled"]
    assert_no_thread()


def test_several_iterate_at_once():
    first, second = iterate(Numbers(50)), iterate(Numbers(50))
    assert list(zip(first, second, strict=True)) == [(n, n) for n in range(1, 51)]
    assert_no_thread()


def test_a_program_that_ends_with_an_iterator_half_way_closes_it_and_does_not_hang():
    code = """
import asyncio
from fetcher.sync_async import iterate

async def numbers():
    try:
        while True:
            await asyncio.sleep(0)
            yield 1
    finally:
        await asyncio.sleep(0)
        print("closed", flush=True)

left = iterate(numbers)
print(next(left), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\nclosed\n", "")
