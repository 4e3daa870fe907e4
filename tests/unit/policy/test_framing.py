"""Heads and framings of answers: strict, and the same wherever packets end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import ProtocolBroken
from fetcher.policy.framing import (
    ChunkedFraming,
    CountedFraming,
    EndedEarly,
    EndlessFraming,
    Framing,
    frame_of,
    framing_of,
    stays_open,
)
from fetcher.policy.head import Head, HeadReader, parse_head
from fetcher.policy.http import HEAD_BYTES, MOST_INTERIM


def head(text: bytes) -> Head:
    reader = HeadReader()
    found = reader.take(text)
    assert found is not None
    assert reader.rest == b""
    return found


def with_fields(*fields: bytes) -> Head:
    return head(b"\r\n".join([b"HTTP/1.1 200 OK", *fields, b"", b""]))


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_fields_keep_order_spelling_and_duplicates_and_folds_are_unfolded(end: bytes) -> None:
    read = head(
        end.join([b"HTTP/1.0 404", b"b:  1 ", b"A:", b"B: x", b"  y", b"\tz", b"B: \xe9\x1b", b"", b""])
    )
    assert (read.version, read.status) == ("1.0", 404)
    assert read.headers.raw == [(b"b", b"1"), (b"A", b""), (b"B", b"x y z"), (b"B", b"\xe9\x1b")]


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA(): b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n fold: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 513 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"b" * 100_000 + b"\r\n\r\n",
    ],
)
def test_a_head_that_is_not_to_the_letter_is_broken(text: bytes) -> None:
    with pytest.raises(ProtocolBroken):
        head(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_broken(data: bytes) -> None:
    for block in (data, b"HTTP/1.1 200 OK\r\n" + data):
        try:
            read = HeadReader().take(block + b"\r\n\r\n")
            if read is not None:
                assert 200 <= read.status <= 999
                assert not framing_of(frame_of(read, "GET")).has_surplus
                assert stays_open(read) in {True, False}
        except ProtocolBroken:
            pass


@given(cuts=st.lists(st.integers(0, 10_000), max_size=8))
def test_a_head_behind_interim_ones_is_the_same_wherever_packets_end(cuts: list[int]) -> None:
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\nLink: a\n\nHTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\nbody"
    )
    reader = HeadReader()
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    found, rest = None, b""
    for start, end in itertools.pairwise(edges):
        if found is not None:
            rest += data[start:end]
        elif start < end:
            found = reader.take(data[start:end])
    assert found is not None
    assert (found.status, found.headers.raw) == (200, [(b"A", b"b c")])
    assert reader.rest + rest == b"body"


@pytest.mark.parametrize("step", [997, 65_536, 2 * HEAD_BYTES])
def test_the_limit_on_a_header_does_not_depend_on_packets(step: int) -> None:
    line = b"A: " + b"b" * 59_995 + b"\r\n"
    for lines, fits in ((5, True), (6, False)):
        data = b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\n" + line * lines + b"\r\n"
        reader = HeadReader()
        try:
            found = [reader.take(data[at : at + step]) for at in range(0, len(data), step)]
        except ProtocolBroken:
            found = [None]
        assert (found[-1] is not None) is fits


def test_interim_answers_are_counted() -> None:
    interim = b"HTTP/1.1 103 X\r\n\r\n"
    assert HeadReader().take(interim * MOST_INTERIM) is None
    with pytest.raises(ProtocolBroken, match="interim"):
        HeadReader().take(interim * (MOST_INTERIM + 1))


def test_lines_of_libcurl_may_be_of_http_2_and_bytes_of_a_connection_may_not() -> None:
    assert parse_head([b"HTTP/2 200 "]).version == "2"
    with pytest.raises(ProtocolBroken):
        head(b"HTTP/2 200 \r\n\r\n")


@pytest.mark.parametrize(
    "fields",
    [
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 5", b"content-length: 6"],
        [b"Content-Length: 5, 6"],
        [b"Content-Length: 5,"],
        [b"Content-Length: -5"],
        [b"Content-Length: +5"],
        [b"Content-Length: 0x5"],
        [b"Content-Length: 5_0"],
        [b"Content-Length: \xb2"],
        [b"Content-Length:"],
        [b"Content-Length: 9999999999999999999"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked, gzip"],
        [b"Transfer-Encoding: chunked, identity"],
        [b"Transfer-Encoding: chunked;q=1"],
        [b"Transfer-Encoding: xchunked"],
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_head_that_contradicts_itself_has_no_frame(fields: list[bytes], method: str) -> None:
    with pytest.raises(ProtocolBroken):
        frame_of(with_fields(*fields), method)


@pytest.mark.parametrize(
    ("fields", "completeness", "length"),
    [
        ([b"Content-Length: 5", b"Content-Length: 5"], "length", 5),
        ([b"Content-Length: 5, 5"], "length", 5),
        ([b"Content-Length: " + b"0" * 99 + b"5"], "length", 5),
        ([b"transfer-encoding: CHUNKED"], "chunked", None),
        ([b"Transfer-Encoding: chunked,"], "chunked", None),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], "chunked", None),
        ([b"transfer-encoding: identity"], "eof-unverified", None),
        ([b"transfer-encoding: identity", b"Content-Length: 5"], "length", 5),
        ([], "eof-unverified", None),
    ],
)
def test_a_frame_is_named(fields: list[bytes], completeness: str, length: int | None) -> None:
    frame = frame_of(with_fields(*fields), "GET")
    assert frame == (completeness, length)
    assert not framing_of(frame).is_done
    of_head = frame_of(with_fields(*fields), "HEAD")
    assert of_head == ("none", length)
    assert framing_of(of_head).is_done


def test_only_the_end_of_the_connection_ends_a_body_without_length() -> None:
    framing = EndlessFraming()
    assert framing.feed(b"hello") == b"hello"
    assert not framing.is_done
    framing.end()
    assert framing.is_done


@pytest.mark.parametrize(
    ("first", "fields", "stays"),
    [
        (b"HTTP/1.1 200 OK", [], True),
        (b"HTTP/1.1 200 OK", [b"Connection: x, Close"], False),
        (b"HTTP/1.1 200 OK", [b"Connection: x", b"Connection: close"], False),
        (b"HTTP/1.0 200 OK", [], False),
        (b"HTTP/1.0 200 OK", [b"Connection: Keep-Alive"], True),
        (b"HTTP/1.0 200 OK", [b"Connection: keep-alive, close"], False),
        (b"HTTP/1.0 200 OK", [b"Connection: keep-alive", b"Transfer-Encoding: chunked"], False),
    ],
)
def test_a_connection_stays_open_when_both_sides_understand_that(
    first: bytes, fields: list[bytes], stays: bool
) -> None:
    assert stays_open(head(b"\r\n".join([first, *fields, b"", b""]))) is stays


def fed(framing: Framing, data: bytes, cuts: list[int]) -> bytes:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    body = b""
    for start, end in itertools.pairwise(edges):
        if framing.is_done:
            framing.has_surplus = framing.has_surplus or start < len(data)
            break
        body += framing.feed(data[start:end])
    return body


CUTS = st.lists(st.integers(0, 10_000), max_size=12)
SIZE_LINE = st.sampled_from([b"%x\r\n", b"%X\r\n", b"000%x\r\n", b"%x ;a=b\r\n", b"%x\n", b"%x\t;\n"])
LINE_END = st.sampled_from([b"\r\n", b"\n"])


@given(
    chunks=st.lists(st.tuples(SIZE_LINE, st.binary(min_size=1, max_size=40)), max_size=6),
    end=LINE_END,
    trailer=st.sampled_from([b"", b"A: b\r\n", b"A: b\nC:\r\n", b"Content-Length: 9\r\n"]),
    surplus=st.sampled_from([b"", b"x", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]),
    cuts=CUTS,
)
def test_chunks_are_the_same_wherever_packets_end(
    chunks: list[tuple[bytes, bytes]], end: bytes, trailer: bytes, surplus: bytes, cuts: list[int]
) -> None:
    coded = b"".join(line % len(data) + data + end for line, data in chunks) + b"0" + end + trailer + end
    framing = ChunkedFraming()
    assert fed(framing, coded + surplus, cuts) == b"".join(data for _, data in chunks)
    assert framing.is_done
    assert framing.has_surplus is bool(surplus)
    framing.end()


@given(body=st.binary(max_size=60), surplus=st.binary(max_size=3), cuts=CUTS)
def test_a_counted_body_is_the_same_wherever_packets_end(
    body: bytes, surplus: bytes, cuts: list[int]
) -> None:
    framing = CountedFraming(len(body))
    data = fed(framing, body + surplus, cuts)
    assert (data, framing.is_done, framing.has_surplus) == (body, True, bool(surplus))


@given(cut=st.integers(0, 30), cuts=CUTS)
def test_every_cut_of_chunks_shows(cut: int, cuts: list[int]) -> None:
    coded = b"5\r\nhello\r\n6;x\r\n world\r\n0\r\nA: b\r\n\r\n"
    framing = ChunkedFraming()
    assert b"hello world".startswith(fed(framing, coded[:cut], cuts))
    with pytest.raises(EndedEarly):
        framing.end()


@pytest.mark.parametrize(
    "coded",
    [
        b"xyz\r\n",
        b"-5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5_0\r\nhello\r\n",
        b"\r\nhello\r\n",
        b"5xyz\r\nhello\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello",
        b"5\r\nhelloworld\r\n",
        b"f" * 17 + b"\r\n",
        b"5" + b" " * 5000,
        b"0\r\nno field\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 513,
        b"0\r\nA: " + b"b" * 20_000,
    ],
)
@given(cuts=CUTS)
def test_chunks_that_are_not_to_the_letter_are_broken_wherever_packets_end(
    coded: bytes, cuts: list[int]
) -> None:
    with pytest.raises(ProtocolBroken):
        fed(ChunkedFraming(), coded, cuts)


def test_a_million_tiny_chunks_arrive_in_few_pieces() -> None:
    framing = ChunkedFraming()
    block = b"1\r\nx\r\n" * 40_000
    assert [len(framing.feed(block)) for _ in range(5)] == [40_000] * 5


def test_an_extension_of_any_length_is_skipped_and_not_held() -> None:
    framing = ChunkedFraming()
    assert framing.feed(b"5;") == b""
    for _ in range(100):
        assert framing.feed(b"a" * 10_000) == b""
        assert len(framing._rest) < 10
    assert framing.feed(b"\r\nhello\r\n0\r\n\r\n") == b"hello"
    assert framing.is_done
