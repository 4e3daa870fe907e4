"""What a newcomer types in the first hour, and what the program then says."""

from __future__ import annotations

from support.program import Program
from support.site import Site


def test_a_run_that_was_stopped_with_its_last_url_is_complete(program: Program, site: Site) -> None:
    urls = [site.url("/p/0"), site.url("/no-such-page")]
    ended = program.run("get", *urls, "-o", "out", "-c", "1", "--max-failures", "1")
    assert ended.code == 4
    assert "complete" in program.run("status", "out").out
    [report] = program.run("status", "out", "--json").lines
    assert report["is_resumable"] is False
    assert "run the same command again" not in ended.err
