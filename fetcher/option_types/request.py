"""Types of options on what is sent, and to whom: methods, headers, credentials, bodies, proxies, hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from fetcher.header_fields import TOKEN, is_secret
from fetcher.option_types import MASK, OptionType
from fetcher.option_types.values import CONTROL, each, matching, split, whole

Header: TypeAlias = tuple[str, str | None]  # None takes the field away

_RESOLVE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+):([0-9]{1,5}):(.+)")
_PROXY = re.compile(r"(?:(?:https?|socks4a?|socks5h?)://)?[^\s/?#\\\0-\x1f]+/?|", re.IGNORECASE)
_ENDPOINT = re.compile(r"https?://[^\s/?#\\]+[^\s\\]*", re.IGNORECASE)
_LISTEN = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+):)?([0-9]{1,5})")
LOOPBACK: Final = "127.0.0.1"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]\\]+)(?::([0-9]{1,5}))?")


def _method(value: Any) -> str:
    method = matching(TOKEN)(value)
    if method.upper() == "CONNECT":  # a tunnel, not a request for a URL
        raise ValueError
    usual = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    return method.upper() if method.upper() in usual else method


METHOD = OptionType(expected="an HTTP method such as GET or POST", metavar="METHOD", parse=_method)


def _header(item: Any) -> Header:
    """Return one field, as curl reads it: `Name:` takes the field away, `Name;` sends it without a value."""
    if isinstance(item, str):
        name, colon, text = item.partition(":")
        value = text.strip(" \t") or None
        if not colon:
            name, value = item[:-1], "" if item.endswith(";") else "\0"
    else:
        name, value = item  # ValueError if they are not two
    if not isinstance(name, str) or not TOKEN.fullmatch(name):
        raise ValueError
    if value is not None and (not isinstance(value, str) or CONTROL.search(value)):  # RFC 9110 §5.5
        raise ValueError
    return name, value


def _headers(value: Any) -> tuple[Header, ...]:
    if isinstance(value, Mapping):
        return tuple(_header((name, text or None)) for name, text in value.items())
    items = each(value, str)
    if not all(isinstance(item, (str, tuple)) for item in items):
        raise ValueError
    return tuple(_header(item) for item in items)


def _headers_plain(value: tuple[Header, ...]) -> list[str]:
    return [f"{name};" if text == "" else f"{name}: {text or ''}".rstrip() for name, text in value]


def _headers_masked(value: tuple[Header, ...]) -> tuple[Header, ...]:
    return tuple((name, text and (MASK if is_secret(name) else text)) for name, text in value)


HEADERS = OptionType(
    expected="'Name: value' on one line",
    metavar="'N: V'",
    parse=_headers,
    to_plain=_headers_plain,
    redacted=_headers_masked,
    is_secret=True,
    is_repeatable=True,
)


def _user(value: Any) -> str:
    if isinstance(value, tuple) and len(value) == 2 and ":" not in str(value[0]):
        value = f"{value[0]}:{value[1]}"
    if not isinstance(value, str) or ":" not in value or CONTROL.search(value):
        raise ValueError
    return value


def _hidden(mask: str) -> Callable[[Any], Any]:
    return lambda value: None if value is None else mask


USER = OptionType(
    expected="USER:PASSWORD",
    metavar="USER:PASS",
    parse=_user,
    redacted=_hidden(f"{MASK}:{MASK}"),
    is_secret=True,
)


def _data(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    raise ValueError


DATA = OptionType(expected="text", metavar="DATA", parse=_data, redacted=_hidden(MASK), is_secret=True)


def _proxy(value: Any) -> str:
    if not isinstance(value, str) or not _PROXY.fullmatch(value):
        raise ValueError
    return "" if value.lower() == "none" else value


PROXY = OptionType(
    expected="a URL such as http://127.0.0.1:3128",
    metavar="URL",
    parse=_proxy,
    redacted=lambda value: value and re.sub("^([A-Za-z0-9]+://)?.*@", rf"\1{MASK}:{MASK}@", value),
    is_secret=True,
)


def _names(value: Any) -> str:
    name = matching(re.compile(r"[^\s,]+"))
    return ",".join(name(item) for item in split(value) if item != "")


NAMES = OptionType(expected="host names such as localhost,example.org", metavar="LIST", parse=_names)


def _address(text: str) -> str:
    import ipaddress  # noqa: PLC0415  only where an address is given

    if "%" in text:  # RFC 6874: zones are for link-local addresses
        raise ValueError
    return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))


def _resolve(value: Any) -> tuple[tuple[str, int, str], ...]:
    found: list[tuple[str, int, str]] = []
    for item in each(value, str):
        if isinstance(item, (list, tuple)) and len(item) == 3:
            host, port, addresses = (str(part) for part in item)
        elif isinstance(item, str) and (match := _RESOLVE.fullmatch(item.strip())):
            host, port, addresses = match.groups()
        else:
            raise ValueError
        number = whole(1, 65535).parse(port)
        found += [(host_key(host), number, _address(part.strip())) for part in addresses.split(",")]
    return tuple(found)


def _bracketed(text: str) -> str:
    return f"[{text}]" if ":" in text else text


RESOLVE = OptionType(
    expected="HOST:PORT:ADDRESS, with IPv6 in brackets",
    metavar="HOST:PORT:ADDR",
    parse=_resolve,
    to_plain=lambda value: [f"{_bracketed(host)}:{port}:{_bracketed(addr)}" for host, port, addr in value],
    is_repeatable=True,
)


def host_key(text: str) -> str:
    """Return the key of a host in `Settings.hosts`: lower case, punycode, and its port if one was named.

    Without a port, an IPv6 address has no brackets. Raises `ValueError` for what can't be a host.
    """
    match = _HOST.fullmatch(text)
    if match is None and ":" in text:
        return _address(text)
    if match is None or CONTROL.search(text):
        raise ValueError
    name, port = match.groups()
    if name.startswith("["):
        name = _address(name)
    elif not name.isascii():
        from yarl import URL  # noqa: PLC0415  only for international names

        name = URL.build(scheme="http", host=name).raw_host or ""
    name = name.lower()
    return name if port is None else f"{_bracketed(name)}:{whole(1, 65535).parse(port)}"


def _endpoint(value: Any) -> str:
    if not isinstance(value, str) or not _ENDPOINT.fullmatch(value) or CONTROL.search(value):
        raise ValueError
    return value


ENDPOINT = OptionType(  # whoever knows the URL of a web hook may call it
    expected="a URL such as https://example.org/hook",
    metavar="URL",
    parse=_endpoint,
    redacted=lambda value: value and re.sub("^(https?://)(?:[^/?#]*@)?([^/?#]*).*", rf"\1\2/{MASK}", value),
    is_secret=True,
)


def _address_to_listen_at(value: Any) -> tuple[str, int]:
    if isinstance(value, tuple) and len(value) == 2:
        host, port = value
    else:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not (match := _LISTEN.fullmatch(text)):
            raise ValueError
        host, port = (match[1] or LOOPBACK).strip("[]"), match[2]
    return host, whole(0, 65535).parse(port)


LISTEN = OptionType(  # port 0 is any that is free
    expected="[HOST:]PORT, such as 9464 or 0.0.0.0:9464",
    metavar="[HOST:]PORT",
    parse=_address_to_listen_at,
    to_plain=lambda value: value and f"{_bracketed(value[0])}:{value[1]}",
)
