"""The story of one URL in lines of text, as `fetcher why` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fetcher.model import Record
    from fetcher.story.url_story import AttemptStory, RunStory, UrlStory

_LABEL = 11  # columns
_LEAST_SHOWN_S = 0.00005
_WAIT_WORDS = {
    "concurrency": "for a slot (--concurrency)",
    "per-host": "for the limit of its host (--per-host)",
    "delay": "for the delay of its host (--delay, or its robots.txt)",
    "rate": "for the rate (--rate)",
    "retry-after": "because the host asked for it (Retry-After)",
    "backoff": "after a failure (backoff)",
    "resume": "before going on with its body",
    "hold": "for a time that an earlier run had set",
    "descriptors": "because there were too many open files",
    "settling": "for parser or disk to catch up",
    "memory": "for memory: large bodies were in flight",
    "robots": "for robots.txt",
}
_RULE_WORDS = {
    "scope": "it is outside --scope",
    "depth": "it is deeper than --depth",
    "include": "it matches no --include",
    "exclude": "it matches an --exclude",
    "url-length": "its URL is too long",
    "repeating-path": "its path repeats itself",
    "nofollow": "the page asks crawlers not to follow it",
    "redirects": "too many redirects led to it",
    "session-id": "its URL has a session id, and its page is known without",
    "variants": "its path has too many queries already",
    "host-pages": "its host has too many pages already",
    "other-shard": "its host belongs to another shard",
    "credentials": "it has credentials in it",
    "checked": "what redirects to it was only checked",
}
_PHASE_WORDS = {
    "name": "DNS",
    "connect": "connect",
    "tls": "TLS",
    "disk": "disk",
    "bandwidth": "--max-bandwidth",
}


def lines_of(story: UrlStory, *, running: int | None) -> Iterator[str]:
    """Yield the story for people."""
    from fetcher.policy.redaction import shown
    from fetcher.story.url_advice import advice_on

    yield shown(story.given, 500)
    yield from _origin(story)
    yield from _admission(story)
    yield from _naming(story)
    yield from _happened(story, running)
    yield line("now", _state(story, running))
    if story.part is not None:
        yield line("", f"{_bytes(story.part.held)} of its body are kept, to be gone on with")
    for missing in story.unknown:
        yield line("not known", missing)
    for text in advice_on(story, is_running=running is not None):
        yield line("to do", text)


def line(label: str, text: str) -> str:
    """Return a line of a story: what it is about, and the text."""
    return f"  {label:<{_LABEL}} {text}"


def _origin(story: UrlStory) -> Iterator[str]:
    from fetcher.policy.redaction import shown

    place = ""
    if story.source == "argv":
        place = f"as argument {story.line}"
    elif story.source is not None:
        place = shown(story.source, 300) + (f":{story.line}" if story.line is not None else "")
    if story.parent is None or story.is_seed:
        yield line("listed", place or ("as a seed" if story.command == "crawl" else "as an argument"))
    if story.parent is not None and not story.is_seed:
        how = {"asset": "as an asset of", "sitemap": "as a sitemap, by"}.get(story.kind, "on")
        yield line("found", f"{how} {shown(story.parent, 500)}, at depth {story.depth}")
        if story.hops:
            yield line("", f"{story.hops} redirects or canonicals led there")
    if story.url != story.given:
        yield line("sent as", shown(story.url, 500))
    for key, value in story.request.items():
        yield line(key, shown(str(value), 300))


def _admission(story: UrlStory) -> Iterator[str]:
    """Yield the rules that let it in or kept it out."""
    from fetcher.policy.redaction import shown

    error = story.error or ""
    if story.state == "left-out":
        yield line("left out", f"by the rule {error}: {shown(_rule(story, error), 500)}")
        if story.same_page is not None:
            yield line("", f"the same page: {shown(story.same_page, 500)}")
        return
    if story.state == "refused" and error in {"bad-url", "bad-entry"}:
        yield line("refused", f"{error}: {shown(story.message or '', 500)}")
        return
    if story.checked_by is not None:
        yield line("checked", f"and not followed: {shown(_rule(story, story.checked_by), 500)}")
    elif story.command == "crawl":
        scope, depth = story.rules.get("scope"), story.rules.get("depth")
        rules = f": --scope {scope}, depth {story.depth} of {depth}" if scope and not story.is_seed else ""
        yield line("admitted", f"{'as a seed' if story.is_seed else 'by all rules'}{rules}")
    if story.robots is not None:
        yield line("robots.txt", _robots(story))


def _rule(story: UrlStory, rule: str) -> str:
    """Return what a rule says of a URL, and the values of its option."""
    words = _RULE_WORDS.get(rule, "it is no URL that can be asked for")
    if value := story.rules.get(rule):
        words += f" ({', '.join(value) if isinstance(value, list | tuple) else value})"
    return words


def _robots(story: UrlStory) -> str:
    from fetcher.policy.redaction import shown

    robots = story.robots
    assert robots is not None
    verdict = robots.verdict
    if verdict is None:
        return f"{shown(robots.url, 300)} is not in the state: not asked for yet, too old, or not to be had"
    says = "allows" if verdict.allows else "disallows"
    if not verdict.group:
        return f"allows it: it has no rule for {shown(robots.agent, 40)} or * ({robots.fetched_at})"
    group = f"the group of {'*' if verdict.group == '*' else shown(verdict.group, 40)}"
    if verdict.line is None:
        return f"allows it: no rule in {group} matches ({robots.fetched_at})"
    return f'{says} it: line {verdict.line}, "{shown(verdict.text or "", 200)}", in {group}'


def _naming(story: UrlStory) -> Iterator[str]:
    from fetcher.policy.redaction import shown

    name = story.name
    if name is None or name.path is None:
        return
    yield line("name", shown(name.path, 300))
    if name.wanted is None:
        return
    holder = {
        "url": f"belongs to {shown(name.holder or 'another URL', 500)}, which was claimed first",
        "folder": "is a folder: other URLs have their files below it",
        "foreign": "had a file that the state did not know",
    }.get(name.held_by or "", "was taken")
    yield line("", f"{shown(name.wanted, 300)} {holder}")


def _happened(story: UrlStory, running: int | None) -> Iterator[str]:
    """Yield attempts and records by time, under the runs in which they were made."""
    runs = {run.number: run for run in story.runs}
    shown_run = 0
    events: list[tuple[str, int, AttemptStory | Record]] = [
        (attempt.started_at, 0, attempt) for attempt in story.attempts
    ]
    events += [(record.ended_at or "", 1, record) for record in story.records]
    number = 0
    for at, kind, event in sorted(events, key=lambda one: one[:2]):
        run = _run_at(story.runs, at)
        if run and run != shown_run and len(runs) > 1:
            shown_run = run
            is_over = run != story.runs[-1].number or running is None
            yield line(f"run {run}", _run_words(runs[run], is_over=is_over))
        if kind == 0:
            number += not event.url
            yield from _attempt(event, number)  # type: ignore[arg-type]
        else:
            yield from _record(event, has_attempts=bool(story.attempts))  # type: ignore[arg-type]
    if not story.attempts:
        for wait in story.waits:
            after = f", after attempt {wait.attempt}" if wait.attempt else ""
            failed = f" ({wait.error})" if wait.error else ""
            yield line(
                "waited", f"{_time(wait.seconds)} {_WAIT_WORDS.get(wait.reason, wait.reason)}{after}{failed}"
            )


def _run_at(runs: Sequence[RunStory], at: str) -> int:
    began = [run.number for run in runs if run.began_at <= at]
    return began[-1] if began else 0


def _run_words(run: RunStory, *, is_over: bool) -> str:
    mode = f" {run.mode}" if run.mode else ""
    return f"begun {run.began_at}{mode}{', killed' if is_over and run.ended_at is None else ''}"


def _attempt(attempt: AttemptStory, number: int) -> Iterator[str]:
    from fetcher.policy.redaction import shown

    for cause, seconds in attempt.waits.items():
        if seconds >= 0.001:
            words = _WAIT_WORDS.get(cause, cause)
            if cause == "backoff" and number == 1:
                words = "while its host was left alone after failures (backoff)"
            yield line("waited", f"{_time(seconds)} {words}")
    came = f"HTTP {attempt.status}" if attempt.status is not None else "no answer"
    where = f" from {shown(attempt.url, 300)}" if attempt.url else ""
    error = f", {attempt.error}: {shown(attempt.message or '', 300)}" if attempt.error else ""
    yield line("hop" if attempt.url else f"try {number}", f"{attempt.started_at} {came}{where}{error}")
    if attempt.resumed_at is not None:
        yield line("", f"went on with the body at byte {attempt.resumed_at:,}")
    if attempt.resent:
        yield line("", "sent twice: the kept connection had ended meanwhile")
    yield line("", _phases(attempt))


def _phases(attempt: AttemptStory) -> str:
    parts = [
        f"{_PHASE_WORDS.get(phase, phase)} {_time(seconds)}"
        for phase, seconds in attempt.phases.items()
        if seconds >= _LEAST_SHOWN_S
    ]
    if not attempt.is_new_connection:
        parts.insert(0, "on a kept connection")
    if attempt.parser_took is not None:
        parts.append(f"parser {_time(attempt.parser_took)}")
        if attempt.parser_waited:
            parts[-1] += f" (after {_time(attempt.parser_waited)})"
    if attempt.store_took and 200 <= (attempt.status or 0) < 300:
        parts.append(f"store {_time(attempt.store_took)}")
    return " · ".join(parts)


def _record(record: Record, *, has_attempts: bool) -> Iterator[str]:
    from fetcher.policy.redaction import shown

    words: list[str] = [record.state]
    if record.error:
        words.append(f"{record.error}: {shown(record.message or '', 300)}")
    elif record.status is not None:
        words.append(f"HTTP {record.status}, {_bytes(record.bytes)}")
    if record.completeness == "eof-unverified" and record.state == "done":
        words.append("nothing shows that it is whole")
    if record.redirects:
        words.append("redirected to " + " → ".join(shown(url, 200) for url in record.redirects))
    if not has_attempts and record.attempts:
        words.append(f"attempts {record.attempts}, {_time(record.elapsed)}, waited {_time(record.waited)}")
    yield line("ended", f"{record.ended_at} {', '.join(words)}")


def _state(story: UrlStory, running: int | None) -> str:
    from fetcher.policy.redaction import shown

    if story.state == "pending":
        words = "pending"
        if story.attempts_made:
            words += f" after attempt {story.attempts_made}"
        if story.not_before is not None:
            words += f", to be tried again from {story.not_before} on"
        if running is not None:
            given = "given out by" if story.is_claimed else "not ended in"
            return f"{words}; {given} the run that is under way, process {running}"
        was_killed = bool(story.runs) and story.runs[-1].ended_at is None
        return f"{words}; the last run {'was killed' if was_killed else 'ended'} before it"
    error = f": {story.error}" if story.error else ""
    status = f" (HTTP {story.status})" if story.status is not None and story.error else ""
    path = ""
    if story.name is not None and story.name.path is not None and story.state in {"done", "unchanged"}:
        path = f", in {shown(story.name.path, 300)}" if story.records[-1:] and story.records[-1].path else ""
    return f"{story.state.replace('-', ' ')}{error}{status}{path}"


def _bytes(number: int) -> str:
    from fetcher.observers.formatting import size

    return size(number)


def _time(seconds: float) -> str:
    from fetcher.observers.formatting import duration

    return f"{seconds * 1000:.1f} ms" if seconds < 1 else duration(seconds)
