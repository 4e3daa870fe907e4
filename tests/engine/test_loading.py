"""A caller's loop is not kept by imports: what the library's verbs need is imported in other threads.

Which module was imported in which thread is asked for, not how long it took: that depends on the machine.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from support.faultserver import FaultServer

# To be imported in 20 ms all together, for settings, results and errors; the rest of the package is not.
LIGHT = {
    *("api", "call_arguments", "errors", "header_fields", "loading", "model", "native", "option_types"),
    *(
        "option_types.command",
        "option_types.request",
        "option_types.values",
        "settings",
        "settings_dict",
        "streams",
        "sync_async",
    ),
    *("verb_types",),
}
LIGHT_PACKAGES = {"fetcher", "msgspec", "typing_extensions"}

PROGRAM = """
import asyncio, importlib.metadata, json, sys, threading
import fetcher

url, secure, verb, backend = sys.argv[1:]
found = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        if path is not None or name not in sys.stdlib_module_names:
            found.append((threading.current_thread() is threading.main_thread(), name))

async def fetch():
    result = await fetcher.fetch(url + "/ok/1", backend=backend)
    assert result.ok, result

async def calls():
    async with fetcher.Fetcher(backend=backend, retries=0) as client:
        for path in ("/gzip/1", "/br/1", "/zstd/1", "/redirect/2", "/setcookie", "/reset", "/status/404"):
            await client.fetch(url + path, json={})
        assert (await client.fetch(secure)).error == "tls-rejected"

async def stream():
    assert [result.ok async for result in fetcher.stream([url + "/ok/1"], backend=backend)] == [True]

async def crawl():
    assert [page.ok async for page in fetcher.crawl(url + "/ok/1?type=text/html", backend=backend)] == [True]

async def read():
    async with fetcher.Fetcher(backend=backend, parser="json:dumps") as client:
        pages = [page async for page in client.crawl(url + "/ok/1?type=text/html")]
    assert [page.status for page in pages] == [200]

async def download():
    summary = await fetcher.Fetcher(backend=backend).download([url + "/ok/1", url + "/bytes/3000000"], "out")
    assert summary.ok, summary

async def main():
    sys.meta_path.insert(0, Watch())
    await globals()[verb]()

asyncio.run(main())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def untrusted() -> Iterator[FaultServer]:
    """A server of https whose certificate nobody has signed that is trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with FaultServer(ssl=context) as running:
        yield running


@pytest.mark.parametrize(
    ("verb", "backend"),
    [(verb, "asyncio") for verb in ("fetch", "calls", "stream", "crawl", "read", "download")]
    + [("calls", backend) for backend in ("curl", "threads", "sync")],
)
def test_a_loop_is_not_kept_by_imports(
    verb: str, backend: str, server: FaultServer, untrusted: FaultServer, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.url("").rstrip("/"), untrusted.url("/ok/1"), verb, backend],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    elsewhere = {name for is_main, name in found if not is_main}
    assert "fetcher.wiring" in elsewhere  # the engine was imported, and it was seen
    here = {name for is_main, name in found if is_main}
    packages = {name.partition(".")[0] for name in here} - LIGHT_PACKAGES - set(sys.stdlib_module_names)
    assert packages <= {"python_socks"}, sorted(here)  # which is only looked for
    assert {name.removeprefix("fetcher.") for name in here if name.startswith("fetcher.")} <= LIGHT
