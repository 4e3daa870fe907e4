"""What a state holds, read without changing it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import msgspec

from fetcher.frontiers.state import read_state, storage_error
from fetcher.model import State

_BY_HOST = """SELECT coalesce(host.name, ''), url.state, count(*) FROM url
 LEFT JOIN host ON host.id = url.host {where} GROUP BY url.host, url.state"""
_BY_ERROR = """SELECT substr(error, 1, instr(error || char(10), char(10)) - 1) AS slug, count(*) FROM url
 WHERE state IN (3, 4) AND error IS NOT NULL {and_where} GROUP BY slug ORDER BY 2 DESC, 1"""
_BY_DEPTH = "SELECT depth, state, count(*) FROM url {where} GROUP BY depth, state ORDER BY depth"
_LEFT_OUT = """SELECT error, count(*) FROM url WHERE state = 7 AND generation >= ? GROUP BY error
 ORDER BY 2 DESC, 1"""
_OF_CRAWL = "state <> 7 AND kinds <> 4"  # neither what rules left out nor sitemaps


class Report(msgspec.Struct, kw_only=True):
    """Counts by state, by host and by error of one run directory.

    Of a crawl also by depth and state, and by the rule that left URLs out; those, and sitemaps, are in no
    other count.
    """

    directory: str
    command: str
    created: str
    states: dict[str, int]
    hosts: dict[str, dict[str, int]]
    errors: dict[str, int]
    bytes: int
    sessions: int
    is_resumable: bool  # URLs are pending, or the last run was interrupted
    running: int | None = None  # the process that is at it
    depths: dict[int, dict[str, int]] = {}
    left_out: dict[str, int] = {}


def read_report(state: Path, directory: str, *, most_hosts: int | None = None) -> Report:
    """Read a run directory's state. Raises `ConfigError` if there is none, `StorageError` if it is bad."""
    with contextlib.closing(read_state(state)) as db:
        try:
            return _report(db, directory, most_hosts)
        except sqlite3.Error as error:
            raise storage_error(error, f"reading {state}") from error


def _report(db: sqlite3.Connection, directory: str, most_hosts: int | None) -> Report:
    meta = dict(db.execute("SELECT name, value FROM meta"))
    states: dict[str, int] = {state.name.lower(): 0 for state in State if state <= State.REFUSED}
    hosts: dict[str, dict[str, int]] = {}
    is_crawl = meta.get("command") == "crawl"
    where, and_where = (f"WHERE {_OF_CRAWL}", f"AND {_OF_CRAWL}") if is_crawl else ("", "")
    for host, number, count in db.execute(_BY_HOST.format(where=where)):
        name = State(number).name.lower()
        states[name] = states.get(name, 0) + count
        counts = hosts.setdefault(host, {})
        counts[name] = counts.get(name, 0) + count
    largest = sorted(hosts, key=lambda host: (-sum(hosts[host].values()), host))[:most_hosts]
    stored = db.execute("SELECT coalesce(sum(bytes), 0) FROM url WHERE path IS NOT NULL").fetchone()[0]
    is_pending = states["pending"] or states.get("withheld")
    report = Report(
        directory=directory,
        command=str(meta.get("command", "")),
        created=str(meta.get("created", "")),
        states=states,
        hosts={host: hosts[host] for host in largest if host},
        errors=dict(db.execute(_BY_ERROR.format(and_where=and_where)).fetchall()),
        bytes=stored,
        sessions=int(meta.get("session", 0)),
        is_resumable=bool(is_pending or not meta.get("is_complete", 1)),
    )
    if is_crawl:
        for depth, number, count in db.execute(_BY_DEPTH.format(where=where)):
            report.depths.setdefault(depth, {})[State(number).name.lower()] = count
        report.left_out = dict(db.execute(_LEFT_OUT, (meta.get("base", 0),)).fetchall())
    return report
