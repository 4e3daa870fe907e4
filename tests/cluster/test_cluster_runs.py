"""Runs on a cluster: they come to what one machine comes to, within the same limits, and go on where they were.

The workers are threads of this process, each with a comm of its own; `test_cluster_kills` has real processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from distributed import LocalCluster
from support.clusters import segments, starts
from support.faultserver import Exchange
from support.program import records
from support.site import Site

from fetcher.cluster import cluster_plugin
from fetcher.cluster.cluster_download import ClusterDownload
from fetcher.cluster.lease import LeaseTimes
from fetcher.cluster.shard_messages import ClusterTimes
from fetcher.download import Download
from fetcher.errors import ConfigError, DirectoryInUse
from fetcher.events import Event, LogMessage, OutcomesSettled
from fetcher.model import Record, Summary
from fetcher.settings import crawl_defaults, make
from fetcher.sources.iterables import IterableSource

HOSTS = [f"127.0.0.{n}" for n in range(1, 13)]
TIMES = ClusterTimes(lease=LeaseTimes(3.0, 4.0, 0.5, 0.1), checkpoint_s=0.3, client_s=5.0, tick_s=0.05)

pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore::ResourceWarning")]


@contextlib.asynccontextmanager
async def workers(number: int = 2) -> AsyncIterator[str]:
    """A cluster of threads. Gives the address of its scheduler."""
    async with LocalCluster(
        n_workers=number,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        asynchronous=True,
    ) as cluster:
        yield cluster.scheduler_address


class Heard:
    """What observers hear."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.texts: list[str] = []

    def on_event(self, event: Event) -> None:
        if isinstance(event, OutcomesSettled):
            self.records += event.records
        elif isinstance(event, LogMessage):
            self.texts.append(event.text)


def made(
    out: Path, address: str | None, command: str = "get", heard: Heard | None = None, **given: Any
) -> Download:
    """A run into `out`, on a cluster or, without an address, on this machine."""
    if address is not None:
        given |= {"cluster": address, "shards": given.get("shards", 5)}
    else:
        given.pop("shards", None)
    settings = make(given)
    if command == "crawl":
        settings = crawl_defaults(settings, given)
    settings = msgspec.structs.replace(settings, output=str(out))
    observers = [] if heard is None else [heard]
    if address is None:
        return Download(settings, command=command, observers=observers)
    return ClusterDownload(settings, command=command, observers=observers, times=TIMES)


async def run(out: Path, address: str | None, urls: Sequence[Any], *args: Any, **given: Any) -> Summary:
    return await made(out, address, *args, **given).run([IterableSource(urls)])


def essence(out: Path) -> dict[str, tuple[object, ...]]:
    """What records of one run and of shards have in common: the folder of a shard stands before its paths."""
    lines = records(out)
    found = {}
    for line in lines:
        path = line["path"]
        is_of_shard = (out / "journal").exists()
        name = path if path is None or not is_of_shard else path.partition("/")[2]
        found[line["url"]] = line["state"], line["error"], name, line["sha256"], line["line"]
    assert len(found) == len(lines), "a URL has two records"
    return found


async def test_a_list_comes_to_what_it_comes_to_on_one_machine(tmp_path: Path) -> None:
    heard = Heard()
    with Site({f"/{n}": b"page %d" % n for n in range(120)}, HOSTS[1:]) as site:
        urls: list[Any] = [f"http://{host}:{site.port}/{n}" for n in range(6) for host in HOSTS]
        urls += [f"http://{HOSTS[2]}:{site.port}/{n}" for n in range(6, 120)]  # too many for one shard
        urls += ["ftp://no/url", urls[0], f"http://{HOSTS[1]}:{site.port}/missing"]
        urls += [{"url": f"http://{HOSTS[3]}:{site.port}/7", "name": "own/name", "label": "x"}]
        async with workers() as address:
            summary = await run(tmp_path / "many", address, urls, heard=heard)
            asked = len(site.log)
            again = await run(tmp_path / "many", address, urls)
        assert len(site.log) == asked, "what had ended was asked for again"
        alone = await run(tmp_path / "one", None, urls)
    assert essence(tmp_path / "many") == essence(tmp_path / "one")
    assert (summary.done, summary.failed, summary.refused) == (alone.done, alone.failed, alone.refused)
    assert (summary.pending, summary.duplicates, summary.earlier) == (0, 1, 0)
    assert (again.done, again.failed, again.earlier) == (summary.done, summary.failed, again.ended)
    assert Counter(record.url for record in heard.records) == Counter(essence(tmp_path / "many").keys())
    assert any(f"{HOSTS[2]}:{site.port} is too large for one shard" in text for text in heard.texts)
    for line in records(tmp_path / "many"):
        if line["path"]:
            assert (tmp_path / "many" / line["path"]).stat().st_size == line["bytes"]
    staged = [*(tmp_path / "many").glob("*/.fetcher/staged/*")]
    assert not staged


async def test_a_run_that_was_stopped_goes_on_with_another_number_of_workers(tmp_path: Path) -> None:
    with Site({f"/{n}": b"page %d" % n for n in range(40)}, HOSTS[1:]) as site:
        urls = [f"http://{host}:{site.port}/{n}" for n in range(20) for host in HOSTS]
        site.hold_after(60)
        async with workers(2) as address:
            download = made(tmp_path / "out", address, grace=0.1)
            going = asyncio.create_task(download.run([IterableSource(urls)]))
            while len(site.log) < 60:
                await asyncio.sleep(0.02)
            with pytest.raises(DirectoryInUse):
                await run(tmp_path / "out", address, urls)
            download.stop("SIGINT")
            stopped = await going
        site.release()
        assert stopped.stopped == "SIGINT"
        assert 0 < stopped.done <= 60
        before = len(records(tmp_path / "out"))
        assert before == stopped.done
        async with workers(1) as address:
            with pytest.raises(ConfigError, match="this run has 5, for good"):
                await run(tmp_path / "out", address, urls, shards=7)
            ended = await run(tmp_path / "out", address, urls)
        assert (ended.done, ended.pending, ended.earlier) == (len(urls), 0, before)
    assert len(essence(tmp_path / "out")) == len(urls)


async def slow(x: Exchange) -> None:
    """/slow: a page that takes a moment."""
    await x.pause(0.05)
    await x.answer(200, body=b"slow")


async def test_limits_are_totals_over_all_shards(tmp_path: Path) -> None:
    with Site({}, HOSTS[1:]) as site:
        site.route("/slow", slow)
        urls = [f"http://{host}:{site.port}/slow/{n}" for n in range(10) for host in HOSTS]
        async with workers() as address:
            await run(tmp_path / "few", address, urls, concurrency=6)
            assert site.most_active_total <= 6
            begun = time.monotonic()
            first = len(site.log)
            await run(tmp_path / "rate", address, urls[:40], rate="20/s")
            assert time.monotonic() - begun > 1.5
            started = sorted(hit.started for hit in site.log[first:])
            for at in range(len(started) - 30):  # bursts of a few are made up for
                assert started[at + 30] - started[at] > 1.0
            site.pages = {}
            missing = [f"http://{host}:{site.port}/gone/{n}" for n in range(400) for host in HOSTS]
            failing = await run(tmp_path / "failing", address, missing, max_failures=20, rate="200/s")
            late = await run(tmp_path / "late", address, urls, rate="10/s", deadline="1s")
    assert (failing.stopped, late.stopped) == ("max-failures", "deadline")
    assert 20 <= failing.failed < 2000
    assert 0 < late.pending < len(urls)


async def test_another_version_on_a_worker_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_plugin, "__version__", "0.0.1")
    async with workers() as address:
        with pytest.raises(ConfigError, match=r"worker \S+ \(tcp://.*\) has fetcher 0\.0\.1"):
            await run(tmp_path / "out", address, ["http://127.0.0.1:9/"])
    assert not segments(tmp_path / "out")
    assert not starts(tmp_path / "out")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"processes": 2}, "processes"),
        ({"restart": True}, "restart"),
        ({"on_done": "true"}, "on_done"),
    ],
)
async def test_what_does_not_go_with_a_cluster_is_said_first(
    tmp_path: Path, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        made(tmp_path / "out", "tcp://127.0.0.1:9", **given)
    assert not (tmp_path / "out").exists()


def crawl_site(site: Site) -> list[str]:
    """Fill a site whose pages link to other hosts, and return the seeds."""
    site.content_type = "text/html"
    for n in range(200):
        links = [
            f'<a href="http://{HOSTS[(n * 5 + k) % len(HOSTS)]}:{site.port}/{(n * 2 + k) % 9}">x</a>'
            for k in range(3)
        ]
        site.pages[f"/{n}"] = "".join(links).encode()
    return [site.url("/1"), site.url("/3"), f"http://{HOSTS[4]}:{site.port}/2"]


CRAWL = {"scope": "any", "depth": 3, "no_robots": True, "private_addresses": "allow"}


async def test_a_crawl_comes_to_the_pages_of_one_machine(tmp_path: Path) -> None:
    with Site({}, HOSTS[1:]) as site:
        seeds = crawl_site(site)
        async with workers() as address:
            summary = await run(tmp_path / "many", address, seeds, "crawl", shards=7, **CRAWL)
            asked = site.requests()
            again = await run(tmp_path / "many", address, seeds, "crawl", shards=7, **CRAWL)
            assert site.requests() == asked
            few = await run(tmp_path / "few", address, seeds, "crawl", shards=7, max_pages=9, **CRAWL)
            rest = await run(tmp_path / "few", address, seeds, "crawl", shards=7, **CRAWL)
        await run(tmp_path / "one", None, seeds, "crawl", **CRAWL)
    one = {line["url"]: line["sha256"] for line in records(tmp_path / "one")}
    many = {line["url"]: line["sha256"] for line in records(tmp_path / "many")}
    assert many == one
    assert len(records(tmp_path / "many")) == len(many) == summary.done == again.earlier
    assert few.done == 9
    assert rest.done == len(one)
    assert {line["url"] for line in records(tmp_path / "few")} == set(one)
