"""The demo site: a small, deterministic web with the manners and faults of the real one."""

import asyncio
import gzip
import json
import re
import struct
import zlib
from urllib.parse import urljoin
from xml.etree import ElementTree as ET

import aiohttp
import pytest

from fetcher.demo_site.pages import plan
from fetcher.demo_site.site import DemoSite

PLAN = plan(300)


@pytest.fixture
async def site():
    async with DemoSite(pages=60) as running:
        yield running


@pytest.fixture
async def client():
    async with aiohttp.ClientSession(auto_decompress=False, headers={"Accept-Encoding": "gzip"}) as session:
        yield session


def path_of(**wanted):
    """The first path of the small site whose resource has these attributes."""
    return next(
        path
        for path, resource in plan(60).items()
        if all(getattr(resource, name) == value for name, value in wanted.items())
    )


def test_the_site_is_the_same_every_time():
    assert plan(300) == PLAN


def test_the_site_has_the_pages_asked_for_and_several_kinds_of_files():
    pages = [path for path, resource in PLAN.items() if resource.kind == "page" and resource.is_listed]
    assert len(pages) == 301  # and the page of files
    types = {resource.content_type for resource in PLAN.values()}
    assert {
        "text/css",
        "image/png",
        "image/svg+xml",
        "text/csv",
        "application/json",
        "application/pdf",
    } <= types


def test_a_site_of_too_few_pages_is_refused():
    with pytest.raises(ValueError, match="at least 10 pages"):
        plan(9)


def test_the_site_has_every_fault_that_a_fetcher_should_meet():
    resources = PLAN.values()
    assert sum(resource.fault == "busy" for resource in resources) >= 2
    assert sum(resource.fault == "reset" for resource in resources) >= 2
    assert sum(resource.kind == "missing" for resource in resources) == 1
    assert sum(resource.kind == "moved" for resource in resources) == 1
    delays = [resource.delay_s for resource in resources if resource.delay_s]
    assert len(delays) >= 5
    assert all(0.3 <= delay <= 1.0 for delay in delays)
    assert sum(resource.is_coded for resource in resources) > 50


@pytest.mark.parametrize("pages", [10, 60, 300])
def test_every_link_leads_to_something_and_everything_listed_is_linked(pages):
    site = plan(pages)
    linked = {"/", "/favicon.ico"}
    for path, resource in site.items():
        if resource.kind == "page":
            for link in re.findall(r'(?:href|src)="([^"]+)"', resource.body.decode()):
                target = urljoin(path, link)
                assert target in site, f"{path} links to {target}"
                linked.add(target)
    pages_of_it = {path for path, resource in site.items() if resource.kind == "page" and resource.is_listed}
    assert pages_of_it <= linked


def test_pictures_are_valid_png_with_correct_checksums():
    body = PLAN["/images/01.png"].body
    assert body.startswith(b"\x89PNG\r\n\x1a\n")
    at, kinds, pixels = 8, [], b""
    while at < len(body):
        (length,) = struct.unpack_from(">I", body, at)
        kind, data = body[at + 4 : at + 8], body[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", body, at + 8 + length)[0] == zlib.crc32(kind + data)
        pixels += data if kind == b"IDAT" else b""
        kinds.append(kind)
        at += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]
    assert len(zlib.decompress(pixels)) == 160 * (1 + 3 * 160)


def test_files_are_what_their_type_says():
    ET.fromstring(PLAN["/images/01.svg"].body)
    assert len(json.loads(PLAN["/files/table-01.json"].body)) == 100
    assert PLAN["/files/table-01.csv"].body.startswith(b"day,what,how_many\r\n")
    assert len(PLAN["/files/large.bin"].body) == 3 * 1024 * 1024


def test_reports_are_pdf_whose_table_of_offsets_is_true():
    body = PLAN["/files/report-01.pdf"].body
    start = int(body.split(b"startxref\n")[1].split()[0])
    assert body[start:].startswith(b"xref\n")
    offsets = [int(entry) for entry in re.findall(rb"(\d{10}) 00000 n ", body[start:])]
    assert [body[offset:].split(b" ", 1)[0] for offset in offsets] == [b"1", b"2", b"3", b"4", b"5", b"6"]


async def test_a_listed_page_arrives_with_its_validators(site, client):
    async with client.get(site.url) as answer:
        body = await answer.read()
    assert answer.status == 200
    assert answer.headers["ETag"]
    assert answer.headers["Last-Modified"] == "Mon, 01 Jan 2024 09:00:00 GMT"
    assert gzip.decompress(body) == plan(60)["/"].body
    assert site.url in site.urls()
    assert site.requests == 1


async def test_a_client_that_does_not_take_gzip_gets_the_plain_page(site, client):
    async with client.get(site.url, headers={"Accept-Encoding": "br, gzip;q=0"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert await answer.read() == plan(60)["/"].body


@pytest.mark.parametrize("field", ["ETag", "Last-Modified"])
async def test_a_validator_sent_back_is_answered_with_304(site, client, field):
    async with client.get(site.url) as answer:
        value = answer.headers[field]
    condition = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}[field]
    async with client.get(site.url, headers={condition: value}) as answer:
        assert answer.status == 304
        assert await answer.read() == b""
    async with client.get(site.url, headers={condition: '"other"'}) as answer:
        assert answer.status == 200


async def test_a_busy_page_asks_for_a_second_once(site, client):
    url = urljoin(site.url, path_of(fault="busy"))
    async with client.get(url) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    async with client.get(url) as answer:
        assert answer.status == 200


async def test_a_broken_page_resets_its_connection_once(site, client):
    url = urljoin(site.url, path_of(fault="reset"))
    reader, writer = await asyncio.open_connection("127.0.0.1", answer_port(site))
    writer.write(f"GET {url.removeprefix(site.url.rstrip('/'))} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    async with client.get(url) as answer:
        assert answer.status == 200


def answer_port(site):
    return int(site.url.rsplit(":", 1)[1].rstrip("/"))


async def test_a_moved_page_points_to_another_and_a_lost_one_is_missing(site, client):
    async with client.get(site.url + "old-front-page", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, "/articles/001.html")
    for path in ("articles/lost.html", "no/such/page", "%2e%2e/x"):
        async with client.get(site.url + path) as answer:
            assert answer.status == 404


async def test_a_range_continues_a_file_and_only_of_the_same_version(site, client):
    url = site.url + "files/table-01.json"
    async with client.get(url) as answer:
        whole, tag = await answer.read(), answer.headers["ETag"]
    async with client.get(url, headers={"Range": "bytes=100-", "If-Range": tag}) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
        assert await answer.read() == whole[100:]
    async with client.get(url, headers={"Range": "bytes=100-", "If-Range": '"older"'}) as answer:
        assert answer.status == 200
    async with client.get(url, headers={"Range": f"bytes={len(whole)}-"}) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")


async def test_only_reading_is_allowed(site, client):
    async with client.head(site.url + "files/large.bin") as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(3 * 1024 * 1024))
    async with client.post(site.url, data=b"x") as answer:
        assert answer.status == 405


async def test_robots_and_sitemap_describe_the_site(site, client):
    async with client.get(site.url + "robots.txt") as answer:
        text = await answer.text()
    assert "Disallow: /private/" in text
    assert f"Sitemap: {site.url}sitemap.xml" in text
    async with client.get(site.url + "sitemap.xml") as answer:
        tree = ET.fromstring(await answer.read())
    found = {element.text for element in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    assert len(found) == 61
    assert found <= set(site.urls())


async def test_leaving_ends_a_transfer_under_way_and_frees_the_port(client):
    async with DemoSite(pages=10) as site:
        answer = await client.get(site.url + "files/large.bin")
        await answer.content.readexactly(1000)
    with pytest.raises(aiohttp.ClientError):
        await answer.read()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(site.url)
