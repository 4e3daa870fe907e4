"""The data that flows through a run: entries, jobs, requests, responses, records, outcomes.

Everything here is data: no I/O and no policy. Times named `_at` or `not_before` are UTC epoch
seconds; durations are seconds; sizes are bytes.

Over 400 lines, because it is a list of data: whoever adds a field finds all of it here.
"""

from __future__ import annotations

import codecs
import contextlib
import enum
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from fetcher.errors import FetcherError, FetchFailed

Completeness = Literal["length", "chunked", "eof-unverified", "none"]
FinalState = Literal["done", "unchanged", "failed", "refused"]
Kind = Literal["page", "asset", "check", "sitemap", "robots"]
LinkKind = Literal["page", "asset", "canonical", "redirect", "sitemap"]


class State(enum.IntEnum):
    """State of a URL. The numbers are stored."""

    PENDING = 0
    DONE = 1
    UNCHANGED = 2
    FAILED = 3
    REFUSED = 4
    FORGOTTEN = 5  # `--restart`: only the name is remembered, until the URL is listed again
    WITHHELD = 6  # its credentials are not in the state: listed again, it becomes pending
    LEFT_OUT = 7  # `crawl`: a rule left it out; `error` names the rule


FINAL_STATES: dict[str, State] = {name: State[name.upper()] for name in get_args(FinalState)}
FINAL = frozenset(FINAL_STATES.values())
SUCCESSFUL = frozenset({State.DONE, State.UNCHANGED})
UNSUCCESSFUL = FINAL - SUCCESSFUL


class Headers:
    """Header fields as they came: order, spelling and duplicates kept, looked up without case.

    Text is Latin-1, as RFC 9110 §5.5 leaves it. `first` has the first value of each name in lower case.
    """

    __slots__ = ("first", "raw")

    def __init__(
        self, raw: Sequence[tuple[bytes, bytes]] = (), first: dict[bytes, bytes] | None = None
    ) -> None:
        """Give `first` where somebody knows it already."""
        self.raw = raw
        self.first = {key.lower(): value for key, value in reversed(raw)} if first is None else first

    def find(self, name: bytes) -> bytes | None:
        """Return the first value of `name` (given in lower case), or None."""
        return self.first.get(name)

    @property
    def has_duplicates(self) -> bool:
        """True if a name stands there more than once."""
        return len(self.first) != len(self.raw)

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
    hostname: str
    port: int
    host: str
    userinfo: str | None = None  # "user:password", percent-decoded; never stored, never shown

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.hostname, self.port


class PieceHashes(msgspec.Struct, frozen=True, gc=False):
    """Hashes of a body's pieces, each of `length` bytes but for the last (RFC 5854 §4.2.10).

    `algorithm` is hashlib's name; `digests` are theirs in the body's order, one behind the other.
    """

    algorithm: str
    length: int
    digests: bytes


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line of a source, not yet judged. `bad` says why it can't be an entry at all."""

    url: str
    source: str | None = None
    line: int | None = None
    name: str | None = None
    sha256: str | None = None
    checksum: str | None = None  # see `policy.checksums`
    priority: int = 0
    method: str | None = None
    body: str | None = None
    headers: dict[str, str] | None = None
    meta: dict[str, Any] | None = None
    bad: str | None = None
    mirrors: tuple[str, ...] = ()
    size: int | None = None
    pieces: PieceHashes | None = None


class RequestOverrides(msgspec.Struct, frozen=True, omit_defaults=True):
    """Overrides of the run's request settings by one entry. Stored as JSON, absent for most."""

    name: str | None = None
    sha256: str | None = None
    method: str | None = None
    body: bytes | None = None
    headers: dict[str, str] | None = None
    meta: dict[str, Any] | None = None
    checksums: tuple[str, ...] = ()  # to be met beside `sha256`
    timeout_s: float | None = None  # of each hop, for one call of the library
    mirrors: tuple[str, ...] = ()  # further addresses of the same body, the next to be tried first
    size: int | None = None  # of the body, in bytes
    pieces: PieceHashes | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """All checksums that the body has to meet."""
        return self.checksums if self.sha256 is None else (f"sha256:{self.sha256}", *self.checksums)


class Wait(msgspec.Struct, frozen=True, gc=False):
    """A wait worth telling: what for, how long, after which attempt."""

    reason: str
    seconds: float
    attempt: int
    error: str | None = None


class CacheEntry(msgspec.Struct, frozen=True, gc=False):
    """Validators and file of an earlier success, for conditional requests."""

    path: str | None
    bytes: int
    sha256: str | None
    etag: str | None
    last_modified: str | None
    digest: str | None = None  # see `Record`
    held_bytes: int | None = None  # of the file, where its links were converted

    @property
    def length(self) -> int:
        """Length in bytes that the file has."""
        return self.bytes if self.held_bytes is None else self.held_bytes


class ConvertedFile(msgspec.Struct, frozen=True, gc=False):
    """The form of a stored body with its links converted: its digest, its length in bytes, and the way back.

    The latter leads to what was served (`policy.rewriting`).
    """

    sha256: bytes
    length: int
    way_back: bytes


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that a large body grows in, and what vouches for it; it outlives the attempt that began it.

    `name` is the file's, in the folder of parts. `address` is the URL that answered, `validator` what
    `If-Range` names (RFC 9110 §13.1.5), `total` the length of the whole where it is known. `extents` are the
    ranges of bytes that are on disk: sorted, disjoint, each from its first byte up to the one after its last.
    With an empty `validator` the hashes of its pieces vouch for the body, and any address may continue it.
    `resumed_at` lists the offsets at which the body was continued, `wire_bytes` counts what was received in
    all.
    """

    name: str
    address: str
    validator: str
    total: int | None = None
    extents: tuple[tuple[int, int], ...] = ()
    resumed_at: tuple[int, ...] = ()
    wire_bytes: int = 0

    @property
    def end(self) -> int:
        """The end of the bytes that are there without a gap."""
        return self.extents[0][1] if self.extents and self.extents[0][0] == 0 else 0

    @property
    def held(self) -> int:
        """The number of bytes that are there."""
        return sum(end - begin for begin, end in self.extents)


class Link(msgspec.Struct, frozen=True, gc=False):
    """A link that was found, resolved against its page, as it would be sent.

    A `redirect` and a `canonical` stand for the page itself, so their target joins at its depth. `text` is
    what the page shows for it, where that is wanted.
    """

    url: str
    kind: LinkKind = "page"
    nofollow: bool = False
    priority: int = 0  # larger first, within the run
    text: str = ""


class NameHints(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Hints of an answer on a file's name: the one that it gives, and the content's type, if they count."""

    filename: str | None = None
    content_type: str | None = None


class Job(msgspec.Struct, kw_only=True, gc=False, omit_defaults=True):
    """One URL to be fetched, as the frontier hands it out.

    `id` is the frontier's, in input order from 1. `host` is that of the first hop. `target` is None
    for a line that was not admitted; a job with a `refusal` (slug, message) is settled as refused
    and never fetched. In a crawl, `is_listed` says that the user named its origin, so credentials go
    there, and `is_named` that the user named its host, so it may be private. A job of kind `robots` has
    no row, no name and no record; its `id` is negative. One of kind `check` is only asked
    whether it is there.
    """

    id: int
    url: str  # as given, secrets masked
    target: Target | None
    source: str | None = None
    line: int | None = None
    parent: str | None = None
    depth: int = 0
    rank: int = 0  # smaller first
    overrides: RequestOverrides | None = None
    secret: str | None = None  # "user:password" of the URL; kept in memory only
    secret_headers: dict[str, str] | None = None  # kept in memory only
    refusal: tuple[str, str] | None = None
    attempts: int = 0
    waited_s: float = 0.0  # spent on Retry-After, over all continuations
    not_before: float = 0.0
    history: tuple[Wait, ...] = ()
    path: str | None = None  # relative to the output folder; given once, never changed
    is_foreign: bool = False  # a file the state does not know stood at `path` when it was given
    hints: NameHints | None = None  # where `path` is given only when an answer is there
    cached: CacheEntry | None = None
    part: Part | None = None  # of its body, left by an earlier attempt
    kind: Kind = "page"
    is_listed: bool = True
    is_user_host: bool = True
    crawl_delay_s: float = 0.0  # what the origin's robots.txt asks for
    held_s: float = 0.0  # given out so much later, for the robots.txt of its origin
    was_claimed: bool = False  # by a session that was killed: what it ran into may be this page's doing
    hops: int = 0  # redirects that led here, in a crawl

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
    """The head of an answer, and how its body was framed. `reason` is the phrase of its status line.

    `resent` counts silent repeats on a dead reused connection. `completeness` is what the framing
    promises of the body; `http_version` is "1.0", "1.1", "2" or "3". `head` is status line and fields as they
    came, with the empty line behind them.
    """

    status: int
    headers: Headers
    http_version: str = "1.1"
    completeness: Completeness = "none"
    length: int | None = None  # declared by Content-Length
    resent: int = 0
    reason: str = ""
    head: bytes = b""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request and what came of it, for a store that keeps exchanges.

    `request` is what the backend was given: its fields may hold credentials, and Host and Content-Length are
    the backend's to add. `response` has status line and fields as they came, and is None where no head came
    (then `error` says why), `error` None where the exchange went as HTTP should. `started_at` is UTC epoch
    seconds. `content` is the body as it came, content-coding on, of an answer that is not the last of its
    job; `is_cut` says that there was more.
    """

    request: Request
    response: Response | None
    started_at: float
    elapsed_s: float
    error: FetcherError | None = None
    content: bytes | None = None
    is_cut: bool = False


class Record(msgspec.Struct, kw_only=True, gc=False):
    """A line of `results.jsonl`; the names and their order are stable.

    `digest` is there where SHA-256 was not chosen: `blake3:` and hex digits, or `none`.
    """

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
    digest: str | None = None
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
    resumed_at: list[int] = []


class StoredPage(msgspec.Struct, frozen=True):
    """A page that is stored: `path` and `bytes` of its record say where, and what was served.

    Its file may be one of `forms` instead.
    """

    job: Job
    record: Record
    forms: Sequence[ConvertedFile] = ()


# What a result's parts are called in requests, httpx and aiohttp, and here.
_MEANT = {
    "content": "body",
    "content_bytes": "body",
    "read": "body",
    "status_code": "status",
    "reason": "status",
    "reason_phrase": "status",
    "is_success": "ok",
    "is_error": "ok",
    "history": "redirects",
    "encoding": "content_type",
    "html": "text()",
    "cookies": "headers",
}


class Result(Record, kw_only=True):
    """Result of one URL, for the library's callers: a record with headers and body.

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

    if not TYPE_CHECKING:  # to a type checker, a name that is not there is an error

        def __getattr__(self, name: str) -> Any:
            meant = f"; did you mean {_MEANT[name]}?" if name in _MEANT else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{meant}")

    raise_for_status = raise_for_error  # as httpx and requests call it; what was refused raises too

    def text(self, encoding: str | None = None) -> str:
        """Return the body as text: a BOM wins, then `encoding`, then the charset of the header, then UTF-8.

        Bytes that do not fit become U+FFFD.
        """
        return decode_text(self.body, self.content_type, encoding)

    def json(self) -> Any:
        """Return the body parsed as JSON (RFC 8259). Raises `ValueError` if it is not."""
        return json.loads(self.body)


BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_NOT_TEXT = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})


def decode_text(body: bytes, content_type: str | None, encoding: str | None = None) -> str:
    """Bytes to text by BOM, then `encoding`, then the charset label, then UTF-8."""
    for bom, label in BOMS:
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
    """Outcome of one job: its final record, or a deferral.

    `part` is what is left of its body for a later attempt; without one, what the state knew of a part is
    dropped. `exchanges` are those since the job's last outcome, in their order (redirects, failures and the
    last one, to which `body` belongs), for a store that keeps them; for others there are none. `timings` are
    the same, packed as `fetcher.timings` has them, where they are kept.
    """

    job: Job
    record: Record | None = None
    deferral: Deferral | None = None
    part: Part | None = None
    history: tuple[Wait, ...] = ()
    line: bytes = b""  # the record as JSON, where it is kept
    body: Any = None  # engine.body.Body; the store's until it is settled
    headers: Headers | None = None  # of the page, where it is going to be read
    error: FetcherError | None = None
    links: Sequence[Link] | None = None  # None: not looked for; those that the state has are taken
    data: Sequence[bytes] = ()  # what the user's parser returned, as lines of JSON
    robots: bytes | None = None  # the text of a robots.txt, for a job of that kind
    fault: int = 0  # the status of one that could not be had, for a job of that kind; 0 is no answer
    exchanges: Sequence[Exchange] = ()
    archived: tuple[str, int] | None = None  # the archive that holds it now, and how long that is with it
    timings: bytes = b""
    came_at: float = 0.0  # the loop's time, in the parse stage
    notes: Sequence[str] = ()  # on what it holds, for people; the frontier adds those on a robots.txt


class CrawlFindings(msgspec.Struct, frozen=True, kw_only=True):
    """Findings of a crawl, beyond its counts.

    `broken` is the number of seeds that failed or were refused, and of found pages that failed, a 4xx
    answer (408 and 429 aside) excepted. `left_out` counts URLs by the rule that left them out.
    """

    broken: int = 0
    left_out: dict[str, int] = {}


class FinalCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of URLs by final state: a field for each name in `FINAL_STATES`."""

    done: int = 0
    unchanged: int = 0
    failed: int = 0
    refused: int = 0

    def finals(self) -> dict[str, int]:
        """Return the numbers by the name of the state."""
        return {name: getattr(self, name) for name in FINAL_STATES}

    @property
    def ended(self) -> int:
        """Number of URLs that are final."""
        return sum(self.finals().values())


class Summary(FinalCounts, frozen=True, kw_only=True):
    """Summary of a run: numbers of URLs by final state, of this list and those left by an earlier one.

    `stopped` is None at the natural end, else why: `deadline`, `max-failures`, `disk-full`, a signal's
    name. `withheld` waits for its credentials. Sizes are bytes, `elapsed` seconds.
    """

    pending: int = 0
    withheld: int = 0
    duplicates: int = 0
    earlier: int = 0  # of those that ended, the ones that an earlier run had done
    bytes: int = 0
    wire_bytes: int = 0
    requests: int = 0
    elapsed: float = 0.0
    errors: dict[str, int] = msgspec.field(default_factory=dict)
    stopped: str | None = None
    hook_failures: int = 0  # of `on_done`
    broken_links: int | None = None  # of a link check: URLs that are linked and broken
    findings: CrawlFindings | None = None  # of a crawl

    @property
    def ok(self) -> bool:
        """True if every URL is `done` or `unchanged`; of a crawl, if nothing is broken; and no hook failed.

        What `--max-pages` leaves pending is no fault.
        """
        if self.hook_failures or self.broken_links:
            return False
        if self.findings is not None:
            return not (self.findings.broken or self.withheld)
        return not (self.failed or self.refused or self.pending or self.withheld)


class Added(msgspec.Struct, gc=False):
    """Numbers of what `Frontier.add` did with a batch."""

    new: int = 0
    again: int = 0  # known, and put back (`--refresh`)
    duplicates: int = 0  # listed twice in this session
    finals: dict[str, int] = {}  # known and final: how many ended how, in earlier sessions
    errors: dict[str, int] = {}  # of those, the failed and refused by slug
    pending: int = 0  # known, and pending when this session began


class Counts(FinalCounts, frozen=True, kw_only=True, gc=False):
    """Numbers of URLs that the frontier holds in each state, a field for each; `pending` includes claims."""

    pending: int = 0
    withheld: int = 0


class Holdup(msgspec.Struct, array_like=True, gc=False):
    """Time for which one cause held a run: `host` is whose limit it was, or empty.

    `active_s` are seconds of exchanges in flight meanwhile, `busy_s` those of the loop at work.
    """

    cause: str
    host: str
    seconds: float = 0.0
    active_s: float = 0.0
    busy_s: float = 0.0


class SpeedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that a run's speed depends on; None is no limit. `cores` are the processors it may use.

    `own_hosts` are those with a limit, delay or rate of their own.
    """

    concurrency: int = 64
    per_host: int = 8
    delay: float = 0.0
    rate: float | None = None
    max_bandwidth: int | None = None
    processes: int = 1
    backend: str = "asyncio"
    parser_workers: int | None = None
    cores: int = 1
    own_hosts: frozenset[str] = frozenset()
    stores_objects: bool = False


class Bottleneck(msgspec.Struct, kw_only=True):
    """The cause that held a run back. `text` says it in one line.

    `share` is of the time, 0 to 1; `host` is empty where it was no single one's. `setting` is what would
    change it, as it is typed, and `saves_s` about how many seconds; None where none is known.
    """

    cause: str
    share: float
    text: str
    host: str = ""
    setting: str | None = None
    saves_s: float | None = None
