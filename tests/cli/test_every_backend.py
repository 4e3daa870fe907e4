"""One list of 1,000 URLs ends alike on every backend and with workers: only times differ.

The list has whatever a server can answer, well or badly, and what never reaches one. It is fetched once by
the reference; each contender then has to leave the same records and the same files, and to have asked the
server for the same things equally often.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
import pytest
from support.faultserver import Exchange, FaultServer, content
from support.program import Ended, Program, parts, records, stored, write_list

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
# Each answers one URL and ends the connection unannounced: whoever came next might meet that end.
APART = {"127.0.0.5": "/204-body", "127.0.0.6": "/cut-head?at=20", "127.0.0.7": "/cut-head?at=35"}
UNANSWERED = ("/close-at-once", "/cut-head")  # asked for once more where the connection had been kept
TOLD = (
    "final_url",
    "state",
    "status",
    "error",
    "attempts",
    "bytes",
    "sha256",
    "path",
    "content_type",
    "etag",
    "last_modified",
    "redirects",
    "source",
    "line",
    "meta",
)
OF_BODIES = ("wire_bytes", "completeness", "http_version")  # told of what was fetched whole

OPTIONS = ("-o", "out", "--retries", "1", "--max-size", "4M", "--per-host", "16", "--min-free", "0")
CONTENDERS = {
    "curl": ("--backend", "curl"),
    "threads": ("--backend", "threads"),
    "sync": ("--backend", "sync"),
    "asyncio-2-processes": ("--processes", "2"),
    "curl-2-processes": ("--backend", "curl", "--processes", "2"),
    "threads-2-processes": ("--backend", "threads", "--processes", "2"),
}


class Outcome(msgspec.Struct, frozen=True):
    """What a run left."""

    ended: Ended
    folder: Path
    found: dict[str, dict[str, Any]]
    lines: int
    files: dict[str, Path]
    requests: Counter[tuple[str, str, str]]
    parts: list[Path]


# -- the list ------------------------------------------------------------------------------------------


class Lists:
    """Two files of URLs, plain and JSONL; about as many URLs of each kind as there are."""

    def __init__(self, server: FaultServer, refusing: int) -> None:
        self._server = server
        self.urls: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self._add_good()
        self._add_bad(refusing)
        self._add_rows()
        spare = 1000 - len(self.urls) - len(self.rows)
        self.urls += [self.at(f"/ok/small/{number}?size={number % 700}", number) for number in range(spare)]
        self.urls += self.urls[:40]  # listed twice

    def at(self, path: str, number: int = 0) -> str:
        """The URL of `path` on one of the hosts."""
        return self._server.url(path, host=HOSTS[number % len(HOSTS)])

    def _add_good(self) -> None:
        sizes = (0, 1, 300, 65_536, 65_537, 250_000)
        paths = [
            f"/{kind}/{sizes[n % 6]}/{n}" for kind in ("gzip", "deflate", "br", "zstd") for n in range(40)
        ]
        paths += [f"/chunked/{sizes[n % 6]}/{n}?pieces={1 + n % 9}&trailer={n % 3}" for n in range(60)]
        paths += [f"/eof/{1 + n * 701}/{n}" for n in range(15)] + [
            f"/http10/{n * 701}/{n}" for n in range(15)
        ]
        paths += [f"/bytes/2{n:06}/large" for n in range(12)]  # spooled
        paths += [f"/chunked/20{n:05}/large" for n in range(4)]
        paths += [f"/{kind}/2000{n:03}/large" for kind in ("gzip", "zstd") for n in range(4)]
        paths += [
            f"/redirect/{1 + n % 9}?status={(301, 302, 303, 307, 308)[n % 5]}&to=/ok/moved/{n}"
            for n in range(60)
        ]
        paths += [f"/redirect/2?to={quote(self.at(f'/ok/elsewhere/{n}', n + 1), '')}" for n in range(30)]
        paths += [f"/setcookie?value=k%3D{n}%3B%20Path%3D/&to=/ok/cookie/{n}" for n in range(8)]
        paths += [f"/once/{(500, 502, 503)[n % 3]}/{n}" for n in range(15)] + [
            f"/fail/1/{n}" for n in range(15)
        ]
        paths += [f"/status/{code}/{n}" for code in (204, 205) for n in range(3)]
        paths += [f"/1xx/{n}?n={n}" for n in range(4)] + ["/headers?n=90&size=90"]
        paths += [f"/tgz/{n}.tar.gz" for n in range(3)]
        paths += [
            "/ok/q?a=1&b=2",
            "/ok/q?b=2&a=1",
            "/ok/%7Etilde",
            "/ok/~tilde",
            "/ok/CON",
            "/ok/dot.",
            "/ok/",
        ]
        paths += [f"/ok/{'long' * 90}/{n}" for n in range(2)] + ["/ok/a%2Fb"]
        self.urls += [self.at(path, n) for n, path in enumerate(paths)]
        self.urls += [self._server.url(path, host=host) for host, path in APART.items()]
        # Of one host, since those of several are claimed in the order in which there is room for them.
        clashing = [
            f"/clash/{path}"
            for path in ("a", "a/b", "A", "a/b/c", "b?x=1", "b@x=1", "cafe%CC%81", "caf%C3%A9")
        ]
        self.urls += [self.at(f"/ok{path}") for path in clashing]

    def _add_bad(self, refusing: int) -> None:
        paths = [f"/status/{code}/{n}" for code in (400, 401, 403, 404, 410, 500, 503, 999) for n in range(6)]
        paths += [f"/cut/{n}?at={n * 9}&of=100" for n in range(8)] + [
            f"/cut-chunked/{n}?at={n}" for n in range(8)
        ]
        paths += [f"/cut-head?at={n}" for n in (0, 5)] + [
            "/close-at-once",
            "/cut?at=1500000&of=2000000",
        ]
        paths += [
            f"/{kind}/5000/{n}?cut={1 + n}" for kind in ("gzip", "deflate", "br", "zstd") for n in range(4)
        ]
        paths += ["/mislabelled/gzip", "/mislabelled/br", "/mislabelled/zstd", "/mislabelled/compress"]
        paths += ["/bomb", "/endless", "/bytes/5000000", "/chunked/5000000", "/gzip/5000000", "/eof/5000000"]
        paths += [f"/loop/{n}" for n in range(5)] + [
            "/redirect/20?to=/ok/never",
            "/location?raw=",
            "/location",
        ]
        paths += ["/location?raw=file%3A%2F%2F%2Fetc%2Fpasswd", "/location?raw=http%3A%2F%2F%2F"]
        paths += [f"/redirect/2?to=/status/{code}" for code in (404, 500)]
        paths += [
            f"/redirect/1?to={quote(url, '')}"
            for url in ("http://nowhere.invalid/", f"http://127.0.0.1:{refusing}/")
        ]
        paths += [
            "/cl-te",
            "/cl-twice",
            "/cl-negative",
            "/cl-plus",
            "/cl-letters",
            "/bad-chunk",
            "/big-chunk",
        ]
        paths += ["/bad-status", "/noise", "/http09", "/1xx?n=1000"]
        self.urls += [self.at(path, n) for n, path in enumerate(paths)]
        self.urls += [f"http://no-such-host-{n}.invalid/{n}" for n in range(5)]
        self.urls += [f"http://127.0.0.{1 + n}:{refusing}/" for n in range(4)]
        self.urls += [
            "not a url",
            "ftp://127.0.0.1/",
            "http:///nowhere",
            "http://127.0.0.1:0/",
            "//127.0.0.1/x",
        ]

    def _add_rows(self) -> None:
        def row(path: str, number: int = 0, **columns: Any) -> None:
            self.rows.append({"url": self.at(path, number), **columns})

        for number in range(20):
            row(f"/ok/head/{number}?size={number * 50}", number, method="HEAD", shelf=number)
            row(f"/posted/{number}", number, method="POST", body=f"text={number}")
            row(f"/ok/named/{number}", name=f"chosen/{number % 5}.bin")  # four of each name
            right = hashlib.sha256(content(f"/ok/sum/{number}", 100)).hexdigest()
            row(f"/ok/sum/{number}", number, sha256=right if number % 2 else "0" * 64, priority=number % 3)
            row(f"/sent/{number}", number, headers={"X-Told": f"value {number}"}, meta={"deep": [number]})
        row("/posted/again?status=500", method="POST", body="once only")
        row("/redirect/1?status=302&to=/posted/becomes-get", method="POST", body="lost")
        row("/redirect/1?status=307&to=/posted/stays", method="POST", body="kept")
        row("/redirect/1?status=303&to=/ok/head/of-303", method="HEAD")
        row("/status/404/head", method="HEAD")
        row("/bytes/5000000/head", method="HEAD")
        row("/gzip/3000/head", method="HEAD")
        row("/ok/outside", name="../../outside.bin")
        row("/posted/put", method="PUT", body="put")
        row("/posted/deleted", method="DELETE")


async def posted(x: Exchange) -> None:
    """/posted: what was asked, and the body that came with it."""
    kind = x.hit.header("content-type")
    told = json.dumps([x.hit.method, x.hit.target, kind, x.hit.body.decode()]).encode()
    await x.answer(x.number("status", 200), [("Content-Type", "application/json")], told)


async def sent(x: Exchange) -> None:
    """/sent: the headers that came, but for their order and case."""
    told = sorted((name.lower(), value) for name, value in x.hit.headers)
    await x.answer(200, body=json.dumps(told).encode())


async def mislabelled(x: Exchange) -> None:
    """/mislabelled/CODING: text that is not coded so."""
    await x.answer(200, [("Content-Encoding", x.args[0])], b"plain text, whatever the label says")


async def tgz(x: Exchange) -> None:
    """/tgz/NAME.tar.gz: a file whose own type the content-coding repeats."""
    packed = gzip.compress(content(x.hit.path, 5000), 1, mtime=0)
    await x.answer(200, [("Content-Encoding", "gzip"), ("Content-Type", "application/gzip")], packed)


# -- the runs ------------------------------------------------------------------------------------------


class Arena:
    """One server, one list, and a folder for each run."""

    def __init__(self, server: FaultServer, folder: Path, lists: Lists) -> None:
        self._server = server
        self._folder = folder
        self.lists = lists

    def run(self, name: str, options: tuple[str, ...]) -> Outcome:
        server = self._server
        folder = self._folder / name
        folder.mkdir()
        write_list(folder / "urls.txt", self.lists.urls)
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self.lists.rows))
        server.state.clear()  # what fails only once does so in each run
        before = len(server.log)
        ended = Program(folder).run("get", "-i", "urls.txt", "-i", "rows.jsonl", *OPTIONS, *options)
        out = folder / "out"
        asked = Counter(
            (hit.method, hit.host_header, hit.target)
            for hit in server.log[before:]
            if not hit.target.startswith(UNANSWERED)
        )
        assert not server.errors, "a script of the server failed"
        return Outcome(ended, folder, by_row(out), len(records(out)), stored(out), asked, parts(out))


def by_row(out: Path) -> dict[str, dict[str, Any]]:
    """The records by list and line, since a URL may be there with several methods."""
    return {f"{record['source']}:{record['line']} {record['url']}": record for record in records(out)}


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with FaultServer(hosts=(*HOSTS[1:], *APART)) as server, socket.socket() as refusing:
        refusing.bind(("", 0))  # and it never listens
        for path, script in (
            ("/posted", posted),
            ("/sent", sent),
            ("/mislabelled", mislabelled),
            ("/tgz", tgz),
        ):
            server.route(path, script)
        lists = Lists(server, refusing.getsockname()[1])
        yield Arena(server, tmp_path_factory.mktemp("arena"), lists)


@pytest.fixture(scope="module")
def reference(arena: Arena) -> Outcome:
    return arena.run("asyncio", ("--backend", "asyncio"))


def test_the_reference_has_what_the_server_served(arena: Arena, reference: Outcome) -> None:
    assert reference.ended.code == 1, reference.ended.err
    lists, found = arena.lists, reference.found
    assert len(found) == reference.lines == len(set(lists.urls)) + len(lists.rows) == 1000
    assert re.search(r"duplicates +40\b", reference.ended.err)
    states = Counter((record["state"], record["error"]) for record in found.values())
    assert states == {
        ("done", None): states["done", None],
        ("failed", "http-status"): 52,
        ("failed", "connection-lost"): 22,
        ("failed", "bad-encoding"): 20,
        ("failed", "protocol-broken"): 11,
        ("failed", "checksum"): 10,
        ("failed", "name-not-resolved"): 6,
        ("failed", "connect-failed"): 5,
        ("failed", "redirect-loop"): 5,
        ("failed", "too-large"): 6,
        ("failed", "too-many-redirects"): 1,
        ("failed", "bad-redirect"): 4,
        ("refused", "bad-url"): 5,
    }
    attempts = Counter((record["error"], record["attempts"]) for record in found.values())
    assert attempts["connection-lost", 2] == 22
    assert attempts["name-not-resolved", 1] == 6
    assert attempts[None, 2] == 30  # what failed once
    for record in found.values():
        if record["path"] is not None and (served := served_to(record)) is not None:
            assert reference.files[record["path"]].read_bytes() == served, record
    assert reference.files.keys() == {record["path"] for record in found.values()} - {None}
    assert reference.parts == []


def served_to(record: dict[str, Any]) -> bytes | None:
    """What stood in the body, where the path alone says it."""
    parts = urlsplit(record["final_url"])
    kind, *rest = parts.path[1:].split("/")
    if kind == "ok":
        return content(parts.path, int(dict(parse_qsl(parts.query)).get("size", 100)))
    if kind in {"gzip", "deflate", "br", "zstd", "chunked", "eof", "http10", "bytes"}:
        return content(parts.path, int(rest[0]))
    return None


@pytest.mark.parametrize("name", CONTENDERS)
def test_the_same_list_leaves_the_same_records_and_files(name: str, arena: Arena, reference: Outcome) -> None:
    outcome = arena.run(name, CONTENDERS[name])
    assert outcome.ended.code == reference.ended.code, outcome.ended.err
    assert differing(told(reference), told(outcome)) == {}
    assert outcome.lines == reference.lines
    assert differing(digests(reference), digests(outcome)) == {}
    assert differing(reference.requests, outcome.requests) == {}
    assert outcome.parts == []


def told(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Of every record, what has to be the same."""
    return {
        key: {name: record[name] for name in (TOLD if record["error"] else TOLD + OF_BODIES)}
        for key, record in outcome.found.items()
    }


def digests(outcome: Outcome) -> dict[str, str]:
    return {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in outcome.files.items()}


def differing(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> dict[Any, Any]:
    """The keys whose values are not the same, with both."""
    pairs = {key: (one.get(key), other.get(key)) for key in one.keys() | other.keys()}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
