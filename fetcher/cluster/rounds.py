"""The shards that are to run now: those that have something to do, by what is known of them from the output.

Invariant: nothing is guessed. A shard has something to do while its list has not ended, a file of links for
it has not been read, or pages are pending and `--max-pages` leaves some. The run is over when no shard has,
and none is running.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fetcher.cluster.lease import ShardEnd


class Rounds:
    """The shards of a run, and what each has to do.

    `max_pages` is a total, of which each session of a shard gets a part: what it leaves goes to others.
    """

    def __init__(self, max_pages: int | None = None) -> None:
        self._max_pages = max_pages
        self._listed: dict[int, int] = {}
        self._open: set[int] = set()  # their list, or what they had begun, has not ended
        self._is_pending: set[int] = set()
        self._posted: dict[int, set[tuple[int, str]]] = {}  # by receiver: sender and file
        self._read: dict[int, set[tuple[int, str]]] = {}
        self._claimed: dict[int, int] = {}
        self._unknown: set[int] = set()  # how many they have claimed
        self._granted: dict[int, int] = {}  # to those that are running
        self._next: set[int] = set()  # those that were said to be runnable, and have no pages yet
        self.had_session: set[int] = set()

    def begin(
        self, shard: int, listed: int, end: ShardEnd | None, *, was_begun: bool, list_number: int, again: bool
    ) -> bool:
        """Take a shard as the output has it. True if there is nothing to do for it but to read links.

        `again` is for a run that looks at what has ended once more.
        """
        self._listed[shard] = listed
        if end is None:
            if was_begun:
                self._unknown.add(shard)
            if listed or was_begun:
                self._open.add(shard)
            return not (listed or was_begun)
        self._note(shard, end)
        is_listed = not listed or end.list_number == list_number
        is_limited = self._max_pages is None and end.summary.pending > 0  # by another --max-pages, before
        if again or is_limited or not (is_listed and end.is_complete):
            self._open.add(shard)
        return shard not in self._open

    def posted(self, sender: int, files: Mapping[int, Iterable[str]]) -> None:
        """Take note of all files of links that a shard has posted, by receiver."""
        for receiver, names in files.items():
            self._posted.setdefault(receiver, set()).update((sender, name) for name in names)

    def ended(self, shard: int, end: ShardEnd) -> None:
        """A session of a shard has ended."""
        self._granted.pop(shard, None)
        self._unknown.discard(shard)
        self.had_session.add(shard)
        if end.is_complete:
            self._open.discard(shard)
        self._note(shard, end)

    def _note(self, shard: int, end: ShardEnd) -> None:
        self._claimed[shard] = end.claimed
        self._read[shard] = set(end.read)
        if end.summary.pending:
            self._is_pending.add(shard)
        else:
            self._is_pending.discard(shard)

    def unread(self, shard: int) -> dict[int, list[str]]:
        """Return the files of links that a shard has not read, by sender."""
        found: dict[int, list[str]] = {}
        for sender, name in sorted(self._posted.get(shard, set()) - self._read.get(shard, set())):
            found.setdefault(sender, []).append(name)
        return found

    @property
    def undelivered(self) -> int:
        """Number of files of links that were not read yet."""
        return sum(len(files - self._read.get(shard, set())) for shard, files in self._posted.items())

    def runnable(self, running: Iterable[int]) -> list[int]:
        """Return the shards that have something to do, those with most of it first."""
        wanted = {*self._open, *self._unknown}
        wanted |= {shard for shard, files in self._posted.items() if files - self._read.get(shard, set())}
        if self._pages_left() > 0:
            wanted |= self._is_pending
        self._next = wanted - {*running}
        return sorted(self._next, key=lambda shard: (-self._listed.get(shard, 0), shard))

    def pages(self, shard: int) -> int | None:
        """Grant a session its part of the pages that are left, shared by those that were said to be runnable.

        Returns how many pages the shard may have claimed then, in all its sessions.
        """
        if self._max_pages is None:
            return None
        if shard in self._unknown:
            return 0  # it ends at once, and tells how many it has
        if (grant := self._granted.get(shard)) is None:  # else it goes on with what it had
            grant = self._granted[shard] = max(0, -(-self._pages_left() // max(1, len(self._next))))
        self._next.discard(shard)
        return self._claimed.get(shard, 0) + grant

    def _pages_left(self) -> int:
        if self._max_pages is None:
            return 0
        if self._unknown:
            return 0  # until they have told
        return self._max_pages - sum(self._claimed.values()) - sum(self._granted.values())
