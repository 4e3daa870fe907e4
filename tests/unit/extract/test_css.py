import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.extract.css import LONGEST_SHEET, links_of_css, urls_of_css
from fetcher.extract.links import links_of
from fetcher.model import Link

URL = "http://example.org/css/main.css"


@pytest.mark.parametrize(
    ("sheet", "expected"),
    [
        ("a{b:url(x.png)}", ["x.png"]),
        ("a{b:URL( 'x y.png' )}", ["x y.png"]),
        ('a{b:url("x\\")y.png")}', ['x")y.png']),
        ("a{b:url(x\\29 y.png)}", ["x)y.png"]),
        ("a{b:url(x\\\ny)}", []),
        ("a{b:url(x y)}", []),
        ("a{b:url()}", []),
        ("a{b:url(unclosed", ["unclosed"]),
        ("a{b:url('unclosed", ["unclosed"]),
        ("@import 'a.css'; @import url(b.css) print; @IMPORT/* x */\"c.css\";", ["a.css", "b.css", "c.css"]),
        ("@import'd.css'", ["d.css"]),
        ("@imported 'no'", []),
        ("/* url(no) @import 'no' */ a{}", []),
        ("/* unclosed url(no)", []),
        ("/**/a{b:url(x)}/***/c{d:url(y)}", ["x", "y"]),
        ("a{content:'url(no)'} b{c:url(x)}", ["x"]),
        ("a{content:'broken\n} b{c:url(x)}", ["x"]),
        ("a{b:not-url(no)}", []),
        ("@namespace url(no); @namespace x 'no'; a{b:url(x)}", ["x"]),
        ("a{b:url(data:image/png;base64,AAAA)}", []),
        (
            "a{b:image-set('1.png' 1x, url(2.png) 2x, url(\"3.png\") type('image/png'))}",
            ["1.png", "2.png", "3.png"],
        ),
        ("a{b:-webkit-image-set(url(1.png) 1x)}", ["1.png"]),
        ("@font-face{src:url(a.woff2) format('woff2'),url(b.woff)}", ["a.woff2", "b.woff"]),
        ("", []),
    ],
)
def test_urls_of_a_style_sheet_are_found_and_unescaped(sheet, expected):
    assert list(urls_of_css(sheet)) == expected


def test_urls_are_relative_to_the_sheet_and_come_once():
    assert links_of_css(b"a{b:url(x)} c{d:url(./x)} e{f:url(/y#z)}", url=URL, content_type=None) == [
        Link("http://example.org/css/x", "asset"),
        Link("http://example.org/y", "asset"),
    ]


def test_a_sheet_is_read_only_where_assets_are_wanted():
    def urls(*, assets):
        return links_of(b"a{b:url(x)}", url=URL, content_type="text/css", headers=None, assets=assets)

    assert urls(assets=False) == []
    assert urls(assets=True) == [Link("http://example.org/css/x", "asset")]


@pytest.mark.parametrize(
    ("sheet", "content_type"),
    [
        ("a{b:url(é)}".encode("latin-1"), "text/css; charset=iso-8859-1"),
        ('@charset "latin1";a{b:url(é)}'.encode("latin-1"), "text/css"),
        ('@charset "latin1";a{b:url(é)}'.encode(), "text/css; charset=utf-8"),
        ("a{b:url(é)}".encode(), None),
        ("a{b:url(é)}".encode("utf-16"), None),
    ],
)
def test_the_encoding_is_that_of_the_bom_the_header_or_the_sheet(sheet, content_type):
    [link] = links_of_css(sheet, url=URL, content_type=content_type)
    assert link.url == "http://example.org/css/%C3%A9"


def test_of_a_sheet_too_large_the_begin_is_read():
    sheet = b"a{b:url(x)}" + b" " * LONGEST_SHEET + b"a{b:url(y)}"
    assert [link.url[-1] for link in links_of_css(sheet, url=URL, content_type=None)] == ["x"]


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("url(image-set @import'\"\\/*{}();\n9af \0é")))
def test_any_text_is_a_style_sheet(text):
    assert all(isinstance(url, str) for url in urls_of_css(text))


@pytest.mark.parametrize(
    "piece",
    ["{", "(", "[", "url(", "url('", 'url("a', "a(", "image-set(", "image-set((", "/*", "'", "\\", "@import ",
     "@import/**/", "@namespace", "image-set('a' " + "9" * 5000 + "x)", "url(\\61"],
)  # fmt: skip
def test_a_hostile_sheet_neither_fails_nor_hangs(piece):
    number = 1_000_000 // len(piece)
    assert sum(1 for _ in urls_of_css(piece * number)) <= number
