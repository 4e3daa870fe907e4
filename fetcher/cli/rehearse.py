"""`--dry-run`: read, check, name and count; fetch nothing and write nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from fetcher.compose import run_loop
from fetcher.model import Job
from fetcher.observers.figures import plural
from fetcher.observers.lines import shown
from fetcher.ports import Source
from fetcher.rehearsal import rehearse
from fetcher.settings import Command, Settings

_MOST_REFUSED = 20


def run_rehearsal(settings: Settings, sources: Sequence[Source], command: Command) -> int:
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

    added = run_loop(rehearse(settings, sources, show, command))
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
