"""Claiming: the pool is kept filled with URLs of the frontier, as long as there may be more.

Invariant: a claim that gave nothing is not repeated until something is added, is settled, or gives back the
room of a host that was full; so an idle run asks the state nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from fetcher.engine.host_loads import HostLoads
from fetcher.engine.run_config import RunConfig
from fetcher.engine.run_context import RunContext
from fetcher.model import Job, Outcome, RequestOverrides
from fetcher.policy.checksums import ChecksumLists
from fetcher.ports import ExchangePool

CLAIM_AT_ONCE = 128  # a few milliseconds on the loop


class ClaimLoop:
    """Claims for one run. `on_idle` is called when a claim gave nothing, or nothing more fits.

    `lists` have checksums that what is claimed has to meet.
    """

    def __init__(
        self,
        config: RunConfig,
        context: RunContext,
        pool: ExchangePool,
        lists: ChecksumLists | None,
        *,
        on_idle: Callable[[], None],
    ) -> None:
        self._follows = config.follows
        self._context = context
        self._pool = pool
        self._lists = lists
        self._on_idle = on_idle
        self._loads = HostLoads(pool.per_host)
        self._may_have_more = True
        self._is_claiming = False
        self._wanted = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """True while the frontier may have more to give, or is being asked."""
        return self._may_have_more or self._is_claiming

    def want(self) -> None:
        """Claim, if there may be something to claim and room for it."""
        if self._may_have_more and self._pool.is_hungry:
            self._wanted.set()

    def more_may_come(self) -> None:
        """The frontier got something, or has it again."""
        self._may_have_more = True
        self.want()

    def give_back(self, jobs: Sequence[Job]) -> None:
        """Give back the places of jobs that are settled; `want` is to follow."""
        # Of a crawl: found links, a robots.txt that came; what was not to be had may be now.
        if self._loads.give_back(jobs) or self._follows:
            self._may_have_more = True

    async def run(self, *, at_once: bool) -> None:
        """Claim whenever that is wanted, for ever. `at_once`: something is pending."""
        frontier, clock, stop = self._context.frontier, self._context.clock, self._context.stop
        if at_once or self._follows:  # of a crawl only a claim tells that all is over
            self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._may_have_more and not stop.is_wanted:
                limit = min(self._pool.room, CLAIM_AT_ONCE)
                if limit <= 0:
                    break
                self._may_have_more = False  # unless something is added, settled, or got
                self._is_claiming = True
                jobs = await frontier.claim(limit, per_host=self._loads.cap, now=clock.utc())
                self._is_claiming = False
                if jobs:
                    self._may_have_more = True
                    self._start(jobs)
                    await asyncio.sleep(0)
            self._on_idle()

    def _start(self, jobs: list[Job]) -> None:
        """Hand claimed jobs to the pool; refused ones are settled at once."""
        self._loads.take(jobs)
        refused = [job for job in jobs if job.target is None or job.refusal is not None]
        for job in refused:
            self._refuse(job)
        if refused:
            jobs = [job for job in jobs if job.target is not None and job.refusal is None]
        if self._lists is not None:
            for job in jobs:
                _demand(job, self._lists)
        self._pool.submit(jobs)

    def _refuse(self, job: Job) -> None:
        slug, message = job.refusal or ("bad-url", "not a URL")
        record = self._context.unfetched(job, "refused", error=slug, message=message)
        self._context.outcomes.put(Outcome(job=job, record=record, links=() if self._follows else None))


def _demand(job: Job, lists: ChecksumLists) -> None:
    """Have a job meet what the lists say of its URL."""
    assert job.target is not None
    extra = job.overrides or RequestOverrides()
    if found := lists.of(job.target.url, extra.name):
        job.overrides = msgspec.structs.replace(extra, checksums=(*extra.checksums, *found))
