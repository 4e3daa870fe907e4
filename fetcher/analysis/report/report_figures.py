"""The figures of a report, as `fetcher report --json` gives them."""

from __future__ import annotations

import msgspec

from fetcher.analysis.report.distribution import Quantiles, SizeClass
from fetcher.analysis.report.host_figures import HostFigures
from fetcher.analysis.report.timeline import TimelineColumn
from fetcher.model import Bottleneck


class ReportedRun(msgspec.Struct, kw_only=True):
    """One run of the program in the directory; `ended_at` is None if it was killed, or goes on."""

    number: int
    mode: str
    began_at: str
    ended_at: str | None
    bottleneck: Bottleneck | None = None


class ErrorFigures(msgspec.Struct, kw_only=True):
    """One kind of failure or refusal, with its first example and what to do."""

    error: str
    status: int | None
    urls: int
    example: str
    message: str | None
    source: str | None
    line: int | None
    parent: str | None
    advice: str | None


class RedirectFigures(msgspec.Struct, kw_only=True):
    """Redirects from one origin to another, with the first URL that took them."""

    origin: str
    target: str
    urls: int
    example: str


class TypeFigures(msgspec.Struct, kw_only=True):
    """Bodies of one content type, as servers said; parameters left out."""

    content_type: str
    urls: int
    bytes: int


class RuleFigures(msgspec.Struct, kw_only=True):
    """URLs that one rule of a crawl left out."""

    rule: str
    urls: int
    advice: str | None


class UrlFigures(msgspec.Struct, kw_only=True):
    """One URL among the slowest or the largest."""

    url: str
    state: str
    status: int | None
    attempts: int
    elapsed: float
    waited: float
    bytes: int
    content_type: str | None


class ReportFigures(msgspec.Struct, kw_only=True):
    """All figures of a report. Durations are seconds, sizes bytes, times UTC.

    `states` has also `pending`. `elapsed` and `waited` are of the records, all attempts of a URL together;
    `stages` and `causes` of the exchanges of the last whole asking, one by one. `bytes` is what is stored,
    `wire_bytes` what was received. `not_records` counts lines of `results.jsonl` that are none.
    """

    directory: str
    command: str
    version: str
    created: str
    made_at: str
    running: int | None = None
    is_resumable: bool = False
    bottleneck: Bottleneck | None = None
    urls: int = 0
    states: dict[str, int] = {}
    statuses: dict[str, int] = {}
    bytes: int = 0
    wire_bytes: int = 0
    attempts: int = 0
    retried: int = 0
    resumed: int = 0
    began_at: str | None = None
    ended_at: str | None = None
    runs: list[ReportedRun] = []
    columns: list[TimelineColumn] = []
    hosts: int = 0
    hosts_most_urls: list[HostFigures] = []
    hosts_slowest: list[HostFigures] = []
    hosts_most_errors: list[HostFigures] = []
    hosts_held_longest: list[HostFigures] = []
    elapsed: Quantiles = Quantiles()
    waited: Quantiles = Quantiles()
    exchanges: int = 0
    stages: dict[str, Quantiles] = {}
    causes: dict[str, Quantiles] = {}
    sizes: Quantiles = Quantiles()
    size_classes: list[SizeClass] = []
    types: list[TypeFigures] = []
    errors: list[ErrorFigures] = []
    redirected: int = 0
    hops: dict[str, int] = {}
    redirects: list[RedirectFigures] = []
    depths: dict[str, int] = {}
    left_out: list[RuleFigures] = []
    slowest: list[UrlFigures] = []
    largest: list[UrlFigures] = []
    not_records: int = 0
