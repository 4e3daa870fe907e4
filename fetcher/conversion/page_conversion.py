"""One saved page or style sheet: its links written anew, so that it can be read from the disk.

A link to a saved file becomes relative, any other that is relative absolute, as wget's `-k` does it. What is
no link stays byte for byte, in the encoding that it is in. `href` of `base` would bend all links, and
`integrity` and `crossorigin` keep a browser from loading a file: they get names with `data-` in front.
Invariant: a relative link never leads out of the folder in which the page's path begins.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote

from fetcher.extract.css import escaped_url
from fetcher.extract.links import type_of
from fetcher.extract.to_utf8 import to_utf8
from fetcher.extract.written_links import Syntax, WrittenLink, base_written, written_in_css, written_in_html
from fetcher.extract.xml import root_of
from fetcher.policy.charset import charset_of
from fetcher.policy.link_urls import resolve_link
from fetcher.policy.rewriting import Rewriting, restored

LARGEST = 64 * 1024**2  # bytes of a page, as it was served or as it comes out
_SAFE_IN_PATH = "/@=+"  # escaped is all that a URL, HTML, CSS or `srcset` could take for its own
_SAFE_IN_FRAGMENT = "!#$%&'()*+,/:;=?@[\\]^_{|}~-."
_NOT_WITH_ASCII = ("utf-16", "iso-2022", "iso2022")
_RENAMED = b"data-"
_SPACES = " \t\n\f\r"
_TAB_OR_BREAK = str.maketrans("", "", "\t\n\r")
_is_absolute = re.compile(r"https?://", re.IGNORECASE).match

Find = Callable[[str], str | None]


class NotConvertible(Exception):
    """The links of a page can't be written anew; the text says why."""


def convert_page(
    body: bytes, *, url: str, path: str, content_type: str | None, find: Find
) -> tuple[bytes, bytes] | None:
    """Return the page with its links converted and the way back (`rewriting`), or None: it is no page.

    `url` is where it was served, `path` where it is saved. `find` gives the path of the saved file that an
    absolute URL without fragment leads to, or None.

    Raises:
        NotConvertible: it is too large, or its encoding can't be written.
    """
    if len(body) > LARGEST:
        raise NotConvertible("too large")
    kind = type_of(body, content_type)
    if kind == "xml" and root_of(to_utf8(body[:65536], content_type)[0]) == "html":
        kind = "html"
    if kind not in {"html", "css"}:
        return None
    codec = charset_of(body, content_type)
    page, in_page = body, codec
    if codec.startswith(_NOT_WITH_ASCII):
        page, in_page = to_utf8(body, content_type)[0], "utf-8"
    writer = _LinkWriter(url, path, find)
    if kind == "html":
        writer.encoding = "utf-8" if codec.startswith("utf-16") else codec
        if (href := base_written(page, in_page)) is not None:
            writer.lead_by(href)
        tags: Iterable[list[WrittenLink]] = written_in_html(page, in_page)
    else:
        tags = ([link] for link in written_in_css(page, in_page))
    edits: Iterator[Edit] = itertools.chain.from_iterable(map(writer.edits, tags))
    if page is not body:
        edits = _in_encoding(edits, page, body, codec)
    rewriting = Rewriting(body)
    for start, end, new in edits:
        rewriting.replace(start, end, new)
        if rewriting.length > LARGEST:
            raise NotConvertible("too large with its links written out")
    content, way_back = rewriting.finish()
    if restored(content, way_back) != body:
        raise NotConvertible("not to be had back as it was served")
    return content, way_back


Edit = tuple[int, int, bytes]


def _in_encoding(edits: Iterable[Edit], page: bytes, body: bytes, codec: str) -> Iterator[Edit]:
    """Yield the edits of a page in UTF-8 as those of the body that it was made of.

    Raises:
        NotConvertible: the body is not what this codec writes.
    """
    place = last = 0
    for begin, end, new in edits:
        if not last:
            written = page.decode().encode(codec)
            place = len(body) - len(written)  # past a byte order mark
            if place < 0 or body[place:] != written:
                raise NotConvertible(f"not valid in its encoding ({codec})")
        place += len(page[last:begin].decode().encode(codec))
        old = page[begin:end].decode().encode(codec)
        yield place, place + len(old), new.decode().encode(codec)
        place += len(old)
        last = end


class _LinkWriter:
    """Decides what the links of one page become, and writes them."""

    def __init__(self, url: str, path: str, find: Find) -> None:
        self.encoding = "utf-8"  # in which queries are sent
        self._base = url
        self._has_base = False
        self._path = path
        self._find = find
        self._known: dict[str, str | None] = {}

    def lead_by(self, href: str) -> None:
        """Let links be relative to what a `base` says."""
        self._base = resolve_link(self._base, href) or self._base
        self._has_base = True

    def edits(self, links: list[WrittenLink]) -> list[Edit]:
        """Return what is to be replaced in one tag, in order."""
        edits: list[Edit] = []
        guards: list[Edit] = []
        is_saved = False
        for link in links:
            if link.syntax == "guard":
                guards.append((link.start, link.end, _RENAMED))
            elif link.syntax == "base":
                edits.append((link.start, link.end, _RENAMED))
            elif (new := self._converted(link.href)) is not None:
                text, leads_to_file = new
                is_saved = is_saved or leads_to_file
                if text is not None:
                    edits.append((link.start, link.end, _written(text, link.syntax)))
        return sorted(edits + guards) if is_saved and guards else edits

    def _converted(self, href: str) -> tuple[str | None, bool] | None:
        """Return what a link becomes (None: it stays) and if it leads to a saved file; None: it is none."""
        href = href.strip(_SPACES)
        if href[:5].lower() == "data:" or ((not href or href[0] == "#") and not self._has_base):
            return None
        url = resolve_link(self._base, href, encoding=self.encoding)
        if url is None:
            return None
        fragment = ""
        if "#" in href:
            fragment = "#" + quote(href.translate(_TAB_OR_BREAK).partition("#")[2], safe=_SAFE_IN_FRAGMENT)
        path = self._saved(url)
        if path is not None:
            new = "" if path == self._path and fragment else relative_link(self._path, path)
            new += fragment
        elif _is_absolute(href):
            return None
        else:
            new = url + fragment
        return (None if new == href else new), path is not None

    def _saved(self, url: str) -> str | None:
        if url in self._known:
            return self._known[url]
        if len(self._known) >= 4096:
            self._known.clear()
        path = self._known[url] = self._find(url)
        return path


def _written(url: str, syntax: Syntax) -> bytes:
    """Return a URL of ASCII as it is written in a place."""
    if syntax == "srcset" and url.endswith(","):
        url = f"{url[:-1]}%2C"
    if syntax in {"css", "css-attribute"}:
        url = escaped_url(url)
    if syntax != "css":
        url = url.replace("&", "&amp;").replace("'", "&#39;").replace('"', "&quot;")
    return url.encode("ascii", "xmlcharrefreplace")


def relative_link(path: str, target: str) -> str:
    """Return the relative URL that leads from one file of a folder to another; both are paths below it."""
    here, there = path.split("/")[:-1], target.split("/")
    common = 0
    for mine, theirs in zip(here, there[:-1], strict=False):
        if mine != theirs:
            break
        common += 1
    return "../" * (len(here) - common) + quote("/".join(there[common:]), safe=_SAFE_IN_PATH)
