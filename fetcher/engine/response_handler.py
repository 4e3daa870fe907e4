"""The handler of what an exchange came to: successes are judged here, what went wrong in `failure_handler`.

Invariant: what follows a hop is exactly one of a final outcome, a deferral (tried again later), and the next
hop of the chain. All three go back through the scheduler or to the outcome queue.
"""

from __future__ import annotations

from fetcher.engine.body import Body
from fetcher.engine.engine_state import EngineState
from fetcher.engine.failure_handler import FailureHandler
from fetcher.engine.fetch_state import FetchState
from fetcher.errors import FetcherError, ProtocolBroken
from fetcher.model import CacheEntry, NameHints, Record, Response
from fetcher.policy.checksums import mismatch
from fetcher.policy.content_disposition import filename_of
from fetcher.policy.redaction import shown


class ResponseHandler:
    """Decides what follows an exchange, by its response or its error."""

    def __init__(self, state: EngineState, failures: FailureHandler) -> None:
        self._state = state
        self._failures = failures

    def handle(
        self,
        fetch: FetchState,
        response: Response | None,
        error: FetcherError | None,
        body: Body,
        now: float,
        *,
        grew: bool,
    ) -> None:
        """Let follow what must, but for a redirect. `grew`: it failed, and is excused: its part grew."""
        if error is not None or response is None:
            assert error is not None
            self._failures.failed(fetch, error, response, body, now, grew=grew)
        elif response.status < 300:
            self._done(fetch, response, body, now)
        elif response.status == 304:
            self._not_modified(fetch, response, body, now)
        else:
            self._failures.bad_status(fetch, response, body, now)

    async def name_file(self, fetch: FetchState, response: Response | None, body: Body) -> None:
        """Have the file named, now that the answer is there; once only, whatever later ones say."""
        state, job = self._state, fetch.job
        if response is None or response.status >= 300 or not body.is_wanted:
            return
        if job.path is not None or job.kind not in {"page", "asset"}:
            return
        find = response.headers.get
        field = find("content-disposition") if state.policies.server_names else None
        job.hints = NameHints(
            None if field is None else filename_of(field),
            find("content-type") if state.policies.extension else None,
        )
        try:
            await state.frontier.name_file(job)
        except BaseException:
            part = body.leave()
            if part is not None:
                state.left.append((job.id, part))
            raise

    def _done(self, fetch: FetchState, response: Response, body: Body, now: float) -> None:
        state = self._state
        if response.status < 200:
            self._failures.failed(fetch, ProtocolBroken(f"status {response.status}"), None, body, now)
            return
        fetch.attempts += 1
        job = fetch.job
        if fetch.part is not None and not fetch.asks_rest:
            state.set_part(fetch, None)
        fetch.part = None  # it has become the body
        state.scheduler.on_success(fetch.target.host, now)
        unmet = _unmet(fetch, body)
        if unmet is not None:
            self._failures.end_failed(fetch, "checksum", unmet, response, body, now)
            return
        known = job.cached
        if (
            known is not None
            and self._is_same(known, response, body)
            and (known.path is None or state.store.has_file(known.path, known.length))
        ):
            outcome = fetch.outcome(self._unchanged(fetch, known, response, body, now))
            if state.keeps_exchanges and known.path is None:  # the archive may not have it after all
                outcome.body = body
            else:
                body.discard()
            state.finish(outcome)
            return
        if job.kind == "robots":
            fetch.keep_content(body)
            outcome = fetch.outcome()
            outcome.robots = body.read_all()
            state.settle(outcome)
            body.discard()
            return
        if body.has_trailer:
            self._tell_trailer(fetch)
        record = state.recorder.record(fetch, "done", now + state.utc_offset, response=response, body=body)
        outcome = fetch.outcome(record)
        outcome.body = body
        if state.parse_stage is not None:
            outcome.headers = response.headers
        state.finish(outcome)

    def _is_same(self, known: CacheEntry, response: Response, body: Body) -> bool:
        """Return True if the body is the known one: by a digest; with none, by validators and length."""
        if body.digest != "none":
            return body.digest == known.digest if body.digest else body.sha256 == known.sha256
        find = response.headers.find
        pairs = ((find(b"etag"), known.etag), (find(b"last-modified"), known.last_modified))
        told = [(new, old) for new, old in pairs if new is not None or old]
        is_same = (
            bool(told)
            and body.length == known.bytes
            and all(new is not None and old == new.decode("latin-1") for new, old in told)
        )
        if is_same:
            self._state.events.notice_once(
                "info", "without a digest, a body counts as unchanged by its validators and length alone"
            )
        return is_same

    def _tell_trailer(self, fetch: FetchState) -> None:
        """Say once for each host that text after a body's end is not kept."""
        self._state.events.notice_once(
            "info",
            f"{shown(fetch.target.url)}: text after the end of the compressed body is passed"
            " over (so on this host, without further notices)",
            key=f"trailer {fetch.target.host}",
        )

    def _not_modified(self, fetch: FetchState, response: Response, body: Body, now: float) -> None:
        state = self._state
        known = fetch.job.cached
        body.discard()
        if known is None or not fetch.is_conditional:
            if fetch.is_unconditional:
                self._failures.bad_status(fetch, response, body, now)
            else:  # nobody asked for it: ask once more, past whatever cache said so
                fetch.is_unconditional = True
                state.scheduler.push_first(fetch)
            return
        fetch.attempts += 1
        state.scheduler.on_success(fetch.target.host, now)
        record = self._unchanged(fetch, known, response, body, now)
        record.etag = record.etag or known.etag
        record.last_modified = record.last_modified or known.last_modified
        state.finish(fetch.outcome(record))

    def _unchanged(
        self, fetch: FetchState, known: CacheEntry, response: Response, body: Body, now: float
    ) -> Record:
        """Make the record of a body that is the known one."""
        state = self._state
        utc = now + state.utc_offset
        record = state.recorder.record(fetch, "unchanged", utc, response=response, body=body)
        record.bytes, record.path = known.bytes, known.path
        record.sha256, record.digest = known.sha256, known.digest
        return record


def _unmet(fetch: FetchState, body: Body) -> str | None:
    """Say what a body lacks of what its list or its answer promised; None if it lacks nothing."""
    extra = None if fetch.is_check else fetch.job.overrides  # a body that is not read meets nothing
    size = extra.size if extra is not None else None
    if size is not None and size != body.length:
        return f"it has {body.length} bytes, not {size}"
    wanted = () if extra is None else extra.wanted
    if body.announced is not None:
        wanted = (*wanted, body.announced)
    if not wanted:
        return None
    return mismatch(wanted, body.found) if body.is_wanted else "there is no body to be checked"
