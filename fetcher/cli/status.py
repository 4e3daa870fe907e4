"""`fetcher status`: what a run directory holds."""

from __future__ import annotations

from pathlib import Path

import click

_HOSTS = 10


@click.command("status", epilog="Example: fetcher status pages --json")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="the whole report as one JSON object on stdout")
def command(directory: Path, as_json: bool) -> int:
    """Show counts by state, by host and by error, and whether the run can be resumed."""
    import msgspec

    from fetcher.directory import RunDirectory
    from fetcher.frontiers.report import read_report

    place = RunDirectory(directory)
    report = read_report(place.state, str(directory), most_hosts=None if as_json else _HOSTS)
    report.running = place.owner() if place.is_locked() else None
    if as_json:
        click.echo(msgspec.json.encode(report))
        return 0
    from fetcher.observers.figures import count, size
    from fetcher.observers.lines import shown

    total = sum(report.states.values())
    print(f"{shown(str(directory))}: {count(total)} URLs, {size(report.bytes)}, begun {report.created}")
    if report.running is not None:
        print(f"  running now, process {report.running}")
    elif report.is_resumable:
        print("  can be resumed: run the same command again")
    else:
        print("  complete")
    for title, rows in (("by state", report.states), ("by error", report.errors)):
        present = {name: number for name, number in rows.items() if number}
        if present:
            print(f"\n{title}")
            for name, number in present.items():
                print(f"  {name:<20} {count(number):>12}")
    if report.hosts:
        print(f"\nby host{' (the largest)' if len(report.hosts) == _HOSTS else ''}")
        for host, states in report.hosts.items():
            parts = ", ".join(f"{count(number)} {name}" for name, number in states.items())
            print(f"  {shown(host, 40):<40} {parts}")
    return 0
