"""Heads and framings of the blocking client: strict, and the same wherever packets end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.backends.blocking.framing import (
    ChunkedFraming,
    CountedFraming,
    Ended,
    Framing,
    framing_of,
    stays_open,
)
from fetcher.backends.blocking.head import END, Broken, Head, parse_head


def head(text: bytes) -> Head:
    found = END.search(text)
    assert found is not None
    assert found.end() == len(text)
    return parse_head(text[: found.start()])


def with_fields(*fields: bytes) -> Head:
    return head(b"\r\n".join([b"HTTP/1.1 200 OK", *fields, b"", b""]))


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_fields_keep_order_spelling_and_duplicates_and_folds_are_unfolded(end: bytes) -> None:
    read = head(
        end.join([b"HTTP/1.0 404", b"b:  1 ", b"A:", b"B: x", b"  y", b"\tz", b"B: \xe9\x1b", b"", b""])
    )
    assert read == Head(404, 0, [(b"b", b"1"), (b"A", b""), (b"B", b"x y z"), (b"B", b"\xe9\x1b")])


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
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 257 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 16_384 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"b" * 16_384 + b"\r\n\r\n",
    ],
)
def test_a_head_that_is_not_to_the_letter_is_broken(text: bytes) -> None:
    with pytest.raises(Broken):
        head(text)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_broken(data: bytes) -> None:
    for block in (data, b"HTTP/1.1 200 OK\r\n" + data):
        try:
            read = parse_head(block)
            framing_of(read, is_head=False)
            stays_open(read)
        except Broken:
            pass


@pytest.mark.parametrize(
    "fields",
    [
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 5", b"content-length: 6"],
        [b"Content-Length: 5, 5"],
        [b"Content-Length: -5"],
        [b"Content-Length: +5"],
        [b"Content-Length: 0x5"],
        [b"Content-Length: 5_0"],
        [b"Content-Length: \xb2"],
        [b"Content-Length:"],
        [b"Content-Length: 9999999999999999999"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked, chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: xchunked"],
    ],
)
@pytest.mark.parametrize("is_head", [False, True])
def test_a_head_that_contradicts_itself_has_no_framing(fields: list[bytes], is_head: bool) -> None:
    if is_head and not any(field.lower().startswith(b"content") for field in fields):
        return  # of a body that is not there, the coding does not matter
    with pytest.raises(Broken):
        framing_of(with_fields(*fields), is_head=is_head)


@pytest.mark.parametrize(
    ("fields", "completeness", "length"),
    [
        ([b"Content-Length: 5", b"Content-Length: 5"], "length", 5),
        ([b"transfer-encoding: CHUNKED"], "chunked", None),
        ([b"transfer-encoding: identity"], "eof-unverified", None),
        ([], "eof-unverified", None),
    ],
)
def test_a_framing_is_named(fields: list[bytes], completeness: str, length: int | None) -> None:
    framing, declared = framing_of(with_fields(*fields), is_head=False)
    assert (framing.completeness, declared, framing.is_done) == (completeness, length, False)


@pytest.mark.parametrize(
    ("first", "fields", "stays"),
    [
        (b"HTTP/1.1 200 OK", [], True),
        (b"HTTP/1.1 200 OK", [b"Connection: x, Close"], False),
        (b"HTTP/1.1 200 OK", [b"Connection: x", b"Connection: close"], False),
        (b"HTTP/1.0 200 OK", [], False),
        (b"HTTP/1.0 200 OK", [b"Connection: Keep-Alive"], True),
        (b"HTTP/1.0 200 OK", [b"Connection: keep-alive, close"], False),
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
        body += framing.take(data[start:end])
    return body


CUTS = st.lists(st.integers(0, 10_000), max_size=12)
SIZE_LINE = st.sampled_from([b"%x\r\n", b"%X\r\n", b"000%x\r\n", b"%x ;a=b\r\n"])


@given(
    chunks=st.lists(st.tuples(SIZE_LINE, st.binary(min_size=1, max_size=40)), max_size=6),
    trailer=st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
    surplus=st.sampled_from([b"", b"x", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]),
    cuts=CUTS,
)
def test_chunks_are_the_same_wherever_packets_end(
    chunks: list[tuple[bytes, bytes]], trailer: bytes, surplus: bytes, cuts: list[int]
) -> None:
    coded = (
        b"".join(line % len(data) + data + b"\r\n" for line, data in chunks) + b"0\r\n" + trailer + b"\r\n"
    )
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
    with pytest.raises(Ended):
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
        b"5\nhello\n0\n\n",
        b"5\r\nhelloworld\r\n",
        b"5\r\nhello\n0\r\n",
        b"f" * 17 + b"\r\n",
        b"5;" + b"a" * 5000,
        b"0\r\nno field\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 257,
        b"0\r\nA: " + b"b" * 20_000,
    ],
)
@given(cuts=CUTS)
def test_chunks_that_are_not_to_the_letter_are_broken_wherever_packets_end(
    coded: bytes, cuts: list[int]
) -> None:
    with pytest.raises(Broken):
        fed(ChunkedFraming(), coded, cuts)


def test_a_million_tiny_chunks_arrive_in_few_pieces() -> None:
    framing = ChunkedFraming()
    block = b"1\r\nx\r\n" * 40_000
    assert [len(framing.take(block)) for _ in range(5)] == [40_000] * 5
