"""The effective settings as people and programs are shown them, each with its origin; secrets are masked."""

from __future__ import annotations

from typing import Any

import msgspec

from fetcher.config import Effective
from fetcher.settings import HOST_OPTIONS, OPTIONS, Option
from fetcher.toml_file import toml_value


def describe(effective: Effective) -> list[tuple[str, str, str]]:
    """Key, value as TOML, and origin of each setting, secrets masked; the value is empty if not given."""
    settings = effective.settings
    rows = [
        (key, _shown(option, getattr(settings, key)), effective.origins[key])
        for key, option in OPTIONS.items()
        if "toml" in option.where
    ]
    for name, host in sorted(settings.hosts.items()):
        for key, option in HOST_OPTIONS.items():
            dotted = f"host.{toml_value(name)}.{key}"
            if dotted in effective.origins:
                rows.append((dotted, _shown(option, getattr(host, key)), effective.origins[dotted]))
    return rows


def as_json(get: Effective, crawl: Effective) -> bytes:
    """The settings as one JSON object: by section and key, each its `value` and its `origin`; secrets masked.

    [common] has those of `get`; [crawl] what is different for a crawl.
    """
    import tomllib  # noqa: PLC0415

    sections = {
        name: {
            key.removeprefix("host."): {
                "value": next(iter(tomllib.loads(f"value = {shown}").values())) if shown else None,
                "origin": origin,
            }
            for key, shown, origin in rows
        }
        for name, rows in _sections(get, crawl).items()
    }
    return msgspec.json.format(msgspec.json.encode(sections))


def as_toml(get: Effective, crawl: Effective | None = None) -> str:
    """Return the settings as a TOML file that reads back, the origin of each beside it as a comment.

    [common] has those of `get`; [crawl] what is different for a crawl, as far as that is given.
    """
    lines: list[str] = []
    for section, rows in _sections(get, crawl or get).items():
        lines += [f"[{section}]"] if rows else []
        for key, shown, origin in rows:
            text = f"{key.removeprefix('host.')} = {shown}" if shown else f"# {key} is not set"
            lines.append(f"{text:<40} # {origin}")
    return "\n".join(lines) + "\n"


def _sections(get: Effective, crawl: Effective) -> dict[str, list[tuple[str, str, str]]]:
    """Return the rows of `describe` by the section of a file where each would stand."""
    sections: dict[str, list[tuple[str, str, str]]] = {"common": [], "get": [], "crawl": [], "host": []}
    of_crawl = {row[0]: row for row in describe(crawl)}
    for row in describe(get):
        key, shown, _ = row
        if key.startswith("host."):
            sections["host"].append(row)
        elif OPTIONS[key].only is not None:
            if crawl is not get:
                sections["crawl"].append(of_crawl[key])
        elif getattr(get.settings, key) == getattr(crawl.settings, key):
            sections["common"].append(row)
        else:
            # What is set in [common] can't be taken back in [crawl].
            sections["get" if shown and not of_crawl[key][1] else "common"].append(row)
            sections["crawl"].append(of_crawl[key])
    return sections


def _shown(option: Option, value: Any) -> str:
    plain = option.kind.to_plain(option.kind.redacted(value))
    return "" if plain is None else toml_value(plain)
