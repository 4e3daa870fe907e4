import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.extract.attributes import ASSETS, BACKED, BACKGROUNDS, PAGES, SUBMITTING
from fetcher.extract.html import candidates_of, refresh_of
from fetcher.extract.link_collector import MOST_LINKS
from fetcher.extract.links import links_of, type_of
from fetcher.model import Headers, Link

URL = "http://example.org/dir/page.html"
NAV = "http://example.org"


def links(body, *, content_type="text/html; charset=utf-8", headers=None, **options):
    if isinstance(body, str):
        body = body.encode()
    fields = None if headers is None else Headers([(k.encode(), v.encode("latin-1")) for k, v in headers])
    return links_of(body, url=URL, content_type=content_type, headers=fields, **options)


def urls(body, **options):
    return [link.url for link in links(body, **options)]


def assets(body, **options):
    return [link.url for link in links(body, assets=True, **options) if link.kind == "asset"]


# --- where a page leads ---------------------------------------------------------------------------


def test_links_come_in_document_order_and_once():
    page = "<a href=b>1</a><area href='/a'><a href=\"b#x\">2</a><iframe src=c></iframe><a title=y href=a?q>"
    assert links(page) == [
        Link(f"{NAV}/dir/b"),
        Link(f"{NAV}/a"),
        Link(f"{NAV}/dir/c"),
        Link(f"{NAV}/dir/a?q"),
    ]


def test_what_leads_nowhere_is_dropped():
    page = "".join(
        f'<a href="{href}">'
        for href in (
            "",
            " ",
            "#x",
            " #x",
            "javascript:x()",
            "mailto:a@b",
            "data:,x",
            "tel:1",
            "http://",
            "ftp://a/",
        )
    )
    assert links(page + "<a><a name=x><iframe src=about:blank></iframe>") == []


def test_white_space_and_references_in_urls_are_as_browsers_read_them():
    assert urls('<a href=" a\n b?c&amp;d ">') == [f"{NAV}/dir/a%20b?c&d"]


def test_a_frame_is_a_page():
    assert urls("<frameset><frame src=f></frameset>") == [f"{NAV}/dir/f"]


def test_a_base_counts_for_the_whole_document_wherever_it_stands():
    assert urls("<a href=a><base><base href=/b/><base href=/c/><a href=d>") == [f"{NAV}/b/a", f"{NAV}/b/d"]


@pytest.mark.parametrize("href", ["javascript:x", "data:,x", "http://", "ftp://x/"])
def test_a_base_that_is_no_place_is_as_if_it_were_not_there(href):
    assert urls(f"<base href='{href}'><base href=/no/><a href=a>") == [f"{NAV}/dir/a"]


def test_the_same_url_as_page_and_as_asset_is_both():
    assert links("<a href=x.png><img src=x.png>", assets=True) == [
        Link(f"{NAV}/dir/x.png"),
        Link(f"{NAV}/dir/x.png", "asset"),
    ]


def test_no_more_than_50_000_links_are_taken_of_a_page():
    page = "".join(f"<a href={n}>" for n in range(MOST_LINKS + 10))
    assert len(links(page)) == MOST_LINKS
    assert len(links(page, headers=[("Link", "<n>; rel=next")])) == MOST_LINKS


@pytest.mark.parametrize(
    ("rel", "kind"),
    [
        ("next", "page"),
        ("PREV", "page"),
        ("alternate", "page"),
        ("canonical", "canonical"),
        ("x canonical", "canonical"),
        ("stylesheet", "asset"),
        ("alternate stylesheet", "asset"),
        ("shortcut icon", "asset"),
        ("apple-touch-icon", "asset"),
        ("preload", "asset"),
        ("modulepreload", "asset"),
        ("manifest", "asset"),
        ("preconnect", None),
        ("dns-prefetch", None),
        ("pingback", None),
        ("https://api.w.org/", None),
        ("", None),
    ],
)
def test_the_relation_of_a_link_says_what_it_leads_to(rel, kind):
    found = links(f"<link rel='{rel}' href=/x>", assets=True)
    assert found == ([Link(f"{NAV}/x", kind)] if kind else [])
    assert links("", headers=[("Link", f'</x>; rel="{rel}"')], assets=True) == found
    assert all(link.kind != "asset" for link in links(f"<link rel='{rel}' href=/x>"))


def test_an_oembed_answer_is_no_page():
    assert links("<link rel=alternate type=application/json+oembed href=/x>") == []


# --- what it is made of ---------------------------------------------------------------------------


def test_assets_are_taken_only_when_asked_for():
    page = "<img src=a><script src=b></script><link rel=stylesheet href=c><style>@import 'd'</style><p style='x:url(e)'>"
    assert links(page) == []
    assert [url.rpartition("/")[2] for url in assets(page)] == ["a", "b", "c", "d", "e"]


def test_every_kind_of_asset_is_found():
    page = """
    <img src=1 srcset="2 1x, 3 2x"><picture><source srcset=4><source src=5></picture>
    <video src=6 poster=7></video><audio src=8></audio><track src=9><embed src=10><object data=11></object>
    <input type=IMAGE src=12><input src=no><script src=13></script>
    <link rel=preload as=image imagesrcset="14 2x" href=15><style>a{b:url(16)}</style>
    <textarea style="a:url(&quot;17&quot;)"></textarea>
    """
    assert assets(page) == [f"{NAV}/dir/{n}" for n in range(1, 18)]


def held(element: str, attribute: str, value: str) -> str:
    more = " type=image" if (element, attribute.lower()) == ("input", "src") else ""
    return f"<svg></svg><p>x</p><{element}{more} {attribute} = '{value}'>"


@pytest.mark.parametrize(
    ("element", "attribute", "kind"),
    sorted(
        [  # sets have no order that the test workers agree on
            *((e, a, "page") for e, names in PAGES.items() for a in names),
            *((e, a, "asset") for e, names in ASSETS.items() for a in names),
            *((e, b"background", "asset") for e in BACKED),
            *((e, b"formaction", "page") for e in SUBMITTING),
            *((e, a, "asset") for e in (b"div", b"section", b"img") for a in (*BACKGROUNDS, b"style")),
            *((e, b"href", "page") for e in (b"a", b"area")),
            (b"a", b"xlink:href", "page"),
        ]
    ),
)
def test_every_attribute_that_holds_a_url_is_read(element, attribute, kind):
    element, attribute = element.decode(), attribute.decode()
    value = "x:url(/there.x)" if attribute == "style" else "/there.x"
    for written in (attribute, attribute.upper()):
        page = held(element, written, value)
        assert links(page, assets=True) == [Link(f"{NAV}/there.x", kind)]
        assert links(page) == [Link(f"{NAV}/there.x", kind)] * (kind == "page")


def test_the_table_has_what_browsers_load_and_what_scripts_show_later():
    expected = {
        "img src", "img srcset", "img data-src", "img data-srcset", "img data-original", "img data-lazy-src",
        "image href", "image xlink:href", "use href", "use xlink:href", "feimage href", "input src",
        "video src", "video poster", "audio src", "source src", "source srcset", "source data-srcset",
        "track src", "embed src", "object data", "script src", "iframe src", "frame src",
    }  # fmt: skip
    assert {
        f"{e.decode()} {a.decode()}" for table in (PAGES, ASSETS) for e, names in table.items() for a in names
    } >= expected
    assert {b"body", b"table", b"td", b"tr", b"th"} <= BACKED


def test_a_style_attribute_may_have_blanks_around_its_sign():
    assert assets("<p style = \"a:url('x')\"><p style\n='b:image-set(\"y\" 1x)'>") == [
        f"{NAV}/dir/x",
        f"{NAV}/dir/y",
    ]


def test_what_only_looks_like_a_lazy_image_is_none():
    page = "<img data-lazy=true data-src=''><p data-bg=dark data-background=red><use href='#i'><input src=/no.png>"
    assert links(page, assets=True) == []
    assert assets("<p data-bg=\"url('/b.png')\">") == [f"{NAV}/b.png"]


def test_what_a_form_posts_to_is_no_page():
    page = (
        "<form method=post><button formaction=/no></button><button formaction=/1 formmethod=get></button></form>"
        "<form><button formaction=/2></button><input formaction=/no formmethod=POST></form>"
    )
    assert [link.url for link in links(page)] == [f"{NAV}/1", f"{NAV}/2"]


@pytest.mark.parametrize(
    ("srcset", "expected"),
    [  # HTML Standard §4.8.4.2.2 and the examples of §4.8.4.4; the odd ones from web-platform-tests
        ("a.jpg", ["a.jpg"]),
        ("wolf_400px.jpg 400w, wolf_800px.jpg 800w", ["wolf_400px.jpg", "wolf_800px.jpg"]),
        ("a.png 1x, a@2.png 2x,\n\ta@3.png 3x", ["a.png", "a@2.png", "a@3.png"]),
        ("data:,a", ["data:,a"]),
        ("data:,a,", ["data:,a"]),
        ("data:,a, data:,b 1x", ["data:,a", "data:,b"]),
        ("data:,a 1x,data:,b 2x", ["data:,a", "data:,b"]),
        ("data:,a ( , data:,b 1x, ), data:,c", ["data:,c"]),
        ("data:,a ((( , data:,b 1x, ), data:,c", ["data:,c"]),
        ("data:,a [ , data:,b 1x, ], data:,c", ["data:,b", "]", "data:,c"]),
        ("data:,a \\( 1x, data:,b", []),
        (",,,a , ,b,,", ["a", "b"]),
        ("image,with,commas.jpg 2x", ["image,with,commas.jpg"]),
        ("a 1w 2h, b 2h, c 1w 2x, d 0w, e -1x, f +1x, g 1e3x, h .5x, i 1.x", ["a", "g", "h"]),
        ("a 1x 1x, b 1w 1w, c 1w 1h 1h, d foo", []),
        ("", []),
        (" , ", []),
    ],
)
def test_a_srcset_is_taken_apart_as_the_standard_says(srcset, expected):
    assert list(candidates_of(srcset)) == expected


@pytest.mark.parametrize(
    ("content", "url"),
    [
        ("5; url=x", "x"),
        ("0;URL='x y'z", "x y"),
        ('0, "x', "x"),
        ("0 x", "x"),
        (" \n5.5 ,\tuRl = x ", "x "),
        (".5;x", "x"),
        ("0;url", "url"),
        ("0;u=x", "u=x"),
        ("5", None),
        ("5;", None),
        ("0;url=", None),
        ("0url=x", None),
        ("; url=x", None),
        ("x", None),
        ("-1;url=x", None),
    ],
)
def test_a_refresh_is_read_as_the_standard_says(content, url):
    assert refresh_of(content) == url


def test_a_refresh_is_a_link():
    assert urls("<meta http-equiv=Refresh content='0;url=/x'>") == [f"{NAV}/x"]


# --- what is to be respected ----------------------------------------------------------------------


def test_a_link_says_that_it_is_not_to_be_followed():
    page = "<a href=a rel='x NoFollow'><a rel=nofollow href=b><a href=c rel=ugc><area href=d rel=nofollow>"
    assert [link.nofollow for link in links(page)] == [True, True, False, True]
    assert not any(link.nofollow for link in links(page, ignore=frozenset({"nofollow"})))


def test_of_two_links_to_the_same_place_one_to_be_followed_is_enough():
    assert links("<a href=a rel=nofollow><a href=a>") == [Link(f"{NAV}/dir/a")]
    assert links("<a href=a><a href=a rel=nofollow>") == [Link(f"{NAV}/dir/a")]
    assert links("<a href=a rel=nofollow><a href=./a>") == [Link(f"{NAV}/dir/a")]
    assert links("<a href=./a><a href=a rel=nofollow>") == [Link(f"{NAV}/dir/a")]


@pytest.mark.parametrize("name", ["robots", "ROBOTS", "fetcher"])
@pytest.mark.parametrize("content", ["nofollow", "noindex, NoFollow", "none", "noindex,nofollow"])
def test_a_meta_element_forbids_to_follow_any_link_of_the_page(name, content):
    page = f"<a href=a><meta name={name} content='{content}'><a href=b>"
    assert [link.nofollow for link in links(page)] == [True, True]
    assert not any(link.nofollow for link in links(page, ignore=frozenset({"meta"})))


@pytest.mark.parametrize("meta", ["name=robots content=noindex", "name=otherbot content=nofollow"])
def test_a_meta_element_that_is_none_of_ours_forbids_nothing(meta):
    assert links(f"<meta {meta}><a href=a>") == [Link(f"{NAV}/dir/a")]


@pytest.mark.parametrize(
    ("fields", "forbids"),
    [
        (["nofollow"], True),
        (["noindex, none"], True),
        (["noindex", "nofollow"], True),
        (["Fetcher: noindex, nofollow"], True),
        (["otherbot: noindex, nofollow"], False),
        (["otherbot: noindex, fetcher: nofollow"], True),
        (["otherbot: nofollow", "noindex"], False),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, nofollow"], True),
        (["max-snippet: 0"], False),
        ([""], False),
    ],
)
def test_a_robots_field_forbids_to_follow_if_it_is_meant_for_us(fields, forbids):
    headers = [("X-Robots-Tag", field) for field in fields]
    assert [link.nofollow for link in links("<a href=a>", headers=headers)] == [forbids]
    assert not links("<a href=a>", headers=headers, ignore=frozenset({"meta"}))[0].nofollow


def test_a_crawler_of_another_name_is_bound_by_that_name_and_not_by_ours():
    for named, forbids in (("mybot", True), ("robots", True), ("fetcher", False)):
        header = [("X-Robots-Tag", f"{named}: nofollow")]
        assert links("<a href=a>", headers=header, agent="mybot")[0].nofollow is forbids
        page = f"<meta name={named} content=nofollow><a href=a>"
        assert links(page, agent="mybot")[0].nofollow is forbids


def test_a_crawler_without_a_name_is_bound_by_what_is_said_to_all_and_by_nothing_else():
    page = '<meta property="og:title" content="None of us"><a href=a>'
    assert not links(page, agent="")[0].nofollow
    assert links(page + "<meta name=robots content=none>", agent="")[0].nofollow


def test_a_canonical_is_left_out_when_it_is_not_respected():
    page = "<link rel=canonical href=/c><a href=a>"
    assert [link.kind for link in links(page)] == ["canonical", "page"]
    assert [link.kind for link in links(page, ignore=frozenset({"canonical"}))] == ["page"]
    assert links("", headers=[("Link", "</c>; rel=canonical")], ignore=frozenset({"canonical"})) == []


# --- the Link field -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("</a>; rel=next", ["/a"]),
        ('</a>; rel="next", <b>;rel=prev', ["/a", "/dir/b"]),
        ('</a,b;c>; title="x, <no>; rel=next"; rel=next', ["/a,b;c"]),
        ('</a>; title="\\"\\\\"; rel="next"', ["/a"]),
        ("</a> ; REL = Next", ["/a"]),
        ("</a>; rel=next; rel=preconnect", ["/a"]),
        ('</a>; rel=next; anchor="#x"', []),
        ("</a>", []),
        ("a; rel=next", []),
        ("</a; rel=next", []),
        ("garbage </x>; rel=next, </a>; rel=next", []),
        ("</a>; rel=next garbage, </b>; rel=next", ["/a", "/b"]),
        ('</a>; rel="next', ["/a"]),
        ("", []),
    ],
)
def test_links_of_the_header_are_taken_apart_as_rfc_8288_says(field, expected):
    found = urls(b"", content_type="application/pdf", headers=[("Link", field)])
    assert found == [NAV + path for path in expected]


def test_links_of_the_header_come_first_and_know_no_base():
    found = urls(
        "<base href=/b/><a href=a><a href=/dir/n>",
        headers=[("Link", "<n>; rel=next"), ("link", "<p>;rel=prev")],
    )
    assert found == [f"{NAV}/dir/n", f"{NAV}/dir/p", f"{NAV}/b/a"]


def test_a_url_in_a_header_may_be_utf_8():
    assert urls(b"", headers=[("Link", "</é>; rel=next".encode().decode("latin-1"))]) == [f"{NAV}/%C3%A9"]


# --- which way to read ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/html", b"", "html"),
        ("TEXT/HTML ; charset=x", b"", "html"),
        ("application/xhtml+xml", b"", "html"),
        ("text/xml", b"", "xml"),
        ("application/atom+xml", b"", "xml"),
        ("text/css", b"", "css"),
        ("text/plain", b"<html>", "other"),
        ("image/png", b"<html>", "other"),
        (None, b"\xef\xbb\xbf \n<!DOCTYPE html>", "html"),
        (None, b"<BODY >", "html"),
        (None, b"<bodyx>", "other"),
        ("", b"<a href=x>", "html"),
        ("nonsense", b"<!-- -->", "html"),
        (None, b"<?xml version='1.0'?><rss>", "xml"),
        (None, b"<x:urlset>", "xml"),
        (None, b"<?xml version='1.0'?><svg>", "other"),
        (None, b"\x89PNG", "other"),
        (None, b"", "other"),
    ],
)
def test_the_media_type_decides_and_is_guessed_only_where_none_is_given(content_type, body, expected):
    assert type_of(body, content_type) == expected


def test_nothing_is_looked_for_in_other_types():
    assert links("<a href=a>", content_type="text/plain") == []
    assert links("http://example.org/", content_type="text/plain") == []


def test_xhtml_is_read_under_any_name():
    page = (
        '<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><a href="a"/></html>'
    )
    for content_type in ("application/xhtml+xml", "application/xml", "text/html", None):
        assert urls(page, content_type=content_type) == [f"{NAV}/dir/a"]


@pytest.mark.parametrize(
    ("encoding", "stated", "sent"),
    [
        ("utf-8", "text/html; charset=utf-8", "/%E8%A1%A8?%E8%A1%A8"),
        ("utf-8", "text/html", "/%E8%A1%A8?%E8%A1%A8"),
        ("utf-8-sig", "text/html; charset=iso-8859-1", "/%E8%A1%A8?%E8%A1%A8"),
        ("shift_jis", "text/html; charset=Shift_JIS", None),
        ("euc_jp", "text/html; charset=euc-jp", "/%E8%A1%A8?%C9%BD"),
        ("iso2022_jp", "text/html; charset=iso-2022-jp", None),
        ("utf-16", "text/html", "/%E8%A1%A8?%E8%A1%A8"),
        ("utf-16-be", "text/html; charset=utf-16be", "/%E8%A1%A8?%E8%A1%A8"),
        ("gb18030", "text/html; charset=gbk", None),
    ],
)
def test_links_are_found_in_any_encoding(encoding, stated, sent):
    # the second byte of 表 in Shift_JIS is a backslash
    page = '<p title="表"><a href="/表?表">表</a><a href=/end>'.encode(encoding)
    found = urls(page, content_type=stated)
    assert len(found) == 2
    assert found[0].startswith(f"{NAV}/%E8%A1%A8?")
    assert sent is None or found[0] == NAV + sent
    assert found[1] == f"{NAV}/end"


def test_latin_1_is_read_as_its_header_or_the_page_says():
    page = '<a href="/é?é">'.encode("latin-1")
    for found in (
        urls(page, content_type="text/html; charset=iso-8859-1"),
        urls(b"<meta charset=windows-1252>" + page, content_type="text/html"),
        urls(page, content_type="text/html"),
    ):
        assert found == [f"{NAV}/%C3%A9?%E9"]


# --- anything at all ------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [b"<a href=", b"<base href=", b"<meta name=robots content=", b"<img srcset=", b"<style>", b"<p style=", b"url(",
     b"'", b'"', b">", b"<link rel=next href=", b"<meta http-equiv=refresh content=", b"0;url=", b"//", b":", b"&#",
     b"<?xml ?>", b"<rss>", b"<item><link>", b"<urlset><url><loc>", b"<!DOCTYPE x [", b"]>", b"\x1f\x8b\x08"]
)  # fmt: skip
BYTES = st.one_of(st.binary(), st.lists(st.one_of(PIECES, st.binary(max_size=5)), max_size=20).map(b"".join))


@settings(max_examples=500, deadline=None)
@given(
    body=BYTES,
    content_type=st.sampled_from(
        [None, "text/html", "text/xml", "text/css", "text/html; charset=utf-16", "x"]
    ),
    field=st.binary(max_size=60),
    kind=st.sampled_from(["page", "sitemap"]),
)
def test_any_bytes_give_absolute_links(body, content_type, field, kind):
    headers = Headers([(b"Link", field), (b"X-Robots-Tag", field)])
    found = links_of(body, url=URL, content_type=content_type, headers=headers, assets=True, kind=kind)
    assert all(link.url.startswith(("http://", "https://")) for link in found)
    assert len({(link.url, link.kind) for link in found}) == len(found)


@pytest.mark.parametrize(
    "page",
    [
        b"<div>" * 100_000 + b"<a href=x>",
        b"<ul><li>" * 100_000 + b"<a href=x>",
        b"<p>" + b"".join(b"<font size=%d>" % n for n in range(5000)) + b"<p>x" * 5000 + b"<a href=x>",
        b"<p " + b" ".join(b"a%d" % n for n in range(200_000)) + b"><a href=x>",
        b"<a href=x><svg>" * 10 + b"<table>" * 100_000,
        b'<p style="' + b"(" * 1_000_000 + b'url("><a href=x>',
        b"<style>" + b"{" * 1_000_000 + b"</style><a href=x>",
        b'<img srcset="' + b"a (" * 300_000 + b'"><a href=x>',
        b'<img srcset="' + b"," * 1_000_000 + b'"><a href=x>',
        b'<meta http-equiv=refresh content="' + b" " * 1_000_000 + b'"><a href=x>',
    ],
)
def test_a_page_that_would_break_a_tree_gives_its_links(page):
    assert Link(f"{NAV}/dir/x") in links(page, assets=True)


@pytest.mark.parametrize(
    "field", ["<a>;" + "a;" * 300_000, '<a>; x="' + "\\a" * 300_000, "<" * 600_000, "<a>" * 200_000]
)
def test_a_hostile_header_costs_no_more_than_its_length(field):
    assert links(b"", headers=[("Link", field)]) == []
