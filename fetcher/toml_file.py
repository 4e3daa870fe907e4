"""TOML: a file with the line of each of its keys, and values as they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fetcher.errors import ConfigError
from fetcher.named_file import printable, read_whole, reason_of
from fetcher.option_types import Plain

MOST_TOML: Final = 16 * 1024**2


class TomlFile:
    """A TOML file: its tables, and the line of each key as far as a light scan finds it.

    `base` is the folder of a job file; `is_found` says that nobody named the file, `label` how it was named.
    """

    def __init__(
        self, path: Path, base: Path | None = None, *, is_found: bool = False, label: str = ""
    ) -> None:
        self.name = printable(str(path))
        self.base = base
        self.is_found = is_found
        self.label = label
        text = self._text(path)
        import tomllib  # noqa: PLC0415  (only where there is a file)

        try:
            self.tables: dict[str, Any] = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            place = re.search(r" \(at line ([0-9]+), column [0-9]+\)", str(error))
            line = f":{place[1]}" if place else ""
            what = str(error).replace(place[0], "") if place else reason_of(error)
            hint = "text stands in quotes, and yes is true" if what == "Invalid value" else self._job_hint()
            raise ConfigError(f"{self.name}{line}: not TOML: {what}", hint=hint) from error
        self._lines = _lines_of_keys(text)

    def _text(self, path: Path) -> str:
        try:
            data = read_whole(path, most=MOST_TOML)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.label}cannot read {self.name}: {reason_of(error)}", hint=self._job_hint()
            ) from error
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{self.name}:{line}: not TOML: the text is not UTF-8") from error

    def _job_hint(self) -> str:
        """Return what to do about a file that can't be read as a job; nothing for other files."""
        if self.base is None:
            return ""
        return "a job is a TOML file with a section [job]; a list of URLs is for fetcher get --input FILE"

    def place(self, *path: str) -> str:
        """`fetcher.toml:12` for a key, or for the closest table around it that was found."""
        for end in range(len(path), 0, -1):
            if line := self._lines.get(path[:end]):
                return f"{self.name}:{line}"
        return self.name

    def table(self, section: str) -> Mapping[str, Any]:
        """Return a section, empty if it is absent."""
        table = self.tables.get(section, {})
        if not isinstance(table, Mapping):
            raise ConfigError(f"{self.place(section)}: {section}: expected a section [{section}]")
        return table


def _lines_of_keys(text: str) -> dict[tuple[str, ...], int]:
    """Map keys and sections to their lines: one per line, as people write them."""
    found: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        start = line.strip()
        if start.startswith("["):
            section = _dotted(start) or section
            path = section
        elif "=" in start and not start.startswith("#"):
            path = section + _dotted(start.partition("=")[0] + "= 0")
        else:
            continue
        for end in range(1, len(path) + 1):
            found.setdefault(path[:end], number)
    return found


def _dotted(line: str) -> tuple[str, ...]:
    """Return the key of one line of TOML as its parts; empty if the line has none."""
    import tomllib  # noqa: PLC0415

    try:
        table = tomllib.loads(line)
    except ValueError:
        return ()
    parts: list[str] = []
    while isinstance(table, dict) and len(table) == 1:
        key, table = next(iter(table.items()))
        parts.append(key)
    return tuple(parts)


def toml_value(plain: Plain | Sequence[Any]) -> str:
    """Return a plain value as TOML 1.0 writes it."""
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, str):
        return f'"{"".join(map(_escaped, plain))}"'
    if isinstance(plain, (int, float)):
        return repr(plain)
    return f"[{', '.join(toml_value(item) for item in plain or ())}]"


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:  # a byte of a name that is not UTF-8: TOML can't hold it
        return "\\uFFFD"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
