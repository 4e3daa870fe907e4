"""The parts that the tasks of one pool share, and the policies that they work by."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from fetcher.engine.body_options import BodyOptions
from fetcher.engine.body_split import BodySplit
from fetcher.engine.fetch_state import FetchState
from fetcher.engine.parse_stage import ParseStage
from fetcher.engine.run_context import RunContext
from fetcher.engine.sleep_watch import SleepWatch
from fetcher.engine.slots import Slots
from fetcher.model import Headers, Kind, Outcome, Part
from fetcher.policy.cookies import Jar
from fetcher.policy.credentials import Credentials
from fetcher.policy.proxies import ProxyRules
from fetcher.policy.retry import RetryPolicy
from fetcher.policy.throttle import HostThrottle
from fetcher.ports import Backend


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """The decisions that a run works by. `throttle_of` makes the throttle of a host first met."""

    retry: RetryPolicy
    credentials: Credentials
    proxies: ProxyRules
    throttle_of: Callable[[str], HostThrottle]
    jar: Jar
    private_addresses: str = "seeds"
    max_redirects: int = 10
    server_names: bool = False
    extension: bool = False
    rate: float | None = None
    link_check: bool = False
    has_links: Callable[[Headers], bool] | None = (
        None  # of a link check: by the head, is a page worth reading
    )


class EngineState:
    """The run's shared parts as a task that performs exchanges uses them.

    `follows` says that links are followed, and redirects as such. `transfer` sends the next hop of a chain
    elsewhere and says so (True), or leaves it here. `left` has, by job, what abandoned exchanges left of
    bodies; `splits` are the bodies that several connections fill. `hashes_late` lets them be hashed
    by the store.
    """

    def __init__(
        self,
        context: RunContext,
        backend: Backend,
        policies: Policies,
        body_options: BodyOptions,
        slots: Slots,
        parse_stage: ParseStage | None,
        *,
        follows: bool,
        transfer: Callable[[FetchState], bool] | None,
    ) -> None:
        self.frontier = context.frontier
        self.store = context.store
        self.clock = context.clock
        self.recorder = context.recorder
        self.events = context.events
        self.stats = context.stats
        self.backend = backend
        self.policies = policies
        self.body_options = body_options
        self.slots = slots
        self.scheduler = slots.scheduler
        self.parse_stage = parse_stage
        self.follows = follows
        self.checked: Collection[Kind] = ()  # kinds of jobs that are only asked whether they are there
        if policies.link_check:
            self.checked = {"check", "asset"} if follows else {"page"}
        self.left: list[tuple[int, Part]] = []
        self.splits: set[BodySplit] = set()
        self._stop = context.stop
        self.abandoned: set[int] = set()  # jobs whose outcome nobody waits for
        self.utc_offset = self.clock.utc() - self.clock.now()
        self.sleep_watch = SleepWatch(self.clock)
        self.names_late = context.store.keeps_files and (policies.server_names or policies.extension)
        self.keeps_exchanges = context.store.keeps_exchanges
        self.hashes_late = context.store.keeps_files and parse_stage is None
        self.keeps_timings = context.frontier.is_durable or context.events.wants_exchanges
        self.settle: Callable[[Outcome], None] = context.outcomes.put
        self.finish: Callable[[Outcome], None] = self.settle if parse_stage is None else parse_stage.put
        self._transfer = transfer

    @property
    def is_one_of_many(self) -> bool:
        """True if other processes have other hosts."""
        return self._transfer is not None

    @property
    def is_stopping(self) -> bool:
        """True when nothing more may be started."""
        return self._stop.is_wanted

    def enqueue_redirect(self, fetch: FetchState) -> None:
        """Queue the next hop of a chain: here, unless it belongs elsewhere."""
        if self._transfer is None or not self._transfer(fetch):
            self.scheduler.push_first(fetch)

    def set_part(self, fetch: FetchState, part: Part | None) -> None:
        """Keep `part` as what is there of the body, and remove a file that it no longer names."""
        old, fetch.part = fetch.part, part
        if old is not None and (part is None or part.name != old.name):
            self.body_options.remove(old)
