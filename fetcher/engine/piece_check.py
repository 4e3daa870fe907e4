"""The check of a body's pieces, once all of it is there: those that meet their hashes are kept as a part.

A further attempt then asks for the others alone, as for any gaps of a part.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from fetcher.engine.body import Body
from fetcher.engine.engine_state import EngineState
from fetcher.engine.fetch_state import FetchState
from fetcher.engine.spool import HASH_BYTES, storage_error
from fetcher.errors import FetcherError, PieceMismatch
from fetcher.model import Part, PieceHashes
from fetcher.policy.checksums import mismatch, number_of_pieces
from fetcher.policy.resume import LEAST_BYTES, merged

MOST_EXTENTS = 256  # of a part with wrong pieces: no server may have each second piece asked for by itself


class PieceCheck:
    """Checks the pieces of bodies of one pool."""

    def __init__(self, state: EngineState) -> None:
        self._state = state

    async def check(self, fetch: FetchState, body: Body, *, is_mixed: bool = False) -> FetcherError | None:
        """Say what is wrong with a body's pieces; None if nothing is, or its whole meets its hash.

        With some right pieces its file is left as the part of `fetch`. Cancelling it leaves the whole.

        Raises `StorageError`: the file can't be read.
        """
        extra, response = fetch.job.overrides, body.response
        pieces = None if extra is None or fetch.is_check else extra.pieces
        if extra is None or pieces is None or not body.is_wanted or response is None:
            return None
        if response.status >= 300 or extra.size not in {None, body.length}:
            return None
        wanted = extra.wanted if body.announced is None else (*extra.wanted, body.announced)
        if extra.wanted and mismatch(wanted, body.found) is None:
            return None
        total = number_of_pieces(pieces)
        if total != -(-body.length // pieces.length):
            return PieceMismatch(f"{body.length} bytes are not {total} pieces of {pieces.length}")
        try:
            good = await self._good(fetch, body, pieces)
        except OSError as failure:
            fault = storage_error(failure, body.part() or "")
            if not fault.exhausted:
                body.discard()
                raise fault from failure
            return fault
        held = sum(end - begin for begin, end in good)
        if held == body.length:
            return None
        error = PieceMismatch(f"{body.length - held} of {body.length} bytes are in pieces with another hash")
        if good and body.part() is not None and self._state.body_options.resumes:
            await self._keep(fetch, body.leave_pieces(good))
            error.is_mendable, error.is_mixed = True, is_mixed
        return error

    async def _keep(self, fetch: FetchState, part: Part) -> None:
        """Keep what is right of the body for the next attempt, though a kill comes before that."""
        self._state.set_part(fetch, part)
        if part.held >= LEAST_BYTES:
            try:
                await self._state.frontier.keep_parts([(fetch.job.id, part)])
            except BaseException:
                self._state.left.append((fetch.job.id, part))
                raise

    async def _good(self, fetch: FetchState, body: Body, pieces: PieceHashes) -> tuple[tuple[int, int], ...]:
        is_over = threading.Event()
        data = body.data()
        source = body.part() if data is None else data
        assert source is not None
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._state.body_options.executor, good_extents, source, pieces, is_over.is_set
            )
        except OSError:
            raise
        except BaseException:
            part = body.leave()
            if part is not None:
                self._state.left.append((fetch.job.id, part))
            raise
        finally:
            is_over.set()


def good_extents(
    source: str | bytes, pieces: PieceHashes, is_over: Callable[[], bool] = lambda: False
) -> tuple[tuple[int, int], ...]:
    """Return the ranges of a file, or of bytes, whose pieces meet their hashes; of very many the largest.

    It blocks, and gives up when `is_over`.
    """
    found: list[tuple[int, int]] = []
    size = hashlib.new(pieces.algorithm, usedforsecurity=False).digest_size
    at = 0
    with BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        for begin in range(0, len(pieces.digests), size):
            hasher = hashlib.new(pieces.algorithm, usedforsecurity=False)
            start, left = at, pieces.length
            while left and not is_over() and (block := file.read(min(left, HASH_BYTES))):
                hasher.update(block)
                left -= len(block)
                at += len(block)
            if hasher.digest() == pieces.digests[begin : begin + size]:
                found.append((start, at))
    return tuple(sorted(heapq.nlargest(MOST_EXTENTS, merged(found), key=lambda each: each[1] - each[0])))
