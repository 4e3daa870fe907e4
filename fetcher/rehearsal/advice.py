"""Advice after a rehearsal: for each thing that cost or failed, the setting that changes it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fetcher.observers.formatting import duration, plural, size
from fetcher.rehearsal.judgement import Judgement, KindOutcome
from fetcher.settings import Settings

_FLAKY = ("storms", "resets", "cut")
_SPENT_S = 20.0  # less than this at silent hosts is no matter


def advice_on(settings: Settings, judged: Judgement) -> list[str]:
    """Return what the rehearsal suggests, a sentence each; nothing where all is as it should be."""
    return [
        *_on_time(settings, judged),
        *_on_failures(settings, judged),
        *_on_limits(settings, judged),
        *_on_parser(settings, judged),
    ]


def _kind(judged: Judgement, name: str) -> KindOutcome:
    return judged.kinds.get(name, KindOutcome())


def _on_time(settings: Settings, judged: Judgement) -> Iterator[str]:
    silent = _kind(judged, "silent")
    tries = settings.retries + 1
    longest = max(settings.header_timeout, settings.read_timeout) * tries
    if longest > _SPENT_S and (silent.ended["not ended"] or silent.elapsed > _SPENT_S):
        yield (
            f"a host that says nothing costs up to {duration(longest)}: --header-timeout "
            f"{settings.header_timeout:g} and --read-timeout {settings.read_timeout:g}, "
            f"{plural(tries, 'attempt')}; if your servers answer faster, lower them, or --retries"
        )
    if settings.timeout is None and settings.min_speed is None:
        yield "a body that drips may take for ever: --min-speed and --timeout are both off"
    waiting = judged.pending - silent.ended["not ended"]
    if waiting > 0 and (settings.delay or settings.rate or settings.max_bandwidth):
        yield (
            f"{plural(waiting, 'other URL')} did not have their turn in time: --delay, --rate and "
            "--max-bandwidth are kept here too; --minutes gives them more"
        )
    elif waiting > 0:
        yield f"{plural(waiting, 'other URL')} had not ended in time: --minutes gives them more"


def _on_failures(settings: Settings, judged: Judgement) -> Iterator[str]:
    given_up = sum(_kind(judged, name).ended["failed: http-status"] for name in ("storms",))
    lost = _kind(judged, "resets").ended["failed: connection-lost"] - 3  # which no patience gets
    if settings.retries < 3 and given_up + max(lost, 0) > 0:
        yield (
            f"{plural(given_up + max(lost, 0), 'URL')} failed that a server gave a moment later: "
            f"--retries is {settings.retries}, 3 would have had them"
        )
    if settings.max_wait < 60 and _kind(judged, "storms").ended["failed: retry-later"] > 1:
        yield f"--max-wait {settings.max_wait:g} gives up hosts that ask for a little patience"
    if missed := {429, 503} - settings.retry_on:
        statuses = " and ".join(map(str, sorted(missed)))
        yield f"--retry-on leaves out {statuses}, which servers answer when busy"


def _on_limits(settings: Settings, judged: Judgement) -> Iterator[str]:
    endless = _kind(judged, "endless")
    if settings.max_size is None and endless.sent:
        yield (
            f"a body without an end took {size(endless.sent)} before it was cut off: --max-size would end "
            "it, and it is off"
        )
    if settings.private_addresses == "allow":
        yield "--private-addresses allow: a redirect may lead into your own network; seeds keeps it out"
    if settings.min_free is None:
        yield "--min-free is off: a full disk stops the run, not before it is full"


def _on_parser(settings: Settings, judged: Judgement) -> Iterator[str]:
    parser = judged.parser
    if parser is None:
        return
    if settings.offload in {"inline", "threads"}:
        yield (
            f"--offload {settings.offload}: a page that makes the parser crash or hang stops the whole run; "
            "auto and processes confine it"
        )
    if good := parser.good.total():
        what, _ = parser.good.most_common(1)[0]
        yield f"your parser failed at {plural(good, 'good page')}, mostly: {what}"
    elif odd := parser.failed.total():
        yield f"your parser failed at {plural(odd, 'odd page')} only; each such page is recorded as failed"
    slowest = next(iter(parser.seconds.values()), 0.0)
    if slowest > settings.parser_timeout / 4:
        limit = f"--parser-timeout is {settings.parser_timeout:g}"
        yield f"your parser took {duration(slowest)} for one page: {limit}"
    if parser.pages and not parser.items and not parser.failed:
        yield "your parser returned nothing for any page: data.jsonl is empty"
