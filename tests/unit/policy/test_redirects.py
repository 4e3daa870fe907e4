"""Redirects: where a hop leads, or why it is not followed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import RedirectFailed
from fetcher.model import Target
from fetcher.policy.http import REDIRECTS
from fetcher.policy.redirects import NextRequest, next_request


def target(url):
    scheme, _, rest = url.partition("://")
    authority = rest.split("/")[0]
    name, _, port = authority.partition(":")
    number = int(port or {"http": 80, "https": 443}[scheme])
    return Target(url=url, scheme=scheme, hostname=name, port=number, host=f"{name}:{number}")


HERE = target("https://example.org/a/b")


def follow(
    location="/next", *, method="GET", status=302, current=HERE, hops=0, most=10, seen=None, secret=False
):
    return next_request(
        method,
        status,
        [location] if isinstance(location, str) else location,
        current,
        hops=hops,
        max_redirects=most,
        seen=[current.url] if seen is None else seen,
        has_credentials=secret,
    )


def failure(*args, **kwargs):
    with pytest.raises(RedirectFailed) as caught:
        follow(*args, **kwargs)
    return caught.value


@pytest.mark.parametrize(
    ("status", "method", "next_method", "keeps_body"),
    [
        (301, "GET", "GET", True),
        (301, "POST", "GET", False),
        (302, "POST", "GET", False),
        (301, "PUT", "PUT", True),
        (302, "HEAD", "HEAD", True),
        (303, "GET", "GET", False),
        (303, "HEAD", "HEAD", False),
        (303, "POST", "GET", False),
        (303, "DELETE", "GET", False),
        (307, "POST", "POST", True),
        (308, "POST", "POST", True),
        (308, "PATCH", "PATCH", True),
    ],
)
def test_the_status_decides_about_method_and_body(status, method, next_method, keeps_body):
    hop = follow(status=status, method=method)
    assert (hop.method, hop.keeps_body) == (next_method, keeps_body)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/next", "https://example.org/next"),
        ("c", "https://example.org/a/c"),
        ("?q=1", "https://example.org/a/b?q=1"),
        ("//other.example/x", "https://other.example/x"),
        (" https://other.example/x\t", "https://other.example/x"),
        ("/x#fragment", "https://example.org/x"),
        ("/gr\xc3\xbcn", "https://example.org/gr%C3%BCn"),
        ("/gr\xfcn", "https://example.org/gr%FCn"),
        (["/next", " /next"], "https://example.org/next"),
    ],
)
def test_a_location_is_resolved_against_the_current_url(location, url):
    assert follow(location).target.url == url


@pytest.mark.parametrize(
    ("location", "drops"),
    [
        ("/next", False),
        ("https://example.org:443/next", False),
        ("https://other.example/", True),
        ("https://sub.example.org/", True),
        ("https://example.org:8443/", True),
        ("http://example.org/", True),
    ],
)
def test_another_scheme_host_or_port_is_another_origin(location, drops):
    current = msgspec.structs.replace(HERE, userinfo="u:secret")
    assert (follow(location, current=current).target.userinfo is None) is drops


@pytest.mark.parametrize(
    "location",
    [
        [],
        [""],
        ["  "],
        ["/a", "/b"],
        "file:///etc/passwd",
        "ftp://example.org/x",
        "data:text/html,x",
        "javascript:alert(1)",
        "http://",
        "https://exa mple.org/",
        "/" + "x" * 100_000,
    ],
    ids=lambda location: repr(location)[:30],
)
def test_a_location_that_says_nothing_usable_is_a_bad_redirect(location):
    error = failure(location)
    assert error.slug == "bad-redirect"
    assert len(str(error)) < 500


def test_a_loop_is_named():
    a, b = target("https://example.org/a"), target("https://example.org/b")
    error = failure("/a", current=b, seen=["https://example.org/", a.url, b.url], hops=2)
    assert error.slug == "redirect-loop"
    assert str(error) == (
        "redirect loop: https://example.org/a → https://example.org/b → https://example.org/a"
    )


def test_a_url_that_redirects_to_itself_is_a_loop():
    assert str(failure("b")) == ("redirect loop: https://example.org/a/b → https://example.org/a/b")


def test_a_url_that_redirects_to_itself_after_its_cookies_changed_is_no_loop():
    assert follow("b", seen=[]).target == HERE


def test_a_post_that_redirects_to_itself_as_get_is_no_loop():
    assert follow("b", method="POST", status=303).method == "GET"
    assert failure("b", method="POST", status=307).slug == "redirect-loop"


@pytest.mark.parametrize(
    ("hops", "most", "followed"), [(0, 1, True), (9, 10, True), (10, 10, False), (0, 0, False)]
)
def test_no_more_redirects_than_allowed_are_followed(hops, most, followed):
    if followed:
        assert follow(hops=hops, most=most)
    else:
        assert failure(hops=hops, most=most).slug == "too-many-redirects"


def test_too_many_redirects_are_counted_and_the_last_is_named():
    assert str(failure(hops=10)) == (
        "11 redirects, more than --max-redirects 10 allows; the last to https://example.org/next"
    )


def test_where_none_is_allowed_a_redirect_says_so():
    assert str(failure(most=0)) == (
        "redirected to https://example.org/next, and --max-redirects 0 follows none"
    )


def test_the_statuses_that_redirect_are_these():
    assert {301, 302, 303, 307, 308} == REDIRECTS


def test_a_long_url_is_cut_in_a_message():
    assert len(str(failure("/" + "x" * 5000, hops=10))) < 400


def test_from_https_to_http_is_followed_with_a_note_and_without_credentials_only():
    location = "http://example.org/plain"
    assert follow(location).note == "redirected from https to plain http: http://example.org/plain"
    error = failure(location, secret=True)
    assert error.slug == "insecure-redirect"
    assert follow(location, current=target("http://example.org/"), secret=True).note is None


def test_the_user_of_a_url_stays_with_its_origin():
    current = msgspec.structs.replace(HERE, userinfo="u:secret")
    for location in ("/next", "https://example.org/next"):
        assert follow(location, current=current).target.userinfo == "u:secret"
    for location in ("//other.example/", "https://example.org:8443/", "http://example.org/"):
        assert follow(location, current=current).target.userinfo is None


def test_from_http_to_https_needs_no_note():
    hop = follow("https://example.org/", current=target("http://example.org/"), secret=True)
    assert hop.note is None


@given(
    location=st.text(alphabet=st.characters(max_codepoint=255), max_size=60)
    | st.from_regex(r"(https?:)?(//)?[a-z0-9.:@\[\]%/?#\\-]{0,40}", fullmatch=True),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
    status=st.sampled_from([301, 302, 303, 307, 308]),
    secret=st.booleans(),
)
def test_any_location_gives_a_hop_over_http_or_a_failure_of_this_url(location, method, status, secret):
    try:
        hop = follow(location, method=method, status=status, secret=secret)
    except RedirectFailed as error:
        hop = error
    if isinstance(hop, RedirectFailed):
        assert hop.slug in {"bad-redirect", "redirect-loop", "insecure-redirect"}
        assert str(hop)
        return
    assert isinstance(hop, NextRequest)
    assert hop.target.scheme in {"http", "https"}
    assert hop.target.url.isascii()
    assert not (secret and hop.target.scheme == "http")
