"""The object store that a run directory's bodies are in: kept with the state from its first run on.

Invariant: a state belongs to one output, for good.
"""

from __future__ import annotations

import msgspec

from fetcher.errors import ConfigError, StorageError
from fetcher.policy.object_urls import object_url
from fetcher.run_dir import RunDirectory
from fetcher.whole_file import own_file

JOURNALS = ("results.jsonl", "data.jsonl")  # what goes there beside the bodies


class KeptOutput(msgspec.Struct):
    """The output of a state, as it keeps it; `was_empty` says that nothing was there before its first run."""

    url: str
    was_empty: bool = False


def read_output(directory: RunDirectory) -> KeptOutput | None:
    """Return the object store that the bodies of a run directory are in; None where they are in it.

    Raises:
        StorageError: the file can't be read, or is not as it was written.
    """
    path = directory.kept_output
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=KeptOutput)
        object_url(kept.url)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise StorageError(
            f"cannot read {path}: {reason}",
            hint='it holds the output as JSON: {"url": "s3://BUCKET/PREFIX"}',
        ) from error
    return kept


def check_output(directory: RunDirectory) -> KeptOutput | None:
    """Return what a run directory keeps of its output, None before its first run.

    Raises:
        ConfigError: its bodies are elsewhere than the run would put them.
        StorageError: it can't be read.
    """
    kept = read_output(directory)
    wanted = None if directory.url is None else str(directory.url)
    if kept is None and wanted is not None and directory.state.exists():
        raise ConfigError(
            f"state: the bodies of {directory.root} are in it, not in {wanted}", hint="choose another --state"
        )
    if kept is not None and kept.url != wanted:
        raise ConfigError(
            f"output: {directory.root} holds the state of {kept.url}",
            hint=f"give --output {kept.url} --state {directory.root}, or choose another folder",
        )
    return kept


def keep_output(directory: RunDirectory, kept: KeptOutput) -> None:
    """Keep the output of a locked run directory. Raises `StorageError`."""
    with own_file(directory.kept_output) as file:
        file.write(msgspec.json.encode(kept))
