"""A server of HTTP/2 and HTTP/3 on the loopback, in a thread of its own: hypercorn with a small application.

    with Http23Server(certificate) as server:
        fetch(server.url("/bytes/1500"))
        assert server.log[0].version == "2"

`/bytes/N` has a length, `/stream/N` has none, `/cut/N` declares N bytes and sends half of them, `/hang` never
answers and `/hang-body` sends a little. HTTP/3 is on the same port, over UDP, if `quic`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import trustme

from support.faultserver import content


@dataclass
class Hit:
    """One request as it arrived; `peer` tells connections apart."""

    version: str
    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    peer: tuple[str, int]
    body: bytes = b""


class Http23Server:
    """The server and its log. Leaving the `with` ends every connection and the thread."""

    def __init__(
        self, certificate: trustme.LeafCert, folder: Path, *, h2: bool = True, quic: bool = False
    ) -> None:
        self.log: list[Hit] = []
        self.active = 0
        self.port = _free_port()
        self._pem = folder / "server.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self._pem))
        self._alpn = ["h2", "http/1.1"] if h2 else ["http/1.1"]
        self._quic = quic
        self._started = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="http23-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        assert self.wait(lambda _: self._answers()), self._failed
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(60)
        assert not self._thread.is_alive()

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    def wait(self, holds: Callable[[Http23Server], bool], timeout_s: float = 5.0) -> bool:
        """Whether `holds(self)` comes true in time."""
        deadline = time.monotonic() + timeout_s
        while not holds(self):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _run(self) -> None:
        from hypercorn.asyncio import serve
        from hypercorn.config import Config

        config = Config()
        config.bind = [f"127.0.0.1:{self.port}"]
        config.quic_bind = config.bind if self._quic else []
        config.certfile = config.keyfile = str(self._pem)
        config.alpn_protocols = self._alpn
        config.graceful_timeout = config.shutdown_timeout = 0.1
        config.keep_alive_timeout = 1.0  # after a fault; hypercorn does not end a stream that failed
        config.errorlog = None

        async def run() -> None:
            self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
            opened = []  # hypercorn leaves its datagram transports open
            make = self._loop.create_datagram_endpoint

            async def noted(*args: Any, **options: Any) -> Any:
                opened.append(await make(*args, **options))
                return opened[-1]

            self._loop.create_datagram_endpoint = noted  # type: ignore[method-assign]
            self._started.set()
            try:
                await serve(self._answer, config, shutdown_trigger=self._ended.wait, mode="asgi")
            finally:
                for transport, _ in opened:
                    transport.close()
                await asyncio.sleep(0.01)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                asyncio.run(run())
            except BaseException as failure:
                self._failed = failure
                self._started.set()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                event = await receive()
                await send({"type": f"{event['type']}.complete"})
                if event["type"] == "lifespan.shutdown":
                    return
        path = scope["raw_path"].decode("latin-1")
        hit = Hit(
            scope["http_version"], scope["method"], path, list(scope["headers"]), tuple(scope["client"])
        )
        self.log.append(hit)
        self.active += 1
        try:
            while True:
                event = await receive()
                hit.body += event.get("body", b"")
                if not event.get("more_body"):
                    break
            await self._script(hit, receive, send)
        finally:
            self.active -= 1

    async def _script(self, hit: Hit, receive: Any, send: Any) -> None:
        _, kind, *rest = hit.path.partition("?")[0].split("/")
        size = int(rest[0]) if rest else 0

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        if kind == "hang":
            await gone()
            return
        fields = [(b"x-a", b"1"), (b"x-a", b"2")]
        if kind in {"bytes", "cut"}:
            fields.append((b"content-length", b"%d" % size))
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        body = content(hit.path, size)
        if kind == "hang-body":
            await send({"type": "http.response.body", "body": b"some", "more_body": True})
            await gone()
            return
        if kind == "cut":
            await send({"type": "http.response.body", "body": body[: size // 2], "more_body": True})
            raise RuntimeError("cut")
        for start in range(0, size, 65536):
            await send({"type": "http.response.body", "body": body[start : start + 65536], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _free_port() -> int:
    """A port that is free for TCP and for UDP."""
    for _ in range(50):
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            with contextlib.suppress(OSError):
                datagrams.bind(("127.0.0.1", port))
                return port
    raise OSError("no port is free for both")
