"""Two runs in one directory never interleave: the second is refused at once."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from contextlib import ExitStack

from support.program import Program, by_url, write_list
from support.site import Site

MakeSite = Callable[..., Site]


def test_of_twenty_runs_started_at_once_one_proceeds_and_the_others_name_it(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(100)
    write_list(program.folder / "urls.txt", [site.url(path) for path in site.pages])
    site.hold_after(50)  # so that the one that proceeds is there until all others have ended
    with ExitStack() as stack:
        runs = [stack.enter_context(program.start("get", "-i", "urls.txt", "-o", "out")) for _ in range(20)]
        assert site.wait(lambda _: sum(run.process.poll() is not None for run in runs) == 19, 50)
        [winner] = [run for run in runs if run.process.poll() is None]
        site.release()
        assert winner.end().code == 0
        for run in runs:
            if run is not winner:
                ended = run.end()
                assert ended.code == 3
                assert re.search(rf"out is in use by process {winner.pid}\b", ended.err), ended.err
                assert "choose another --output" in ended.err
    assert len(by_url(program.folder / "out")) == 100
    assert max(site.requests().values()) == 1


def test_the_lock_of_a_killed_run_is_free_at_once(program: Program, make_site: MakeSite) -> None:
    site = make_site(20)
    urls = [site.url(path) for path in site.pages]
    site.hold_after(5)
    with program.start("get", *urls, "-o", "out") as run:
        assert site.wait(lambda s: len(s.log) >= 6, 30)
        refused = program.run("get", *urls, "-o", "out", "--refresh")
        assert refused.code == 3
        run.send(signal.SIGKILL)
        run.end()
    site.release()
    assert program.run("get", *urls, "-o", "out").code == 0


def test_runs_in_two_directories_do_not_disturb_each_other(program: Program, make_site: MakeSite) -> None:
    site = make_site(30)
    urls = [site.url(path) for path in site.pages]
    site.hold_after(20)
    with program.start("get", *urls, "-o", "one") as one, program.start("get", *urls, "-o", "two") as two:
        assert site.wait(lambda s: len(s.log) >= 20, 30)
        site.release()
        assert (one.end().code, two.end().code) == (0, 0)
    assert len(by_url(program.folder / "one")) == len(by_url(program.folder / "two")) == 30
