"""Files that settings name, as policies take them: cookies, passwords, lists of checksums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fetcher.errors import ConfigError
from fetcher.named_file import read_whole, reason_of
from fetcher.policy.checksums import ChecksumLists
from fetcher.policy.cookies import Jar, jar, load_netscape

_MOST_COOKIES = 64 * 1024 * 1024  # bytes of a Netscape file
_MOST_CHECKSUMS = 256 * 1024 * 1024  # of one list


def read_cookies(path: str | None) -> Jar:
    """Read a file of cookies as browsers and curl write it. Raises `ConfigError`."""
    if path is None:
        return {}
    return jar(load_netscape(_text("cookies", path, _MOST_COOKIES), f"cookies: {path}"))


def read_netrc() -> Mapping[str, tuple[str, str | None, str | None]]:
    """Read `~/.netrc`: by host the user, the account and the password. Raises `ConfigError`."""
    import netrc  # noqa: PLC0415

    path = Path("~/.netrc").expanduser()
    try:
        return netrc.netrc(str(path)).hosts
    except FileNotFoundError:
        return {}
    except netrc.NetrcParseError as error:
        raise ConfigError(f"netrc: {path}: line {error.lineno}: {error.msg}") from error
    except OSError as error:
        raise ConfigError(f"netrc: cannot read {path}: {error.strerror}") from error


def read_checksums(paths: Sequence[str], notice: Callable[[str, str], None]) -> ChecksumLists | None:
    """Read lists of checksums; None if there is no list. `notice` is told of lines that are none.

    Raises `ConfigError` for a file that can't be read, holds no checksum, or contradicts another.
    """
    if not paths:
        return None
    lists = ChecksumLists()
    for path in paths:
        before = lists.lines
        text = _text("checksums", path, _MOST_CHECKSUMS)
        try:
            unread = lists.add(text, path)
        except ValueError as error:
            raise ConfigError(f"checksums: {path}: {error}") from error
        if lists.lines == before:
            raise ConfigError(
                f"checksums: {path} holds no checksum", hint="it takes lists such as SHA256SUMS"
            )
        if unread:
            notice("warning", f"{path}: lines that are no checksums are passed over: {unread:,}")
    return lists


def _text(key: str, path: str, most: int) -> str:
    try:
        return read_whole(path, most=most).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{key}: cannot read {path}: it is not UTF-8 text") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key}: cannot read {path}: {reason_of(error)}") from error
