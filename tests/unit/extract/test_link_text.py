"""What a page shows for its links."""

import time

import pytest

from fetcher.extract.html import links_of_html
from fetcher.extract.links import may_hold_links
from fetcher.model import Headers

URL = "http://h/"


def texts(page: str) -> list[str]:
    found = links_of_html(page.encode(), url=URL, assets=True, texts=True)
    return [link.text for link in found if link.url.startswith("http://h/a")]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<a href=/a>plain</a>", "plain"),
        ("<a href=/a>\n two \t words </a>", "two words"),
        ("<a href=/a>a <b>b</b>c<br>d</a>", "a bc d"),
        ("<a href=/a>x &amp; y &lt;z&gt;</a>", "x & y <z>"),
        ("<a href=/a>never closed <a href=/b>other</a>", "never closed"),
        ("<a href=/a><!-- <b> not --> shown</a>", "shown"),
        ("<a href=/a><img src=/i alt='a picture'></a>", "a picture"),
        ("<a href=/a aria-label='an icon'><i class=x></i></a>", "an icon"),
        ("<a href=/a></a>", ""),
        ("<img src=/a alt='seen'>", "seen"),
        ("<area href=/a alt='a corner'>", "a corner"),
        ("<link rel=stylesheet href=/a title=dark>", "dark"),
        ("<a href=/a></a><a href=/a>the second</a>", "the second"),
        ("<a href=/a#x>one</a><a href=/a>two</a>", "one"),
        ("<a href=/a>" + "long " * 1000 + "</a>", "long " * 19 + "long…"),
        ("<style>a {}</style><a href=/a>after a style</a>", "after a style"),
        ("<a href=/a \xe9 title=t>caf\xe9</a>", "caf\xe9"),
    ],
)
def test_the_text_is_what_is_shown(page: str, text: str) -> None:
    assert texts(page) == [text]


def test_without_being_wanted_there_is_none() -> None:
    (link,) = links_of_html(b"<a href=/a>text</a>", url=URL)
    assert link.text == ""


def test_a_link_that_is_no_url_is_kept_where_texts_are_wanted() -> None:
    page = b"<a href='http://[bad/'>bad</a><a href='mailto:x@y'>m</a><a href='javascript:0'>j</a>"
    assert links_of_html(page, url=URL) == []
    (link,) = links_of_html(page, url=URL, texts=True)
    assert (link.url, link.text) == ("http://[bad/", "bad")


def test_links_that_are_never_closed_cost_time_that_is_linear() -> None:
    def cost(number: int) -> float:
        page = b"<a href=/a><b" * number
        began = time.process_time()
        links_of_html(page, url=URL, texts=True)
        return time.process_time() - began

    assert cost(20_000) < 40 * max(cost(2_000), 0.001)


@pytest.mark.parametrize(
    ("content_type", "may"),
    [
        ("text/html; charset=utf-8", True),
        ("application/xhtml+xml", True),
        ("text/css", True),
        ("application/rss+xml", True),
        ("application/pdf", False),
        ("image/png", False),
        ("nonsense", True),
        (None, True),
    ],
)
def test_a_page_of_a_type_without_links_is_not_worth_reading(content_type: str | None, *, may: bool) -> None:
    raw = [] if content_type is None else [(b"Content-Type", content_type.encode())]
    assert may_hold_links(Headers(raw)) is may
