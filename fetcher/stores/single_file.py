"""One body to one place that the user named: a file, a device, or a binary stream."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from fetcher.errors import StorageError
from fetcher.model import Outcome
from fetcher.ports import Body


class SingleStore:
    """Implementation of `ports.Store` for one URL.

    A regular file is replaced as a whole, by a rename from `parts` on the same file system; anything
    else (a device, a pipe, the stream) is written to, once the body is complete.
    """

    keeps_files = True
    keeps_exchanges = False
    keeps_archives = False

    def __init__(self, target: Path | BinaryIO, parts: Path) -> None:
        self._target = target
        self._parts = parts

    async def put(self, batch: Sequence[Outcome]) -> list[str | StorageError | None]:
        """Write the body. Raises `StorageError` if that fails; `BrokenPipeError` if nobody reads."""
        try:
            return [self._put(outcome.body) for outcome in batch]
        except BrokenPipeError:
            raise
        except OSError as error:
            where = self._target if isinstance(self._target, Path) else "standard output"
            raise StorageError(f"cannot write {where}: {error.strerror}") from error

    def _put(self, body: Body) -> str | None:
        target = self._target
        if not isinstance(target, Path):
            _copy(body, target)
            target.flush()
            return None
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("wb") as stream:
                _copy(body, stream)
            return str(target)
        part = body.part()
        if part is None:
            part = str(self._parts / "whole")
            with open(part, "xb") as stream:  # noqa: PTH123  (a path from `Body.part`)
                _copy(body, stream)
        os.replace(part, target.resolve())  # noqa: PTH105
        return str(target)

    def existing(self, paths: Collection[str]) -> Collection[str]:  # noqa: ARG002
        return ()

    def has_file(self, path: str, length: int) -> bool:  # noqa: ARG002
        return False

    def recover(self, lengths: Mapping[str, int]) -> None:
        """Do nothing: there are no archives."""

    def holds(self, url: str) -> bool:  # noqa: ARG002 - the port's signature
        return False

    async def aclose(self) -> None:
        pass


def _copy(body: Body, stream: BinaryIO) -> None:
    data = body.data()
    if data is not None:
        stream.write(data)
        return
    part = body.part()
    assert part is not None
    with open(part, "rb") as source:  # noqa: PTH123
        shutil.copyfileobj(source, stream, 1024 * 1024)
