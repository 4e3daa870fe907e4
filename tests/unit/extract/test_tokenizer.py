import contextlib
import html
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from fetcher.extract.tokenizer import attributes_of, text_of, tokenize, value_of

LINKING = {"a", "area", "base", "frame", "iframe", "link", "meta", "script"}

# Whatever a tokenizer can trip over. Elements that only a tree builder drops (in `select`, `frameset` …) are
# left out, and so is what depends on them.
FRAGMENTS = [
    "<a href=1>",
    '<A HREF="x&amp;y">',
    "<a title='<a href=q>' href='2'>",
    "</a>",
    '<div class="x">',
    "</div>",
    "<p>",
    "<!--",
    "-->",
    "--!>",
    "<!-->",
    "<!--->",
    "<!",
    "<?x>",
    "</>",
    "</ x>",
    "<",
    ">",
    '"',
    "'",
    "=",
    " href=3 ",
    "/",
    "<script>",
    "</script>",
    "<script src=s>",
    "<style>",
    "</style>",
    "<title>",
    "</title>",
    "<textarea>",
    "</textarea",
    "<xmp>",
    "</xmp>",
    "<iframe src=f>",
    "</iframe>",
    "<noscript>",
    "</noscript>",
    "<link rel=x href=y>",
    "text",
    '<meta name=a content="b">',
    "<base href=/>",
    "<area href=z>",
    '<a href = "n">',
    "<a href=a/>",
    "<a/href=b>",
    '<a href="c"x=1>',
    "<br/>",
    "&amp;",
    "&#x41;",
    '<p a="',
    "<a =x href=e>",
    "<a a=b=c>",
    "<!doctype html>",
    "<noembed>",
    "</noembed>",
    "<!--<script>",
    "-",
    '<a href="&copy=1">',
    "<aa href=no>",
    '<a href="u" href="v">',
    '<!DOCTYPE "x>">',
    '</p a=">">',
    "</A x='",
    "<ａ>",
    "é",
    "<noframes>",
    "</noframes>",
    "<ab>",
    "<c d=e>",
    "</template>",
    '<a href="&#0;&#x80;&notin;&notit;">',
    "\x00",
]


def by_the_scanner(page: bytes, wanted="links"):
    return [
        (name.decode(), {key.decode(): text_of(value) for key, value in attributes_of(raw).items()})
        for name, raw in tokenize(page, wanted)
        if name.decode() in LINKING
    ]


def by_the_tree(page: bytes):
    return [
        (node.tag, {key: value or "" for key, value in node.attributes.items()})
        for node in LexborHTMLParser(page).root.traverse()
        if node.tag in LINKING
    ]


def unique(items):
    return list(dict.fromkeys(map(repr, items)))  # a tree opens an `a` again that was left open


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join))
def test_tags_are_those_that_a_tree_of_the_page_has(fragments):
    page = f"<body><p>{fragments}".encode()
    assert unique(by_the_scanner(page)) == unique(by_the_tree(page))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*FRAGMENTS, "<template>", "<svg>", "</svg>"]), max_size=14).map("".join))
def test_the_tags_of_links_are_the_same_whatever_else_is_asked_for(fragments):
    page = fragments.encode()
    assert by_the_scanner(page, "assets") == by_the_scanner(page, "all") == by_the_scanner(page)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("<template><a href=1></template><a href=2>", ["a"]),
        ("<template><template></template><a href=1></template>", []),
        ("</template><a href=1>", ["a"]),
        ("<template><script src=1></script></template>", []),
        ("<!-- <a href=1> --><area href=2>", ["area"]),
        ("<script>'<a href=1>'</script><base href=/>", ["script", "base"]),
        ("<script><!-- <script> </script> <a href=1> --></script><area>", ["script", "area"]),
        ("<script><!--><script></script><area>", ["script", "area"]),
        ("<svg><script/><title/></svg><a href=1>", ["script", "title", "a"]),
        ("<svg><title><a href=1></a></title></svg>", ["title", "a"]),
        ("<svg></svg><title><a href=1></a></title>", ["title"]),
        ("<title/><a href=1>", ["title"]),
        ("<plaintext><a href=1>", ["plaintext"]),
        ('<a href=1><a href="2', ["a"]),
        ("<a href=1><!-- <a href=2>", ["a"]),
    ],
)
def test_only_tags_that_are_markup_count(page, names):
    assert [name.decode() for name, _ in tokenize(page.encode())] == names


def test_a_style_element_comes_with_its_text():
    assert list(tokenize(b"<style media=x>a{b:c}</style>")) == [(b"style", b"a{b:c}")]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("?a=1&amp;b=2", "?a=1&b=2"),
        ("?a=1&copy=2", "?a=1&copy=2"),
        ("?a=1&copyright", "?a=1&copyright"),
        ("?a=1&copy;", "?a=1©"),
        ("?a=1&copy", "?a=1©"),
        ("&#x2F;&#47;", "//"),
        ("&#x2F&#47", "//"),
        ("&#0;&#xD800;&#x110000;", "\ufffd\ufffd\ufffd"),
        ("&#" + "9" * 5000 + ";", "\ufffd"),
        ("&#" + "0" * 5000 + "65;", "A"),
        ("&#x80;", "€"),
        ("&#x81;&#x8D;&#x8F;&#x90;&#157;", "\x81\x8d\x8f\x90\x9d"),
        ("&#x9F;&#xA0;", "Ÿ\xa0"),
        ("&;&&x;& ", "&;&&x;& "),
        ("\0", "\ufffd"),
    ],
)
def test_character_references_are_resolved_as_in_an_attribute(written, meant):
    assert text_of(written.encode()) == meant


@given(st.text())
def test_an_escaped_value_is_read_back(text):
    text = text.replace("\0", "").encode("utf-8", "replace").decode()
    assert text_of(html.escape(text).encode()) == text


def test_of_two_attributes_of_one_name_the_first_counts():
    assert attributes_of(b" href=1 HREF='2' x") == {b"href": b"1", b"x": b""}
    assert value_of(b" data-href=0 title='href=3' href=1 href=2", b"href") == b"1"
    assert value_of(b" title=href", b"href") is None


ENDLESS = [
    b"<a ", b'<a b="', b"<!--", b"<!-- ", b"<", b"</", b"<!", b"</p ", b"<script>", b"<script><!--", b"<p =",
    b"<title></title>", b"<svg><title/>", b"<template>", b"<div>", b"<ul><li>", b"<a href=x>", b"--!", b"<x y= '",
]  # fmt: skip


@pytest.mark.parametrize("piece", ENDLESS)
def test_a_hostile_page_costs_no_more_than_its_length(piece):
    # A cost that grows with the square would take hours here, and not be missed.
    may_give_up = MemoryError if sys.version_info < (3, 11, 5) else ()  # see `fetcher.re_compat`
    with contextlib.suppress(may_give_up):
        for _ in tokenize(piece * (4_000_000 // len(piece)), "all"):
            pass


def test_an_attribute_of_50_mb_is_read():
    [(_, raw)] = tokenize(b'<a href="' + b"x" * 50_000_000 + b'">')
    value = value_of(raw, b"href")
    assert value is not None
    assert len(value) == 50_000_000
