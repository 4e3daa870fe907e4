"""Report on a state, read without changing it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from fetcher.frontiers.soundness import DAMAGE, SUSPICIOUS, damage_of, damaged
from fetcher.frontiers.sqlite.schema import read_state, storage_error
from fetcher.frontiers.sqlite.timing_rows import read_bottleneck
from fetcher.frontiers.sqlite.url_rows import sql
from fetcher.model import FINAL_STATES, Bottleneck, Part, State

_BY_HOST = """SELECT coalesce(host.name, ''), url.state, count(*) FROM url
 LEFT JOIN host ON host.id = url.host {where} GROUP BY url.host, url.state"""
_BY_ERROR = sql("""SELECT substr(error, 1, instr(error || char(10), char(10)) - 1) AS slug, count(*) FROM url
 WHERE state IN :UNSUCCESSFUL AND error IS NOT NULL {and_where} GROUP BY slug ORDER BY 2 DESC, 1""")
_BY_DEPTH = "SELECT depth, state, count(*) FROM url {where} GROUP BY depth, state ORDER BY depth"
_LEFT_OUT = sql("""SELECT error, count(*) FROM url WHERE state = :LEFT_OUT AND generation >= ? GROUP BY error
 ORDER BY 2 DESC, 1""")
_PARTS = "SELECT coalesce(url.given, url.url), part.part FROM part JOIN url ON url.id = part.url"
_OF_CRAWL = sql("state <> :LEFT_OUT AND kinds <> 4")  # neither what rules left out nor sitemaps


class GrowingBody(msgspec.Struct):
    """A body that is partly there, in bytes: it grows at this moment, or waits to be continued."""

    url: str
    bytes: int
    total: int | None  # None: not known


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
    objects: str | None = None  # the object store that the bodies are in
    running: int | None = None  # the process that is at it
    depths: dict[int, dict[str, int]] = {}
    left_out: dict[str, int] = {}
    broken_links: int | None = None  # URLs, of a link check
    growing: list[GrowingBody] = []  # the largest first
    bottleneck: Bottleneck | None = None  # of the last run


def standing(states: Mapping[str, int], *, is_resumable: bool, running: int | None) -> str:
    """Return in words whether a run goes on, can be gone on with, or is complete."""
    if running is not None:
        return f"running now, process {running}"
    if not is_resumable:
        return "complete"
    if states.get("pending") or states.get("withheld"):
        return "can be resumed: run the same command again"
    return "was stopped, and nothing waits: the same command sees whether there is more to read"


def read_report(state: Path, directory: str, *, most_hosts: int | None = None) -> Report:
    """Read a run directory's state. Raises `ConfigError` if there is none, `StorageError` if it is bad."""
    with reading(state) as db:
        return _report(db, directory, most_hosts)


@contextlib.contextmanager
def reading(state: Path) -> Iterator[sqlite3.Connection]:
    """Open a state for reading only; what fails because it is damaged is a `StorageError`.

    Raises:
        ConfigError: there is none.
    """
    with contextlib.closing(read_state(state)) as db:
        try:
            yield db
        except sqlite3.Error as error:
            raise storage_error(error, "reading it", state) from error
        except (*DAMAGE, *SUSPICIOUS) as error:
            damage = damage_of(db)
            if damage is None and not isinstance(error, DAMAGE):
                raise  # a defect
            raise damaged(state, damage or error) from error


def _report(db: sqlite3.Connection, directory: str, most_hosts: int | None) -> Report:
    meta = dict(db.execute("SELECT name, value FROM meta"))
    states: dict[str, int] = dict.fromkeys(("pending", *FINAL_STATES), 0)
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
    report.growing = _growing(db)
    report.bottleneck = read_bottleneck(db, report.sessions)
    return report


def _growing(db: sqlite3.Connection) -> list[GrowingBody]:
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'part'").fetchone() is None:
        return []
    bodies = []
    for url, text in db.execute(_PARTS):
        with contextlib.suppress(msgspec.MsgspecError):
            part = msgspec.json.decode(text, type=Part)
            there = sum(end - start for start, end in part.extents)
            bodies.append(GrowingBody(url, there, part.total))
    return sorted(bodies, key=lambda body: -body.bytes)
