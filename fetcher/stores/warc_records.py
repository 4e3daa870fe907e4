"""Exchanges as records of WARC/1.1: `response` or `revisit`, and the `request` that belongs to it.

Heads are written as they came. Two things differ, as they do in the archives of other crawlers: a
transfer-coding was removed, so its field is renamed (`X-Crawler-Transfer-Encoding`, as Common Crawl does) and
a Content-Length added; and answers of HTTP/2 and HTTP/3, which have no status line, get one, and
`WARC-Protocol`. Values of a request's fields that may be credentials are masked.
"""

from __future__ import annotations

import base64
import io
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import IO, Any, Final

import msgspec
from warcio.utils import Digester
from warcio.warcwriter import WARCWriter

from fetcher.header_fields import is_secret
from fetcher.model import Exchange, Request, Response
from fetcher.policy.http1_writer import RequestWriter
from fetcher.stores.cdxj import Found

MASK: Final = "***"
_SAME: Final = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
_NOT_MODIFIED: Final = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
_CODED: Final = re.compile(rb"(?im)^(transfer-encoding[ \t]*:)")
_PROTOCOLS: Final = {"2": "h2", "3": "h3"}
_HTTP: Final = "application/http;msgtype="


class Content(msgspec.Struct, frozen=True):
    """The body of an answer as it came: its stream, from which it is read once, its length and its digest."""

    stream: IO[bytes]
    length: int
    digest: str  # `digest_of`
    is_cut: bool = False


class WarcWriter:
    """Writer of records to a stream, each a gzip member of its own."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._writer = _Sha256Writer(stream, gzip=True, warc_version="1.1")
        self._requests = RequestWriter()
        self._info_id = ""

    def info(self, name: str, fields: Mapping[str, str]) -> None:
        """Write the record that an archive begins with; those that follow refer to it."""
        record = self._writer.create_warcinfo_record(name, fields)
        record.rec_headers.replace_header("WARC-Date", _date(time.time()))
        self._info_id = record.rec_headers.get_header("WARC-Record-ID")
        self._writer.write_record(record)

    def response(self, exchange: Exchange, content: Content, original: Found | None) -> str:
        """Write the answer, whole, or where an `original` says what it was, without body. Returns its id."""
        response = exchange.response
        assert response is not None
        fields = {**self._common(exchange), "WARC-Payload-Digest": content.digest}
        if content.is_cut:
            fields["WARC-Truncated"] = "length"
        if protocol := _PROTOCOLS.get(response.http_version):
            fields["WARC-Protocol"] = protocol
        if original is not None:
            is_304 = response.status == 304
            stamp = original.timestamp
            fields["WARC-Profile"] = _NOT_MODIFIED if is_304 else _SAME
            fields["WARC-Refers-To-Target-URI"] = original.capture.url
            fields["WARC-Refers-To-Date"] = (
                f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[8:10]}:{stamp[10:12]}:{stamp[12:14]}Z"
            )
        return self._write(
            "revisit" if original is not None else "response",
            exchange.request.url,
            fields,
            _Head(_response_head(response, content.length)),
            content.stream,
            content.length,
            "response",
        )

    def request(self, exchange: Exchange, answer: str) -> None:
        """Write the request that the record `answer` belongs to."""
        wire = self._requests.write(_masked(exchange.request))
        head, _, body = wire.partition(b"\r\n\r\n")
        fields = {
            **self._common(exchange),
            "WARC-Concurrent-To": answer,
            "WARC-Payload-Digest": digest_of(body),
        }
        head_bytes = _Head(head + b"\r\n\r\n")
        self._write(
            "request", exchange.request.url, fields, head_bytes, io.BytesIO(body), len(body), "request"
        )

    def _common(self, exchange: Exchange) -> dict[str, str]:
        return {"WARC-Date": _date(exchange.started_at), "WARC-Warcinfo-ID": self._info_id}

    def _write(
        self,
        kind: str,
        url: str,
        fields: dict[str, str],
        head: _Head,
        stream: IO[bytes],
        length: int,
        message: str,
    ) -> str:
        record = self._writer.create_warc_record(
            url,
            kind,
            payload=stream,
            length=length,
            warc_content_type=f"{_HTTP}{message}",
            warc_headers_dict=fields,
            http_headers=head,
        )
        if kind == "revisit":  # its block is the head alone
            record.rec_headers.add_header("WARC-Block-Digest", digest_of(head.headers_buff))
        self._writer.write_record(record)
        identity: str = record.rec_headers.get_header("WARC-Record-ID")
        return identity


class _Head:
    """A head as warcio takes it, whose bytes are given."""

    def __init__(self, wire: bytes) -> None:
        self.headers_buff = wire

    def compute_headers_buffer(self, _header_filter: object = None) -> None:
        """Compute nothing."""


class _Sha256Writer(WARCWriter):  # type: ignore[misc]  # warcio is untyped
    def _create_digester(self) -> Any:
        return Digester("sha256")


def digest_of(data: bytes) -> str:
    """The digest of what is in memory, as WARC writes it."""
    digester = Digester("sha256")
    digester.update(data)
    return str(digester)


def digest_from_hex(sha256: str) -> str:
    """The same of a SHA-256 that is known, in hexadecimal."""
    return "sha256:" + base64.b32encode(bytes.fromhex(sha256)).decode()


def timestamp_of(utc: float) -> str:
    """UTC as the 14 digits of an index."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(utc))


def _date(utc: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(utc))


def _response_head(response: Response, length: int) -> bytes:
    head = response.head
    if response.http_version in _PROTOCOLS or not head.startswith(b"HTTP/1."):
        try:
            reason = response.reason or HTTPStatus(response.status).phrase
        except ValueError:
            reason = ""
        head = b"HTTP/1.1 %d %b\r\n" % (response.status, reason.encode("latin-1", "replace"))
        head += b"".join(b"%b: %b\r\n" % field for field in response.headers.raw) + b"\r\n"
    head, found = _CODED.subn(rb"X-Crawler-\1", head)
    if found:
        end = b"\r\n" if head.endswith(b"\r\n") else b"\n"
        head = head.removesuffix(end) + b"Content-Length: %d\r\n" % length + end
    return head


def _masked(request: Request) -> Request:
    if not any(is_secret(name) for name, _ in request.headers):
        return request
    headers = tuple((name, MASK if is_secret(name) else value) for name, value in request.headers)
    return msgspec.structs.replace(request, headers=headers)
