"""Reading one answer: interim ones passed over, the head made a `Response`, the body streamed.

Invariant: `wire.keeps` becomes true only when the body was read to its end, so that the next byte on the
connection belongs to the next answer.
"""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from fetcher.backends import failure_texts
from fetcher.backends.aiohttp.connection import WireRequest
from fetcher.backends.aiohttp.protocol import Protocol
from fetcher.errors import ProtocolBroken
from fetcher.model import Response
from fetcher.policy.framing import (
    CountedFraming,
    EndedEarly,
    Frame,
    Framing,
    check_beginning,
    frame_of,
    framing_of,
    response_of,
    stays_open,
)
from fetcher.policy.head import Head, HeadReader
from fetcher.policy.http import REST_TIME_S, SMALL_REST
from fetcher.ports import BodyWriter

DIRECT: Final = 128 * 1024  # a rest larger than that is worth to be received into the body's own blocks


async def read_answer(wire: WireRequest, protocol: Protocol, body: BodyWriter, resent: int) -> Response:
    """Read the answer to what was just sent, its body into `body`.

    Raises `ProtocolBroken`, aiohttp's errors of a connection, and `ConnectFailed` if a proxy answered for the
    site.
    """
    request = wire.request
    head, rest = await _head(wire, protocol)
    if head.status == 407 and wire.proxy is not None and not wire.is_tunnelled:
        raise failure_texts.relay_refused(request)
    frame = frame_of(head, request.method)
    response = response_of(head, frame, resent=resent)
    wire.phase = "body"
    framing = framing_of(frame)
    if body.begin(response):
        await _stream(protocol, framing, rest, body)
    elif not await _rest_is_read(protocol, framing, rest, frame):
        return response
    wire.keeps = (
        not framing.has_surplus
        and not protocol.has_more
        and frame.completeness != "eof-unverified"
        and stays_open(head)
    )
    return response


async def _head(wire: WireRequest, protocol: Protocol) -> tuple[Head, bytes]:
    """Receive the final head, and what came behind it."""
    reader = HeadReader()
    while True:
        data = await protocol.receive()
        if not data:
            check_beginning(reader.beginning, wire.request.method)
            raise aiohttp.ServerDisconnectedError
        wire.is_answered = True
        head = reader.take(data)
        if head is not None:
            return head, reader.rest


async def _stream(protocol: Protocol, framing: Framing, data: bytes, body: BodyWriter) -> None:
    """Feed the body to its end, `data` first."""
    if framing.is_done:
        framing.has_surplus = framing.has_surplus or bool(data)
        return
    while True:
        if data and (piece := framing.feed(data)) and body.feed(piece):
            await body.drain()
        if (
            type(framing) is CountedFraming
            and framing.left > DIRECT
            and protocol.is_plain
            and not protocol.has_more
        ):
            await protocol.receive_into(body, framing)
        if framing.is_done:
            return
        data = await protocol.receive()
        if not data:
            try:
                framing.end()
            except EndedEarly:
                raise aiohttp.ClientPayloadError from None
            return


async def _rest_is_read(protocol: Protocol, framing: Framing, data: bytes, frame: Frame) -> bool:
    """Read an unwanted body to its end if it is small. True if its connection can be kept."""
    if framing.is_done:
        return not data
    if frame.length is None or frame.length > SMALL_REST:
        return False
    try:
        async with asyncio.timeout(REST_TIME_S):
            framing.feed(data)
            while not framing.is_done:
                data = await protocol.receive()
                if not data:
                    return False
                framing.feed(data)
    except (aiohttp.ClientError, ProtocolBroken, TimeoutError):
        return False
    return True
