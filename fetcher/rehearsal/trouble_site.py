"""Site of a rehearsal: for each kind of trouble its hosts, its URLs, and what a whole body must be.

All of it follows from the seed. A host is named by its kind (`storms-1.test`) and stands on the loopback; its
home page links to its URLs, so that a crawl finds what a list names.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

from fetcher.demo_site.fault_scripts import SCRIPTS
from fetcher.demo_site.fault_server import FaultExchange, FaultServer, Hit
from fetcher.demo_site.pages import story
from fetcher.rehearsal.odd_pages import ODD_PAGES

KINDS = {
    "plain": "good pages",
    "storms": "429 and 503, with and without Retry-After",
    "resets": "connections that are reset",
    "cut": "bodies and heads that are cut short",
    "slow": "slow answers and drips",
    "silent": "hosts that say nothing, or a byte now and then",
    "lies": "false lengths, codings and types",
    "garbled": "answers that are no HTTP, floods of headers",
    "redirects": "loops, chains, and where no redirect may lead",
    "bombs": "bodies that expand a thousandfold",
    "endless": "bodies without an end",
    "names": "paths that are bad names for files",
    "odd": "pages that are hard to parse",
    "robots": "robots.txt that fails",
    "listed": "lines that are no URLs",
}
GOOD = frozenset({"plain", "storms", "resets", "slow", "names", "robots"})  # whose bodies are good pages
_HOSTS = {"plain": 3, "storms": 3, "robots": 2}
_NEVER = ("cl-te", "cl-twice", "cl-negative", "cl-plus", "cl-letters", "bad-chunk", "big-chunk", "te-gzip")
_GARBLED = ("noise", "http09", "bad-status", "bad-header", "close-at-once")
_NAME = b"<title>names</title>" + b"<p>a name is not a path\n" * 10
_NAMES = (
    *("CON", "nul.txt", "a:b", "trailing.", "space%20", "%00", "x%0Ay", "%1B%5B31m", "%E2%80%AEtxt.exe"),
    *("..%2F..%2Fetc%2Fpasswd", "%5C..%5Cup", "twice", "Twice", "twice/below", "l" * 400, ".fetcher", "-rf"),
)
_NO_URLS = ("nonsense", "ftp://plain-1.test/x", "http://", "http://plain-1.test:99999/", "http://[::1")


@dataclass(frozen=True, slots=True)
class Planned:
    """One URL: its kind of trouble, and the body that it has when it is done.

    `body` is None where no answer is whole, and empty bytes where nothing can be said.
    """

    url: str
    kind: str
    body: bytes | None


class TroubleSite:
    """`with TroubleSite(seed, crawl=False) as site:` serves; `site.planned` are its URLs, in their order.

    `address` is where its hosts are: `resolve` says so to a run.
    """

    def __init__(
        self, seed: int, *, crawl: bool, allows_private: bool = False, address: str = "127.0.0.1"
    ) -> None:
        self._draw = random.Random(seed)
        self._is_crawl = crawl
        self._allows_private = allows_private
        self._server = FaultServer(
            {**SCRIPTS, "/": self._serve}, address, content=story, content_type="text/html; charset=utf-8"
        )
        self.hosts = [f"{kind}-{n + 1}.test" for kind in KINDS for n in range(_HOSTS.get(kind, 1))]
        self.hosts.remove("listed-1.test")
        if not crawl:
            self.hosts = [host for host in self.hosts if kind_of(host) != "robots"]
        self._below: dict[str, list[str]] = {host: [] for host in self.hosts}
        self.planned: list[Planned] = []
        for kind, path, body in self._paths():
            self._add(kind, path, body)
        self._draw.shuffle(self.planned)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @property
    def log(self) -> list[Hit]:
        """Requests as they came."""
        return self._server.log

    @property
    def seeds(self) -> list[str]:
        """Home pages of the hosts."""
        return [f"http://{host}:{self._server.port}/" for host in self.hosts]

    @property
    def resolve(self) -> tuple[tuple[str, int, str], ...]:
        """Name, port and address of each host, as `--resolve` takes them."""
        return tuple((host, self._server.port, self._server.hosts[0]) for host in self.hosts)

    def _add(self, kind: str, path: str, body: bytes | None) -> None:
        if kind == "listed":
            self.planned.append(Planned(path, kind, body))
            return
        below = [host for host in self.hosts if kind_of(host) == kind]
        host = below[sum(len(self._below[name]) for name in below) % len(below)]
        self._below[host].append(path)
        self.planned.append(Planned(f"http://{host}:{self._server.port}{path}", kind, body))

    def _paths(self) -> Iterator[tuple[str, str, bytes | None]]:
        """Yield kind, path with query, and body of everything there is."""
        draw = self._draw

        def told(kind: str, path: str, size: int, query: str = "") -> tuple[str, str, bytes]:
            return kind, path + query, story(path, size)

        for n in range(36):
            size = draw.randrange(500, 20_000)
            yield told("plain", f"/ok/{n}", size, f"?size={size}")
        for form in ("chunked", "gzip", "deflate", "eof", "http10"):
            for _ in range(4):
                size = draw.randrange(500, 20_000)
                yield told("plain", f"/{form}/{size}", size)
        for n in range(12):
            status, often = draw.choice((429, 503)), draw.randrange(1, 3)
            after = draw.choice(("", "&retry-after=1", "&retry-after=soon"))
            yield told("storms", f"/once/{status}/{n}", 100, f"?n={often}{after}")
        yield "storms", "/once/429/for-ever?n=999&retry-after=1000000000", None
        yield from (told("resets", f"/fail/{draw.randrange(1, 3)}/{n}", 100) for n in range(6))
        yield from (("resets", f"/reset/{n}?at={draw.randrange(1000)}", None) for n in range(2))
        yield "resets", "/reset/at-once", None
        yield from (("cut", f"/cut/{n}?of=2000&at={draw.randrange(2000)}", None) for n in range(3))
        yield from (("cut", f"/cut-chunked/{n}?of=2000&at={draw.randrange(2000)}", None) for n in range(2))
        yield "cut", f"/cut-head?at={draw.randrange(1, 35)}", None
        yield "cut", f"/gzip/3000?cut={draw.randrange(1, 9)}", None
        yield told("cut", "/resumable/large", 4 << 20, f"?size={4 << 20}&cut={3 << 19}&pause=0.01")
        yield from (told("slow", f"/drip/{n}", 100, "?n=100&pause=0.02") for n in range(3))
        yield from (told("slow", f"/slow/{n}", 100, f"?delay={draw.uniform(0.5, 2):.1f}") for n in range(4))
        yield from (("silent", path, None) for path in ("/hang", "/hang-body?at=5", "/drip-head?pause=0.25"))
        yield "lies", "/surplus?n=9", b"hello"
        yield from (("lies", f"/{name}", None) for name in _NEVER)
        yield "lies", "/status/200?h=Content-Encoding:gzip", None
        yield from (("garbled", f"/{name}", None) for name in _GARBLED)
        yield from (("garbled", path, None) for path in ("/1xx?n=1000", "/headers?n=2000"))
        moved = b"" if self._is_crawl else None  # there a redirect is an answer
        for path in ("/loop", "/redirect/20", "/location?raw=file%3A///etc/hosts"):
            yield "redirects", path, moved
        private = quote(self._server.url("/ok/private"))
        yield "redirects", f"/location?raw={private}", b"" if self._allows_private else moved
        yield "redirects", "/redirect/3?to=/ok/end", b"" if self._is_crawl else story("/ok/end", 100)
        yield from (("bombs", f"/bomb/{n}?size={256 << 20}", None) for n in range(2))
        yield "endless", f"/endless?pause=0.02&most={32 << 20}", None
        yield from (("names", f"/name/{name}", _NAME) for name in _NAMES)
        yield from (("odd", f"/odd/{name}", body) for name, (_, body) in ODD_PAGES.items())
        if self._is_crawl:
            yield from (told("robots", f"/ok/{n}", 100) for n in range(6))
        else:
            yield from (("listed", text, None) for text in _NO_URLS)

    async def _serve(self, x: FaultExchange) -> None:
        """Serve home pages, robots.txt, and what is a path's alone."""
        host = x.hit.host_header.partition(":")[0]
        if x.hit.path == "/":
            await x.answer(200, body=story(host, 0, self._below.get(host, ())))
        elif x.hit.path == "/robots.txt" and kind_of(host) == "robots":
            status, body = (
                (503, b"later\n") if host == "robots-1.test" else (200, b"<html>no rules\0</html>\n")
            )
            await x.answer(status, (), body)
        elif x.hit.path.startswith("/name/"):
            await x.answer(200, (), _NAME)
        elif x.hit.path.startswith("/odd/"):
            kind, body = ODD_PAGES[x.hit.path.removeprefix("/odd/")]
            await x.answer(200, [("Content-Type", kind)], body)
        else:
            await x.answer(404, (), b"no such page\n")


def kind_of(host: str) -> str:
    """Return the kind of trouble of one of the site's hosts, or an empty text."""
    kind, _, _ = host.partition("-")
    return kind if kind in KINDS else ""
