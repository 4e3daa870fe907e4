"""The share of the hosts that a run directory has: kept in it from its first run on, and never another.

Invariant: the file is whole, and is there before anything of the share is fetched; so the share of a URL is
the same in each of its runs, whatever became of the list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from fetcher.errors import ConfigError, StorageError
from fetcher.policy.shares import Share
from fetcher.run_dir import RunDirectory
from fetcher.whole_file import own_file


def read_share(directory: RunDirectory) -> Share | None:
    """Return the share that a run directory keeps; None where it is the whole.

    Raises:
        StorageError: the file can't be read, or is not as it was written.
    """
    path = directory.share
    try:
        return msgspec.json.decode(path.read_bytes(), type=Share)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise StorageError(
            f"cannot read {path}: {reason}",
            hint="the other shards' directories have the same file, but for its index",
        ) from error


def known_share(directory: RunDirectory, wanted: tuple[int, int] | None) -> Share | None:
    """Return the share that a run directory keeps, if it is the `wanted` one; None where it keeps none yet.

    Raises:
        ConfigError: the directory has another share, or is a whole run's.
        StorageError: it can't be read.
    """
    kept = read_share(directory)
    if wanted == (None if kept is None else (kept.index, kept.count)):
        return kept
    if kept is None and not directory.state.exists():
        return None
    has = "was begun without --shard" if kept is None else f"is shard {kept}"
    told = "" if wanted is None or kept is None else f", not {wanted[0]}/{wanted[1]}"
    raise ConfigError(
        f"shard: {directory.root} {has}{told}",
        hint="choose another --output" if kept is None else f"give --shard {kept}, or another --output",
    )


async def settle_share(
    directory: RunDirectory,
    wanted: tuple[int, int] | None,
    divide: Callable[[], Awaitable[Mapping[str, int] | None]],
) -> Share | None:
    """Return the share of a locked run directory; the first run keeps the one that it is told.

    `divide` says which hosts are divided; None, because it was stopped, keeps nothing. Raises what
    `known_share` raises, and `StorageError` where the share can't be kept.
    """
    known = known_share(directory, wanted)
    if known is not None or wanted is None:
        return known
    divided = await divide()
    if divided is None:
        return None
    share = Share(*wanted, divided)
    with own_file(directory.share) as file:
        file.write(msgspec.json.encode(share))
    return share
