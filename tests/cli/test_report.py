"""What held a run back is told by its summary, by `status`, and by the report, which counts its exchanges."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from support.faultserver import Exchange
from support.program import Program, records, write_list
from support.site import Site

from fetcher.cli.main import _run as run_here

MakeSite = Callable[..., Site]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_what_held_a_run_back_is_told_everywhere(
    program: Program, site: Site, capsys: pytest.CaptureFixture[str], processes: str
) -> None:
    async def slow(x: Exchange) -> None:
        await asyncio.sleep(0.2)
        await x.answer(200, body=b"at last")

    for number in range(6):
        site.route(f"/slow/{number}", slow)
    write_list(program.folder / "urls.txt", [*(site.url(f"/slow/{n}") for n in range(6)), site.url("/none")])
    ended = program.run("get", "-i", "urls.txt", "-o", "out", "--per-host", "1", "--processes", processes)
    assert ended.code == 1
    assert "127.0.0.1" in ended.err
    assert "'s limit of 1 held" in ended.err
    assert "--per-host 2 would save about" in ended.err

    out = program.folder / "out"
    assert run_here(["status", str(out)]) == 0
    assert "in the last run: 127.0.0.1" in capsys.readouterr().out
    assert run_here(["report", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["bottleneck"]["cause"] == figures["runs"][-1]["bottleneck"]["cause"] == "per-host"
    assert figures["exchanges"] == sum(record["attempts"] for record in records(out)) == 7
    assert figures["stages"]["header"]["median"] == pytest.approx(0.2, abs=0.15)
    assert figures["states"] == {"done": 6, "unchanged": 0, "failed": 1, "refused": 0}
    assert [(each["error"], each["status"], each["urls"]) for each in figures["errors"]] == [
        ("http-status", 404, 1)
    ]
    assert run_here(["report", str(out), "-q"]) == 0
    assert "limit of 1 held" in (program.folder / "out-report.html").read_text()
