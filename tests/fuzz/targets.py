"""What is fuzzed by coverage: every reader of foreign bytes, each as a function of bytes that raises only on a defect.

The first byte of the data chooses variants, so that a corpus is a folder of plain files.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from fetcher.config import load, load_job
from fetcher.engine.decoding import Decoder
from fetcher.errors import BadEncoding, ConfigError, ProtocolBroken, RedirectFailed, Refused
from fetcher.extract.css import urls_of_css
from fetcher.extract.links import links_of
from fetcher.model import Headers
from fetcher.policy.charset import decode
from fetcher.policy.content_encoding import content_codings
from fetcher.policy.cookies import parse_set_cookie
from fetcher.policy.filenames import sanitized
from fetcher.policy.framing import ChunkedFraming, EndedEarly, check_beginning, frame_of, framing_of
from fetcher.policy.head import HeadReader
from fetcher.policy.link_urls import canonical_key, resolve_link
from fetcher.policy.ranges import parse_content_range
from fetcher.policy.redaction import escape_controls, shown
from fetcher.policy.retry import LONGEST_RETRY_AFTER_S, retry_after_s
from fetcher.policy.robots import RobotsRules
from fetcher.policy.throttle import MOST_DELAY_S
from fetcher.policy.urls import admit, resolve_redirect
from fetcher.processes.messages import decode_for_parent, decode_for_worker
from fetcher.sources.file_source import FileSource
from fetcher.subprocesses.framed_transport import FramedTransport

BASE = admit("https://example.org/a/b?c")
FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-")
_STEERS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
CODINGS = [("gzip",), ("deflate",), ("br",), ("zstd",), ("gzip", "br")]
TYPES = ["text/html", "application/xhtml+xml; charset=utf-16", "text/xml", "text/css", "text/plain", None]


def split(data: bytes) -> list[bytes]:
    """The data behind its first byte, in pieces as long as that says."""
    size = 1 + (data[0] if data else 0)
    return [data[at : at + size] for at in range(1, len(data), size)]


def url(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for take in (admit, lambda location: resolve_redirect(BASE, location)):
        with contextlib.suppress(Refused, RedirectFailed):
            target = take(text)
            assert target.url.isascii()
            assert admit(target.url).url == target.url
    link = resolve_link(BASE.url, text)
    if link is not None:
        assert canonical_key(canonical_key(link)) == canonical_key(link)


def head(data: bytes) -> None:
    verdicts = []
    for pieces in (split(data), [data[1:]]):
        reader = HeadReader()
        verdict: object = None
        try:
            for piece in filter(None, pieces):
                found = reader.take(piece)
                if found is not None:
                    verdict = (found.status, found.headers.raw, frame_of(found, "GET"))
                    content_codings(found.headers, "/a.gz")
                    break
            else:
                check_beginning(reader.beginning, "GET")
        except ProtocolBroken:
            verdict = "broken"
        verdicts.append(verdict)
    assert verdicts[0] == verdicts[1], verdicts


def chunks(data: bytes) -> None:
    verdicts = []
    for pieces in (split(data), [data[1:]]):
        framing, body = ChunkedFraming(), b""
        try:
            for piece in filter(None, pieces):
                if framing.is_done:
                    break
                body += framing.feed(piece)
            framing.end()
            verdicts.append(("whole", body))
        except EndedEarly:
            verdicts.append(("cut", body))
        except ProtocolBroken:
            verdicts.append(("broken", b""))
    assert verdicts[0] == verdicts[1], verdicts


def coding(data: bytes) -> None:
    decoder = Decoder(CODINGS[data[0] % len(CODINGS)]) if data else Decoder(("gzip",))
    with contextlib.suppress(BadEncoding):
        for piece in split(data):
            decoder.feed(piece)
            while decoder.step():
                pass
        decoder.finish()


def fields(data: bytes) -> None:
    text = data.decode("latin-1")
    seconds = retry_after_s(text, 1.7e9)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_S
    found = parse_content_range(text)
    assert found is None or found.first is None or 0 <= found.first <= (found.last or 0)
    parse_set_cookie(text, BASE, 1.7e9)
    for one in (escape_controls(text), shown(text)):
        assert not _STEERS.search(one)


def robots(data: bytes) -> None:
    rules = RobotsRules(data, "fetcher", "https://example.org/robots.txt")
    rules.allows("https://example.org/a?b=c")
    assert 0 <= rules.crawl_delay_s <= MOST_DELAY_S
    assert all(one.startswith(("http://", "https://")) for one in rules.sitemaps)


def page(data: bytes) -> None:
    kind, body = (data[0] if data else 0), data[1:]
    content_type = TYPES[kind % len(TYPES)]
    fields = Headers([(b"Link", body[:100]), (b"X-Robots-Tag", body[:50])]) if kind & 64 else None
    found = links_of(body, url=BASE.url, content_type=content_type, headers=fields, assets=bool(kind & 128))
    assert all(link.url.startswith(("http://", "https://")) for link in found)
    decode(body, content_type)


def sitemap(data: bytes) -> None:
    found = links_of(data, url=BASE.url, content_type=None, headers=None, kind="sitemap")
    assert all(link.url.startswith(("http://", "https://")) for link in found)


def css(data: bytes) -> None:
    assert all(isinstance(one, str) for one in urls_of_css(data.decode("utf-8", "replace")))


def name(data: bytes) -> None:
    path = sanitized(data.decode("utf-8", "surrogateescape"))
    assert sanitized(path) == path
    segments = path.split("/")
    assert not {"", ".", ".."} & set(segments)
    assert all(len(one.encode()) <= 255 and one.isprintable() for one in segments)


def listed(data: bytes) -> None:
    kind = ("text", "jsonl", "csv", "auto")[data[0] % 4] if data else "auto"
    path = Path(FOLDER.name, "list")
    path.write_bytes(data[1:])

    async def read() -> None:
        async for batch in FileSource(str(path), kind):
            for entry in batch:
                assert isinstance(entry.url, str)

    with contextlib.suppress(ConfigError):
        asyncio.run(read())


def toml(data: bytes) -> None:
    path = Path(FOLDER.name, "any.toml")
    path.write_bytes(data)
    for read in (
        lambda: load("get", flags={}, environ={}, config_path=path),
        lambda: load_job(path, flags={}, environ={}),
    ):
        with contextlib.suppress(ConfigError):
            read()


def frames(data: bytes) -> None:
    """Frames come whole and in order, wherever the pieces end; what is no message is told as such."""
    seen: list[list[bytes]] = []
    for pieces in (split(data), [data[1:]]):
        got: list[bytes] = []
        transport = FramedTransport(lambda frame, got=got: got.append(bytes(frame)), lambda: None)
        for piece in pieces:
            transport.data_received(piece)
        seen.append(got)
    assert seen[0] == seen[1]
    for frame, read in itertools.product([*seen[0], data], (decode_for_worker, decode_for_parent)):
        with contextlib.suppress(msgspec.DecodeError):
            read(frame)


def framings(data: bytes) -> None:
    """Any body behind any head: the same bytes wherever packets end."""
    reader = HeadReader()
    with contextlib.suppress(ProtocolBroken):
        found = reader.take(data)
        if found is not None:
            frame = frame_of(found, "GET")
            whole = framing_of(frame).feed(reader.rest) if not framing_of(frame).is_done else b""
            piecewise, body = framing_of(frame), b""
            for at in range(len(reader.rest)):
                if not piecewise.is_done:
                    body += piecewise.feed(reader.rest[at : at + 1])
            assert body == whole


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        *(url, head, chunks, framings, coding, fields, robots),
        *(page, sitemap, css, name, listed, toml, frames),
    )
}

SEEDS: dict[str, list[bytes]] = {
    "url": [b"http://user:pw@xn--a.example:80/%2e%2e/?q#f", b"//[::1]/", b"http://0x7f.1/"],
    "head": [
        b"\x03HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n c\r\n\r\nhello",
        b"\xffHTTP/1.0 100 X\n\n",
    ],
    "chunks": [b"\x025;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n"],
    "framings": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
    "fields": [b"Wed, 21 Oct 2026 07:28:00 GMT", b"bytes 0-4/5", b"a=b; Domain=.example.org; Max-Age=9"],
    "robots": [b"User-agent: *\nDisallow: /a*$\nCrawl-delay: 9\nSitemap: http://h/s.xml\n"],
    "page": [b'\x80<!doctype html><base href="/x"><a href="b"><img srcset="a 1x, b 2x"><svg><a href=c>'],
    "sitemap": [b"<?xml version='1.0'?><urlset><url><loc>http://h/</loc></url></urlset>"],
    "css": [b"@import 'a'; b { background: url(c) image-set('d' 1x) }"],
    "name": [b"../con/a:b. /%00"],
    "listed": [
        b'\x01{"url": "http://a/", "headers": {"a": "b"}}\n',
        b"\x02url,name\nhttp://a/,b\n",
        b"\x00http://a/\n",
    ],
    "toml": [
        b'[common]\nretries = 3\n[host."a.example"]\ndelay = 2\n',
        b'[job]\ncommand = "get"\nurls = ["http://a/"]\n',
    ],
    "frames": [b"\x03\x02\0\0\0\0\0\0\0\x91\x07\x01\0\0\0\0\0\0\0\xc0"],
}
