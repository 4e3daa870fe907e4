"""The table of messages holds, and a run with nothing left says so in one line."""

from __future__ import annotations

from string import Template

import pytest
from support.messages import FILES, MESSAGES
from support.program import Program
from support.site import Site


@pytest.mark.parametrize(("line", "code", "said"), MESSAGES, ids=[row[0] for row in MESSAGES])
def test_a_mistake_is_told_in_these_words(
    program: Program, site: Site, line: str, code: int, said: str
) -> None:
    url = site.url("/p/0")
    names = {"URL": url, "SITE": url.removeprefix("http://").removesuffix("/p/0")}
    for name, content in FILES.items():
        (program.folder / name).write_text(Template(content).substitute(names))
    ended = program.run(*Template(line).substitute(names).split(" "))
    expected = Template(said).substitute(names).splitlines()
    told = ended.err.splitlines()
    assert (ended.code, sorted(told[: len(expected)])) == (code, sorted(expected))
    if code == 2:
        assert told == expected


def test_a_run_with_nothing_left_says_what_was_done_before(program: Program, site: Site) -> None:
    program.run("get", *map(site.url, site.pages), "-o", "out")
    ended = program.run("get", *map(site.url, site.pages), "-o", "out")
    assert (ended.code, ended.err) == (0, "nothing left to fetch: 10 done before\n")
