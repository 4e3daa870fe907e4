"""Reading one answer: interim ones passed over, the head made a `Response`, the body streamed.

Invariant: `wire.keeps` becomes true only when the body was read to its end, so that the next byte on the
connection belongs to the next answer.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from fetcher.backends.aio.connection import HEAD_BYTES, Protocol, WireRequest
from fetcher.model import Completeness, Headers, Request, Response
from fetcher.ports import BodyWriter

_MOST_INTERIM: Final = 32  # 1xx answers before the final one
_SMALL_REST: Final = 64 * 1024  # an unwanted body that is cheaper to read than a new connection
_REST_TIME_S: Final = 1.0
_BODILESS: Final = frozenset({204, 304})


async def read_answer(wire: WireRequest, protocol: Protocol, body: BodyWriter, resent: int) -> Response:
    """Read the answer to what was just sent, its body into `body`. Raises aiohttp's errors."""
    try:
        message, payload = await protocol.read()
        if message.code < 200:
            message, payload = await _final(protocol, message)
    except HttpProcessingError:
        message, payload = await _before_surplus(protocol, has_body=wire.request.method != "HEAD")
    except BaseException:
        wire.is_answered = bool(protocol.early)
        raise
    protocol.early = None
    response = _response(wire.request, message, resent)
    wire.phase = "body"
    if not body.begin(response):
        wire.keeps = await _rest_is_read(payload, response.length)
        return response
    try:
        while True:
            data = await payload.readany()
            if data and body.feed(data):
                await body.drain()
            if payload.at_eof():
                break
    except (aiohttp.ClientError, HttpProcessingError):
        if data := payload._read_nowait(-1):  # what came before the cut, to resume from
            body.feed(data)
        raise
    if response.completeness == "eof-unverified" and protocol.lost_by is not None:
        raise aiohttp.ClientOSError(*protocol.lost_by.args) from protocol.lost_by  # a reset is no end
    wire.keeps = True
    return response


def _response(request: Request, message: RawResponseMessage, resent: int) -> Response:
    declared = message.headers.get("Content-Length")
    length = int(declared) if declared is not None else None
    completeness: Completeness
    if message.code in _BODILESS or request.method == "HEAD":
        completeness = "none"
    elif message.chunked:
        if [coding.lower() for coding in message.headers.getall("Transfer-Encoding", [])] != ["chunked"]:
            raise aiohttp.ClientError("a transfer-coding that nobody asked for")  # RFC 9112 §7
        completeness = "chunked"
    else:
        completeness = "length" if length is not None else "eof-unverified"
    version = message.version
    return Response(
        status=message.code,
        headers=Headers(message.raw_headers),
        http_version="1.1" if version.minor == 1 else f"{version.major}.{version.minor}",
        completeness=completeness,
        length=length,
        resent=resent,
    )


async def _final(protocol: Protocol, message: RawResponseMessage) -> tuple[RawResponseMessage, StreamReader]:
    """The final header behind interim ones, up to a bound: each of them may come late (RFC 9110 §15.2)."""
    for _ in range(_MOST_INTERIM):
        if message.code == 101:
            raise aiohttp.ClientError("switching protocols unasked")
        message, payload = await protocol.read()
        if message.code >= 200:
            return message, payload
    raise aiohttp.ClientError(f"more than {_MOST_INTERIM} interim answers")


async def _before_surplus(protocol: Protocol, *, has_body: bool) -> tuple[RawResponseMessage, StreamReader]:
    """The answer that the parser lost because bytes that belong to none came in the same packet.

    Had they come in the next packet, the answer would be whole; the outcome must not depend on that (RFC
    9112 §6.3). So the longest prefix that parses is the answer, if it is a complete one. The connection
    is closed already. Raises the parser's error if there is no such prefix.
    """
    problem, data = protocol.exception(), bytes(protocol.early or b"")
    assert problem is not None
    if len(data) > HEAD_BYTES:
        raise problem
    loop = asyncio.get_running_loop()

    def parsed(size: int) -> Protocol:
        scratch = Protocol(loop)
        scratch.expect(has_body=has_body, read_bufsize=HEAD_BYTES)
        scratch.data_received(data[:size])
        return scratch

    def is_broken(last: int) -> bool:
        return parsed(last + 1).exception() is not None

    scratch = parsed(bisect_left(range(len(data)), 1, key=is_broken))
    if not len(scratch):
        raise problem
    message, payload = await scratch.read()
    if message.code < 200 or not payload.is_eof():
        raise problem
    return message, payload


async def _rest_is_read(payload: StreamReader, length: int | None) -> bool:
    """Whether an unwanted body was small enough to be read to its end, so that its connection can be kept."""
    try:
        async with asyncio.timeout(_REST_TIME_S if length is not None and length <= _SMALL_REST else 0):
            while not payload.at_eof():
                await payload.readany()
    except (aiohttp.ClientError, HttpProcessingError, TimeoutError):
        return False
    return True
