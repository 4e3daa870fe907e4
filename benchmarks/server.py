"""A private nginx on a free port of the loopback, one worker, that ends with whoever started it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MISSING = "nginx is needed for this benchmark (apt-get install nginx, dnf install nginx)"

_CONFIG = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    types {{ text/html html; text/plain txt; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {root};
        location = /instant {{ default_type text/plain; return 200 "ok\\n"; }}
    }}
}}
"""
_PR_SET_PDEATHSIG = 1


def program() -> str | None:
    """Where nginx is; it is often in a folder that is on root's path only."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


@contextlib.contextmanager
def nginx(root: Path, folder: Path) -> Iterator[str]:
    """Serve `root`; what nginx writes goes to `folder`. Gives the address, without a slash at its end."""
    found = program()
    if found is None:
        raise FileNotFoundError(MISSING)
    port = _free_port()
    folder.mkdir()
    config = folder / "nginx.conf"
    user = "user root root;" if os.geteuid() == 0 else ""  # else `nobody` could not read a private folder
    config.write_text(_CONFIG.format(user=user, folder=folder, port=port, root=root))
    with (folder / "said").open("wb") as said:
        server = subprocess.Popen(
            [found, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")],
            stdout=said,
            stderr=said,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  (no threads)
        )
    try:
        _wait_for(port, server, folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """Between fork and exec: however the benchmark ends, nginx is told to end."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_for(port: int, server: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + 10
    while server.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nginx did not start: {(folder / 'said').read_text(errors='replace')}")
