"""The program in a folder of its own, and a site for it to fetch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.program import Program
from support.site import Site, pages


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program, in an empty folder, with a clean environment."""
    return Program(tmp_path)


@pytest.fixture
def make_site() -> Iterator[Callable[..., Site]]:
    """Start a site of so many pages, on 127.0.0.1 and other hosts of the loopback."""
    with ExitStack() as stack:
        sites: list[Site] = []

        def make(number: int = 10, *, hosts: tuple[str, ...] = ()) -> Site:
            site = Site(pages(number), hosts)
            sites.append(site)
            return stack.enter_context(site)

        yield make
    assert not [error for site in sites for error in site.errors], "a script of the site failed"


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """A site of ten pages: /p/0 to /p/9."""
    return make_site()
