"""Proxies as users name them: SOCKS on every backend, and who is told to have refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.faultserver import FaultServer, content
from support.program import Program
from support.socks import SocksServer

BACKENDS = ("asyncio", "curl", "threads", "sync")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_socks_proxy_of_the_environment_is_used_and_finds_the_names(
    tmp_path: Path, server: FaultServer, backend: str
) -> None:
    with SocksServer(user="me", password="secret") as socks:
        program = Program(tmp_path, {"all_proxy": socks.url("socks5h", "me:secret")})
        url = f"http://site.test:{server.port}/ok/1"
        ended = program.run("get", url, "-o", "out", "--backend", backend, "--min-free", "0")
        assert ended.code == 0, ended.err
        assert socks.asked == [(5, "site.test", server.port)]
        assert content("/ok/1", 100) in [
            path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
        ]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_407_of_a_proxy_is_told_as_the_proxys_and_not_tried_again(
    tmp_path: Path, backend: str, scheme: str
) -> None:
    with FaultServer(proxy_auth="me:secret") as proxy:
        ended = Program(tmp_path).run(
            "get", f"{scheme}://site.test/", "--json", "--proxy", proxy.url(""), "--backend", backend
        )
        (record,) = ended.lines
        what = "request" if scheme == "http" else "tunnel"
        assert (record["error"], record["status"], record["attempts"]) == ("connect-failed", None, 1)
        assert record["message"] == (
            f"proxy 127.0.0.1:{proxy.port} refused the {what} with status 407: "
            "it wants a user and a password in its URL"
        )
        assert len(proxy.log) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_the_extra_the_hint_names_it_and_curl_needs_none(tmp_path: Path, backend: str) -> None:
    code = (
        "import sys; sys.modules['python_socks'] = None\n"
        "from fetcher import wiring, settings, errors\n"
        f"chosen = settings.Settings(backend={backend!r}, proxy='socks5h://127.0.0.1:1')\n"
        "try: print(wiring.make_policies(chosen, {}).proxies.is_empty)\n"
        "except errors.ConfigError as error: print(error, '/', error.hint)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    refused = (
        "--proxy: a proxy of the kind socks5h:// is not supported here / "
        "install fetcher[socks], or choose the curl backend"
    )
    assert ended.stdout.strip() == ("False" if backend == "curl" else refused), ended.stderr
