"""The outcome of a run: what a user would look at, without what may differ from run to run."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

_STATES = "SELECT url, state, error, status, sha256, path FROM url WHERE state NOT IN (7)"
_COMPARED = ("state", "error", "status", "sha256", "path", "bytes", "content_type", "final_url")


@dataclass
class Outcome:
    """`rows` by URL, the last record of each URL, the number of records, files by name, lines of data."""

    rows: dict[str, tuple[object, ...]] = field(default_factory=dict)
    records: dict[str, dict[str, object]] = field(default_factory=dict)
    lines: Counter[str] = field(default_factory=Counter)
    files: dict[str, str] = field(default_factory=dict)
    data: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)  # parts, and other things that nobody needs

    def differences(self, wanted: Outcome) -> list[str]:
        """Each difference from `wanted`, in words."""
        found = [f"left behind: {name}" for name in self.left]
        for name in ("rows", "records", "lines", "files", "data"):
            have, should = getattr(self, name), getattr(wanted, name)
            found += [
                f"{name} of {key}: {have.get(key)} and not {should.get(key)}"
                for key in sorted(have.keys() | should.keys())
                if have.get(key) != should.get(key)
            ]
        return found


def outcome_of(out: Path) -> Outcome:
    """Read a run directory."""
    outcome = Outcome()
    with closing(sqlite3.connect(f"file:{out}/.fetcher/state.db?mode=ro", uri=True)) as state:
        for url, number, error, status, digest, path in state.execute(_STATES):
            slug = (error or "").partition("\n")[0]
            outcome.rows[url] = (number, slug, _whole(status), digest and digest.hex(), path)
    for line in _lines(out / "results.jsonl"):
        record = json.loads(line)
        url = record["url"]
        outcome.lines[url] += 1
        outcome.records[url] = {name: record[name] for name in _COMPARED}
        outcome.records[url]["status"] = _whole(record["status"])
    outcome.data.update(_lines(out / "data.jsonl"))
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if name.startswith(".fetcher"):
            if name.startswith(".fetcher/parts/"):
                outcome.left.append(name)
        elif path.is_file() and not name.endswith(".jsonl"):
            outcome.files[name] = sha256(path.read_bytes()).hexdigest()
    return outcome


def completed(out: Path) -> int:
    """The session of the last run, if that came to its end: `--refresh` and `--retry-failed` then begin anew."""
    try:
        with closing(sqlite3.connect(f"file:{out}/.fetcher/state.db?mode=ro", uri=True)) as state:
            meta = dict(state.execute("SELECT name, value FROM meta"))
    except sqlite3.Error:
        return 0
    return int(meta["session"]) if meta.get("is_complete") else 0


def _whole(status: int | None) -> int | None:
    """A body that was continued ended with a 206."""
    return 200 if status == 206 else status


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    text = path.read_text()
    if text and not text.endswith("\n"):
        raise ValueError(f"{path.name} ends in the middle of a line")
    return text.splitlines()
