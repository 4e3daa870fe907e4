"""One URL on its way: the job, and where its chain of hops has got to."""

from __future__ import annotations

import msgspec

from fetcher.model import Job, Target, Wait
from fetcher.policy.cookies import ChainCookies

LONG_WAIT_S = 1.0  # a wait in a queue is told from here on


class Fetch(msgspec.Struct, kw_only=True):
    """The state of one claimed job. `host` is that of the current hop, `queued_at` the loop's time.

    `attempts` counts exchanges that ended a try, `excused` those of them that cost no retry.
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
    excused: int = 0
    plain: bool = False  # asked without conditions, whatever the state knows
    is_conditional: bool = False
    allow_private: bool = True
    redirects: list[str] | None = None
    seen: list[str] | None = None
    cookies: ChainCookies | None = None
    history: tuple[Wait, ...] = ()

    def begin(self, now: float, utc: float, reason: str) -> None:
        """A slot is there: account for the time in queues."""
        waited = now - self.queued_at
        if waited > 0:
            self.waited_s += waited
            if waited > LONG_WAIT_S:
                self.history += (Wait(reason or "concurrency", round(waited, 3), self.attempts),)
        if not self.started_utc:
            self.started_utc = utc


def begin_fetch(job: Job) -> Fetch:
    """The first hop of a claimed job, with what earlier sessions have spent of its budget."""
    assert job.target is not None
    extra = job.extra
    if extra is None and not job.attempts:
        return Fetch(job=job, target=job.target, allow_private=job.is_named)
    # A wait in the queue of a host that was held has the same reason, but no error: it was no attempt.
    excused = sum(1 for wait in job.history if wait.reason == "retry-after" and wait.error is not None)
    return Fetch(
        job=job,
        target=job.target,
        method=(extra and extra.method) or "GET",
        body=extra.body if extra else None,
        allow_private=job.is_named,
        attempts=job.attempts,
        excused=excused,
        history=job.history,
    )
