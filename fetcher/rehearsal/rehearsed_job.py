"""The user's job as it is rehearsed: their settings, but for what concerns other servers or earlier runs.

The job is a TOML file that goes to `fetcher run` through a pipe, so no secret of theirs is written anywhere;
those that concern their servers are left out.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import msgspec

from fetcher.header_fields import is_secret
from fetcher.settings import DEFAULTS, OPTIONS, Command, Settings
from fetcher.toml_file import toml_value

# What says nothing about a loopback site, and the value in its place.
_NOT_REHEARSED: dict[str, Any] = {
    "hosts": {},
    "include": (),
    "exclude": (),
    "proxy": "",
    "no_proxy": None,
    "user": None,
    "cookies": None,
    "netrc": False,
    "client_cert": None,
    "on_done": None,
    "checksums": (),
    "refresh": False,
    "retry_failed": False,
    "restart": False,
    "max_failures": None,
}
_FIELDS = frozenset({"host", "path", "stem", "ext", "query", "sha256", "index", "date"})


class RehearsedJob(msgspec.Struct, frozen=True):
    """Settings that fit the site, and the flags of those that were left out."""

    command: Command
    settings: Settings
    left_out: tuple[str, ...]

    def toml(self) -> str:
        """Return the job as a job file; every path in it is absolute."""
        lines = ["[job]", f"command = {toml_value(self.command)}", "", f"[{self.command}]"]
        for key, option in OPTIONS.items():
            value = getattr(self.settings, key, None)
            plain = option.kind.to_plain(value)
            if "toml" not in option.where or not option.is_for(self.command) or plain in (None, []):
                continue
            if isinstance(plain, bytes):
                plain = plain.decode()
            lines.append(f"{key} = {toml_value(plain)}")
        return "\n".join(lines) + "\n"


def rehearsed_job(
    settings: Settings,
    command: Command,
    *,
    listing: Path,
    output: Path,
    resolve: tuple[tuple[str, int, str], ...],
) -> RehearsedJob:
    """Return the job of `settings` for the URLs in `listing`, a JSONL file, into `output`."""
    left_out = [key for key in _NOT_REHEARSED if getattr(settings, key) != getattr(DEFAULTS, key)]
    changes = dict(_NOT_REHEARSED)
    headers = tuple(header for header in settings.headers if not is_secret(header[0]))
    if headers != settings.headers:
        left_out.append("headers")
    if settings.http in {"2", "3"}:
        left_out.append("http")
        changes["http"] = "auto"
    if settings.private_addresses == "deny":
        left_out.append("private_addresses")
        changes["private_addresses"] = "seeds"
    if settings.data is not None and not _is_text(settings.data):
        left_out.append("data")
        changes["data"] = None
    for key, option in OPTIONS.items():
        value = getattr(settings, key, None)
        if option.is_path and value is not None and key not in changes:
            changes[key] = _absolute(value)
    if isinstance(settings.parser, str) and ".py:" in settings.parser:
        changes["parser"] = _absolute(settings.parser)
    changes |= {
        "headers": headers,
        "input": (str(listing),),
        "input_format": "jsonl",
        "url_column": "url",
        "output": str(output),
        "output_file": None,
        "resolve": (*settings.resolve, *resolve),
        "log_file": None,
        "dry_run": False,
        "json": False,
        "quiet": False,
        "verbose": False,
    }
    flags = tuple(OPTIONS[key].flag if "cli" in OPTIONS[key].where else f"[{key}]" for key in left_out)
    return RehearsedJob(command, msgspec.structs.replace(settings, **changes), flags)


def columns_of(template: str) -> list[str]:
    """Return the columns of a list that a `--name` template uses beside its own fields."""
    fields = {field for _, field, _, _ in string.Formatter().parse(template) if field}
    return sorted(fields - _FIELDS)


def _is_text(data: bytes) -> bool:
    """Return True for a request's body that a job file can hold; one that begins with @ would be a file's."""
    try:
        return not data.decode().startswith("@")
    except UnicodeDecodeError:
        return False


def _absolute(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    return value if value == "-" else str(Path(value).absolute())
