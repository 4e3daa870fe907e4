"""Cookies of a chain of redirects, and of a file."""

import calendar
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import ConfigError
from fetcher.model import Target
from fetcher.policy.cookies import (
    MOST_HEADER_BYTES,
    MOST_PER_DOMAIN,
    Cookie,
    RedirectCookies,
    jar,
    load_netscape,
    parse_date,
    parse_set_cookie,
)

NOW = 1_700_000_000.0


def target(url):
    scheme, _, rest = url.partition("://")
    name = rest.split("/")[0]
    port = {"http": 80, "https": 443}[scheme]
    return Target(url=url, scheme=scheme, hostname=name, port=port, host=f"{name}:{port}")


ORIGIN = target("https://www.example.org/a/b?q=/z/")


def after(*lines, origin=ORIGIN, loaded=None):
    cookies = RedirectCookies(loaded)
    cookies.store(origin, lines, NOW)
    return cookies


def sent(cookies, url, now=NOW):
    return cookies.header(target(url), now)


def test_what_was_set_is_sent_back_to_the_same_host():
    cookies = after("a=1; HttpOnly; SameSite=Lax", "b=x=y ; Path=/")
    assert sent(cookies, "https://www.example.org/a/c") == "a=1; b=x=y"


def test_nothing_is_sent_where_nothing_was_set():
    assert sent(RedirectCookies(), "https://www.example.org/") is None
    assert sent(after("a=1"), "https://other.example/a/") is None


@pytest.mark.parametrize(
    ("attribute", "url", "is_sent"),
    [
        ("", "https://www.example.org/a/", True),
        ("", "https://example.org/a/", False),
        ("", "https://sub.www.example.org/a/", False),
        ("Domain=", "https://sub.www.example.org/a/", False),
        ("Domain=www.example.org", "https://sub.www.example.org/a/", True),
        ("Domain=example.org", "https://example.org/a/", True),
        ("Domain=.EXAMPLE.org", "https://mail.example.org/a/", True),
        ("Domain=example.org", "https://notexample.org/a/", False),
    ],
)
def test_a_cookie_goes_where_its_domain_matches(attribute, url, is_sent):
    assert (sent(after(f"n=v; {attribute}"), url) == "n=v") is is_sent


@pytest.mark.parametrize(
    "domain",
    [
        "org",
        ".org",
        "other.example",
        "sub.www.example.org",
        "w.example.org",
        "example.org.",
        "..example.org",
        "ample.org",
        "exämple.org",
    ],
)
def test_a_cookie_for_a_suffix_or_another_domain_is_ignored(domain):
    assert not RedirectCookies().store(ORIGIN, [f"n=v; Domain={domain}"], NOW)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("sub.ac.jp", "ac.jp"),
        ("a.co.uk", ".CO.UK"),
        ("me.github.io", "github.io"),
        ("a.b.kawasaki.jp", "b.kawasaki.jp"),
    ],
)
def test_a_cookie_for_a_public_suffix_is_refused(host, domain):
    assert parse_set_cookie(f"n=v; Domain={domain}", target(f"https://{host}/"), NOW) is None


@pytest.mark.parametrize(
    ("host", "domain", "is_host_only"),
    [
        ("www.univ.ac.jp", "univ.ac.jp", False),
        ("a.b.example.test", "example.test", False),
        ("x.city.kawasaki.jp", "city.kawasaki.jp", False),
        ("github.io", "github.io", True),
        ("ac.jp", "ac.jp", True),
    ],
)
def test_a_cookie_below_a_public_suffix_is_kept_and_one_of_the_suffix_is_its_own(host, domain, is_host_only):
    cookie = parse_set_cookie(f"n=v; Domain={domain}", target(f"https://{host}/"), NOW)
    assert (cookie.domain, cookie.is_host_only) == (domain, is_host_only)


def test_the_list_of_public_suffixes_is_loaded_by_a_domain_and_by_nothing_else():
    program = (
        "import sys\n"
        "from fetcher.policy.cookies import parse_set_cookie\n"
        "from fetcher.policy.urls import admit\n"
        "for line in ('n=v', 'n=v; Domain=a.test', 'n=v; Domain=test'):\n"
        "    parse_set_cookie(line, admit('https://x.a.test/'), 0)\n"
        "    print('publicsuffixlist' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ran.stdout.split(), ran.stderr) == (["False", "True", "True"], "")


@pytest.mark.parametrize(
    ("origin", "attribute", "is_kept"),
    [
        ("https://192.0.2.1/", "", True),
        ("https://192.0.2.1/", "Domain=192.0.2.1", True),
        ("https://192.0.2.1/", "Domain=0.2.1", False),
        ("https://192.0.2.1/", "Domain=2.1", False),
        ("https://localhost/", "", True),
        ("https://localhost/", "Domain=localhost", True),
        ("https://a.localhost/", "Domain=localhost", False),
    ],
)
def test_an_address_or_a_bare_name_has_cookies_for_itself_only(origin, attribute, is_kept):
    cookie = parse_set_cookie(f"n=v; {attribute}", target(origin), NOW)
    assert (cookie is not None) is is_kept
    if cookie is not None:
        assert cookie.is_host_only


@pytest.mark.parametrize(
    ("attribute", "path", "is_sent"),
    [
        ("", "/a/c", True),
        ("", "/a", True),
        ("", "/ab", False),
        ("", "/", False),
        ("Path=/", "/zzz", True),
        ("Path=relative", "/a/c", True),
        ("Path=relative", "/relative", False),
        ("Path=/x", "/x", True),
        ("Path=/x", "/x/y", True),
        ("Path=/x", "/x?y", True),
        ("Path=/x", "/xy", False),
        ("Path=/x/", "/x", False),
        ("Path=/x/", "/x/y", True),
        ("Path=/x; Path=/y", "/y", True),
    ],
)
def test_a_cookie_goes_where_its_path_matches(attribute, path, is_sent):
    assert (sent(after(f"n=v; {attribute}"), "https://www.example.org" + path) == "n=v") is is_sent


def test_longer_paths_come_first_then_what_was_set_first():
    cookies = after("a=1; Path=/", "b=2; Path=/a", "c=3; Path=/", "d=4; Path=/a")
    assert sent(cookies, "https://www.example.org/a/") == "b=2; d=4; a=1; c=3"


def test_a_secure_cookie_is_set_and_sent_over_https_only():
    cookies = after("n=v; Secure; Path=/")
    assert sent(cookies, "https://www.example.org/") == "n=v"
    assert sent(cookies, "http://www.example.org/") is None
    assert not cookies.store(target("http://www.example.org/"), ["m=v; Secure"], NOW)


def test_plain_http_does_not_replace_a_secure_cookie():
    cookies = after("n=v; Secure; Path=/")
    assert not cookies.store(target("http://www.example.org/"), ["n=evil; Path=/"], NOW)
    assert not cookies.store(target("http://www.example.org/"), ["n=; Path=/; Max-Age=0"], NOW)
    assert sent(cookies, "https://www.example.org/") == "n=v"


def test_plain_http_does_not_replace_a_secure_cookie_of_the_file():
    loaded = jar(
        [Cookie("other", "v", "www.example.org"), Cookie("n", "v", "www.example.org", is_secure=True)]
    )
    cookies = after("n=evil; Path=/", origin=target("http://www.example.org/"), loaded=loaded)
    assert sent(cookies, "https://www.example.org/") == "other=v; n=v"


def test_an_address_has_no_domains_above_it_whatever_a_file_says():
    cookies = RedirectCookies(jar([Cookie("n", "v", "2.1", is_host_only=False)]))
    assert sent(cookies, "https://192.0.2.1/") is None
    assert sent(cookies, "https://x.2.1a/") is None


def test_a_cookie_ends_at_the_second_it_names():
    assert sent(after("n=v; Path=/; Max-Age=60"), "https://www.example.org/", NOW + 60) is None


@pytest.mark.parametrize(
    ("line", "is_kept"),
    [
        ("__Host-n=v; Secure; Path=/", True),
        ("__Host-n=v; Secure; Path=/a", False),
        ("__Host-n=v; Path=/", False),
        ("__Host-n=v; Secure; Path=/; Domain=example.org", False),
        ("__Secure-n=v; Secure", True),
        ("__secure-n=v", False),
    ],
)
def test_a_prefix_of_the_name_is_kept_to(line, is_kept):
    assert (parse_set_cookie(line, ORIGIN, NOW) is not None) is is_kept


@pytest.mark.parametrize(
    ("attributes", "lives_s"),
    [
        ("", None),
        ("Max-Age=60", 60.0),
        ("Max-Age=60; Expires=Wed, 09 Jun 2021 10:18:14 GMT", 60.0),
        ("Expires=Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Max-Age=x; Expires=Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Expires=whenever", None),
    ],
)
def test_max_age_and_expires_bound_its_life(attributes, lives_s):
    cookies = after(f"n=v; Path=/; {attributes}")
    assert sent(cookies, "https://www.example.org/", NOW + 59) == "n=v"
    assert (sent(cookies, "https://www.example.org/", NOW + 61) is None) is (lives_s is not None)


@pytest.mark.parametrize(
    "attribute", ["Max-Age=0", "Max-Age=-5", "Max-Age=-" + "9" * 400, "Expires=Thu, 01-Jan-1970 00:00:00 GMT"]
)
def test_a_cookie_that_has_expired_removes_the_one_that_was_there(attribute):
    cookies = after("n=v; Path=/")
    assert cookies.store(ORIGIN, [f"n=; Path=/; {attribute}"], NOW)
    assert sent(cookies, "https://www.example.org/") is None


def test_store_says_whether_what_would_be_sent_has_changed():
    cookies = RedirectCookies()
    assert cookies.store(ORIGIN, ["n=v; Path=/; Max-Age=60"], NOW)
    assert not cookies.store(ORIGIN, ["n=v; Path=/; Max-Age=60"], NOW + 1)
    assert cookies.store(ORIGIN, ["n=w; Path=/; Max-Age=60"], NOW + 2)
    assert cookies.store(ORIGIN, ["n=; Path=/; Max-Age=0"], NOW + 3)
    assert not cookies.store(ORIGIN, ["n=gone; Path=/; Max-Age=0"], NOW + 4)
    assert not cookies.store(ORIGIN, ["never=; Path=/; Max-Age=0"], NOW + 5)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "novalue",
        "=v",
        "  =v",
        "n=v\0",
        "n\x01=v",
        "n=v\x7f",
        "n=v; Path=/\nX",
        "n=" + "x" * 4096,
        "x" * 5000 + "=v",
        "n=v;" + " " * 20_000,
        "n=\xff\xfe",
    ],
)
def test_a_cookie_that_could_do_harm_or_says_nothing_is_ignored(line):
    assert parse_set_cookie(line, ORIGIN, NOW) is None


def test_a_value_of_four_kilobytes_less_the_name_is_kept():
    assert parse_set_cookie("n=" + "x" * 4095, ORIGIN, NOW) is not None


def test_text_beyond_ascii_goes_back_as_the_bytes_that_came():
    cookie = parse_set_cookie("n=" + "grün".encode().decode("latin-1"), ORIGIN, NOW)
    assert cookie.value == "grün"


def test_a_domain_has_at_most_fifty_cookies_and_the_oldest_gives_way():
    cookies = after(*(f"n{number}=v; Path=/" for number in range(MOST_PER_DOMAIN + 10)))
    names = [pair.split("=")[0] for pair in sent(cookies, "https://www.example.org/").split("; ")]
    assert names == [f"n{number}" for number in range(10, MOST_PER_DOMAIN + 10)]


def test_the_header_never_grows_beyond_what_servers_take():
    cookies = after(*(f"n{number}={'v' * 3000}; Path=/" for number in range(10)))
    header = sent(cookies, "https://www.example.org/")
    assert len(header) <= MOST_HEADER_BYTES
    assert header.count("=") == 2


NETSCAPE = (
    "# Netscape HTTP Cookie File\n"
    "\n"
    "example.org\tFALSE\t/\tFALSE\t0\thost\tonly\r\n"
    ".example.org\tTRUE\t/sub\tTRUE\t1700000100\twide\tsecret\n"
    "#HttpOnly_www.example.org\tFALSE\t/\tFALSE\t1700000100.5\thttp\tv\n"
    "www.example.org\tFALSE\t/\tFALSE\t1\told\tv\n"
    "www.example.org\tFALSE\t/\tFALSE\t0\tempty\n"
)


def test_a_netscape_file_is_read():
    assert load_netscape(NETSCAPE, "cookies.txt") == [
        Cookie("host", "only", "example.org"),
        Cookie(
            "wide",
            "secret",
            "example.org",
            is_host_only=False,
            path="/sub",
            is_secure=True,
            expires=1700000100.0,
        ),
        Cookie("http", "v", "www.example.org", expires=1700000100.5),
        Cookie("old", "v", "www.example.org", expires=1.0),
        Cookie("empty", "", "www.example.org"),
    ]


def test_the_cookies_of_a_file_go_where_they_belong():
    cookies = RedirectCookies(jar(load_netscape(NETSCAPE, "cookies.txt")))
    assert sent(cookies, "https://www.example.org/sub/x") == "wide=secret; http=v; empty="
    assert sent(cookies, "http://www.example.org/sub/x") == "http=v; empty="
    assert sent(cookies, "https://example.org/") == "host=only"
    assert sent(cookies, "https://evil.example/") is None


def test_a_chain_lies_over_the_file_and_never_changes_it():
    loaded = jar(load_netscape(NETSCAPE, "cookies.txt"))
    before = {domain: list(cookies) for domain, cookies in loaded.items()}
    chain = after("http=chain; Path=/", "empty=; Path=/; Max-Age=0", loaded=loaded)
    assert sent(chain, "https://www.example.org/") == "http=chain"
    assert loaded == before
    assert sent(RedirectCookies(loaded), "https://www.example.org/") == "http=v; empty="


@pytest.mark.parametrize(
    "line",
    [
        "example.org FALSE / FALSE 0 n hunter2",
        "example.org\tFALSE\t/\tFALSE\t0\tn\thunter2\tmore",
        "example.org\tmaybe\t/\tFALSE\t0\tn\thunter2",
        "example.org\tFALSE\t/\tFALSE\tsoon\tn\thunter2",
        "example.org\tFALSE\tpath\tFALSE\t0\tn\thunter2",
        "\tFALSE\t/\tFALSE\t0\tn\thunter2",
        "example.org\tFALSE\t/\tFALSE\t0\t\thunter2",
        "example.org\tFALSE\t/\tFALSE\t0\tn\thunter2\x01",
        "example.org\tFALSE\t/\tFALSE\t0\tn\thunter2; x=y",
    ],
)
def test_a_bad_line_of_a_file_is_named_by_number_and_not_shown(line):
    with pytest.raises(ConfigError, match=r"^jar\.txt:3: ") as caught:
        load_netscape(f"# comment\n\n{line}\n", "jar.txt")
    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "Wed, 09 Jun 2021 10:18:14 GMT",
        "Wednesday, 09-Jun-21 10:18:14 GMT",
        "Wed Jun  9 10:18:14 2021",
        "10:18:14 2021 june 9",
    ],
)
def test_a_date_is_read_in_any_order(text):
    assert parse_date(text) == calendar.timegm((2021, 6, 9, 10, 18, 14))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Jun 2021",
        "31 Feb 2021 00:00:00",
        "1 Jan 1600 00:00:00",
        "1 Jan 2021 24:00:00",
        "1 Foo 2021 00:00:00",
        "0 Jan 2021 00:00:00",
    ],
)
def test_what_is_no_date_is_none(text):
    assert parse_date(text) is None


def test_the_last_second_of_a_day_and_years_of_two_digits_are_read():
    assert parse_date("31 Dec 69 23:59:59") == calendar.timegm((2069, 12, 31, 23, 59, 59))
    assert parse_date("1 Jan 70 00:00:00") == 0


@given(st.integers(0, 4_000_000_000))
def test_every_date_that_a_server_writes_is_read(moment):
    text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(moment))
    assert parse_date(text) == moment


@given(
    line=st.text(alphabet=st.characters(max_codepoint=255), max_size=200)
    | st.from_regex(
        r"[a-z_]{0,9}=[^\n]{0,20}(; ?(Domain|Path|Max-Age|Expires|Secure)=?[-a-z0-9./]{0,12}){0,4}"
    )
)
def test_any_set_cookie_gives_a_header_that_is_safe_or_none(line):
    cookies = RedirectCookies()
    cookies.store(ORIGIN, [line], NOW)
    for url in ("https://www.example.org/a/", "https://example.org/", "https://org/", "http://evil.example/"):
        header = sent(cookies, url)
        if header is not None:
            assert "example.org" in url
            assert not set(header) & {"\r", "\n", "\0", ";"}
