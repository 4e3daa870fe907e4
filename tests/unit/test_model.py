"""The data: headers, targets, records, results and counts."""

import json
import warnings
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.errors import FetcherError, FetchFailed
from fetcher.model import (
    FINAL,
    FINAL_STATES,
    SUCCESSFUL,
    UNSUCCESSFUL,
    Counts,
    FinalCounts,
    Headers,
    Job,
    Record,
    Request,
    Result,
    State,
    Summary,
    Target,
    decode_text,
)

FIELDS = [
    (b"Content-Type", b"text/html"),
    (b"Set-Cookie", b"a=1"),
    (b"SET-COOKIE", b"b=2"),
    (b"X-Odd", b"\xe9"),
]


# ---- headers ----


def test_a_header_is_found_without_case_and_the_first_of_several_counts() -> None:
    headers = Headers(FIELDS)
    assert headers["content-TYPE"] == "text/html"
    assert headers.get("set-cookie") == "a=1"
    assert headers.find(b"set-cookie") == b"a=1"
    assert headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert headers["x-odd"] == "é"


def test_a_header_that_is_missing_is_none_the_default_or_a_key_error() -> None:
    headers = Headers(FIELDS)
    assert headers.get("nothing") is None
    assert headers.get("nothing", "else") == "else"
    assert headers.get_all("nothing") == []
    assert headers.find(b"nothing") is None
    with pytest.raises(KeyError, match="nothing"):
        headers["nothing"]
    assert "nothing" not in headers
    assert "content-type" in headers
    assert 3 not in headers
    assert "日本" not in headers


def test_headers_keep_their_order_spelling_and_number() -> None:
    headers = Headers(FIELDS)
    assert list(headers) == [
        ("Content-Type", "text/html"),
        ("Set-Cookie", "a=1"),
        ("SET-COOKIE", "b=2"),
        ("X-Odd", "é"),
    ]
    assert len(headers) == 4
    assert not Headers()


def test_headers_are_equal_by_what_came_and_can_be_hashed() -> None:
    assert Headers(FIELDS) == Headers(tuple(FIELDS))
    assert hash(Headers(FIELDS)) == hash(Headers(tuple(FIELDS)))
    assert Headers(FIELDS) != Headers(FIELDS[:2])
    assert Headers(FIELDS) != dict(FIELDS)
    assert "text/html" in repr(Headers(FIELDS))


# ---- targets, jobs, requests ----


def test_an_origin_is_scheme_name_and_port() -> None:
    target = Target("https://a:8443/x", "https", "a", 8443, "a:8443", "user:secret")
    assert target.origin == ("https", "a", 8443)
    assert Request(target=target).url == "https://a:8443/x"


def test_the_host_of_a_job_is_its_targets_and_empty_without_one() -> None:
    target = Target("http://a/x", "http", "a", 80, "a:80")
    assert Job(id=1, url="http://a/x", target=target).host == "a:80"
    assert Job(id=1, url="nonsense", target=None).host == ""


# ---- records ----


def test_the_fields_of_a_record_are_stable_in_name_and_order() -> None:
    assert list(json.loads(msgspec.json.encode(Record(url="u")))) == [
        "url", "final_url", "state", "status", "error", "message", "attempts", "bytes", "wire_bytes", "sha256", "digest",
        "path", "content_type", "etag", "last_modified", "completeness", "redirects", "parent", "depth", "source",
        "line", "meta", "started_at", "ended_at", "elapsed", "waited", "backend", "http_version",
        "resumed_at",
    ]  # fmt: skip


def test_two_records_do_not_share_their_redirects() -> None:
    one, two = Record(url="1"), Record(url="2")
    one.redirects.append("http://a/")
    assert two.redirects == []


def test_the_numbers_of_the_states_are_stored_and_never_change() -> None:
    assert [(state.name, state.value) for state in State] == [
        ("PENDING", 0), ("DONE", 1), ("UNCHANGED", 2), ("FAILED", 3), ("REFUSED", 4), ("FORGOTTEN", 5),
        ("WITHHELD", 6), ("LEFT_OUT", 7),
    ]  # fmt: skip
    assert {name: state.name.lower() for name, state in FINAL_STATES.items()} == {
        name: name for name in ("done", "unchanged", "failed", "refused")
    }


# ---- results ----


@pytest.mark.parametrize(
    ("state", "is_ok"), [("done", True), ("unchanged", True), ("failed", False), ("refused", False)]
)
def test_a_result_is_ok_when_its_url_is_done_or_unchanged(state: Any, is_ok: bool) -> None:
    assert Result(url="http://a/", state=state).ok is is_ok


def test_raising_for_an_error_tells_the_url_the_slug_and_the_status() -> None:
    Result(url="http://a/", state="done", status=200).raise_for_error()
    failed = Result(url="http://a/", state="failed", status=404, error="http-status", message="HTTP 404")
    with pytest.raises(FetchFailed, match=r"^http://a/: HTTP 404$") as caught:
        failed.raise_for_error()
    assert isinstance(caught.value, FetcherError)
    assert (caught.value.slug, caught.value.url, caught.value.status) == ("http-status", "http://a/", 404)
    with pytest.raises(FetchFailed, match=r"^http://a/: robots$") as caught:
        Result(url="http://a/", state="refused", error="robots").raise_for_error()
    assert caught.value.status is None


def test_a_result_gives_its_body_as_text_and_json() -> None:
    result = Result(url="u", body='{"é": 1}'.encode(), content_type="application/json")
    assert result.text() == '{"é": 1}'
    assert result.json() == {"é": 1}
    with pytest.raises(ValueError, match="Expecting"):
        Result(url="u", body=b"no").json()
    assert Result(url="u").text() == ""


# ---- text ----


@pytest.mark.parametrize(
    ("body", "content_type", "encoding", "text"),
    [
        ("é".encode(), None, None, "é"),
        ("é".encode(), "text/html", None, "é"),
        ("é".encode("latin-1"), "text/html; charset=ISO-8859-1", None, "é"),
        (b"\x80", "text/html; charset=latin1", None, "€"),  # WHATWG: ISO-8859-1 is windows-1252
        (b"\x80", "text/html; charset=us-ascii", None, "€"),
        ("ж".encode("koi8-r"), 'text/html; Charset="KOI8-R"', None, "ж"),
        ("ж".encode("koi8-r"), "text/html; charset='koi8-r' ; x=y", None, "ж"),
        ("日".encode("shift_jis"), "text/html;charset=Shift_JIS", None, "日"),
        ("日".encode("shift_jis"), "text/html; charset=utf-8", "shift_jis", "日"),
        (b"\xef\xbb\xbf\xc3\xa9", "text/html; charset=latin1", "latin1", "é"),
        (b"\xff\xfe\xe9\x00", "text/html; charset=utf-8", None, "é"),
        (b"\xfe\xff\x00\xe9", None, "utf-8", "é"),
        (b"\xff", None, None, "\ufffd"),
        ("é".encode(), "text/html; charset=no-such-thing", None, "é"),
        ("é".encode(), "text/html; charset=", None, "é"),
        ("é".encode(), "text/html; charset", None, "é"),
        ("é".encode(), "text/html", "no-such-thing", "é"),
        (b"xn--a", "text/html; charset=idna", None, "xn--a"),
        (b"abc-", "text/html; charset=punycode", None, "abc-"),
        (b"\\u00e9", "text/html; charset=unicode_escape", None, "\\u00e9"),
        (b"\\u00e9", "text/html; charset=Raw-Unicode-Escape", None, "\\u00e9"),
        (b"78", "text/html; charset=hex", None, "78"),
        (b"x", "text/html; charset=zlib", None, "x"),
        (b"x", "text/html; charset=undefined", None, "x"),
    ],
)
def test_text_is_decoded_by_its_mark_then_as_told_then_by_its_label_then_as_utf_8(
    body: bytes, content_type: str | None, encoding: str | None, text: str
) -> None:
    assert decode_text(body, content_type, encoding) == text


@given(st.binary(max_size=40), st.text(st.characters(max_codepoint=255), max_size=20))
@example(b"\\N", "unicode escape")
@example(b"\\N", "unicode.escape")
@example(b"x", "\0")
@example(b"x", "utf-8\xa0")
@example(b"\xff\xfe", "utf_16")
@example(b"a-b", "punycode ")
@example(b"xn--", " idna")
def test_no_body_and_no_label_raise(body: bytes, label: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(decode_text(body, f"text/html; charset={label}"), str)
        assert isinstance(decode_text(body, f'text/html; charset="{label}"'), str)


# ---- summary and counts ----


def test_a_summary_is_ok_when_nothing_failed_was_refused_or_waits() -> None:
    assert Summary(done=3, unchanged=1, duplicates=2, earlier=1).ok
    for field in ("failed", "refused", "pending", "withheld"):
        assert not msgspec.structs.replace(Summary(done=1), **{field: 1}).ok


def test_every_final_state_is_counted_and_every_count_is_of_a_state() -> None:
    assert FinalCounts.__struct_fields__ == tuple(FINAL_STATES)
    assert {State[name.upper()] for name in Counts.__struct_fields__} >= FINAL
    assert SUCCESSFUL | UNSUCCESSFUL == FINAL


def test_counts_begin_at_zero() -> None:
    assert msgspec.structs.astuple(Counts()) == (0,) * 6
