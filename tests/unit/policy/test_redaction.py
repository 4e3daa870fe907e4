"""What is shown and stored: passwords hidden, steering characters escaped, everything storable."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.policy.redaction import escape_controls, mask, safe_text

CANARY = "C4N4RY"


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("http://user:pass@host/a", "http://user:***@host/a"),
        ("https://token@host/a", "https://***@host/a"),
        ("https://token:@host/a", "https://***@host/a"),
        ("https://token:x-oauth-basic@host/", "https://***@host/"),
        ("http://user%3Apass@host/", "http://***@host/"),
        ("http://:pass@host/", "http://:***@host/"),
        ("ftp://user:pass@host/", "ftp://user:***@host/"),
        ("//user:pass@host/", "//user:***@host/"),
        ("cannot reach http://user:pass@host/a: refused", "cannot reach http://user:***@host/a: refused"),
        ("http://u:p@a/ and http://v:q@b/", "http://u:***@a/ and http://v:***@b/"),
        ('{"url":"http://u:p@a/"}', '{"url":"http://u:***@a/"}'),
        ("https://web.example/save/http://u:p@a/x", "https://web.example/save/http://u:***@a/x"),
        ("http://host/?next=http://u:p@a/x", "http://host/?next=http://u:***@a/x"),
        ("http://good@evil/", "http://***@evil/"),
        ("http://user:p@ss@host/", "http://user:***@host/"),
    ],
)
def test_the_password_of_a_url_is_hidden_wherever_it_stands(given_text: str, shown: str) -> None:
    assert mask(given_text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http:/user:{}@host/",
        "http:user:{}@host/",
        "http:\\\\user:{}@host\\",
        "http:///user:{}@host/",
        "user:{}@host/path",
        "  user:{}@host/path",
        "http://user:a/{}@host/",
        "http://user:a?{}@host/",
        "http://user:a#{}@host/",
        "http://user:a {}@host/",
        "http://user:1 {}@host/",
        "http://user:{} 1@host/",
        "http://user:a\n{}@host/",
        "http://user:a@{}@host/",
        "http://user:@#{}@host/",
        "http://user:a@b:c/{}@host/",
        "http://user:{}://x@host/",
        "http://user:x:/{}@host/",
        "http://user:{}\\x@host/",
        'http://user:"{}"@host/',
        "http://us er:{}@host/",
        "ht\ttp://user:{}@host/",
        "http:\t//user:{}@host/",
        "user:a {}@host",
        "see http://us er:{}@host/ there",
        "see http://user:a {}@host/ there",
        "see http://user:{}/x@host/ there",
        "see user:{}@host/ there",
        "'user:{}@host'",
        "http://[user:{}/x@host/",
    ],
)
def test_the_password_of_a_malformed_url_is_hidden(text: str) -> None:
    assert CANARY not in mask(text.format(CANARY))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing here",
        "https://medium.example/@user/post",
        "http://host:8080/@user",
        "host:8080/@user",
        "http://[::1]:80/@user",
        "https://host?mail=bob@example.org",
        "https://host/a:b@c",
        "mailto:bob@example.org",
        "write to bob@example.org",
        "error: bob@example.org does not answer",
        "error: 'http://host:80/a', then bob@example.org",
        "git@github.example:org/repo",
        '{"name":"x","mail":"bob@example.org"}',
        "http://user:pass is no userinfo",
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert mask(text) == text


@given(
    prefix=st.text(alphabet=" ab'\"(\n", max_size=5),
    scheme=st.sampled_from(["http://", "HTTPS://", "ftp://", "http:/", "//"]),
    user=st.text(
        alphabet=st.characters(exclude_characters=':/\\?#@ \t\n"<>', categories=["L", "N", "P"]), max_size=8
    ),
    before=st.text(
        alphabet=st.characters(exclude_characters='/\\?# \t\n"<>\r', categories=["L", "N", "P"]), max_size=8
    ),
    tail=st.text(max_size=20),
)
def test_the_canary_password_never_comes_out_of_a_url_in_a_text(
    prefix: str, scheme: str, user: str, before: str, tail: str
) -> None:
    prefix = prefix if not scheme.startswith("//") else ""
    assert CANARY not in mask(f"{prefix}{scheme}{user}:{before}{CANARY}@host/{tail}")


@given(password=st.text(max_size=12), tail=st.text(max_size=10))
def test_a_password_of_any_characters_is_hidden_in_a_line_that_is_a_url(password: str, tail: str) -> None:
    text = f"http://user:{password}{CANARY}@host/{tail}"
    authority = re.split(r"[/\\?#]", text.removeprefix("http://"))[0]
    location = authority.rpartition("@")[2]
    if (
        CANARY not in authority
        and location
        and re.fullmatch(r"[^:]*(:[0-9]*)?|\[[^\]]*\](:[0-9]*)?", location)
    ):
        return  # to every parser it is part of the path
    assert CANARY not in mask(text)


@given(st.text(alphabet=st.sampled_from(list("ab1:/\\@?# \n\"'[]*")), max_size=40))
def test_masking_what_is_masked_changes_nothing(text: str) -> None:
    assert mask(mask(text)) == mask(text)


@given(st.text())
def test_text_without_an_at_sign_is_never_touched(text: str) -> None:
    plain = text.replace("@", "")
    assert mask(plain) is plain


@pytest.mark.parametrize(
    "unit", ["a", ":", "/", ":/", "a:b/", "@", "a:b@", "://", " //", "http://a:b", "\\", "@:/"]
)
def test_a_megabyte_of_anything_is_masked_in_linear_steps(unit: str) -> None:
    text = unit * (1_000_000 // len(unit)) + "@h"
    assert len(mask(text)) <= 2 * len(text)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\nb\tc\rd", r"a\x0ab\x09c\x0dd"),
        ("\x00\x7f\x80\x9b\x9f", r"\x00\x7f\x80\x9b\x9f"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\u061c\u200e\u200f\u202a\u2066\u2069", r"\u061c\u200e\u200f\u202a\u2066\u2069"),
        ("\u2028\u2029\u200b\u200d\ufeff\u2060", r"\u2028\u2029\u200b\u200d\ufeff\u2060"),
        ("\udc80\ud83d", r"\udc80\ud83d"),
        ("\U000e0041", r"\U000e0041"),
        ("grüße 東京 🎉", "grüße 東京 🎉"),
    ],
)
def test_characters_that_steer_or_hide_are_written_as_escapes(raw: str, shown: str) -> None:
    assert escape_controls(raw) == shown


@pytest.mark.parametrize(
    ("raw", "limit", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("abcdef", 1, "…"),
        ("abcdef", 0, "abcdef"),
        ("東京都", 6, "東京都"),
        ("東京都", 5, "東京…"),
        ("東京都", 4, "東…"),
        ("a\x1bb", 5, r"a\x1…"),
    ],
)
def test_a_long_text_is_cut_to_columns_with_an_ellipsis(raw: str, limit: int, shown: str) -> None:
    assert escape_controls(raw, limit) == shown


@given(st.text(st.characters()), st.integers(0, 30))
def test_no_control_bidi_or_surrogate_character_comes_out(raw: str, limit: int) -> None:
    shown = escape_controls(raw, limit)
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}]
    assert not [
        c
        for c in shown
        if unicodedata.bidirectional(c) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    ]
    assert not set("\u061c\u200e\u200f\u200b\u200c\u200d\ufeff") & set(shown)


@given(st.text(), st.integers(1, 30))
def test_what_is_cut_fits_its_columns(raw: str, limit: int) -> None:
    columns = sum(
        2 if unicodedata.east_asian_width(c) in {"W", "F"} else 1 for c in escape_controls(raw, limit)
    )
    assert columns <= limit


@given(st.text(st.characters()))
def test_safe_text_can_always_be_stored_as_utf8(raw: str) -> None:
    assert safe_text(raw).encode("utf-8").decode() == safe_text(raw)


def test_safe_text_escapes_lone_surrogates_only() -> None:
    assert safe_text("a\udc80é\n") == "a\\udc80é\n"
