"""Links between the shards of a crawl: files from one run directory, read by the next run of another.

A link to a host of another shard is left out here, and its row names the rule `other-shard`. Such rows are
posted: batched, one file for each shard that they are for, in `outbox/SHARD/` of the sender. Invariants:

- a file is whole from the moment that it has its name, and never changes;
- a link is in a file before its row is forgotten to be posted, so a kill posts twice and loses nothing;
- a receiver notes the files that it read in the transaction that takes their links.

A link is posted again when it is found at a smaller depth: so each shard comes to the depths that one crawl
of the whole would have.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from fetcher.errors import StorageError
from fetcher.frontiers.sqlite.interning import InternTable
from fetcher.policy.shares import ShareRules
from fetcher.whole_file import replacing

OTHER_SHARD = "other-shard"
_POSTED_AT = 10_000  # links
_TABLES = (
    "CREATE TABLE IF NOT EXISTS outgoing (url INTEGER PRIMARY KEY)",
    """CREATE TABLE IF NOT EXISTS incoming (sender INTEGER, file TEXT,
 PRIMARY KEY (sender, file)) WITHOUT ROWID""",
)
_POSTED = """SELECT url.url, url.host, url.parent, url.depth, url.hops, url.kinds, url.rank FROM outgoing
 JOIN url ON url.id = outgoing.url ORDER BY url.id"""


class PostedLink(msgspec.Struct, omit_defaults=True):
    """A link as it is posted: where it leads, and the nearest path on which it was found."""

    url: str
    parent: str | None
    depth: int
    hops: int
    kinds: int
    rank: int


class ShardPost:
    """Places of the post of one shard: its own `outbox`, and by sender the folders of files for it."""

    def __init__(self, rules: ShareRules, outbox: Path, inboxes: Callable[[], Mapping[int, Path]]) -> None:
        self.rules = rules
        self.outbox = outbox
        self.inboxes = inboxes


class PostRows:
    """The post of one session, inside the frontier's transactions."""

    def __init__(self, db: sqlite3.Connection, interned: InternTable, post: ShardPost, session: int) -> None:
        self._db = db
        self._interned = interned
        self._post = post
        self._session = session
        self._files = 0
        for statement in _TABLES:
            db.execute(statement)
        self._waiting: int = db.execute("SELECT count(*) FROM outgoing").fetchone()[0]

    def forget(self) -> None:
        """Begin anew, for a crawl that asks for everything again: all posts are read again, its own go."""
        self._db.execute("DELETE FROM incoming")
        self._db.execute("DELETE FROM outgoing")
        self._waiting = 0
        import shutil  # noqa: PLC0415  (heavy, and rarely needed)

        shutil.rmtree(self._post.outbox, ignore_errors=True)

    def note(self, numbers: Iterable[int]) -> None:
        """Note rows that are to be posted, and post them once they are many."""
        insert = "INSERT OR IGNORE INTO outgoing VALUES (?)"
        self._waiting += self._db.executemany(insert, ((number,) for number in numbers)).rowcount
        if self._waiting >= _POSTED_AT:
            self.send()

    def send(self) -> None:
        """Write what waits to files.

        Raises:
            StorageError: they can't be written; what waits goes on waiting.
        """
        links: dict[int, list[bytes]] = {}
        for url, host, *place in self._db.execute(_POSTED):
            owner = self._post.rules.owner(self._interned.target(url, host))
            links.setdefault(owner, []).append(msgspec.json.encode(PostedLink(url, *place)) + b"\n")
        try:
            for owner, lines in links.items():
                self._write(self._post.outbox / str(owner), lines)
        except OSError as error:
            raise StorageError(f"cannot write {self._post.outbox}: {error.strerror}") from error
        self._db.execute("DELETE FROM outgoing")
        self._waiting = 0

    def receive(self) -> Iterator[PostedLink]:
        """Yield the links of files that were not read before. Lines that are none are passed over.

        Raises:
            StorageError: a file can't be read.
        """
        decode = msgspec.json.Decoder(PostedLink).decode
        for sender, path in self._unread():
            try:
                lines = path.read_bytes().splitlines()
            except OSError as error:
                raise StorageError(f"cannot read {path}: {error.strerror}") from error
            for line in lines:
                with contextlib.suppress(msgspec.MsgspecError):
                    yield decode(line)
            self._db.execute("INSERT INTO incoming VALUES (?, ?)", (sender, path.name))

    def _unread(self) -> Iterator[tuple[int, Path]]:
        known = set(self._db.execute("SELECT sender, file FROM incoming"))
        for sender, folder in sorted(self._post.inboxes().items()):
            for path in sorted(folder.glob("*.jsonl")):
                if (sender, path.name) not in known:
                    yield sender, path

    def _write(self, folder: Path, lines: list[bytes]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = self._next(folder)
        while path.exists():  # of a state that was lost, and is made anew
            path = self._next(folder)
        with replacing(path, path.with_suffix(".new")) as file:
            file.writelines(lines)

    def _next(self, folder: Path) -> Path:
        self._files += 1
        return folder / f"{self._session:06d}-{self._files:06d}.jsonl"


def crawl_progress(state: Path) -> tuple[int, list[tuple[int, str]]]:
    """Return how many pages the sessions of a crawl have claimed, and the files that they read, by sender.

    Of a state that nobody writes.
    """
    with contextlib.closing(sqlite3.connect(state)) as db:
        claimed = int(db.execute("SELECT count(*) FROM url WHERE claimed > 0").fetchone()[0])
        return claimed, db.execute("SELECT sender, file FROM incoming ORDER BY 1, 2").fetchall()
