"""Hooks of MkDocs: the documents beside README become pages, and links between them lead to pages.

README is the home page. What is linked and is no document (examples, the settings' example) is copied.
"""  # noqa: INP001  (no package: MkDocs reads it by its path)

from __future__ import annotations

import posixpath
import re
from html import escape
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
AT_ROOT = {"README.md": "index.md"} | {name: name for name in ("ARCHITECTURE.md", "SECURITY.md")}
AT_ROOT |= {name: name for name in ("CONTRIBUTING.md", "CHANGELOG.md")}
_LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[\w-]+)?\))")
_NAME = re.compile(r"^\| `(\w+)` \|.*\n", re.MULTILINE)
_HEADS = "| name | what it is |\n|---|---|\n"
_BAR = re.compile(r"`([^`\n]*\\\|[^`\n]*)`")  # in the code of a table Python-Markdown leaves it escaped


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and files that stand outside of `docs/`."""
    for name, target in AT_ROOT.items():
        files.append(File.generated(config, target, content=(ROOT / name).read_text("utf-8")))
    for path in (*sorted((ROOT / "examples").iterdir()), ROOT / "config.example.toml", ROOT / "LICENSE"):
        if path.is_file():
            files.append(File.generated(config, _copied(path), content=path.read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn links between files of the source into links between pages."""
    source = page.file.src_uri
    at_root = {page: name for name, page in AT_ROOT.items()}
    folder = "" if source in at_root else posixpath.join("docs", posixpath.dirname(source))
    here = posixpath.dirname(source) or "."

    def linked(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[2]))
        if path == "examples":
            path = "examples/one_page.py"
        target = AT_ROOT.get(path) or (
            path.removeprefix("docs/") if path.startswith("docs/") else _copied(ROOT / path)
        )
        return f"{found[1]}{posixpath.relpath(target, here)}{found[3]}"

    if source == "library.md":
        markdown = _NAME.sub("\n::: fetcher.\\1\n", markdown.replace(_HEADS, ""))
    return _BAR.sub(_code, _LINK.sub(linked, markdown))


def _code(found: re.Match[str]) -> str:
    return f"<code>{escape(found[1].replace(chr(92) + '|', '|'), quote=False).replace('|', '&#124;')}</code>"


def _copied(path: Path) -> str:
    """Where a file of the source stands in the site: as text, which every browser shows."""
    return f"source/{path.relative_to(ROOT).as_posix()}.txt"
