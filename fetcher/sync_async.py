"""Adapters between synchronous and asynchronous code, in both directions.

`async_or_sync` makes a coroutine function callable from both: inside a running loop a call gives an
awaitable, elsewhere it gives the result. `async_wrap` makes a blocking function awaitable, in an
executor. Context variables are carried over both ways. No signal handler is installed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import functools
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
S = TypeVar("S")
C = TypeVar("C")  # what a call gives, for type checkers


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class AsyncOrSync(Generic[P, T, C]):
    """A coroutine function that both worlds may call. See `async_or_sync`."""

    def __init__(self, function: Callable[P, Coroutine[Any, Any, T]]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Return a coroutine where a loop runs in this thread, else the result.

        No type is both: where `C` is `Any`, `aio` and `sync` are exactly typed.
        """
        given: Any = self._function(*args, **kwargs) if _is_in_loop() else self.sync(*args, **kwargs)
        return given  # type: ignore[no-any-return]

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Return the coroutine, to be awaited. Cancelling it cancels the work."""
        return self._function(*args, **kwargs)

    def sync(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The result, on a loop of this call's own. `KeyboardInterrupt` cancels the work and is raised.

        Raises:
            RuntimeError: a loop is running in this thread: await `aio` instead.
        """
        if _is_in_loop():
            name = getattr(self._function, "__name__", "it")
            raise RuntimeError(f"a loop is running in this thread: await {name}(…) instead of {name}.sync(…)")
        return run_to_end(self._function(*args, **kwargs))

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> AsyncOrSync[P, T, C]: ...
    @overload
    def __get__(
        self: AsyncOrSync[Concatenate[S, Q], T, C], instance: S, owner: type[S]
    ) -> AsyncOrSync[Q, T, C]: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        """Bound as a method is."""
        if instance is None:
            return self
        bound = functools.partial(self._function, instance)
        functools.update_wrapper(bound, self._function)
        return AsyncOrSync(bound)


def async_or_sync(function: Callable[P, Coroutine[Any, Any, T]]) -> AsyncOrSync[P, T, Any]:
    """Make a coroutine function callable from async code and from plain code.

    Called, it decides by the running loop of this thread, before the call: inside a loop (a coroutine, a
    notebook's cell) it returns the coroutine to be awaited; elsewhere it runs it to its end and returns
    the result. `.aio(…)` and `.sync(…)` say it outright.
    """
    return AsyncOrSync(function)


def async_wrap(
    executor: Executor | None = None,
) -> Callable[[Callable[P, T]], Callable[P, Coroutine[Any, Any, T]]]:
    """Make a blocking function awaitable: it runs in `executor`, or in the loop's own.

    Context variables are seen by the function as they are when it is awaited. Cancelling the await does not
    stop a function that has begun: its thread goes on to its end, and the result is lost.

    >>> import hashlib
    >>> digest = async_wrap()(hashlib.sha256)
    """

    def wrap(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            context = contextvars.copy_context()
            work = functools.partial(context.run, function, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(executor, work)

        return call

    return wrap


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new loop in this thread, in a copy of its context, and clean up after it.

    `asyncio.run` would do, but installs a handler for SIGINT, which is the program's and not ours.
    """
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(work, context=contextvars.copy_context())
        try:
            return loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    loop.run_until_complete(task)
            raise
    finally:
        _close(loop)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left on a loop, as `asyncio.run` does, and close it."""
    try:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


class _End:
    """The last thing in the queue: the end, or the error that ended it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def iterate(make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """Yield an async iterator as a plain one: its loop runs in a thread of its own, also between items.

    `make` is called in that thread. The next item is asked for when this one is done with. Leaving the
    loop early closes the iterator and ends the thread; so does the end of the program.
    """
    if _is_in_loop():
        raise RuntimeError("a loop is running in this thread: use 'async for' instead of 'for'")
    items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    wanted = asyncio.Event()

    async def pump() -> None:
        iterator = make()
        try:
            while True:
                await wanted.wait()
                wanted.clear()
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    items.put(_End())
                    return
                items.put(item)
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None:
                await close()

    task: asyncio.Task[None]

    def drive() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            items.put(_End())
        except BaseException as error:  # noqa: BLE001  (carried to the thread that waits for it)
            items.put(_End(error))
        finally:
            _close(loop)

    def stop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(task.cancel)
        thread.join()

    task = loop.create_task(pump(), context=contextvars.copy_context())
    # Not a daemon, it would keep a program from ending that holds an iterator half way; only a daemon, it
    # could never end once the interpreter does.
    thread = threading.Thread(target=drive, name="fetcher-stream", daemon=True)
    atexit.register(stop)
    thread.start()
    try:
        while True:
            loop.call_soon_threadsafe(wanted.set)
            item = items.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        atexit.unregister(stop)
        stop()
