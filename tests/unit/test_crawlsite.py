"""The generated site that crawls are tested against: that its pages say what its graph says.

A plain crawler of the standard library reads the bodies and must find exactly what the graph promises.
"""

import gzip
from html.parser import HTMLParser
from urllib.parse import quote, urljoin
from urllib.request import urlopen

import pytest
from support.crawlpages import MONTHS, generate
from support.crawlsite import CrawlSite
from support.crawlweb import ADDRESS, ELSEWHERE, Edge, Page, Resource, Web, key_of

HOME = f"http://{ADDRESS}"
OPTIONS = (
    {},
    {"depth": 0},
    {"depth": 2},
    {"depth": 9},
    {"sitemaps": True},
    {"robots": False},
    {"ignore": ["nofollow"]},
    {"ignore": ["meta"]},
    {"ignore": ["canonical"]},
    {"assets": True},
)


@pytest.fixture(scope="module")
def web():
    return generate(200)


SOURCES = {"a": "href", "area": "href", "iframe": "src", "frame": "src"}


class Reader(HTMLParser):
    """The links of a page, as a person would list them who knows nothing of the graph."""

    CDATA_CONTENT_ELEMENTS = ("script", "style", "textarea")

    def __init__(self):
        super().__init__()
        self.base = None
        self.found = []  # href, kind, bar
        self.bar = None

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        rel = (values.get("rel") or "").lower().split()
        if tag == "base" and self.base is None:
            self.base = values.get("href")
        elif tag == "meta":
            content = (values.get("content") or "").lower()
            if values.get("name", "").lower() == "robots" and ("nofollow" in content or content == "none"):
                self.bar = "meta"
            elif values.get("http-equiv", "").lower() == "refresh":
                self.found.append((content.partition("url=")[2].strip("'"), "page", None))
        elif tag == "link" and "href" in values:
            if "canonical" in rel:
                self.found.append((values["href"], "canonical", None))
            elif set(rel) & {"next", "prev", "alternate"}:
                self.found.append((values["href"], "page", None))
            elif set(rel) & {"stylesheet", "icon"}:
                self.found.append((values["href"], "asset", None))
        elif tag in {"img", "script", "source"}:
            sources = [values.get("src"), (values.get("srcset") or "").split(" ")[0]]
            self.found += [(source, "asset", None) for source in sources if source]
        elif (href := values.get(SOURCES.get(tag, ""))) is not None:
            self.found.append((href, "page", "nofollow" if "nofollow" in rel else None))


STYLES = {"site.css": ["more.css", "ground.png"], "more.css": ["dot.png"]}


def edges_read(web, target):
    """The edges of a page by its bytes and header fields alone."""
    resource = web.find(target)
    fields = dict(resource.fields)
    if resource.status in {301, 302, 303, 307, 308}:
        return as_edges(target, None, [(fields["Location"], "redirect", None)], None)
    if resource.content_type == "text/css":
        return as_edges(
            target, None, [(name, "asset", None) for name in STYLES[target.rpartition("/")[2]]], None
        )
    if "html" not in resource.content_type:
        return set()
    reader = Reader()
    reader.feed(decoded(resource))
    bar = "meta" if fields.get("X-Robots-Tag") == "nofollow" else reader.bar
    return as_edges(target, reader.base, reader.found, bar)


def decoded(resource):
    label = resource.content_type.partition("charset=")[2].strip('"').lower() or "utf-8"
    for mark, codec in ((b"\xff\xfe", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig")):
        if resource.body.startswith(mark):
            label = codec
    start = resource.body[:300].lower()
    label = {b"charset=iso": "cp1252", b"charset=shift": "cp932"}.get(
        next((mark for mark in (b"charset=iso", b"charset=shift") if mark in start), None), label
    )
    return resource.body.decode(label)


def as_edges(target, base, found, bar):
    at = HOME + target
    base = at if base is None else urljoin(at, base)
    edges = set()
    for written, kind, own in found:
        href = "".join(written.strip().split("\n")).replace("\\", "/").partition("#")[0]
        try:
            url = urljoin(base, href)
        except ValueError:
            continue
        if not url.lower().startswith(HOME + "/"):
            continue
        to = key_of(quote(url[len(HOME) :], safe="/?=&%;:@!$,+~.-_"))
        edges.add((to, kind, (own or bar) if kind != "asset" else None))
    return edges


def test_the_bytes_of_every_page_hold_the_links_of_the_graph_and_no_others(web):
    for target, resource in web.resources.items():
        if target in web.sitemaps:
            continue
        wanted = {(edge.to, edge.kind, edge.bar) for edge in resource.edges}
        itself = {(target, "page", None)}  # `href=""`, which changes nothing
        assert edges_read(web, target) | itself == wanted | itself, target


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_search_that_corrects_depths_until_nothing_changes_finds_what_is_expected(web, options):
    """Edge by edge, in an order that finds long ways first: what a crawler may do, and must mend."""
    wanted = {"depth": 5, "robots": True, "sitemaps": False, "assets": False, "ignore": [], **options}
    depths = {"/": 0}
    stack = ["/"]
    if wanted["sitemaps"]:
        depths |= dict.fromkeys(web.orphans, 1)
        stack += web.orphans
    while stack:
        target = stack.pop()
        if (wanted["robots"] and target in web.disallowed) or (found := web.find(target)) is None:
            continue
        for edge in found.edges:
            then = depths[target] + (edge.kind in {"page", "asset"})
            is_followed = (
                wanted["assets"]
                if edge.kind == "asset"
                else then <= wanted["depth"] and (edge.bar is None or edge.bar in wanted["ignore"])
            )
            if (edge.kind == "canonical" and "canonical" in wanted["ignore"]) or edge.to in web.endless:
                is_followed = False
            if is_followed and then < depths.get(edge.to, 99):
                depths[edge.to] = then
                stack.append(edge.to)
    expected = web.expected(**options)
    assert depths == expected.fetched | expected.refused
    assert not (expected.fetched.keys() & expected.refused.keys())


def test_the_same_size_gives_the_same_site():
    assert generate(120) == generate(120)


def test_the_whole_site_has_5000_pages_and_most_of_them_are_to_be_fetched():
    web = generate()
    assert len(web.pages()) >= 5000
    assert 4000 < len(web.expected().fetched) < len(web.expected(depth=9).fetched)


def test_every_feature_of_the_site_decides_about_some_page(web):
    plain = web.expected()
    for options in OPTIONS[1:]:
        other = web.expected(**options)
        assert other.fetched.keys() != plain.fetched.keys(), options
    assert set(web.orphans) - plain.fetched.keys() == set(web.orphans)
    assert plain.refused
    assert [target for target in plain.fetched if target.startswith(MONTHS)]
    assert not [target for target in plain.fetched if "/noise/" in target]


def test_a_page_that_two_ways_lead_to_has_the_depth_of_the_shorter():
    web = Web()
    for path, *targets in (
        ("/", "/1", "/near"),
        ("/1", "/2"),
        ("/2", "/far"),
        ("/near", "/far"),
        ("/far", "/end"),
    ):
        page = Page(path, path)
        page.links(targets)
        web.add(page)
    assert web.expected(depth=3).fetched == {"/": 0, "/1": 1, "/near": 1, "/2": 2, "/far": 2, "/end": 3}


def test_redirects_and_canonicals_cost_no_depth():
    web = Web()
    web.resources["/"] = Resource(edges=(Edge("/moved", "redirect"), Edge("/same", "canonical")))
    assert web.expected(depth=0).fetched == {"/": 0, "/moved": 0, "/same": 0}
    assert web.expected(depth=0, follows=lambda target: target != "/same").fetched == {"/": 0, "/moved": 0}


def test_the_server_serves_the_pages_with_its_own_address_and_remembers_who_asked(web):
    with CrawlSite(web) as site:
        with urlopen(site.url("/")) as answer:
            home = answer.read()
        with urlopen(site.url(MONTHS + "123456")) as answer:
            assert answer.status == 200
        coded = next(target for target, found in web.resources.items() if found.is_coded)
        with urlopen(site.url(coded.replace("p1", "%701"))) as answer:
            assert gzip.decompress(answer.read()) == site.addressed(web.resources[coded].body)
        with urlopen(site.url("/robots.txt")) as answer:
            assert f"127.0.0.1:{site.port}/maps/index.xml".encode() in answer.read()
    assert ADDRESS.encode() not in home
    assert ELSEWHERE.encode() not in home
    assert f"127.0.0.2:{site.port}".encode() in home
    assert site.asked() == {"/": 1, MONTHS + "123456": 1, coded: 1}
    assert site.asked("127.0.0.2") == {}
    assert not site.errors
