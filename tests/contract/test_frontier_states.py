"""The durable frontier in any order of calls, kills and continuations, against dictionaries."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.campaign import tried
from support.frontiers import MEMORY, Place, by_path, deferred, ended, jobs

from fetcher.model import Counts, Job

URLS = [f"http://{host}/{name}" for host in "ab" for name in ("x", "X", "x/y", "z", "x~")]


class FrontierStates(RuleBasedStateMachine):
    """No job is lost or handed out twice, each outcome has one line, attempts and names outlive kills."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.place = Place(Path(self.folder.name, "run"), candidate=by_path)
        self.loop = asyncio.new_event_loop()
        self.mode: dict[str, bool] = {}
        self.pending: dict[str, int] = {}  # URL: attempts
        self.held: dict[str, Job] = {}
        self.final: dict[str, str] = {}
        self.names: dict[str, str | None] = {}
        self.lines: list[str] = []
        self._open()

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(what)

    def _open(self) -> None:
        self.frontier = self.place.frontier(**self.mode)
        self._do(self.frontier.open())
        self.held.clear()

    @rule(urls=st.lists(st.sampled_from(URLS), max_size=5))
    def add(self, urls: list[str]) -> None:
        added = self._do(self.frontier.add(jobs(urls)))
        new = {url for url in urls if url not in self.pending and url not in self.final}
        assert added.new == len(new)
        self.pending |= dict.fromkeys(new, 0)

    @rule(limit=st.integers(1, 6), per_host=st.integers(1, 4))
    def claim(self, limit: int, per_host: int) -> None:
        for job in self._do(self.frontier.claim(limit, per_host=per_host, now=0.0)):
            assert job.url not in self.held, "handed out twice"
            assert self.pending[job.url] == job.attempts, "attempts were forgotten"
            assert self.names.setdefault(job.url, job.path) == job.path, "a name has changed"
            self.held[job.url] = job
        folded = [name.casefold() for name in self.names.values() if name is not None]
        assert len(folded) == len(set(folded)), "one name for two"
        assert not [one for one in folded if any(other.startswith(f"{one}/") for other in folded)]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        chosen = data.draw(
            st.dictionaries(st.sampled_from(sorted(self.held)), st.sampled_from(["done", "failed", "defer"]))
        )
        outcomes = [
            deferred(self.held[url], attempts=self.pending[url] + 1)
            if state == "defer"
            else ended(self.held[url], state)
            for url, state in chosen.items()
        ]
        self._do(self.frontier.settle(outcomes))
        for url, state in chosen.items():
            if state == "defer":
                self.pending[url] += 1
                continue
            self.lines.append(url)
            self.final[url] = state
            del self.pending[url], self.held[url]

    @rule()
    def kill(self) -> None:
        self.place = self.place.killed()
        self._do(self.frontier.aclose(complete=False))
        self._open()

    @precondition(lambda self: not self.pending)
    @rule(retry=st.booleans())
    def end_and_run_again(self, retry: bool) -> None:
        self._do(self.frontier.aclose(complete=True))
        self.mode = {"retry_failed": True} if retry else {}
        if retry:
            self.pending = dict.fromkeys([url for url, state in self.final.items() if state == "failed"], 0)
            self.final = {url: state for url, state in self.final.items() if state != "failed"}
        self._open()

    @invariant()
    def counts_agree(self) -> None:
        states = Counter(self.final.values())
        assert self._do(self.frontier.counts()) == Counts(pending=len(self.pending), **states)

    @invariant()
    def each_outcome_has_one_line(self) -> None:
        assert self.place.lines() == self.lines

    def teardown(self) -> None:
        self._do(self.frontier.aclose(complete=False))
        self.loop.close()
        self.folder.cleanup()


def test_no_order_of_calls_and_kills_loses_a_job_a_line_an_attempt_or_a_name() -> None:
    run_state_machine_as_test(FrontierStates, settings=tried(25, stateful_step_count=25))
