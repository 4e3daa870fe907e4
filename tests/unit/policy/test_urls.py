"""Section A of what must be survived: URLs. The gate admits or refuses, and never raises anything else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import FetcherError, RedirectFailed, Refused
from fetcher.model import Target
from fetcher.policy.urls import admit, resolve_redirect

CLEAN = re.compile(r"[!-\[\]-~]+")  # printable ASCII without space and backslash
BASE = admit("http://example.org/a/b/c?q=1")


def refusal(text: str) -> Refused:
    with pytest.raises(Refused) as caught:
        admit(text)
    assert caught.value.slug == "bad-url"
    assert caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint in caught.value.message
    return caught.value


def no_way(base: Target, reference: str) -> None:
    with pytest.raises(RedirectFailed) as caught:
        resolve_redirect(base, reference)
    assert caught.value.slug == "bad-redirect"
    assert caught.value.message
    assert caught.value.message.isprintable()


GOOD = [
    # ordinary, as most are
    ("http://example.org/", "http://example.org/", "example.org:80"),
    ("https://example.org/a?b=c", "https://example.org/a?b=c", "example.org:443"),
    ("https://example.org", "https://example.org/", "example.org:443"),
    ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080/a", "127.0.0.1:8080"),
    ("http://localhost:8080", "http://localhost:8080/", "localhost:8080"),
    ("http://my_host.example.org/", "http://my_host.example.org/", "my_host.example.org:80"),
    # path and query are sent as given
    ("http://h/%7e%2F%41?%zz", "http://h/%7e%2F%41?%zz", "h:80"),
    ("http://h/%zz%", "http://h/%zz%", "h:80"),
    ("http://h/a%0d%0aX", "http://h/a%0d%0aX", "h:80"),
    ("http://h/%20x", "http://h/%20x", "h:80"),
    ("http://h//a//b/", "http://h//a//b/", "h:80"),
    ("http://h/a;b=1,2/(x)!*'$&+:@", "http://h/a;b=1,2/(x)!*'$&+:@", "h:80"),
    ("http://h/?a[]=1&b={c}|^`'", "http://h/?a[]=1&b={c}|^`'", "h:80"),
    ("http://h?q", "http://h/?q", "h:80"),
    ("http://h/?", "http://h/?", "h:80"),
    ("http://h/?a?b/../c", "http://h/?a?b/../c", "h:80"),
    # what HTTP can't carry is encoded
    ("http://h/grüße?ö", "http://h/gr%C3%BC%C3%9Fe?%C3%B6", "h:80"),
    ('http://h/"<>^`{}', "http://h/%22%3C%3E%5E%60%7B%7D", "h:80"),
    ("http://h/\u202e\x85", "http://h/%E2%80%AE%C2%85", "h:80"),
    # dot segments
    ("http://h/a/../b", "http://h/b", "h:80"),
    ("http://h/a/./b/.", "http://h/a/b/", "h:80"),
    ("http://h/a/b/..", "http://h/a/", "h:80"),
    ("http://h/../../x", "http://h/x", "h:80"),
    ("http://h/a/%2e%2E/b/.%2e/%2e", "http://h/", "h:80"),
    ("http://h/.well-known/x...y", "http://h/.well-known/x...y", "h:80"),
    ("http://h/.//x", "http://h//x", "h:80"),
    # scheme and port
    ("HTTP://Example.ORG/Path", "http://example.org/Path", "example.org:80"),
    ("http://h:80/", "http://h/", "h:80"),
    ("https://h:443/", "https://h/", "h:443"),
    ("http://h:443/", "http://h:443/", "h:443"),
    ("http://h:/", "http://h/", "h:80"),
    ("http://h:0080/", "http://h/", "h:80"),
    ("http://h:65535/", "http://h:65535/", "h:65535"),
    ("  http://h/a\r\n", "http://h/a", "h:80"),
    # hosts
    ("http://example.org./", "http://example.org/", "example.org:80"),
    ("http://Bücher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example:80"),
    ("http://XN--bcher-KVA.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example:80"),
    ("http://faß.example/", "http://xn--fa-hia.example/", "xn--fa-hia.example:80"),
    ("http://日本語。ｊｐ/", "http://xn--wgv71a119e.jp/", "xn--wgv71a119e.jp:80"),
    ("http://i❤.example/", "http://xn--i-7iq.example/", "xn--i-7iq.example:80"),
    ("http://exa\u00admple.org/", "http://example.org/", "example.org:80"),
    ("http://ex%61mple.org/", "http://example.org/", "example.org:80"),
    ("http://b%C3%BCcher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example:80"),
    ("http://[::1]/", "http://[::1]/", "[::1]:80"),
    ("http://[0:0:0::0:1]:8080/", "http://[::1]:8080/", "[::1]:8080"),
    ("http://[2001:DB8::A]/", "http://[2001:db8::a]/", "[2001:db8::a]:80"),
    ("http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "[::ffff:7f00:1]:80"),
]


@pytest.mark.parametrize(("text", "url", "host"), GOOD)
def test_a_good_url_is_admitted_in_its_one_form(text: str, url: str, host: str) -> None:
    target = admit(text)
    assert (target.url, target.host) == (url, host)
    assert target.userinfo is None
    assert admit(target.url) == target


def test_a_target_has_its_parts() -> None:
    assert admit("https://Example.org:8443/a") == Target(
        "https://example.org:8443/a", "https", "example.org", 8443, "example.org:8443"
    )
    assert admit("http://[::1]/").hostname == "::1"


# A1, A13
@pytest.mark.parametrize(
    "text",
    ["", " ", "\n", "http://", "https://", "http:///x", "http://?q", "http://#f", "http://:80/", "http://user@/", "http://./",
     "http://../", "http://a..b/", "http://.a/", "http://a../", "http://\u00ad/", "http://%2e/"],
)  # fmt: skip
def test_a_url_without_a_host_is_refused(text: str) -> None:
    refusal(text)


# A2
@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("example.org/a", "https://example.org/a"),
        ("//example.org/a", "https://example.org/a"),
        ("://example.org/a", "https://example.org/a"),
        ("localhost:8080/a", "https://localhost:8080/a"),
        ("example.org:8080", "https://example.org:8080/"),
    ],
)
def test_a_missing_scheme_is_refused_with_the_url_that_was_meant(text: str, meant: str) -> None:
    assert refusal(text).message == f"the URL has no scheme; did you mean {meant}?"


# A3
@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("http:\\\\host\\p", "http://host/p"),
        ("http://host\\p", "http://host/p"),
        ("http:/host", "http://host/"),
        ("http:host/a", "http://host/a"),
    ],
)
def test_wrong_slashes_are_refused_with_the_url_that_was_meant(text: str, meant: str) -> None:
    assert f"did you mean {meant}?" in refusal(text).message


def test_a_backslash_in_the_query_is_refused_with_its_escape() -> None:
    assert "%5C" in refusal("http://h/?a\\b").hint


# A4, A5
@pytest.mark.parametrize("character", ["\t", "\r", "\n", "\x00", "\x01", "\x1b", "\x1f", "\x7f"])
@pytest.mark.parametrize(
    "place",
    ["http://ho{}st/", "http://h/a{}b", "http://h/?a{}b", "ht{}tp://h/", "http://h/#a{}b", "http://u{}:p@h/"],
)
def test_a_control_character_is_refused_anywhere(character: str, place: str) -> None:
    refusal(place.format(character))


def test_a_space_is_refused_with_its_escape() -> None:
    assert refusal("http://h/a b").message == "the URL has a space in it; write it as %20"


# A6
def test_an_encoded_line_break_stays_encoded() -> None:
    assert admit("http://h/%0d%0aX-Evil:1").url == "http://h/%0d%0aX-Evil:1"


# A7
@pytest.mark.parametrize(
    ("text", "userinfo"),
    [
        ("http://user:pass@h/a", "user:pass"),
        ("http://user@h/a", "user:"),
        ("http://user:@h/a", "user:"),
        ("http://:pass@h/a", ":pass"),
        ("http://us%65r:p%40ss%3A@h/a", "user:p@ss:"),
        ("http://user:p@ss@h/a", "user:p@ss"),
        ("http://user:%E4%B8%AD@h/a", "user:中"),
        ("http://user:%E9@h/a", "user:é"),
        ("http://@h/a", None),
        ("http://:@h/a", None),
    ],
)
def test_userinfo_is_taken_off_the_url_and_decoded(text: str, userinfo: str | None) -> None:
    target = admit(text)
    assert target.userinfo == userinfo
    assert target.url == "http://h/a"


@pytest.mark.parametrize(
    "text",
    [
        "http://user:C4N4RY@ho st/", "http://user:C4N4RY@h:99999/", "http://user:C4N4RY/x@h/", "http:/user:C4N4RY@h/",
        "user:C4N4RY@h/", "//user:C4N4RY@h/", "//user:1/C4N4RY@h/", "http://user:C4N4RY@/", "http:\\\\user:C4N4RY@h", "http://user:C4N4RY@h\\a",
        "ftp://user:C4N4RY@h/", "http://C4N4RY@1.2.3.4.5/", "C4N4RY@h", "http://u:C4N4RY%0a@h/", "C4N4RY:pass@h/",
        "http://user:1234/C4N4RY@@h:x/\x01",
    ],
)  # fmt: skip
def test_no_refusal_shows_a_password(text: str) -> None:
    error = refusal(text)
    assert "c4n4ry" not in (error.message + error.hint + repr(error.args)).lower()


@pytest.mark.parametrize(
    "text", ["http://u:%0d%0a@h/", "http://u%00:p@h/", "http://u:%7f@h/", "http://u:%C2%85@h/"]
)
def test_encoded_control_characters_in_userinfo_are_refused(text: str) -> None:
    assert "user name or password" in refusal(text).message


# A8
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("http://good@evil/", "evil"),
        ("http://good:80@evil:81/", "evil"),
        ("http://good#@evil/", "good"),
        ("http://good/@evil/", "good"),
        ("http://good?@evil/", "good"),
        ("http://good@evil#@other/", "evil"),
        ("http://a@b@evil/", "evil"),
        ("http://good%40x@evil/", "evil"),
    ],
)
def test_policy_and_connection_see_the_same_host(text: str, name: str) -> None:
    target = admit(text)
    assert target.hostname == name
    assert target.url.startswith((f"http://{name}/", f"http://{name}:81/"))


@pytest.mark.parametrize(
    "host",
    [
        "good;evil",
        "good\\@evil",
        "good%40evil",
        "good%2fevil",
        "good%23evil",
        "good,evil",
        "good&evil",
        "a%5Cb",
    ],
)
def test_a_delimiter_in_the_host_is_refused(host: str) -> None:
    refusal(f"http://{host}/")


# A9
@pytest.mark.parametrize(
    "port",
    [
        "0",
        "00",
        "65536",
        "99999999999999999999",
        "x",
        "-1",
        "+80",
        "8_0",
        "80:80",
        "８０",
        "٨٠",
        "0x50",
        "80;",
    ],
)
def test_a_bad_port_is_refused(port: str) -> None:
    refusal(f"http://example.org:{port}/")


def test_an_empty_port_is_the_default() -> None:
    assert admit("https://example.org:/").port == 443


# A10
@pytest.mark.parametrize("text", ["http://h/a#f", "http://h/a#", "http://h/a#f?x/../y", "http://h/a#ü#"])
def test_the_fragment_is_stripped(text: str) -> None:
    assert admit(text).url == "http://h/a"


# A11
def test_a_url_above_the_limit_is_refused_in_bytes_as_sent() -> None:
    longest = "http://h/" + "a" * (8192 - 9)
    assert admit(longest).url == longest
    refusal(longest + "a")
    refusal("http://h/" + "é" * 2000)
    refusal("http://h/" + "a" * 1_000_000)
    refusal("a" * 1_000_000)
    assert admit("http://h/", max_bytes=9).url == "http://h/"
    with pytest.raises(Refused):
        admit("http://hh", max_bytes=9)


# A12
@pytest.mark.parametrize(
    "host",
    [
        "xn--", "xn--a", "xn--\u00fc", "xn--zzzzzzzz99999", "xn--bcher-kva-", "xn---tda", "xn--abc-", "\u200d.example", "a\u200db.example",
        "\u0301a.example", "\u05d0a\u05d0.example", "\ufffd.example", "\u2260\ufffe", "ex\u2044ample.org\u2f00\x80",
    ],
)  # fmt: skip
def test_an_invalid_international_name_is_refused(host: str) -> None:
    refusal(f"http://{host}/")


def test_a_homograph_is_shown_and_stored_in_punycode() -> None:
    assert admit("http://аpple.example/").hostname == "xn--pple-43d.example"


def test_a_joiner_where_the_script_wants_it_is_kept() -> None:
    assert admit("http://क्‍ष.example/").hostname == admit(admit("http://क्‍ष.example/").url).hostname


# A13
def test_a_label_of_64_characters_is_refused_and_one_of_63_is_not() -> None:
    assert admit(f"http://{'a' * 63}.org/").hostname == "a" * 63 + ".org"
    refusal(f"http://{'a' * 64}.org/")
    refusal(f"http://{'ü' * 64}.org/")
    refusal(f"http://{'ü' * 60}.org/x"[:-2] + "é" * 4)


def test_a_name_longer_than_dns_allows_is_refused() -> None:
    label = "a" * 49 + "."
    assert len(admit(f"http://{label * 5}abc/").hostname) == 253
    refusal(f"http://{label * 5}abcd/")
    refusal(f"http://{'ü' * 5000}/")


# A14
@pytest.mark.parametrize(
    "host", ["%00", "a%20b", "%zz", "%", "%ff", "%2541", "a%0ab", "%3A%3A1", "%5B::1%5D", "h%3a80"]
)
def test_an_encoded_host_is_decoded_once_and_checked_again(host: str) -> None:
    refusal(f"http://{host}/")


# A15
@pytest.mark.parametrize("scheme", ["file", "data", "ftp", "javascript", "mailto", "gopher", "ws", "FILE"])
@pytest.mark.parametrize("rest", ["///etc/passwd", "//host/a", "x", "a@b"])
def test_another_scheme_is_refused_by_name(scheme: str, rest: str) -> None:
    if rest == "a@b" and scheme in {"ftp", "gopher", "ws"}:  # may as well be `user:password@host`
        return
    assert f"the scheme {scheme.lower()} is not supported" in refusal(f"{scheme}:{rest}").message


# A16
@pytest.mark.parametrize("host", ["[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1%]"])
def test_an_ipv6_zone_is_refused(host: str) -> None:
    assert "zone" in refusal(f"http://{host}/").message


@pytest.mark.parametrize(
    "host",
    [
        "[::1",
        "::1]",
        "[]",
        "[::g]",
        "[1.2.3.4]",
        "[v1.x]",
        "[::1]x",
        "[[::1]]",
        "[::1]]",
        "[::ffff:1.2.3.04]",
        "::1",
        "1::2:3",
        "[:]",
    ],
)
def test_a_malformed_ipv6_host_is_refused(host: str) -> None:
    refusal(f"http://{host}/")


def test_an_ipv6_host_without_brackets_is_refused_with_the_way_to_write_it() -> None:
    assert "brackets" in refusal("http://::1/").hint


# A17
@pytest.mark.parametrize(
    "text", ["http://h/\udc80", "http://\ud800.org/", "\udfff", "http://h/#\udc80", "http://u:\udc80@h/"]
)
def test_a_lone_surrogate_is_refused(text: str) -> None:
    assert "UTF-8" in refusal(text).message


# B18, B19
@pytest.mark.parametrize(
    "host",
    ["127.1", "127.0.1", "0x7f.1", "0X7F.1", "0177.1", "2130706433", "0x7f000001", "017700000001", "127.0.0.1.", "127.0x0.00.1",
     "①②⑦.0.0.1", "127。0。0。1", "127．0．0．1", "１２７.1", "%31%32%37.0.0.1", "0x7f.0x.0x.0x1"],
)  # fmt: skip
def test_every_spelling_of_an_ipv4_address_becomes_the_dotted_one(host: str) -> None:
    target = admit(f"http://{host}/a")
    assert target == Target("http://127.0.0.1/a", "http", "127.0.0.1", 80, "127.0.0.1:80")


@pytest.mark.parametrize(
    "host",
    ["256.1.1.1", "1.256.1.1", "1.2.3.256", "1.2.3.4.5", "4294967296", "1.16777216", "09", "0x100000000", "example.1", "a.0x", "1..2", "0x-1.1",
     "1_0.1", "0x1_0.1", "08.1", "-1.1", "1.2.3.08", "9" * 63, "a.b.0x7f", "example.１"],
)  # fmt: skip
def test_a_host_that_ends_in_a_number_and_is_no_address_is_refused(host: str) -> None:
    refusal(f"http://{host}/")


# wide inputs

FRAGMENTS = st.sampled_from(
    ["http", "https", "HTTP", ":", "/", "//", "\\", "@", "?", "#", ".", "..", "%2e", "%", "%00", "%ff", "%zz", "[", "]", "[::1]", "::",
     "127.0.0.1", "0x7f", "1", "99999", "80", "example.org", "xn--", "xn--bcher-kva", "ü", "\u200d", "\u3002", "①", "\u05d0", "\u0301",
     " ", "\t", "\n", "\x00", "\x85", "\u2028", "\udc80", "\U0001f600", "a", "-", "_", ";", "user:pass@", "ftp:", "a" * 64, "❤"]
)  # fmt: skip
ODD_URLS = st.one_of(
    st.text(st.characters()),
    st.lists(FRAGMENTS, max_size=12).map("".join),
    st.tuples(st.just("http://"), st.lists(FRAGMENTS, max_size=8).map("".join)).map("".join),
    st.tuples(
        st.just("http://"),
        st.text(st.characters(), max_size=20),
        st.just("/"),
        st.text(st.characters(), max_size=20),
    ).map("".join),
    st.tuples(st.just("http://xn--"), st.text("abcdefghijklmnopqrstuvwxyz0123456789-", max_size=20)).map(
        "".join
    ),
)


def holds_together(target: Target) -> None:
    assert CLEAN.fullmatch(target.url)
    assert "#" not in target.url
    scheme, _, rest = target.url.partition("://")
    location = rest[: rest.index("/")]
    default = {"http": 80, "https": 443}[target.scheme]
    bracketed = f"[{target.hostname}]" if ":" in target.hostname else target.hostname
    assert location == (bracketed if target.port == default else f"{bracketed}:{target.port}")
    assert scheme == target.scheme
    assert target.host == f"{bracketed}:{target.port}"
    assert 1 <= target.port <= 65535
    assert re.fullmatch(r"[a-z0-9._-]{1,253}|[0-9a-f:]+", target.hostname)


@given(ODD_URLS)
def test_any_text_is_admitted_soundly_or_refused_and_nothing_else(text: str) -> None:
    try:
        target = admit(text)
    except Refused:
        refusal(text)
        return
    holds_together(target)
    again = admit(target.url)
    assert again.url == target.url
    assert again.host == target.host


@given(st.from_regex(r"\Ahttps?://[a-z0-9.-]{1,12}(:[0-9]{1,5})?(/[ -~]{0,12})?\Z"))
def test_the_quick_way_and_the_long_way_agree(text: str) -> None:
    def outcome(url: str) -> Target | None:
        try:
            return admit(url)
        except Refused:
            return None

    assert outcome(text) == outcome("HTTP" + text[4:])


@given(ODD_URLS, st.sampled_from([BASE, admit("https://u:p@[::1]:8443/x/y?z")]))
def test_any_location_is_resolved_soundly_or_fails_and_nothing_else(reference: str, base: Target) -> None:
    try:
        target = resolve_redirect(base, reference)
    except RedirectFailed:
        no_way(base, reference)
        return
    holds_together(target)


# redirects (D50, D51; the examples of RFC 3986 §5.4, as browsers resolve them)


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("g", "http://example.org/a/b/g"),
        ("./g", "http://example.org/a/b/g"),
        ("g/", "http://example.org/a/b/g/"),
        ("/g", "http://example.org/g"),
        ("//other.example", "http://other.example/"),
        ("//other.example/x", "http://other.example/x"),
        ("?y", "http://example.org/a/b/c?y"),
        ("g?y/../z", "http://example.org/a/b/g?y/../z"),
        ("#s", "http://example.org/a/b/c?q=1"),
        ("g#s", "http://example.org/a/b/g"),
        ("..", "http://example.org/a/"),
        ("../../../g", "http://example.org/g"),
        ("%2e%2e/g", "http://example.org/a/g"),
        ("./a:b", "http://example.org/a/b/a:b"),
        ("https://example.org/x", "https://example.org/x"),
        ("HTTP://EXAMPLE.org/X", "http://example.org/X"),
        ("  /g\t", "http://example.org/g"),
        ("/a b?c d", "http://example.org/a%20b?c%20d"),
        ("/gr\u00c3\u00bc\u00c3\u009fe", "http://example.org/gr%C3%BC%C3%9Fe"),  # UTF-8 as Latin-1
        ("/gr\u00fce", "http://example.org/gr%FCe"),  # Latin-1 itself
        ("http://b\u00c3\u00bccher.example/", "http://xn--bcher-kva.example/"),
        ("/日本", "http://example.org/%E6%97%A5%E6%9C%AC"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("\\g", "http://example.org/g"),
        ("g\\h", "http://example.org/a/b/g/h"),
        ("\\..\\g?x\\y#\\z", "http://example.org/g?x%5Cy"),
        ("\\\\other.example\\x", "http://other.example/x"),
        ("/\\other.example/x", "http://other.example/x"),
        ("///other.example/x", "http://other.example/x"),
        ("////other.example/x", "http://other.example/x"),
        ("http:/x", "http://example.org/x"),
        ("HTTP:x", "http://example.org/a/b/x"),
        ("https:/other.example/x", "https://other.example/x"),
        ("https:other.example", "https://other.example/"),
        ("http:///other.example/x", "http://other.example/x"),
        ("http:\\\\other.example\\x", "http://other.example/x"),
        ("/g\th", "http://example.org/gh"),
        ("ht\ttp://other.example/x", "http://other.example/x"),
        ("http:\\\\127.1\\", "http://127.0.0.1/"),
    ],
)
def test_a_location_is_resolved_as_browsers_do(reference: str, url: str) -> None:
    assert resolve_redirect(BASE, reference).url == url


@pytest.mark.parametrize(
    "reference",
    ["", "  ", "file:///etc/passwd", "ftp://h/", "data:text/html,x", "javascript:alert(1)", "http://", "http:///", "///",
     "//", "/a\x00b", "/a\r\nb", "/\ta\nb", "\\a\x01b", "///h/\x7f", "\\\\ho st\\x", "file:\\\\h\\x", "http:\\\\h:0\\", "http://ho st/", "http://h\u00fc.example/", "/" + "a" * 8192, "a" * 100_000,
     "http://h:0/", "/\udc80", "/" + "\u00fc" * 3000],
)  # fmt: skip
def test_a_location_that_leads_nowhere_fails_without_a_guess(reference: str) -> None:
    no_way(BASE, reference)


def test_userinfo_of_a_location_is_taken_and_the_base_keeps_its_own_for_its_paths() -> None:
    base = admit("http://user:pass@example.org/a")
    assert resolve_redirect(BASE, "http://u:p@h/").userinfo == "u:p"
    assert resolve_redirect(base, "/b").userinfo == "user:pass"
    assert resolve_redirect(base, "//example.org/b").userinfo is None
    assert resolve_redirect(base, "http://other.example/").userinfo is None


def test_no_failed_redirect_shows_a_password() -> None:
    with pytest.raises(FetcherError) as caught:
        resolve_redirect(BASE, "http://user:C4N4RY@ho st:x/")
    assert "C4N4RY" not in str(caught.value)
