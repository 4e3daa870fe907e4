"""The list of a run, divided by shards: written once to the output, and read there by each shard.

Below `lists/NUMBER/`, pieces of some megabytes, `000001.jsonl`, with the entries of each shard in one row,
and beside each an index that tells where they are. `done` is made last: a division that was cut off is
repeated, in the same files. Memory does not grow with the list, and there are as many objects as pieces,
however many shards there are.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import IO

import msgspec

from fetcher.cluster.places import Place
from fetcher.engine.job_factory import JobFactory
from fetcher.model import Entry, Job
from fetcher.policy.shares import HeavyHosts, Share, ShareRules, stable_hash
from fetcher.ports import Source

PIECE_BYTES = 32 * 1024**2
EVERY_SHARD = -1  # of the seeds of a crawl
_IN_MEMORY = 32 * 1024**2
_BATCH = 512
_MOST_HOSTS = 100_000  # that shards are told of
_DEFAULTS = msgspec.structs.asdict(Entry(url=""))

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class DividedList(msgspec.Struct, frozen=True):
    """A list that is divided: how many pieces it has, and how many entries there are for each shard."""

    number: int
    pieces: int
    entries: dict[int, int]

    def of(self, shard: int) -> int:
        """Return how many entries a shard has."""
        return self.entries.get(shard, 0)


class SpooledList:
    """The entries of sources, kept beside while their hosts are counted; in a file where they are many."""

    def __init__(self, factory: JobFactory, shards: int) -> None:
        self._job_of = factory.job_of
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  (`close` closes it)
        self._heavy = HeavyHosts(shards)
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The SHA-256 of all entries, by which a list is known again."""
        return self._digest.hexdigest()

    async def read(self, sources: Sequence[Source], is_stopped: Callable[[], bool]) -> bool:
        """Read all sources, and close them; False once it `is_stopped`."""
        try:
            for source in sources:
                async for entries in source:
                    if is_stopped():
                        return False
                    targets = (self._job_of(entry).target for entry in entries)
                    self._heavy.count(target.host for target in targets if target is not None)
                    lines = b"".join(_line(entry) for entry in entries)
                    self._digest.update(lines)
                    self._file.write(lines)
        finally:
            for source in sources:
                await source.aclose()
        return True

    def divided_hosts(self, most_exchanges: Callable[[str], int]) -> dict[str, int]:
        """See `HeavyHosts.divided`."""
        return self._heavy.divided(most_exchanges)

    def divide(
        self,
        place: Place,
        number: int,
        count: int,
        divided: Mapping[str, int],
        *,
        is_whole: bool = False,
        piece_bytes: int = PIECE_BYTES,
    ) -> DividedList:
        """Write the list as number `number`; `is_whole` gives all of it to every shard.

        Raises `StorageError`.
        """
        rules = ShareRules(Share(0, count, divided))
        folder = f"lists/{number:04d}"
        groups: dict[int, list[bytes]] = {}
        entries: dict[int, int] = {}
        hosts: dict[str, tuple[int, str]] = {}
        pieces = size = 0

        def write() -> None:
            index, data, at = [], [], 0
            for shard in sorted(groups):
                length = sum(map(len, groups[shard]))
                index.append((shard, at, at + length))
                data += groups[shard]
                at += length
            place.write(f"{folder}/{pieces:06d}.jsonl", b"".join(data))
            place.write(f"{folder}/{pieces:06d}.index", _encode(index))
            groups.clear()

        self._file.seek(0)
        for line in self._file:
            job = self._job_of(_decode(line))
            owner = _owner(job, rules)
            shard = EVERY_SHARD if is_whole else owner
            if job.target is not None and len(hosts) < _MOST_HOSTS and not is_whole:
                host = job.target.host
                if host not in hosts:
                    url = f"{job.target.scheme}://{host}/"
                    hosts[host] = _owner(self._job_of(Entry(url=url)), rules), url
            groups.setdefault(shard, []).append(line)
            entries[owner] = entries.get(owner, 0) + 1
            size += len(line)
            if size >= piece_bytes:
                pieces += 1
                write()
                size = 0
        if groups:
            pieces += 1
            write()
        place.write(f"{folder}/hosts", _encode(list(hosts.values())))
        made = DividedList(number, pieces, entries)
        place.write(f"{folder}/done", _encode(made))
        return made

    def close(self) -> None:
        """Remove what was kept."""
        self._file.close()


def read_divided(place: Place, number: int) -> DividedList | None:
    """Return list `number`, if its division is whole."""
    raw = place.read(f"lists/{number:04d}/done")
    return None if raw is None else msgspec.json.decode(raw, type=DividedList)


class ShardSource:
    """`ports.Source` of the entries of a shard, and of one URL at each host that other shards have.

    Those tell which hosts the user has named; they are not this shard's, and are not fetched.
    """

    def __init__(self, place: Place, number: int, shard: int) -> None:
        self._place = place
        self._number = number
        self._shard = shard

    async def __aiter__(self) -> AsyncIterator[Sequence[Entry]]:
        folder = f"lists/{self._number:04d}"
        read = self._place.read
        hosts = await asyncio.to_thread(read, f"{folder}/hosts") or b"[]"
        named = msgspec.json.decode(hosts, type=list[tuple[int, str]])
        elsewhere = [Entry(url=url) for owner, url in named if owner != self._shard]
        for start in range(0, len(elsewhere), _BATCH):
            yield elsewhere[start : start + _BATCH]
        found = read_divided(self._place, self._number)
        for piece in range(1, (0 if found is None else found.pieces) + 1):
            raw = await asyncio.to_thread(read, f"{folder}/{piece:06d}.index")
            for shard, begin, end in msgspec.json.decode(raw or b"[]", type=list[tuple[int, int, int]]):
                if shard not in {self._shard, EVERY_SHARD}:
                    continue
                data = await asyncio.to_thread(read, f"{folder}/{piece:06d}.jsonl", begin, end)
                lines = (data or b"").splitlines()
                for start in range(0, len(lines), _BATCH):
                    yield [_decode(line) for line in lines[start : start + _BATCH]]

    async def aclose(self) -> None:
        """Nothing is held open."""


def _line(entry: Entry) -> bytes:
    given = {name: value for name, value in msgspec.structs.asdict(entry).items() if value != _DEFAULTS[name]}
    return _encode(given | {"url": entry.url}) + b"\n"


def _owner(job: Job, rules: ShareRules) -> int:
    return stable_hash(job.url) % rules.share.count if job.target is None else rules.owner(job.target)
