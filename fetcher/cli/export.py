"""`fetcher export`: records, bodies or parsed data as a table."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("export", epilog="Example: fetcher export pages pages.parquet --bodies")
@click.argument("directories", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="DIR...")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--bodies", is_flag=True, help="also the bodies, as the column body (not in CSV)")
@click.option("--data", is_flag=True, help="what the parser returned (data.jsonl) instead of the records")
@click.option("--overwrite", is_flag=True, help="replace FILE if it is there")
@click.option("-q", "--quiet", is_flag=True, help="print nothing unless something is missing")
def command(
    directories: tuple[Path, ...], file: Path, bodies: bool, data: bool, overwrite: bool, quiet: bool
) -> int:
    """Write the last record of each URL of run directories, or of a folder of them, to a table.

    FILE ends in .parquet, .arrow, .feather, .csv, .csv.gz, .sqlite or .db. Columns of the input
    follow as meta.NAME. Exit 1 if a body is not there as it was stored.
    """
    from fetcher.analysis.export import export_data, export_records
    from fetcher.analysis.stored_bodies import LARGEST_BODY
    from fetcher.errors import ConfigError
    from fetcher.observers.formatting import count, plural, size
    from fetcher.policy.redaction import shown
    from fetcher.sharding.shard_folders import run_directories

    if bodies and data:
        raise ConfigError("--bodies: --data has none", hint="export them to two files")
    roots = run_directories(directories)
    if data:
        exported = export_data(roots, file, overwrite=overwrite)
    else:
        exported = export_records(roots, file, bodies=bodies, overwrite=overwrite)
    if not quiet:
        print(f"{shown(str(file))}: {plural(exported.rows, 'row')}", file=sys.stderr)
    if exported.not_records:
        what = "line is no record" if exported.not_records == 1 else "lines are no records"
        print(f"{count(exported.not_records)} {what}: fetcher verify says which", file=sys.stderr)
    if exported.too_large:
        print(
            f"left out: {plural(exported.too_large, 'body')} of more than {size(LARGEST_BODY)}",
            file=sys.stderr,
        )
    if exported.missing:
        missing = "it is" if exported.missing == 1 else "they are"
        print(
            f"left out: {plural(exported.missing, 'body')}: {missing} not there as stored;"
            " fetcher verify says which",
            file=sys.stderr,
        )
    return 1 if exported.missing else 0
