"""What parent and workers say to each other, as MessagePack arrays.

Only our own processes read these; nothing here comes from the network unescaped but what records hold.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from fetcher.model import Completeness, Deferral, FinalState, Job, Link, Wait


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of all messages."""


# -- to a worker ---------------------------------------------------------------------------------------


class Take(_Message, frozen=True, tag=0):
    """Claimed jobs."""

    jobs: list[Job]


class TakeOver(_Message, frozen=True, tag=1):
    """A chain of hops that another worker began, pickled."""

    fetch: bytes


class Safe(_Message, frozen=True, tag=2):
    """So many outcomes are settled."""

    number: int


class Hold(_Message, frozen=True, tag=3):
    """A host asked another worker for time."""

    host: str
    seconds: float
    reason: str


class Share(_Message, frozen=True, tag=4):
    """The part of rate and bandwidth that this worker has from now on."""

    part: float


class Answer(_Message, frozen=True, tag=5):
    """To a question, by its number."""

    number: int
    answer: bool


class Stop(_Message, frozen=True, tag=6):
    """Finish what is in flight within `grace_s`, or at once, and leave."""

    grace_s: float
    at_once: bool


class Finish(_Message, frozen=True, tag=7):
    """There is no more work."""


ToWorker: TypeAlias = Take | TakeOver | Safe | Hold | Share | Answer | Stop | Finish


# -- to the parent -------------------------------------------------------------------------------------


class Load(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a worker stands."""

    active: int
    waiting: int
    requests: int
    wire_bytes: int


class Ended(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """One outcome: what the state and the observers need of its record; `line` is the record itself."""

    id: int
    line: bytes = b""
    state: FinalState | None = None
    final_url: str | None = None  # where it differs from the job's
    status: int | None = None
    error: str | None = None
    message: str | None = None
    attempts: int = 0
    stored: int = 0  # bytes
    wire_bytes: int = 0
    sha256: str | None = None
    path: str | None = None
    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    completeness: Completeness = "none"
    elapsed: float = 0.0
    waited: float = 0.0
    waited_s: float = 0.0
    history: tuple[Wait, ...] = ()
    deferral: Deferral | None = None
    links: list[Link] | None = None
    data: list[bytes] = []
    robots: bytes | None = None
    fault: int = 0


class Outcomes(_Message, frozen=True, tag=0):
    """Outcomes whose files stand under their names, in the order in which they came."""

    ended: list[Ended]
    load: Load


class Pulse(_Message, frozen=True, tag=1):
    """Nothing but how a worker stands, with its busiest hosts."""

    load: Load
    hosts: list[tuple[str, int, int, str]]


class Retry(_Message, frozen=True, tag=2):
    """See `events.Retrying`."""

    url: str
    error: str
    message: str
    attempt: int
    delay_s: float


class Held(_Message, frozen=True, tag=3):
    """See `events.HostHeld`."""

    host: str
    reason: str
    seconds: float
    limit: int


class Said(_Message, frozen=True, tag=4):
    """See `events.Notice`."""

    level: str
    text: str


class Ask(_Message, frozen=True, tag=5):
    """Did the user name this host?"""

    number: int
    name: str
    port: int | None


class HandOver(_Message, frozen=True, tag=6):
    """A redirect led to a host that belongs to another worker."""

    id: int
    owner: int
    fetch: bytes


class Failed(_Message, frozen=True, tag=7):
    """The worker can't go on: a `FetcherError`, or a defect, pickled."""

    error: bytes


class Bye(_Message, frozen=True, tag=8):
    """The worker has settled all that it had, and leaves."""


ToParent: TypeAlias = Outcomes | Pulse | Retry | Held | Said | Ask | HandOver | Failed | Bye

encode = msgspec.msgpack.Encoder().encode
decode_for_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_for_parent = msgspec.msgpack.Decoder(ToParent).decode
