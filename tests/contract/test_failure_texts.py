"""Every failure of an exchange, on every backend: the same error in the same words, and never half a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from contract.test_backends import BACKENDS
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from support.bodies import RecordingBody
from support.exchanges import hop
from support.faultserver import BLOBS, FaultServer
from support.socks import SocksServer

from fetcher.errors import ExchangeError, FetcherError, ProtocolBroken, Refused
from fetcher.ports import Backend, ConnectionOptions

NOWHERE = "no-such-name.invalid"
TRUST = "--ca-file names an authority to trust, --insecure accepts any certificate"


@dataclass
class Fault:
    """One request that fails. `expected` is the text, where it is the same on every system."""

    url: str
    expected: str | None = None
    port: int = 0  # of a proxy
    options: dict[str, Any] = field(default_factory=dict)  # of the backend
    request: dict[str, Any] = field(default_factory=dict)


class Peers:
    """What faults are made of: servers that are there as long as the test."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.web = stack.enter_context(FaultServer())

    def unused_port(self) -> int:
        held = self._stack.enter_context(socket.socket())
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])

    def black_hole(self) -> int:
        """A port whose queue is full: who connects gets no answer."""
        listener = self._stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = self._stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        return int(listener.getsockname()[1])

    def raw(self, serve: Callable[[socket.socket], None]) -> int:
        """A port where each connection is served by `serve` and closed."""
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._stack.callback(thread.join, 5)
        self._stack.callback(listener.shutdown, socket.SHUT_RDWR)
        return int(listener.getsockname()[1])

    def tls(
        self, name: str = "127.0.0.1", *, issuer: trustme.CA | None = None, **options: Any
    ) -> FaultServer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (issuer or self.authority).issue_cert(name, **options).configure_cert(context)
        return self._stack.enter_context(FaultServer(ssl=context))

    def self_signed(self) -> FaultServer:
        """A server whose certificate is its own authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(1))
            .not_valid_after(now + dt.timedelta(1))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(key, hashes.SHA256())
        )
        path = self._folder / "self.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(path))
        return self._stack.enter_context(FaultServer(ssl=context))

    def proxy(self, **options: Any) -> FaultServer:
        return self._stack.enter_context(FaultServer(**options))

    def socks(self, **options: Any) -> SocksServer:
        return self._stack.enter_context(SocksServer(**options))


def reads_and_closes(connection: socket.socket) -> None:
    connection.recv(65536)


def reads_and_resets(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answers(data: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    return serve


def opens_and(then: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """A proxy that opens a tunnel to nobody."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        then(connection)

    return serve


def connecting(peers: Peers) -> dict[str, Fault]:
    refused, hole = peers.unused_port(), peers.black_hole()
    far = peers.web.port
    return {
        "refused": Fault(f"http://127.0.0.1:{refused}/", f"connection refused by 127.0.0.1:{refused}"),
        "refused tls": Fault(f"https://127.0.0.1:{refused}/", f"connection refused by 127.0.0.1:{refused}"),
        "refused by a name": Fault(
            f"http://site.test:{refused}/",
            f"connection refused by site.test:{refused}",
            options={"resolve": {("site.test", refused): "127.0.0.1"}},
        ),
        "no answer": Fault(
            f"http://127.0.0.1:{hole}/",
            f"no connection to 127.0.0.1:{hole} in time",
            options={"connect_timeout_s": 0.3},
        ),
        "broadcast": Fault("http://255.255.255.255/"),
        "no such name": Fault(f"http://{NOWHERE}/", f"name {NOWHERE} does not exist"),
        "no name": Fault(f"http://{'a' * 64}.test/", f"name {'a' * 64}.test does not exist"),
        "no such family": Fault(
            f"http://127.0.0.1:{far}/", "name 127.0.0.1 has no IPv6 address", options={"family": 6}
        ),
        "private": Fault(
            f"http://127.0.0.1:{far}/", "127.0.0.1 is a private address", request={"allow_private": False}
        ),
        "local name": Fault(
            f"http://localhost:{far}/",
            "localhost is a name of this machine",
            request={"allow_private": False},
        ),
        "private by name": Fault(
            f"http://site.test:{far}/",
            "site.test resolves to a private address (127.0.0.1)",
            options={"resolve": {("site.test", far): "127.0.0.1"}},
            request={"allow_private": False},
        ),
    }


def handshakes(peers: Peers) -> dict[str, Fault]:
    closes, resets = peers.raw(reads_and_closes), peers.raw(reads_and_resets)
    plain = peers.raw(answers(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
    alert = peers.raw(answers(b"\x15\x03\x03\x00\x02\x02\x28"))
    noise = peers.raw(answers(bytes(range(256))))
    hangs = peers.web.port
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    future = dt.datetime(2090, 1, 1, tzinfo=dt.UTC)
    day = dt.timedelta(1)
    own = {"ca_file": peers.ca_file}
    bad = "certificate of 127.0.0.1 not accepted: "
    failed = "TLS handshake with 127.0.0.1 failed: "
    return {
        "closed": Fault(
            f"https://127.0.0.1:{closes}/",
            f"connection closed by 127.0.0.1:{closes} during the TLS handshake",
        ),
        "reset": Fault(
            f"https://127.0.0.1:{resets}/",
            f"connection closed by 127.0.0.1:{resets} during the TLS handshake",
        ),
        "plain": Fault(f"https://127.0.0.1:{plain}/", f"{failed}the server does not speak TLS at this port"),
        "alert": Fault(f"https://127.0.0.1:{alert}/", f"{failed}the server sent the alert handshake failure"),
        "noise": Fault(f"https://127.0.0.1:{noise}/", f"{failed}the server does not speak TLS at this port"),
        "silent": Fault(
            f"https://127.0.0.1:{hangs}/",
            f"no connection to 127.0.0.1:{hangs} in time",
            options={"connect_timeout_s": 0.3},
        ),
        "expired": Fault(
            peers.tls(not_before=past, not_after=past + day).url(),
            f"{bad}certificate has expired; {TRUST}",
            options=own,
        ),
        "early": Fault(
            peers.tls(not_before=future, not_after=future + day).url(),
            f"{bad}certificate is not yet valid; {TRUST}",
            options=own,
        ),
        "other address": Fault(
            peers.tls("127.0.0.9").url(), f"{bad}it is for another name; {TRUST}", options=own
        ),
        "other name": Fault(
            peers.tls("other.test").url(), f"{bad}it is for another name; {TRUST}", options=own
        ),
        "untrusted": Fault(peers.tls().url(), f"{bad}unable to get local issuer certificate; {TRUST}"),
        "self-signed": Fault(peers.self_signed().url(), f"{bad}self-signed certificate; {TRUST}"),
    }


def proxies(peers: Peers) -> dict[str, Fault]:
    refused, locked = peers.unused_port(), peers.proxy(proxy_auth="me:secret").port
    closes, noise = peers.raw(reads_and_closes), peers.raw(answers(b"\x05\xff\x00what\r\n\r\n"))
    busy = peers.raw(answers(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"))
    tunnel_closes = peers.raw(opens_and(reads_and_closes))
    tunnel_plain = peers.raw(opens_and(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
    secure, secure_ca = peers.tls(), {"ca_file": peers.ca_file}
    wants = "it wants a user and a password in its URL"
    wrong = "it did not accept the user and password of its URL"

    def through(port: int, scheme: str, user: str = "", kind: str = "http") -> Fault:
        return Fault(
            f"{scheme}://site.test/", port=port, request={"proxy": f"{kind}://{user}127.0.0.1:{port}"}
        )

    def told(fault: Fault, text: str, **options: Any) -> Fault:
        fault.expected = f"proxy 127.0.0.1:{fault.port} {text}"
        fault.options = options
        return fault

    faults = {
        "unknown": Fault(
            "http://site.test/", f"name {NOWHERE} does not exist", request={"proxy": f"http://{NOWHERE}:80"}
        ),
        "certificate": Fault(
            "http://site.test/",
            f"certificate of proxy 127.0.0.1:{secure.port} not accepted: "
            f"unable to get local issuer certificate; {TRUST}",
            request={"proxy": f"https://127.0.0.1:{secure.port}"},
        ),
        "certificate behind": Fault(
            f"https://site.test:{secure.port}/",
            f"certificate of site.test not accepted: it is for another name; {TRUST}",
            options=secure_ca,
            request={"proxy": peers.web.url("")},
        ),
        "plain behind": Fault(
            "https://site.test/",
            "TLS handshake with site.test failed: the server does not speak TLS at this port",
            request={"proxy": f"http://127.0.0.1:{tunnel_plain}"},
        ),
        "closed behind": Fault(
            "https://site.test/",
            f"connection closed by proxy 127.0.0.1:{tunnel_closes} during the TLS handshake",
            request={"proxy": f"http://127.0.0.1:{tunnel_closes}"},
        ),
        "wants credentials": told(through(locked, "http"), f"refused the request with status 407: {wants}"),
        "wants credentials tls": told(
            through(locked, "https"), f"refused the tunnel with status 407: {wants}"
        ),
        "other credentials": told(
            through(locked, "http", "me:other@"), f"refused the request with status 407: {wrong}"
        ),
        "other credentials tls": told(
            through(locked, "https", "me:other@"), f"refused the tunnel with status 407: {wrong}"
        ),
        "busy tls": told(through(busy, "https"), "refused the tunnel with status 503"),
        "noise tls": told(through(noise, "https"), "gave no valid answer to the request for a tunnel"),
    }
    for scheme in ("http", "https"):
        for kind in ("http", "https", "socks5", "socks5h", "socks4a"):
            name = f"refused {kind} {scheme}"
            faults[name] = through(refused, scheme, kind=kind)
            faults[name].expected = f"connection refused by proxy 127.0.0.1:{refused}"
            faults[name].options = {
                "resolve": {("site.test", {"http": 80, "https": 443}[scheme]): "127.0.0.1"}
            }
    faults["closed"] = through(closes, "http")
    faults["closed"].expected = f"connection closed by proxy 127.0.0.1:{closes} before an answer"
    faults["closed tls"] = through(closes, "https")
    faults["closed tls"].expected = f"connection closed by proxy 127.0.0.1:{closes}"
    faults["closed handshake"] = through(closes, "http", kind="https")
    faults[
        "closed handshake"
    ].expected = f"connection closed by proxy 127.0.0.1:{closes} during the TLS handshake"
    return faults


def socks(peers: Peers) -> dict[str, Fault]:
    proxy, locked = peers.socks(), peers.socks(user="me", password="secret")
    garbles, closes = peers.socks(garbles=True), peers.socks(closes=True)
    unused = peers.unused_port()
    reasons = {
        1: "general failure",
        2: "not allowed by its rules",
        3: "network unreachable",
        4: "host unreachable",
        5: "connection refused",
        6: "time to live expired",
        7: "command not supported",
        8: "kind of address not supported",
    }
    faults = {
        f"reply {number}": Fault(
            f"http://reply-{number}.test/",
            f"proxy 127.0.0.1:{proxy.port} could not connect to reply-{number}.test:80: {reason}",
            request={"proxy": proxy.url("socks5h")},
        )
        for number, reason in reasons.items()
    }
    faults["unreached"] = Fault(
        f"https://site.test:{unused}/",
        f"proxy 127.0.0.1:{proxy.port} could not connect to site.test:{unused}: connection refused",
        request={"proxy": proxy.url("socks5h")},
    )
    faults["unreached 4a"] = Fault(
        f"http://site.test:{unused}/",
        f"proxy 127.0.0.1:{proxy.port} could not connect to site.test:{unused}: rejected or failed",
        request={"proxy": proxy.url("socks4a")},
    )
    for kind in ("socks5", "socks4"):
        faults[f"unknown {kind}"] = Fault(
            f"http://{NOWHERE}/", f"name {NOWHERE} does not exist", request={"proxy": proxy.url(kind)}
        )
    faults["no address of version 4"] = Fault(
        "http://[::1]/", "name ::1 has no IPv4 address", request={"proxy": proxy.url("socks4")}
    )
    faults["wants"] = Fault(
        "http://site.test/",
        f"proxy 127.0.0.1:{locked.port} wants a user and a password in its URL",
        request={"proxy": locked.url("socks5h")},
    )
    faults["wrong"] = Fault(
        "http://site.test/",
        f"proxy 127.0.0.1:{locked.port} did not accept the user and password of its URL",
        request={"proxy": locked.url("socks5h", "me:wrong")},
    )
    for kind in ("socks5h", "socks4a"):
        faults[f"garbles {kind}"] = Fault(
            "http://site.test/",
            f"proxy 127.0.0.1:{garbles.port} gave no valid answer of SOCKS",
            request={"proxy": garbles.url(kind)},
        )
        faults[f"closes {kind}"] = Fault(
            "http://site.test/",
            f"connection closed by proxy 127.0.0.1:{closes.port}",
            request={"proxy": closes.url(kind)},
        )
    return faults


def exchanges(peers: Peers) -> dict[str, Fault]:
    web = peers.web
    here = f"127.0.0.1:{web.port}"
    secure = peers.tls()
    before, within = (
        f"connection closed by {here} before an answer",
        f"connection closed by {here} within the header",
    )
    cut = "connection ended before the body was complete"
    faults = {
        "closes": Fault(web.url("/close-at-once"), before),
        "closes tls": Fault(
            secure.url("/close-at-once"),
            f"connection closed by 127.0.0.1:{secure.port} before an answer",
            options={"ca_file": peers.ca_file},
        ),
        "resets": Fault(web.url("/reset"), f"connection reset by {here} before an answer"),
        "cut head": Fault(web.url("/cut-head?at=20"), within),
        "cut": Fault(web.url("/cut?at=10&of=100"), cut),
        "cut chunked": Fault(web.url("/cut-chunked?at=50&of=100"), cut),
        "reset body": Fault(web.url("/reset?at=100"), cut),
        "broken line": Fault(web.url("/ok/1"), request={"headers": (("X", "a\r\nb"),)}),
        "tls spoken plainly": Fault(secure.url("/ok/1", scheme="http")),
        "interim": Fault(web.url("/1xx?n=40")),
        "switching": Fault(web.url("/1xx?status=101")),
        "many fields": Fault(web.url("/headers?n=600")),
        "long field": Fault(web.url("/headers?n=1&size=120000")),
        "long head": Fault(web.url("/headers?n=50&size=15000")),
    }
    bodies = {"204-body", "close-at-once", "cl-same"}
    faults |= {name: Fault(web.url(f"/{name}")) for name in BLOBS if name not in bodies}
    return faults


GROUPS = {
    "connecting": connecting,
    "handshakes": handshakes,
    "proxies": proxies,
    "socks": socks,
    "exchanges": exchanges,
}


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    with contextlib.ExitStack() as stack:
        yield Peers(stack, tmp_path)


async def failure(backend: Backend, fault: Fault) -> FetcherError:
    with pytest.raises((ExchangeError, Refused)) as caught:
        async with asyncio.timeout(10):
            await backend.exchange(hop(fault.url, **fault.request), RecordingBody())
    return caught.value


async def failures(fault: Fault) -> dict[str, FetcherError]:
    """What each backend says of it."""
    found: dict[str, FetcherError] = {}
    for name, make in BACKENDS.items():
        backend = make(ConnectionOptions(**fault.options))
        try:
            found[name] = await failure(backend, fault)
        finally:
            await backend.aclose()
    return found


def phase_of(error: FetcherError) -> str:
    """How far it came. A parser that finds the fault together with the head is not told apart from others."""
    return "" if isinstance(error, ProtocolBroken) else str(getattr(error, "phase", ""))


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("group", GROUPS)
def test_a_failure_is_told_in_the_same_words_by_every_backend(peers: Peers, group: str, loop: str) -> None:
    wrong: list[str] = []
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        for name, fault in GROUPS[group](peers).items():
            found = runner.run(failures(fault))
            told = {backend: (str(error), error.slug, phase_of(error)) for backend, error in found.items()}
            texts = {text for text, _, _ in told.values()}
            is_whole = all(text and text == text.rstrip(" :.") and text.isprintable() for text in texts)
            is_right = fault.expected is None or texts == {fault.expected}
            if not is_whole or not is_right or len(set(told.values())) > 1:
                wrong.append(f"{name}: {fault.expected or ''}")
                wrong += [f"    {key}: {value}" for key, value in told.items()]
    assert not wrong, "\n".join(["these differ:", *wrong])
