"""`fetcher verify`: state, records and files of a run directory against each other."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fetcher.verification.check import CheckProgress
    from fetcher.verification.findings import Finding, Verdict

_MOST_SHOWN = 20  # of a kind
_EVERY_S, _EVERY_S_LIVE = 10.0, 0.2


@click.command("verify", epilog="Example: fetcher verify pages --repair")
@click.argument("directories", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="DIR...")
@click.option("--fast", is_flag=True, help="lengths of files only, not their content")
@click.option("--repair", is_flag=True, help="put back what is off, to be fetched again by the next run")
@click.option(
    "--rebuild", is_flag=True, help="make a lost or damaged state, or results.jsonl, anew from what is there"
)
@click.option(
    "--checksums", metavar="FILE", multiple=True, help="SHA256SUMS and the like, to be met too; repeatable"
)
@click.option(
    "--json", "as_json", is_flag=True, help="each finding as a JSON object on stdout, then a summary"
)
@click.option("-q", "--quiet", is_flag=True, help="print nothing unless something is off")
def command(
    directories: tuple[Path, ...],
    fast: bool,
    repair: bool,
    rebuild: bool,
    checksums: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> int:
    """Check every file against its recorded length and hash, and state and records against each other.

    Several directories, or a folder of them, are checked one after another. Exit 0 if nothing
    is off (any more), 1 if something is, 2 if it is no run directory, 3 if a run is under way there, 5 if the
    state can't be read.
    """
    from fetcher.errors import ConfigError, FetcherError
    from fetcher.run_dir import RunDirectory
    from fetcher.setting_files import read_checksums
    from fetcher.sharding.shard_folders import run_directories
    from fetcher.verification.findings import Verdict
    from fetcher.verification.verify import Verification

    if fast and checksums:
        raise ConfigError("--checksums: cannot stand together with --fast, which reads no file")
    display = _Display(as_json=as_json, quiet=quiet)
    found = run_directories(directories)
    total = Verdict()
    lists = read_checksums(checksums, lambda _, text: display.say(text))
    unchecked: list[FetcherError] = []
    for directory in found:
        display.directory = str(directory) if len(found) > 1 else None
        verification = Verification(
            RunDirectory(directory),
            fast=fast,
            repair=repair,
            rebuild=rebuild,
            tell=display.tell,
            say=display.say,
            progress=display.progress,
            lists=lists,
        )
        try:
            total.add(verification.run())
        except FetcherError as error:
            if len(found) == 1:
                raise
            unchecked.append(error)
            display.say_error(error.message)
        finally:
            display.clear()
    if len(unchecked) < len(found):
        display.sum_up(total, [str(path) for path in directories], repairs=repair)
    if unchecked:
        raise unchecked[0]
    return 1 if total.off else 0


class _Display:
    """The output of a verification: findings on standard output, progress and deeds on standard error."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        import os

        from fetcher.observers.line_display import can_animate

        self.directory: str | None = None  # one of several
        self._as_json = as_json
        self._quiet = quiet
        self._is_live = not quiet and can_animate(sys.stderr, os.environ)
        self._every_s = _EVERY_S_LIVE if self._is_live else _EVERY_S
        self._told_at = time.monotonic()
        self._has_line = False
        self._shown: Counter[str] = Counter()

    def tell(self, finding: Finding) -> None:
        """Print a finding: all of them as JSON, else the first of each kind."""
        if self._as_json:
            click.echo(_json(finding, self.directory))
            return
        from fetcher.verification.findings import KINDS

        if self._quiet and not KINDS[finding.kind].is_off:
            return
        self._shown[finding.kind] += 1
        if self._shown[finding.kind] <= _MOST_SHOWN:
            self._report(_line(finding, self.directory))
        elif self._shown[finding.kind] == _MOST_SHOWN + 1:
            self._report(f"{finding.kind}: further ones are only counted here; --json has all")

    def say(self, text: str) -> None:
        """Say what was done."""
        if not self._quiet:
            self._print(text if self.directory is None else f"{self.directory}: {text}")

    def say_error(self, text: str) -> None:
        """Say why one of several directories can't be checked."""
        self._print(f"not checked: {text}")

    def progress(self, progress: CheckProgress) -> None:
        """Show how far it has come, now and then."""
        now = time.monotonic()
        if self._quiet or now - self._told_at < self._every_s:
            return
        self._told_at = now
        text = _progress_line(progress)
        if self._is_live:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._has_line = True
        else:
            self._print(text)

    def clear(self) -> None:
        """Take the line of progress away."""
        if self._has_line:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._has_line = False

    def sum_up(self, verdict: Verdict, directories: Sequence[str], *, repairs: bool) -> None:
        """Print the summary."""
        if self._as_json:
            click.echo(_json_summary(verdict))
        elif not self._quiet or verdict.off:
            for line in summary_of(verdict, directories, repairs=repairs):
                self._report(line)

    def _report(self, text: str) -> None:
        self.clear()
        print(text)

    def _print(self, text: str) -> None:
        self.clear()
        print(text, file=sys.stderr, flush=True)


def summary_of(verdict: Verdict, directories: Sequence[str], *, repairs: bool) -> list[str]:
    """Return the last lines for people: what was looked at, what was found, and what to do."""
    from fetcher.observers.formatting import count, duration, plural, size
    from fetcher.policy.redaction import shown
    from fetcher.verification.findings import KINDS

    read = f" ({size(verdict.bytes)} read)" if verdict.bytes else ""
    looked_at = f"{plural(verdict.urls, 'URL')}, {plural(verdict.files, 'file')}{read}"
    lines = [
        (
            f"{', '.join(map(shown, directories))}: {looked_at},"
            f" {plural(verdict.records, 'record')} in {duration(verdict.elapsed)}"
        )
    ]
    for kind, what in KINDS.items():
        if number := verdict.found[kind]:
            mended = f", {count(verdict.mended[kind])} mended" if verdict.mended[kind] else ""
            note = "" if what.is_off else " (not off)"
            lines.append(f"  {kind:<15} {count(number):>9}  {what.words}{note}{mended}")
    return lines + _advice(verdict, directories, repairs=repairs)


def _advice(verdict: Verdict, directories: Sequence[str], *, repairs: bool) -> list[str]:
    """Return how it stands, and what to do about what is off."""
    import shlex

    from fetcher.verification.findings import OF_ARCHIVES, OF_FILES, OF_RECORDS

    lines = []
    name = shlex.join(directories)
    left = {kind for kind, number in verdict.left().items() if number}
    was_put_back = any(verdict.mended[kind] for kind in OF_FILES)
    if not left:
        lines.append("nothing is off any more" if verdict.mended else "nothing is off")
    if repairs and was_put_back:
        lines.append("the next run fetches what was put back")
        lines.append("what stood there is in .fetcher/damaged of its directory")
    if left & OF_ARCHIVES:
        lines.append("archives are not mended: give the run's command again with --restart to have them anew")
    if left - OF_RECORDS - OF_ARCHIVES:
        lines.append(f"to have that fetched again by the next run:  fetcher verify {name} --repair")
    if left & OF_RECORDS:
        lines.append(f"to make results.jsonl anew from the state:   fetcher verify {name} --rebuild")
    return lines


def _line(finding: Finding, directory: str | None) -> str:
    from fetcher.policy.redaction import shown

    words = [f"{finding.kind}:"]
    if finding.line is not None:
        words.append(f"line {finding.line:,}")
    path = f"{directory}/{finding.path}" if directory and finding.path else finding.path or directory
    words += [shown(text, 500) for text in (path, finding.url) if text]
    if finding.message:
        words.append(f"({shown(finding.message, 200)})")
    return " ".join(words)


def _progress_line(progress: CheckProgress) -> str:
    from fetcher.observers.formatting import count, size

    parts = [f"{progress.phase}: {count(progress.done)}"]
    if progress.phase == "records":
        parts = [f"records: {size(progress.done)} of {size(progress.total)}"]
    elif progress.total:
        parts = [f"{progress.phase}: {count(progress.done)} of {count(progress.total)}"]
    if progress.bytes:
        parts.append(f"{size(progress.bytes)} read")
    return " · ".join(parts)


def _json(finding: Finding, directory: str | None) -> bytes:
    """Return a finding as it may be shown on a terminal, without the row's number."""
    import msgspec

    from fetcher.policy.redaction import escape_controls_json, mask
    from fetcher.verification.findings import KINDS

    value = {
        "kind": finding.kind,
        "off": KINDS[finding.kind].is_off,
        "path": finding.path,
        "url": None if finding.url is None else mask(finding.url),
        "line": finding.line,
        "message": finding.message,
        **({} if directory is None else {"directory": directory}),
    }
    return escape_controls_json(msgspec.json.encode(value))


def _json_summary(verdict: Verdict) -> bytes:
    import msgspec

    return msgspec.json.encode(
        {
            "summary": True,
            "off": verdict.off,
            "found": dict(verdict.found),
            "mended": dict(verdict.mended),
            "urls": verdict.urls,
            "files": verdict.files,
            "bytes": verdict.bytes,
            "records": verdict.records,
            "elapsed": verdict.elapsed,
        }
    )
