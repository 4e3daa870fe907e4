"""Which content-codings are removed (catalogue E59 to E64, RFC 9110 §8.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import BadEncoding
from fetcher.model import Headers
from fetcher.policy.content import ACCEPT_ENCODING, codings


def headers(*encodings: str, content_type: str | None = None) -> Headers:
    raw = [(b"Content-Encoding", encoding.encode("latin-1")) for encoding in encodings]
    if content_type is not None:
        raw.append((b"content-type", content_type.encode("latin-1")))
    return Headers(raw)


def test_every_coding_that_is_asked_for_can_be_removed():
    for name in ACCEPT_ENCODING.split(", "):
        assert codings(headers(name), "/") == (name,)


def test_a_body_without_the_header_has_no_coding():
    assert codings(headers(content_type="text/html"), "/a.gz") == ()


@pytest.mark.parametrize("value", ["", " ", "identity", "Identity", ", ,", "identity, ", "none"])
def test_identity_and_empty_are_no_coding(value):
    assert codings(headers(value), "/") == ()


@pytest.mark.parametrize("value", ["x-gzip", "GZIP", " gzip\t", "gzip,", ",gzip", "identity, gzip"])
def test_old_names_case_and_blanks_do_not_matter(value):
    assert codings(headers(value), "/") == ("gzip",)


@pytest.mark.parametrize("encodings", [("deflate, gzip",), ("deflate", "gzip"), ("deflate,", " ,gzip")])
def test_codings_are_undone_last_first(encodings):
    assert codings(headers(*encodings), "/") == ("gzip", "deflate")


@pytest.mark.parametrize("encodings", [("gzip, gzip",), ("gzip", "gzip"), ("x-gzip", "gzip")])
def test_the_same_coding_twice_is_two_codings(encodings):
    assert codings(headers(*encodings), "/") == ("gzip", "gzip")


@pytest.mark.parametrize("encodings", [("gzip, br, gzip",), ("gzip", "br", "zstd"), ("gzip," * 500,)])
def test_more_than_two_codings_are_refused(encodings):
    with pytest.raises(BadEncoding, match="more than 2"):
        codings(headers(*encodings), "/")


@pytest.mark.parametrize(
    "value", ["compress", "x-compress", "sdch", "utf-8", "gzip;q=1", "x-deflate", "gz ip"]
)
def test_an_unknown_coding_is_refused_by_its_name(value):
    with pytest.raises(BadEncoding, match="unknown content-coding") as caught:
        codings(headers(f"gzip, {value}"), "/")
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("coding", "path"),
    [
        ("gzip", "/a.tar.gz"),
        ("x-gzip", "/a.TGZ"),
        ("gzip", "/dir.d/map.svgz"),
        ("br", "/app.js.br"),
        ("zstd", "/pkg.pkg.tar.zst"),
    ],
)
def test_a_coding_that_the_name_repeats_is_the_file_itself(coding, path):
    assert codings(headers(coding), path) == ()


@pytest.mark.parametrize(
    ("coding", "content_type"),
    [
        ("gzip", "application/gzip"),
        ("gzip", "Application/X-GZIP; charset=binary"),
        ("gzip", "application/x-tgz"),
        ("zstd", "application/zstd"),
    ],
)
def test_a_coding_that_the_type_repeats_is_the_file_itself(coding, content_type):
    assert codings(headers(coding, content_type=content_type), "/download") == ()


@pytest.mark.parametrize(
    ("coding", "path", "content_type"),
    [
        ("br", "/a.tar.gz", "application/gzip"),
        ("gzip", "/a.zst", "application/zstd"),
        ("gzip", "/a.gz/b.html", "text/html"),
        ("gzip", "/gz", "text/plain"),
        ("gzip", "/", "text/application/gzip"),
    ],
)
def test_another_coding_than_the_file_s_own_is_removed(coding, path, content_type):
    assert codings(headers(coding, content_type=content_type), path) == (coding,)


def test_of_two_codings_only_the_file_s_own_innermost_one_stays():
    assert codings(headers("gzip, gzip"), "/a.tar.gz") == ("gzip",)
    assert codings(headers("gzip, br"), "/a.tar.gz") == ("br",)
    assert codings(headers("br, gzip"), "/a.tar.gz") == ("gzip", "br")


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=60), max_size=4), st.text(max_size=40))
def test_any_header_gives_known_codings_or_bad_encoding(values, path):
    message = ""
    found: tuple[str, ...] = ()
    try:
        found = codings(headers(*values), path)
    except BadEncoding as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 250
    assert len(found) <= 2
    assert set(found) <= {"gzip", "deflate", "br", "zstd"}
