"""Runs on a cluster whose output is an object store: what one machine brings, whoever is killed or frozen."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.clusters import Cluster
from support.faultserver import Exchange
from support.objectstore import Bucket, ObjectServer
from support.program import Program, eventually, records, write_list
from support.site import Site

IN_USE = 3

HOSTS = [f"127.0.0.{n}" for n in range(1, 11)]
LARGE = b"0123456789abcdef" * (9 * 65536)  # 9 MiB: it goes up in parts
SETTINGS = {"per_host": 2, "shards": 4, "concurrency": 16, "retries": 6}
SEGMENT = re.compile(r"in/it/journal/[0-9]{4}/E[0-9]+-[0-9]+\.jsonl")
START = re.compile(r"in/it/journal/[0-9]{4}/E[0-9]+")

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def program(tmp_path: Path, s3: ObjectServer) -> Program:
    return Program(tmp_path, s3.variables)


async def slow(x: Exchange) -> None:
    """/slow/N: a page that takes a moment, so that many are under way at any time."""
    await x.pause(0.05)
    await x.answer(200, body=x.content(700))


def journal(bucket: Bucket) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bucket.read("in/it/results.jsonl").splitlines()]


def count(bucket: Bucket, kind: re.Pattern[str]) -> int:
    return sum(1 for key in bucket.objects() if kind.fullmatch(key))


def check_whole(bucket: Bucket, urls: list[str]) -> None:
    """Each URL has one record, each record its object, and nothing else is there."""
    lines = journal(bucket)
    assert Counter(line["url"] for line in lines) == Counter(urls)
    there = bucket.objects()
    for line in lines:
        assert line["state"] == "done", line
        assert hashlib.sha256(bucket.read(f"in/it/{line['path']}")).hexdigest() == line["sha256"]
    paths = {f"in/it/{line['path']}" for line in lines}
    others = {key for key in there if re.match(r"in/it/[0-9]+/", key)} - paths
    assert {key for key in others if not key.endswith("/results.jsonl")} == set(), "left behind"
    assert bucket.uploads() == []


def test_a_list_comes_to_what_it_comes_to_on_one_machine(program: Program, bucket: Bucket) -> None:
    pages = {f"/{n}": b"page %d" % n for n in range(25)} | {"/large": LARGE}
    with Site(pages, HOSTS[1:]) as site:
        site.content_type = "text/html; charset=utf-8"
        urls = [f"http://{host}:{site.port}/{n}" for n in range(25) for host in HOSTS]
        urls += [f"http://{HOSTS[2]}:{site.port}/large", f"http://{HOSTS[1]}:{site.port}/missing"]
        write_list(program.folder / "urls.txt", urls)
        run = ("get", "-i", "urls.txt", "-q", "-o", f"{bucket.url}/in/it", "--state", "state")
        run = (*run, "--cluster", "local:2", "--shards", "5")
        ended = program.run(*run, is_fresh=True)
        assert ended.code == 1, ended.err
        asked = len(site.log)
        again = program.run(*run, is_fresh=True)
        assert (again.code, len(site.log)) == (1, asked), "what had ended was asked for again"
        alone = ("get", "-i", "urls.txt", "-q", "-o", f"{bucket.url}/alone", "--state", "alone")
        assert program.run(*alone).code == 1
        refreshed = program.run(*run, "--refresh", "--json", is_fresh=True)
    many = {line["url"]: line for line in journal(bucket) if line["state"] != "unchanged"}
    one = {line["url"]: line for line in records(program.folder / "alone")}
    assert many.keys() == one.keys() == {*urls}
    for url, line in many.items():
        path = line["path"] and line["path"].partition("/")[2]
        assert (line["state"], line["error"], path) == (
            one[url]["state"],
            one[url]["error"],
            one[url]["path"],
        )
        if path:
            assert bucket.read(f"in/it/{line['path']}") == bucket.read(f"alone/{path}")
            assert bucket.head(f"in/it/{line['path']}")["ContentType"] == site.content_type
    states = Counter(line["state"] for line in refreshed.lines)
    assert states == {"unchanged": len(urls) - 1, "failed": 1}
    assert not [key for key in bucket.objects() if "/staged/" in key]
    verified = program.run("verify", "state")
    assert verified.code == 0, verified.out
    assert f"{len(urls) - 1} files" in verified.out
    report = json.loads(program.run("status", "state", "--json").out)
    assert report["states"]["done"] + report["states"]["unchanged"] == len(urls) - 1
    assert program.run("export", "state", "all.csv").code == 0
    refused = program.run("get", "-i", "urls.txt", "-o", f"{bucket.url}/b", "--state", "state", *run[-4:])
    assert refused.code == 2
    assert "holds the state of" in refused.err
    refused = program.run("get", "-i", "urls.txt", "-o", f"{bucket.url}/alone", *run[-4:])
    assert refused.code == 2
    assert f"{bucket.url}/alone is the output of one machine" in refused.err


def test_whatever_is_killed_the_same_command_ends_it(tmp_path: Path, bucket: Bucket) -> None:
    out = f"{bucket.url}/in/it"
    with Site({}, HOSTS[1:]) as site, Cluster(tmp_path / "cluster") as cluster:
        site.route("/slow", slow)
        urls = [f"http://{host}:{site.port}/slow/{n}" for n in range(50) for host in HOSTS]
        listed = write_list(tmp_path / "urls.txt", urls)
        cluster.add_worker()
        cluster.add_worker()
        with cluster.client("get", listed, out, **SETTINGS) as client:
            assert eventually(lambda: count(bucket, SEGMENT) >= 3)
            cluster.workers[0].kill()
            cluster.add_worker()
            assert eventually(lambda: count(bucket, SEGMENT) >= 6)
            client.process.kill()
        with cluster.client("get", listed, out, **SETTINGS) as client:
            assert client.wait() == 0
            assert client.summary["done"] == len(urls)
        check_whole(bucket, urls)
        assert max(site.most_active.values()) <= SETTINGS["per_host"]


def test_a_worker_that_wakes_after_its_lease_changes_nothing(tmp_path: Path, bucket: Bucket) -> None:
    out = f"{bucket.url}/in/it"
    with Site({}, HOSTS[1:]) as site, Cluster(tmp_path / "cluster") as cluster:
        site.route("/slow", slow)
        urls = [f"http://{host}:{site.port}/slow/{n}" for n in range(40) for host in HOSTS]
        listed = write_list(tmp_path / "urls.txt", urls)
        asleep = cluster.add_worker()
        with cluster.client("get", listed, out, **(SETTINGS | {"shards": 2})) as client:
            assert eventually(lambda: count(bucket, SEGMENT) >= 3)
            asleep.send_signal(signal.SIGSTOP)
            assert eventually(lambda: not any(site.active.values()))  # what it had sent has come
            before, begun = len(site.log), count(bucket, START)
            cluster.add_worker()
            assert eventually(lambda: count(bucket, START) >= begun + 2)  # both are with the other one now
            assert eventually(lambda: len(site.log) > before + 50)
            asleep.send_signal(signal.SIGCONT)
            assert client.wait() == 0
            assert client.summary["done"] == len(urls)
        check_whole(bucket, urls)
        after = Counter((hit.host_header, hit.target) for hit in site.log[before:])
        assert max(after.values()) == 1, "both sent requests"


def test_a_crawl_comes_to_the_pages_of_one_process(tmp_path: Path, bucket: Bucket, program: Program) -> None:
    out = f"{bucket.url}/in/it"
    with Site({}, HOSTS[1:]) as site, Cluster(tmp_path / "cluster") as cluster:

        async def page(x: Exchange) -> None:
            """/page/N: links to three pages of other hosts."""
            n = int(x.hit.path.rpartition("/")[2])
            links = [
                f'<a href="http://{HOSTS[(n * 7 + k * 3) % 10]}:{site.port}/page/{(n * 3 + k) % 12}">x</a>'
                for k in range(3)
            ]
            await x.pause(0.02)
            await x.answer(200, [("Content-Type", "text/html")], "".join(links).encode())

        site.route("/page", page)
        listed = write_list(tmp_path / "seeds.txt", [f"http://{h}:{site.port}/page/1" for h in HOSTS[:3]])
        crawl = {"scope": "any", "depth": 5, "no_robots": True, "private_addresses": "allow"}
        settings = SETTINGS | crawl
        cluster.add_worker()
        cluster.add_worker()
        with cluster.client("crawl", listed, out, **settings) as client:
            assert eventually(lambda: count(bucket, SEGMENT) >= 3)
            cluster.workers[0].kill()
            assert client.wait() == 0
        alone = ("crawl", "-i", listed, "-o", "one", "-q", "--scope", "any", "--depth", "5", "--no-robots")
        assert program.run(*alone, "--private-addresses", "allow").code == 0
        check_whole(bucket, [line["url"] for line in records(program.folder / "one")])
        assert len(journal(bucket)) > 30, "it is a crawl of some size"


def test_a_second_client_is_refused(tmp_path: Path, bucket: Bucket) -> None:
    out = f"{bucket.url}/in/it"
    pages = {f"/{n}": b"page" for n in range(20)}
    with Site(pages, HOSTS[1:2]) as site, Cluster(tmp_path / "cluster") as cluster:
        urls = [f"http://{HOSTS[1]}:{site.port}/{n}" for n in range(20)]
        listed = write_list(tmp_path / "urls.txt", urls)
        cluster.add_worker()
        site.hold_after(5)
        with cluster.client("get", listed, out, **SETTINGS) as first:
            assert site.wait(lambda s: len(s.log) > 5, 60)
            with cluster.client("get", listed, out, **SETTINGS) as second:
                assert second.wait() == IN_USE
            site.release()
            assert first.wait() == 0
        check_whole(bucket, urls)
