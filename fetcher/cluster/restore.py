"""A shard's run directory made anew on a worker's disk, from what of it counts in the output.

The records are the segments, one after another. The state is the copy that came with the last segment, where
there is one; of a list that was cut off it is made anew from the records and the bodies, as by
`fetcher verify --rebuild`. Only the state knows the links of a crawl: each of its segments has a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

import msgspec

from fetcher.cluster.shard_log import JournalSegment, ShardLog
from fetcher.cluster.staged_archives import StagedArchives
from fetcher.errors import StorageError
from fetcher.policy.shares import Share
from fetcher.run_dir import RunDirectory
from fetcher.verification.rebuild_state import StateRebuild


def restore(
    log: ShardLog,
    segments: Sequence[JournalSegment],
    directory: RunDirectory,
    share: Share,
    is_there: Callable[[str, int | None], bool],
    archives: RunDirectory | None = None,
) -> None:
    """Make a run directory from segments that count; bodies are where `is_there` says, or in `archives`.

    Raises:
        StorageError: something of it is lost, or a disk failed.
    """
    try:
        directory.own.mkdir(parents=True)
        directory.share.write_bytes(msgspec.json.encode(share))
        for segment in segments:
            if not log.place.fetch(log.path(f"{segment.name}.jsonl"), directory.results):
                raise StorageError(f"{log.path(segment.name)}.jsonl is lost")
            log.place.fetch(log.path(f"{segment.name}.data.jsonl"), directory.results.with_name("data.jsonl"))
    except OSError as error:
        raise StorageError(f"cannot write {directory.root}: {error.strerror}") from error
    if not segments or log.place.fetch(log.path(f"{segments[-1].name}.db"), directory.state):
        return
    if directory.results.stat().st_size:
        StateRebuild(directory, lambda _: None, is_there, archives).run()


def publish_counting(
    log: ShardLog,
    segments: Sequence[JournalSegment],
    publish: Callable[[int, list[bytes]], None],
    archives: StagedArchives | None,
) -> None:
    """Publish the bodies that the last segment of each epoch names: all before had been, when it was written.

    Their owner may have been cut off between the two.
    """
    for segment, following in zip_longest(segments, segments[1:]):
        if following is None or following.epoch != segment.epoch:
            publish(segment.epoch, (log.place.read(log.path(f"{segment.name}.jsonl")) or b"").splitlines())
            if archives is not None:
                archives.take_over(segment)


def keep_those_with_state(log: ShardLog, segments: Sequence[JournalSegment]) -> list[JournalSegment]:
    """Return the segments up to the last one that has a copy of the state."""
    kept = [*segments]
    while kept and not log.place.exists(log.path(f"{kept[-1].name}.db")):
        kept.pop()
    return kept
