"""Which content-codings are removed (catalogue E59 to E64, RFC 9110 §8.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import BadEncoding
from fetcher.model import Headers
from fetcher.policy.content_encoding import ACCEPT_ENCODING, content_codings


def headers(*encodings: str, content_type: str | None = None) -> Headers:
    raw = [(b"Content-Encoding", encoding.encode("latin-1")) for encoding in encodings]
    if content_type is not None:
        raw.append((b"content-type", content_type.encode("latin-1")))
    return Headers(raw)


def test_every_coding_that_is_asked_for_can_be_removed():
    for name in ACCEPT_ENCODING.split(", "):
        assert content_codings(headers(name), "/") == (name,)


def test_a_body_without_the_header_has_no_coding():
    assert content_codings(headers(content_type="text/html"), "/a.gz") == ()


@pytest.mark.parametrize("value", ["", " ", "identity", "Identity", ", ,", "identity, ", "none"])
def test_identity_and_empty_are_no_coding(value):
    assert content_codings(headers(value), "/") == ()


@pytest.mark.parametrize(
    "value",
    ["UTF-8", "utf8", "ISO-8859-1", "windows-1252", "Shift_JIS", "binary", "8bit", "7bit", "base64", "xml", "text/html",
     "quoted-printable", "null", "default", "plain", "off", "chunked", "aws-chunked", "true", "*", "é"],
)  # fmt: skip
def test_what_names_no_packing_says_nothing_of_the_bytes(value):
    assert content_codings(headers(value), "/") == ()
    assert content_codings(headers(f"{value}, gzip"), "/") == ("gzip",)


@pytest.mark.parametrize("value", ["x-gzip", "GZIP", " gzip\t", "gzip,", ",gzip", "identity, gzip"])
def test_old_names_case_and_blanks_do_not_matter(value):
    assert content_codings(headers(value), "/") == ("gzip",)


@pytest.mark.parametrize("encodings", [("deflate, gzip",), ("deflate", "gzip"), ("deflate,", " ,gzip")])
def test_codings_are_undone_last_first(encodings):
    assert content_codings(headers(*encodings), "/") == ("gzip", "deflate")


@pytest.mark.parametrize("encodings", [("gzip, gzip",), ("gzip", "gzip"), ("x-gzip", "gzip")])
def test_the_same_coding_twice_is_two_codings(encodings):
    assert content_codings(headers(*encodings), "/") == ("gzip", "gzip")


@pytest.mark.parametrize("encodings", [("gzip, br, gzip",), ("gzip", "br", "zstd"), ("gzip," * 500,)])
def test_more_than_two_codings_are_refused(encodings):
    with pytest.raises(BadEncoding, match="more than 2"):
        content_codings(headers(*encodings), "/")


@pytest.mark.parametrize(
    "value",
    ["compress", "x-compress", "sdch", "exi", "pack200-gzip", "dcb", "dcz", "aes128gcm", "gzip;q=1", "x-deflate",
     "bzip2", "x-bz2", "xz", "lzma", "lz4", "snappy", "x-snappy-framed", "zip", "brotli", "br;q=1", "zstandard"],
)  # fmt: skip
def test_a_packing_that_can_t_be_undone_is_refused_by_its_name(value):
    with pytest.raises(BadEncoding, match="unknown content-coding") as caught:
        content_codings(headers(f"gzip, {value}"), "/")
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("coding", "path", "found"),
    [
        ("gzip", "/a.tar.gz", ("gzip?",)),
        ("x-gzip", "/a.TGZ", ("gzip?",)),
        ("gzip", "/dir.d/map.svgz", ("gzip?",)),
        ("br", "/app.js.br", ()),
        ("zstd", "/pkg.pkg.tar.zst", ("zstd?",)),
    ],
)
def test_a_coding_that_the_name_repeats_is_the_file_s_own_unless_another_is_inside(coding, path, found):
    assert content_codings(headers(coding), path) == found


def test_a_file_whose_name_has_its_coding_twice_is_kept_as_sent():
    assert content_codings(headers("gzip"), "/a.gz.gz") == content_codings(headers("gzip"), "/a.tgz.gz") == ()


@pytest.mark.parametrize(
    ("coding", "content_type"),
    [
        ("gzip", "application/gzip"),
        ("gzip", "Application/X-GZIP; charset=binary"),
        ("gzip", "application/x-tgz"),
        ("zstd", "application/zstd"),
    ],
)
def test_a_coding_that_the_type_repeats_is_the_file_s_own_unless_another_is_inside(coding, content_type):
    assert content_codings(headers(coding, content_type=content_type), "/download") == (
        f"{coding.removeprefix('x-')}?",
    )


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
    assert content_codings(headers(coding, content_type=content_type), path) == (coding,)


def test_of_two_codings_only_the_innermost_one_can_be_the_file_s_own():
    assert content_codings(headers("gzip, gzip"), "/a.tar.gz") == ("gzip", "gzip?")
    assert content_codings(headers("gzip, br"), "/a.tar.gz") == ("br", "gzip?")
    assert content_codings(headers("br, gzip"), "/a.tar.gz") == ("gzip", "br")


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=60), max_size=4), st.text(max_size=40))
def test_any_header_gives_known_codings_or_bad_encoding(values, path):
    message = ""
    found: tuple[str, ...] = ()
    try:
        found = content_codings(headers(*values), path)
    except BadEncoding as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 250
    assert len(found) <= 2
    assert set(found) <= {"gzip", "gzip?", "deflate", "br", "zstd", "zstd?"}
