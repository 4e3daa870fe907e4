"""`fetcher status`: what a run directory holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fetcher.frontiers.report import Report

_HOSTS = 10


@click.command("status", epilog="Example: fetcher status pages --json")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="the whole report as one JSON object on stdout")
def command(directory: Path, as_json: bool) -> int:
    """Show counts by state, by host and by error, and whether the run can be resumed.

    Of a crawl, also by depth, and what its rules left out.
    """
    import msgspec

    from fetcher.directory import RunDirectory
    from fetcher.frontiers.report import read_report

    place = RunDirectory(directory)
    report = read_report(place.state, str(directory), most_hosts=None if as_json else _HOSTS)
    report.running = place.owner() if place.is_locked() else None
    if as_json:
        click.echo(msgspec.json.encode(report))
        return 0
    for line in lines_of(report):
        print(line)
    return 0


def lines_of(report: Report) -> list[str]:
    """The report for people."""
    from fetcher.observers.figures import count, size
    from fetcher.observers.lines import shown

    total = sum(report.states.values())
    lines = [f"{shown(report.directory)}: {count(total)} URLs, {size(report.bytes)}, begun {report.created}"]
    if report.running is not None:
        lines.append(f"  running now, process {report.running}")
    elif report.is_resumable:
        lines.append("  can be resumed: run the same command again")
    else:
        lines.append("  complete")
    lines += _counts("by state", report.states)
    lines += _depths(report.depths, list(report.states))
    lines += _counts("by error", report.errors)
    lines += _counts("left out, by rule", report.left_out)
    if report.hosts:
        lines += ["", f"by host{' (the largest)' if len(report.hosts) == _HOSTS else ''}"]
        for host, states in report.hosts.items():
            parts = ", ".join(f"{count(number)} {name}" for name, number in states.items())
            lines.append(f"  {shown(host, 40):<40} {parts}")
    return lines


def _counts(title: str, rows: Mapping[str, int]) -> list[str]:
    present = [f"  {name:<20} {number:>12,}" for name, number in rows.items() if number]
    return ["", title, *present] if present else []


def _depths(depths: Mapping[int, Mapping[str, int]], states: Sequence[str]) -> list[str]:
    """A row for each depth, and a column for each state that any of them has."""
    present = [state for state in states if any(row.get(state) for row in depths.values())]
    if not present:
        return []
    lines = ["", "by depth".ljust(10) + "".join(f"{state:>12}" for state in present)]
    for depth, row in sorted(depths.items()):
        lines.append(f"  {depth:<8}" + "".join(f"{row.get(state, 0):>12,}" for state in present))
    return lines
