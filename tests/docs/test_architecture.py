"""ARCHITECTURE.md names what is there: files, folders and names of the program, whatever was renamed since."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
FOLDERS = ("", "fetcher/", "fetcher/frontiers/", "fetcher/backends/")
SOURCES = ("fetcher/**/*.py", "tests/**/*.py", "mkdocs.yml")


def quoted(text: str, form: str) -> set[str]:
    """All that stands in backticks and is of a form."""
    return {name for name in re.findall(r"`([^`\n]+)`", text) if re.fullmatch(form, name)}


def missing_files(text: str) -> list[str]:
    """Files and folders that are not there, as they are named: from the root, or from `fetcher/`."""
    named = quoted(text, r"[\w./-]+\.(?:py|md|toml|yml)|\w[\w./-]*/")
    return sorted(name for name in named if not any((ROOT / folder / name).exists() for folder in FOLDERS))


def missing_names(text: str) -> list[str]:
    """Names of the program that stand in no source."""
    words = {
        word
        for pattern in SOURCES
        for path in ROOT.glob(pattern)
        if path != Path(__file__)
        for word in re.findall(r"\w+", path.read_text("utf-8"))
    }
    named = quoted(text, r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
    return sorted(name for name in named if not words.issuperset(name.split(".")))


def test_every_file_is_there() -> None:
    assert missing_files(TEXT) == []


def test_every_name_is_there() -> None:
    assert missing_names(TEXT) == []


def test_what_is_not_there_is_found() -> None:
    text = "`policy/urls.py` `policy/no_such.py` `Backend` `NoSuchThing` `RunContext.not_in_any_source`"
    assert missing_files(text) == ["policy/no_such.py"]
    assert missing_names(text) == ["NoSuchThing", "RunContext.not_in_any_source"]
