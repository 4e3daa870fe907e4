import pytest

from fetcher.extract.feeds import links_of_feed
from fetcher.extract.links import links_of
from fetcher.model import Link

URL = "http://example.org/feed/"

RSS_2 = """<?xml version="1.0"?>
<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>
  <title>T</title><link>http://example.org/</link>
  <atom:link href="http://example.org/feed/" rel="self"/>
  <atom:link href="/feed/?page=2" rel="next"/>
  <item><title>1</title><link>http://example.org/1</link><guid>http://example.org/?p=1</guid></item>
  <item><guid isPermaLink="true"> http://example.org/2 </guid></item>
  <item><guid>http://example.org/2b</guid></item>
  <item><guid isPermaLink="false">http://example.org/no</guid></item>
  <item><guid>tag:example.org,2024:no</guid></item>
  <item><link> /3 </link><enclosure url="/3.mp3" type="audio/mpeg"/><comments>http://example.org/no</comments></item>
</channel></rss>"""

RSS_1 = """<?xml version="1.0"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
  <channel rdf:about="http://example.org/rss"><link>http://example.org/</link>
    <items><rdf:Seq><rdf:li rdf:resource="http://example.org/1"/></rdf:Seq></items></channel>
  <item rdf:about="http://example.org/1"><link>http://example.org/1</link></item>
</rdf:RDF>"""

ATOM = """<?xml version="1.0"?>
<feed xmlns="http://www.w3.org/2005/Atom" xml:base="http://example.org/blog/">
  <link rel="self" href="/no"/><link href="."/>
  <entry xml:base="2024/"><link href="a"/><link rel="enclosure" href="a.mp3"/><link rel="edit" href="no"/></entry>
  <entry><link rel="alternate" type="text/html" href="b&amp;c"/></entry>
</feed>"""


def links(document, *, content_type="application/rss+xml", assets=False):
    return links_of(document.encode(), url=URL, content_type=content_type, headers=None, assets=assets)


def paths(document, **options):
    return [link.url.removeprefix("http://example.org") for link in links(document, **options)]


def test_rss_2_gives_its_items_by_link_or_permanent_guid():
    assert paths(RSS_2) == ["/", "/feed/?page=2", "/1", "/2", "/2b", "/3"]


def test_enclosures_are_assets():
    assert Link("http://example.org/3.mp3", "asset") in links(RSS_2, assets=True)
    assert Link("http://example.org/blog/2024/a.mp3", "asset") in links(ATOM, assets=True)
    assert all(link.kind == "page" for link in links(RSS_2) + links(ATOM))


def test_rss_1_gives_its_items():
    assert paths(RSS_1) == ["/", "/1"]


def test_atom_gives_its_alternates_relative_to_the_base_of_their_element():
    assert paths(ATOM) == ["/blog/", "/blog/2024/a", "/blog/b&c"]


@pytest.mark.parametrize("content_type", ["application/atom+xml", "text/xml", "application/xml", None])
@pytest.mark.parametrize("document", [RSS_2, RSS_1, ATOM])
def test_a_feed_is_known_by_its_root(document, content_type):
    assert links(document, content_type=content_type) == links(document)


def test_a_feed_of_old_with_a_doctype_is_read():
    old = (
        '<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" "http://example.org/rss-0.91.dtd">'
        '<rss version="0.91"><channel><item><link>/a</link></item></channel></rss>'
    )
    assert paths(old) == ["/a"]


@pytest.mark.parametrize(
    "item",
    [
        "<title>R&nbsp;D & more</title><link>/b?x=1&y=2</link>",
        "<description><p>one<br>two</description><link>/b?x=1&y=2</link>",
        '<title>"</wrong></title><link>/b?x=1&amp;y=2</link>',
        "<link href='/b?x=1&y=2'/>",
        "<link href=/b?x=1&y=2 />",
        "<link><![CDATA[/b?x=1&y=2]]></link>&oops;",
    ],
)
def test_a_broken_feed_is_read_on_and_that_is_told(item):
    told = []
    document = (
        f"<rss><item><link>/a</link></item><item>{item}</item><item><link>/c</link></item><item><link>/cu"
    )
    found = links_of_feed(document.encode(), url=URL, tell=told.append)
    assert [link.url.removeprefix("http://example.org") for link in found] == ["/a", "/b?x=1&y=2", "/c"]
    assert len(told) == 1
    assert told[0].startswith("not well-formed XML (")


def test_nothing_is_told_of_a_feed_that_is_whole():
    for document in (RSS_2, RSS_1, ATOM):
        links_of(document.encode(), url=URL, content_type="text/xml", headers=None, tell=pytest.fail)


def test_an_svg_picture_has_no_links():
    assert paths("<svg xmlns='x'><a href='/a'/><link>/b</link></svg>", content_type="image/svg+xml") == []
