"""Header fields of a request, by the origin that it goes to.

What the user gave with `-H` and `-u` goes to the listed hosts and to no other, what a URL or an entry
holds to that URL's origin, what was given for one host to that host. Invariant: a target that is none
of these gets our own three fields and nothing else, whatever was followed to reach it; so a redirect
needs no list of dangerous names to strip.

Where several say the same field the more particular wins, as a later layer replaces an earlier one:
ours, netrc, `-u`, `-H`, the host's user, the host's headers, the URL's user, the entry's headers.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fetcher.errors import ConfigError
from fetcher.header_fields import TOKEN, is_secret
from fetcher.model import Target
from fetcher.policy.http import DEFAULT_PORTS

Field = tuple[str, str | None]  # None takes the field away, as `-H 'Accept:'` does in curl
Fields = tuple[tuple[str, str], ...]

_FRAMING = frozenset({"content-length", "trailer", "transfer-encoding", "upgrade"})
_UNCLEAN = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


class HostCredentials(msgspec.Struct, frozen=True):
    """Credentials for one host alone: `[host."example.org"]` of a settings file."""

    headers: tuple[Field, ...] = ()
    user: str | None = None


class _Named(msgspec.Struct, frozen=True):
    """The layers of a host that is named, below and above what `-u` and `-H` give."""

    below: tuple[Field, ...] = ()
    above: tuple[tuple[Field, ...], ...] = ()


class Credentials:
    """The header fields of every request of a run, by target.

    `hosts` and `netrc` are keyed by name, or by name and port; `netrc` is what the standard library's
    `netrc.netrc().hosts` holds. Raises `ConfigError` for a field that may not go on the wire.
    """

    __slots__ = ("_bases", "_fallback", "_listed", "_named", "_ours", "_unlisted", "_users")

    def __init__(
        self,
        *,
        user_agent: str,
        accept_encoding: str,
        headers: Sequence[Field] = (),
        user: str | None = None,
        hosts: Mapping[str, HostCredentials] | None = None,
        netrc: Mapping[str, tuple[str, str | None, str | None]] | None = None,
    ) -> None:
        ours = (("User-Agent", user_agent), ("Accept", "*/*"), ("Accept-Encoding", accept_encoding))
        self._ours = tuple(checked(ours, "our own headers"))
        self._fallback, self._named = _by_name(hosts or {}, netrc or {})
        self._users = (basic(user), tuple(checked(headers, "--header")))
        self._unlisted = _layered(self._ours)
        self._listed = _layered(self._ours, self._fallback, *self._users)
        self._bases: dict[tuple[str, bool], Fields] = {}

    def headers_for(
        self,
        target: Target,
        *,
        origin_listed: bool,
        userinfo: str | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> Fields:
        """Return the fields of a request to `target`, in the order of the wire; the Host is the backend's.

        `userinfo` ("user:password") and `extra` are those of the job's URL and entry: the caller gives
        them only for the origin they belong to. `extra` is left out all the same if that is not listed.
        """
        base = self._listed if origin_listed else self._unlisted
        if self._named:
            base = self._base(target, base, origin_listed=origin_listed)
        if not userinfo and not extra:
            return base
        own = fields(extra) if extra and origin_listed else ()
        return _layered(base, basic(userinfo), own)

    def _base(self, target: Target, base: Fields, *, origin_listed: bool) -> Fields:
        """Return the prepared fields of a host that is named, else `base`.

        A name without a port stands for the scheme's own port and for what is listed: another port of
        the same host is another origin (RFC 6454 §4).
        """
        key = target.host
        named = self._named.get(key)
        if named is None and (origin_listed or target.port == DEFAULT_PORTS.get(target.scheme)):
            key = target.hostname
            named = self._named.get(key)
        if named is None:
            return base
        prepared = self._bases.get((key, origin_listed))
        if prepared is None:
            if origin_listed:
                layers = (self._ours, self._fallback, named.below, *self._users, *named.above)
            else:
                layers = (self._ours, named.below, *named.above)
            prepared = _layered(*layers)
            self._bases[key, origin_listed] = prepared
        return prepared


def carry_credentials(sent: Fields) -> bool:
    """Return True if any of the fields that were sent may be a credential."""
    return any(is_secret(name) for name, _ in sent)


def fields(headers: Mapping[str, str]) -> tuple[Field, ...]:
    """Return headers of a settings file or an entry as fields; an empty value takes the field away."""
    return tuple((name, value or None) for name, value in headers.items())


def unfit(name: str, value: str | None) -> str | None:
    """Return the reason why a field may not go on the wire, or None. The value is never shown."""
    if not TOKEN.fullmatch(name):
        return f"{name[:40]!a} is not the name of a header"
    if name.lower() in _FRAMING:
        return f"{name} is not the user's to set: it frames the message"
    if value is not None and _UNCLEAN.search(value):
        return f"the value of {name} has a control character or a lone surrogate"
    return None


def checked(headers: Iterable[Field], source: str) -> Iterable[Field]:
    """Return the fields as they are; raises `ConfigError` at the first that may not go on the wire."""
    for name, value in headers:
        if reason := unfit(name, value):
            raise ConfigError(f"{source}: {reason}")
        yield name, value


def basic(user: str | None) -> tuple[Field, ...]:
    """`user:password` as a layer of one field (RFC 7617, UTF-8), or an empty layer."""
    if not user:
        return ()
    pair = user if ":" in user else user + ":"
    token = base64.b64encode(pair.encode("utf-8", "surrogateescape")).decode("ascii")
    return (("Authorization", f"Basic {token}"),)


def _by_name(
    hosts: Mapping[str, HostCredentials], netrc: Mapping[str, tuple[str, str | None, str | None]]
) -> tuple[tuple[Field, ...], dict[str, _Named]]:
    """Return the default entry of netrc, and the layers of each host that is named."""
    logins = {name.lower(): _login(entry) for name, entry in netrc.items()}
    fallback = logins.pop("default", ())
    named = {name: _Named(below=login) for name, login in logins.items() if login}
    for key, given in hosts.items():
        name = key.lower()
        own = tuple(checked(given.headers, f'[host."{key}"]'))
        below = named[name].below if name in named else ()
        named[name] = _Named(below=below, above=(basic(given.user), own))
    return fallback, named


def _login(entry: tuple[str, str | None, str | None]) -> tuple[Field, ...]:
    """An entry that lacks the login or the password gives nothing: it is never filled up from another."""
    login, _, password = entry
    return basic(f"{login}:{password}") if login and password else ()


def _layered(*layers: Sequence[Field]) -> Fields:
    """The layers as one: a later one replaces all fields of the same name, and None takes them away."""
    merged: list[Field] = []
    for layer in layers:
        names = {name.lower() for name, _ in layer}
        merged = [field for field in merged if field[0].lower() not in names]
        merged.extend(layer)
    return tuple((name, value) for name, value in merged if value is not None)
