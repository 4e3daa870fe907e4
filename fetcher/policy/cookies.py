"""Cookies: those set within one chain of redirects, and those of a file that the user gave.

RFC 6265 §5, and of its revision the rules that protect secure cookies. Invariants: a cookie is sent only
where its domain, path and Secure allow; nothing is stored that could break the header it would be sent
in; the run's cookies never change, what a chain sets lies over them until the chain ends.

A Domain that is a public suffix is none (§5.3): a cookie for all of `ac.jp` is refused, and one of the host
`ac.jp` is for that host only. The list costs time, so it is loaded for the first cookie with a Domain.
"""

from __future__ import annotations

import calendar
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from fetcher.errors import ConfigError
from fetcher.model import Target
from fetcher.policy.suffixes import is_public_suffix
from fetcher.policy.urls import path_start

MOST_BYTES = 4096  # of name and value together
MOST_PER_DOMAIN = 50
MOST_HEADER_BYTES = 8190  # more makes many servers answer 400 to everything (CVE-2022-32205)

_LONGEST_LINE = 16384
_LONGEST_ATTRIBUTE = 1024
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DOMAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")


class Cookie(msgspec.Struct, frozen=True, gc=False):
    """One cookie. `expires` is UTC epoch seconds; None lives as long as the chain or the run."""

    name: str
    value: str
    domain: str  # lower case, no leading dot
    is_host_only: bool = True
    path: str = "/"
    is_secure: bool = False
    expires: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.domain, self.path, self.name


Jar = Mapping[str, Sequence[Cookie]]


def jar(cookies: Iterable[Cookie]) -> Jar:
    """Return the cookies of a run, by domain: the form that `RedirectCookies` looks things up in."""
    by_domain: dict[str, list[Cookie]] = {}
    for cookie in cookies:
        by_domain.setdefault(cookie.domain, []).append(cookie)
    return by_domain


class RedirectCookies:
    """The cookies of one chain of redirects, lying over those of the run."""

    __slots__ = ("_loaded", "_set")

    def __init__(self, loaded: Jar | None = None) -> None:
        self._loaded: Jar = {} if loaded is None else loaded
        # By domain, then by path and name, in the order of creation. An expired one hides the run's.
        self._set: dict[str, dict[tuple[str, str, str], Cookie]] = {}

    def store(self, target: Target, set_cookie_values: Iterable[str], now_utc: float) -> bool:
        """Take an answer's Set-Cookie fields; true if what would be sent may have changed."""
        changed = False
        for line in set_cookie_values:
            cookie = parse_set_cookie(line, target, now_utc)
            if cookie is not None:
                changed = self._put(cookie, target) or changed
        return changed

    def header(self, target: Target, now_utc: float) -> str | None:
        """Return the Cookie header for a request to `target`, longest paths first (§5.4), or None."""
        if not self._set and not self._loaded:
            return None
        path = _path(target)
        chosen = [
            cookie
            for cookie in self._candidates(target.hostname)
            if (cookie.expires is None or cookie.expires > now_utc)
            and (cookie.domain == target.hostname or not cookie.is_host_only)
            and (target.scheme == "https" or not cookie.is_secure)
            and _path_matches(path, cookie.path)
        ]
        chosen.sort(key=lambda cookie: -len(cookie.path))
        pairs: list[str] = []
        room = MOST_HEADER_BYTES
        for cookie in chosen:
            pair = f"{cookie.name}={cookie.value}"
            room -= len(pair.encode()) + 2
            if room < 0:
                break
            pairs.append(pair)
        return "; ".join(pairs) or None

    def _put(self, cookie: Cookie, target: Target) -> bool:
        held = self._set.get(cookie.domain, {})
        old = held.get(cookie.key) or next(
            (loaded for loaded in self._loaded.get(cookie.domain, ()) if loaded.key == cookie.key), None
        )
        if old is None and cookie.expires == 0:
            return False
        if old is not None and old.is_secure and target.scheme != "https":
            return False  # a plain http answer leaves a secure cookie alone
        held = self._set.setdefault(cookie.domain, {})
        if cookie.key not in held and len(held) >= MOST_PER_DOMAIN:
            del held[next(iter(held))]
        held[cookie.key] = cookie
        return old is None or _sent_as(old) != _sent_as(cookie)

    def _candidates(self, name: str) -> Iterator[Cookie]:
        for domain in _domains(name):
            held = self._set.get(domain, {})
            for cookie in self._loaded.get(domain, ()):
                if cookie.key not in held:
                    yield cookie
            yield from held.values()


def _sent_as(cookie: Cookie) -> tuple[str, bool, bool] | None:
    """Return the fields that decide how a stored cookie is sent, its expiry aside; None if it is removed."""
    return None if cookie.expires == 0 else (cookie.value, cookie.is_host_only, cookie.is_secure)


def parse_set_cookie(line: str, target: Target, now_utc: float) -> Cookie | None:
    """Return a Set-Cookie field (§5.2) as a cookie of `target`, or None where §5.3 ignores it.

    A cookie that is to be removed comes with `expires` 0.
    """
    if len(line) > _LONGEST_LINE or _CONTROL.search(line):
        return None
    first, *rest = line.split(";")
    name, equals, value = first.partition("=")
    name, value = name.strip(" \t"), value.strip(" \t")
    if not equals or not name or len(name) + len(value) > MOST_BYTES:
        return None
    try:  # header text is Latin-1; as UTF-8 it goes back to the server as it came
        name, value = name.encode("latin-1").decode(), value.encode("latin-1").decode()
    except UnicodeError:
        return None
    said = _attributes(rest)
    scope = _scope(said.get("domain", ""), target.hostname)
    is_secure = "secure" in said
    if scope is None or (is_secure and target.scheme != "https"):
        return None
    domain, is_host_only = scope
    path = said.get("path", "")
    cookie = Cookie(
        name=name,
        value=value,
        domain=domain,
        is_host_only=is_host_only,
        path=path if path.startswith("/") else _default_path(_path(target)),
        is_secure=is_secure,
        expires=_expiry(said, now_utc),
    )
    return cookie if _keeps_prefix(cookie) else None


def load_netscape(text: str, source: str) -> list[Cookie]:
    """Return the cookies of a Netscape cookie file, as curl and browsers' extensions write it.

    Raises `ConfigError` with the number of a line that is none; its content is never shown.
    """
    cookies = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.rstrip("\r").removeprefix("#HttpOnly_")
        if not line.strip() or line.startswith("#"):
            continue
        try:
            cookies.append(_from_netscape(line.split("\t")))
        except ValueError as error:
            raise ConfigError(
                f"{source}:{number}: {error}", hint="seven fields with tabs between them, as curl writes them"
            ) from None
    return cookies


def _from_netscape(columns: list[str]) -> Cookie:
    if len(columns) == 6:
        columns = [*columns, ""]
    if len(columns) != 7:
        raise ValueError(f"a cookie has 7 fields, not {len(columns)}")
    domain, subdomains, path, secure, expires, name, value = columns
    flags = {"TRUE": True, "FALSE": False}
    if subdomains.upper() not in flags or secure.upper() not in flags:
        raise ValueError("the second and the fourth field are TRUE or FALSE")
    if not re.fullmatch(r"-?[0-9]{1,20}(?:\.[0-9]*)?", expires):
        raise ValueError("the fifth field is the time of expiry in seconds")
    domain = domain.lower().removeprefix(".")
    if not domain or not path.startswith("/") or not name:
        raise ValueError("a domain, a path that starts with /, and a name are needed")
    if any(map(_CONTROL.search, columns)) or ";" in name + value or "=" in name:
        raise ValueError("a character that no cookie may have")
    return Cookie(
        name=name,
        value=value,
        domain=domain,
        is_host_only=not flags[subdomains.upper()],
        path=path,
        is_secure=flags[secure.upper()],
        expires=float(expires) or None,
    )


def _attributes(parts: Iterable[str]) -> dict[str, str]:
    """Return the attributes by lower-case name; the last of a name counts (§5.3)."""
    said = {}
    for part in parts:
        name, _, value = part.partition("=")
        value = value.strip(" \t")
        if len(value) <= _LONGEST_ATTRIBUTE:
            said[name.strip(" \t").lower()] = value
    return said


def _scope(domain: str, name: str) -> tuple[str, bool] | None:
    """Return the domain that a cookie is for, and whether it is for that host only; None if it may not be."""
    domain = domain.lower().removeprefix(".")
    if not domain or domain == name:
        return name, not domain or not _has_subdomains(name) or is_public_suffix(name)
    if not _has_subdomains(domain) or _is_address(name) or not name.endswith("." + domain):
        return None
    return None if is_public_suffix(domain) else (domain, False)


def _has_subdomains(domain: str) -> bool:
    return _DOMAIN.fullmatch(domain) is not None and not _is_address(domain)


def _is_address(name: str) -> bool:
    if ":" not in name and not name[-1:].isdigit():  # no address; an exception costs microseconds
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _domains(name: str) -> Iterator[str]:
    """Yield the host's own name, then each domain above it. An address has none above it."""
    yield name
    if _is_address(name):
        return
    dot = name.find(".")
    while dot >= 0:
        yield name[dot + 1 :]
        dot = name.find(".", dot + 1)


def _keeps_prefix(cookie: Cookie) -> bool:
    """Return False if the name promises something that the cookie does not keep (RFC 6265bis §4.1.3)."""
    name = cookie.name.lower()
    if name.startswith("__host-"):
        return cookie.is_secure and cookie.is_host_only and cookie.path == "/"
    return cookie.is_secure or not name.startswith("__secure-")


def _expiry(said: Mapping[str, str], now_utc: float) -> float | None:
    """Max-Age before Expires (§5.3); 0 for the past, None for the end of the session."""
    max_age = said.get("max-age", "")
    if re.fullmatch(r"-?[0-9]+", max_age):
        expires: float | None = now_utc + float(max_age)
    else:
        expires = parse_date(said.get("expires", ""))
    return 0.0 if expires is not None and expires <= now_utc else expires


def _path(target: Target) -> str:
    """Return the path of the target's URL, without its query."""
    return target.url[path_start(target.url) :].partition("?")[0] or "/"


def _default_path(path: str) -> str:
    """§5.1.4: up to the last slash, without it."""
    return path[: path.rfind("/")] or "/"


def _path_matches(path: str, cookie_path: str) -> bool:
    """§5.1.4: the same, or below it at a slash."""
    if not path.startswith(cookie_path):
        return False
    return len(path) == len(cookie_path) or cookie_path.endswith("/") or path[len(cookie_path)] == "/"


_DELIMITERS = re.compile(r"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY = re.compile(r"([0-9]{1,2})(?![0-9])")
_YEAR = re.compile(r"([0-9]{2,4})(?![0-9])")
_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}


def parse_date(text: str) -> float | None:
    """Return a date as cookies have it, in any order (§5.1.1), as UTC epoch seconds; None if it is none."""
    clock = day = month = year = None
    for token in _DELIMITERS.split(text):
        if clock is None and (found := _TIME.match(token)):
            clock = tuple(map(int, found.groups()))
        elif day is None and (found := _DAY.match(token)):
            day = int(found[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS[token[:3].lower()]
        elif year is None and (found := _YEAR.match(token)):
            year = int(found[1])
    if clock is None or day is None or month is None or year is None:
        return None
    if year < 100:
        year += 1900 if year >= 70 else 2000
    hour, minute, second = clock
    if year < 1601 or hour > 23 or minute > 59 or second > 59:
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return float(calendar.timegm((year, month, day, hour, minute, second)))
