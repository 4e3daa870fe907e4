"""The last lines of a run: how many ended how, how fast, what went wrong, and what to type next.

Pure: a snapshot in, lines out, plain text without colour, no line longer than what it quotes.
"""

from __future__ import annotations

from fetcher.events import Snapshot
from fetcher.observers.formatting import count, duration, plural, rate, size
from fetcher.policy.redaction import escape_controls, shown

_COMMONEST = 5


def summary_lines(
    snapshot: Snapshot,
    *,
    stopped: str | None,
    continue_command: str | None,
    retry_command: str | None,
    directory: str,
) -> list[str]:
    """Return the summary of a run that is over.

    `stopped` says why it ended early, in words that follow "stopped:". The commands are shown as they
    are, ready to be copied; `directory` may be empty where nothing is kept.
    """
    if snapshot.earlier and snapshot.ended == snapshot.earlier and not snapshot.pending and stopped is None:
        lines = [_nothing_left(snapshot)]
    else:
        lines = [_headline(snapshot, directory), *_table(_states(snapshot))]
    if snapshot.bottleneck is not None:
        lines += ["", escape_controls(snapshot.bottleneck.text)]
    if snapshot.errors:
        lines += ["", *_errors(snapshot.errors)]
    if snapshot.hook_failures:
        lines += ["", f"failures of --on-done: {count(snapshot.hook_failures)}"]
    if stopped is not None and snapshot.hooks_left:
        lines += ["", "some files wait for --on-done: the next run begins with them"]
    if snapshot.left_out:
        lines += ["", *_left_out(snapshot.left_out)]
    advice = _advice(snapshot, stopped, continue_command, retry_command)
    if advice:
        lines += ["", *advice]
    return lines


def _headline(snapshot: Snapshot, directory: str) -> str:
    fetched = max(snapshot.ended - snapshot.earlier, 0)
    parts = [f"{plural(fetched, 'URL')} in {duration(snapshot.elapsed_s)}"]
    if fetched and snapshot.elapsed_s > 0:
        parts[0] += f" ({rate(fetched / snapshot.elapsed_s)})"
    stored = size(snapshot.bytes)
    if directory:
        stored += f" in {escape_controls(directory)}"
    parts.append(stored)
    if snapshot.wire_bytes and snapshot.wire_bytes != snapshot.bytes:
        parts.append(f"{size(snapshot.wire_bytes)} received")
    return ", ".join(parts)


def _nothing_left(snapshot: Snapshot) -> str:
    ended = [f"{count(number)} {state}" for state, number in snapshot.finals().items() if number]
    return f"nothing left to fetch: {', '.join(ended)} before"


def _states(snapshot: Snapshot) -> list[tuple[str, int, str]]:
    rows = [
        *((state, number, "") for state, number in snapshot.finals().items()),
        ("left", snapshot.pending, ""),
        ("duplicates", snapshot.duplicates, "listed more than once, fetched once"),
        ("earlier", snapshot.earlier, "of these had ended before this run"),
    ]
    return [row for row in rows if row[1] or row[0] == "done"]


def _errors(errors: dict[str, int]) -> list[str]:
    ranked = sorted(errors.items(), key=lambda item: (-item[1], item[0]))
    lines = [
        "errors:",
        *_table([(escape_controls(slug, 40), number, "") for slug, number in ranked[:_COMMONEST]]),
    ]
    rest = ranked[_COMMONEST:]
    if rest:
        others = sum(number for _, number in rest)
        lines.append(f"  and {count(others)} of {plural(len(rest), 'other kind')}")
    return lines


def _left_out(rules: dict[str, int]) -> list[str]:
    ranked = sorted(rules.items(), key=lambda item: (-item[1], item[0]))
    return [
        "left out by rules:",
        *_table([(escape_controls(rule, 40), number, "") for rule, number in ranked]),
    ]


def _advice(
    snapshot: Snapshot, stopped: str | None, continue_command: str | None, retry_command: str | None
) -> list[str]:
    lines = []
    if stopped is not None:
        left = f"; {plural(snapshot.pending, 'URL')} left" if snapshot.pending else ""
        lines.append(f"stopped: {shown(stopped)}{left}")
    commands = [("to continue:", continue_command), ("to try the failed ones again:", retry_command)]
    known = [(label, command) for label, command in commands if command]
    width = max((len(label) for label, _ in known), default=0)
    return lines + [f"{label:<{width}}  {escape_controls(command)}" for label, command in known]


def _table(rows: list[tuple[str, int, str]]) -> list[str]:
    names = max(len(name) for name, _, _ in rows)
    figures = max(len(count(number)) for _, number, _ in rows)
    return [f"  {name:<{names}}  {count(number):>{figures}}  {note}".rstrip() for name, number, note in rows]
