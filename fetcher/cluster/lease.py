"""The lease of a shard: who may fetch for it, and until when.

The owner renews its lease by writing a larger number. It counts the lease from the moment before it wrote, by
its own clock, and is out of it `lease_s` later, whatever it was doing. Whoever wants the shard watches the
number for `takeover_s`, by its own clock, from the first time that it saw it. So no two clocks are compared,
and as `takeover_s` is the longer one, the old owner is out of its lease before the new one is in.

An owner that is done says so in its last lease, and nobody has to wait for it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import msgspec

from fetcher.cluster.shard_log import ShardLog
from fetcher.errors import StorageError
from fetcher.model import Summary

LOST = "lease-lost"


class LeaseTimes(msgspec.Struct, frozen=True):
    """Seconds that a lease lasts, that others wait for it, between renewals, and between looks at it."""

    lease_s: float = 30.0
    takeover_s: float = 45.0
    renew_s: float = 8.0
    look_s: float = 1.0


class ShardEnd(msgspec.Struct, frozen=True, kw_only=True):
    """End of an epoch: whether all of list `list_number` has ended, and the counts as they were then.

    Of a crawl, `claimed` counts pages, and `read` has the files of links that were read, with their senders.
    """

    is_complete: bool
    list_number: int
    summary: Summary
    claimed: int = 0
    read: list[tuple[int, str]] = []


class KeptLease(msgspec.Struct, frozen=True, omit_defaults=True):
    """The lease as it is written: `number` is of the renewal, `end` there once it was given back."""

    number: int
    is_released: bool = False
    end: ShardEnd | None = None


class EpochOwner(msgspec.Struct, frozen=True):
    """The process that claimed an epoch. `machine` also tells apart what can't see each other's processes.

    `claim` is of this claim alone.
    """

    host: str
    machine: str
    process: int
    begun: str
    claim: str = ""


class LeaseLost(StorageError):
    """A shard belongs to somebody else now, or nobody knows: its owner must not go on."""

    slug = LOST

    def __init__(self, message: str = "the lease of a shard is over", **_: object) -> None:
        super().__init__(message)


def boot_clock() -> float:
    """Return the seconds since this machine started, those in which it was suspended included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """The lease of one epoch of a shard, which began at `since` by `clock`.

    `is_handed_on` says that the owner of the epoch before had given it back.
    """

    def __init__(
        self,
        log: ShardLog,
        epoch: int,
        times: LeaseTimes,
        since: float,
        clock: Callable[[], float] = boot_clock,
        *,
        is_handed_on: bool = False,
    ) -> None:
        self.log = log
        self.is_handed_on = is_handed_on
        self.epoch = epoch
        self._times = times
        self._clock = clock
        self._until = since + times.lease_s
        self._number = 0
        self._is_lost = False
        self._writing = threading.Lock()

    @property
    def is_held(self) -> bool:
        if not self._is_lost and self._clock() >= self._until:
            self._is_lost = True
        return not self._is_lost

    def require(self) -> None:
        """Raise `LeaseLost` unless it is held."""
        if not self.is_held:
            raise LeaseLost

    def confirm(self) -> None:
        """See that nobody has taken the shard over; what is in the output now counts. Raises `LeaseLost`."""
        self.require()
        if self.log.is_superseded(self.epoch):
            self._is_lost = True
        self.require()

    def renew(self) -> None:
        """Write it anew. Raises `LeaseLost`, or `StorageError` where it can't be written."""
        with self._writing:
            self.require()
            since = self._clock()
            self._number += 1
            self._write(KeptLease(self._number))
            self.confirm()
            self._until = since + self._times.lease_s

    def release(self, end: ShardEnd | None) -> None:
        """Give it back. Raises `LeaseLost`, or `StorageError` where it can't be written."""
        with self._writing:
            self.require()
            self._is_lost = True
            self._write(KeptLease(self._number + 1, is_released=True, end=end))

    def _write(self, kept: KeptLease) -> None:
        self.log.place.write(self.log.path(f"E{self.epoch:02d}.lease"), msgspec.json.encode(kept))


@contextmanager
def kept_up(lease: Lease, times: LeaseTimes) -> Iterator[None]:
    """Renew a lease in a thread of its own until the block ends."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(times.renew_s):
            try:
                lease.renew()
            except LeaseLost:
                return
            except StorageError:
                continue  # until it is over

    thread = threading.Thread(target=renew, name="fetcher-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def read_end(log: ShardLog) -> tuple[int, ShardEnd | None]:
    """Return the newest epoch of a shard, 0 if there is none, and what its owner left when it was done."""
    epoch = log.newest_epoch()
    kept = _read_lease(log, epoch) if epoch else None
    return epoch, None if kept is None else kept.end


def acquire(
    log: ShardLog,
    times: LeaseTimes,
    pause: Callable[[float], None],
    clock: Callable[[], float] = boot_clock,
) -> Lease:
    """Take the next epoch of a shard, once the owner of the last one is out of its lease.

    `pause` sleeps, and raises to give up. The counts of earlier epochs are still to be settled.
    """
    seen: tuple[int, bytes | None] = (-1, None)
    since = clock()
    while True:
        epoch = log.newest_epoch()
        raw = log.place.read(log.path(f"E{epoch:02d}.lease")) if epoch else None
        if (epoch, raw) != seen:
            seen, since = (epoch, raw), clock()
        is_handed_on = _is_released(raw)
        is_free = not epoch or is_handed_on or _is_gone(log.place.read(log.path(f"E{epoch:02d}")))
        if is_free or clock() - since >= times.takeover_s:
            begun = clock()
            if log.claim(epoch + 1, msgspec.json.encode(_this_process())):
                return Lease(log, epoch + 1, times, begun, clock, is_handed_on=is_handed_on)
            continue
        pause(times.look_s)


def _read_lease(log: ShardLog, epoch: int) -> KeptLease | None:
    raw = log.place.read(log.path(f"E{epoch:02d}.lease"))
    return None if raw is None else msgspec.json.decode(raw, type=KeptLease)


def _is_released(raw: bytes | None) -> bool:
    return raw is not None and msgspec.json.decode(raw, type=KeptLease).is_released


def _is_gone(raw: bytes | None) -> bool:
    """Tell whether the owner was a process of this machine that is not there any more."""
    try:
        owner = msgspec.json.decode(raw or b"", type=EpochOwner)
    except msgspec.MsgspecError:
        return False
    here = _this_process()
    return bool(here.machine) and owner.machine == here.machine and _begun(owner.process) != owner.begun


def _this_process() -> EpochOwner:
    return EpochOwner(socket.gethostname(), _machine(), os.getpid(), _begun(os.getpid()), uuid.uuid4().hex)


@cache
def _machine() -> str:
    """Name this boot of this machine and the processes that are seen here; empty where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    except OSError:
        return ""


def _begun(process: int) -> str:
    """Return when a process of this machine began; empty if it is not there, or has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]
