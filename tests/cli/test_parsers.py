"""`--parser`: what the user's function returns stands in `data.jsonl`, once, whatever happens to the run.

The parsers are in a file beside the run, as a user's would be; a page's path says what they do with it.
"""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.crawlsite import CrawlSite
from support.crawlweb import Resource, Web
from support.program import Ended, Program, by_url, eventually, parts, records, stored

OFFLOADS = ("auto", "inline", "threads", "processes")
CONCURRENCY, UNSETTLED = 16, 64

PARSERS = """
import asyncio, atexit, os, sys, time
import fetcher
from fetcher import Parsed

def path(page):
    return page.url.split("/", 3)[3]

def title(page):
    return {"path": path(page), "title": page.title}

def gives(page):
    kind = path(page)
    if kind == "dict": return {"a": 1}
    if kind == "list": return [{"a": 1}, None, "two\\nlines"]
    if kind == "generator": return (n for n in range(3))
    if kind == "text": return "just text"
    if kind == "none": return None
    if kind == "empty": return []
    if kind == "parsed": return Parsed({"b": 2}, links=["/hidden/one", "hidden/two#part", "mailto:x@y"])
    if kind == "followed":
        page.follow("/hidden/three")
        yield_ = [Parsed("x", ["/hidden/four"]), "y"]
        return yield_
    return {"at": kind}

def generates(page):
    yield {"path": path(page), "n": 1}
    yield {"path": path(page), "n": 2}

async def awaits(page):
    await asyncio.sleep(0.001)
    return title(page)

async def awaits_each(page):
    yield title(page)
    await asyncio.sleep(0.001)

class Counts:
    def __init__(self): self.seen = 0
    def __call__(self, page):
        self.seen += 1
        return {**title(page), "seen": self.seen}

class Tidy:
    def __init__(self): atexit.register(self.end)
    def end(self): time.sleep(0.3); print("tidied up")
    def __call__(self, page): return title(page)

class AwaitsToo:
    async def __call__(self, page):
        await asyncio.sleep(0)
        return title(page)

class Shop:
    @staticmethod
    def product(page): return title(page)

def shows(page):
    return {
        "url": page.url, "final_url": page.final_url, "status": page.status, "ok": page.ok,
        "etag": page.headers["etag"], "type": page.headers.get("Content-Type"), "size": len(page.body),
        "text": page.text(), "title": page.title, "h1": [n.text() for n in page.tree.css("h1")],
        "links": [link.url for link in page.links], "joined": page.urljoin("../x"),
    }

def prints(page):
    print("printed on standard output", page.url)
    print("and on standard error", file=sys.stderr)
    return title(page)

def fails_on_bad(page):
    if "bad" in page.url: raise ValueError("no price on\\nthis page")
    return title(page)

def hostile(page):
    does = page.headers.get("x-does")
    if does == "abort": os.abort()
    if does == "loop":
        while True: pass
    if does == "sleep": time.sleep(3600)
    if does == "memory": return len(bytearray(4 << 30))
    if does == "exit": sys.exit(3)
    if does == "raise": raise RuntimeError("\\x1b[31m")
    if does == "unencodable": return object()
    if does == "recurse": return hostile_deep(0)
    return title(page)

def hostile_deep(n): return hostile_deep(n + 1) + 1

def takes_its_time(page):
    time.sleep(0.01)
    return title(page)

not_callable = 5
def takes_nothing(): ...
"""

MakeSite = Callable[..., CrawlSite]
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


def html(title: str, *links: str) -> bytes:
    anchors = "".join(f'<a href="{link}">a page</a>' for link in links)
    return f"<title>{title}</title><h1>{title}</h1>{anchors}".encode()


@pytest.fixture
def serve(program: Program) -> Iterator[MakeSite]:
    """Start a site from bodies by path, HTML all of them; the parsers stand in `parsers.py`."""
    (program.folder / "parsers.py").write_text(PARSERS)
    with ExitStack() as stack:
        sites: list[CrawlSite] = []

        def make(bodies: dict[str, bytes], **more: Resource) -> CrawlSite:
            site = CrawlSite(Web({path: Resource(body) for path, body in bodies.items()}))
            site.web.resources.update({f"/{path}": resource for path, resource in more.items()})
            sites.append(site)
            return stack.enter_context(site)

        yield make
    assert not [error for site in sites for error in site.errors], "the site failed"


def plain(number: int) -> dict[str, bytes]:
    """A root that links to so many pages, `/p/0` and on."""
    paths = [f"/p/{n}" for n in range(number)]
    return {"/": html("root", *paths), **{path: html(f"page {path}") for path in paths}}


def get(program: Program, site: CrawlSite, parser: str, *options: str | Path, out: str = "out") -> Ended:
    """Everything that the site has, by its URLs."""
    urls = "".join(f"{site.url(path)}\n" for path in site.web.resources)
    (program.folder / "urls.txt").write_text(urls)
    return program.run(
        "get", "-i", "urls.txt", "-o", out, "--parser", f"parsers.py:{parser}", "--retries", "0", *options
    )


def crawl(program: Program, site: CrawlSite, parser: str, *options: str | Path) -> Ended:
    return program.run(
        "crawl", site.url("/"), "-o", "out", "--parser", f"parsers.py:{parser}", "--retries", "0", *options
    )


def data(out: Path, name: str = "data.jsonl") -> list[Any]:
    """The lines of `data.jsonl`, each whole."""
    text = (out / name).read_text()
    assert text == "" or text.endswith("\n"), "the last line is cut"
    return [json.loads(line) for line in text.splitlines()]


def titles(site: CrawlSite, *but: str) -> Counter[str]:
    """What `title` returns for every page of the site, as text."""
    found = {}
    for path, resource in site.web.resources.items():
        if path not in but:
            found[path] = resource.body.decode().split("<title>")[1].split("</title>")[0]
    return texts([{"path": path[1:], "title": title} for path, title in found.items()])


def texts(items: list[Any]) -> Counter[str]:
    return Counter(json.dumps(item, sort_keys=True) for item in items)


# -- what is returned ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [*[("--offload", place) for place in OFFLOADS], ("--processes", "2")], ids="-".join
)
def test_what_a_parser_returns_is_written_and_the_links_that_it_gives_are_followed(
    program: Program, serve: MakeSite, options: tuple[str, ...]
) -> None:
    kinds = ("dict", "list", "generator", "text", "none", "empty", "parsed", "followed")
    hidden = {f"/hidden/{name}": html(name) for name in ("one", "two", "three", "four")}
    site = serve(
        {"/": html("root", *(f"/{kind}" for kind in kinds)), **{f"/{k}": html(k) for k in kinds}, **hidden}
    )

    ended = crawl(program, site, "gives", *options)

    assert ended.code == 0, ended.err
    assert site.asked() == Counter(site.web.resources.keys())
    expected = [{"a": 1}, {"a": 1}, "two\nlines", 0, 1, 2, "just text", {"b": 2}, "x", "y", {"at": ""}]
    expected += [{"at": path[1:]} for path in hidden]
    assert texts(data(program.folder / "out")) == texts(expected)
    assert by_url(program.folder / "out")[site.url("/hidden/one")]["parent"] == site.url("/parsed")


@pytest.mark.parametrize("offload", OFFLOADS)
@pytest.mark.parametrize("parser", ["title", "awaits", "awaits_each", "AwaitsToo", "Shop.product"])
def test_functions_and_classes_of_either_kind_are_parsers_wherever_they_run(
    program: Program, serve: MakeSite, parser: str, offload: str
) -> None:
    site = serve(plain(20))
    ended = get(program, site, parser, "--offload", offload, "--parser-workers", "1")
    assert ended.code == 0, ended.err
    assert texts(data(program.folder / "out")) == titles(site)


@pytest.mark.parametrize("offload", OFFLOADS)
def test_an_instance_of_a_class_lives_as_long_as_its_place(
    program: Program, serve: MakeSite, offload: str
) -> None:
    site = serve(plain(30))
    ended = get(program, site, "Counts", "--offload", offload, "--parser-workers", "1")
    assert ended.code == 0, ended.err
    found = data(program.folder / "out")
    assert sorted(item["seen"] for item in found) == list(range(1, 32))


def test_a_page_shows_its_url_status_headers_body_text_tree_and_links(
    program: Program, serve: MakeSite
) -> None:
    body = (
        "<title> Ü\n b </title><base href='/deep/er/'><h1>Grüße</h1><a href='next'>n</a><a href='/p#x'>p</a>"
    )
    latin = Resource(
        body.encode("latin-1"), "text/html; charset=ISO-8859-1", fields=(("ETag", '"v1"'),), is_coded=True
    )
    site = serve({}, odd=latin)
    ended = get(program, site, "shows")
    assert ended.code == 0, ended.err
    assert data(program.folder / "out") == [
        {
            "url": site.url("/odd"),
            "final_url": site.url("/odd"),
            "status": 200,
            "ok": True,
            "etag": '"v1"',
            "type": "text/html; charset=ISO-8859-1",
            "size": len(body),
            "text": body,
            "title": "Ü b",
            "h1": ["Grüße"],
            "links": [site.url("/deep/er/next"), site.url("/p")],
            "joined": site.url("/deep/x"),
        }
    ]


def test_a_page_that_is_large_enough_for_a_part_file_is_parsed_whole(
    program: Program, serve: MakeSite
) -> None:
    large = html("large") + b"<p>" + b"x" * 3_000_000
    for offload in OFFLOADS:
        site = serve({}, large=Resource(large, fields=(("ETag", '"v"'),)))
        ended = get(program, site, "shows", "--offload", offload, out=offload)
        assert ended.code == 0, ended.err
        (shown,) = data(program.folder / offload)
        assert shown["size"] == len(shown["text"]) == len(large)
        assert parts(program.folder / offload) == []


@pytest.mark.parametrize(
    "options",
    [*[("--offload", place) for place in OFFLOADS], ("--offload", "inline", "--processes", "2")],
    ids="-".join,
)
def test_what_a_parser_prints_is_not_mixed_with_the_records_on_standard_output(
    program: Program, serve: MakeSite, options: tuple[str, ...]
) -> None:
    site = serve(plain(10))
    ended = get(program, site, "prints", "--json", *options)
    assert ended.code == 0, ended.err
    assert {record["url"] for record in ended.lines} == {site.url(path) for path in site.web.resources}
    assert "printed on standard output" in ended.err
    assert texts(data(program.folder / "out")) == titles(site)


def test_exit_handlers_of_a_parser_run_in_worker_processes_too(program: Program, serve: MakeSite) -> None:
    site = serve(plain(10))
    ended = get(program, site, "Tidy", "--offload", "inline", "--processes", "2")
    assert ended.code == 0, ended.err
    assert ended.err.count("tidied up") == 2


# -- once each -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ("get", "--offload", "auto"),
        ("get", "--offload", "inline"),
        ("get", "--offload", "processes", "--processes", "2"),
        ("crawl", "--offload", "processes"),
        ("crawl", "--offload", "inline", "--processes", "2"),
    ],
    ids="-".join,
)
def test_each_page_has_its_lines_once_after_kills_and_the_same_command(
    program: Program, serve: MakeSite, options: tuple[str, ...]
) -> None:
    site = serve(plain(600))
    urls = [site.url(path) for path in site.web.resources]
    (program.folder / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    command, *rest = options
    what = (command, "-i", "urls.txt") if command == "get" else (command, urls[0])
    how = (
        "-o",
        "out",
        "-c",
        str(CONCURRENCY),
        "--per-host",
        str(CONCURRENCY),
        "--parser",
        "parsers.py:generates",
    )
    for reached in (60, 250, 450):
        site.hold_after(reached - len(site.log) + CONCURRENCY)
        with program.start(*what, *how, *rest) as run:
            assert site.wait(lambda s, n=reached: len(s.log) >= n, 30), run.said()
            run.send(signal.SIGKILL)
            assert run.end().code == 137
        site.release()
    with (program.folder / "out" / "data.jsonl").open("ab") as file:  # as if between append and transaction
        file.write(b'{"path":"p/1","n":1}\n{"path":"p/5')

    ended = program.run(*what, *how, *rest)

    assert ended.code == 0, ended.err
    assert texts(data(program.folder / "out")) == texts(
        [{"path": path[1:], "n": n} for path in site.web.resources for n in (1, 2)]
    )
    assert sorted(record["url"] for record in records(program.folder / "out")) == sorted(urls)
    assert sum(times - 1 for times in site.asked().values()) <= 3 * (CONCURRENCY + UNSETTLED)
    assert parts(program.folder / "out") == []


def test_a_run_that_ended_parses_nothing_again_and_restart_begins_another_file(
    program: Program, serve: MakeSite
) -> None:
    site = serve(plain(5))
    assert get(program, site, "title").code == 0
    first = (program.folder / "out" / "data.jsonl").read_bytes()
    assert get(program, site, "title").code == 0
    assert (program.folder / "out" / "data.jsonl").read_bytes() == first

    assert get(program, site, "generates", "--restart").code == 0

    assert (program.folder / "out" / "data.jsonl.1").read_bytes() == first
    assert len(data(program.folder / "out")) == 12


def test_a_refresh_parses_only_the_pages_that_changed(program: Program, serve: MakeSite) -> None:
    site = serve(plain(4))
    assert get(program, site, "title").code == 0
    site.web.resources["/p/2"] = Resource(html("changed"))
    assert get(program, site, "title", "--refresh").code == 0
    assert data(program.folder / "out")[5:] == [{"path": "p/2", "title": "changed"}]


def test_a_parser_gets_what_was_stored_and_nothing_else(program: Program, serve: MakeSite) -> None:
    site = serve(
        {"/": html("root")},
        gone=Resource(html("gone"), status=404),
        empty=Resource(status=204),
        moved=Resource(b"moved", status=302, fields=(("Location", "/to?a=1"),)),
    )
    site.web.resources["/to?a=1"] = Resource(html("to"))
    ended = get(program, site, "title")
    assert ended.code == 1, ended.err
    expected = [
        {"path": "", "title": "root"},
        *[{"path": path, "title": "to"} for path in ("moved", "to?a=1")],
    ]
    assert texts(data(program.folder / "out")) == texts(expected)


@pytest.mark.parametrize(
    "options", [*[("--offload", place) for place in OFFLOADS], ("--processes", "2")], ids="-".join
)
def test_a_signal_while_pages_are_parsed_loses_no_line_and_repeats_none(
    program: Program, serve: MakeSite, options: tuple[str, ...]
) -> None:
    site = serve(plain(200))
    (program.folder / "urls.txt").write_text("".join(f"{site.url(path)}\n" for path in site.web.resources))
    command = ("get", "-i", "urls.txt", "-o", "out", "--parser", "parsers.py:takes_its_time", *options)
    with program.start(*command, "--grace", "20") as run:
        assert eventually(lambda: len(lines_so_far(program.folder / "out")) >= 20), run.said()
        run.send(signal.SIGINT)
        ended = run.end()
    assert ended.code == 130, ended.err
    assert "Traceback" not in ended.err
    assert parts(program.folder / "out") == []
    some = data(program.folder / "out")
    assert 20 <= len(some) == len(records(program.folder / "out"))

    ended = program.run(*command)

    assert ended.code == 0, ended.err
    assert data(program.folder / "out")[: len(some)] == some
    assert texts(data(program.folder / "out")) == titles(site)
    assert max(site.asked().values()) == 1, "what was in flight was thrown away"


@linux
@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=str)
def test_no_process_is_left_when_the_program_is_killed(
    program: Program, serve: MakeSite, options: tuple[str, ...]
) -> None:
    site = serve(plain(900))
    (program.folder / "urls.txt").write_text("".join(f"{site.url(path)}\n" for path in site.web.resources))
    how = (
        "-o",
        "out",
        "--parser",
        "parsers.py:takes_its_time",
        "--offload",
        "processes",
        "--parser-workers",
        "2",
    )
    with program.start("get", "-i", "urls.txt", *how, *options, is_fresh=True) as run:
        assert eventually(lambda: len(lines_so_far(program.folder / "out")) >= 20), run.said()
        assert eventually(lambda: len(processes_of(program)) == (5 if options else 3))
        run.send(signal.SIGKILL)
        run.end()
        assert eventually(lambda: not processes_of(program))


def lines_so_far(out: Path) -> list[bytes]:
    file = out / "data.jsonl"
    return file.read_bytes().splitlines() if file.exists() else []


def processes_of(program: Program) -> list[int]:
    """The processes whose home is the program's, itself included, and that have not ended."""
    home = f"HOME={program.environment['HOME']}\0".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if home in (folder / "environ").read_bytes():  # that of a zombie is empty
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


# -- a page whose parser failed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [*[("--offload", place) for place in OFFLOADS], ("--processes", "2")], ids="-".join
)
def test_a_page_whose_parser_failed_is_failed_keeps_its_file_and_its_links_are_followed(
    program: Program, serve: MakeSite, options: tuple[str, ...]
) -> None:
    site = serve(
        {
            "/": html("root", "/bad", "/good"),
            "/bad": html("bad", "/behind"),
            "/good": html("good"),
            "/behind": html("behind"),
        }
    )

    ended = crawl(program, site, "fails_on_bad", *options)

    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    found = by_url(program.folder / "out")
    bad = found.pop(site.url("/bad"))
    assert (bad["state"], bad["error"], bad["status"], bad["attempts"]) == ("failed", "parse-failed", 200, 1)
    assert bad["message"].startswith("ValueError: no price on this page (")
    assert "parsers.py:" in bad["message"]
    assert (program.folder / "out" / bad["path"]).read_bytes() == site.web.resources["/bad"].body
    assert {record["state"] for record in found.values()} == {"done"}
    assert found.keys() == {site.url(path) for path in ("/", "/good", "/behind")}
    assert texts(data(program.folder / "out")) == titles(site, "/bad")


@pytest.mark.parametrize(
    "path", ["/it's%20bad?a=1&b=2", "/bad?token=abc", "/bad\u202egpj.exe", "/ü/$(bad)`bad`"]
)
def test_the_command_in_the_message_repeats_the_page_and_works_once_the_parser_does(
    program: Program, serve: MakeSite, path: str
) -> None:
    site = serve({"/p/0": html("fine")})
    site.web.trap = lambda _: Resource(html("bad", "/next"))
    how = ("-o", "my files", "--parser", "parsers.py:fails_on_bad")
    ended = program.run("get", site.url("/p/0"), site.url(path), *how)
    assert ended.code == 1, ended.err
    (message,) = (record["message"] for record in records(program.folder / "my files") if record["message"])
    command = message.partition("; repeat: ")[2]
    assert command.startswith("python -m fetcher.parsers ")
    assert command in ended.err

    def repeat() -> subprocess.CompletedProcess[bytes]:
        words = [sys.executable, *shlex.split(command)[1:]]
        return subprocess.run(
            words, cwd=program.folder, env=program.environment, capture_output=True, timeout=60
        )

    again = repeat()
    assert again.returncode == 1
    assert b"ValueError: no price on\nthis page" in again.stderr
    assert b"in fails_on_bad" in again.stderr
    (program.folder / "parsers.py").write_text(PARSERS.replace("raise ValueError", "return str"))
    mended = repeat()
    assert (mended.returncode, json.loads(mended.stdout)) == (0, "no price on\nthis page"), mended.stderr


@pytest.mark.parametrize(
    ("options", "title"),
    [((), "bad"), ((), "bad, but another one"), (("--processes", "2"), "bad, but another one")],
    ids=str,
)
def test_retry_failed_parses_a_page_again_into_the_same_file(
    program: Program, serve: MakeSite, options: tuple[str, ...], title: str
) -> None:
    site = serve({**plain(5), "/bad": html("bad")})
    assert get(program, site, "fails_on_bad", *options).code == 1
    (program.folder / "parsers.py").write_text(PARSERS.replace('if "bad" in page.url', "if False"))

    assert get(program, site, "fails_on_bad", *options).code == 1  # a final state stays
    assert len(data(program.folder / "out")) == 6
    site.web.resources["/bad"] = Resource(html(title))
    ended = get(program, site, "fails_on_bad", "--retry-failed", *options)

    assert ended.code == 0, ended.err
    assert texts(data(program.folder / "out")) == titles(site)
    assert site.asked() == {**dict.fromkeys(site.web.resources, 1), "/bad": 2}
    files = stored(program.folder / "out")
    del files["data.jsonl"]
    assert sorted(files) == sorted(record["path"] for record in by_url(program.folder / "out").values())
    assert not [path for path in files if "~" in path]


# -- hostile pages -------------------------------------------------------------------------------------

FAULTS = ("abort", "loop", "sleep", "memory", "exit", "raise", "unencodable", "recurse")
LIMITS = ("--parser-timeout", "2", "--parser-memory", "256M")


def hostile(*faults: str) -> dict[str, Resource]:
    return {fault: Resource(html(fault), fields=(("X-Does", fault),)) for fault in faults}


@pytest.mark.parametrize(
    "options",
    [("--offload", "processes"), ("--offload", "auto"), ("--offload", "processes", "--processes", "2")],
    ids="-".join,
)
def test_hostile_pages_among_many_fail_alone(
    program: Program, serve: MakeSite, options: tuple[str, ...]
) -> None:
    site = serve(plain(120), **hostile(*FAULTS))
    ended = get(program, site, "hostile", *LIMITS, *options)
    assert ended.code == 1, ended.err
    found = by_url(program.folder / "out")
    ends = {url.removeprefix(site.url("/")): record["error"] for url, record in found.items()}
    assert {path: error for path, error in ends.items() if error} == dict.fromkeys(FAULTS, "parse-failed")
    assert len(found) == 121 + len(FAULTS)
    assert texts(data(program.folder / "out")) == titles(site, *(f"/{fault}" for fault in FAULTS))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--offload", "inline"), "worker-died"),
        (("--offload", "processes"), "parse-failed"),
        (("--offload", "auto"), "parse-failed"),
    ],
    ids=str,
)
def test_with_worker_processes_a_page_that_ends_its_process_fails_alone(
    program: Program, serve: MakeSite, options: tuple[str, ...], error: str
) -> None:
    site = serve(plain(150), **hostile("abort"))
    ended = get(program, site, "hostile", "--processes", "2", *options)
    assert ended.code == 1, ended.err
    found = by_url(program.folder / "out")
    ends = {url: record["error"] for url, record in found.items() if record["state"] != "done"}
    assert ends == {site.url("/abort"): error}
    assert len(records(program.folder / "out")) == len(found) == 152
    assert texts(data(program.folder / "out")) == titles(site, "/abort")
    assert parts(program.folder / "out") == []


def test_a_page_that_ended_the_whole_program_costs_only_itself_once_the_parser_runs_in_workers(
    program: Program, serve: MakeSite
) -> None:
    site = serve(plain(40), **hostile("abort"))
    assert crawl_all(program, site, "inline").code == 128 + signal.SIGABRT
    ended = crawl_all(program, site, "auto")
    assert ended.code == 1, ended.err
    found = by_url(program.folder / "out")
    assert [url for url, record in found.items() if record["state"] != "done"] == [site.url("/abort")]
    assert texts(data(program.folder / "out")) == titles(site, "/abort")


def crawl_all(program: Program, site: CrawlSite, offload: str) -> Ended:
    urls = [site.url(path) for path in ("/", "/abort")]
    how = ("-o", "out", "--parser", "parsers.py:hostile", "--offload", offload)
    return program.run("crawl", *urls, *how)


# -- what can't be a parser ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such.py:parse", "there is no file no_such.py"),
        ("no_such_module:parse", "no_such_module"),
        ("parsers.py:no_such", "parsers.py has no 'no_such'"),
        ("parsers:no_such", "parsers has no 'no_such'"),
        ("parsers.py", "expected MODULE:FUNCTION"),
        ("parsers.py:", "expected MODULE:FUNCTION"),
        ("parsers.py:not_callable", "can't be called"),
        ("parsers.py:takes_nothing", "must take one page"),
        ("broken.py:parse", "broken.py can't be imported: SyntaxError"),
        ("raises.py:parse", "raises.py can't be imported: ZeroDivisionError"),
        ("exits.py:parse", "exits.py can't be imported: SystemExit"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=str)
def test_what_is_no_parser_is_exit_2_in_one_line_before_any_request(
    program: Program, serve: MakeSite, spec: str, message: str, options: tuple[str, ...]
) -> None:
    site = serve({"/": html("root")})
    for name, text in (("broken", "def ("), ("raises", "1 / 0"), ("exits", "import sys; sys.exit(3)")):
        (program.folder / f"{name}.py").write_text(text)
    ended = program.run("get", site.url("/"), "--parser", spec, *options)
    assert ended.code == 2, ended.err
    said = ended.err.splitlines()
    assert message in said[0]
    assert len(said) <= 2, "what happened, and what to do"
    assert len(site.log) == 0


def test_a_parser_of_a_fetcher_toml_that_was_found_is_exit_2_and_of_one_that_was_named_is_taken(
    program: Program, serve: MakeSite
) -> None:
    site = serve({"/": html("root")})
    (program.folder / "fetcher.toml").write_text('[common]\nparser = "parsers.py:title"\n')
    for command in ("get", "crawl"):
        ended = program.run(command, site.url("/"))
        assert ended.code == 2, ended.err
        assert ended.err.startswith("fetcher.toml:2: parser: ") or "fetcher.toml:2: parser: " in ended.err
        assert len(ended.err.splitlines()) <= 2
    assert len(site.log) == 0
    ended = program.run("get", site.url("/"), "--config", "fetcher.toml")
    assert ended.code == 0, ended.err
    assert data(program.folder / "downloads") == [{"path": "", "title": "root"}]
