"""Run directories that belong together: those that were named, and those in a folder that was."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from fetcher.errors import ConfigError
from fetcher.frontiers.sqlite.crawl.shard_post import ShardPost
from fetcher.frontiers.sqlite.report import reading
from fetcher.policy.shares import Share, ShareRules
from fetcher.run_dir import RunDirectory
from fetcher.sharding.kept_share import read_share


class ShardCounts(msgspec.Struct):
    """Gaps of a run that is divided: missing shards, and links that are on their way to one."""

    count: int
    missing: list[int]
    undelivered: dict[int, int]  # links by the shard that they are for


def run_directories(paths: Iterable[Path]) -> list[Path]:
    """Return the run directories among `paths`, and for a folder that is none, those in it, by share.

    What is neither is returned as it is, for whoever opens it to refuse. Each comes once.
    """
    found: dict[str, Path] = {}
    for path in paths:
        inside = [] if RunDirectory(path).is_made else _children(path)
        for directory in inside or [path]:
            found.setdefault(os.path.realpath(directory), directory)
    return list(found.values())


def make_post(directory: RunDirectory, rules: ShareRules) -> ShardPost:
    """Return the post of a crawl's shard: the other shards are the run directories beside its own."""
    share = rules.share

    def inboxes() -> Mapping[int, Path]:
        found: dict[int, Path] = {}
        for other, of in _shards(_children(directory.root.resolve().parent)):
            if of.count != share.count or of.index == share.index:
                continue
            if of.index in found:
                raise ConfigError(
                    f"shard: {other.root.parent} has two directories that are shard {of}",
                    hint="keep the shards of each crawl in a folder of their own",
                )
            found[of.index] = other.outbox / str(share.index)
        return found

    return ShardPost(rules, directory.outbox, inboxes)


def count_shards(directories: Sequence[Path]) -> ShardCounts | None:
    """Return what is missing of the run whose shards the directories are; None unless they all are of one.

    Raises:
        StorageError: a state can't be read.
    """
    shards = {share.index: (directory, share) for directory, share in _shards(directories)}
    counts = {share.count for _, share in shards.values()}
    if len(shards) != len(directories) or len(counts) != 1:
        return None
    undelivered: dict[int, int] = {}
    read = {index: _read_files(directory) for index, (directory, _) in shards.items()}
    for sender, (directory, share) in shards.items():
        for number, waiting in _waiting(directory, ShareRules(share)).items():
            undelivered[number] = undelivered.get(number, 0) + waiting
        for path in directory.outbox.glob("*/*.jsonl"):
            receiver = int(path.parent.name)
            if (sender, path.name) not in read.get(receiver, ()):
                with path.open("rb") as file:
                    undelivered[receiver] = undelivered.get(receiver, 0) + sum(1 for _ in file)
    (count,) = counts
    return ShardCounts(count, sorted(set(range(count)) - set(shards)), dict(sorted(undelivered.items())))


def _children(folder: Path) -> list[Path]:
    if not os.path.isdir(folder):  # noqa: PTH112  (no error, whatever the path is)
        return []
    found = [child for child in folder.iterdir() if RunDirectory(child).is_made]
    shares = {directory.root: share.index for directory, share in _shards(found)}
    return sorted(found, key=lambda child: (shares.get(child, -1), child.name))


def _shards(paths: Iterable[Path]) -> list[tuple[RunDirectory, Share]]:
    directories = [RunDirectory(path) for path in paths]
    return [(one, share) for one in directories if (share := read_share(one)) is not None]


def _has_table(db: object, name: str) -> bool:
    found = db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,))  # type: ignore[attr-defined]
    return found.fetchone() is not None


def _read_files(directory: RunDirectory) -> set[tuple[int, str]]:
    if not directory.state.exists():
        return set()
    with reading(directory.state) as db:
        return set(db.execute("SELECT sender, file FROM incoming")) if _has_table(db, "incoming") else set()


def _waiting(directory: RunDirectory, rules: ShareRules) -> dict[int, int]:
    """Count the links that were found and are in no file yet."""
    found: dict[int, int] = {}
    if directory.state.exists():
        from fetcher.frontiers.sqlite.interning import InternTable  # noqa: PLC0415

        with reading(directory.state) as db:
            if not _has_table(db, "outgoing"):
                return found
            interned = InternTable(db)
            for url, host in db.execute(
                "SELECT url.url, host FROM outgoing JOIN url ON url.id = outgoing.url"
            ):
                owner = rules.owner(interned.target(url, host))
                found[owner] = found.get(owner, 0) + 1
    return found
