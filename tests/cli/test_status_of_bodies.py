"""`fetcher status` tells how far large bodies have come, while they grow and when they wait to be continued."""

from __future__ import annotations

import json
import signal

from support.faultserver import FaultServer
from support.program import Program, eventually
from support.ranged import MIB, Ranged, pattern

SIZE = 8 * MIB


def test_status_shows_a_body_that_grows_and_one_that_was_left(program: Program, server: FaultServer) -> None:
    server.route("/file", Ranged(pattern(SIZE), pause_s=1.0))
    url = server.url("/file")

    def grown() -> bool:
        ended = program.run("status", "out", "--json")
        return ended.code == 0 and bool(json.loads(ended.stdout)["growing"])

    with program.start("get", url, "-o", "out", "--grace", "0") as running:
        assert eventually(grown)
        assert "bodies that grow" in program.run("status", "out").out
        running.send(signal.SIGINT)
        running.end()
    (body,) = json.loads(program.run("status", "out", "--json").stdout)["growing"]
    assert (body["url"], body["total"]) == (url, SIZE)
    assert 0 < body["bytes"] < SIZE
    assert "bodies that are partly there" in program.run("status", "out").out


def test_a_run_whose_last_body_ended_while_it_was_stopped_has_nothing_to_continue(
    program: Program, server: FaultServer
) -> None:
    server.route("/file", Ranged(pattern(SIZE), pause_s=0.2))
    with program.start("get", server.url("/file"), "-o", "out", "--grace", "60") as running:
        assert eventually(lambda: server.count("/file") == 1)
        running.send(signal.SIGINT)
        ended = running.end()
    assert ended.code == 130
    assert "done  1" in ended.err
    assert "to continue" not in ended.err
