"""What must hold of a run directory after whatever happened to its runs."""

from __future__ import annotations

from pathlib import Path

from support.program import Program, by_url, parts, records, stored, write_list
from support.site import Site


def listed(program: Program, site: Site) -> list[str]:
    """All pages of the site as `urls.txt` in the program's folder."""
    urls = [site.url(path) for path in site.pages]
    write_list(program.folder / "urls.txt", urls)
    return urls


def assert_whole(site: Site, out: Path, urls: list[str]) -> None:
    """Every URL has one line, and its file holds the page, byte for byte; no part is left."""
    assert sorted(record["url"] for record in records(out)) == sorted(urls)
    found, files = by_url(out), stored(out)
    assert len(files) == len(urls)
    for url, path in zip(urls, site.pages, strict=True):
        assert found[url]["state"] == "done"
        assert files[found[url]["path"]].read_bytes() == site.pages[path]
    assert parts(out) == []
