"""A page as parsers and `Fetcher.crawl` give it: a result, its text and tree, and where to go from there.

Invariant: nothing is computed until it is asked for, and what was computed is not part of the page: it stays
behind when the page goes to another process. What is to be followed goes along.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from fetcher.extract.html import base_of
from fetcher.extract.links import links_of, type_of
from fetcher.extract.to_utf8 import to_utf8
from fetcher.model import Link, Result
from fetcher.policy.charset import decode
from fetcher.policy.link_urls import resolve_link

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser


class Page(Result, kw_only=True, gc=True, dict=True):
    """A page that was fetched: a `Result` that can be read and followed.

    `followed` has what `follow` was given, resolved, in order.
    """

    followed: list[Link] = msgspec.field(default_factory=list)

    def text(self, encoding: str | None = None) -> str:
        """Return the body as text, as browsers read it: a BOM wins, then the header, then what the page says.

        `encoding` comes after a BOM and before the rest. Bytes that do not fit become U+FFFD.
        """
        return decode(self.body, self.content_type) if encoding is None else super().text(encoding)

    @cached_property
    def tree(self) -> LexborHTMLParser:
        """The body as a tree of HTML, parsed when first asked for: `page.tree.css("h1")`."""
        from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415  (few pages need it)

        return LexborHTMLParser(self._in_utf8[0])

    @property
    def title(self) -> str | None:
        """The text of the page's `title`, white space collapsed, or None."""
        node = self.tree.css_first("title")
        return None if node is None else " ".join(node.text().split()) or None

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """The built-in links: those that a crawl follows, unless a rule leaves them out."""
        return tuple(links_of(self.body, url=self._url, content_type=self.content_type, headers=self.headers))

    @cached_property
    def base_url(self) -> str:
        """The base of the page's relative URLs: its final URL, or that of its `<base>`."""
        if type_of(self.body, self.content_type) != "html":
            return self._url
        return base_of(self._in_utf8[0], self._url)

    def urljoin(self, href: str) -> str | None:
        """Return the absolute URL that `href` means on this page, or None if it is none of http or https."""
        return resolve_link(self.base_url, href, encoding=self._in_utf8[1])

    def follow(self, links: str | Link | Iterable[str | Link], *, priority: int = 0) -> None:
        """Have URLs fetched, too: one or many, relative ones too. Larger priorities come first.

        They are subject to the crawl's rules. What is no URL of http or https is passed over, as a link
        on the page would be.
        """
        for link in (links,) if isinstance(links, str | Link) else links:
            if not isinstance(link, str | Link):
                raise TypeError(f"a link is a URL or a Link, not {type(link).__name__}")
            url = self.urljoin(link if isinstance(link, str) else link.url)
            if url is None:
                continue
            if isinstance(link, str):
                link = Link(url, priority=priority)  # noqa: PLW2901
            elif url != link.url or (priority and priority != link.priority):
                link = msgspec.structs.replace(link, url=url, priority=priority or link.priority)  # noqa: PLW2901
            self.followed.append(link)

    @property
    def _url(self) -> str:
        return self.final_url or self.url

    @cached_property
    def _in_utf8(self) -> tuple[bytes, str]:
        return to_utf8(self.body, self.content_type)


def page_of(result: Result, links: Iterable[Link] | None = None) -> Page:
    """Return the result as a page, with its built-in links where they are known already."""
    page = Page(**{name: getattr(result, name) for name in Result.__struct_fields__})
    if links is not None:
        page.__dict__["links"] = tuple(links)
    return page


class Parsed(msgspec.Struct, frozen=True):
    """Return value of a parser: data, written to `data.jsonl`, and links to be followed.

    Links are URLs, resolved against the page like those of `Page.follow`, or `Link`s.
    """

    data: Any = None
    links: Sequence[str | Link] = ()
