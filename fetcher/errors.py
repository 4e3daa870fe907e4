"""The tree of errors: named by what happened; policy decides what to do about them.

::

    FetcherError
    ├── ConfigError                     wrong usage or settings: nothing was fetched
    ├── DirectoryInUse                  another run holds the run directory
    ├── FetchFailed                     what `Result.raise_for_error` raises for a failed answer
    ├── ExchangeError (url, phase)
    │   ├── NameNotResolved  ConnectFailed  TlsRejected
    │   ├── TimedOut  ConnectionLost  ProtocolBroken  PartialAnswer
    │   └── BodyTooLarge  BadEncoding
    ├── Refused (reason)                robots, scope, safety: an outcome, not a failure
    ├── RedirectFailed (reason)         a redirect that can't be followed
    ├── ParseFailed  WorkerDied  PieceMismatch
    └── StorageError                    frontier or store: stops the run

Every class has a stable `slug`, which is the `error` of a record. An HTTP status is data, not an
exception. All are picklable.
"""

from __future__ import annotations

import errno
from typing import Any, Final, Literal

# Numbers of an `OSError` that is the disk's, wherever it comes from, and no defect of ours.
DISK_FAULTS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

Phase = Literal["name", "connect", "tls", "write", "header", "body", "total"]
UNCONNECTED: frozenset[Phase] = frozenset({"name", "connect", "tls"})  # no connection is made yet


class FetcherError(Exception):
    """Base of all errors of this package. `hint` is a line that says what to do, or empty."""

    slug = "error"

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__.copy())


def _rebuild(cls: type[FetcherError], fields: dict[str, Any]) -> FetcherError:
    error = cls.__new__(cls)
    Exception.__init__(error, fields.get("message", ""))
    error.__dict__.update(fields)
    return error


class ConfigError(FetcherError):
    """Wrong usage, an unknown key, a wrong type or a bad value."""

    slug = "bad-config"


class DirectoryInUse(FetcherError):
    """Another run holds the run directory."""

    slug = "directory-in-use"


class FetchFailed(FetcherError):
    """An answer that ended as `failed` or `refused`, raised by `Result.raise_for_error`.

    `slug` is the record's `error`; `url` and `status` say what was asked and what came back.
    """

    slug = "failed"

    def __init__(self, message: str, *, slug: str, url: str, status: int | None) -> None:
        super().__init__(message)
        self.slug = slug
        self.url = url
        self.status = status


class ExchangeError(FetcherError):
    """One HTTP exchange failed. `phase` says where: name, connect, tls, write, header, body, total.

    `exhausted` says that this machine had no file descriptor left, which is no fault of the host.
    """

    slug = "exchange-failed"
    exhausted = False

    def __init__(self, message: str = "", *, url: str = "", phase: Phase = "connect") -> None:
        super().__init__(message)
        self.url = url
        self.phase: Phase = phase


class NameNotResolved(ExchangeError):
    """The host's name has no address. `temporary` is true if asking again may help."""

    slug = "name-not-resolved"

    def __init__(self, message: str = "", *, url: str = "", temporary: bool = False) -> None:
        super().__init__(message, url=url, phase="name")
        self.temporary = temporary


class ConnectFailed(ExchangeError):
    """No connection could be made: refused, unreachable, or the proxy would not.

    `temporary` is false if asking again can't help, as where a proxy wants other credentials.
    """

    slug = "connect-failed"
    temporary = True


class TlsRejected(ExchangeError):
    """The certificate or the handshake was not acceptable (RFC 9110 §4.3.4)."""

    slug = "tls-rejected"

    def __init__(self, message: str = "", *, url: str = "") -> None:
        super().__init__(message, url=url, phase="tls")


class TimedOut(ExchangeError):
    """A limit was reached: on connecting, the header, the wait for bytes, the speed, or the whole hop."""

    slug = "timed-out"


class ConnectionLost(ExchangeError):
    """The peer closed before the framing said so; a cut body has `phase` body."""

    slug = "connection-lost"


class ProtocolBroken(ExchangeError):
    """An answer that is not HTTP, or breaks its framing (RFC 9112)."""

    slug = "protocol-broken"


class PartialAnswer(ExchangeError):
    """The answer holds a part, and not the one that was asked for, if one was (RFC 9110 §15.3.7)."""

    slug = "partial-answer"

    def __init__(self, message: str = "", *, url: str = "") -> None:
        super().__init__(message, url=url, phase="body")


class BodyTooLarge(ExchangeError):
    """The body is larger than `max_size`."""

    slug = "too-large"

    def __init__(self, message: str = "", *, url: str = "") -> None:
        super().__init__(message, url=url, phase="body")


class BadEncoding(ExchangeError):
    """The content-coding is unknown, broken, cut short (`is_truncated`), or expands beyond reason."""

    slug = "bad-encoding"
    is_truncated = False

    def __init__(self, message: str = "", *, url: str = "") -> None:
        super().__init__(message, url=url, phase="body")


class PieceMismatch(FetcherError):
    """Some pieces of a body do not meet their hashes. `is_mendable`: others do, and are kept.

    `is_mixed` says that its bytes may have come from several servers.
    """

    slug = "checksum"
    is_mendable = False
    is_mixed = False


class _Reasoned(FetcherError):
    def __init__(self, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.slug = reason


class Refused(_Reasoned):
    """Not fetched, on purpose. The reason is the slug: `bad-url`, `private-address`, `robots` …"""

    slug = "refused"


class RedirectFailed(_Reasoned):
    """A redirect that can't be followed: `redirect-loop`, `too-many-redirects`,
    `insecure-redirect`, `bad-redirect`.
    """

    slug = "bad-redirect"


class ParseFailed(FetcherError):
    """The parser failed on one page."""

    slug = "parse-failed"


class WorkerDied(FetcherError):
    """A worker process ended while it held work."""

    slug = "worker-died"


class StorageError(FetcherError):
    """Frontier or store failed. `systemic` means that the whole run stops, not one URL.

    `exhausted` says that no more files could be opened at that moment.
    """

    slug = "storage-failed"
    exhausted = False

    def __init__(self, message: str = "", *, hint: str = "", systemic: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.systemic = systemic


def removed(path: object) -> StorageError:
    """Return the error of a run whose file or folder at `path` was taken away."""
    return StorageError(
        f"{path} was removed while the run was writing it",
        hint="the same command begins anew, with whatever is left of its folder",
    )
