"""Scripts of the misbehaving server: each serves one path by good or bad bytes, pauses, cuts and lies.

`SCRIPTS` maps the beginning of a path to its script; `BLOBS` are fixed bytes, each a path of its own.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import zlib
from collections.abc import Callable
from email.utils import formatdate
from urllib.parse import unquote_to_bytes

from fetcher.demo_site.fault_server import BLOCK, FaultExchange, Script

# Well framed.


async def ok(x: FaultExchange) -> None:
    """/ok/N?size=&type=&delay=: content by path with ETag and Last-Modified; honours If-None-Match."""
    body = x.content(x.number("size", 100))
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    fields = [("ETag", etag), ("Last-Modified", formatdate(1_700_000_000, usegmt=True))]
    if "type" in x.query:
        fields.append(("Content-Type", x.query["type"]))
    if "delay" in x.query:
        await x.pause(float(x.query["delay"]))
    matches = etag in (x.hit.header("if-none-match") or "")
    await x.answer(304 if matches else 200, fields, b"" if matches else body)


async def sized(x: FaultExchange) -> None:
    """/bytes/N: N bytes with Content-Length."""
    await x.answer(body=x.content(int(x.args[0])))


async def chunked(x: FaultExchange) -> None:
    """/chunked/N?pieces=&trailer=: N bytes in that many chunks."""
    body = x.content(int(x.args[0]))
    step = max(1, -(-len(body) // x.number("pieces", 3)))
    await x.head(200, [("Transfer-Encoding", "chunked"), ("Content-Type", x.server.content_type)])
    for start in range(0, len(body), step):
        piece = body[start : start + step]
        await x.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    await x.send(b"0\r\n" + b"X-T: v\r\n" * x.number("trailer", 0) + b"\r\n")
    x.keep = True


async def close_delimited(x: FaultExchange) -> None:
    """/eof/N: N bytes that only the end of the connection delimits."""
    await x.head(200)
    await x.send(x.content(int(x.args[0])))


async def http10(x: FaultExchange) -> None:
    """/http10/N: an HTTP/1.0 answer with Content-Length."""
    body = x.content(int(x.args[0]))
    await x.send(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def status(x: FaultExchange) -> None:
    """/status/N?h=Name:value: any status, with a body."""
    name, colon, value = x.query.get("h", "").partition(":")
    fields = [(name, value)] if colon else []
    await x.answer(int(x.args[0]), fields, f"status {x.args[0]}\n".encode())


async def redirect(x: FaultExchange) -> None:
    """/redirect/N?to=&status=: N redirects, then to `to` (default /ok/end)."""
    left, to, code = int(x.args[0]), x.query.get("to", "/ok/end"), x.query.get("status", "302")
    where = to if left <= 1 else f"/redirect/{left - 1}?{x.hit.target.partition('?')[2]}"
    await x.answer(int(code), [("Location", where)], b"moved\n")


async def loop(x: FaultExchange) -> None:
    """/loop: redirects to itself."""
    await x.answer(302, [("Location", x.hit.target)])


async def location(x: FaultExchange) -> None:
    """/location?raw=&status=: percent-decoded raw bytes as Location."""
    raw = dict(pair.partition("=")[::2] for pair in x.hit.target.partition("?")[2].split("&")).get("raw", "")
    value = unquote_to_bytes(raw).decode("latin-1")
    await x.answer(x.number("status", 302), [("Location", value)])


async def once(x: FaultExchange) -> None:
    """/once/STATUS/KEY?retry-after=&n=: STATUS the first time (or n times) for that key, then 200."""
    seen = x.server.state[x.hit.path] = x.server.state.get(x.hit.path, 0) + 1
    if seen > x.number("n", 1):
        await x.answer(200, body=x.content(100))
        return
    fields = [("Retry-After", x.query["retry-after"])] if "retry-after" in x.query else []
    await x.answer(int(x.args[0]), fields, b"not now\n")


async def fail(x: FaultExchange) -> None:
    """/fail/N/KEY: the first N requests are reset, then 200."""
    seen = x.server.state[x.hit.path] = x.server.state.get(x.hit.path, 0) + 1
    if seen <= int(x.args[0]):
        x.reset()
    else:
        await x.answer(200, body=x.content(100))


# Content-codings.


def coding(name: str, compress: Callable[[bytes], bytes]) -> Script:
    """Return the script of a content-coding."""

    async def script(x: FaultExchange) -> None:
        """/gzip/N and the like, ?cut=: N bytes, coded; `cut` drops so many at the end of the coded bytes."""
        coded = compress(x.content(int(x.args[0])))
        coded = coded[: len(coded) - x.number("cut", 0)]
        await x.answer(200, [("Content-Encoding", name)], coded)

    return script


async def bomb(x: FaultExchange) -> None:
    """/bomb?size=: zeros (default 1 GiB) in gzip, about a thousandth of that on the wire."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, 31), bytes(1 << 20)
    await x.head(200, [("Content-Encoding", "gzip"), ("Content-Type", "text/html")])
    for _ in range(x.number("size", 1 << 30) // len(block)):
        await x.send(packer.compress(block))
    await x.send(packer.flush())


# Slow and silent.


async def slow(x: FaultExchange) -> None:
    """/slow?delay=: the header comes after so many seconds."""
    await x.pause(float(x.query.get("delay", 1)))
    await x.answer(200, body=x.content(100))


async def drip(x: FaultExchange) -> None:
    """/drip?n=&pause=: n bytes, one at a time."""
    body = x.content(x.number("n", 10))
    await x.head(200, [("Content-Length", str(len(body)))])
    for start in range(len(body)):
        await x.send(body[start : start + 1])
        await x.pause(float(x.query.get("pause", 0.01)))
    x.keep = True


async def drip_head(x: FaultExchange) -> None:
    """/drip-head?pause=: the header, one byte at a time."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Pad: " + b"a" * 1000 + b"\r\n\r\n":
        await x.send(bytes([byte]))
        await x.pause(float(x.query.get("pause", 0.01)))


async def hang(x: FaultExchange) -> None:
    """/hang: accepted, never answered."""
    await x.hang()


async def hang_body(x: FaultExchange) -> None:
    """/hang-body?at=&of=: silent after `at` bytes of `of`."""
    await x.head(200, [("Content-Length", str(x.number("of", 1000)))])
    await x.send(x.content(x.number("at", 10)))
    await x.hang()


async def endless(x: FaultExchange) -> None:
    """/endless?pause=&most=: a body without end, or a reset after `most` bytes."""
    await x.head(200)
    block = x.content(BLOCK)
    for _ in range(x.number("most", 1 << 60) // BLOCK):
        await x.send(block)
        if "pause" in x.query:
            await x.pause(float(x.query["pause"]))
    x.reset()  # its end would be the body's


# Cut and broken.


async def resumable(x: FaultExchange) -> None:
    """/resumable/KEY?size=&cut=&pause=: a file in ranges; each answer ends after `cut` bytes of its body."""
    size, start = x.number("size", 1 << 22), 0
    etag = f'"{hashlib.sha256(x.hit.path.encode()).hexdigest()[:16]}"'
    wanted = x.hit.header("range")
    if wanted is not None and x.hit.header("if-range") in {None, etag}:
        start = min(int(wanted.removeprefix("bytes=").partition("-")[0]), size)
    fields = [
        ("ETag", etag),
        ("Content-Type", "application/octet-stream"),
        ("Content-Length", str(size - start)),
    ]
    if start:
        fields.append(("Content-Range", f"bytes {start}-{size - 1}/{size}"))
    await x.head(206 if start else 200, fields)
    body = x.content(size)[start : start + x.number("cut", size)]
    for at in range(0, len(body), BLOCK):
        await x.send(body[at : at + BLOCK])
        await x.pause(float(x.query.get("pause", 0)))


async def cut(x: FaultExchange) -> None:
    """/cut?at=&of=: Content-Length `of`, closed after `at` bytes."""
    await x.head(200, [("Content-Length", str(x.number("of", 100)))])
    await x.send(x.content(x.number("of", 100))[: x.number("at", 10)])


async def cut_chunked(x: FaultExchange) -> None:
    """/cut-chunked?at=&of=: the chunked coding of `of` bytes, closed after `at` bytes of the coding."""
    body = x.content(x.number("of", 100))
    coded = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    await x.head(200, [("Transfer-Encoding", "chunked")])
    await x.send(coded[: x.number("at", 10)])


async def cut_head(x: FaultExchange) -> None:
    """/cut-head?at=: closed inside the header."""
    await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"[: x.number("at", 10)])


async def reset(x: FaultExchange) -> None:
    """/reset?at=: RST after so many bytes of the body; without `at`, before any byte."""
    if "at" in x.query:
        at = x.number("at", 0)
        await x.head(200, [("Content-Length", str(at + 1000))])
        await x.send(x.content(at))
        await asyncio.sleep(0.05)  # so that what was sent arrives before the RST discards it
    x.reset()


async def early_hints(x: FaultExchange) -> None:
    """/1xx?n=&status=: n interim answers, then 200."""
    for _ in range(x.number("n", 1)):
        await x.head(x.number("status", 103), [("Link", "</a>; rel=preload")])
    await x.answer(200, body=b"after all\n")


async def many_headers(x: FaultExchange) -> None:
    """/headers?n=&size=: n header fields of `size` bytes each."""
    value = "v" * x.number("size", 10)
    await x.answer(200, [(f"X-{i}", value) for i in range(x.number("n", 10))], b"many\n")


async def surplus(x: FaultExchange) -> None:
    """/surplus?n=: more bytes than Content-Length says."""
    await x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + b"x" * x.number("n", 5))


async def blob(x: FaultExchange) -> None:
    """/204-body, /cl-te …: fixed bytes, then the end."""
    await x.send(BLOBS[x.hit.path.strip("/").split("/")[0]])


BLOBS: dict[str, bytes] = {
    "te-gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "cl-te": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    b"0\r\n\r\n",
    "cl-twice": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "cl-same": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "cl-negative": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "cl-plus": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "cl-letters": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "big-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\nhello",
    "bad-status": b"HTTP/1.1 abc OK\r\n\r\n",
    "bad-header": b"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n",
    "noise": bytes(range(256)) * 8,
    "http09": b"<html>an answer of HTTP/0.9</html>\n",
    "204-body": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
    "close-at-once": b"",
}


SCRIPTS: dict[str, Script] = {
    "/ok": ok,
    "/bytes": sized,
    "/chunked": chunked,
    "/eof": close_delimited,
    "/http10": http10,
    "/status": status,
    "/redirect": redirect,
    "/loop": loop,
    "/location": location,
    "/once": once,
    "/fail": fail,
    "/gzip": coding("gzip", lambda data: gzip.compress(data, 1, mtime=0)),
    "/deflate": coding("deflate", zlib.compress),
    "/bomb": bomb,
    "/slow": slow,
    "/drip": drip,
    "/drip-head": drip_head,
    "/hang": hang,
    "/hang-body": hang_body,
    "/endless": endless,
    "/cut": cut,
    "/cut-chunked": cut_chunked,
    "/cut-head": cut_head,
    "/reset": reset,
    "/resumable": resumable,
    "/1xx": early_hints,
    "/headers": many_headers,
    "/surplus": surplus,
    **{f"/{name}": blob for name in BLOBS},
}
