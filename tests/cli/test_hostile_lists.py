"""Lists in which almost everything is wrong, and servers that send what they like: each URL answers for itself only."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from support.faultserver import Exchange
from support.program import Ended, Program, by_url, parts, records, stored, write_list
from support.site import Site

MakeSite = Callable[..., Site]

# C0 but line feed, DEL, C1, and what changes the direction of text.
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def assert_clean(ended: Ended) -> None:
    """No trace, and nothing that steers a terminal, on either stream."""
    assert "Traceback" not in ended.err
    for text in (ended.out, ended.err):
        assert UNSAFE.search(text) is None, UNSAFE.findall(text)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nobody listens: it is held, and not listened to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_each_bad_url_of_a_mixed_list_has_its_own_reason_and_every_good_one_is_done(
    program: Program, make_site: MakeSite, closed_port: int
) -> None:
    site = make_site(200, hosts=("127.0.0.2",))
    good = [site.url(path) for path in site.pages]
    expected = {
        site.url("/gone/1"): ("failed", "http-status"),
        site.url("/status/500"): ("failed", "http-status"),
        site.url("/status/999"): ("failed", "http-status"),
        f"http://127.0.0.1:{closed_port}/x": ("failed", "connect-failed"),
        "http://host.invalid/": ("failed", "name-not-resolved"),
        site.url("/cut?at=10&of=100"): ("failed", "connection-lost"),
        site.url("/cut-chunked?at=50&of=100"): ("failed", "connection-lost"),
        site.url("/gzip/1000?cut=9"): ("failed", "bad-encoding"),
        site.url("/noise"): ("failed", "protocol-broken"),
        site.url("/loop"): ("failed", "redirect-loop"),
        site.url("/redirect/20"): ("failed", "too-many-redirects"),
        site.url("/location?raw=file%3A///etc/passwd"): ("failed", "bad-redirect"),
        site.url("/hang"): ("failed", "timed-out"),
        site.url("/reset"): ("failed", "connection-lost"),
        "not a url": ("refused", None),
        "example.org/no-scheme": ("refused", None),
        "ftp://example.org/x": ("refused", None),
        "http:///no-host": ("refused", None),
        "http://127.0.0.1:99999/": ("refused", None),
        "http://127.0.0.1/a b\x1b[31m": ("refused", None),
        "http://127.0.0.1/%zz\x00": ("refused", None),
        "http://" + "x" * 9000 + "/": ("refused", None),
    }
    bad = list(expected)
    mixed = [url for n, page in enumerate(good) for url in (page, *bad[n : n + 1])]
    write_list(program.folder / "urls.txt", mixed)

    ended = program.run("get", "-i", "urls.txt", "-o", "out", "--header-timeout", "4", "--retries", "0", "-v")

    assert ended.code == 1
    assert_clean(ended)
    found = by_url(program.folder / "out")
    lines = {record["line"]: record for record in records(program.folder / "out")}
    assert len(records(program.folder / "out")) == len(mixed) == len(lines)
    assert [url for url in good if found[url]["state"] != "done"] == []
    for number, url in enumerate(mixed, 1):
        record = lines[number]
        assert record["source"] == "urls.txt"
        if url in expected:
            state, slug = expected[url]
            assert (record["state"], record["error"]) == (state, slug or record["error"]), url
            assert record["error"], url
            assert record["message"], url
            assert record["path"] is None, url
    assert len(stored(program.folder / "out")) == len(good)
    assert parts(program.folder / "out") == []
    assert re.search(r"done +200\b", ended.err)
    assert re.search(r"failed +14\b", ended.err)
    assert re.search(r"refused +8\b", ended.err)


def test_while_a_silent_host_is_waited_for_the_others_proceed(program: Program, make_site: MakeSite) -> None:
    site = make_site(150, hosts=("127.0.0.2",))
    good = [site.url(path) for path in site.pages]
    silent = [site.url(f"/hang/{n}", host="127.0.0.2") for n in range(40)]  # more than there are slots
    write_list(program.folder / "urls.txt", [*silent, *good])
    command = ("get", "-i", "urls.txt", "-o", "out", "-c", "8", "--per-host", "4", "--header-timeout", "300")
    with program.start(*command, "--grace", "0") as run:
        assert site.wait(lambda s: sum(s.requests()[path] for path in s.pages) == 150, 40)
        assert len([hit for hit in site.log if hit.address == "127.0.0.2"]) <= 4
        run.process.terminate()
        assert run.end().code == 143


def test_a_host_that_asks_for_patience_is_left_alone_while_the_others_are_fetched(
    program: Program, make_site: MakeSite
) -> None:
    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    site = make_site(0, hosts=hosts[1:])
    asked: list[float] = []

    async def patience(x: Exchange) -> None:
        """The second host answers 429 to the first request, and counts who comes back too early."""
        hit = x.hit
        if hit.address == "127.0.0.2" and not asked:
            asked.append(hit.started)
            await x.answer(429, [("Retry-After", "1")], b"not now\n")
        else:
            await x.answer(200, body=b"fine\n")

    site.route("/page", patience)
    urls = [site.url(f"/page/{n}", host=host) for n in range(30) for host in hosts]
    write_list(program.folder / "urls.txt", urls)
    ended = program.run("get", "-i", "urls.txt", "-o", "out", "-c", "6", "--per-host", "1")
    assert ended.code == 0, ended.err
    assert len(by_url(program.folder / "out")) == 90
    by_host = {host: [hit.started for hit in site.log if hit.address == host] for host in hosts}
    first, second, *_ = by_host["127.0.0.2"]
    assert first == asked[0]
    assert second - first >= 0.99, "it came back before it was asked to"
    assert {host: len(starts) for host, starts in by_host.items()} == dict(
        zip(hosts, (30, 31, 30), strict=True)
    )
    meanwhile = [
        start for host in ("127.0.0.1", "127.0.0.3") for start in by_host[host] if first < start < second
    ]
    assert len(meanwhile) > 6, "the others waited too: no more was asked than there are slots"


NASTY = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066evil\u2069"


@pytest.fixture
def nasty(site: Site) -> Site:
    """Besides its pages: answers full of what a terminal would obey."""
    hidden = "\x1b[2J\x9b31m\x7f"

    async def headers(x: Exchange) -> None:
        await x.head(
            200, [("Content-Type", f"text/{hidden}"), ("ETag", f'"{hidden}"'), ("Content-Length", "0")]
        )

    async def reason(x: Exchange) -> None:
        await x.send(f"HTTP/1.1 404 {hidden}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))

    async def line(x: Exchange) -> None:
        await x.send(f"HTTP/1.1 {hidden} X\r\n\r\n".encode("latin-1"))

    async def framing(x: Exchange) -> None:
        await x.head(200, [("Content-Length", hidden)])

    async def coding(x: Exchange) -> None:
        await x.answer(200, [("Content-Encoding", hidden)], b"x")

    for path, script in (
        ("/nasty/headers", headers),
        ("/nasty/reason", reason),
        ("/nasty/line", line),
        ("/nasty/framing", framing),
        ("/nasty/coding", coding),
    ):
        site.route(path, script)
    return site


@pytest.mark.parametrize("shows", [("-v",), ("-q",), ("-v", "--json")])
def test_nothing_that_steers_a_terminal_is_printed_whatever_list_and_server_hold(
    program: Program, nasty: Site, shows: tuple[str, ...]
) -> None:
    site = nasty
    locations = [f"http://127.0.0.1/{NASTY}", f"http://{NASTY}/", f"{NASTY}:x", f"//{NASTY}@127.0.0.1:1/"]
    urls = [
        *map(site.url, ("/nasty/headers", "/nasty/reason", "/nasty/line", "/nasty/framing", "/nasty/coding")),
        *(site.url(f"/location?raw={quote(location)}") for location in locations),
        site.url(f"/gone/{NASTY}"),
        site.url("/p/0#" + NASTY),
        f"http://{NASTY}/",
        NASTY,
        f"http://127.0.0.1:{NASTY}/",
        f"http://user:{NASTY}@host.invalid/",
    ]
    listed = "".join(f"{url}\n" for url in urls).encode() + b"http://h/\xff\xfe\x9b31m\n"
    (program.folder / f"list{NASTY[:4]}.txt").write_bytes(listed)
    ended = program.run(
        "get",
        "-i",
        f"list{NASTY[:4]}.txt",
        "-o",
        f"out{NASTY[:8]}",
        "--retries",
        "0",
        "--log-file",
        "log",
        *shows,
    )
    assert ended.code == 1
    assert_clean(ended)
    log = (program.folder / "log").read_text()
    assert UNSAFE.search(log) is None
    out = program.folder / f"out{NASTY[:8]}"
    assert len(records(out)) == len(urls) + 1
    for name in stored(out):
        assert UNSAFE.search(name) is None
    status = program.run("status", out.name)
    assert status.code == 0
    assert_clean(status)
    assert_clean(program.run("get", NASTY, "--concurrency", NASTY))
    assert_clean(program.run("get", f"--{NASTY}"))
    assert_clean(program.run("status", NASTY))
    assert_clean(program.run("get", "-i", NASTY))


def test_a_redirect_may_not_lead_to_a_private_address_that_nobody_named(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(1, hosts=("127.0.0.9",))
    target = site.url("/p/0", host="127.0.0.9")
    redirecting = site.url(f"/redirect/1?to={quote(target)}")
    ended = program.run("get", redirecting, "-o", "out")
    assert ended.code == 1
    [record] = records(program.folder / "out")
    assert (record["state"], record["error"]) == ("refused", "private-address")
    assert [hit.address for hit in site.log] == ["127.0.0.1"]
    allowed = program.run("get", redirecting, "-o", "out2", "--private-addresses", "allow")
    assert allowed.code == 0


def test_names_from_urls_stay_inside_the_output_folder(program: Program, make_site: MakeSite) -> None:
    site = make_site(0)
    paths = [
        "/../../up",
        "/%2e%2e/%2e%2e/up2",
        "/..%2f..%2fup3",
        "/a/..\\..\\up4",
        "//etc/up5",
        "/%00up6",
        "/CON",
        "/x.",
    ]
    site.pages = dict.fromkeys(paths, b"caught")
    site.route("/", site._serve)  # whatever the path became
    urls = [site.url(path) for path in paths]
    (program.folder / "urls.jsonl").write_text(
        "".join(
            f'{{"url": "{site.url(f"/n/{n}")}", "name": "{name}"}}\n'
            for n, name in enumerate(("../out1", "/tmp/x7", "a/../../out2"))
        )
    )
    before = set(program.folder.iterdir())
    program.run("get", *urls, "-i", "urls.jsonl", "-o", "deep/out", "--name", "{path}")
    after = set(program.folder.iterdir()) - before
    assert after == {program.folder / "deep"}
    assert {path.name for path in (program.folder / "deep").iterdir()} == {"out"}
