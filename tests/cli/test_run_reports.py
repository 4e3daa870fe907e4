"""What a run tells others: the summary that is posted, the figures, and the service manager."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.faultserver import Exchange
from support.program import Program, eventually
from support.site import Site

from fetcher.cli import run_report
from fetcher.cli.run_report import RunReport
from fetcher.errors import ConfigError
from fetcher.settings import Settings


@pytest.fixture
def hook(site: Site) -> str:
    """The URL of a hook that takes a message at the second try."""

    async def take(x: Exchange) -> None:
        await x.answer(204 if site.count("/hook") > 1 else 503)

    site.route("/hook", take)
    return site.url("/hook")


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """The socket of a service manager, at an abstract name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # the system gives a name
        listener.settimeout(60)
        yield listener


def posted(site: Site) -> list[dict[str, object]]:
    return [json.loads(hit.body) for hit in site.hits("/hook")]


def figures_of(text: str) -> dict[str, float]:
    """The samples by their names with labels, as Prometheus would read them."""
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_run_that_failed_posts_its_summary_until_it_is_taken_and_leaves_its_figures(
    program: Program, site: Site, hook: str
) -> None:
    old = program.folder / "run.prom"
    old.write_text("old")
    before = old.stat().st_ino
    url = hook.replace("http://", "http://user:secret@") + "?token=hidden"
    ended = program.run(
        *("get", site.url("/p/0"), site.url("/gone"), "-o", "out"),
        *("--notify", url, "--metrics-file", "run.prom"),
    )
    assert ended.code == 1
    assert "warning" not in ended.err
    assert not re.search("secret|hidden", ended.err), "the command to type again shows no secret"
    assert site.hits("/hook")[0].header("authorization") == "Basic dXNlcjpzZWNyZXQ="
    first, second = posted(site)
    assert first == second
    assert (first["command"], first["directory"], first["exit_code"]) == ("get", "out", 1)
    summary = first["summary"]
    assert isinstance(summary, dict)
    assert (summary["done"], summary["failed"], summary["errors"]) == (1, 1, {"http-status": 1})
    assert "1 done, 1 failed (exit 1)" in str(first["text"])

    figures = figures_of((program.folder / "run.prom").read_text())
    assert figures["fetcher_outcomes_total['done', 'out']"] == 1
    assert figures["fetcher_outcomes_total['failed', 'out']"] == 1
    assert figures["fetcher_errors_total['http-status', 'out']"] == 1
    assert figures["fetcher_answers_total['4xx', 'out']"] == 1
    assert figures["fetcher_run_exit_code['out']"] == 1
    assert figures[f"fetcher_host_outcomes_total['127.0.0.1:{site.port}', 'done', 'out']"] == 1
    assert figures["fetcher_stored_bytes_total['out']"] == len(site.pages["/p/0"])
    assert (program.folder / "run.prom").stat().st_ino != before, "a new file took the old one's place"
    assert [path.name for path in program.folder.glob("run.prom*")] == ["run.prom"]


def test_a_good_run_posts_only_if_it_is_to(site: Site, hook: str, tmp_path: Path) -> None:
    settings = Settings(notify=hook, output=str(tmp_path))
    RunReport(settings, "get").end(0)
    assert posted(site) == []
    RunReport(Settings(notify=hook, notify_always=True), "get").end(0)
    assert [message["exit_code"] for message in posted(site)] == [0, 0]


def test_a_run_that_never_began_posts_why(program: Program, site: Site, hook: str) -> None:
    ended = program.run("get", "-i", "missing.txt", "--notify", hook, "--metrics-file", "run.prom")
    assert ended.code == 2
    assert {(message["exit_code"], message["error"]) for message in posted(site)} == {
        (2, "cannot read missing.txt: no such file or directory")
    }
    assert figures_of((program.folder / "run.prom").read_text())["fetcher_run_exit_code['downloads']"] == 2


def test_a_hook_that_never_answers_or_refuses_changes_nothing(
    site: Site, hook: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def hang(x: Exchange) -> None:
        await x.hang()

    site.route("/silent", hang)
    monkeypatch.setattr(run_report, "MOST_S", 1.2)
    RunReport(Settings(notify=site.url("/silent")), "get").end(1, ConfigError("x"))
    assert capsys.readouterr().err == "fetcher: warning: notify: the summary was not delivered: no answer\n"
    RunReport(Settings(notify=site.url("/nothing-here")), "get").end(1)
    assert "HTTP 404" in capsys.readouterr().err
    assert site.count("/nothing-here") == 1, "what is refused is not tried again"


def test_figures_can_be_asked_for_while_it_runs_and_the_service_manager_is_told(
    program: Program, site: Site, manager: socket.socket
) -> None:
    program.environment |= {
        "NOTIFY_SOCKET": "@" + manager.getsockname()[1:].decode(),
        "WATCHDOG_USEC": "200000",
    }
    site.hold_after(1)
    with program.start("get", site.url("/p/0"), site.url("/p/1"), "--metrics", "0") as running:
        told = [manager.recv(4096).decode() for _ in range(4)]
        assert [text for text in told if "READY=1" in text]
        assert len([text for text in told if "WATCHDOG=1\nSTATUS=" in text]) >= 2
        assert eventually(lambda: "/metrics" in running.said())
        [url] = re.findall(r"metrics: (http://127\.0\.0\.1:\d+/metrics)", running.said())

        def figures() -> dict[str, float]:
            with urllib.request.urlopen(url, timeout=30) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain; version=")
                return figures_of(answer.read().decode())

        assert eventually(lambda: figures()["fetcher_outcomes_total['done']"] == 1)
        now = figures()
        assert (now["fetcher_urls['pending']"], now["fetcher_exchanges_in_flight[]"]) == (1, 1)
        site.release()
        assert running.end().code == 0
    while "STOPPING=1" not in (last := manager.recv(4096).decode()):
        pass
    assert last == "STOPPING=1\nSTATUS=2 of 2 · " + last.split(" · ", 1)[1]


def test_an_address_that_is_taken_stops_it_before_anything_is_fetched(program: Program, site: Site) -> None:
    ended = program.run("get", site.url("/p/0"), "--metrics", str(site.port))
    assert ended.code == 2
    assert f"metrics: cannot listen on 127.0.0.1:{site.port}: " in ended.err
    assert site.log == []
