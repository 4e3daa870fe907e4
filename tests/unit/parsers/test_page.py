import pickle

import pytest

from fetcher.model import Headers, Link, Result
from fetcher.parsers.page import Page, Parsed, page_of

URL = "http://example.org/dir/page"


def page(body=b"", *, content_type="text/html", **fields):
    return Page(url=URL, body=body, content_type=content_type, **fields)


def test_a_page_is_a_result():
    result = page(
        b"x", state="done", status=200, headers=Headers([(b"A", b"b")]), depth=2, parent="http://p/"
    )
    assert isinstance(result, Result)
    assert (result.ok, result.status, result.headers["a"], result.depth) == (True, 200, "b", 2)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("\ufeffé".encode(), "text/html; charset=iso-8859-1"),
        ("é".encode("latin-1"), "text/html; charset=iso-8859-1"),
        ("<meta charset=latin1>é".encode("latin-1"), "text/html"),
        ("é".encode(), None),
    ],
)
def test_text_and_tree_are_decoded_as_browsers_do(body, content_type):
    read = page(body, content_type=content_type)
    assert read.text().endswith("é")
    assert read.tree.body.text() == "é"


def test_an_encoding_given_comes_before_what_the_page_says():
    assert (
        page("é".encode("cp1251", "replace") + b"\xe9", content_type="text/html; charset=utf-8").text(
            "cp1251"
        )
        == "?й"
    )


def test_json_is_read():
    assert page(b'{"a": 1}', content_type="application/json").json() == {"a": 1}


def test_the_tree_is_made_once_and_gives_the_title():
    read = page(b"<title> A\n &amp;  B </title>")
    assert read.tree is read.tree
    assert read.title == "A & B"
    assert page(b"x").title is None
    assert page(b"<title> </title>").title is None


def test_links_are_relative_to_the_final_url_and_found_when_asked_for():
    read = page(b"<a href=a>", final_url="http://example.org/other/")
    assert read.links == (Link("http://example.org/other/a"),)


def test_links_that_are_known_are_not_looked_for_again():
    result = Result(url=URL, body=b"<a href=a>", content_type="text/html", headers=Headers([(b"X", b"y")]))
    read = page_of(result, [Link("http://example.org/known")])
    assert read.links == (Link("http://example.org/known"),)
    assert read.headers["x"] == "y"
    assert page_of(result).links == (Link("http://example.org/dir/a"),)


def test_what_is_followed_is_resolved_against_the_base_of_the_page():
    read = page(b"<base href=/base/>")
    read.follow("a")
    read.follow(["b#x", Link("c", "asset", priority=1), "//other.example/"], priority=5)
    read.follow(Link("http://example.org/d", priority=2))
    assert read.followed == [
        Link("http://example.org/base/a"),
        Link("http://example.org/base/b", priority=5),
        Link("http://example.org/base/c", "asset", priority=5),
        Link("http://other.example/", priority=5),
        Link("http://example.org/d", priority=2),
    ]


def test_links_of_the_page_can_be_followed_as_they_are():
    read = page(b"<a href=a rel=nofollow>")
    read.follow(read.links)
    assert tuple(read.followed) == read.links


def test_what_is_no_url_is_passed_over():
    read = page()
    read.follow(["javascript:x", "mailto:a@b", "http://"])
    assert read.followed == []


def test_only_urls_and_links_can_be_followed():
    with pytest.raises(TypeError, match="a link is a URL or a Link, not int"):
        page().follow([5])


def test_a_picture_has_no_base_of_its_own():
    assert page(b"<base href=/no/>", content_type="image/png").urljoin("a") == "http://example.org/dir/a"


def test_queries_are_sent_in_the_encoding_of_the_page():
    assert page(content_type="text/html; charset=iso-8859-1").urljoin("?é") == URL + "?%E9"


def test_pages_share_nothing():
    first, second = page(), page()
    first.follow("a")
    assert second.followed == []


def test_a_page_travels_without_what_can_be_made_again():
    read = page(b"<title>T</title><a href=a>", headers=Headers([(b"A", b"b")]), redirects=["http://r/"])
    read.follow("x")
    assert read.title == "T"
    assert read.links
    arrived = pickle.loads(pickle.dumps(read))
    assert arrived == read
    assert arrived.headers == read.headers
    assert (arrived.title, arrived.links, arrived.followed) == (read.title, read.links, read.followed)


def test_what_a_parser_returns_may_be_data_links_or_both():
    assert Parsed({"a": 1}) == Parsed(data={"a": 1}, links=())
    assert Parsed(links=["/a", Link("http://example.org/")]).data is None
