"""Workers, scheduler and client are killed, and stopped for longer than a lease: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from support.clusters import Cluster, segments, starts, wait_for_segments, wait_for_starts
from support.faultserver import Exchange
from support.program import eventually, records, write_list
from support.site import Site

from fetcher.download import Download
from fetcher.settings import crawl_defaults, make
from fetcher.sources.iterables import IterableSource

HOSTS = [f"127.0.0.{n}" for n in range(1, 25)]
PER_HOST = 2
SETTINGS = {"per_host": PER_HOST, "shards": 12, "concurrency": 48, "retries": 6}

pytestmark = pytest.mark.timeout(240)


async def slow(x: Exchange) -> None:
    """/slow/N: a page that takes a moment, so that many are under way at any time."""
    await x.pause(0.05)
    await x.answer(200, body=x.content(700))


def check_whole(out: Path, site: Site, urls: list[str]) -> None:
    lines = records(out)
    assert Counter(line["url"] for line in lines) == Counter(urls)
    for line in lines:
        assert line["state"] == "done", line
        data = (out / line["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == line["sha256"]
    assert max(site.most_active.values()) <= PER_HOST
    files = {path for path in out.glob("[0-9]*/1*/**/*") if path.is_file()}
    assert len(files) == len(urls)


def test_whatever_is_killed_the_same_command_ends_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Site({}, HOSTS[1:]) as site, Cluster(tmp_path / "cluster") as cluster:
        site.route("/slow", slow)
        urls = [f"http://{host}:{site.port}/slow/{n}" for n in range(60) for host in HOSTS]
        listed = write_list(tmp_path / "urls.txt", urls)
        for _ in range(3):
            cluster.add_worker()
        with cluster.client("get", listed, out, **SETTINGS) as client:
            assert wait_for_segments(out, 3)
            cluster.workers[0].kill()
            cluster.add_worker()
            assert wait_for_segments(out, 8)
            client.process.kill()
        with cluster.client("get", listed, out, **SETTINGS) as client:
            # Nobody begins a shard before it, though those that run go on for a while.
            assert wait_for_starts(out, starts(out) + 4)
            cluster.workers[1].kill()
            assert wait_for_segments(out, len(segments(out)) + 3)
            cluster.scheduler.kill()
            assert client.wait() == 5  # and it says that the same command continues
        for worker in cluster.workers:
            worker.kill()
        cluster.start_scheduler()
        for _ in range(2):
            cluster.add_worker()
        with cluster.client("get", listed, out, **SETTINGS) as client:
            assert client.wait() == 0
            assert client.summary["done"] == len(urls)
        check_whole(out, site, urls)
        repeated = len(site.log) - len(urls)
        # Five processes with 48 exchanges in flight, and half a second of records that had no segment.
        assert repeated < len(urls) / 2


def test_a_worker_that_wakes_after_its_lease_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Site({}, HOSTS[1:8]) as site, Cluster(tmp_path / "cluster") as cluster:
        site.route("/slow", slow)
        urls = [f"http://{host}:{site.port}/slow/{n}" for n in range(150) for host in HOSTS[:8]]
        listed = write_list(tmp_path / "urls.txt", urls)
        asleep = cluster.add_worker()
        with cluster.client(
            "get", listed, out, **(SETTINGS | {"shards": 2, "user_agent": "fetcher"})
        ) as client:
            assert wait_for_segments(out, 3)
            asleep.send_signal(signal.SIGSTOP)
            assert eventually(lambda: not any(site.active.values()))  # what it had sent has come
            before, stopped = len(site.log), starts(out)
            cluster.add_worker()
            assert wait_for_starts(out, stopped + 2)  # both are with the other one now
            assert eventually(lambda: len(site.log) > before + 50)
            asleep.send_signal(signal.SIGCONT)
            assert client.wait() == 0
            assert client.summary["done"] == len(urls)
        check_whole(out, site, urls)
        after = Counter((hit.host_header, hit.target) for hit in site.log[before:])
        assert max(after.values()) == 1, "both sent requests"
        owners = {int(path.name[1:3]) for path in segments(out)}
        assert owners == {1, 2}


def test_a_crawl_that_was_killed_twice_comes_to_the_pages_of_one_process(tmp_path: Path) -> None:
    out, hosts = tmp_path / "out", [f"127.0.0.{n}" for n in range(1, 61)]
    with Site({}, hosts[1:]) as site, Cluster(tmp_path / "cluster") as cluster:

        async def page(x: Exchange) -> None:
            """/page/N: links to three pages of other hosts."""
            n = int(x.hit.path.rpartition("/")[2])
            links = [
                f'<a href="http://{hosts[(n * 7 + k * 11) % 60]}:{site.port}/page/{(n * 3 + k) % 40}">x</a>'
                for k in range(3)
            ]
            await x.pause(0.02)
            await x.answer(200, [("Content-Type", "text/html")], "".join(links).encode())

        site.route("/page", page)
        seeds = [f"http://{host}:{site.port}/page/{n}" for n, host in enumerate(hosts[:9])]
        listed = write_list(tmp_path / "seeds.txt", seeds)
        crawl = {"scope": "any", "depth": 6, "no_robots": True, "private_addresses": "allow"}
        settings = SETTINGS | crawl | {"shards": 7}
        for _ in range(2):
            cluster.add_worker()
        with cluster.client("crawl", listed, out, **settings) as client:
            assert wait_for_segments(out, 4)
            cluster.workers[0].kill()
            cluster.add_worker()
            assert wait_for_segments(out, 8)
            client.process.kill()
        with cluster.client("crawl", listed, out, **settings) as client:
            assert client.wait() == 0
        asked = len(site.log)
        given = settings | {"shards": None}
        alone = msgspec.structs.replace(crawl_defaults(make(given), given), output=str(tmp_path / "one"))
        asyncio.run(Download(alone, command="crawl").run([IterableSource(seeds)]))
        check_whole(out, site, [line["url"] for line in records(tmp_path / "one")])
        assert len(site.log) - asked >= 100, "it is a crawl of some size"
