"""The lane: one blocking call at a time, on the loop or in a thread."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fetcher.serial_executor import SerialExecutor

LOOP_THREAD = threading.main_thread().name


class Clock:
    """Seconds that a test moves on: `fn` of a lane takes as long as it says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited = 0

    def waits(self) -> int:
        return self.waited

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: float) -> Callable[[], str]:
        """A function that takes `seconds` and returns the name of the thread it ran in."""

        def fn() -> str:
            self.now += seconds
            self.waited += 1
            return threading.current_thread().name

        return fn

    def busy_for(self, seconds: float) -> Callable[[], str]:
        """The same, of a function that never waits."""

        def fn() -> str:
            self.now += seconds
            return threading.current_thread().name

        return fn


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def settled_inline(clock: Clock) -> SerialExecutor:
    lane = SerialExecutor("lane", clock=clock, waits=clock.waits)
    await until_inline(lane, clock.taking(0))
    return lane


async def thread_of(lane: SerialExecutor, fn: Callable[[], object]) -> str:
    """The thread in which the lane runs `fn`."""

    def told() -> str:
        fn()
        return threading.current_thread().name

    return await lane.run(told)


async def until_inline(lane: SerialExecutor, fn: Callable[[], object]) -> None:
    while await thread_of(lane, fn) != LOOP_THREAD:
        pass


async def test_the_first_calls_go_to_the_lanes_thread_and_quick_ones_then_to_the_loop(clock: Clock) -> None:
    lane = SerialExecutor("own-thread", clock=clock, waits=clock.waits)
    ran_in = [await lane.run(clock.taking(0.001)) for _ in range(6)]
    assert ran_in[0].startswith("own-thread")
    assert ran_in[-1] == LOOP_THREAD
    await lane.aclose()


async def test_a_call_that_was_long_but_waited_for_nothing_stays_on_the_loop(clock: Clock) -> None:
    lane = await settled_inline(clock)
    ran_in = {await lane.run(clock.busy_for(0.05)) for _ in range(20)}
    assert ran_in == {LOOP_THREAD}


async def test_where_waits_are_not_counted_a_long_call_goes_to_the_thread(clock: Clock) -> None:
    lane = SerialExecutor("lane", clock=clock, waits=lambda: 0)
    await until_inline(lane, clock.busy_for(0))
    await lane.run(clock.busy_for(0.05))
    assert await thread_of(lane, lambda: None) != LOOP_THREAD
    await lane.aclose()


async def test_what_waits_for_a_pipe_or_a_disk_is_seen_as_waiting() -> None:
    lane = SerialExecutor("lane", quick_s=0.001)
    await until_inline(lane, lambda: None)
    for _ in range(8):
        await lane.run(lambda: time.sleep(0.01))
    assert await thread_of(lane, lambda: None) != LOOP_THREAD
    await lane.aclose()


async def test_a_slow_call_sends_the_next_ones_to_the_thread_and_the_loop_is_tried_again_later(
    clock: Clock,
) -> None:
    lane = await settled_inline(clock)
    assert await lane.run(clock.taking(0.02)) == LOOP_THREAD
    ran_in = [await lane.run(clock.taking(0.005)) for _ in range(201)]
    assert set(ran_in[:200]).isdisjoint({LOOP_THREAD})
    assert ran_in[200] == LOOP_THREAD
    await lane.aclose()


async def test_a_call_now_and_then_that_is_a_little_slow_leaves_the_lane_on_the_loop(clock: Clock) -> None:
    lane = await settled_inline(clock)
    ran_in = {await lane.run(clock.taking(0.006 if n % 4 == 0 else 0.001)) for n in range(100)}
    assert ran_in == {LOOP_THREAD}
    await lane.aclose()


async def test_calls_that_are_a_little_slow_every_time_send_the_next_ones_to_the_thread(clock: Clock) -> None:
    lane = await settled_inline(clock)
    ran_in = [await lane.run(clock.taking(0.006)) for _ in range(20)]
    assert ran_in[0] == LOOP_THREAD
    assert ran_in[-1] != LOOP_THREAD
    await lane.aclose()


async def test_a_failing_slow_call_counts_as_slow(clock: Clock) -> None:
    lane = await settled_inline(clock)

    def fn() -> None:
        clock.taking(1)()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await lane.run(fn)
    assert await thread_of(lane, lambda: None) != LOOP_THREAD
    await lane.aclose()


async def test_calls_plainly_slow_in_the_thread_keep_it_there(clock: Clock) -> None:
    lane = SerialExecutor("lane", clock=clock, waits=clock.waits)
    ran_in = {await lane.run(clock.taking(0.2)) for _ in range(300)}
    assert LOOP_THREAD not in ran_in
    await lane.aclose()


async def test_what_is_called_slow_goes_to_the_thread_and_changes_nothing(clock: Clock) -> None:
    lane = await settled_inline(clock)
    assert await lane.run(clock.taking(9), is_slow=True) != LOOP_THREAD
    assert await thread_of(lane, lambda: None) == LOOP_THREAD
    await lane.aclose()


@pytest.mark.parametrize("is_slow", [False, True])
async def test_exceptions_pass_through_and_the_lane_goes_on(clock: Clock, is_slow: bool) -> None:
    lane = await settled_inline(clock)
    with pytest.raises(KeyError):
        await lane.run(lambda: {}["missing"], is_slow=is_slow)
    assert await lane.run(lambda: 7, is_slow=is_slow) == 7
    await lane.aclose()


@pytest.fixture
def gate() -> Iterator[tuple[threading.Event, threading.Event, Callable[[], str]]]:
    """A function that says that it has begun and ends when told."""
    begun, may_end = threading.Event(), threading.Event()

    def fn() -> str:
        begun.set()
        assert may_end.wait(10)
        return "gate"

    yield begun, may_end, fn
    may_end.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def test_calls_run_one_at_a_time_in_the_order_they_came(gate, clock: Clock) -> None:
    begun, may_end, fn = gate
    lane = await settled_inline(clock)
    order: list[int] = []
    first = asyncio.create_task(lane.run(fn, is_slow=True))
    await until(begun.is_set)
    others = [
        asyncio.create_task(lane.run(lambda i=i: order.append(i), is_slow=i % 2 == 0)) for i in range(6)
    ]
    for _ in range(20):
        await asyncio.sleep(0)
    assert order == []
    may_end.set()
    await asyncio.gather(first, *others)
    assert order == list(range(6))
    await lane.aclose()


async def test_cancelling_a_caller_lets_no_second_call_run_beside_the_first(gate, clock: Clock) -> None:
    begun, may_end, fn = gate
    lane = await settled_inline(clock)
    beside: list[bool] = []
    first = asyncio.create_task(lane.run(fn, is_slow=True))
    await until(begun.is_set)
    second = asyncio.create_task(lane.run(lambda: beside.append(not may_end.is_set())))
    for _ in range(20):
        first.cancel()
        await asyncio.sleep(0)
    assert not first.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert beside == [False]
    await lane.aclose()


def test_a_cancelled_call_that_fails_leaves_no_lost_exception(gate) -> None:
    begun, may_end, fn = gate
    reported: list[object] = []

    def failing() -> None:
        fn()
        raise OSError("disk")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        lane = SerialExecutor("lane")
        task = asyncio.create_task(lane.run(failing, is_slow=True))
        await until(begun.is_set)
        task.cancel()
        await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await lane.aclose()

    asyncio.run(main())
    gc.collect()  # a lost exception is reported when its future goes
    assert reported == []


async def test_a_call_cancelled_while_it_waits_never_runs(gate, clock: Clock) -> None:
    begun, may_end, fn = gate
    lane = await settled_inline(clock)
    ran: list[int] = []
    first = asyncio.create_task(lane.run(fn, is_slow=True))
    await until(begun.is_set)
    second = asyncio.create_task(lane.run(lambda: ran.append(2)))
    await asyncio.sleep(0)
    second.cancel()
    may_end.set()
    assert await first == "gate"
    with pytest.raises(asyncio.CancelledError):
        await second
    assert ran == []
    assert await lane.run(clock.taking(0)) == LOOP_THREAD
    await lane.aclose()


async def test_closing_waits_for_the_call_and_ends_the_thread(gate, clock: Clock) -> None:
    begun, may_end, fn = gate
    lane = SerialExecutor("lane-that-closes", clock=clock, waits=clock.waits)
    call = asyncio.create_task(lane.run(fn))
    await until(begun.is_set)
    closing = asyncio.create_task(lane.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    may_end.set()
    await asyncio.gather(call, closing)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane-that-closes")]
