"""Content-Range to the letter, and which answers hold no more than a part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.model import Headers, Response
from fetcher.policy.ranges import (
    ContentRange,
    asks_range,
    content_range_of,
    may_be_part,
    parse_content_range,
    part_in,
)


def answer(status: int, *fields: tuple[str, str], length: int | None = 5) -> Response:
    headers = Headers([(name.encode(), value.encode()) for name, value in fields])
    return Response(status=status, headers=headers, completeness="length", length=length)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("bytes 0-4/5", ContentRange(0, 4, 5)),
        ("bytes 0-4/*", ContentRange(0, 4, None)),
        ("bytes 42-1233/1234", ContentRange(42, 1233, 1234)),
        ("bytes */1234", ContentRange(None, None, 1234)),
        ("BYTES 0-0/1", ContentRange(0, 0, 1)),
        (" \tbytes 00-004/005 ", ContentRange(0, 4, 5)),
    ],
)
def test_a_range_is_read(value: str, wanted: ContentRange) -> None:
    assert parse_content_range(value) == wanted


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=0-4/5",
        "bytes: 0-4/5",
        "bytes  0-4/5",
        "bytes 0-4",
        "bytes 0-4/",
        "bytes -4/5",
        "bytes 0-/5",
        "bytes */*",
        "bytes 4-0/5",
        "bytes 0-5/5",
        "bytes 0-0/0",
        "bytes 0 - 4/5",
        "bytes +0-4/5",
        "bytes 0-4/5, bytes 0-4/5",
        "bytes 0-4/5;x",
        "pages 0-4/5",
        "bytes \u0660-4/5",
        "bytes 0-" + "9" * 19 + "/*",
    ],
)
def test_what_is_no_range_to_the_letter_says_nothing(value: str) -> None:
    assert parse_content_range(value) is None


@given(st.text(max_size=40))
def test_any_text_is_a_range_or_nothing(value: str) -> None:
    for text in (value, "bytes " + value):
        found = parse_content_range(text)
        assert found is None or found.first is None or 0 <= found.first <= (found.last or 0)


@given(first=st.integers(0, 99), size=st.integers(1, 99), more=st.integers(0, 99))
def test_a_range_is_whole_exactly_if_nothing_is_missing(first: int, size: int, more: int) -> None:
    total = first + size + more
    found = parse_content_range(f"bytes {first}-{first + size - 1}/{total}")
    assert found is not None
    assert (found.size, found.total) == (size, total)
    assert found.is_whole is (first == 0 and more == 0)


def test_two_ranges_are_none_and_the_same_twice_is_one() -> None:
    one, other = ("Content-Range", "bytes 0-4/5"), ("content-range", "bytes 0-4/9")
    assert content_range_of(answer(206, one, other)) is None
    assert content_range_of(answer(206, one, one)) == ContentRange(0, 4, 5)


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (answer(206), "a part of it, by its status 206"),
        (answer(206, ("Content-Range", "bytes 0-4/9000")), "bytes 0-4 of 9000"),
        (answer(206, ("Content-Range", "bytes 0-4/*")), "bytes 0-4 of an unknown length"),
        (answer(206, ("Content-Range", "bytes */5")), "no bytes of 5"),
        (answer(206, ("Content-Range", "bytes 0-8/9")), "5 bytes where Content-Range says bytes 0-8 of 9"),
        (answer(200, ("Content-Range", "bytes 0-4/9000")), "bytes 0-4 of 9000"),
        (answer(203, ("Content-Range", "bytes 3-7/9")), "bytes 3-7 of 9"),
        (
            answer(200, ("Content-Type", "Multipart/byteranges;boundary=x")),
            "parts of it, as multipart/byteranges",
        ),
        (answer(226, ("IM", "vcdiff")), "a delta, by its status 226"),
        (answer(206, ("Content-Range", "bytes 0-4/5")), None),
        (answer(206, ("Content-Range", "bytes 0-4/5"), length=None), None),
        (answer(200, ("Content-Range", "bytes 0-4/9000"), length=9000), None),
        (answer(200, ("Content-Range", "bytes 0-4/5")), None),
        (answer(200, ("Content-Range", "nonsense")), None),
        (answer(200, ("Content-Range", "bytes */5")), None),
        (answer(200, ("Content-Type", "multipart/mixed")), None),
        (answer(200), None),
    ],
)
def test_a_part_is_told_from_the_whole(response: Response, said: str | None) -> None:
    assert part_in(response) == said
    assert may_be_part(response) or said is None


def test_a_request_asks_for_a_part_by_its_range_alone() -> None:
    assert asks_range([("User-Agent", "x"), ("rANGE", "bytes=0-")])
    assert not asks_range([("If-Range", '"x"'), ("Accept-Ranges", "bytes")])
