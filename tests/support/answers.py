"""Answers and what is to become of them: the bytes on the wire, and the outcome on every backend.

RFC 9110 and 9112 decide; where they leave two outcomes, what curl and the browsers do, unless that would take a
part of a body for the whole. `OK` and the like are heads without their last line; a row's bytes end with the end of
the connection. With one retry and next to no waiting, `attempts` tells what is tried again.
"""

from __future__ import annotations

from typing import NamedTuple

from fetcher.policy.http import FIELD_BYTES, HEAD_BYTES, MOST_FIELDS, MOST_INTERIM

OK = b"HTTP/1.1 200 OK\r\n"
FIVE = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
WHOLE = OK + FIVE + b"\r\nhello"


class Outcome(NamedTuple):
    """What a result says."""

    state: str
    status: int | None
    slug: str | None
    attempts: int
    body: bytes
    completeness: str


class Answer(NamedTuple):
    """One row: `wires` are the answers to the first request, the second, and so on; the last repeats."""

    title: str
    wires: tuple[bytes, ...]
    outcome: Outcome
    method: str = "GET"
    headers: dict[str, str] | None = None


def wires_of(wire: bytes | tuple[bytes, ...]) -> tuple[bytes, ...]:
    return wire if isinstance(wire, tuple) else (wire,)


def done(
    title: str,
    wire: bytes | tuple[bytes, ...],
    *,
    status: int = 200,
    body: bytes = b"hello",
    by: str = "length",
    attempts: int = 1,
    method: str = "GET",
    headers: dict[str, str] | None = None,
) -> Answer:
    """A good answer: its body, and what shows that it is whole."""
    return Answer(title, wires_of(wire), Outcome("done", status, None, attempts, body, by), method, headers)


def broken(title: str, wire: bytes | tuple[bytes, ...], *, method: str = "GET") -> Answer:
    """No valid HTTP: not asked again."""
    outcome = Outcome("failed", None, "protocol-broken", 1, b"", "none")
    return Answer(title, wires_of(wire), outcome, method)


def lost(title: str, wire: bytes, *, status: int | None = None, by: str = "none") -> Answer:
    """Cut short: asked once more, in vain. Where the framing shows no cut, `status` and `by` are told."""
    return Answer(title, (wire,), Outcome("failed", status, "connection-lost", 2, b"", by))


def partial(title: str, wire: bytes, *, status: int = 206, by: str = "length") -> Answer:
    """A part that nobody asked for: asked once more, in vain."""
    return Answer(title, (wire,), Outcome("failed", status, "partial-answer", 2, b"", by))


def failed(
    title: str, wire: bytes, status: int, slug: str, *, attempts: int = 1, by: str = "length"
) -> Answer:
    return Answer(title, (wire,), Outcome("failed", status, slug, attempts, b"", by))


def followed(title: str, wire: bytes) -> Answer:
    """A redirect whose target says `end`."""
    return done(title, wire, body=b"end")


def status_line(line: bytes) -> bytes:
    return line + b"\r\n" + FIVE + b"\r\nhello"


def with_fields(*fields: bytes) -> bytes:
    """A good answer that has these fields, too."""
    return OK + b"".join(field + b"\r\n" for field in fields) + FIVE + b"\r\nhello"


def coded(*fields: bytes, body: bytes = HELLO) -> bytes:
    return OK + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def chunks(body: bytes) -> bytes:
    return OK + CHUNKED + b"\r\n" + body


def moved(location: bytes, status: int = 302) -> bytes:
    # The next hop is on a connection of its own: the server's end would race with it.
    return b"HTTP/1.1 %d X\r\nLocation: %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % (
        status,
        location,
    )


def ranged(value: bytes, length: int, status: int = 206) -> bytes:
    return b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Range: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        value,
        length,
        b"hello"[:length],
    )


STATUS_LINES = [
    done("a status line to the letter", WHOLE),
    done("no reason", status_line(b"HTTP/1.1 200 ")),
    done("no reason and no blank", status_line(b"HTTP/1.1 200")),
    done("a reason of bytes that are not ASCII", status_line(b"HTTP/1.1 200 \xe9\xff\x80")),
    done("a long reason", status_line(b"HTTP/1.1 200 " + b"x" * 9000)),
    done("HTTP/1.0 with a length", status_line(b"HTTP/1.0 200 OK")),
    done("HTTP/1.0 to the end", b"HTTP/1.0 200 OK\r\n\r\nhello", by="eof-unverified"),
    done("HTTP/1.0 with chunks", b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n" + HELLO, by="chunked"),
    done(
        "HTTP/1.0 that keeps its connection",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + FIVE + b"\r\nhello",
    ),
    broken("HTTP/1.2", status_line(b"HTTP/1.2 200 OK")),
    broken("HTTP/2 in HTTP/1's clothes", status_line(b"HTTP/2 200 OK")),
    broken("HTTP/2.0 in HTTP/1's clothes", status_line(b"HTTP/2.0 200 OK")),
    broken("HTTP/3 in HTTP/1's clothes", status_line(b"HTTP/3 200 OK")),
    broken("HTTP/0.9 by name", status_line(b"HTTP/0.9 200 OK")),
    broken("HTTP/0.9 by nature", b"<html>hello</html>\n"),
    broken("a version in small letters", status_line(b"http/1.1 200 OK")),
    broken("ICY", status_line(b"ICY 200 OK")),
    broken("RTSP", status_line(b"RTSP/1.0 200 OK")),
    broken("a greeting of SMTP", b"220 mail.example.org ESMTP\r\n"),
    broken("an alert of TLS", b"\x15\x03\x01\x00\x02\x02\x0a\r\n\r\n"),
    broken("bytes of every value", bytes(range(256)) * 4),
    broken("an empty line before the status line", b"\r\n" + WHOLE),
    broken("two blanks before the status", status_line(b"HTTP/1.1  200 OK")),
    broken("a tab before the status", status_line(b"HTTP/1.1\t200 OK")),
    broken("no status", status_line(b"HTTP/1.1")),
    broken("status 000", status_line(b"HTTP/1.1 000 OK")),
    broken("status 099", status_line(b"HTTP/1.1 099 OK")),
    broken("status 20", status_line(b"HTTP/1.1 20 OK")),
    broken("status 2000", status_line(b"HTTP/1.1 2000 OK")),
    broken("status -200", status_line(b"HTTP/1.1 -200 OK")),
    broken("status abc", status_line(b"HTTP/1.1 abc OK")),
    broken("status 200OK", status_line(b"HTTP/1.1 200OK")),
    broken("a NUL in the reason", status_line(b"HTTP/1.1 200 O\0K")),
    broken("a stray CR in the reason", status_line(b"HTTP/1.1 200 O\rK")),
]

LENGTHS = [
    done("an empty body", OK + b"Content-Length: 0\r\n\r\n", body=b""),
    done("the same length twice", OK + FIVE + FIVE + b"\r\nhello"),
    done(
        "the same length thrice, in other letters",
        OK + FIVE + b"CONTENT-LENGTH: 5\r\ncontent-length:5\r\n\r\nhello",
    ),
    done("the same length as a list", coded(b"Content-Length: 5, 5", body=b"hello")),
    done("a length with zeros before it", coded(b"Content-Length: 00005", body=b"hello")),
    done(
        "a length with very many zeros before it",
        coded(b"Content-Length: " + b"0" * 500 + b"5", body=b"hello"),
    ),
    done("a length with blanks around it", coded(b"Content-Length: \t 5 \t", body=b"hello")),
    done("bytes behind the length", WHOLE + b" and more"),
    done("an answer behind the answer", WHOLE + b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    done("no length", OK + b"\r\nhello", by="eof-unverified"),
    done("no length and no body", OK + b"\r\n", body=b"", by="eof-unverified"),
    broken("two lengths", OK + FIVE + b"Content-Length: 6\r\n\r\nhello!"),
    broken("two lengths as a list", coded(b"Content-Length: 5, 6", body=b"hello!")),
    broken("a length and an empty one", OK + FIVE + b"Content-Length:\r\n\r\nhello"),
    broken("an empty length", coded(b"Content-Length:", body=b"hello")),
    broken("a negative length", coded(b"Content-Length: -5", body=b"hello")),
    broken("a length with a plus", coded(b"Content-Length: +5", body=b"hello")),
    broken("a hexadecimal length", coded(b"Content-Length: 0x5", body=b"hello")),
    broken("a length with a fraction", coded(b"Content-Length: 5.0", body=b"hello")),
    broken("a length with a unit", coded(b"Content-Length: 5 bytes", body=b"hello")),
    broken("a length with an underscore", coded(b"Content-Length: 5_0", body=b"hello")),
    broken("a length in letters", coded(b"Content-Length: five", body=b"hello")),
    broken("a length in superscript", coded(b"Content-Length: \xb2", body=b"hello")),
    broken("a length beyond 64 bits", coded(b"Content-Length: 99999999999999999999", body=b"hello")),
    broken("a blank before the colon of a length", coded(b"Content-Length : 5", body=b"hello")),
    lost("a body without its last byte", OK + b"Content-Length: 6\r\n\r\nhello"),
    lost("a body without its first byte", OK + FIVE + b"\r\n"),
    lost("an enormous length", coded(b"Content-Length: 50000000", body=b"hello")),
]

CODINGS = [
    done("chunked", coded(b"Transfer-Encoding: chunked"), by="chunked"),
    done("chunked in capitals", coded(b"TRANSFER-ENCODING: CHUNKED"), by="chunked"),
    done("chunked with blanks around it", coded(b"Transfer-Encoding:\t chunked \t"), by="chunked"),
    done("chunked and an empty element", coded(b"Transfer-Encoding: chunked,"), by="chunked"),
    done("an empty element and chunked", coded(b"Transfer-Encoding: , ,chunked"), by="chunked"),
    done("chunked on two lines", OK + CHUNKED + CHUNKED + b"\r\n" + HELLO, by="chunked"),
    done("chunked, chunked", coded(b"Transfer-Encoding: chunked, chunked"), by="chunked"),
    done("identity", coded(b"Transfer-Encoding: identity", body=b"hello"), by="eof-unverified"),
    done("identity and a length", OK + b"Transfer-Encoding: identity\r\n" + FIVE + b"\r\nhello"),
    done("an empty transfer-coding", coded(b"Transfer-Encoding:", body=b"hello"), by="eof-unverified"),
    done("an empty transfer-coding and a length", OK + b"Transfer-Encoding:\r\n" + FIVE + b"\r\nhello"),
    broken("chunked, gzip", coded(b"Transfer-Encoding: chunked, gzip")),
    broken("gzip, chunked", coded(b"Transfer-Encoding: gzip, chunked")),
    broken("gzip and chunked on two lines", coded(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked")),
    broken("chunked, identity", coded(b"Transfer-Encoding: chunked, identity")),
    broken("identity, chunked", coded(b"Transfer-Encoding: identity, chunked")),
    broken("chunked;q=1", coded(b"Transfer-Encoding: chunked;q=1")),
    broken("xchunked", coded(b"Transfer-Encoding: xchunked")),
    broken("quoted chunked", coded(b'Transfer-Encoding: "chunked"')),
    broken("chunked behind a control", coded(b"Transfer-Encoding: \x0bchunked")),
    broken("gzip alone", coded(b"Transfer-Encoding: gzip")),
    broken("deflate alone", coded(b"Transfer-Encoding: deflate")),
    broken("an unknown coding", coded(b"Transfer-Encoding: cow")),
    broken("an unknown coding and a length", OK + b"Transfer-Encoding: cow\r\n" + FIVE + b"\r\nhello"),
    broken("a length and chunks", OK + FIVE + CHUNKED + b"\r\n" + HELLO),
    broken("chunks and a length", OK + CHUNKED + FIVE + b"\r\n" + HELLO),
    broken("a blank before the colon of a coding", coded(b"Transfer-Encoding : chunked")),
    lost(
        "identity and a body cut short", OK + b"Transfer-Encoding: identity\r\nContent-Length: 9\r\n\r\nhello"
    ),
]

CHUNKS = [
    done("several chunks", chunks(b"2\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n0\r\n\r\n"), by="chunked"),
    done("no chunks", chunks(b"0\r\n\r\n"), body=b"", by="chunked"),
    done(
        "a chunk's size in capitals",
        chunks(b"A\r\nhellohello\r\n0\r\n\r\n"),
        body=b"hellohello",
        by="chunked",
    ),
    done(
        "a chunk's size with zeros before it", chunks(b"0000000000000005\r\nhello\r\n0\r\n\r\n"), by="chunked"
    ),
    done("a last chunk of many zeros", chunks(b"5\r\nhello\r\n0000000000000000\r\n\r\n"), by="chunked"),
    done("size lines that end in LF alone", chunks(b"5\nhello\r\n0\n\r\n"), by="chunked"),
    done("chunks that end in LF alone", chunks(b"5\r\nhello\n0\r\n\n"), by="chunked"),
    done("all lines of chunks end in LF alone", chunks(b"5\nhello\n0\n\n"), by="chunked"),
    done("blanks behind a chunk's size", chunks(b"5 \t\r\nhello\r\n0  \r\n\r\n"), by="chunked"),
    done("an extension", chunks(b"5;a=b;c\r\nhello\r\n0;d\r\n\r\n"), by="chunked"),
    done("an extension behind a blank", chunks(b'5 ; a="b\r\nhello\r\n0\r\n\r\n'), by="chunked"),
    done("a very long extension", chunks(b"5;" + b"x" * 50_000 + b"\r\nhello\r\n0\r\n\r\n"), by="chunked"),
    done("a trailer", chunks(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), by="chunked"),
    done(
        "a trailer that names a length", chunks(b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"), by="chunked"
    ),
    done(
        "a trailer that names a coding",
        chunks(b"5\r\nhello\r\n0\r\nTransfer-Encoding: gzip\r\nContent-Encoding: br\r\n\r\n"),
        by="chunked",
    ),
    done(
        "a trailer that names a range",
        chunks(b"5\r\nhello\r\n0\r\nContent-Range: bytes 0-4/9\r\n\r\n"),
        by="chunked",
    ),
    done("a trailer whose lines end in LF alone", chunks(b"5\r\nhello\r\n0\r\nA: b\n\n"), by="chunked"),
    done("bytes behind the last chunk", chunks(HELLO + b"more"), by="chunked"),
    done("an answer behind the last chunk", chunks(HELLO + WHOLE), by="chunked"),
    broken("a chunk's size of 17 digits", chunks(b"00000000000000005\r\nhello\r\n0\r\n\r\n")),
    broken("a chunk's size beyond 63 bits", chunks(b"ffffffffffffffff\r\nhello")),
    broken("a chunk's size in letters", chunks(b"xyz\r\nhello\r\n0\r\n\r\n")),
    broken("letters behind a chunk's size", chunks(b"5xyz\r\nhello\r\n0\r\n\r\n")),
    broken("a word behind a chunk's size", chunks(b"5 bytes\r\nhello\r\n0\r\n\r\n")),
    broken("a chunk's size with 0x", chunks(b"0x5\r\nhello\r\n0\r\n\r\n")),
    broken("a negative chunk's size", chunks(b"-5\r\nhello\r\n0\r\n\r\n")),
    broken("a chunk's size with a plus", chunks(b"+5\r\nhello\r\n0\r\n\r\n")),
    broken("a blank before a chunk's size", chunks(b" 5\r\nhello\r\n0\r\n\r\n")),
    broken("an empty line for a chunk's size", chunks(b"\r\n5\r\nhello\r\n0\r\n\r\n")),
    broken("an extension without a size", chunks(b";a=b\r\nhello\r\n0\r\n\r\n")),
    broken("a NUL in an extension", chunks(b"5;\0\r\nhello\r\n0\r\n\r\n")),
    broken("a chunk longer than its size", chunks(b"5\r\nhelloworld\r\n0\r\n\r\n")),
    broken("no line end behind a chunk", chunks(b"5\r\nhello0\r\n\r\n")),
    broken("a trailer with a CR inside", chunks(b"5\r\nhello\r\n0\r\nA: b\rc\r\n\r\n")),
    broken("a trailer with a CR before it", chunks(b"5\r\nhello\r\n0\r\n\rA: b\r\n\r\n")),
    broken("a cut behind a CR within the trailer", chunks(b"5\r\nhello\r\n0\r\nA\r")),
    broken("a trailer that is no field", chunks(b"5\r\nhello\r\n0\r\nno field\r\n\r\n")),
    broken("too many trailers", chunks(b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * (MOST_FIELDS + 1) + b"\r\n")),
    broken("a trailer that is too long", chunks(b"5\r\nhello\r\n0\r\nA: " + b"b" * 10_000 + b"\r\n\r\n")),
    broken("a body without chunks", chunks(b"hello")),
    lost("nothing where chunks were announced", chunks(b"")),
    lost("a cut in a chunk's size", chunks(b"5")),
    broken("a cut behind a chunk's size without digits", chunks(b"\r")),
    lost("a cut in a chunk", chunks(b"5\r\nhel")),
    lost("a cut behind a chunk", chunks(b"5\r\nhello\r\n")),
    lost("a cut before the last empty line", chunks(b"5\r\nhello\r\n0\r\n")),
    lost("a cut in the last empty line", chunks(b"5\r\nhello\r\n0\r\n\r")),
    lost("a cut in a trailer", chunks(b"5\r\nhello\r\n0\r\nA: b\r\n")),
    lost("a chunk larger than what came", chunks(b"7fffffffffffffff\r\nhello")),
]

FIELDS = [
    done("a head whose lines end in LF alone", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    done("a head of both line ends", b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 5\r\n\nhello"),
    done("a field without a value", with_fields(b"A:")),
    done("a field of one letter", with_fields(b"A:b")),
    done("a value of bytes that are not ASCII", with_fields(b"A: \xe9\xff\x80")),
    done("a control in a value", with_fields(b"A: \x01\x1b[0m")),
    done("every letter that a name may have", with_fields(b"!#$%&'*+-.^_`|~09AZaz: b")),
    done("a folded line", with_fields(b"A: b", b" c")),
    done("a line folded with a tab, twice", with_fields(b"A: b", b"\tc", b" \t d")),
    done("a folded length", OK + b"Content-Length:\r\n 5\r\n\r\nhello"),
    done("a folded coding", OK + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n" + HELLO, by="chunked"),
    done("a field of 100,000 bytes", with_fields(b"A: " + b"b" * (FIELD_BYTES - 3))),
    done("512 fields", OK + b"A: b\r\n" * (MOST_FIELDS - 1) + FIVE + b"\r\nhello"),
    done("250,000 bytes of header", OK + (b"A: " + b"b" * 49_990 + b"\r\n") * 5 + FIVE + b"\r\nhello"),
    done("a key of an old WebSocket", with_fields(b"Sec-WebSocket-Key1: x")),
    done("an upgrade that is only offered", with_fields(b"Upgrade: h2c", b"Connection: Upgrade")),
    done("Connection: close", with_fields(b"Connection: close")),
    done("Content-Type twice", with_fields(b"Content-Type: a/b", b"Content-Type: c/d")),
    broken("a first field that begins with a blank", with_fields(b" A: b")),
    broken("a first field that begins with a tab", with_fields(b"\tA: b")),
    broken("a first line of blanks", with_fields(b"  ")),
    broken("a blank before the colon", with_fields(b"A : b")),
    broken("a blank in a name", with_fields(b"A B: c")),
    broken("no name", with_fields(b": b")),
    broken("no colon", with_fields(b"A")),
    broken("no colon in a line of several words", with_fields(b"this is no field")),
    broken("brackets in a name", with_fields(b"A(): b")),
    broken("a name that is not ASCII", with_fields(b"\xc3\xa9: b")),
    broken("a NUL in a value", with_fields(b"A: b\0c")),
    broken("a NUL in a name", with_fields(b"A\0: b")),
    broken("a stray CR in a value", with_fields(b"A: b\rC: d")),
    broken("two CRs before the LF", with_fields(b"A: b\r")),
    broken("a field of more than 100,000 bytes", with_fields(b"A: " + b"b" * (FIELD_BYTES - 2))),
    broken("a value of 100,000 bytes", with_fields(b"A: " + b"b" * 100_000)),
    broken("a field of 110,000 bytes", with_fields(b"A: " + b"b" * 110_000)),
    broken("a name of 110,000 bytes", with_fields(b"A" * 110_000 + b": b")),
    broken(
        "a folded field of more than 100,000 bytes", with_fields(b"A: " + b"b" * 60_000, b" " + b"c" * 60_000)
    ),
    broken("513 fields", OK + b"A: b\r\n" * MOST_FIELDS + FIVE + b"\r\nhello"),
    broken("6,000 fields", OK + b"A: b\r\n" * 6_000 + FIVE + b"\r\nhello"),
    broken(
        "a header of more than is read",
        OK + (b"A: " + b"b" * 50_000 + b"\r\n") * (1 + HEAD_BYTES // 50_000) + FIVE + b"\r\nhello",
    ),
    broken("a header without end", OK + b"A: " + b"b" * 2 * HEAD_BYTES),
    lost("nothing", b""),
    lost("a cut in the status line", b"HTTP/1.1 2"),
    lost("a cut in a field", OK + b"Content-Le"),
    lost("a cut before the empty line", OK + FIVE),
    lost("a cut in the empty line", OK + FIVE + b"\r"),
    lost("a cut in a folded field", OK + FIVE + b" "),
    lost("a cut behind a field without a colon, which may go on", OK + b"A\r\n"),
    broken("a cut behind an interim answer and noise", b"HTTP/1.1 100 X\r\n\r\n:\r"),
    broken("a cut behind a line of a CR", OK + b"A: b\r\n\r\r\n\t"),
    broken("a cut behind a bad field", OK + b"A : b\r\nConte"),
    broken("a cut behind two lengths", OK + FIVE + b"Content-Length: 6\r\nA"),
    broken("a cut behind the status line of another version", b"HTTP/2 200 OK\r\nA"),
]

INTERIM = [
    done("100 Continue unasked", b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE),
    done(
        "102 and 103",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + WHOLE,
    ),
    done("199", b"HTTP/1.1 199 X\r\n\r\n" + WHOLE),
    done("an interim answer that names a length", b"HTTP/1.1 103 X\r\nContent-Length: 9\r\n\r\n" + WHOLE),
    done("as many interim answers as may be", b"HTTP/1.1 103 X\r\n\r\n" * MOST_INTERIM + WHOLE),
    done("an interim answer before chunks", b"HTTP/1.1 100 Continue\r\n\r\n" + chunks(HELLO), by="chunked"),
    broken("too many interim answers", b"HTTP/1.1 103 X\r\n\r\n" * (MOST_INTERIM + 1) + WHOLE),
    broken(
        "101 unasked",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ),
    broken("an interim answer that is no HTTP", b"HTTP/1.1 100 Continue\r\nno field\r\n\r\n" + WHOLE),
    broken("no HTTP behind an interim answer", b"HTTP/1.1 100 Continue\r\n\r\nhello"),
    lost("an interim answer alone", b"HTTP/1.1 100 Continue\r\n\r\n"),
    lost("a cut in an interim answer", b"HTTP/1.1 100 Cont"),
]

BODILESS = [
    done("204", b"HTTP/1.1 204 No Content\r\n\r\n", status=204, body=b"", by="none"),
    done(
        "204 with a length of 0",
        b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n",
        status=204,
        body=b"",
        by="none",
    ),
    done("204 with a body", b"HTTP/1.1 204 X\r\n" + FIVE + b"\r\nhello", status=204, body=b"", by="none"),
    done(
        "204 with chunks", b"HTTP/1.1 204 X\r\n" + CHUNKED + b"\r\n" + HELLO, status=204, body=b"", by="none"
    ),
    broken("204 with two lengths", b"HTTP/1.1 204 X\r\n" + FIVE + b"Content-Length: 6\r\n\r\n"),
    done("205", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", status=205, body=b""),
    done("HEAD", OK + b"Content-Length: 9000\r\n\r\n", body=b"", by="none", method="HEAD"),
    done("HEAD of chunks", OK + CHUNKED + b"\r\n", body=b"", by="none", method="HEAD"),
    done("HEAD with a body", WHOLE, body=b"", by="none", method="HEAD"),
    done("HEAD without a length", OK + b"\r\n", body=b"", by="none", method="HEAD"),
    broken("HEAD with two lengths", OK + FIVE + b"Content-Length: 6\r\n\r\n", method="HEAD"),
    broken("HEAD with a length and chunks", OK + FIVE + CHUNKED + b"\r\n", method="HEAD"),
    broken(
        "HEAD with a coding that can't be undone",
        coded(b"Transfer-Encoding: gzip, chunked", body=b""),
        method="HEAD",
    ),
    failed(
        "304 unasked, and again",
        b"HTTP/1.1 304 X\r\nConnection: close\r\n\r\n",
        304,
        "http-status",
        by="none",
    ),
    done(
        "304 unasked, then the answer", (b"HTTP/1.1 304 X\r\nConnection: close\r\n" + FIVE + b"\r\n", WHOLE)
    ),
]

STATUSES = [
    *(
        done(f"status {status}", b"HTTP/1.1 %d X\r\n" % status + FIVE + b"\r\nhello", status=status)
        for status in (201, 202, 203, 207, 208, 299)
    ),
    *(
        failed(f"status {status}", b"HTTP/1.1 %d X\r\n" % status + FIVE + b"\r\nhello", status, "http-status")
        for status in (300, 305, 306, 400, 401, 404, 407, 410, 416, 418, 451, 499, 500, 600, 999)
    ),
    failed(
        "a 404 in chunks", b"HTTP/1.1 404 X\r\n" + CHUNKED + b"\r\n" + HELLO, 404, "http-status", by="chunked"
    ),
    failed("a 404 to the end", b"HTTP/1.1 404 X\r\n\r\nhello", 404, "http-status", by="eof-unverified"),
    failed(
        "a 404 whose body is cut short",
        b"HTTP/1.1 404 X\r\nContent-Length: 9\r\n\r\nhello",
        404,
        "http-status",
    ),
    failed(
        "a 404 whose chunks are cut short",
        b"HTTP/1.1 404 X\r\n" + CHUNKED + b"\r\n9\r\nhello",
        404,
        "http-status",
        by="chunked",
    ),
    failed(
        "a 404 whose chunks are broken",
        b"HTTP/1.1 404 X\r\n" + CHUNKED + b"\r\nxyz\r\n",
        404,
        "http-status",
        by="chunked",
    ),
    broken("a 404 with two lengths", b"HTTP/1.1 404 X\r\n" + FIVE + b"Content-Length: 6\r\n\r\nhello!"),
    failed(
        "a 503",
        b"HTTP/1.1 503 X\r\nConnection: close\r\n" + FIVE + b"\r\nhello",
        503,
        "http-status",
        attempts=2,
    ),
    failed(
        "a 503 whose body is cut short",
        b"HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhello",
        503,
        "http-status",
        attempts=2,
    ),
    done(
        "a 503, then the answer",
        (b"HTTP/1.1 503 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", WHOLE),
        attempts=2,
    ),
    done("a cut body, then the whole", (OK + b"Content-Length: 6\r\n\r\nhello", WHOLE), attempts=2),
]

RANGES = [
    partial("a 206 unasked", ranged(b"bytes 0-4/9000", 5)),
    partial("a 206 of the end", ranged(b"bytes 4-8/9", 5)),
    partial("a 206 of an unknown length", ranged(b"bytes 0-4/*", 5)),
    partial("a 206 without a range", b"HTTP/1.1 206 X\r\nConnection: close\r\n" + FIVE + b"\r\nhello"),
    partial(
        "a 206 in chunks",
        b"HTTP/1.1 206 X\r\nConnection: close\r\nContent-Range: bytes 0-4/9\r\n" + CHUNKED + b"\r\n" + HELLO,
        by="chunked",
    ),
    partial("a 206 whose range can't be read", ranged(b"bytes=0-4/5", 5)),
    partial("a 206 in another unit", ranged(b"pages 0-4/5", 5)),
    partial("a 206 whose range ends before it begins", ranged(b"bytes 4-0/5", 5)),
    partial("a 206 whose range is longer than the whole", ranged(b"bytes 0-9/5", 5)),
    partial("a 206 that could not be satisfied", ranged(b"bytes */5", 5)),
    partial(
        "a 206 with two ranges",
        b"HTTP/1.1 206 X\r\nConnection: close\r\nContent-Range: bytes 0-4/5\r\nContent-Range: bytes 0-4/9\r\n"
        + FIVE
        + b"\r\nhello",
    ),
    partial("a 206 whose length is not that of its range", ranged(b"bytes 0-8/9", 5)),
    partial(
        "a 206 of several parts",
        b"HTTP/1.1 206 X\r\nConnection: close\r\nContent-Type: multipart/byteranges; boundary=x\r\n"
        + FIVE
        + b"\r\nhello",
    ),
    partial(
        "a 200 of several parts",
        with_fields(b"Connection: close", b"Content-Type: Multipart/ByteRanges; boundary=x"),
        status=200,
    ),
    partial("a 200 with the range of a part", ranged(b"bytes 0-4/9000", 5, 200), status=200),
    partial(
        "a 226", b"HTTP/1.1 226 X\r\nConnection: close\r\nIM: diffe\r\n" + FIVE + b"\r\nhello", status=226
    ),
    done("a 206 of the whole", ranged(b"bytes 0-4/5", 5), status=206),
    done(
        "a 206 of the whole in chunks",
        b"HTTP/1.1 206 X\r\nConnection: close\r\nContent-Range: bytes 0-4/5\r\n" + CHUNKED + b"\r\n" + HELLO,
        status=206,
        by="chunked",
    ),
    lost(
        "a 206 of the whole in fewer chunks",
        b"HTTP/1.1 206 X\r\nConnection: close\r\nContent-Range: bytes 0-8/9\r\n" + CHUNKED + b"\r\n" + HELLO,
        status=206,
        by="chunked",
    ),
    lost(
        "a 206 of the whole that ends too early",
        b"HTTP/1.1 206 X\r\nConnection: close\r\nContent-Range: bytes 0-8/9\r\n\r\nhello",
        status=206,
        by="eof-unverified",
    ),
    done("a 206 unasked, then the whole", (ranged(b"bytes 0-4/9000", 5), WHOLE), attempts=2),
    done(
        "a 206 that was asked for", ranged(b"bytes 0-4/9000", 5), status=206, headers={"Range": "bytes=0-4"}
    ),
    done("a 206 to HEAD", ranged(b"bytes 0-4/9000", 5), status=206, body=b"", by="none", method="HEAD"),
    done("a 200 with the range of the whole", ranged(b"bytes 0-4/5", 5, 200)),
    done("a 200 with a range and the length of the whole", ranged(b"bytes 0-2/5", 5, 200)),
    done("a 200 with a range that can't be read", ranged(b"none", 5, 200)),
    done("a 200 that accepts ranges", with_fields(b"Accept-Ranges: bytes")),
    done("a 200 of other parts", with_fields(b"Content-Type: multipart/mixed; boundary=x")),
    failed("a 416 unasked", ranged(b"bytes */9000", 0, 416), 416, "http-status"),
]

REDIRECTS = [
    *(followed(f"a {status}", moved(b"/end", status)) for status in (301, 302, 303, 307, 308)),
    followed("a redirect to a relative name", moved(b"end")),
    followed("a redirect by a query", moved(b"/end?x=1")),
    followed(
        "a redirect whose body is cut short",
        b"HTTP/1.1 302 X\r\nConnection: close\r\nLocation: /end\r\nContent-Length: 99\r\n\r\nhello",
    ),
    followed(
        "a redirect whose chunks are cut short",
        b"HTTP/1.1 302 X\r\nConnection: close\r\nLocation: /end\r\n" + CHUNKED + b"\r\n9\r\nhello",
    ),
    followed(
        "a redirect whose chunks are broken",
        b"HTTP/1.1 302 X\r\nConnection: close\r\nLocation: /end\r\n" + CHUNKED + b"\r\nxyz\r\n",
    ),
    followed(
        "a redirect in a coding that nobody knows",
        b"HTTP/1.1 302 X\r\nConnection: close\r\nLocation: /end\r\nContent-Encoding: cow\r\n"
        + FIVE
        + b"\r\nhello",
    ),
    followed("a redirect to the end", b"HTTP/1.1 302 X\r\nConnection: close\r\nLocation: /end\r\n\r\nhello"),
    followed(
        "a Location twice",
        b"HTTP/1.1 302 X\r\nConnection: close\r\nLocation: /end\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n",
    ),
    followed("a Location with a fragment", moved(b"/end#there")),
    followed("a Location that begins with a backslash", moved(b"\\end")),
    followed("a Location with a backslash", moved(b"/a\\..\\end")),
    followed("a Location with a tab in it", moved(b"/e\tnd")),
    followed("a Location with a scheme and one slash", moved(b"http:/end")),
    followed("a Location with a scheme and no slash", moved(b"http:end")),
    followed("a Location with blanks around it", moved(b" \t/end \t")),
    followed(
        "a folded Location",
        b"HTTP/1.1 302 X\r\nConnection: close\r\nLocation:\r\n /end\r\nContent-Length: 0\r\n\r\n",
    ),
    broken(
        "two Locations", b"HTTP/1.1 302 X\r\nLocation: /end\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
    ),
    broken("two Locations of a 200", with_fields(b"Location: /a", b"Location: /b")),
    failed(
        "no Location",
        b"HTTP/1.1 302 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        302,
        "bad-redirect",
    ),
    failed("an empty Location", moved(b""), 302, "bad-redirect"),
    failed("a Location of a file", moved(b"file:///etc/passwd"), 302, "bad-redirect"),
    failed("a Location with a port that is none", moved(b"http://127.0.0.1:x/"), 302, "bad-redirect"),
    broken(
        "a redirect with two lengths",
        b"HTTP/1.1 302 X\r\nConnection: close\r\nLocation: /end\r\nContent-Length: 0\r\n" + FIVE + b"\r\n",
    ),
]

ANSWERS = [
    *STATUS_LINES,
    *LENGTHS,
    *CODINGS,
    *CHUNKS,
    *FIELDS,
    *INTERIM,
    *BODILESS,
    *STATUSES,
    *RANGES,
    *REDIRECTS,
]
