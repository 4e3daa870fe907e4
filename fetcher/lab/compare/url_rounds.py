"""One fetch of the user's list by one backend, and the process of its own that it runs in."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import msgspec

import fetcher
from fetcher.errors import FetcherError
from fetcher.lab.compare.meter import Meter

_SPAWN = multiprocessing.get_context("spawn")


class Answer(msgspec.Struct, frozen=True):
    """What one backend brought for one URL. `COMPARED` are the fields that should not depend on it."""

    url: str  # credentials masked
    state: str
    status: int | None = None
    error: str | None = None
    bytes: int = 0
    sha256: str | None = None
    elapsed_s: float = 0.0  # all attempts, without the time in queues


COMPARED = ("state", "status", "error", "bytes", "sha256")


class Round(msgspec.Struct):
    """One fetch of the whole list by one backend; `answers` are in the order of the list."""

    backend: str
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    answers: list[Answer] = []
    failure: str = ""


def fetch_round(urls: Sequence[str], backend: str, settings: Mapping[str, Any]) -> Round:
    """Fetch every URL once, in this process. What can't be used is the round's `failure`."""
    answers: list[Answer] = [Answer("", "failed")] * len(urls)
    try:
        list(fetcher.stream([], **settings, backend=backend))  # imports are no part of what is measured
        stream = fetcher.stream(urls, **settings, backend=backend)
        meter = Meter()
        for result in stream:
            assert result.line is not None  # the place in the list, from 1
            answers[result.line - 1] = Answer(
                result.url,
                result.state,
                result.status,
                result.error,
                result.bytes,
                result.sha256,
                result.elapsed,
            )
        meter.stop()
    except (FetcherError, ImportError) as error:
        return Round(backend, failure=str(error))
    return Round(backend, meter.wall_s, meter.cpu_s, meter.peak_bytes, answers)


def in_child(urls: Sequence[str], backend: str, settings: Mapping[str, Any]) -> Round:
    """`fetch_round` in a process of its own, which ends with this one, however that ends."""
    ours, theirs = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_child, args=(theirs, list(urls), backend, dict(settings)), daemon=True)
    process.start()
    theirs.close()
    try:
        with ours:
            return msgspec.msgpack.decode(ours.recv_bytes(), type=Round)
    except EOFError:
        process.join()
        return Round(backend, failure=f"its process ended with {process.exitcode}")
    finally:
        process.terminate()
        process.join()


def _child(pipe: Connection, urls: list[str], backend: str, settings: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pipe.send_bytes(msgspec.msgpack.encode(fetch_round(urls, backend, settings)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
