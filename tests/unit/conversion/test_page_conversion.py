"""Links of one saved page: to saved files relative, else absolute; nothing else is touched, and all of it can be undone."""

from __future__ import annotations

from posixpath import dirname, join, normpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.conversion.page_conversion import NotConvertible, convert_page, relative_link
from fetcher.policy.rewriting import restored

SAVED = {
    "http://h/": "h/index.html",
    "http://h/x/p": "h/x/p",
    "http://h/x/y?q=1": "h/x/y@q=1",
    "http://h/s.css": "h/s.css",
    "http://h/i.png": "h/i#1%?é.png",
    "http://h/x/c:d": "h/x/c:d",
    "http://h/%D0%B4": "h/д",
}
PICTURE = "../i%231%25%3F%C3%A9.png"
HTML = "text/html; charset=utf-8"


def convert(body: bytes, content_type: str = HTML) -> bytes:
    made = convert_page(body, url="http://h/x/p", path="h/x/p", content_type=content_type, find=SAVED.get)
    assert made is not None
    content, way_back = made
    assert restored(content, way_back) == body
    return content


@pytest.mark.parametrize(
    ("written", "converted"),
    [
        ('<a href="/">', '<a href="../index.html">'),
        ("<a href='y?q=1#a&amp;b'>", "<a href='y@q=1#a&amp;b'>"),
        ("<A HREF=/>", "<A HREF=../index.html>"),
        ("<a href=c:d>", "<a href=c:d>"),  # another scheme
        ('<a href="./c:d">', '<a href="c%3Ad">'),
        ('<a href="gone?a=1&amp;b=2#é">', '<a href="http://h/x/gone?a=1&amp;b=2#%C3%A9">'),
        ('<a href="//other/y">', '<a href="http://other/y">'),
        ('<a href="https://other/y?a&b">', '<a href="https://other/y?a&b">'),
        ('<a href="http://h/s.css">', '<a href="../s.css">'),
        ('<a href="p#here"><a href="#here"><a href="">', '<a href="#here"><a href="#here"><a href="">'),
        ('<a href="mailto:a@b"><a href="data:,x"><a href>', '<a href="mailto:a@b"><a href="data:,x"><a href>'),
        ('<a href=" /&#47;x/../&#x2e;/ ">', '<a href="http://x/">'),
        ("<a href=\"it's\"><a href='it&#39;s'>", '<a href="http://h/x/it&#39;s"><a href=\'http://h/x/it&#39;s\'>'),
        ('<base href="/z/"><a href=foo><a href="#t">', '<base data-href="/z/"><a href=http://h/z/foo><a href="http://h/z/#t">'),
        ("<a href=y><base href=/ target=_top>", "<a href=http://h/y><base data-href=/ target=_top>"),
        ('<img srcset="/i.png 1x, o.png,, /i.png 3x">', f'<img srcset="{PICTURE} 1x, http://h/x/o.png,, {PICTURE} 3x">'),
        ('<link rel=preload imagesrcset="/i.png 2x">', f'<link rel=preload imagesrcset="{PICTURE} 2x">'),
        ('<video poster=/i.png><form action=y><q cite="y">', f'<video poster={PICTURE}><form action=http://h/x/y><q cite="http://h/x/y">'),
        ('<meta http-equiv=Refresh content="5; URL=\'/\'">', '<meta http-equiv=Refresh content="5; URL=\'../index.html\'">'),
        ('<p style="background:url(&quot;/i.png&quot;)">', f'<p style="background:url(&quot;{PICTURE}&quot;)">'),
        ("<style>@import '/s.css'; a{b:url(/i.png)}</style>", f"<style>@import '../s.css'; a{{b:url({PICTURE})}}</style>"),
        ('<p style="b:image-set(\'/i.png\' type(\'x/y\'), url(/i.png) 2x)">', f'<p style="b:image-set(\'{PICTURE}\' type(\'x/y\'), url({PICTURE}) 2x)">'),
        ("<template><img src=/i.png></template>", f"<template><img src={PICTURE}></template>"),
        ("<svg><use href='#g'/><image xlink:href='/i.png'/></svg>", f"<svg><use href='#g'/><image xlink:href='{PICTURE}'/></svg>"),
        ("<link href=/s.css integrity=x crossorigin><script src=/no.js integrity=y>", "<link href=../s.css data-integrity=x data-crossorigin><script src=http://h/no.js integrity=y>"),
        ('<!-- <a href="/"> --><script>"<a href=/>"</script><textarea><a href=/></textarea>',) * 2,
        ("<a href='/' href='/y'", ) * 2,
        ("<img data-src=/i.png data-bg=true>", f"<img data-src={PICTURE} data-bg=true>"),
    ],
)  # fmt: skip
def test_a_link_leads_to_its_file_or_out_and_nothing_else_changes(written: str, converted: str) -> None:
    assert convert(written.encode()).decode() == converted


@pytest.mark.parametrize(
    ("written", "converted"),
    [
        ("a{b:url(/i.png) url('no\\20 t.png')}", f"a{{b:url({PICTURE}) url('http://h/x/no%20t.png')}}"),
        ("/* url(/i.png) */ @import url( /s.css );", "/* url(/i.png) */ @import url( ../s.css );"),
        (
            "a{b:url(#g) url(data:,x) url() url(a\\(b)}",
            "a{b:url(#g) url(data:,x) url() url(http://h/x/a\\(b)}",
        ),
        ('@namespace url(/i.png); a{content:"/i.png"}',) * 2,
        ('@import "/s.css', '@import "../s.css'),
    ],
)
def test_links_of_a_style_sheet(written: str, converted: str) -> None:
    assert convert(written.encode(), "text/css").decode() == converted


@pytest.mark.parametrize("codec", ["windows-1251", "shift_jis", "iso-2022-jp", "utf-16", "euc-jp", "koi8-r"])
def test_a_page_keeps_its_encoding(codec: str) -> None:
    text = "<p>д</p><a href='/д'>д</a><a title=д href=/>д</a>"
    converted = "<p>д</p><a href='../%D0%B4'>д</a><a title=д href=../index.html>д</a>"
    assert convert(text.encode(codec), f"text/html; charset={codec}").decode(codec) == converted


def test_bytes_that_are_no_characters_stay() -> None:
    assert convert(b"\xff\xfe\xfd<a href=/>\xc3</a>\x80") == b"\xff\xfe\xfd<a href=/>\xc3</a>\x80"  # UTF-16
    assert convert(b"\xfd\x00<a href=/>\xc3</a>\x80") == b"\xfd\x00<a href=../index.html>\xc3</a>\x80"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"<a href='/'>", "image/png"), (b"<x href='/'/>", "application/xml"), (b"plain", None)],
)
def test_what_is_no_page_is_left_alone(body: bytes, content_type: str | None) -> None:
    assert convert_page(body, url="http://h/", path="h/a", content_type=content_type, find=SAVED.get) is None


def test_a_base_that_would_blow_up_its_links_is_not_followed() -> None:
    page = b"<base href='http://h/" + b"a" * 60_000 + b"/'>" + b"<a href=x>" * 2000
    with pytest.raises(NotConvertible, match="too large"):
        convert(page)


@pytest.mark.parametrize(
    "piece",
    [b"<a href='", b"<a href=x ", b"<p style='url(", b"<style>image-set(", b"<img srcset='", b"&quot;"],
)
def test_hostile_pages_cost_in_proportion_to_their_length(piece: bytes) -> None:
    convert(b"<p " + piece * 40_000)


@given(st.lists(st.sampled_from(["a", "b", "..x", "%", "#?", "é", " "]), min_size=1, max_size=4), st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))  # fmt: skip
def test_a_relative_link_stays_in_the_folder_and_leads_to_its_file(there: list[str], here: list[str]) -> None:
    link = relative_link("/".join(here), "/".join(there))
    assert normpath(unquote(join(dirname("/".join(here)), link))) == normpath("/".join(there))
