"""`fetcher report`: one HTML file that shows how a run went."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("report", epilog="Example: fetcher report pages -o report.html")
@click.argument("directories", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="DIR...")
@click.option(
    "-o",
    "--output",
    "file",
    metavar="FILE",
    help="the page's file, - is stdout (default: DIRECTORY-report.html)",
)
@click.option("--json", "as_json", is_flag=True, help="the figures as one JSON object on stdout, no page")
@click.option("-q", "--quiet", is_flag=True, help="do not say where the page is")
def command(directories: tuple[Path, ...], file: str | None, as_json: bool, quiet: bool) -> int:
    """Make a page of how a run went: what ended how, when, where its time went, and what failed.

    The page is one file that asks nothing of anybody, and takes the place of an earlier report. It may be
    made while a run is going on. Several directories, or a folder of them, make one page.
    """
    import msgspec

    from fetcher.analysis.report.figures import read_figures
    from fetcher.analysis.report.report_file import write_report
    from fetcher.analysis.report.report_page import report_page
    from fetcher.errors import ConfigError
    from fetcher.native import argument_text
    from fetcher.policy.redaction import escape_controls_json, shown
    from fetcher.sharding.shard_folders import run_directories

    if (last := directories[-1]).suffix == ".html" and not last.is_dir():
        raise ConfigError(f"{shown(str(last))} is not a run directory", hint="the page's name: --output FILE")
    if as_json and file is not None:
        raise ConfigError("--json: it writes no page", hint="leave --output away, or call it twice")
    directory = directories[0]
    name = ", ".join(argument_text(str(path)) for path in directories)
    figures = read_figures(run_directories(directories), name)
    if as_json:
        click.echo(escape_controls_json(msgspec.json.encode(figures)))
        return 0
    page = report_page(figures)
    if file == "-":
        click.echo(page, nl=False)
        return 0
    root = directory.resolve()
    path = Path(file) if file is not None else directory.parent / f"{root.name or 'root'}-report.html"
    if file is None and directory.name != root.name:  # `.` or `..`: beside what it stands for
        path = root.parent / path.name
    write_report(path, page)
    if not quiet:
        print(shown(str(path)), file=sys.stderr)
    return 0
