"""A web whose link graph is known: what a crawl of it must ask for is computed from the graph, not crawled.

Every page is written from its edges, so `Web.expected` is a breadth-first search over the edges that reads no
page and shares no code with the crawler. What is on a page and must not be followed (comments, scripts, other
schemes, other hosts) has no edge.

Invariant: a target (path and query, percent-encoded as it goes on the wire) names one page, however it is
spelled on the pages that link to it; `key_of` gives it back. `ADDRESS` in bodies and Location stands for where
the site is served, `ELSEWHERE` for a host that is out of scope.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from html import escape
from posixpath import dirname, relpath
from typing import Any, Literal

ADDRESS = "crawlsite.invalid"
ELSEWHERE = "elsewhere.invalid"
HTML = "text/html; charset=utf-8"

Kind = Literal["page", "asset", "canonical", "redirect"]
Bar = Literal["nofollow", "meta"]


@dataclass(frozen=True, slots=True)
class Edge:
    """One link. `bar` says what asks crawlers not to follow it: the link itself, or the whole page."""

    to: str
    kind: Kind = "page"
    bar: Bar | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """What one target answers with, and where it leads."""

    body: bytes = b""
    content_type: str = HTML
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()
    edges: tuple[Edge, ...] = ()
    delay_s: float = 0.0
    after: str | None = None  # answered once this target has been asked for
    is_coded: bool = False  # sent with Content-Encoding: gzip


@dataclass(frozen=True, slots=True)
class Expected:
    """What a crawl asks for, and what robots.txt keeps it from, each with its smallest depth."""

    fetched: dict[str, int]
    refused: dict[str, int]


def _nothing(_: str) -> None:
    """No trap."""


@dataclass
class Web:
    """A site: its resources by target. What it has not answers 404, and is asked for like any other."""

    resources: dict[str, Resource] = field(default_factory=dict)
    robots: str = ""
    disallowed: set[str] = field(default_factory=set)  # what `robots` comes to
    endless: set[str] = field(default_factory=set)  # paths that repeat themselves: not followed
    sitemaps: set[str] = field(default_factory=set)
    orphans: list[str] = field(default_factory=list)  # what the sitemaps list
    trap: Callable[[str], Resource | None] = field(default=_nothing)  # targets without end

    def find(self, target: str) -> Resource | None:
        """The resource of a target, if it has one."""
        return self.resources.get(target) or self.trap(target)

    def add(self, page: Page, **more: Any) -> str:
        """Put a page that was written."""
        self.resources[page.path] = page.resource(**more)
        return page.path

    def link(self, source: str, *targets: str) -> None:
        """Add plain links to the end of a page. One that starts with `http` leads out of the site."""
        old = self.resources[source]
        anchors = "".join(f'<a href="{escape(to)}">{escape(to)}</a>\n' for to in targets)
        edges = tuple(Edge(to) for to in targets if to.startswith("/"))
        self.resources[source] = replace(old, body=old.body + anchors.encode(), edges=old.edges + edges)

    def pages(self) -> list[str]:
        """The targets that hold an HTML page."""
        return [
            target
            for target, found in self.resources.items()
            if found.status == 200 and "html" in found.content_type
        ]

    def expected(
        self,
        *seeds: str,
        depth: int = 5,
        robots: bool = True,
        sitemaps: bool = False,
        assets: bool = False,
        ignore: Iterable[str] = (),
        follows: Callable[[str], bool] = lambda _: True,
    ) -> Expected:
        """Breadth first, the smallest depth first; redirects and canonicals cost no depth.

        `follows` says whether a target that is no seed is within the other rules.
        """
        ignored = set(ignore)
        found: dict[str, int] = {}
        queue = deque((seed, 0) for seed in seeds or ("/",))
        listed = deque((entry, 1) for entry in self.orphans if sitemaps and depth >= 1 and follows(entry))
        while queue or listed:
            is_listed = listed and (not queue or queue[0][1] >= 1)
            target, at = listed.popleft() if is_listed else queue.popleft()
            if target in found:
                continue
            found[target] = at
            resource = None if robots and target in self.disallowed else self.find(target)
            for edge in resource.edges if resource is not None else ():
                then = at if edge.kind in {"redirect", "canonical"} else at + 1
                if edge.kind == "asset":
                    wanted = assets
                else:
                    wanted = then <= depth and (edge.bar is None or edge.bar in ignored)
                if edge.kind == "canonical" and "canonical" in ignored:
                    wanted = False
                if not wanted or edge.to in self.endless or not follows(edge.to):
                    continue
                if then == at:
                    queue.appendleft((edge.to, then))
                else:
                    queue.append((edge.to, then))
        refused = {target: at for target, at in found.items() if robots and target in self.disallowed}
        return Expected({target: at for target, at in found.items() if target not in refused}, refused)


_needless = re.compile("%(2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")


def key_of(target: str) -> str:
    """The target with nothing escaped that needs no escape, as this site names its pages."""
    return _needless.sub(lambda found: chr(int(found[1], 16)), target)


# -- writing a page ------------------------------------------------------------------------------------


class Page:
    """A page being written: each link puts an edge, and its markup in one of many spellings."""

    def __init__(self, path: str, title: str, *, draw: random.Random | None = None, base: str = "") -> None:
        self.path = path
        self._draw = draw
        self._folder = dirname(path.partition("?")[0])
        self._head = [f"<title>{escape(title)}</title>"]
        if base:
            self._folder = base.rstrip("/")
            self._head.append(f'<base href="{base}">')
        self._body = [f"<h1>{escape(title)}</h1>"]
        self._edges: list[Edge] = []
        self.bar: Bar | None = None

    def head(self, markup: str, *edges: Edge) -> None:
        self._head.append(markup)
        self._edges += edges

    def text(self, markup: str) -> None:
        self._body.append(markup)

    def link(self, to: str, markup: str = '<a href="{}">a page</a>', *, bar: Bar | None = None) -> None:
        """A link in the body; `{}` in the markup is where it goes."""
        self._edges.append(Edge(to, bar=bar or self.bar))
        self._body.append(markup.replace("{}", escape(self._spelled(to))))

    def asset(self, to: str, markup: str) -> None:
        self._edges.append(Edge(to, "asset"))
        self._body.append(markup.replace("{}", to))

    def links(self, targets: Iterable[str]) -> None:
        """Links of all kinds, in the body and the head."""
        for to in targets:
            kind = self._draw.choice(_ELEMENTS) if self._draw is not None else _ELEMENTS[0]
            if kind.startswith("<link"):
                self.head(kind.replace("{}", escape(self._spelled(to))), Edge(to, bar=self.bar))
            else:
                self.link(to, kind)

    def relative(self, to: str) -> str:
        """How this page, or its base, names `to` without an origin."""
        return relpath(to, self._folder)

    def _spelled(self, to: str) -> str:
        if self._draw is None:
            return to
        return self._draw.choice(_SPELLINGS)(self, to)

    def resource(self, encoding: str = "utf-8", **more: Any) -> Resource:
        lines = [
            "<!doctype html>",
            "<html><head>",
            *self._head,
            "</head><body>",
            *self._body,
            "</body></html>",
        ]
        body = "\n".join(lines).encode(encoding)
        return Resource(body=body, edges=tuple(self._edges), **more)


_ELEMENTS = (
    *(['<a href="{}">a page</a>'] * 8),
    "<a class=x href='{}'>quoted once</a>",
    '<A HREF="{}" target=_blank>in capitals</A>',
    '<map name=m><area shape="rect" coords="0,0,9,9" href="{}"></map>',
    '<iframe src="{}"></iframe>',
    '<p><div><b><a title=">" href="{}">not<i>closed',
    '</i></b><a rel="noopener author" href="{}">related</a>',
    '<link rel="next" href="{}">',
    '<link rel="prev" href="{}">',
    '<link rel="alternate" hreflang="de" href="{}">',
)


def _escaped_letter(_: Page, to: str) -> str:
    at = to.rfind("/") + 1
    return to if at >= len(to) or not to[at].isalnum() else f"{to[:at]}%{ord(to[at]):02x}{to[at + 1 :]}"


_SPELLINGS: tuple[Callable[[Page, str], str], ...] = (
    *[lambda _, to: to] * 6,
    *[lambda page, to: page.relative(to) if not to.endswith("/") else to] * 4,
    lambda _, to: f"http://{ADDRESS}{to}",
    lambda _, to: f"HTTP://{ADDRESS}{to}",
    lambda _, to: f"//{ADDRESS}{to}",
    lambda _, to: f"{to}#part",
    lambda _, to: f"\n  {to}\t ",
    lambda _, to: f"/nowhere/./..{to}",
    lambda _, to: to[:2] + "\n" + to[2:],
    lambda _, to: to.replace("/", "\\"),
    _escaped_letter,
)


def moved(to: str, status: int = 301) -> Resource:
    """A redirect."""
    return Resource(
        b'<a href="/moved/body">moved</a>',
        status=status,
        fields=(("Location", to),),
        edges=(Edge(to, "redirect"),),
    )
