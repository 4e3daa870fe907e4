"""Names from the server: given once, when the answer is there; confined, unique, and never changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.faultserver import Exchange, FaultServer

from fetcher import Fetcher
from fetcher.cli.main import _run as run_here
from fetcher.wiring import BACKENDS

QUICK = {"min_free": 0, "server_names": True}


def serve(server: FaultServer, path: str, *fields: tuple[str, str], status: int = 200) -> str:
    async def script(x: Exchange) -> None:
        await x.answer(status, fields, x.content(100))

    server.route(path, script)
    return server.url(path)


def attachment(name: str) -> tuple[str, str]:
    return "Content-Disposition", f'attachment; filename="{name}"'


def paths(out: Path, server: FaultServer) -> dict[str, str | None]:
    """Paths of the last records by that of the URL, without the host's folder; each file is there."""
    found = {}
    for line in (out / "results.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        path = record["path"]
        assert path is None or (out / path).is_file()
        key = record["url"].removeprefix(server.url(""))
        found[key] = None if path is None else path.partition("/")[2]
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_server_names_files_and_each_has_a_name_of_its_own(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    urls = [
        serve(server, "/a?1", attachment("report.pdf")),
        serve(server, "/b/a", attachment("../../x.pdf")),
        serve(server, "/plain"),
        serve(server, "/gone", attachment("gone.pdf"), status=404),
    ]
    serve(server, "/a", attachment("report.pdf"))
    urls.append(server.url("/a?2"))
    Fetcher(backend=backend, **QUICK).download(urls, tmp_path)
    found = paths(tmp_path, server)
    assert found.pop("/a?1") != (second := found.pop("/a?2"))
    assert {second, *found.values()} >= {"b/x.pdf", "plain", None}
    assert sorted(path.name.partition("~")[0] for path in tmp_path.rglob("report*")) == [
        "report",
        "report.pdf",
    ]
    assert run_here(["verify", str(tmp_path), "-q"]) == 0


@pytest.mark.parametrize("processes", [1, 2])
def test_a_name_never_changes_whatever_the_server_says_later(
    processes: int, server: FaultServer, tmp_path: Path
) -> None:
    url = serve(server, "/a", attachment("first.pdf"))
    common = ["-o", str(tmp_path), "--min-free", "0", "-q", "--processes", str(processes)]
    assert run_here(["get", url, "--server-names", *common]) == 0
    serve(server, "/a", attachment("second.pdf"), ("X", "new"))
    assert run_here(["get", url, "--server-names", "--refresh", *common]) == 0
    assert run_here(["get", url, "--restart", *common]) == 0
    assert paths(tmp_path, server) == {"/a": "first.pdf"}
    assert [path.name for path in tmp_path.rglob("*.pdf")] == ["first.pdf"]
    assert run_here(["verify", str(tmp_path), "-q"]) == 0


def test_a_name_of_the_list_wins_and_a_foreign_file_is_left_alone(
    server: FaultServer, tmp_path: Path
) -> None:
    mine = tmp_path / f"127.0.0.1_{server.port}" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    rows = [
        {"url": serve(server, "/a", attachment("theirs.txt")), "name": "chosen.txt"},
        {"url": serve(server, "/b", attachment("mine.txt"))},
    ]
    Fetcher(**QUICK).download(rows, tmp_path)
    assert mine.read_text() == "mine"
    found = paths(tmp_path, server)
    assert str(found["/b"]).startswith("mine~")
    assert (tmp_path / "chosen.txt").is_file()


def test_an_ending_comes_from_the_content_type(server: FaultServer, tmp_path: Path) -> None:
    rows = [
        {"url": serve(server, "/page.php?id=2", ("Content-Type", "text/html"))},
        {"url": serve(server, "/photo", ("Content-Type", "image/jpeg"))},
        {"url": serve(server, "/dir/", ("Content-Type", "text/html"))},
    ]
    serve(server, "/page.php", ("Content-Type", "text/html"))
    Fetcher(min_free=0, extension=True).download(rows, tmp_path)
    assert paths(tmp_path, server) == {
        "/page.php?id=2": "page.php@id=2.html",
        "/photo": "photo.jpg",
        "/dir/": "dir/index.html",
    }
