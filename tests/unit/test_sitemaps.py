import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.model import Link
from fetcher.parsers.found import MOST_LINKS
from fetcher.parsers.links import links_of
from fetcher.parsers.sitemaps import LARGEST, gunzip, links_of_sitemap

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


@pytest.mark.parametrize(
    "body",
    [
        SET[: SET.index("<url><loc><![CDATA")],
        SET.replace("<url><loc><![CDATA", "<url><loc>&undefined;</loc><loc><![CDATA"),
        SET.replace("<url><loc><![CDATA", "</wrong><loc><![CDATA"),
    ],
)
def test_a_broken_sitemap_gives_what_was_read_so_far(body):
    assert urls(body) == ["a?b=1&c=2", "de/a"]


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
    assert len(urls("\n".join(f"http://example.org/{n}" for n in range(MOST_LINKS + 5)))) == MOST_LINKS


def test_a_gzipped_sitemap_is_read():
    packed = gzip.compress(SET.encode())
    assert urls(packed) == urls(SET)
    half = len(SET) // 2
    assert urls(gzip.compress(SET[:half].encode()) + gzip.compress(SET[half:].encode())) == urls(SET)
    assert urls(packed + b"\0\0junk") == urls(SET)


def test_a_gzipped_sitemap_that_is_cut_gives_what_can_be_read():
    body = "<urlset>" + "".join(f"<url><loc>/{n}</loc></url>" for n in range(1000))
    found = urls(gzip.compress(body.encode())[:-200])
    assert 0 < len(found) < 1000


def test_a_bomb_is_cut():
    deflater = zlib.compressobj(9, wbits=31)
    bomb = b"".join(deflater.compress(b"\0" * (1 << 20)) for _ in range(200)) + deflater.flush()
    assert len(gunzip(bomb)) == LARGEST
    assert len(gunzip(bomb, 1000)) == 1000


def test_of_a_sitemap_too_large_the_begin_is_read():
    assert urls(b"http://example.org/a\n" + b"#" * LARGEST + b"\nhttp://example.org/b") == ["a"]


def test_a_heap_of_tiny_members_ends():
    assert len(gunzip(gzip.compress(b"x") * 100_000)) <= 1000


@settings(deadline=None)
@given(st.binary(), st.binary(max_size=20))
def test_what_was_gzipped_is_read_back_and_junk_does_no_harm(data, junk):
    assert gunzip(gzip.compress(data)) == data
    gunzip(b"\x1f\x8b" + junk)


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
    ],
)
def test_a_hostile_sitemap_neither_fails_nor_hangs(body):
    assert urls(body) == []


@settings(deadline=None)
@given(st.one_of(st.binary(), st.text("<>/&;urlsetoc![]- ?xm\"'=:").map(str.encode)))
def test_any_bytes_may_stand_in_a_sitemap(data):
    links_of_sitemap(b"<urlset><url><loc>" + data, url=URL)
    links_of_sitemap(data, url=URL)
