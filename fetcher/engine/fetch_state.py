"""The state of one URL on its way: the job, and where its chain of hops has got to."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fetcher.engine.body import Body
from fetcher.model import Exchange, Job, Outcome, Part, Record, Target, Wait
from fetcher.policy.cookies import RedirectCookies
from fetcher.timings import CAUSES

_TOLD = frozenset({"backoff", "retry-after"})
MOST_CONTENT = 65_536  # bytes that are kept, for an archive, of an answer that is not the last
LONG_WAIT_S = 1.0  # a wait in a queue is told from here on
RESUME = "resume"  # the reason of a wait after an attempt that brought the body on: it begins the count anew


class FetchState(msgspec.Struct, kw_only=True):
    """The state of one claimed job. `host` is that of the current hop, `queued_at` the loop's time.

    `attempts` counts exchanges that ended a try, `free_attempts` those of them that cost no retry.

    `queue_s` is what the hop under way has waited, by `cause` (and for settling) or by `waits`; the scheduler
    measures it by the marks. `timings` are the exchanges since the last outcome, packed, where they are kept.
    """

    job: Job
    target: Target
    method: str = "GET"
    body: bytes | None = None
    queued_at: float = 0.0
    started_utc: float = 0.0
    elapsed_s: float = 0.0
    waited_s: float = 0.0
    attempts: int = 0
    free_attempts: int = 0
    is_unconditional: bool = False  # asked without conditions, whatever the state knows
    is_conditional: bool = False
    asks_rest: bool = False  # of `part`, in the hop under way
    allow_private: bool = True
    redirects: list[str] | None = None
    seen: list[str] | None = None
    cookies: RedirectCookies | None = None
    history: tuple[Wait, ...] = ()
    exchanges: tuple[Exchange, ...] = ()  # since the last outcome, where the store keeps them
    part: Part | None = None  # what earlier attempts have left of the body
    cause: int = 0  # in `timings.CAUSES`
    queue_s: float = 0.0
    waits: dict[str, float] | None = None
    run_mark: Mapping[str, float] | None = None
    settling_s: float = 0.0  # of `queue_s`; while it is queued, a mark
    host_mark: Mapping[str, float] | None = None
    deferred_for: str = ""
    deferred_s: float = 0.0
    held_s: float = 0.0  # before it was queued
    timings: bytes = b""
    furthest: int = 0  # the bytes held after the attempt that came furthest; less begins no new count
    mirror: int = 0  # how many of the job's mirrors were turned to
    is_check: bool = False  # only asked whether it is there: by HEAD, or else by GET without its body
    is_unmixed: bool = False  # pieces of its body were wrong: each mirror is asked by itself
    is_unsplit: bool = False  # its server contradicted itself: its body comes over one connection

    def begin(self, utc: float) -> None:
        """Account for the time in queues, as a slot is there. A wait after an attempt was told with that."""
        waited = self.queue_s
        if waited > 0:
            self.waited_s += waited
            if waited > LONG_WAIT_S:
                self.history += tuple(
                    Wait(cause, round(seconds, 3), self.attempts)
                    for cause, seconds in self.waits_by_cause().items()
                    if seconds > LONG_WAIT_S and not (self.attempts and cause in _TOLD)
                )
        if not self.started_utc:
            self.started_utc = utc

    def waits_by_cause(self) -> dict[str, float]:
        """Return what the hop under way has waited for."""
        if self.waits is not None:
            return self.waits
        waits = {CAUSES[self.cause]: self.queue_s - self.settling_s}
        if self.settling_s:
            waits["settling"] = self.settling_s
        return waits

    def keep_content(self, body: Body) -> None:
        """Keep with the last exchange what its answer held, where any are kept: the body is let go of."""
        if not self.exchanges or not body.is_wanted:
            return
        wire = body.wire or body
        content = wire.data() or b""
        last = msgspec.structs.replace(
            self.exchanges[-1],
            content=content[:MOST_CONTENT],
            is_cut=body.is_cut or wire.is_cut or len(content) > MOST_CONTENT,
        )
        self.exchanges = (*self.exchanges[:-1], last)

    def outcome(self, record: Record | None = None) -> Outcome:
        """Make the outcome that this comes to, with what its exchanges have left."""
        return Outcome(
            job=self.job,
            record=record,
            history=self.history,
            exchanges=self.exchanges,
            timings=self.timings,
        )


def begin_fetch(job: Job, *, is_check: bool = False) -> FetchState:
    """The first hop of a claimed job, with what earlier sessions have spent of its budget."""
    assert job.target is not None
    extra, part = job.overrides, job.part
    furthest = 0 if part is None else part.held
    if extra is None and not job.attempts:
        return FetchState(
            job=job,
            target=job.target,
            method="HEAD" if is_check else "GET",
            is_check=is_check,
            allow_private=job.is_user_host,
            part=part,
            furthest=furthest,
            held_s=job.held_s,
        )
    excused = 0
    for wait in job.history:
        if wait.reason == RESUME:
            excused = wait.attempt
        elif wait.reason == "retry-after" and wait.error is not None:
            # In the queue of a host that was held it has no error: that was no attempt.
            excused += 1
    return FetchState(
        job=job,
        target=job.target,
        method=(extra and extra.method) or ("HEAD" if is_check else "GET"),
        is_check=is_check,
        body=extra.body if extra else None,
        allow_private=job.is_user_host,
        attempts=job.attempts,
        free_attempts=excused,
        history=job.history,
        held_s=job.held_s,
        part=part,
        furthest=furthest,
    )
