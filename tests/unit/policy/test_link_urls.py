"""Links resolve as browsers resolve them, and all spellings of one URL share one key.

Expected values are those of the WHATWG URL Standard (its examples, and cases of the web-platform-tests
for http and https), and of RFC 3986 §5.4 where the standard agrees.
"""

from __future__ import annotations

import string

import pytest
from ada_url import join_url
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.errors import Refused
from fetcher.policy.link_urls import LONGEST_LINK, canonical_key, resolve_link
from fetcher.policy.urls import admit

RFC_BASE = "http://a/b/c/d;p?q"

# RFC 3986 §5.4.1 and §5.4.2, without fragments; host `g` of `//g` gets its `/`
RFC_3986 = [
    ("g", "http://a/b/c/g"),
    ("./g", "http://a/b/c/g"),
    ("g/", "http://a/b/c/g/"),
    ("/g", "http://a/g"),
    ("//g", "http://g/"),
    ("?y", "http://a/b/c/d;p?y"),
    ("g?y", "http://a/b/c/g?y"),
    ("#s", "http://a/b/c/d;p?q"),
    ("g#s", "http://a/b/c/g"),
    ("g?y#s", "http://a/b/c/g?y"),
    (";x", "http://a/b/c/;x"),
    ("g;x", "http://a/b/c/g;x"),
    ("g;x?y#s", "http://a/b/c/g;x?y"),
    ("", "http://a/b/c/d;p?q"),
    (".", "http://a/b/c/"),
    ("./", "http://a/b/c/"),
    ("..", "http://a/b/"),
    ("../", "http://a/b/"),
    ("../g", "http://a/b/g"),
    ("../..", "http://a/"),
    ("../../", "http://a/"),
    ("../../g", "http://a/g"),
    ("../../../g", "http://a/g"),
    ("../../../../g", "http://a/g"),
    ("/./g", "http://a/g"),
    ("/../g", "http://a/g"),
    ("g.", "http://a/b/c/g."),
    (".g", "http://a/b/c/.g"),
    ("g..", "http://a/b/c/g.."),
    ("..g", "http://a/b/c/..g"),
    ("./../g", "http://a/b/g"),
    ("./g/.", "http://a/b/c/g/"),
    ("g/./h", "http://a/b/c/g/h"),
    ("g/../h", "http://a/b/c/h"),
    ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
    ("g;x=1/../y", "http://a/b/c/y"),
    (";x=1/../y", "http://a/b/c/y"),
    ("g?y/./x", "http://a/b/c/g?y/./x"),
    ("g?y/../x", "http://a/b/c/g?y/../x"),
    ("g#s/../x", "http://a/b/c/g"),
]

# Where the URL Standard differs from a strict reading of RFC 3986: it repairs.
REPAIRED = [
    ("http:g", "http://a/b/c/g"),  # RFC: `http:g`, itself, for strict parsers
    ("http:/g", "http://a/g"),
    ("http:", "http://a/b/c/d;p?q"),
    ("http:?y", "http://a/b/c/d;p?y"),
    ("http:#s", "http://a/b/c/d;p?q"),
    ("http:.", "http://a/b/c/"),
    ("https:g", "https://g/"),  # another scheme than the base's: absolute
    ("https:/g", "https://g/"),
    ("http:///g", "http://g/"),
    ("http:////g/x", "http://g/x"),
    ("///g", "http://g/"),
    ("////g/x", "http://g/x"),
    ("/\\g", "http://g/"),
    ("\\\\g\\x", "http://g/x"),
    ("\\g\\h", "http://a/g/h"),
    ("g\\h\\..\\i", "http://a/b/c/g/i"),
    ("g?x\\y", "http://a/b/c/g?x\\y"),  # not in a query
    ("http:\\\\g\\h", "http://g/h"),
    ("HTTP:g", "http://a/b/c/g"),
    ("  g  ", "http://a/b/c/g"),
    ("\tg\r\n", "http://a/b/c/g"),
    ("\x00\x1fg\x0c ", "http://a/b/c/g"),
    ("g\n\t/\rh", "http://a/b/c/g/h"),
    ("ht\ntp://g\t/", "http://g/"),
    ("%2e", "http://a/b/c/"),
    ("%2E%2e/g", "http://a/b/g"),
    (".%2e/g", "http://a/b/g"),
    ("%2e./g/%2E/h", "http://a/b/g/h"),
    ("g/%2e%2e", "http://a/b/c/"),
    ("%2e%2e%2e", "http://a/b/c/%2e%2e%2e"),
    ("g h", "http://a/b/c/g%20h"),
    ("g%20h", "http://a/b/c/g%20h"),
    ("g%zz%", "http://a/b/c/g%zz%"),
    ('g"<>`{}h', "http://a/b/c/g%22%3C%3E%60%7B%7Dh"),
    ("g'|[]~!$&()*+,;=:@h", "http://a/b/c/g'|[]~!$&()*+,;=:@h"),
    ("g^h", "http://a/b/c/g%5Eh"),
    ("?\"<>'`{}|^ h", "http://a/b/c/d;p?%22%3C%3E%27`{}|^%20h"),
    ("\N{LATIN SMALL LETTER E WITH ACUTE}", "http://a/b/c/%C3%A9"),
    ("?\N{LATIN SMALL LETTER E WITH ACUTE}", "http://a/b/c/d;p?%C3%A9"),
    ("g?a='b'", "http://a/b/c/g?a=%27b%27"),
    ("g??y", "http://a/b/c/g??y"),
    ("g?", "http://a/b/c/g?"),
    ("?", "http://a/b/c/d;p?"),
    ("#", "http://a/b/c/d;p?q"),
    ("g#s#t", "http://a/b/c/g"),
    ("g#?y", "http://a/b/c/g"),
    ("/a//b", "http://a/a//b"),
    ("g//", "http://a/b/c/g//"),
    ("g//../h", "http://a/b/c/g/h"),
    ("/..//../", "http://a/"),
    ("/.//g", "http://a//g"),
    ("1:2", "http://a/b/c/1:2"),  # a scheme begins with a letter
    ("./a:b", "http://a/b/c/a:b"),
    ("a/b:c", "http://a/b/c/a/b:c"),
    (":a", "http://a/b/c/:a"),
    (":", "http://a/b/c/:"),
    ("@", "http://a/b/c/@"),
    ("::1", "http://a/b/c/::1"),
    ("/c:/x", "http://a/c:/x"),  # no drive letters outside of file:
]

# Hosts, ports and userinfo, as the host parser has them
ABSOLUTE = [
    ("http://example.com", "http://example.com/"),
    ("http://EXAMPLE.com/../x", "http://example.com/x"),
    ("https://example.com:443/", "https://example.com/"),
    ("http://example.com:80/", "http://example.com/"),
    ("https://example.com:80/", "https://example.com:80/"),
    ("http://example.com:/", "http://example.com/"),
    ("http://example.com:00080/", "http://example.com/"),
    ("http://example.com:8080?x", "http://example.com:8080/?x"),
    ("http://example.com#x", "http://example.com/"),
    ("https:example.org", "https://example.org/"),  # the standard's own examples, §4
    ("https://////example.com///", "https://example.com///"),
    ("https://example.com/././foo", "https://example.com/foo"),
    ("https:\\example.com:443\\demo\\..\\hello", "https://example.com/hello"),
    ("https://EXAMPLE.com/../x", "https://example.com/x"),
    ("https://example.com:%25", None),
    ("https://user:password@example.org/", "https://user:password@example.org/"),
    ("https://example.org/foo bar", "https://example.org/foo%20bar"),
    ("https://exa%23mple.org", None),
    ("https://example.org:8:90", None),
    ("https://127.0.0.1./", "https://127.0.0.1/"),
    ("https://ExAmPle.%43om/", "https://example.com/"),
    ("https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/", "https://xn--bcher-kva.example/"),
    ("https://fa\N{LATIN SMALL LETTER SHARP S}.ExAmPlE/", "https://xn--fa-hia.example/"),
    ("http://\N{FULLWIDTH LATIN CAPITAL LETTER G}\N{FULLWIDTH LATIN SMALL LETTER O}.com", "http://go.com/"),
    ("http://a\N{IDEOGRAPHIC FULL STOP}b/", "http://a.b/"),
    ("http://0x7f.1/", "http://127.0.0.1/"),
    ("http://0177.0.0.0x1", "http://127.0.0.1/"),
    ("http://2130706433/", "http://127.0.0.1/"),
    ("http://256", "http://0.0.1.0/"),
    ("http://1.2.3.4.5/", None),
    ("http://256.256.256.256/", None),
    ("http://1.2.3.08/", None),
    ("http://foo.0x/", None),
    ("http://[::1]/x", "http://[::1]/x"),
    ("http://[1:0::]", "http://[1::]/"),
    ("http://[::127.0.0.1]", "http://[::7f00:1]/"),
    ("http://[2001:DB8::1]:80/", "http://[2001:db8::1]/"),
    ("http://[::1", None),
    ("http://[:1]/", None),
    ("http://[::1%25eth0]/", None),
    ("http://example.com:65535/", "http://example.com:65535/"),
    ("http://example.com:65536/", None),
    ("http://example.com:b/", None),
    ("http://exa mple.com/", None),
    ("http://exa<mple.com/", None),
    ("http://a|b/", None),
    ("http://a^b/", None),
    ("http://%zz/", None),
    ("http://a%00b/", None),
    ("http://\N{SOFT HYPHEN}/", None),
    ("http://user@/x", None),
    ("http://:80/", None),
    ("https://", None),
    ("http://?x", None),
    ("http://u@h/", "http://u@h/"),
    ("http://good@evil/", "http://good@evil/"),
    ("http://a:b@c@d/", "http://a:b%40c@d/"),
    ("http://h/#@evil/", "http://h/"),
    ("http://h\\@evil/", "http://h/@evil/"),
]

NO_LINKS = [
    "mailto:someone@example.org",
    "javascript:void(0)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,hello",
    "tel:+1",
    "ftp://example.org/",
    "file:///etc/passwd",
    "ws://example.org/",
    "about:blank",
    "blob:https://example.org/x",
    "a:b",
    "//",
    "///",
    "http://",
    "//h:port/",
    "\ud800",
    "http://h/" + "a" * LONGEST_LINK,
]


@pytest.mark.parametrize(("href", "expected"), RFC_3986 + REPAIRED)
def test_a_relative_link_resolves_as_the_url_standard_says(href: str, expected: str) -> None:
    assert resolve_link(RFC_BASE, href) == expected


@pytest.mark.parametrize(("href", "expected"), ABSOLUTE)
def test_an_absolute_link_is_repaired_or_none_as_the_url_standard_says(
    href: str, expected: str | None
) -> None:
    assert resolve_link("http://base.example/dir/page", href) == expected


@pytest.mark.parametrize("href", NO_LINKS)
def test_what_is_no_http_url_is_no_link(href: str) -> None:
    assert resolve_link("https://example.org/dir/page", href) is None


@pytest.mark.parametrize(
    ("base", "href", "expected"),
    [
        ("http://h", "x", "http://h/x"),
        ("http://h", "?x", "http://h/?x"),
        ("http://h?q", "x", "http://h/x"),
        ("http://h/a?b/c", "x", "http://h/x"),
        ("http://h/a#b/c", "x", "http://h/x"),
        ("http://h/a/b/", "x", "http://h/a/b/x"),
        ("http://h/a/b", "", "http://h/a/b"),
        ("http://h:8080/a/b", "/x", "http://h:8080/x"),
        ("HTTP://H:80/a/../b/c", "x", "http://h/b/x"),
        ("https://h/a", "//i/b", "https://i/b"),
        ("http://u:p@h/a/b", "x", "http://u:p@h/a/x"),
        ("http://[::1]:8/a/b", "x", "http://[::1]:8/a/x"),
    ],
)
def test_the_base_gives_what_the_link_leaves_out(base: str, href: str, expected: str) -> None:
    assert resolve_link(base, href) == expected


@pytest.mark.parametrize("base", ["", "no-url", "/a/b", "http://", "http://[", "mailto:x"])
def test_a_base_that_is_no_base_makes_a_relative_link_none(base: str) -> None:
    assert resolve_link(base, "a/b") is None


@pytest.mark.parametrize("base", ["", "no-url", "http://["])
def test_a_base_that_is_no_url_makes_every_link_none_as_in_the_standard(base: str) -> None:
    assert resolve_link(base, "http://h/x") is None
    assert resolve_link(base, "http://h/x y") is None


@pytest.mark.parametrize(
    ("href", "encoding", "expected"),
    [
        ("?q=\xe9", "cp1252", "http://h/?q=%E9"),
        ("\xe9?q=\xe9#\xe9", "cp1252", "http://h/%C3%A9?q=%E9"),  # the path is always UTF-8
        ("?q=\N{EURO SIGN}", "cp1252", "http://h/?q=%80"),
        ("?q=\N{SNOWMAN}b", "cp1252", "http://h/?q=%26%239731%3Bb"),  # as forms do
        ("?q=\N{SNOWMAN}\xe9\N{SNOWMAN}", "cp1252", "http://h/?q=%26%239731%3B%E9%26%239731%3B"),
        ("?q=\N{HIRAGANA LETTER A}", "cp932", "http://h/?q=%82%A0"),
        ("?q=\N{KATAKANA LETTER SO}", "cp932", "http://h/?q=%83\\"),  # a byte that is ASCII stays
        ("?a='\xe9\n b", "cp1252", "http://h/?a=%27%E9%20b"),
        ("?q=%E9", "cp1252", "http://h/?q=%E9"),
        ("?q=\xe9", "utf-8", "http://h/?q=%C3%A9"),
        ("?q=\xe9", "no-codec", "http://h/?q=%C3%A9"),
        ("\xe9#?\xe9", "cp1252", "http://h/%C3%A9"),
        ("//b\xfc.de/?\xfc", "cp1252", "http://xn--b-eha.de/?%FC"),
    ],
)
def test_a_query_is_sent_in_the_encoding_of_its_page(href: str, encoding: str, expected: str) -> None:
    assert resolve_link("http://h/", href, encoding=encoding) == expected


def as_the_parser_alone_has_it(base: str, href: str) -> str | None:
    try:
        url = join_url(base, href)
    except ValueError:
        return None
    return url.partition("#")[0] if url.startswith(("http://", "https://")) else None


BASES = [
    "http://h/", "https://a.b/c/d?q", "http://a.b:8080", "https://1.2.3.4/x/", "file:///a/", "x", "http://h//",
    "http://[::1]/a/b#c", "HTTPS://Ex%41mple.org:443/%7e/../q/r?s/t", "http://u:p@h/a/b",
]  # fmt: skip
BEGINNINGS = [
    "",
    "/",
    "//",
    "http:",
    "https://",
    "http://h",
    "http://1.2.3",
    "http://xn--a",
    "http://9.9.9.9:80",
    "?",
    ".",
    "../",
    "../../",
    "../../../..",
]
PIECES = st.text(alphabet="ab1./:?#%2eE@&=;'^|~_-\\ []\t\xe9A<`{", max_size=16)


@settings(max_examples=2000, deadline=None)
@given(st.sampled_from(BASES), st.sampled_from(BEGINNINGS), PIECES)
def test_the_short_way_gives_what_the_parser_gives(base: str, beginning: str, rest: str) -> None:
    href = beginning + rest
    assert resolve_link(base, href) == as_the_parser_alone_has_it(base, href)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(BASES), st.text(max_size=40))
def test_any_text_is_a_link_that_the_gate_admits_or_refuses(base: str, href: str) -> None:
    url = resolve_link(base, href)
    if url is None:
        return
    assert url.isascii()
    assert url.isprintable()
    assert not set(url) & set(' "<>#')
    slug = None
    try:
        target = admit(url)
    except Refused as refused:
        slug = refused.slug
    else:
        assert admit(target.url).url == target.url
    assert slug in {None, "bad-url"}


@settings(max_examples=500, deadline=None)
@given(
    st.text(max_size=30),
    st.text(max_size=30),
    st.sampled_from(["utf-8", "cp1252", "cp932", "iso2022_jp", "x", ""]),
)
def test_resolving_never_raises(base: str, href: str, encoding: str) -> None:
    resolve_link(base, href, encoding=encoding)
    url = resolve_link("http://h/", f"?{href}", encoding=encoding)
    assert url is None or url.isascii()


# --- the key --------------------------------------------------------------------------------------

SAME = [
    (
        "http://h/",
        ["http://h", "HTTP://H/", "http://h:80/", "http://h/#x", "http://h./", "http://h:/", "http://u:p@h/"],
    ),
    ("https://h/", ["https://h:443", "https://h:0443/", "https://%48/"]),
    ("http://h:443/", ["http://H:443/#"]),
    ("https://xn--bcher-kva.example/", ["https://B\xdcCHER.example/", "https://xn--BCHER-kva.example"]),
    ("http://127.0.0.1/", ["http://0x7f.1/", "http://2130706433"]),
    (
        "http://h/b",
        ["http://h/a/../b", "http://h/./b", "http://h/%2e/b", "http://h/a/%2E%2e/b", "http://h/a/.%2E/b"],
    ),
    ("http://h/~u/A-1_.x", ["http://h/%7Eu/%41%2D%31%5f%2Ex", "http://h/%7eu/%41-1_.x"]),
    ("http://h/%C3%A9?q=%2F", ["http://h/%c3%a9?q=%2f", "http://h/\xe9?q=%2f"]),
    ("http://h/?q=~", ["http://h/?q=%7e", "http://h?q=%7E#f"]),
    ("http://h/a%20b", ["http://h/a%20b"]),
]


@pytest.mark.parametrize(("key", "spellings"), SAME)
def test_all_spellings_of_a_url_have_one_key(key: str, spellings: list[str]) -> None:
    assert canonical_key(key) == key
    assert [canonical_key(spelling) for spelling in spellings] == [key] * len(spellings)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://h/a", "http://h/A"),
        ("http://h/a", "http://h/a/"),
        ("http://h/a", "https://h/a"),
        ("http://h/a", "http://h/a?"),
        ("http://h/a//b", "http://h/a/b"),
        ("http://h/a%2Fb", "http://h/a/b"),
        ("http://h/a?b=1&c=2", "http://h/a?c=2&b=1"),
        ("http://h/a?b=+", "http://h/a?b=%20"),
        ("http://h/a?b=%2B", "http://h/a?b=+"),
        ("http://h/%25%33%32", "http://h/%32"),
        ("http://h/%%32e", "http://h/%2e"),
        ("http://h/%%32e", "http://h/"),
        ("http://h/%2%65", "http://h/."),
        ("http://www.h.org/", "http://h.org/"),
        ("http://h:8080/", "http://h/"),
    ],
)
def test_urls_that_may_be_different_things_have_different_keys(one: str, other: str) -> None:
    assert canonical_key(one) != canonical_key(other)


@pytest.mark.parametrize(
    "path", ["%%32e", "%%32%65", "%2%65", "%%%32e", "%%2e", "%2%2e", "a/%%32e%%32e/b", "%", "%2", "%%"]
)
def test_taking_escapes_away_makes_no_new_ones(path: str) -> None:
    key = canonical_key(f"http://h/{path}")
    assert canonical_key(key) == key


def test_a_sorted_query_goes_by_name_and_keeps_the_order_of_one_name() -> None:
    assert canonical_key("http://h/?b=2&a=9&b=1&a=10", sort_query=True) == "http://h/?a=9&a=10&b=2&b=1"
    assert canonical_key("http://h/?b&a=&=1", sort_query=True) == "http://h/?=1&a=&b"
    assert canonical_key("http://h/z&a?b", sort_query=True) == "http://h/z&a?b"


def test_what_the_gate_refuses_is_its_own_key() -> None:
    assert canonical_key("mailto:x") == "mailto:x"
    assert canonical_key("http://[/") == "http://[/"


SAFE = string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/"
PATHS = st.text(alphabet=SAFE + "%%%2eE7", max_size=20)
QUERIES = st.none() | st.text(alphabet=SAFE + "?%%27Ea", max_size=12)
NAMES = st.sampled_from(["h", "example.org", "a-b.c_d.example", "xn--bcher-kva.de", "127.0.0.1", "[::1]"])
URLS = st.builds(
    lambda scheme, name, port, path, query: (
        f"{scheme}://{name}{port}/{path}" + ("" if query is None else f"?{query}")
    ),
    st.sampled_from(["http", "https"]),
    NAMES,
    st.sampled_from(["", ":80", ":443", ":8080", ":65535", ":080"]),
    PATHS,
    QUERIES,
)


@settings(max_examples=1500, deadline=None)
@given(URLS)
def test_a_key_is_its_own_key_and_can_be_sent(url: str) -> None:
    key = canonical_key(url)
    assert canonical_key(key) == key
    assert admit(key).url == key
    by_name = canonical_key(url, sort_query=True)
    assert canonical_key(by_name, sort_query=True) == by_name


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(["http", "https"]), NAMES, PATHS, QUERIES, st.text(alphabet=SAFE, max_size=5))
def test_fragment_default_port_and_case_of_the_host_make_no_difference(
    scheme: str, name: str, path: str, query: str | None, fragment: str
) -> None:
    tail = f"/{path}" + ("" if query is None else f"?{query}")
    port = 443 if scheme == "https" else 80
    key = canonical_key(f"{scheme}://{name}{tail}")
    assert canonical_key(f"{scheme.upper()}://{name.upper()}:{port}{tail}#{fragment}") == key


@settings(max_examples=1000, deadline=None)
@given(URLS)
def test_keys_agree_with_the_long_way(url: str) -> None:
    """The long way, by making the short one fail: a fragment is never left alone."""
    assert canonical_key(url) == canonical_key(f"{url}#")


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=40))
def test_any_text_has_a_key(text: str) -> None:
    key = canonical_key(f"http://h/{text}")
    assert canonical_key(key) == key
    assert canonical_key(canonical_key(text)) == canonical_key(text)
