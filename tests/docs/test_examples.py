"""The examples run: each program against a site on the loopback, the job as cron and systemd start it."""

from __future__ import annotations

import configparser
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from support.faultserver import Exchange, FaultServer, content
from support.objectstore import object_server

from fetcher.config import load_job

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT_S = 60.0
NIGHTLY = [("nightly.cron", "fetcher-nightly.service"), ("nightly-crawl.cron", "fetcher-crawl.service")]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


class Run:
    """Runs an example, or the program, in a folder of its own, with a clean environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}

    def example(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._python("-W", "error", str(EXAMPLES / name), *arguments)

    def program(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._python("-m", "fetcher", *arguments)

    def _python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8", **self.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )


def test_every_example_program_has_a_test_and_says_how_it_is_called() -> None:
    tested = set(re.findall(r'example\(\s*"(\w+\.py)"', Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested
    for name in tested:
        assert f"    python examples/{name} " in (EXAMPLES / name).read_text()


def test_one_page_prints_the_page(run: Run, server: FaultServer) -> None:
    ended = run.example("one_page.py", server.url("/ok/1?size=20&type=text/plain"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("200 text/plain, 20 bytes in ")


def test_one_page_that_is_missing_is_told_and_fails(run: Run, server: FaultServer) -> None:
    ended = run.example("one_page.py", server.url("/status/404"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"http-status: {server.url('/status/404')}: HTTP 404\n"


def test_a_batch_tells_its_progress_and_its_totals(run: Run, server: FaultServer) -> None:
    urls = [server.url(f"/bytes/{n}") for n in range(1, 30)] + [server.url("/status/410")]
    ended = run.example("batch_async.py", *urls)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stderr.splitlines()) == 30
    assert ended.stderr.splitlines()[-1].startswith("30/30 ")
    assert "'done': 29" in ended.stdout
    assert "'failed': 1" in ended.stdout


def test_save_all_saves_and_saves_nothing_twice(run: Run, server: FaultServer) -> None:
    urls = [server.url("/ok/a.txt?size=9"), server.url("/ok/b.txt?size=9")]
    first = run.example("save_all.py", "pages", *urls)
    assert (first.returncode, first.stdout) == (0, "2 done, 0 failed, 0 of them earlier\n"), first.stderr
    assert (run.folder / "pages" / "a-1.txt").read_bytes() == content("/ok/a.txt", 9)
    again = run.example("save_all.py", "pages", *urls)
    assert (again.returncode, again.stdout) == (0, "2 done, 0 failed, 2 of them earlier\n")
    assert len(server.log) == 2


def test_save_all_counts_errors_and_fails(run: Run, server: FaultServer) -> None:
    ended = run.example("save_all.py", "pages", server.url("/status/404"))
    assert ended.returncode == 1
    assert ended.stdout.splitlines() == ["0 done, 1 failed, 0 of them earlier", "  http-status: 1"]


def test_link_status_lists_every_link_in_order_and_fails_for_a_broken_one(
    run: Run, server: FaultServer
) -> None:
    urls = [server.url("/redirect/1?to=/ok/9"), server.url("/status/404"), server.url("/ok/1"), "nowhere"]
    ended = run.example("link_status.py", *urls)
    assert ended.returncode == 1, ended.stderr
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert rows == [
        ["200", urls[0]],
        ["→", server.url("/ok/9")],
        ["404", urls[1]],
        ["200", urls[2]],
        ["bad-url", urls[3]],
    ]
    assert {hit.method for hit in server.log} == {"HEAD"}


def test_link_status_is_content_with_good_links(run: Run, server: FaultServer) -> None:
    assert run.example("link_status.py", server.url("/ok/1")).returncode == 0


def test_the_hooks_give_the_same_in_plain_code_in_async_code_and_in_a_thread(
    run: Run, server: FaultServer
) -> None:
    ended = run.example("blocking_hooks.py", server.url("/ok/1"))
    assert ended.returncode == 0, ended.stderr
    rows = [line.split(maxsplit=1) for line in ended.stdout.splitlines()]
    assert [row[0] for row in rows] == ["plain", "async", "thread"]
    assert len({row[1] for row in rows}) == 1
    assert rows[0][1].startswith("200 ")


# --- the site's links ------------------------------------------------------------------------------------


FAR = "127.0.0.2"


@pytest.fixture
def two_sites() -> Iterator[FaultServer]:
    """One at 127.0.0.1 to be crawled; one at 127.0.0.2 that it links to."""
    with FaultServer(hosts=[FAR]) as server:
        yield server
    assert server.errors == []


def serve(server: FaultServer, pages: dict[str, str]) -> None:
    """Serve these pages of HTML beside the server's own scripts, and 404 for the rest."""
    if "pages" not in server.state:
        server._routes.append(("/", page))
    server.state["pages"] = pages


async def page(x: Exchange) -> None:
    text = x.server.state["pages"].get(x.hit.path)
    if text is None:
        await x.answer(404)
        return
    tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'
    kind = "text/plain" if x.hit.path.endswith(".txt") else "text/html; charset=utf-8"
    is_known = x.hit.header("if-none-match") == tag
    await x.answer(304 if is_known else 200, [("Content-Type", kind), ("ETag", tag)], text.encode())


def links(*urls: str) -> str:
    return "".join(f'<a href="{url}">a link</a>' for url in urls)


def test_broken_links_are_told_with_every_page_on_which_they_stand(run: Run, two_sites: FaultServer) -> None:
    far = two_sites.url("", host=FAR)
    serve(
        two_sites,
        {
            "/": links("/a", "/status/404", "/redirect/2?to=/status/410", f"{far}/status/500?x", "/secret/1")
            + '<img src="/gone.png">',
            "/a": links("/status/404", f"{far}/ok/1", f"{far}/status/403", "mailto:you@example.org", "/loop")
            + links(far.replace("//", "//me:secret@") + "/status/401")
            + '<a rel=nofollow href="/reset">no</a>',
            "/robots.txt": "User-agent: *\nDisallow: /secret",
        },
    )
    ended = run.example("broken_links.py", "--intranet", two_sites.url("/"))
    assert ended.returncode == 1, ended.stderr
    assert told(ended.stdout, two_sites.url(""), far) == {
        "404 /gone.png": ["/"],
        "404 /status/404": ["/", "/a"],
        "410 /redirect/2?to=/status/410 → /redirect/1?to=/status/410 → /status/410": ["/"],
        "401 http://me:secret@127.0.0.2:PORT/status/401": ["/a"],
        "403 far:/status/403": ["/a"],
        "500 far:/status/500?x": ["/"],
        "connection-lost /reset": ["/a"],
        "redirect-loop /loop": ["/a"],
    }
    assert two_sites.count("/secret/1") == 0


def test_a_link_that_leads_out_is_asked_for_once_and_its_page_is_not_followed(
    run: Run, two_sites: FaultServer
) -> None:
    far = two_sites.url("/far", host=FAR)
    serve(two_sites, {"/": links("/a", far), "/a": links(far, f"{far}#part"), "/far": links("/b")})
    ended = run.example("broken_links.py", "--intranet", two_sites.url("/"))
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert [(hit.method, hit.path) for hit in two_sites.log if hit.host_header.startswith(FAR)] == [
        ("HEAD", "/far")
    ]


def test_a_link_whose_head_is_refused_is_asked_for_by_get(run: Run, two_sites: FaultServer) -> None:
    async def no_head(x: Exchange) -> None:
        await x.answer(405 if x.hit.method == "HEAD" else 200, body=bytes(1_000_000))

    two_sites.route("/far", no_head)
    serve(two_sites, {"/": links(two_sites.url("/far", host=FAR))})
    ended = run.example("broken_links.py", "--intranet", two_sites.url("/"))
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert [hit.method for hit in two_sites.hits("/far")] == ["HEAD", "GET"]


def test_no_private_address_is_asked_because_a_page_links_to_it(run: Run, two_sites: FaultServer) -> None:
    far = two_sites.url("", host=FAR)
    serve(two_sites, {"/": links(f"{far}/status/404") + f'<img src="{far}/gone.png">'})
    ended = run.example("broken_links.py", two_sites.url("/"))
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert {hit.host_header for hit in two_sites.log} == {f"127.0.0.1:{two_sites.port}"}


def test_a_site_that_is_not_there_is_a_broken_link(run: Run, server: FaultServer) -> None:
    ended = run.example("broken_links.py", server.url("/status/404"))
    assert ended.returncode == 1
    assert ended.stdout.split() == ["404", server.url("/status/404"), "on", "the", "command", "line"]


def told(report: str, site: str, far: str) -> dict[str, list[str]]:
    """What the checker printed: what is wrong and the link, with the pages below."""
    found: list[tuple[str, list[str]]] = []
    for line in report.replace(site, "").replace(far, "far:").replace(far[-5:], "PORT").splitlines():
        if line.startswith(" "):
            found[-1][1].append(line.split("on ", 1)[1])
        else:
            found.append((" ".join(line.split()), []))
    return dict(found)


def test_the_link_check_of_ci_tells_what_is_broken_and_fails(run: Run, two_sites: FaultServer) -> None:
    serve(two_sites, {"/": links("/a", "/missing"), "/a": links("/logout")})
    job = (EXAMPLES / "link-check.toml").read_text().replace("https://example.org/", two_sites.url("/"), 1)
    (run.folder / "link-check.toml").write_text(job)
    workflow = (EXAMPLES / "link-check.yml").read_text()
    (command,) = re.findall(r"- run: fetcher (run .*)", workflow)
    (kept,) = re.findall(r"path: (.*)", workflow)
    ended = run.program(*shlex.split(command))
    assert ended.returncode == 1
    assert f'  404  {two_sites.url("/missing")}  "a link"' in ended.stderr.splitlines()
    (broken,) = (run.folder / kept).read_text().splitlines()
    assert json.loads(broken)["parent"] == two_sites.url("/")
    assert two_sites.count("/logout") == 0


# --- the extractor ---------------------------------------------------------------------------------------


FACTS = {
    "/": '<title>Home</title><h1>All</h1><p>one two</p><a href="/tide">tide</a><a href="/bad">bad</a>',
    "/tide": '<h1>The tide</h1><h2>High</h2><script type="application/ld+json">{"@type": "Event"}</script>',
    "/bad": '<script type="application/ld+json">{"@type": </script>',
}


def facts(file: Path, site: str) -> dict[str, list[dict[str, Any]]]:
    """The items by path, without the site's address."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in file.read_text().splitlines():
        item = json.loads(line)
        found.setdefault(item.pop("url").removeprefix(site), []).append(item)
    return found


def test_the_extractor_runs_in_processes_for_a_program(run: Run, server: FaultServer) -> None:
    serve(server, FACTS)
    ended = run.example("extractor.py", "facts", server.url("/"), server.url("/tide"), server.url("/bad"))
    assert ended.stdout == "2 pages, 1 failed; what they say is in facts/data.jsonl\n", ended.stderr
    assert ended.returncode == 1
    found = facts(run.folder / "facts" / "data.jsonl", server.url(""))
    assert set(found) == {"/", "/tide"}
    (home,) = found["/"]
    assert (home["title"], home["headings"], home["words"]) == ("Home", ["All"], 5)
    assert found["/tide"][0]["headings"] == ["The tide", "High"]
    assert found["/tide"][1] == {"linked_data": {"@type": "Event"}}
    (failed,) = [record for record in results(run.folder / "facts") if record["state"] == "failed"]
    assert (failed["error"], failed["url"]) == ("parse-failed", server.url("/bad"))
    assert re.search(r"JSONDecodeError.*extractor\.py:\d+", failed["message"])


def test_the_extractors_own_words_crawl_with_it(run: Run, server: FaultServer) -> None:
    serve(server, {**FACTS, "/bad": "<p>good"})
    (line,) = [
        line.strip()
        for line in (EXAMPLES / "extractor.py").read_text().splitlines()
        if "fetcher crawl" in line
    ]
    words = shlex.split(line.replace("https://example.org/", server.url("/")))
    assert words.pop(0) == "fetcher"
    words[words.index("examples/extractor.py:Extractor")] = f"{EXAMPLES}/extractor.py:Extractor"
    ended = run.program(*words)
    assert ended.returncode == 0, ended.stderr
    assert set(facts(run.folder / "site" / "data.jsonl", server.url(""))) == {"/", "/tide", "/bad"}


def results(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "results.jsonl").read_text().splitlines()]


# --- the nightly jobs ----------------------------------------------------------------------------------


def test_the_nightly_crawl_runs_silently_and_the_next_night_finds_what_changed(
    run: Run, server: FaultServer
) -> None:
    folder = run.folder / "crawl"  # cron starts it elsewhere
    folder.mkdir()
    shutil.copy(EXAMPLES / "extractor.py", folder)
    job = (EXAMPLES / "nightly-crawl.toml").read_text().replace("https://example.org/", server.url("/"), 1)
    (folder / "nightly-crawl.toml").write_text(job)
    night = {"/": links("/a", "/b", "/print/a", "/a?session=1"), "/a": "<h1>a", "/b": "<h1>old"}
    for pages, states in (
        (night, {"done": 3}),
        ({**night, "/b": "<h1>new</h1>" + links("/c"), "/c": "<h1>c"}, {"done": 2, "unchanged": 2}),
    ):
        serve(server, pages)
        asked = len(server.log)
        ended = run.program("run", "crawl/nightly-crawl.toml", "--quiet")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        report = json.loads(run.program("status", "crawl/site", "--json").stdout)
        assert {state: number for state, number in report["states"].items() if number} == states
    again = {hit.path: hit.header("if-none-match") for hit in server.log[asked:]}
    assert all(again[path] for path in ("/", "/a", "/b"))
    found = facts(folder / "site" / "data.jsonl", server.url(""))
    assert {path: [item["headings"] for item in items] for path, items in found.items()} == {
        "/": [[]],
        "/a": [["a"]],
        "/b": [["old"], ["new"]],
        "/c": [["c"]],
    }
    assert all(json.loads(line) for line in (folder / "crawl.log").read_text().splitlines())


def test_the_offline_site_leads_from_file_to_file(run: Run, server: FaultServer) -> None:
    job = (EXAMPLES / "offline-site.toml").read_text().replace("https://example.org/", server.url("/"), 1)
    (run.folder / "offline-site.toml").write_text(job)
    serve(server, {"/": links("/a"), "/a": links("/")})
    ended = run.program("run", "offline-site.toml")
    assert ended.returncode == 0, ended.stderr
    [page] = run.folder.glob("site/*/a.html")
    assert b"index.html" in page.read_bytes()


def test_the_data_set_has_bodies_and_columns_as_rows(run: Run, server: FaultServer) -> None:
    shutil.copy(EXAMPLES / "data-set.toml", run.folder)
    lines = [{"url": server.url(f"/ok/{n}"), "label": f"l{n}"} for n in range(3)]
    (run.folder / "labelled.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    ended = run.program("run", "data-set.toml", "--quiet")
    assert (ended.returncode, ended.stderr) == (0, "")
    [shard] = run.folder.glob("dataset/bodies/*.parquet")
    rows = parquet.read_table(shard, columns=["url", "label", "body"]).to_pylist()
    assert {(row["url"], row["label"]) for row in rows} == {(line["url"], line["label"]) for line in lines}
    assert all(row["body"] for row in rows)


def test_a_distribution_comes_from_a_mirror_under_its_name_and_is_held_to_its_hash(
    run: Run, server: FaultServer
) -> None:
    shutil.copy(EXAMPLES / "distribution.toml", run.folder)
    text = "what a distribution is made of"
    serve(server, {"/there/image.iso": text})
    body = text.encode()
    (run.folder / "distribution.meta4").write_text(
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="iso/image.iso">'
        f'<size>{len(body)}</size><hash type="sha-256">{hashlib.sha256(body).hexdigest()}</hash>'
        f'<url priority="1">{server.url("/status/404")}</url>'
        f'<url priority="2">{server.url("/there/image.iso")}</url></file></metalink>'
    )
    ended = run.program("run", "distribution.toml", "--quiet")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (run.folder / "distribution" / "iso" / "image.iso").read_bytes() == body


def test_the_nightly_job_runs_silently_and_the_next_night_asks_conditionally(
    run: Run, server: FaultServer
) -> None:
    shutil.copy(EXAMPLES / "nightly.toml", run.folder)
    (run.folder / "urls.txt").write_text("".join(f"{server.url(f'/ok/{n}')}\n" for n in range(5)))
    for states in ({"done": 5}, {"unchanged": 5}):
        ended = run.program("run", "nightly.toml", "--quiet")
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        report = json.loads(run.program("status", "pages", "--json").stdout)
        assert {state: number for state, number in report["states"].items() if number} == states
    assert len(server.log) == 10
    assert all(hit.header("if-none-match") for hit in server.log[5:])
    log = (run.folder / "nightly.log").read_text().splitlines()
    assert log
    assert all(json.loads(line) for line in log)


def test_the_nightly_job_into_a_bucket_fills_it_and_the_next_night_asks_conditionally(
    run: Run, server: FaultServer
) -> None:
    shutil.copy(EXAMPLES / "nightly-objects.toml", run.folder)
    (run.folder / "urls.txt").write_text("".join(f"{server.url(f'/ok/{n}')}\n" for n in range(3)))
    with object_server() as store:
        store.control.create_bucket(Bucket="my-bucket")
        run.variables = store.variables
        for _ in range(2):
            ended = run.program("run", "nightly-objects.toml", "--quiet")
            assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        listed = store.control.list_objects_v2(Bucket="my-bucket")["Contents"]
    assert len(listed) == 4
    assert all(entry["Key"].startswith("pages/") for entry in listed)
    assert all(hit.header("if-none-match") for hit in server.log[3:])
    assert (run.folder / "pages-state" / "results.jsonl").read_text().count("\n") == 6


def test_the_nightly_job_speaks_up_when_something_failed(run: Run, server: FaultServer) -> None:
    shutil.copy(EXAMPLES / "nightly.toml", run.folder)
    (run.folder / "urls.txt").write_text(f"{server.url('/ok/1')}\n{server.url('/status/404')}\n")
    ended = run.program("run", "nightly.toml", "--quiet")
    assert ended.returncode == 1
    assert f"{server.url('/status/404')}: http-status" in ended.stderr


def test_the_nightly_job_loads_with_all_its_keys() -> None:
    job = load_job(EXAMPLES / "nightly.toml", flags={}, environ={})
    assert job.command == "get"
    assert job.inputs == (str(EXAMPLES / "urls.txt"),)
    assert job.effective.settings.refresh
    assert job.effective.settings.hosts["example.org"].per_host == 2


def test_the_nightly_crawl_loads_with_all_its_keys() -> None:
    job = load_job(EXAMPLES / "nightly-crawl.toml", flags={}, environ={})
    settings = job.effective.settings
    assert job.command == "crawl"
    assert job.urls == ("https://example.org/",)
    assert (settings.refresh, settings.depth, settings.offload) == (True, 8, "processes")
    assert settings.hosts["example.org"].delay == 0.5


@pytest.mark.parametrize(("cron", "service"), NIGHTLY)
def test_the_crontab_line_is_five_fields_and_the_command_of_the_service(cron: str, service: str) -> None:
    lines = [line for line in (EXAMPLES / cron).read_text().splitlines() if line[:1].isdigit()]
    (fields,) = [line.split(maxsplit=5) for line in lines]
    assert all(re.fullmatch(r"[\d*,/-]+", field) for field in fields[:5])
    assert "%" not in fields[5]  # a newline to cron
    assert shlex.split(fields[5]) == shlex.split(unit(service)["Service"]["ExecStart"])


@pytest.mark.parametrize("name", [service for _, service in NIGHTLY])
def test_the_units_name_each_other_and_allow_a_stop_its_time(name: str) -> None:
    service, timer = unit(name), unit(name.replace(".service", ".timer"))
    command = shlex.split(service["Service"]["ExecStart"])
    assert command[1] == "run"
    assert Path(command[2]).parent == Path(service["Service"]["WorkingDirectory"])
    assert service["Service"]["ReadWritePaths"] == service["Service"]["WorkingDirectory"]
    settings = load_job(EXAMPLES / Path(command[2]).name, flags={}, environ={}).effective.settings
    assert float(service["Service"]["TimeoutStopSec"]) > settings.grace
    assert service["Service"]["SuccessExitStatus"].split() == ["4", "143"]
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert re.fullmatch(r"\*-\*-\* \d\d:\d\d:\d\d", timer["Timer"]["OnCalendar"])


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(EXAMPLES / name)
    return parser
