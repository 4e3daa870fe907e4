"""The data that flows through a run: entries, jobs, requests, responses, records, outcomes.

Everything here is data: no I/O and no policy. Times named `_at` or `not_before` are UTC epoch
seconds; durations are seconds; sizes are bytes.
"""

from __future__ import annotations

import codecs
import contextlib
import enum
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from fetcher.errors import FetcherError, FetchFailed

Completeness = Literal["length", "chunked", "eof-unverified", "none"]
FinalState = Literal["done", "unchanged", "failed", "refused"]
Kind = Literal["page", "asset", "sitemap", "robots"]
LinkKind = Literal["page", "asset", "canonical", "redirect", "sitemap"]


class State(enum.IntEnum):
    """Where a URL stands. The numbers are stored."""

    PENDING = 0
    DONE = 1
    UNCHANGED = 2
    FAILED = 3
    REFUSED = 4
    FORGOTTEN = 5  # `--restart`: only the name is remembered, until the URL is listed again
    WITHHELD = 6  # its credentials are not in the state: listed again, it becomes pending
    LEFT_OUT = 7  # `crawl`: a rule left it out; `error` names the rule


FINAL_STATES: dict[str, State] = {
    "done": State.DONE,
    "unchanged": State.UNCHANGED,
    "failed": State.FAILED,
    "refused": State.REFUSED,
}


class Headers:
    """Header fields as they came: order, spelling and duplicates kept, looked up without case.

    Text is Latin-1, as RFC 9110 §5.5 leaves it.
    """

    __slots__ = ("_first", "raw")

    def __init__(
        self, raw: Sequence[tuple[bytes, bytes]] = (), first: dict[bytes, bytes] | None = None
    ) -> None:
        """`first` has the first value of each name in lower case, where somebody knows them already."""
        self.raw = raw
        self._first = first

    def find(self, name: bytes) -> bytes | None:
        """The first value of `name` (given in lower case), or None."""
        first = self._first
        if first is None:
            first = self._first = {key.lower(): value for key, value in reversed(self.raw)}
        return first.get(name)

    @property
    def has_duplicates(self) -> bool:
        """Whether a name stands there more than once."""
        self.find(b"")
        return len(self._first or ()) != len(self.raw)

    def get(self, name: str, default: str | None = None) -> str | None:
        value = self.find(name.lower().encode("latin-1", "replace"))
        return default if value is None else value.decode("latin-1")

    def get_all(self, name: str) -> list[str]:
        wanted = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for key, value in self.raw if key.lower() == wanted]

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((key.decode("latin-1"), value.decode("latin-1")) for key, value in self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and list(self.raw) == list(other.raw)

    def __hash__(self) -> int:
        return hash(tuple(self.raw))

    def __repr__(self) -> str:
        return f"Headers({list(self.raw)!r})"


class Target(msgspec.Struct, frozen=True, gc=False):
    """An admitted URL, taken apart once.

    `url` is what goes on the wire: no fragment, no userinfo, host canonical. `host` is the unit of
    politeness, name and port (`example.org:443`); `name` is without brackets or port.
    """

    url: str
    scheme: str
    name: str
    port: int
    host: str
    userinfo: str | None = None  # "user:password", percent-decoded; never stored, never shown

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.name, self.port


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line of a source, not yet judged. `bad` says why it can't be an entry at all."""

    url: str
    source: str | None = None
    line: int | None = None
    name: str | None = None
    sha256: str | None = None
    priority: int = 0
    method: str | None = None
    body: str | None = None
    headers: dict[str, str] | None = None
    meta: dict[str, Any] | None = None
    bad: str | None = None


class Extra(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an entry may say beyond its URL. Stored as JSON, absent for most."""

    name: str | None = None
    sha256: str | None = None
    method: str | None = None
    body: bytes | None = None
    headers: dict[str, str] | None = None
    meta: dict[str, Any] | None = None


class Wait(msgspec.Struct, frozen=True, gc=False):
    """A wait worth telling: what for, how long, after which attempt."""

    reason: str
    seconds: float
    attempt: int
    error: str | None = None


class Known(msgspec.Struct, frozen=True, gc=False):
    """What the state remembers of an earlier success, for conditional requests."""

    path: str | None
    bytes: int
    sha256: str
    etag: str | None
    last_modified: str | None


class Link(msgspec.Struct, frozen=True, gc=False):
    """A link that was found, resolved against its page, as it would be sent.

    A `redirect` and a `canonical` stand for the page itself, so their target joins at its depth.
    """

    url: str
    kind: LinkKind = "page"
    nofollow: bool = False
    priority: int = 0  # larger first, within the run


class Job(msgspec.Struct, kw_only=True, gc=False, omit_defaults=True):
    """One URL to be fetched, as the frontier hands it out.

    `id` is the frontier's, in input order from 1. `host` is that of the first hop. `target` is None
    for a line that was refused at the gate; a job with a `refusal` (slug, message) is settled as refused
    and never fetched. In a crawl, `is_listed` says that the user named its origin, so credentials go
    there, and `is_named` that the user named its host, so it may be private. A job of kind `robots` has
    no row, no name and no record; its `id` is negative.
    """

    id: int
    url: str  # as given, secrets masked
    target: Target | None
    source: str | None = None
    line: int | None = None
    parent: str | None = None
    depth: int = 0
    rank: int = 0  # smaller first
    extra: Extra | None = None
    secret: str | None = None  # "user:password" of the URL; kept in memory only
    secret_headers: dict[str, str] | None = None  # kept in memory only
    refusal: tuple[str, str] | None = None
    attempts: int = 0
    waited_s: float = 0.0  # spent on Retry-After, over all continuations
    not_before: float = 0.0
    history: tuple[Wait, ...] = ()
    path: str | None = None  # relative to the output folder; given once, never changed
    is_foreign: bool = False  # a file the state does not know stood at `path` when it was given
    known: Known | None = None
    kind: Kind = "page"
    is_listed: bool = True
    is_named: bool = True
    crawl_delay_s: float = 0.0  # what the origin's robots.txt asks for
    was_claimed: bool = False  # by a session that was killed: what it ran into may be this page's doing
    hops: int = 0  # redirects that led here, in a crawl
    item: Any = None  # the library's own tag

    @property
    def host(self) -> str:
        return "" if self.target is None else self.target.host


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One hop, ready for the wire. Header names and values are clean (no CR, LF, NUL)."""

    target: Target
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    allow_private: bool = False
    proxy: str | None = None  # a URL, with userinfo if it needs any

    @property
    def url(self) -> str:
        return self.target.url


class Response(msgspec.Struct, gc=False):
    """The head of an answer, and how its body was framed.

    `resent` counts silent repeats on a dead reused connection. `completeness` is what the framing
    promises of the body; `http_version` is "1.0", "1.1", "2" or "3".
    """

    status: int
    headers: Headers
    http_version: str = "1.1"
    completeness: Completeness = "none"
    length: int | None = None  # declared by Content-Length
    resent: int = 0


class Record(msgspec.Struct, kw_only=True, gc=False):
    """A line of `results.jsonl`. `contract`: the names and their order are stable."""

    url: str
    final_url: str | None = None
    state: FinalState = "failed"
    status: int | None = None
    error: str | None = None
    message: str | None = None
    attempts: int = 0
    bytes: int = 0
    wire_bytes: int = 0
    sha256: str | None = None
    path: str | None = None
    content_type: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    completeness: Completeness = "none"
    redirects: list[str] = []
    parent: str | None = None
    depth: int = 0
    source: str | None = None
    line: int | None = None
    meta: dict[str, Any] | None = None
    started_at: str | None = None
    ended_at: str | None = None
    elapsed: float = 0.0
    waited: float = 0.0
    backend: str | None = None
    http_version: str | None = None


class Result(Record, kw_only=True):
    """What became of one URL, for the library's callers: a record with headers and body.

    `body` holds the decoded bytes, or is empty where the body went to a file (`path`).
    """

    headers: Headers = msgspec.field(default_factory=Headers)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """True for `done` and `unchanged`."""
        return self.state in {"done", "unchanged"}

    def raise_for_error(self) -> None:
        """Raise `FetchFailed` unless the URL is `done` or `unchanged`."""
        if not self.ok:
            raise FetchFailed(
                f"{self.url}: {self.message or self.error}",
                slug=self.error or "failed",
                url=self.url,
                status=self.status,
            )

    def text(self, encoding: str | None = None) -> str:
        """The body as text: a BOM wins, then `encoding`, then the charset of the header, then UTF-8.

        Bytes that do not fit become U+FFFD.
        """
        return decode_text(self.body, self.content_type, encoding)

    def json(self) -> Any:
        """The body parsed as JSON (RFC 8259). Raises `ValueError` if it is not."""
        return json.loads(self.body)


_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_NOT_TEXT = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})


def decode_text(body: bytes, content_type: str | None, encoding: str | None = None) -> str:
    """Bytes to text by BOM, then `encoding`, then the charset label, then UTF-8."""
    for bom, label in _BOMS:
        if body.startswith(bom):
            return body[len(bom) :].decode(label, "replace")
    label = encoding or _charset(content_type)
    with contextlib.suppress(LookupError, ValueError):  # no codec, or no name for one
        if codecs.lookup(label).name not in _NOT_TEXT:
            return body.decode(label, "replace")
    return body.decode("utf-8", "replace")


def _charset(content_type: str | None) -> str:
    for part in (content_type or "").split(";")[1:]:
        key, _, value = part.strip().partition("=")
        if key.strip().lower() == "charset":
            label = value.strip().strip("\"'").lower()
            if label in {"iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"}:
                return "cp1252"  # WHATWG Encoding §4.2
            return label
    return "utf-8"


class Deferral(msgspec.Struct, frozen=True, gc=False):
    """Not ended: the URL is tried again at `not_before`; what counts is stored meanwhile."""

    not_before: float
    attempts: int
    waited_s: float
    history: tuple[Wait, ...]


class Outcome(msgspec.Struct, kw_only=True, gc=False):
    """What is to be settled of one job: its final record, or a deferral."""

    job: Job
    record: Record | None = None
    deferral: Deferral | None = None
    history: tuple[Wait, ...] = ()
    line: bytes = b""  # the record as JSON, where it is kept
    body: Any = None  # engine.body.Body; the store's until it is settled
    headers: Headers | None = None  # of the page, where it is going to be read
    error: FetcherError | None = None
    links: Sequence[Link] | None = None  # None: not looked for; those that the state has are taken
    data: Sequence[bytes] = ()  # what the user's parser returned, as lines of JSON
    robots: bytes | None = None  # the text of a robots.txt, for a job of that kind
    fault: int = 0  # the status of one that could not be had, for a job of that kind; 0 is no answer


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What a crawl came to, beyond its counts.

    `broken` is the number of seeds that failed or were refused, and of found pages that failed, a 4xx
    answer (408 and 429 aside) excepted. `left_out` counts URLs by the rule that left them out.
    """

    broken: int = 0
    left_out: dict[str, int] = {}


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: numbers of URLs by final state, of this list and what an earlier one left.

    `stopped` is None at the natural end, else why: `deadline`, `max-failures`, `disk-full`, a signal's
    name. `withheld` waits for its credentials. Sizes are bytes, `elapsed` seconds.
    """

    done: int = 0
    unchanged: int = 0
    failed: int = 0
    refused: int = 0
    pending: int = 0
    withheld: int = 0
    duplicates: int = 0
    earlier: int = 0  # of those that ended, the ones that an earlier run had done
    bytes: int = 0
    wire_bytes: int = 0
    requests: int = 0
    elapsed: float = 0.0
    errors: dict[str, int] = {}
    stopped: str | None = None
    findings: Findings | None = None  # of a crawl

    @property
    def ok(self) -> bool:
        """Whether every URL is `done` or `unchanged`; of a crawl, whether nothing is broken.

        What `--max-pages` leaves pending is no fault.
        """
        if self.findings is not None:
            return not (self.findings.broken or self.withheld)
        return not (self.failed or self.refused or self.pending or self.withheld)


class Added(msgspec.Struct, gc=False):
    """What `Frontier.add` did with a batch."""

    new: int = 0
    again: int = 0  # known, and put back (`--refresh`)
    duplicates: int = 0  # listed twice in this session
    finals: dict[str, int] = {}  # known and final: how many ended how, in earlier sessions
    errors: dict[str, int] = {}  # of those, the failed and refused by slug
    pending: int = 0  # known, and pending when this session began


class Counts(msgspec.Struct, frozen=True, gc=False):
    """How many URLs the frontier holds in each state; `pending` includes what is claimed."""

    pending: int = 0
    done: int = 0
    unchanged: int = 0
    failed: int = 0
    refused: int = 0
    withheld: int = 0
