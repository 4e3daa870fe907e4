"""Two workers and many hosts: every limit is a total, and a kill changes nothing of the outcome.

1,000 URLs over 100 hosts; `MANY_HOSTS=1000 pytest tests/cli/test_many_hosts.py` is 10,000 over 1,000. The
server's log is the oracle.
"""

from __future__ import annotations

import os
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.faultserver import Hit
from support.processes import children_of
from support.program import Ended, Program, by_url, parts, records, stored, write_list
from support.site import Site, pages

NUMBER = int(os.environ.get("MANY_HOSTS", "100"))
PAGES = 10
NAMES = [f"127.0.{1 + n // 200}.{1 + n % 200}" for n in range(NUMBER)]
CONCURRENCY, UNSETTLED, MOST = 64, 64, 3
LIMIT_S = 120.0
LATE_S = 0.5  # how much later than others a request may reach a busy server
TWO = ("get", "-i", "urls.txt", "-o", "out", "--min-free", "0", "--processes", "2", "--retries", "1")
TOLD = ("state", "error", "status", "final_url", "attempts", "path", "sha256", "bytes", "redirects", "line")

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="has 127.0.0.0/8 and /proc"),
    pytest.mark.timeout(3 * LIMIT_S),
]


@pytest.fixture
def site() -> Iterator[Site]:
    """The same ten pages on every host."""
    with Site(pages(PAGES), NAMES) as running:
        yield running
    assert not running.errors, "a script of the site failed"


def starts(site: Site) -> dict[str, list[float]]:
    """When each host was asked, by its name."""
    times = defaultdict(list)
    for hit in site.log:
        times[hit.address].append(hit.started)
    return {name: sorted(own) for name, own in times.items()}


def assert_all_done(site: Site, program: Program, ended: Ended, urls: list[str]) -> None:
    assert ended.code == 0, ended.err
    assert Counter(record["state"] for record in records(program.folder / "out")) == {"done": len(urls)}
    assert len(site.log) == len(urls), "something was asked for twice"


def test_the_limits_of_every_host_and_of_all_together_hold_over_both_workers(
    program: Program, site: Site
) -> None:
    spaced, single, wide, busy = NAMES[:6], NAMES[6:12], NAMES[12:18], NAMES[18:24]
    rules = [f'[host."{name}:{site.port}"]\ndelay = 0.3\n' for name in spaced]
    rules += [f'[host."{name}:{site.port}"]\nper_host = 1\n' for name in single]
    rules += [f'[host."{name}:{site.port}"]\nper_host = 9\n' for name in wide]
    (program.folder / "fetcher.toml").write_text("\n".join(rules))
    more = [site.url(f"/ok/more/{n}?delay=0.03", host=name) for name in (*wide, *busy) for n in range(30)]
    urls = [site.url(f"/ok/{n}?delay=0.02", host=name) for n in range(PAGES) for name in NAMES] + more
    write_list(program.folder / "urls.txt", urls)

    ended = program.run(*TWO, "-c", str(CONCURRENCY), "--per-host", str(MOST), limit_s=LIMIT_S)

    assert_all_done(site, program, ended, urls)
    most = {host.rpartition(":")[0]: number for host, number in site.most_active.items()}
    limits = dict.fromkeys(NAMES, MOST) | dict.fromkeys((*spaced, *single), 1) | dict.fromkeys(wide, 9)
    assert {name: number for name, number in most.items() if number > limits[name]} == {}
    assert max(most[name] for name in busy) > 1, "never two at once: nothing is shown"
    assert max(most[name] for name in wide) > MOST
    assert CONCURRENCY // 2 < site.most_active_total <= CONCURRENCY
    for name in spaced:
        own = starts(site)[name]
        assert len(own) == PAGES
        assert own[-1] - own[0] > 0.3 * (PAGES - 1) - LATE_S


def test_the_rate_of_the_run_is_one_over_both_workers_also_when_one_has_nothing_left(
    program: Program, site: Site
) -> None:
    rate, whole = 60, NAMES[0]  # so few that a busy machine could do more
    (program.folder / "fetcher.toml").write_text(f'[host."{whole}:{site.port}"]\nper_host = 1\n')
    urls = [site.url(f"/p/{n % PAGES}?{n}", host=NAMES[n % 50]) for n in range(150)]
    urls += [site.url(f"/p/{n % PAGES}?{n}", host=whole) for n in range(150, 300)]  # one worker's alone
    write_list(program.folder / "urls.txt", urls)

    ended = program.run(*TWO, "-c", str(CONCURRENCY), "--rate", f"{rate}/s", limit_s=LIMIT_S)

    assert_all_done(site, program, ended, urls)
    began = sorted(hit.started for hit in site.log)
    early = [n for n, start in enumerate(began) if start - began[0] < 0.9 * n / rate - LATE_S]
    assert early == [], f"{len(early)} of {len(urls)} starts came too early"


# -- kills ---------------------------------------------------------------------------------------------


def every_kind(program: Program, site: Site) -> list[str]:
    """Pages of every host, and on each host something that fails, or leads to another host."""
    urls = [site.url(f"/p/{n}", host=name) for n in range(PAGES - 2) for name in NAMES]
    for n, name in enumerate(NAMES):
        other = quote(site.url(f"/ok/to/{n}", host=NAMES[(7 * n + 1) % NUMBER]), "")
        odd = (f"/status/404/{n}", f"/cut/{n}?at=5&of=50", f"/gzip/3000/{n}", f"/status/500/{n}", "/loop")[
            n % 5
        ]
        urls += [site.url(f"/redirect/{1 + n % 3}?to={other}", host=name), site.url(odd, host=name)]
    write_list(program.folder / "urls.txt", urls)
    # Hosts that one worker alone may ask: redirects to them are handed over.
    (program.folder / "fetcher.toml").write_text(
        "\n".join(f'[host."{name}:{site.port}"]\nper_host = 1\n' for name in NAMES[::4])
    )
    return urls


def begun(hits: list[Hit], urls: list[str]) -> Counter[str]:
    """How often each URL of the list was asked for itself, but for chains.

    A chain that waits for its next host is neither in flight nor an outcome: the bound does not count it.
    """
    asked = Counter(f"http://{hit.host_header}{hit.target}" for hit in hits)
    return Counter({url: asked[url] for url in urls if "/redirect/" not in url})


def outcome(out: Path) -> tuple[dict[str, dict[str, Any]], dict[str, bytes]]:
    told = {url: {name: record[name] for name in TOLD} for url, record in by_url(out).items()}
    assert len(records(out)) == len(told), "a URL has two records"
    assert parts(out) == []
    return told, {path: file.read_bytes() for path, file in stored(out).items()}


def assert_as_undisturbed(
    program: Program, site: Site, disturbed: Ended, urls: list[str], *, kills: int
) -> None:
    """The same command in another folder, left alone, comes to the same, with hardly fewer requests."""
    assert disturbed.code == 1, disturbed.err
    asked = site.log[:]
    apart = [argument if argument != "out" else "apart" for argument in TWO]
    ended = program.run(*apart, "-c", str(CONCURRENCY), limit_s=LIMIT_S)
    assert ended.code == 1, ended.err
    again = begun(asked, urls) - begun(site.log[len(asked) :], urls)
    assert 0 < again.total() <= kills * (CONCURRENCY + UNSETTLED)
    found, files = outcome(program.folder / "out")
    wanted, wanted_files = outcome(program.folder / "apart")
    assert len(wanted) == len(urls)
    different = {url: (found.get(url), told) for url, told in wanted.items() if found.get(url) != told}
    assert different == {}
    assert found.keys() == wanted.keys()
    assert {
        path for path in files.keys() | wanted_files.keys() if files.get(path) != wanted_files.get(path)
    } == set()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_killed_in_the_middle_changes_nothing_of_the_outcome(
    program: Program, site: Site, victim: int
) -> None:
    urls = every_kind(program, site)
    site.hold_after(len(urls) // 2)
    with program.start(*TWO, "-c", str(CONCURRENCY)) as run:
        assert site.wait(lambda s: len(s.log) >= len(urls) // 2 + 10, 30), run.said()
        os.kill(children_of(run.pid)[victim], signal.SIGKILL)
        assert run.says("a worker process died")
        site.release()
        ended = run.end(LIMIT_S)
    assert_as_undisturbed(program, site, ended, urls, kills=1)


def test_a_parent_killed_twice_and_the_same_command_change_nothing_of_the_outcome(
    program: Program, site: Site
) -> None:
    urls = every_kind(program, site)
    for part in (0.3, 0.7):
        reached = int(part * len(urls))
        site.hold_after(reached - len(site.log))
        with program.start(*TWO, "-c", str(CONCURRENCY)) as run:
            assert site.wait(lambda s, n=reached: len(s.log) >= n + 10, 30), run.said()
            run.send(signal.SIGKILL)
            assert run.end().code == 137
        site.release()

    ended = program.run(*TWO, "-c", str(CONCURRENCY), limit_s=LIMIT_S)

    assert_as_undisturbed(program, site, ended, urls, kills=2)
