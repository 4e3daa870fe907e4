"""A backend that answers from a table, on the loop's clock, and remembers who asked for what, when.

    backend = ScriptedBackend({
        "http://a.example/": Answer(body=b"hello"),
        "http://b.example/": [Answer(503), Answer(body=[b"x", 5.0, b"y"])],   # in turn; the last repeats
    })

A URL that is not in the table gets `default`, else 200 with its own URL as the body. In a body, numbers are
pauses in seconds and errors are raised there.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fetcher.errors import Phase
from fetcher.model import Completeness, Headers, Request, Response
from fetcher.ports import BodyWriter, Traits

Piece = bytes | float | BaseException
Fields = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one exchange meets. `error` comes instead of a header, in `phase`; None as `header_s` is never.

    `length` is what Content-Length declares: of the body, unless given; None with another `completeness`.
    """

    status: int = 200
    body: bytes | Sequence[Piece] = b""
    headers: Fields = ()
    connect_s: float | None = 0.0
    header_s: float | None = 0.0
    error: BaseException | None = None
    phase: Phase = "header"
    completeness: Completeness = "length"
    length: int | None = -1
    http_version: str = "1.1"
    resent: int = 0

    def pieces(self) -> Sequence[Piece]:
        return [self.body] if isinstance(self.body, bytes) else self.body

    def response(self) -> Response:
        fields = self.headers.items() if isinstance(self.headers, Mapping) else self.headers
        length = self.length
        if length == -1:
            size = sum(len(piece) for piece in self.pieces() if isinstance(piece, bytes))
            length = size if self.completeness == "length" else None
        return Response(
            self.status,
            Headers([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]),
            http_version=self.http_version,
            completeness=self.completeness,
            length=length,
            resent=self.resent,
        )


Script = Answer | Sequence[Answer] | Callable[[Request, int], Answer]


def status(code: int, *, retry_after: str | float | None = None) -> Answer:
    """An empty answer of a status, asking for time if so said."""
    return Answer(status=code, headers={} if retry_after is None else {"Retry-After": str(retry_after)})


def redirect(location: str, code: int = 302, *, cookies: Sequence[str] = ()) -> Answer:
    """A redirect that may set cookies."""
    return Answer(status=code, headers=[("Location", location), *(("Set-Cookie", each) for each in cookies)])


def fails(error: BaseException, phase: Phase = "connect") -> Answer:
    """No answer at all."""
    return Answer(error=error, phase=phase)


@dataclass(eq=False)
class Hit:
    """One exchange: what was asked, when it began and when it was over (both the loop's time)."""

    request: Request
    started: float
    ended: float | None = None
    was_cancelled: bool = False
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = {name.lower(): value for name, value in self.request.headers}

    @property
    def url(self) -> str:
        return self.request.url

    @property
    def host(self) -> str:
        return self.request.target.host


class ScriptedBackend:
    """The `Backend` port from a table. `on_start` is called as each exchange begins."""

    traits = Traits(name="scripted")

    def __init__(
        self,
        table: Mapping[str, Script] | None = None,
        *,
        default: Script | None = None,
        on_start: Callable[[Hit], None] = lambda _: None,
    ) -> None:
        self.table = dict(table or {})
        self.default = default
        self.on_start = on_start
        self.hits: list[Hit] = []
        self.active = 0
        self.most_active = 0
        self.active_at: Counter[str] = Counter()
        self.most_active_at: Counter[str] = Counter()
        self.most_connections: int | None = None
        self.is_closed = False
        self._asked: Counter[str] = Counter()

    # -- what a test asks ----------------------------------------------------------------------------

    def urls(self) -> list[str]:
        """What was asked for, in order."""
        return [hit.url for hit in self.hits]

    def at(self, url: str) -> list[Hit]:
        """The exchanges of one URL, or of one host (`a.example:80`)."""
        return [hit for hit in self.hits if url in {hit.url, hit.host}]

    def starts(self, url: str) -> list[float]:
        """When they began, in seconds after the first exchange of all."""
        return [round(hit.started - self.hits[0].started, 6) for hit in self.at(url)]

    # -- the port ------------------------------------------------------------------------------------

    async def exchange(self, request: Request, body: BodyWriter) -> Response:
        hit = Hit(request, asyncio.get_running_loop().time())
        self.hits.append(hit)
        host = hit.host
        self.active += 1
        self.active_at[host] += 1
        self.most_active = max(self.most_active, self.active)
        self.most_active_at[host] = max(self.most_active_at[host], self.active_at[host])
        try:
            self.on_start(hit)
            return await self._answer(self._next(request), body)
        except asyncio.CancelledError:
            hit.was_cancelled = True
            raise
        finally:
            self.active -= 1
            self.active_at[host] -= 1
            hit.ended = asyncio.get_running_loop().time()

    def limit_connections(self, most: int) -> None:
        self.most_connections = most

    async def aclose(self) -> None:
        assert not self.active, "closed while exchanges are under way"
        self.is_closed = True

    def _next(self, request: Request) -> Answer:
        url = request.url
        number = self._asked[url]
        self._asked[url] += 1
        script = self.table.get(url, self.default)
        if script is None:
            return Answer(body=url.encode())
        if isinstance(script, Answer):
            return script
        return script(request, number) if callable(script) else script[min(number, len(script) - 1)]

    async def _answer(self, answer: Answer, body: BodyWriter) -> Response:
        await _pause(answer.connect_s)
        if answer.error is not None and answer.phase in {"name", "connect", "tls"}:
            body.set_phase(answer.phase)
            raise copy.copy(answer.error)
        body.set_phase("header")
        await _pause(answer.header_s)
        if answer.error is not None:
            raise copy.copy(answer.error)
        response = answer.response()
        if body.begin(response):
            for piece in answer.pieces():
                if isinstance(piece, BaseException):
                    raise copy.copy(piece)
                if not isinstance(piece, bytes):
                    await _pause(piece)
                elif body.feed(piece):
                    await body.drain()
        return response


async def _pause(seconds: float | None) -> None:
    if seconds is None:
        await asyncio.get_running_loop().create_future()
    elif seconds:
        await asyncio.sleep(seconds)
