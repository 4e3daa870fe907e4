import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.extract.link_collector import FULL, MOST_LINKS
from fetcher.extract.links import links_of
from fetcher.extract.sitemaps import LARGEST, gunzip, links_of_sitemap
from fetcher.model import Link

URL = "http://example.org/sitemap.xml"
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
SET = f"""<?xml version="1.0" encoding="UTF-8"?>
<urlset {NS} xmlns:xhtml="http://www.w3.org/1999/xhtml" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
  <url>
    <loc>
      http://example.org/a?b=1&amp;c=2
    </loc>
    <lastmod>2024-01-01</lastmod>
    <xhtml:link rel="alternate" hreflang="de" href="http://example.org/de/a"/>
    <xhtml:link rel="self" href="http://example.org/no"/>
    <image:image><image:loc>http://example.org/a.png</image:loc></image:image>
  </url>
  <url><loc><![CDATA[http://example.org/b]]></loc></url>
  <loc>http://example.org/no</loc>
</urlset>"""
INDEX = f"""<sitemapindex {NS}>
  <sitemap><loc>http://example.org/1.xml</loc></sitemap>
  <sitemap><loc>http://example.org/2.xml.gz</loc></sitemap>
</sitemapindex>"""


def urls(body, **options):
    body = body.encode() if isinstance(body, str) else body
    return [
        link.url.removeprefix("http://example.org/") for link in links_of_sitemap(body, url=URL, **options)
    ]


def test_a_set_of_urls_gives_pages_and_their_translations():
    assert links_of_sitemap(SET.encode(), url=URL) == [
        Link("http://example.org/a?b=1&c=2"),
        Link("http://example.org/de/a"),
        Link("http://example.org/b"),
    ]


def test_pictures_are_assets():
    found = links_of_sitemap(SET.encode(), url=URL, assets=True)
    assert [link.url for link in found if link.kind == "asset"] == ["http://example.org/a.png"]


def test_an_index_gives_sitemaps():
    assert links_of_sitemap(INDEX.encode(), url=URL) == [
        Link("http://example.org/1.xml", "sitemap"),
        Link("http://example.org/2.xml.gz", "sitemap"),
    ]


@pytest.mark.parametrize("content_type", ["application/xml", "text/xml; charset=utf-8", None])
def test_a_page_that_is_a_sitemap_is_read_as_one(content_type):
    found = links_of(SET.encode(), url=URL, content_type=content_type, headers=None)
    assert len(found) == 3


@pytest.mark.parametrize("content_type", ["text/html", "application/octet-stream", "text/plain", None])
def test_a_named_sitemap_is_read_whatever_its_type_says(content_type):
    found = links_of(INDEX.encode(), url=URL, content_type=content_type, headers=None, kind="sitemap")
    assert {link.kind for link in found} == {"sitemap"}


def test_namespaces_and_prefixes_do_not_matter():
    assert urls("<urlset><url><loc>/a</loc></url></urlset>") == ["a"]
    assert urls("<s:urlset><s:URL><s:loc>/a</s:loc></s:URL></s:urlset>") == ["a"]


def test_a_text_sitemap_has_one_url_on_a_line():
    text = "\ufeffhttp://example.org/a\r\n  HTTP://example.org/b \n\n/relative\n# x\nftp://example.org/\nhttp://example.org/é"
    assert urls(text) == ["a", "b", "%C3%A9"]


def test_text_is_no_sitemap_unless_it_was_named_as_one():
    assert links_of(b"http://example.org/a", url=URL, content_type="text/plain", headers=None) == []


def test_a_feed_is_a_sitemap_too():
    assert urls("<rss><channel><item><link>http://example.org/a</link></item></channel></rss>") == ["a"]


@pytest.mark.parametrize("body", ["<html><a href=/x></html>", "<svg/>", "<", "", "\0", "<!-- x", "<?x"])
def test_what_is_no_sitemap_gives_nothing(body):
    assert urls(body) == []


def told_of(body, **options):
    told = []
    found = links_of_sitemap(body, url=URL, tell=told.append, **options)
    return [link.url.removeprefix("http://example.org/") for link in found], told


def test_nothing_is_told_of_what_is_whole():
    text = b"http://example.org/a\n" * 3
    for body in (
        SET.encode(),
        INDEX.encode(),
        text,
        b"",
        b"<html><loc>x",
        gzip.compress(SET.encode()) + b"\0\0",
    ):
        links_of_sitemap(body, url=URL, tell=pytest.fail)


@pytest.mark.parametrize(
    ("damage", "extra"),
    [
        ("<url><loc>/x?a=1&b=2</loc></url>", ["x?a=1&b=2"]),
        ("<url><loc>/x?a=1&copy=2&amp;c=3</loc></url>", ["x?a=1&copy=2&c=3"]),
        ("<url><loc>/caf&eacute;&#233;&#xE9;</loc></url>", ["caf%C3%A9%C3%A9%C3%A9"]),
        ("<url><loc>/x&unknown;</loc></url>", ["x&unknown;"]),
        ("<url><loc>/x&#0;&#xD800;</loc></url>", ["x%EF%BF%BD%EF%BF%BD"]),
        ("<url><loc>/x?a<b</loc></url>", ["x?a%3Cb"]),
        ("<url><loc>/x</url>", ["x"]),
        ("<url><loc>/x</lok></url>", ["x"]),
        ("<url><loc>/x</b></loc></url>", ["x"]),
        ("<url><loc>/x<b>c</loc></url>", []),
        ("<url><loc><![CDATA[/x?a&b]]></loc>&</url>", ["x?a&b"]),
        ("<url><loc><![CDATA[/x</loc></url>", ["x"]),
        ("</wrong>", []),
        ("</urlset>", []),
        ("<url>", []),
        ("<", []),
        ("<a b='", []),
        ('<a b="c>', []),
        ("<!--", []),
        ("<!DOCTYPE x [", []),
        ("<?", []),
        ("text & more \0\1", []),
        ("<url><lastmod x=1 x=1>&nbsp;</lastmod></url>", []),
    ],
)
def test_a_damaged_sitemap_is_read_on_and_that_is_told(damage, extra):
    before = "".join(f"<url><loc>/{n}</loc></url>" for n in range(50))
    after = "".join(f"<url><!-- {n} --><loc>/{n}</loc></url>" for n in range(50, 100))
    found, told = told_of(f"<?xml version='1.0'?><urlset>{before}{damage}{after}</urlset>".encode())
    assert found == [*map(str, range(50)), *extra, *map(str, range(50, 100))]
    assert len(told) == 1
    assert told[0].startswith("not well-formed XML (")


@pytest.mark.parametrize(
    "start", ["<br />\n<b>Warning</b>: x.php\n", "Notice: x\n", "<urlse", "<?xml version='1.0'", "\0"]
)
def test_a_named_sitemap_whose_beginning_is_damaged_is_read(start):
    found, told = told_of(f"{start}<urlset><url><loc>/a</loc></url></urlset>".encode())
    assert (found, len(told)) == (["a"], 1)


def test_a_sitemap_that_is_cut_gives_its_whole_entries_only():
    found, told = told_of(b"<urlset><url><loc>/a</loc></url><url><loc>/b")
    assert (found, len(told)) == (["a"], 1)


@settings(deadline=None, max_examples=400)
@given(
    before=st.integers(0, 5),
    after=st.integers(0, 5),
    damage=st.binary(max_size=30)
    | st.lists(
        st.sampled_from(
            ["<", ">", "&", "&eacute;", "<url>", "</url>", "<loc>", "</loc>", "</urlset>", "<urlset>", "<!--", "<![CDATA[", "]]>",
             "<?", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "<a b='", '"', "/>", "<x:y z=1 z=1>", "\0", "text", "=", "</a>"]
        ),
        max_size=8,
    ).map(lambda pieces: "".join(pieces).encode()),
    keep=st.none() | st.integers(0, 400),
    is_packed=st.booleans(),
)  # fmt: skip
def test_no_entry_before_or_after_the_damage_is_lost(before, after, damage, keep, is_packed):
    def entries(numbers):
        return "".join(f"<url><loc>http://example.org/p{n}</loc></url>\n" for n in numbers).encode()

    first = b"<urlset>" + entries(range(before))
    body = first + damage + b"\n" + entries(range(100, 100 + after)) + b"</urlset>"
    expected = {f"p{n}" for n in (*range(before), *range(100, 100 + after))}
    if keep is not None:
        body = first[:keep]
        expected = {f"p{n}" for n in range(before) if len(b"<urlset>" + entries(range(n + 1))) - 7 <= keep}
    found, _ = told_of(gzip.compress(body) if is_packed else body)
    assert expected <= set(found)


def test_white_space_before_the_declaration_is_forgiven():
    assert urls("\ufeff\n " + SET) == urls(SET)


@pytest.mark.parametrize(
    ("encoding", "content_type"),
    [
        ("utf-16", None),
        ("shift_jis", None),
        ("iso8859-1", "text/xml; charset=iso-8859-1"),
        ("utf-8", "text/xml"),
    ],
)
def test_a_sitemap_may_be_in_any_encoding(encoding, content_type):
    text = f'<?xml version="1.0" encoding="{encoding}"?><urlset><url><loc>/~a</loc></url></urlset>'
    assert urls(text.encode(encoding), content_type=content_type) == ["~a"]


# --- size and hostility ---------------------------------------------------------------------------


def test_no_more_than_50_000_urls_are_taken():
    body = "<urlset>" + "".join(f"<url><loc>/{n}</loc></url>" for n in range(MOST_LINKS + 5))
    assert len(urls(body)) == MOST_LINKS
    text = "\n".join(f"http://example.org/{n}" for n in range(MOST_LINKS + 5))
    assert len(urls(text)) == MOST_LINKS
    assert told_of(body.encode())[1] == told_of(text.encode())[1] == [FULL]


def test_exactly_50_000_urls_are_all_there_is_to_say():
    body = "<urlset>" + "".join(f"<url><loc>/{n}</loc></url>" for n in range(MOST_LINKS)) + "</urlset>"
    found, told = told_of(body.encode())
    assert (len(found), told) == (MOST_LINKS, [])


def test_a_gzipped_sitemap_is_read():
    packed = gzip.compress(SET.encode())
    assert urls(packed) == urls(SET)
    half = len(SET) // 2
    assert urls(gzip.compress(SET[:half].encode()) + gzip.compress(SET[half:].encode())) == urls(SET)
    assert urls(packed + b"\0\0junk") == urls(SET)


def test_a_gzipped_sitemap_that_is_cut_gives_what_can_be_read():
    body = "<urlset>" + "".join(f"<url><loc>/{n}</loc></url>" for n in range(1000))
    found, told = told_of(gzip.compress(body.encode())[:-200])
    assert 0 < len(found) < 1000
    assert told[0] == "its gzip data is cut short"


def test_a_gzipped_sitemap_that_is_damaged_gives_what_can_be_read():
    body = "<urlset>" + "".join(f"<url><loc>/{n}</loc></url>" for n in range(50_000))
    packed = bytearray(gzip.compress(body.encode()))
    packed[-1000:-900] = b"\xff" * 100
    found, told = told_of(bytes(packed))
    assert 0 < len(found) < 50_000
    assert told[0].startswith("its gzip data is damaged")


def test_a_bomb_is_cut():
    deflater = zlib.compressobj(9, wbits=31)
    bomb = b"".join(deflater.compress(b"\0" * (1 << 20)) for _ in range(200)) + deflater.flush()
    assert len(gunzip(bomb)) == LARGEST
    assert len(gunzip(bomb, 1000)) == 1000


def test_of_a_sitemap_too_large_the_begin_is_read():
    body = b"http://example.org/a\n" + b"#" * LARGEST + b"\nhttp://example.org/b"
    assert told_of(body) == told_of(gzip.compress(body, 1)) == (["a"], ["only the first 50 MiB are read"])


def test_a_heap_of_tiny_members_ends():
    assert len(gunzip(gzip.compress(b"x") * 100_000)) <= 1000


@settings(deadline=None)
@given(st.binary(), st.binary(max_size=20))
def test_what_was_gzipped_is_read_back_and_junk_does_no_harm(data, junk):
    assert gunzip(gzip.compress(data)) == data
    assert gunzip(b"\x1f\x8b" + junk) == b""


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "doctype",
    [
        f'<!DOCTYPE urlset [<!ENTITY l0 "lol">{LAUGHS}]>',
        '<!DOCTYPE urlset [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE urlset [<!ENTITY % p SYSTEM "http://127.0.0.1/x.dtd"> %p;]>',
    ],
)
def test_a_document_that_declares_entities_is_refused(doctype):
    assert urls(f"{doctype}<urlset><url><loc>/a</loc></url><url><loc>/&l9;</loc></url></urlset>") == []
    assert "internal DTD" in told_of(f"{doctype}<urlset/>".encode())[1][0]


def test_a_doctype_without_declarations_does_no_harm():
    assert urls(
        '<!DOCTYPE urlset SYSTEM "http://127.0.0.1/x.dtd"><urlset><url><loc>/a</loc></url></urlset>'
    ) == ["a"]


@pytest.mark.parametrize(
    "body",
    [
        "<urlset>" + "<a>" * 300_000,
        "<urlset><url><loc>" + "x" * 5_000_000,
        "<urlset " + " ".join(f"a{n}='1'" for n in range(100_000)) + ">",
        "<!--" * 500_000,
        "<?x?>" * 500_000,
        "<!DOCTYPE x>" * 200_000,
        " " * 5_000_000,
        "<" * 1_000_000,
        "<urlset>" + "<loc>" * 300_000 + "</a>" * 300_000,
        "<urlset>" + "<!--" * 500_000 + "-->",
        "<urlset>" + "<![CDATA[" * 300_000 + "]]>",
        "<urlset>" + "<a " + "b" * 3_000_000,
        "<urlset>" + "<a " + "b" * 3_000_000 + ">",
        "<urlset>" + "<a " + "b " * 1_000_000 + "='\">",
        "<urlset>" + "<a b=\"'" * 300_000,
        "<urlset>" + "<a b" + "='\"" * 500_000 + ">",
        "<urlset><url><loc>" + "&" * 3_000_000,
        "<urlset><url><loc>" + "&a" * 1_000_000 + "<",
    ],
)
def test_a_hostile_sitemap_neither_fails_nor_hangs(body):
    assert urls(body) == []


@settings(deadline=None)
@given(st.one_of(st.binary(), st.text("<>/&;urlsetoc![]- ?xm\"'=:").map(str.encode)))
def test_any_bytes_may_stand_in_a_sitemap(data):
    for body in (b"<urlset><url><loc>" + data, data):
        assert all(link.url.startswith(("http://", "https://")) for link in links_of_sitemap(body, url=URL))
