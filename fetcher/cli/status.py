"""`fetcher status`: what a run directory holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fetcher.frontiers.sqlite.report import Report
    from fetcher.sharding.shard_folders import ShardCounts

_HOSTS = 10
_BODIES = 10
_MOST_MISSING = 20


@click.command("status", epilog="Example: fetcher status pages --json")
@click.argument("directories", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="DIR...")
@click.option("--json", "as_json", is_flag=True, help="the whole report as one JSON object on stdout")
def command(directories: tuple[Path, ...], as_json: bool) -> int:
    """Show counts by state, by host and by error, and whether the run can be resumed.

    Of a crawl, also by depth, and what its rules left out; of large bodies, how far they have come. Of
    several directories, or of a folder of them, the sum; of shards, which are missing.
    """
    import msgspec

    from fetcher.analysis.broken_links import read_link_check
    from fetcher.frontiers.sqlite.report import read_report
    from fetcher.kept_output import read_output
    from fetcher.native import argument_text
    from fetcher.run_dir import RunDirectory
    from fetcher.sharding.merged_report import merged
    from fetcher.sharding.shard_folders import count_shards, run_directories

    found = run_directories(directories)
    most_hosts = None if as_json else _HOSTS
    reports = []
    for directory in found:
        place = RunDirectory(directory)
        report = read_report(place.state, argument_text(str(directory)), most_hosts=most_hosts)
        if (kept := read_output(place)) is not None:
            report.objects = kept.url
        report.running = place.owner() if place.is_locked() else None
        if (check := read_link_check(place)) is not None:
            report.broken_links = check.broken
        reports.append(report)
    if len(directories) == len(found) == 1 and directories[0] == found[0]:
        shards = None
    else:
        name = ", ".join(argument_text(str(path)) for path in directories)
        shards = count_shards(found)
        report = merged(reports, name, shards, most_hosts=most_hosts)
    if as_json:
        value = msgspec.to_builtins(report, str_keys=True)
        if len(reports) > 1:
            value["directories"] = [each.directory for each in reports]
        if shards is not None:
            value["shards"] = msgspec.to_builtins(shards, str_keys=True)
        click.echo(msgspec.json.encode(value))
        return 0
    for line in lines_of(report, shards):
        print(line)
    return 0


def lines_of(report: Report, shards: ShardCounts | None = None) -> list[str]:
    """Return the report for people."""
    from fetcher.frontiers.sqlite.report import standing
    from fetcher.observers.formatting import count, plural, size
    from fetcher.policy.redaction import shown

    total = sum(report.states.values())
    lines = [
        f"{shown(report.directory)}: {plural(total, 'URL')}, {size(report.bytes)}, begun {report.created}"
    ]
    if report.objects is not None:
        lines.append(f"  bodies in {shown(report.objects)}")
    lines.append(f"  {standing(report.states, is_resumable=report.is_resumable, running=report.running)}")
    if shards is not None:
        lines += _shards(shards)
    if report.bottleneck is not None:
        when = "so far" if report.running is not None else "in the last run"
        lines.append(f"  {when}: {shown(report.bottleneck.text)}")
    lines += _counts("by state", report.states)
    lines += _depths(report.depths, list(report.states))
    lines += _counts("by error", report.errors)
    lines += _counts("left out, by rule", report.left_out)
    if report.broken_links is not None:
        lines += ["", f"broken links: {count(report.broken_links)} of the URLs that were checked"]
    if report.growing:
        lines += ["", "bodies that grow" if report.running else "bodies that are partly there"]
        for body in report.growing[:_BODIES]:
            whole = (
                "" if body.total is None else f" of {size(body.total)}, {100 * body.bytes // body.total} %"
            )
            lines.append(f"  {shown(body.url, 60):<60} {size(body.bytes)}{whole}")
        if len(report.growing) > _BODIES:
            lines.append(f"  and {count(len(report.growing) - _BODIES)} more")
    if report.hosts:
        lines += ["", f"by host{' (the largest)' if len(report.hosts) == _HOSTS else ''}"]
        for host, states in report.hosts.items():
            parts = ", ".join(f"{count(number)} {name}" for name, number in states.items())
            lines.append(f"  {shown(host, 40):<40} {parts}")
    return lines


def _shards(shards: ShardCounts) -> list[str]:
    """Return what there is of the shards, and what is still to be delivered to which."""
    from fetcher.observers.formatting import count

    there = shards.count - len(shards.missing)
    lines = [f"  {count(there)} of {count(shards.count)} shards"]
    if shards.missing:
        shown = [f"{index}/{shards.count}" for index in shards.missing[:_MOST_MISSING]]
        more = (
            f" and {count(len(shards.missing) - _MOST_MISSING)} more"
            if shards.missing[_MOST_MISSING:]
            else ""
        )
        lines.append(f"  not there: {', '.join(shown)}{more}")
    for index, links in shards.undelivered.items():
        lines.append(
            f"  {count(links)} links wait to be read by the next run of shard {index}/{shards.count}"
        )
    return lines


def _counts(title: str, rows: Mapping[str, int]) -> list[str]:
    present = [f"  {name:<20} {number:>12,}" for name, number in rows.items() if number]
    return ["", title, *present] if present else []


def _depths(depths: Mapping[int, Mapping[str, int]], states: Sequence[str]) -> list[str]:
    """Return a row for each depth, and a column for each state that any of them has."""
    present = [state for state in states if any(row.get(state) for row in depths.values())]
    if not present:
        return []
    lines = ["", "by depth".ljust(10) + "".join(f"{state:>12}" for state in present)]
    for depth, row in sorted(depths.items()):
        lines.append(f"  {depth:<8}" + "".join(f"{row.get(state, 0):>12,}" for state in present))
    return lines
