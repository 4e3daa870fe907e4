"""`--dry-run`: read, check, name and count; fetch nothing and write nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence

from fetcher.dry_run import dry_run
from fetcher.model import Job
from fetcher.observers.formatting import plural
from fetcher.policy.redaction import shown
from fetcher.ports import Source
from fetcher.settings import Command, Settings
from fetcher.wiring import run_loop

_MOST_REFUSED = 20


def tell(level: str, text: str) -> None:
    """Say what should be known of a list."""
    print(shown(text if level == "info" else f"{level}: {text}"), file=sys.stderr)


def show_dry_run(
    settings: Settings,
    sources: Sequence[Source],
    command: Command,
    list_again: Callable[[], Sequence[Source]] | None = None,
) -> int:
    """Print `path<TAB>URL` of what would be fetched on standard output, and the count of it after."""
    refused: list[Job] = []
    found = Counter({"to fetch": 0, "refused": 0})

    def show(job: Job) -> None:
        if job.refusal is not None:
            found["refused"] += 1
            if len(refused) < _MOST_REFUSED:
                refused.append(job)
            return
        found["to fetch"] += 1
        if not settings.quiet:
            print(f"{shown(job.path or '-')}\t{shown(job.url)}")

    added = run_loop(dry_run(settings, sources, show, command, list_again))
    for job in refused:
        assert job.refusal is not None
        where = f"{job.source}:{job.line}: " if job.source else ""
        print(f"refused: {shown(where + job.url, 300)}: {shown(job.refusal[1])}", file=sys.stderr)
    rows = {
        **found,
        "done already": sum(added.finals.values()),
        "duplicates": added.duplicates,
    }
    if not settings.quiet:
        counted = ", ".join(f"{number:,} {name}" for name, number in rows.items() if number)
        print(f"dry run: {counted or plural(0, 'URL')}", file=sys.stderr)
    return 1 if found["refused"] else 0
