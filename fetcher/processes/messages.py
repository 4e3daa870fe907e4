"""The messages between supervisor and worker processes, as MessagePack arrays.

Only our own processes read these; nothing here comes from the network unescaped but what records hold.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from fetcher.events import Event, HostThrottled, LogMessage, Retrying
from fetcher.model import Deferral, Holdup, Job, Link, NameHints, Part, Record, Wait
from fetcher.settings import Settings


class WorkerConfig(msgspec.Struct, frozen=True):
    """The first message to worker `index` of `count`, pickled: the run's settings, and its place."""

    settings: Settings
    index: int
    count: int
    environ: dict[str, str]
    follows: bool  # links


def config_frame(
    settings: Settings, index: int, count: int, environ: Mapping[str, str], *, follows: bool
) -> bytes:
    """Pickle the configuration of one worker. Of the environment, only what proxies are named by.

    Raises whatever pickling does: a parser need not be able to travel.
    """
    proxies = {name: value for name, value in environ.items() if name.lower().endswith("_proxy")}
    settings = msgspec.structs.replace(settings, on_done=None)  # the parent's own
    return pickle.dumps(WorkerConfig(settings, index, count, proxies, follows))


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of all messages."""


# -- to a worker ---------------------------------------------------------------------------------------


class Assign(_Message, frozen=True, tag=0):
    """Claimed jobs."""

    jobs: list[Job]


class Adopt(_Message, frozen=True, tag=1):
    """A chain of hops that another worker began, pickled."""

    fetch: bytes


class Ack(_Message, frozen=True, tag=2):
    """Acknowledgement of so many outcomes: they are settled."""

    number: int


class ThrottleHost(_Message, frozen=True, tag=3):
    """A host asked another worker for time."""

    host: str
    seconds: float
    reason: str


class SetShare(_Message, frozen=True, tag=4):
    """The part of rate and bandwidth that this worker has from now on."""

    part: float


class QueryReply(_Message, frozen=True, tag=5):
    """The answer to a query, by its number."""

    number: int
    answer: bool


class NameReply(_Message, frozen=True, tag=8):
    """The name that a file was given, in answer to a query by its number."""

    number: int
    path: str | None
    is_foreign: bool


class Stop(_Message, frozen=True, tag=6):
    """Finish what is in flight within `grace_s`, or at once, and leave."""

    grace_s: float
    at_once: bool


class Finish(_Message, frozen=True, tag=7):
    """There is no more work."""


class Adjust(_Message, frozen=True, tag=9):
    """The number of exchanges that a worker may have in flight from now on, and whether it may start any."""

    concurrency: int
    is_paused: bool


ToWorker: TypeAlias = (
    Assign | Adopt | Ack | ThrottleHost | SetShare | QueryReply | NameReply | Stop | Finish | Adjust
)


# -- to the parent -------------------------------------------------------------------------------------


class LoadReport(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Load of a worker."""

    active: int
    waiting: int
    requests: int
    wire_bytes: int
    growing_bytes: int = 0


class Ended(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """One outcome: its record as it is, and what else must cross of `model.Outcome`."""

    id: int
    record: Record | None = None
    line: bytes = b""  # the record as JSON, where it is kept
    message: str | None = None  # of the error, where there is no record
    waited_s: float = 0.0
    part: Part | None = None
    history: tuple[Wait, ...] = ()
    deferral: Deferral | None = None
    links: list[Link] | None = None
    data: list[bytes] = []
    robots: bytes | None = None
    fault: int = 0
    archived: tuple[str, int] | None = None
    timings: bytes = b""


class Outcomes(_Message, frozen=True, tag=0):
    """Outcomes whose files stand under their names, in the order in which they came."""

    ended: list[Ended]
    stats: LoadReport


class Heartbeat(_Message, frozen=True, tag=1):
    """A sign of life, once a second or so: how a worker stands, its busiest hosts and largest bodies."""

    stats: LoadReport
    hosts: list[tuple[str, int, int, str]]
    growing: list[tuple[str, int, int | None]] = []
    holdups: list[Holdup] = []


class Retry(_Message, frozen=True, tag=2):
    """An attempt failed, and another follows."""

    event: Retrying


class ThrottleReport(_Message, frozen=True, tag=3):
    """A host asked for time, or is slowed down; the other workers are to be told."""

    event: HostThrottled


class LogReport(_Message, frozen=True, tag=4):
    """A line for the log of the run."""

    event: LogMessage


EVENTS: Mapping[type[Event], Callable[[Any], Retry | ThrottleReport | LogReport]] = {
    Retrying: Retry,
    HostThrottled: ThrottleReport,
    LogMessage: LogReport,
}


class Query(_Message, frozen=True, tag=5):
    """A question: did the user list this host?"""

    number: int
    name: str
    port: int | None


class NameQuery(_Message, frozen=True, tag=10):
    """A question: what is the file of this job called?"""

    number: int
    id: int
    hints: NameHints | None


class Transfer(_Message, frozen=True, tag=6):
    """A redirect led to a host that belongs to another worker."""

    id: int
    owner: int
    fetch: bytes


class Failed(_Message, frozen=True, tag=7):
    """The worker can't go on: a `FetcherError`, or a defect, pickled."""

    error: bytes


class Goodbye(_Message, frozen=True, tag=8):
    """The worker has settled all that it had, and leaves."""


class Growth(_Message, frozen=True, tag=9):
    """Progress of the bodies of jobs; see `Frontier.keep_parts`."""

    parts: list[tuple[int, Part]]


ToParent: TypeAlias = (
    Outcomes
    | Heartbeat
    | Retry
    | ThrottleReport
    | LogReport
    | Query
    | NameQuery
    | Transfer
    | Failed
    | Goodbye
    | Growth
)

encode = msgspec.msgpack.Encoder().encode
decode_for_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_for_parent = msgspec.msgpack.Decoder(ToParent).decode
