"""The site is built without a warning, and no page of it loads anything from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import ROOT

LOADS = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*?\bsrc\s*=\s*[\"']?((?:https?:)?//[^\"'\s>]*)"
    r"|<link\b[^>]*?\bhref\s*=\s*[\"']?((?:https?:)?//[^\"'\s>]*)"
    r"|(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]*)",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    ended = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ended.returncode == 0, ended.stderr
    return folder


def test_no_page_and_no_style_loads_anything_from_elsewhere(site: Path) -> None:
    pages = [path for kind in ("html", "css", "svg") for path in site.rglob(f"*.{kind}")]
    assert len(pages) > 25
    found = {path.name: LOADS.findall(path.read_text("utf-8")) for path in pages}
    assert {name: urls for name, urls in found.items() if urls} == {}


def test_every_document_is_a_page_and_the_library_shows_its_docstrings(site: Path) -> None:
    documents = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert [path for path in documents if not (site / path.with_suffix(".html")).exists()] == []
    assert 'id="fetcher.Fetcher.download"' in (site / "library.html").read_text("utf-8")


def test_what_is_loaded_from_elsewhere_is_found() -> None:
    loaded = '<script src="https://x/a"></script><link rel=a href=//x/b><style>a{b:url(http://x/c)}</style>'
    assert len(LOADS.findall(loaded + '<a href="https://x/d">d</a>')) == 3
