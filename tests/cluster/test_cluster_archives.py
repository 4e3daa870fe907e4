"""Archives of a cluster's shards hold what one machine's hold, each URL once, whoever was killed or slept."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.clusters import Cluster, segments, starts, wait_for_segments, wait_for_starts
from support.faultserver import Exchange
from support.program import Program, eventually, records, write_list
from support.site import Site
from support.warcs import is_sound, kept

HOSTS = [f"127.0.0.{n}" for n in range(1, 13)]
ARCHIVES = {"warc": "archive/*", "parquet": "bodies/*"}
SETTINGS = {"per_host": 2, "concurrency": 48, "retries": 6, "user_agent": "fetcher"}

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site({f"/{n}": b"page %d " % n * 50 for n in range(20)}, HOSTS[1:]) as made:
        made.route("/slow", slow)
        yield made


async def slow(x: Exchange) -> None:
    """/slow/N: a page that takes a moment, so that many are under way at any time."""
    await x.pause(0.05)
    await x.answer(200, body=x.content(700))


def write_jsonl(path: Path, urls: list[str]) -> Path:
    path.write_text("".join(f'{{"url": "{url}", "label": {n}}}\n' for n, url in enumerate(urls)))
    return path


def archived(out: Path, store: str) -> Counter[tuple[Any, ...]]:
    """What all archives hold, of one run directory or of shards."""
    found: Counter[tuple[Any, ...]] = Counter()
    roots = [out, *out.glob("[0-9]*")]
    for root in roots:
        if not [*root.glob(ARCHIVES[store])]:
            continue
        if store == "warc":
            assert is_sound(root)
            found.update(
                (one.kind, one.url, one.status, one.wire)
                for one in kept(root, "request", "response", "revisit")
            )
        else:
            for path in root.glob("bodies/*"):
                found.update(tuple(row.items()) for row in pq.read_table(path).to_pylist())
    return found


def exported(program: Program, out: Path) -> list[dict[str, Any]]:
    """The records with their bodies, as the program finds them."""
    table = program.folder / f"{out.name}.parquet"
    ended = program.run("export", out, table, "--bodies", "--overwrite")
    assert ended.code == 0, ended.err
    rows = pq.read_table(table).select(["url", "state", "status", "error", "sha256", "body"])
    return sorted(rows.to_pylist(), key=lambda row: row["url"])


def check_whole(program: Program, out: Path, store: str) -> None:
    """Each record's bytes are there, nothing else is, and nothing is left of what was staged."""
    ended = program.run("verify", out)
    assert ended.code == 0, ended.out + ended.err
    assert "unknown" not in ended.out + ended.err
    assert not [*out.glob("[0-9]*/.fetcher/staged/*")]
    done = [line["url"] for line in records(out) if line["state"] == "done"]
    rows = exported(program, out)
    assert [row["url"] for row in rows if row["body"] is not None] == sorted(done)


@pytest.mark.parametrize("store", ARCHIVES)
def test_archives_hold_what_those_of_one_machine_hold(tmp_path: Path, site: Site, store: str) -> None:
    out, one, program = tmp_path / "out", tmp_path / "one", Program(tmp_path)
    urls = [f"http://{host}:{site.port}/{n}" for n in range(21) for host in HOSTS]  # /20 is not there
    listed = write_jsonl(tmp_path / "urls.jsonl", urls)
    with Cluster(tmp_path / "cluster") as cluster:
        for _ in range(2):
            cluster.add_worker()
        with cluster.client("get", listed, out, store=store, shards=5, **SETTINGS) as client:
            assert client.wait() in {0, 1}
            assert (client.summary["done"], client.summary["failed"]) == (240, 12)
        alone = ("get", "-i", listed, "-o", one, "--store", store, "--user-agent", "fetcher", "-q")
        assert program.run(*alone).code == 1
        assert archived(out, store) == archived(one, store)
        with cluster.client("get", listed, out, store=store, shards=5, refresh=True, **SETTINGS) as client:
            assert client.wait() in {0, 1}
            assert client.summary["unchanged"] == 240
        assert program.run(*alone, "--refresh").code == 1
    held = archived(out, store)
    assert held == archived(one, store)
    assert store == "parquet" or sum(held[item] for item in held if item[0] == "revisit") == 240
    assert exported(program, out) == exported(program, one)
    check_whole(program, out, store)
    assert program.run("diff", one, out).code == 0
    assert store == "parquet" or program.run("why", out, urls[0]).code == 0
    report = json.loads(program.run("status", out, "--json").out)
    assert (report["states"]["unchanged"], report["states"]["failed"]) == (240, 12)


@pytest.mark.parametrize("store", ARCHIVES)
def test_a_crawl_is_archived_as_on_one_machine(tmp_path: Path, store: str) -> None:
    out, one, program = tmp_path / "out", tmp_path / "one", Program(tmp_path)
    with Site({}, HOSTS[1:]) as site, Cluster(tmp_path / "cluster") as cluster:
        site.content_type = "text/html"
        for n in range(9):
            links = (f"http://{HOSTS[(n * 5 + k) % 12]}:{site.port}/{(n * 2 + k) % 9}" for k in range(3))
            site.pages[f"/{n}"] = "".join(f'<a href="{link}">x</a>' for link in links).encode()
        listed = write_list(tmp_path / "seeds.txt", [site.url("/1"), site.url("/3"), site.url("/gone")])
        crawl = {"scope": "any", "depth": 3, "no_robots": True, "private_addresses": "allow"}
        cluster.add_worker()
        settings = SETTINGS | crawl | {"store": store, "shards": 7}
        with cluster.client("crawl", listed, out, **settings) as client:
            assert client.wait() in {0, 1}
            ended = client.summary["done"]
        options = ("--scope", "any", "--depth", "3", "--no-robots", "--private-addresses", "allow")
        options += ("--store", store, "--user-agent", "fetcher", "-q")
        program.run("crawl", "-i", listed, "-o", one, *options)
    assert max(int(path.name[1:]) for path in out.glob("journal/*/E*") if path.name[1:].isdigit()) > 1
    assert archived(out, store) == archived(one, store)
    assert len(records(one)) > ended > 20
    check_whole(program, out, store)


@pytest.mark.parametrize("store", ARCHIVES)
def test_what_was_archived_counts_once_though_workers_are_killed_and_wake(
    tmp_path: Path, site: Site, store: str
) -> None:
    out, program = tmp_path / "out", Program(tmp_path)
    urls = [f"http://{host}:{site.port}/slow/{n}" for n in range(100) for host in HOSTS]
    listed = write_jsonl(tmp_path / "urls.jsonl", urls)
    settings = SETTINGS | {"store": store, "shards": 4}
    with Cluster(tmp_path / "cluster") as cluster:
        asleep = cluster.add_worker()
        with cluster.client("get", listed, out, **settings) as client:
            assert wait_for_segments(out, 4)
            asleep.send_signal(signal.SIGSTOP)
            assert eventually(lambda: not any(site.active.values()))
            stopped = starts(out)
            killed = cluster.add_worker()
            assert wait_for_starts(out, stopped + 2)  # both of its shards are with the other one now
            asleep.send_signal(signal.SIGCONT)
            assert wait_for_segments(out, len(segments(out)) + 2)
            killed.kill()
            client.process.kill()
        cluster.add_worker()
        with cluster.client("get", listed, out, **settings) as client:
            assert client.wait() == 0
            assert client.summary["done"] == len(urls)
    assert Counter(line["url"] for line in records(out)) == Counter(urls)
    held = archived(out, store)
    answers = (
        [one[1] for one in held if one[0] == "response"] if store == "warc" else [one[0][1] for one in held]
    )
    assert Counter(answers) == Counter(urls)
    assert set(held.values()) == {1}
    check_whole(program, out, store)
