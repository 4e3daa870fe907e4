"""A list on a cluster whose workers are killed every few seconds, the scheduler and the client once: it ends."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from pathlib import Path

from support.clusters import Cluster
from support.faultserver import Exchange, FaultServer
from support.program import records, write_list

_WORKERS, _PER_HOST, _SHARDS = 4, 4, 32
_KILL_EACH_S = 3.0
_LIMIT_S = 3600.0


async def _slow(x: Exchange) -> None:
    await x.pause(0.05)
    await x.answer(200, body=x.content(1500))


def torture_cluster(folder: Path, *, urls: int, seed: int, hosts: int = 200) -> bool:
    """Run until the same command has ended it. True if nothing was lost, doubled or asked for too often."""
    chance = random.Random(seed)
    names = [f"127.0.{n // 250}.{n % 250 + 1}" for n in range(hosts)]
    out = folder / "out"
    settings = {"per_host": _PER_HOST, "shards": _SHARDS, "concurrency": 256, "retries": 6}
    with FaultServer(names[0], names[1:]) as server, Cluster(folder / "cluster") as cluster:
        server.route("/slow", _slow)
        wanted = [f"http://{names[n % hosts]}:{server.port}/slow/{n // hosts}" for n in range(urls)]
        listed = write_list(folder / "urls.txt", wanted)
        for _ in range(_WORKERS):
            cluster.add_worker()
        until, kills, code = time.monotonic() + _LIMIT_S, 0, -1
        while code != 0 and time.monotonic() < until:
            with cluster.client("get", listed, out, **settings) as client:
                while client.process.poll() is None and time.monotonic() < until:
                    time.sleep(_KILL_EACH_S)
                    living = [one for one in cluster.workers if one.poll() is None]
                    kills += 1
                    if living:
                        chance.choice(living).kill()
                    if kills == 6:
                        cluster.scheduler.kill()
                    elif kills == 10:
                        client.process.kill()
                    while sum(one.poll() is None for one in cluster.workers) < _WORKERS:
                        cluster.add_worker()
                code = -1 if client.process.poll() is None else client.process.returncode
            if cluster.scheduler.poll() is not None:
                for worker in cluster.workers:
                    worker.kill()
                cluster.start_scheduler()
                for _ in range(_WORKERS):
                    cluster.add_worker()
        faults = _faults(out, wanted, server) if code == 0 else [f"the last client ended with {code}"]
        print(f"cluster: {urls:,} URLs, {kills} kills, {len(server.log) - urls:,} requests repeated")
    for fault in faults:
        print(f"cluster: {fault}")
    return not faults


def _faults(out: Path, wanted: list[str], server: FaultServer) -> list[str]:
    lines = records(out)
    found = []
    if Counter(line["url"] for line in lines) != Counter(wanted):
        found.append(f"{len(lines):,} records of {len(wanted):,} URLs")
    for line in lines:
        path = out / (line["path"] or "nothing")
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != line["sha256"]:
            found.append(f"{line['url']}: its file is not whole")
    most = max(server.most_active.values())
    if most > _PER_HOST:
        found.append(f"{most} exchanges at once at one host")
    return found
