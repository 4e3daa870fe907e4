"""Few file descriptors: a low limit from the start, and none left in the middle. No URL is lost by it."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from support.program import Program, by_url, records, write_list
from support.site import Site

NOFILE = resource.RLIMIT_NOFILE
TOLD = "too many open files"


def limited(most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(NOFILE, (most, most))


def slow(site: Site, number: int, **query: object) -> list[str]:
    text = "&".join(f"{key}={value}" for key, value in {"delay": 0.2, **query}.items())
    return [site.url(f"/ok/{n}?{text}") for n in range(number)]


@pytest.mark.parametrize(
    ("backend", "most", "processes", "concurrency"),
    [
        ("asyncio", 64, 1, 256),
        ("curl", 64, 1, 256),
        ("threads", 64, 1, 256),
        ("sync", 64, 1, 256),
        ("asyncio", 64, 2, 256),
        ("asyncio", 64, 1, 64),
        ("threads", 128, 1, 256),
        ("curl", 128, 2, 256),
    ],
)
def test_with_few_descriptors_fewer_are_fetched_at_once_and_that_is_told_once(
    program: Program, site: Site, backend: str, most: int, processes: int, concurrency: int
) -> None:
    urls = slow(site, 4 if backend == "sync" else most, size=10)
    listed = write_list(program.folder / "urls.txt", urls)
    options = ["-c", concurrency, "--per-host", concurrency, "--backend", backend, "--processes", processes]
    arguments = ["get", "-i", listed, "-o", "out", *map(str, options)]
    with program.start(*arguments, preexec_fn=limited(most)) as run:
        ended = run.end()
    assert ended.code == 0, ended.err
    assert {record["attempts"] for record in records(program.folder / "out")} == {1}
    assert len(by_url(program.folder / "out")) == len(urls)
    assert ended.err.count(TOLD) == (backend != "sync")


@pytest.mark.parametrize("backend", ["asyncio", "curl", "threads"])
def test_connections_to_many_hosts_and_part_files_keep_to_the_limit(
    program: Program, make_site: Callable[..., Site], backend: str
) -> None:
    hosts = tuple(f"127.0.7.{n}" for n in range(1, 25))
    site = make_site(0, hosts=hosts)
    urls = [
        site.url(f"/ok/{n}?size={size}&delay=0.05", host=host)
        for host in hosts
        for n, size in enumerate((10, 600_000))
    ]
    listed = write_list(program.folder / "urls.txt", urls)
    with program.start(
        "get", "-i", listed, "-o", "out", "-c", "256", "--backend", backend, preexec_fn=limited(72)
    ) as run:
        ended = run.end()
    assert ended.code == 0, ended.err
    assert {record["attempts"] for record in records(program.folder / "out")} == {1}
    assert len(by_url(program.folder / "out")) == 48


@pytest.mark.parametrize("backend", ["asyncio", "curl", "threads"])
def test_descriptors_that_run_out_in_the_middle_cost_no_url_its_attempts(
    program: Program, site: Site, backend: str
) -> None:
    urls = [site.url(f"/p/{n % 10}?{n}") for n in range(60)]
    listed = write_list(program.folder / "urls.txt", urls)
    site.hold_after(4)
    arguments = ("-c", "32", "--per-host", "32", "--backend", backend)
    with program.start("get", "-i", listed, "-o", "out", *arguments) as run:
        assert site.wait(lambda _: len(site.log) >= 20)
        before = resource.prlimit(run.pid, NOFILE)
        resource.prlimit(run.pid, NOFILE, (8, before[1]))  # as if others had taken the rest
        site.release()
        assert run.says(TOLD)
        resource.prlimit(run.pid, NOFILE, before)
        ended = run.end()
    assert ended.code == 0, ended.err
    assert ended.err.count(TOLD) == 1
    assert {record["attempts"] for record in records(program.folder / "out")} == {1}
    assert len(by_url(program.folder / "out")) == 60


def test_the_soft_limit_is_raised_without_a_word(program: Program, site: Site) -> None:
    hard = resource.getrlimit(NOFILE)[1]
    listed = write_list(program.folder / "urls.txt", slow(site, 80, size=10))
    with program.start(
        "get",
        "-i",
        listed,
        "-o",
        "out",
        "-c",
        "80",
        "--per-host",
        "80",
        preexec_fn=lambda: resource.setrlimit(NOFILE, (64, hard)),
    ) as run:
        assert site.wait(lambda _: len(site.log) == 80)
        assert resource.prlimit(run.pid, NOFILE)[0] > 64
        ended = run.end()
    assert ended.code == 0
    assert TOLD not in ended.err


def test_the_output_of_a_low_limit_is_in_the_run_directory_alone(program: Program, site: Site) -> None:
    """A limit too low even for the state is exit 5, and the same command goes on when it is higher."""
    url = site.url("/p/0")
    with program.start("get", url, "-o", "out", preexec_fn=limited(13)) as run:
        low = run.end()
    assert low.code == 5, low.err
    assert "Traceback" not in low.err
    assert program.run("get", url, "-o", "out").code == 0
    assert Path(program.folder / "out").is_dir()
