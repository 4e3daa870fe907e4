"""One report on several run directories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from fetcher.frontiers.sqlite.report import Report
from fetcher.sharding.shard_folders import ShardCounts

K = TypeVar("K")


def merged(
    reports: Sequence[Report], directory: str, shards: ShardCounts | None, *, most_hosts: int | None = None
) -> Report:
    """Return the sum of reports, named `directory`; for it to be complete, all `shards` must be there."""
    hosts = _nested_sums(report.hosts for report in reports)
    largest = sorted(hosts, key=lambda host: (-sum(hosts[host].values()), host))[:most_hosts]
    broken = [report.broken_links for report in reports if report.broken_links is not None]
    is_waiting = shards is not None and bool(shards.missing or shards.undelivered)
    return Report(
        directory=directory,
        command=" and ".join(sorted({report.command for report in reports})),
        created=min(report.created for report in reports),
        states=_sums(report.states for report in reports),
        hosts={host: hosts[host] for host in largest},
        errors=_by_number(_sums(report.errors for report in reports)),
        bytes=sum(report.bytes for report in reports),
        sessions=sum(report.sessions for report in reports),
        is_resumable=is_waiting or any(report.is_resumable for report in reports),
        running=next((report.running for report in reports if report.running is not None), None),
        depths=dict(sorted(_nested_sums(report.depths for report in reports).items())),
        broken_links=sum(broken) if broken else None,
        left_out=_by_number(_sums(report.left_out for report in reports)),
        growing=sorted((body for report in reports for body in report.growing), key=lambda body: -body.bytes),
    )


def _sums(counts: Iterable[Mapping[K, int]]) -> dict[K, int]:
    total: dict[K, int] = {}
    for one in counts:
        for key, number in one.items():
            total[key] = total.get(key, 0) + number
    return total


def _nested_sums(counts: Iterable[Mapping[K, dict[str, int]]]) -> dict[K, dict[str, int]]:
    total: dict[K, dict[str, int]] = {}
    for one in counts:
        for key, numbers in one.items():
            total[key] = _sums((total.get(key, {}), numbers))
    return total


def _by_number(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
