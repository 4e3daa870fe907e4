"""`fetcher doctor`: what works on this machine and what does not, and why.

Each check does the thing itself (a page from the loopback through every backend, a lock and a state in the
folder) and gives one line. Exit 1 exactly when something fails; an extra that is absent is a note.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import click

from fetcher.cli.exit_codes import FAILED

if TYPE_CHECKING:
    from fetcher.run_dir import RunDirectory

_SPARE = 128  # descriptors beside one for each exchange
_LOOKUP_S = 5.0
_UNSYNCHRONISED = 5  # adjtimex(2): TIME_ERROR


class Diagnosis(NamedTuple):
    """One line: `ok`, `note` (something less works) or `fails`; `advice` is what to do, or empty."""

    topic: str
    state: Literal["ok", "note", "fails"]
    text: str
    advice: str = ""


@click.command("doctor", epilog="Example: fetcher doctor /srv/mirror --host example.org")
@click.argument("directory", type=click.Path(path_type=Path), default=Path())
@click.option("--host", metavar="NAME", default="example.org", help="a name that the resolver should know")
@click.option("--json", "as_json", is_flag=True, help="the findings as one JSON array on stdout")
def command(directory: Path, host: str, as_json: bool) -> int:
    """Try what a run with its output in DIRECTORY needs, and say what works here, what does not, and why.

    The one question that leaves this machine is for the address of a name.
    """
    findings: list[Diagnosis] = []
    for found in examine(directory, host):
        findings.append(found)
        if not as_json:
            _print(found)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode([found._asdict() for found in findings]))
    return FAILED if any(found.state == "fails" for found in findings) else 0


def _print(found: Diagnosis) -> None:
    from fetcher.policy.redaction import shown

    print(f"{found.state:<6}{found.topic:<13}{shown(found.text, 300)}")
    if found.advice:
        print(f"{'':<19}{shown(found.advice, 300)}")


def examine(directory: Path, host: str) -> Iterator[Diagnosis]:
    """Yield the findings one by one."""
    yield from _program()
    yield from _backends()
    yield from _extras()
    yield _descriptors()
    yield from _disk(directory)
    yield _resolver(host)
    yield _certificates()
    yield _proxies()
    yield _clock()


def _program() -> Iterator[Diagnosis]:
    import platform

    from fetcher import __version__
    from fetcher.processors import cores
    from fetcher.wiring import run_loop

    async def name() -> str:
        import asyncio

        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    python = f"{platform.python_implementation()} {platform.python_version()}"
    loop = run_loop(name())
    yield Diagnosis("program", "ok", f"fetcher {__version__}, {python}, event loop of {loop}")
    yield Diagnosis(
        "machine", "ok", f"{platform.system()} {platform.machine()}, {cores()} cores for this process"
    )


def _backends() -> Iterator[Diagnosis]:
    from fetcher.wiring import BACKENDS

    with _greeter() as url:
        for name in BACKENDS:
            yield _backend(name, url)


def _backend(name: str, url: str) -> Diagnosis:
    import fetcher
    from fetcher import wiring
    from fetcher.errors import ConfigError
    from fetcher.settings import Settings

    try:
        versions = wiring.run_loop(_versions(name))
        result = fetcher.fetch(url, backend=cast("Any", name), retries=0, proxy="", timeout=10)
        result.raise_for_error()
    except ConfigError as error:
        state: Literal["note", "fails"] = "fails" if name == Settings().backend else "note"
        return Diagnosis("backend", state, f"{name}: {error.message}", error.hint)
    except Exception as error:  # noqa: BLE001  (whatever a library does when it is broken)
        return Diagnosis("backend", "fails", f"{name}: {type(error).__name__}: {error}")
    return Diagnosis("backend", "ok", f"{name}: HTTP/{versions}")


async def _versions(name: str) -> str:
    from fetcher import wiring
    from fetcher.settings import Settings

    backend = wiring.make_backend(Settings(backend=name))
    try:
        return ", ".join(sorted(backend.traits.http_versions))
    finally:
        await backend.aclose()


@contextlib.contextmanager
def _greeter() -> Iterator[str]:
    """Serve one page on the loopback from a thread; gives its URL."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Greeting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def _extras() -> Iterator[Diagnosis]:
    import re
    from importlib.metadata import PackageNotFoundError, requires

    try:
        wanted = requires("fetcher") or []
    except PackageNotFoundError:
        yield Diagnosis("extras", "note", "unknown: the program runs from its source", "pip install it")
        return
    extras: dict[str, list[str]] = {}
    for requirement in wanted:
        if of := re.search(r"""extra == ["']([\w.-]+)["']""", requirement):
            extras.setdefault(of[1], []).append(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    for extra, packages in extras.items():
        yield _extra(extra, packages)


def _extra(extra: str, packages: list[str]) -> Diagnosis:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            return Diagnosis(
                "extra", "note", f"{extra}: {package} is not installed", f"pip install 'fetcher[{extra}]'"
            )
        if fault := _import_fault(package):
            return Diagnosis(
                "extra", "fails", f"{extra}: {package} is installed and can't be imported: {fault}"
            )
    return Diagnosis("extra", "ok", f"{extra}: {', '.join(found)}")


def _import_fault(package: str) -> str:
    """Return why the module of a package can't be imported; empty if it can, or goes by another name."""
    from importlib import import_module

    for name in (package.replace("-", "_"), package.replace("-", ".")):
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                return str(error)
        except Exception as error:  # noqa: BLE001  (whatever a broken library raises)
            return f"{type(error).__name__}: {error}"
        else:
            break
    return ""


def _descriptors() -> Diagnosis:
    from fetcher.open_files import limit, raise_limit
    from fetcher.settings import Settings

    raise_limit()
    most, wanted = limit(), Settings().concurrency + _SPARE
    if most is None:
        return Diagnosis("descriptors", "ok", "no limit")
    if most < wanted:
        return Diagnosis(
            "descriptors",
            "note",
            f"{most:,} at most: fewer exchanges at once than the default of {Settings().concurrency}",
            "raise the hard limit: ulimit -Hn, or LimitNOFILE= of the service",
        )
    return Diagnosis("descriptors", "ok", f"{most:,} at most, about {most - _SPARE:,} exchanges at once")


def _disk(directory: Path) -> Iterator[Diagnosis]:
    import shutil
    import tempfile

    from fetcher.errors import StorageError
    from fetcher.network_disks import network_disk
    from fetcher.observers.formatting import size
    from fetcher.run_dir import RunDirectory
    from fetcher.settings import Settings

    existing = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    try:
        RunDirectory(directory).check()
        with tempfile.TemporaryDirectory(prefix=".fetcher-doctor-", dir=existing) as folder:
            _make_state(RunDirectory(Path(folder)))
    except (StorageError, OSError) as error:
        text = error.message if isinstance(error, StorageError) else f"{existing}: {error.strerror or error}"
        yield Diagnosis("disk", "fails", text, "choose another --output")
        return
    free, least = shutil.disk_usage(existing).free, Settings().min_free or 0
    if free < least:
        text = f"{existing}: {size(free)} free, and --min-free keeps {size(least)}"
        yield Diagnosis("disk", "fails", text, "make room, or give a smaller --min-free")
    else:
        yield Diagnosis("disk", "ok", f"{existing}: {size(free)} free; files, locks and SQLite work")
    if (kind := network_disk(existing)) is not None:
        text = f"{existing} is on a network disk ({kind}): a lost connection may damage the state"
        yield Diagnosis("disk", "note", text, "a local --output is safer")


def _make_state(place: RunDirectory) -> None:
    """Lock a run directory and make its state. Raises `StorageError` or `OSError`."""
    from fetcher import wiring
    from fetcher.settings import Settings

    async def make() -> None:
        store = wiring.make_store(Settings(), place)
        frontier = wiring.make_frontier(Settings(), place.state, place.results, store, parts=place.parts)
        try:
            await frontier.open()
            await frontier.aclose(complete=True)
        finally:
            await store.aclose()

    place.acquire()
    try:
        wiring.run_loop(make())
    finally:
        place.release()


def _resolver(host: str) -> Diagnosis:
    """Ask for a name as the default backend does, which is not as the system's own programs do."""
    import asyncio
    import time

    from aiohttp.resolver import DefaultResolver

    from fetcher.wiring import run_loop

    async def ask() -> list[str]:
        resolver = DefaultResolver()
        try:
            async with asyncio.timeout(_LOOKUP_S):
                return [str(found["host"]) for found in await resolver.resolve(host, 443)]
        finally:
            await resolver.close()

    began = time.monotonic()
    try:
        addresses = run_loop(ask())
    except TimeoutError:
        return Diagnosis("resolver", "fails", f"{host}: no answer within {_LOOKUP_S:g} s", _RESOLVER_ADVICE)
    except OSError as error:
        return Diagnosis("resolver", "fails", f"{host}: {error.strerror or error}", _RESOLVER_ADVICE)
    took_ms = (time.monotonic() - began) * 1000
    return Diagnosis("resolver", "ok", f"{host} is {', '.join(addresses[:3])} ({took_ms:.0f} ms)")


_RESOLVER_ADVICE = "look at /etc/resolv.conf and the network; a name that this network knows: --host NAME"


def _certificates() -> Diagnosis:
    import ssl

    paths = ssl.get_default_verify_paths()
    known = len(ssl.create_default_context().get_ca_certs())
    folder = paths.capath if paths.capath and any(Path(paths.capath).iterdir()) else None
    if not known and folder is None:
        return Diagnosis("certificates", "fails", "no authorities: https can't be checked", "--ca-file FILE")
    place = (
        f"{known} authorities in {paths.cafile or paths.openssl_cafile}" if known else f"those in {folder}"
    )
    return Diagnosis("certificates", "ok", f"{place}, {ssl.OPENSSL_VERSION}")


def _proxies() -> Diagnosis:
    from fetcher.policy.redaction import mask

    named = sorted(name for name, value in os.environ.items() if name.lower().endswith("_proxy") and value)
    told = "; ".join(f"{name}={mask(os.environ[name])}" for name in named)
    return Diagnosis("proxy", "ok", told or "none in the environment")


def _clock() -> Diagnosis:
    import time

    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    newest = max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))
    if time.time() < newest - 86_400:
        return Diagnosis(
            "clock", "fails", f"{now}, which is before this program was installed", "set the clock"
        )
    if _kept_in_step() is False:
        return Diagnosis("clock", "note", f"{now}; the system says that nothing keeps it right", "run NTP")
    return Diagnosis("clock", "ok", now)


def _kept_in_step() -> bool | None:
    """Return True if the kernel says that the clock is synchronised, None if it doesn't say (adjtimex(2))."""
    if sys.platform != "linux":
        return None
    import ctypes

    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # all zero: only asks
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _UNSYNCHRONISED)
