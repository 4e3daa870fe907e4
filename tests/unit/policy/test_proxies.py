"""Proxies: which proxy a target is reached through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import ConfigError
from fetcher.model import Target
from fetcher.policy.proxies import SCHEMES, SOCKS_SCHEMES, NoProxy, ProxyRules, parse_proxy


def target(name="example.org", *, scheme="http", port=None):
    port = port or {"http": 80, "https": 443}[scheme]
    shown = f"[{name}]" if ":" in name else name
    return Target(url=f"{scheme}://{shown}/", scheme=scheme, hostname=name, port=port, host=f"{shown}:{port}")


HTTP, HTTPS = target(), target(scheme="https")


def both(environ):
    rules = ProxyRules.from_environ(environ)
    return rules.proxy_for(HTTP), rules.proxy_for(HTTPS)


A, B, C = "http://a:1", "http://b:2", "http://c:3"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (None, None)),
        ({"http_proxy": A}, (A, None)),
        ({"https_proxy": A}, (None, A)),
        ({"all_proxy": A}, (A, A)),
        ({"http_proxy": A, "https_proxy": B, "all_proxy": C}, (A, B)),
        ({"http_proxy": A, "all_proxy": C}, (A, C)),
        ({"HTTP_PROXY": A, "HTTPS_PROXY": B}, (A, B)),
        ({"ALL_PROXY": C}, (C, C)),
        ({"http_proxy": A, "HTTP_PROXY": B}, (A, None)),
        ({"http_proxy": "", "HTTP_PROXY": B}, (B, None)),
        ({"HTTP_PROXY": A, "REQUEST_METHOD": "GET"}, (None, None)),
        ({"http_proxy": A, "REQUEST_METHOD": "GET"}, (A, None)),
        ({"HTTPS_PROXY": B, "REQUEST_METHOD": "GET"}, (None, B)),
        ({"all_proxy": A, "no_proxy": "*"}, (None, None)),
        ({"all_proxy": A, "NO_PROXY": "example.org"}, (None, None)),
        ({"all_proxy": A, "no_proxy": "other.example", "NO_PROXY": "*"}, (A, A)),
    ],
)
def test_the_environment_says_which_proxy(environ, expected):
    assert both(environ) == expected


def test_an_all_proxy_that_is_not_used_is_not_judged():
    assert both({"http_proxy": A, "https_proxy": B, "all_proxy": "socks5://s:1"}) == (A, B)


def test_an_explicit_proxy_is_for_every_scheme_but_not_for_the_exceptions():
    rules = ProxyRules.explicit("a:1", no_proxy="example.org")
    assert rules.proxy_for(target("example.com", scheme="https")) == A
    assert rules.proxy_for(HTTP) is None


def test_without_rules_everything_is_reached_directly():
    assert ProxyRules().is_empty
    assert ProxyRules().proxy_for(HTTP) is None
    assert not ProxyRules.explicit("a:1").is_empty


def test_an_answer_is_the_same_when_asked_again_and_for_more_hosts_than_are_remembered():
    rules = ProxyRules.explicit("a:1", no_proxy="example.org")
    for number in range(10_000):
        assert rules.proxy_for(target(f"h{number}.example")) == A
    assert len(rules._known) <= 4096
    assert rules.proxy_for(HTTP) is None
    assert rules.proxy_for(HTTP) is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://Proxy.Example:3128/", "http://proxy.example:3128"),
        ("proxy", "http://proxy:1080"),
        ("proxy:8080", "http://proxy:8080"),
        ("https://proxy", "https://proxy:443"),
        ("HTTP://u:p@proxy:1", "http://u:p@proxy:1"),
        ("http://u:p%40ss@proxy:1", "http://u:p%40ss@proxy:1"),
        ("http://u:p@ss@proxy:1", "http://u:p%40ss@proxy:1"),
        ("http://ü:p@proxy:1", "http://%C3%BC:p@proxy:1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        (" http://proxy:1 ", "http://proxy:1"),
    ],
)
def test_a_proxy_is_written_out_with_scheme_and_port(text, url):
    assert parse_proxy(text, "--proxy") == url


@pytest.mark.parametrize(
    "text",
    [
        "http://u:hunter2@",
        "http://u:hunter2@proxy:0",
        "http://u:hunter2@proxy:65536",
        "http://u:hunter2@proxy:port",
        "http://u:hunter2@proxy/path",
        "http://u:hunter2@pro xy:1",
        "http://u:hunter2/x@proxy:1",
        "http://u:hunter2@[::zz]:1",
        "http://u:hunter2@[1.2.3]:1",
        "socks5://u:hunter2@proxy:1",
        "ftp://u:hunter2@proxy",
        "http://u:hunter2@proxy:1\nX: y",
        "",
    ],
)
def test_a_bad_proxy_is_refused_by_the_name_of_its_source_and_without_its_password(text):
    with pytest.raises(ConfigError) as caught:
        parse_proxy(text, "https_proxy")
    assert str(caught.value).startswith("https_proxy: ")
    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_a_socks_proxy_needs_the_extra_and_is_taken_where_it_is_allowed():
    with pytest.raises(ConfigError) as caught:
        ProxyRules.from_environ({"all_proxy": "socks5://proxy"})
    assert "socks5" in str(caught.value)
    assert caught.value.hint == "install fetcher[socks], or choose the curl backend"
    rules = ProxyRules.from_environ({"all_proxy": "socks5://proxy"}, schemes=SCHEMES | SOCKS_SCHEMES)
    assert rules.proxy_for(HTTP) == "socks5://proxy:1080"


@pytest.mark.parametrize(
    ("text", "name", "port", "covered"),
    [
        ("*", "anything.example", 80, True),
        ("", "example.org", 80, False),
        ("example.org", "example.org", 80, True),
        ("example.org", "www.example.org", 80, True),
        ("example.org", "notexample.org", 80, False),
        ("example.org", "example.org.evil", 80, False),
        (".example.org", "www.example.org", 80, True),
        (".example.org", "example.org", 80, True),
        ("*.example.org", "www.example.org", 80, True),
        ("*.example.org", "notexample.org", 80, False),
        ("EXAMPLE.org.", "example.org", 80, True),
        ("example.org", "example.org.", 80, True),
        ("org", "example.org", 80, True),
        ("a.example, b.example", "b.example", 80, True),
        ("a.example b.example", "b.example", 80, True),
        (" ,, a.example ,", "a.example", 80, True),
        (" ,, . ,", "a.example", 80, False),
        ("example.org:8080", "example.org", 8080, True),
        ("example.org:8080", "www.example.org", 8080, True),
        ("example.org:8080", "example.org", 80, False),
        ("example.org:8080,example.org:80", "example.org", 80, True),
        ("192.0.2.1", "192.0.2.1", 80, True),
        ("192.0.2.1", "192.0.2.10", 80, False),
        ("192.0.2.1:81", "192.0.2.1", 80, False),
        ("2.1", "192.0.2.1", 80, False),
        ("10.0.0.0/8", "10.200.3.4", 80, True),
        ("10.1.2.3/8", "10.200.3.4", 80, True),
        ("10.0.0.0/8", "11.0.0.1", 80, False),
        ("10.0.0.0/99", "10.0.0.1", 80, False),
        ("10.0.0.0/8", "example.org", 80, False),
        ("::1", "::1", 80, True),
        ("[::1]", "::1", 80, True),
        ("[::1]:8080", "::1", 8080, True),
        ("[::1]:8080", "::1", 80, False),
        ("2001:db8::/32", "2001:db8:1::2", 80, True),
        ("2001:DB8:0:0::1", "2001:db8::1", 80, True),
        ("2001:db8::/32", "10.0.0.1", 80, False),
    ],
)
def test_exceptions_are_names_addresses_and_networks(text, name, port, covered):
    assert NoProxy(text).covers(target(name, port=port)) is covered


@given(text=st.text(), name=st.sampled_from(["example.org", "10.0.0.1", "::1"]))
def test_any_text_of_exceptions_gives_an_answer(text, name):
    assert NoProxy(text).covers(target(name)) in {True, False}


@given(text=st.text() | st.from_regex(r"(https?://)?[a-z:@.\[\]/%0-9]{0,30}", fullmatch=True))
def test_any_text_is_a_proxy_with_a_port_or_a_configuration_error(text):
    try:
        url = parse_proxy(text, "--proxy")
    except ConfigError:
        return
    assert url.isascii()
    assert url.isprintable()
    scheme, _, rest = url.partition("://")
    assert scheme in {"http", "https"}
    assert 1 <= int(rest.rpartition(":")[2]) <= 65535
    assert rest.count("@") <= 1
    assert not set(rest) & set("/?#\\ ")
