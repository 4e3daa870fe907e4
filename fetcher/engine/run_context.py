"""The parts of a run that all its stages share: adapters, events, counters, outcome queue, stop request.

They are made first and know nobody. Then come, each made with what stands before it: the pool that performs
exchanges (`TaskPool` with `Slots`, `ParseStage` and `EngineState`, or the supervisor of worker processes),
and the `Run` with its `Settler` and `InputPump`. Jobs go down from run to pool; outcomes come back through
the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fetcher.engine.event_bus import EventBus
from fetcher.engine.outcome_queue import BATCH_DELAY_S, OutcomeQueue
from fetcher.engine.record_builder import RecordBuilder
from fetcher.engine.room import DiskRoom
from fetcher.engine.run_stats import RunStats
from fetcher.engine.stop_request import StopRequest
from fetcher.model import FinalState, Job, Outcome, Record
from fetcher.ports import Clock, Frontier, Observer, Store


class RunContext:
    """The shared parts of one run. `room` is the disk's, for what the store writes; `review` the queue's."""

    def __init__(
        self,
        *,
        frontier: Frontier,
        store: Store,
        clock: Clock,
        recorder: RecordBuilder,
        observers: Sequence[Observer] = (),
        room: DiskRoom | None = None,
        review: Callable[[Outcome], bool] | None = None,
    ) -> None:
        self.frontier = frontier
        self.store = store
        self.clock = clock
        self.recorder = recorder
        self.room = room
        self.events = EventBus(observers)
        self.stats = RunStats()
        self.stop = StopRequest()
        delay_s = BATCH_DELAY_S if frontier.is_durable else 0.0
        self.outcomes = OutcomeQueue(self.stats, batch_delay_s=delay_s, review=review)

    def unfetched(self, job: Job, state: FinalState, *, error: str, message: str) -> Record:
        """Make the record of a job that ends now, without an exchange of its own."""
        return self.recorder.unfetched(job, state, self.clock.utc(), error=error, message=message)
