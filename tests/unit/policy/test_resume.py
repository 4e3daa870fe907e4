"""When a body may be continued, how that is asked for, and which answers fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.model import Headers, Part, Response, Target
from fetcher.policy.resume import (
    begin_of_rest,
    may_continue,
    misfit,
    range_fields,
    resumable,
    strong_validator,
    total_of,
)

LATER = ("Date", "Sun, 29 Nov 2026 10:00:01 GMT")
MODIFIED = ("Last-Modified", "Sun, 29 Nov 2026 10:00:00 GMT")


def headers(*fields: tuple[str, str]) -> Headers:
    return Headers([(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields])


def part(end: int = 100, total: int | None = 1000, validator: str = '"v"') -> Part:
    return Part(name="p", address="http://a.example/x", validator=validator, total=total, extents=((0, end),))


def answer(*fields: tuple[str, str], length: int | None = None, status: int = 206) -> Response:
    return Response(status=status, headers=headers(*fields), completeness="length", length=length)


@pytest.mark.parametrize(
    ("fields", "validator"),
    [
        ([("ETag", '"abc"')], '"abc"'),
        ([("ETag", '""')], '""'),
        ([("ETag", 'W/"abc"'), MODIFIED, LATER], None),
        ([("ETag", "abc"), MODIFIED, LATER], None),
        ([("ETag", '"a"b"')], None),
        ([MODIFIED, LATER], MODIFIED[1]),
        ([MODIFIED, ("Date", MODIFIED[1])], None),
        ([MODIFIED], None),
        ([("Last-Modified", "yesterday"), LATER], None),
        ([("Last-Modified", "x" * 100), LATER], None),
        ([], None),
    ],
)
def test_only_a_strong_validator_counts(fields: list[tuple[str, str]], validator: str | None) -> None:
    assert strong_validator(headers(*fields)) == validator


def test_a_body_with_a_coding_or_an_unknown_end_is_not_continued() -> None:
    tag = ("ETag", '"v"')
    assert resumable(answer(tag, status=200)) == '"v"'
    assert resumable(answer(tag, ("Content-Encoding", "gzip"), status=200)) is None
    assert resumable(answer(tag, ("Accept-Ranges", "none"), status=200)) is None
    assert resumable(answer(tag, status=203)) is None
    open_end = Response(status=200, headers=headers(tag), completeness="eof-unverified")
    assert resumable(open_end) is None


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("http://a.example/x", True),
        ("http://a.example/x?signature=2", True),
        ("http://a.example/y", False),
        ("http://b.example/x", False),
        ("https://a.example/x", False),
    ],
)
def test_the_rest_is_asked_of_the_address_that_answered_alone(url: str, *, fits: bool) -> None:
    scheme, _, rest = url.partition("://")
    name = rest.split("/")[0]
    assert may_continue(part(), Target(url, scheme, name, 80, f"{name}:80")) is fits


def test_a_whole_part_asks_for_its_last_byte_again() -> None:
    assert range_fields(part(1000)) == (("Range", "bytes=999-"), ("If-Range", '"v"'))
    assert range_fields(part(100)) == (("Range", "bytes=100-"), ("If-Range", '"v"'))
    assert begin_of_rest(part(100, total=None)) == 100


@pytest.mark.parametrize(
    ("stated", "fits"),
    [
        ("bytes 100-999/1000", True),
        ("BYTES 100-999/1000", True),
        ("bytes 100-999/*", True),
        ("bytes 99-999/1000", False),
        ("bytes 101-999/1000", False),
        ("bytes 100-998/1000", False),
        ("bytes 100-1000/1001", False),
        ("bytes 100-/1000", False),
        ("bytes=100-999/1000", False),
        ("items 100-999/1000", False),
        ("bytes */1000", False),
        ("bytes 100-999/1000, bytes 100-999/1000", False),
        ("bytes 999-100/1000", False),
        ("", False),
    ],
)
def test_only_a_range_that_begins_and_ends_where_it_must_fits(stated: str, *, fits: bool) -> None:
    assert (misfit(part(), answer(("Content-Range", stated))) is None) is fits


def test_two_ranges_a_coding_another_length_or_version_do_not_fit() -> None:
    good = ("Content-Range", "bytes 100-999/1000")
    assert misfit(part(), answer(good, ("ETag", '"v"'), length=900)) is None
    assert misfit(part(), answer(good, ("Content-Range", "bytes 100-999/*"))) is not None
    assert misfit(part(), answer(good, ("Content-Encoding", "gzip"))) is not None
    assert misfit(part(), answer(good, length=899)) is not None
    assert misfit(part(), answer(good, ("ETag", '"w"'))) is not None
    assert misfit(part(), answer(good, ("ETag", 'W/"v"'))) is not None
    assert misfit(part(validator=MODIFIED[1]), answer(good, ("Last-Modified", LATER[1]))) is not None


def test_a_total_that_was_unknown_is_learned() -> None:
    stated = answer(("Content-Range", "bytes 100-999/1000"))
    assert misfit(part(total=None), stated) is None
    assert total_of(part(total=None), stated) == 1000
    assert total_of(part(total=1000), answer(("Content-Range", "bytes 100-999/*"))) == 1000


def test_a_range_of_a_whole_whose_end_nobody_knows_is_not_taken_for_the_rest() -> None:
    assert misfit(part(total=None), answer(("Content-Range", "bytes 100-999/*"), length=900)) is not None


@given(st.text(st.characters(max_codepoint=255), max_size=40), st.integers(0, 2000))
def test_no_content_range_whatever_it_says_continues_at_another_offset(text: str, end: int) -> None:
    for stated in (text, f"bytes {text}", f"bytes {end}-{text}", f"bytes {text}-999/1000"):
        response = answer(("Content-Range", stated))
        if misfit(part(end), response) is None:
            assert stated.lower().split()[1].startswith(f"{begin_of_rest(part(end))}-")
