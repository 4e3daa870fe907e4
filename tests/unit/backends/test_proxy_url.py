"""A proxy's URL taken apart, and the settings of connections that all backends share."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest

from fetcher import wiring
from fetcher.backends.proxy_url import HttpProxy, SocksProxy, parsed_proxy
from fetcher.backends.socks import open_through, open_through_blocking
from fetcher.errors import ConfigError
from fetcher.policy.proxies import SCHEMES, SOCKS_SCHEMES, parse_proxy
from fetcher.ports import ConnectionOptions
from fetcher.settings import make

SOCKS = SocksProxy(5, "p", 1080, None, None, finds_names=False)


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://p", HttpProxy("http", "p", 1080, "")),
        ("https://p", HttpProxy("https", "p", 443, "")),
        ("http://u:p%40ss@p:1", HttpProxy("http", "p", 1, "Basic dTpwQHNz")),
        ("http://u@p:1", HttpProxy("http", "p", 1, "Basic dTo=")),
        ("http://[::1]:1", HttpProxy("http", "::1", 1, "")),
        ("socks5://p", SOCKS),
        ("socks5h://u:p%40ss@p:9", SocksProxy(5, "p", 9, "u", "p@ss", finds_names=True)),
        ("socks4://u@p", SocksProxy(4, "p", 1080, "u", "", finds_names=False)),
        ("socks4a://p", SocksProxy(4, "p", 1080, None, None, finds_names=True)),
    ],
)
def test_a_proxy_is_taken_apart(text: str, proxy: HttpProxy | SocksProxy) -> None:
    assert parsed_proxy(parse_proxy(text, "--proxy", schemes=SCHEMES | SOCKS_SCHEMES)) == proxy


def test_the_url_of_a_proxy_holds_no_password() -> None:
    proxy = parsed_proxy("https://u:secret@[::1]:3128")
    assert isinstance(proxy, HttpProxy)
    assert proxy.url == "https://[::1]:3128"


async def test_socks_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with socket.socket() as sock:
        with pytest.raises(ConfigError) as caught:
            await open_through(sock, SOCKS, "h", 80)
        assert caught.value.hint == "install fetcher[socks]"
        with pytest.raises(ConfigError):
            open_through_blocking(sock, SOCKS, "h", 80)


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {"user_agent": f"fetcher/{wiring.__version__}"}),
        ({"ipv6": True}, {"family": 6}),
        ({"ipv4": True}, {"family": 4}),
        ({"resolve": ["Example.ORG:443:[::1]"]}, {"resolve": {("example.org", 443): "::1"}}),
        ({"connect_timeout": 3, "insecure": True}, {"connect_timeout_s": 3.0, "insecure": True}),
        (
            {"user_agent": "me", "http": "2", "concurrency": 9},
            {"user_agent": "me", "http": "2", "concurrency": 9},
        ),
    ],
)
def test_settings_become_the_options_of_connections(
    settings: dict[str, Any], options: dict[str, Any]
) -> None:
    made = wiring.connection_options(make(settings))
    assert {name: getattr(made, name) for name in options} == options


def test_the_options_of_connections_are_made_of_every_setting_of_theirs() -> None:
    own = {"keepalive_s", "may_send"}  # nobody's setting
    changed = make(
        {
            "connect_timeout": 3, "user_agent": "me", "ipv6": True, "resolve": ["h:1:127.0.0.1"], "ca_file": "/a",
            "client_cert": "/b", "insecure": True, "http": "3", "concurrency": 9,
        }
    )  # fmt: skip
    usual, made = ConnectionOptions(), wiring.connection_options(changed)
    same = {name for name in made.__struct_fields__ if getattr(made, name) == getattr(usual, name)}
    assert same == own
