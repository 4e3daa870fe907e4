"""Judgement of a rehearsal: what was lost, how each kind of trouble ended, and what it cost.

The site is the oracle: it knows what a whole body is, and its log has every request.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from hashlib import sha256
from pathlib import Path

import msgspec

from fetcher.engine.slots import UNSETTLED
from fetcher.frontiers.sqlite.report import read_report
from fetcher.model import Record
from fetcher.rehearsal.parser_speed import parse_times
from fetcher.rehearsal.rehearsal import Course
from fetcher.rehearsal.rehearsed_job import RehearsedJob
from fetcher.rehearsal.trouble_site import GOOD, KINDS, Planned, TroubleSite, kind_of
from fetcher.run_dir import RunDirectory
from fetcher.verification.findings import KINDS as FINDINGS
from fetcher.verification.findings import Finding
from fetcher.verification.verify import Verification


class Loss(msgspec.Struct, frozen=True):
    """Something that was lost, or is not what it is said to be."""

    what: str
    url: str | None = None
    message: str | None = None


class KindOutcome(msgspec.Struct, kw_only=True):
    """Outcome of one kind of trouble. Times are seconds over all its URLs, sizes bytes."""

    urls: int = 0
    ended: Counter[str] = msgspec.field(default_factory=Counter)  # "done", "failed: timed-out"
    attempts: int = 0
    waited: float = 0.0
    elapsed: float = 0.0
    sent: int = 0
    requests: int = 0


class ParserOutcome(msgspec.Struct, kw_only=True):
    """Outcome of the user's parser. `failed` counts pages by what happened, `examples` has one URL of each.

    `good` counts those of the failed pages that are good ones, `items` the lines of `data.jsonl`. `seconds`
    has the time of some pages that did not fail, by URL, the slowest first.
    """

    pages: int = 0
    items: int = 0
    failed: Counter[str] = msgspec.field(default_factory=Counter)
    good: Counter[str] = msgspec.field(default_factory=Counter)
    examples: dict[str, str] = {}
    seconds: dict[str, float] = {}


class Cost(msgspec.Struct, kw_only=True):
    """Requests by their reason, bytes and waits of the whole rehearsal; sizes in bytes, times in seconds."""

    requests: int = 0
    first: int = 0
    again_by_retry: int = 0
    again_after_kill: int = 0
    sent: int = 0
    sent_again_by_retry: int = 0
    sent_again_after_kill: int = 0
    stored: int = 0
    waited: float = 0.0
    memory: int = 0


class Judgement(msgspec.Struct, kw_only=True):
    """Everything that is told of a rehearsal."""

    lost: list[Loss]
    urls: int
    records: int
    whole: int  # bodies that are what the site served
    pending: int
    kinds: dict[str, KindOutcome]
    parser: ParserOutcome | None
    cost: Cost


def judge(site: TroubleSite, output: Path, course: Course, job: RehearsedJob) -> Judgement:
    """Hold what lies in `output` against what the site served.

    Raises:
        StorageError: the run directory can't be read.
    """
    crawl = job.command == "crawl"
    planned = {one.url: one for one in site.planned}
    losses, lines = _verified(output), _records(output)
    records = {record.url: record for record in lines}
    losses += [
        Loss("has two records", url)
        for url, number in Counter(record.url for record in lines).items()
        if number > 1
    ]
    pending = 0
    if RunDirectory(output).state.exists():
        states = read_report(RunDirectory(output).state, str(output)).states
        pending = states["pending"] + states.get("withheld", 0)
    missing = [url for url in ([*site.seeds] if crawl else planned) if url not in records]
    if course.is_over and crawl and not _is_bounded(job):
        missing += [url for url, one in planned.items() if url not in records and one.kind != "robots"]
    if len(missing) > pending:
        losses += [Loss("has no record and is not pending", url) for url in missing]
    whole = 0
    for url, record in records.items():
        loss = _body_loss(planned.get(url), record, output)
        if loss is not None:
            losses.append(loss)
        elif record.path is not None:
            whole += 1
    kinds = _by_kind(planned, records, site)
    cost = _cost(site, course)
    losses += _asked_again(site, course)
    cost.stored = sum(record.bytes for record in records.values() if record.path is not None)
    cost.waited = round(sum(kind.waited for kind in kinds.values()), 1)
    parser = None
    if job.settings.parser is not None:
        parser = _parser(planned, records, output)
        parsed = [record for record in records.values() if record.state == "done" and record.path is not None]
        times = asyncio.run(parse_times(job.settings, parsed, output))
        parser.seconds = {url: round(seconds, 6) for seconds, url in times}
    return Judgement(
        lost=losses,
        urls=max(len(planned), len(records)),
        records=len(lines),
        whole=whole,
        pending=max(pending, len(missing)),
        kinds=kinds,
        parser=parser,
        cost=cost,
    )


def _is_bounded(job: RehearsedJob) -> bool:
    """Return True if the settings leave pages of the site out."""
    settings = job.settings
    return settings.depth == 0 or settings.max_pages is not None or settings.max_host_pages is not None


def _verified(output: Path) -> list[Loss]:
    losses: list[Loss] = []

    def tell(finding: Finding) -> None:
        if FINDINGS[finding.kind].is_off or finding.kind == "unknown":
            losses.append(Loss(finding.kind, finding.url or finding.path, finding.message))

    if RunDirectory(output).state.exists():
        Verification(RunDirectory(output), tell=tell, say=lambda _: None, progress=lambda _: None).run()
    return losses


def _records(output: Path) -> list[Record]:
    try:
        lines = (output / "results.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    decode = msgspec.json.Decoder(Record).decode
    return [decode(line) for line in lines]


def _body_loss(one: Planned | None, record: Record, output: Path) -> Loss | None:
    """Return what is wrong with a body that is said to be whole."""
    if one is None or record.state not in {"done", "unchanged"} or one.body == b"":
        return None
    if one.body is None:
        return Loss("was taken for whole", one.url, f"HTTP {record.status}, {record.bytes:,} bytes")
    if record.path is not None:
        try:
            found = sha256((output / record.path).read_bytes()).hexdigest()
        except OSError as error:
            return Loss("has no file", one.url, error.strerror)
        is_whole = found == sha256(one.body).hexdigest()
    elif record.sha256 is not None:
        is_whole = record.sha256 == sha256(one.body).hexdigest()
    else:
        is_whole = record.bytes == len(one.body)
    return None if is_whole else Loss("is not what was served", one.url, f"{record.bytes:,} bytes")


def _by_kind(
    planned: dict[str, Planned], records: dict[str, Record], site: TroubleSite
) -> dict[str, KindOutcome]:
    kinds: dict[str, KindOutcome] = {}
    for url in {**planned, **records}:
        record = records.get(url)
        kind = planned[url].kind if url in planned else kind_of(url.partition("://")[2]) or "plain"
        outcome = kinds.setdefault(kind, KindOutcome())
        outcome.urls += 1
        if record is None:
            outcome.ended["not ended"] += 1
            continue
        outcome.ended[f"{record.state}: {record.error}" if record.error else record.state] += 1
        outcome.attempts += record.attempts
        outcome.waited += record.waited
        outcome.elapsed += record.elapsed
    for hit in site.log:
        outcome = kinds.setdefault(kind_of(hit.host_header) or "redirects", KindOutcome())
        outcome.requests += 1
        outcome.sent += hit.sent
    return {kind: kinds[kind] for kind in KINDS if kind in kinds}


def _cost(site: TroubleSite, course: Course) -> Cost:
    """Count requests by their reason: the first, again by the same start, or again by a later one."""
    cost = Cost(memory=course.memory)
    seen: set[tuple[str, str]] = set()
    for start in course.starts:
        here: set[tuple[str, str]] = set()
        for hit in site.log[start.first : start.first + start.requests]:
            key = (hit.host_header, hit.target)
            cost.requests += 1
            cost.sent += hit.sent
            if key in here:
                cost.again_by_retry += 1
                cost.sent_again_by_retry += hit.sent
            elif key in seen:
                cost.again_after_kill += 1
                cost.sent_again_after_kill += hit.sent
            else:
                cost.first += 1
            here.add(key)
        seen |= here
    return cost


def _asked_again(site: TroubleSite, course: Course) -> list[Loss]:
    """Return the loss where more was fetched again than may be unsettled at a kill."""
    again = 0
    for start in course.starts:
        hits = site.log[start.first : start.first + start.requests]
        asked = {f"http://{hit.host_header}{hit.target}" for hit in hits}
        again += len(asked & start.had_ended)
    if again <= UNSETTLED * course.kills:  # what a kill may ask for again although its record is written
        return []
    return [Loss("were fetched again although they had ended", None, f"{again:,} URLs")]


def _parser(planned: dict[str, Planned], records: dict[str, Record], output: Path) -> ParserOutcome:
    outcome = ParserOutcome()
    data = output / "data.jsonl"
    if data.is_file():
        outcome.items = data.read_bytes().count(b"\n")
    for url, record in records.items():
        if record.error != "parse-failed":
            outcome.pages += record.state == "done" and record.path is not None
            continue
        outcome.pages += 1
        what = _what(record.message or "")
        outcome.failed[what] += 1
        outcome.examples.setdefault(what, url)
        if url not in planned or planned[url].kind in GOOD:
            outcome.good[what] += 1
    return outcome


def _what(message: str) -> str:
    """Return what happened to a page, without what is the page's own."""
    return re.sub(r"; repeat: .*", "", message, flags=re.DOTALL)
