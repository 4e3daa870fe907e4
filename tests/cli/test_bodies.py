"""Bodies that are not what their headers say, and lists that are damaged, are taken alike on every backend."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from support.faultserver import Exchange, FaultServer, Script
from support.program import Program, records, stored

from fetcher.wiring import BACKENDS

RUNS = {**{name: ("--backend", name) for name in BACKENDS}, "2 processes": ("--processes", "2")}
FILE = gzip.compress(b"a tar archive " * 5000, mtime=0)
PAGE = b"<!doctype html><title>page</title>" * 50


def answer(body: bytes, **fields: str) -> Script:
    async def script(x: Exchange) -> None:
        await x.answer(200, [(name.replace("_", "-"), value) for name, value in fields.items()], body)

    return script


@pytest.mark.parametrize("run", RUNS)
def test_each_body_is_stored_as_it_is_meant_or_fails(program: Program, server: FaultServer, run: str) -> None:
    packed = gzip.compress(PAGE)
    routes: dict[str, tuple[Script, bytes | None]] = {
        "/once.tar.gz": (answer(FILE, Content_Encoding="gzip"), FILE),
        "/twice.tar.gz": (answer(gzip.compress(FILE), Content_Encoding="x-gzip"), FILE),
        "/typed": (
            answer(gzip.compress(FILE), Content_Encoding="gzip", Content_Type="application/gzip"),
            FILE,
        ),
        "/twice-cut.tar.gz": (answer(gzip.compress(FILE)[:-9], Content_Encoding="gzip"), None),
        "/utf-8": (answer(PAGE, Content_Encoding="UTF-8"), PAGE),
        "/binary": (answer(PAGE, Content_Encoding="binary"), PAGE),
        "/xml": (answer(packed, Content_Encoding="xml, gzip"), PAGE),
        "/compress": (answer(PAGE, Content_Encoding="compress"), None),
        "/aes": (answer(PAGE, Content_Encoding="aes128gcm"), None),
        "/cached": (answer(packed + b"\n<!-- cached -->", Content_Encoding="gzip"), PAGE),
        "/cached-cut": (answer(packed[:-4] + b"<!-- cached -->", Content_Encoding="gzip"), None),
        "/members": (answer(packed + packed, Content_Encoding="gzip"), PAGE * 2),
        "/members-cut": (answer(packed + packed[:-1], Content_Encoding="gzip"), None),
    }
    for path, (script, _) in routes.items():
        server.route(path, script)
    urls = [server.url(path) for path in routes]
    ended = program.run("get", "-o", "out", "--retries", "0", *RUNS[run], *urls)

    root = program.folder / "out"
    found = {record["url"]: record for record in records(root)}
    for url, (_, body) in zip(urls, routes.values(), strict=True):
        record = found[url]
        if body is None:
            assert (record["state"], record["error"]) == ("failed", "bad-encoding"), url
        else:
            assert record["state"] == "done", record
            assert (root / record["path"]).read_bytes() == body, url
    assert len(stored(root)) == sum(body is not None for _, body in routes.values())
    assert f"{server.url('/cached')}: text after the end of the compressed body is passed over" in ended.err


@pytest.mark.parametrize("run", RUNS)
def test_damaged_sitemaps_are_read_on_and_each_is_named(
    program: Program, server: FaultServer, run: str
) -> None:
    def sitemap(*locs: str) -> bytes:
        return f"<urlset>{''.join(f'<url><loc>{loc}</loc></url>' for loc in locs)}</urlset>".encode()

    paths = [f"/p{number}" for number in range(20)]
    damaged = sitemap(*paths[:5], "/q?a=1&b=2", "/caf&eacute;", *paths[5:10])
    packed = gzip.compress(gzip.compress(sitemap(*paths[10:])))
    rules = b"User-agent: *\n" + b"".join(b"Disallow: /no%d\n" % number for number in range(11_000))
    server.route("/", answer(b"", Content_Type="text/plain"))
    server.route("/robots.txt", answer(rules + b"Sitemap: /damaged.xml\nSitemap: packed.xml.gz\n"))
    server.route("/damaged.xml", answer(damaged, Content_Type="application/xml"))
    server.route("/packed.xml.gz", answer(packed, Content_Type="application/gzip", Content_Encoding="gzip"))
    server.route("/feed", answer(b"<rss><item>&<link>/no10999</link></item>", Content_Type="text/xml"))
    ended = program.run("crawl", server.url("/"), server.url("/feed"), "-o", "out", "--sitemaps", *RUNS[run])

    found = {record["url"]: record["state"] for record in records(Path(program.folder / "out"))}
    for path in (*paths, "/q?a=1&b=2", "/caf%C3%A9"):
        assert found.get(server.url(path)) == "done", path
    assert found[server.url("/no10999")] == "refused"
    assert f"warning: {server.url('/damaged.xml')}: not well-formed XML (" in ended.err
    assert f"warning: {server.url('/feed')}: not well-formed XML (" in ended.err
    assert "packed.xml.gz: " not in ended.err
