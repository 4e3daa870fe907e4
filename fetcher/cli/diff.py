"""`fetcher diff`: what changed between two run directories, or between two generations of one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fetcher.analysis.differences import UrlDifference

_MOST_SHOWN = 20  # of a kind


@click.command("diff", epilog="Example: fetcher diff monday tuesday")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path), required=False)
@click.option(
    "--json", "as_json", is_flag=True, help="each difference as a JSON object on stdout, no summary"
)
@click.option("-q", "--quiet", is_flag=True, help="print nothing unless something changed")
def command(old: Path, new: Path | None, as_json: bool, quiet: bool) -> int:
    """Tell which URLs are new, changed, moved, gone, newly failing, or recovered from OLD to NEW.

    With one directory: between the last two records of each URL that was asked for again (--refresh,
    --retry-failed). A folder of run directories counts as one. Exit 0 if nothing changed, 1 if anything did.
    """
    import msgspec

    from fetcher.analysis.differences import KINDS, compare_directories, compare_generations
    from fetcher.observers.formatting import count
    from fetcher.policy.redaction import escape_controls_json
    from fetcher.sharding.shard_folders import run_directories

    counts: Counter[str] = Counter()
    olds = run_directories([old])
    found = compare_generations(*olds) if new is None else compare_directories(olds, run_directories([new]))
    for difference in found:
        counts[difference.kind] += 1
        if as_json:
            click.echo(escape_controls_json(msgspec.json.encode(difference)))
        elif counts[difference.kind] <= _MOST_SHOWN:
            print(line_of(difference))
        elif counts[difference.kind] == _MOST_SHOWN + 1:
            print(f"{difference.kind}: further ones are only counted here; --json has all")
    if not as_json and (counts or not quiet):
        parts = [f"{count(counts[kind])} {kind}" for kind in KINDS if counts[kind]]
        print(", ".join(parts) or "nothing changed")
    return 1 if counts else 0


def line_of(difference: UrlDifference) -> str:
    """Return a difference for people."""
    from fetcher.observers.formatting import size
    from fetcher.policy.redaction import shown

    kind, old, new = difference.kind, difference.old, difference.new
    words = ""
    if kind == "moved" and old is not None and new is not None:
        words = f"{shown(old.final_url or '', 200)} → {shown(new.final_url or '', 200)}"
    elif kind == "changed" and old is not None and new is not None:
        words = f"{size(old.bytes)} → {size(new.bytes)}"
    elif kind == "gone" and new is None:
        words = "not listed any more"
    elif new is not None and new.error is not None:
        words = shown(new.error, 80) + (f" {new.status}" if new.status is not None else "")
    return f"{kind}: {shown(difference.url, 500)}{f' ({words})' if words else ''}"
