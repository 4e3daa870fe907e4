"""What a command does not need it does not import: each module costs every start of the program.

Names of modules are looked at, not times, which depend on the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.faultserver import FaultServer

ENGINE = {"fetcher.wiring", "fetcher.engine", "fetcher.backends", "fetcher.frontiers", "fetcher.policy.retry"}
THIRD = {
    "aiohttp",
    "aiodns",
    "aiofiles",
    "rich",
    "tenacity",
    "yarl",
    "uvloop",
    "urllib3",
    "re2",
    "selectolax",
}
UNUSED = {"asyncio", "ssl", "sqlite3", "logging", "tomllib", "email", "idna", "brotli"}
# What `get` of one URL has no use for: lists in files, TOML, pages, large bodies, dates, displays.
NOT_FOR_GET = {
    *(
        "tomllib",
        "csv",
        "gzip",
        "aiofiles",
        "rich",
        "selectolax",
        "re2",
        "publicsuffixlist",
        "protego",
    ),
    *("fetcher.sources.file_source", "fetcher.parsers", "fetcher.extract", "fetcher.processes"),
    *("fetcher.verification", "fetcher.dry_run", "fetcher.api", "fetcher.loading"),
}
ONLY_FOR_AIOHTTP = {
    "aiohttp",
    "aiodns",
    "yarl",
    "attr",
    "email",
    "http",
    "idna",
    "brotli",
    "shutil",
    "pickle",
}

PROGRAM = """
import sys
from fetcher.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(*sys.modules, file=sys.stderr)
"""


def imported_by(folder: Path, *arguments: str) -> set[str]:
    """The modules that a command has imported, and the packages that they are in."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["get", "--help"], ["crawl", "--help"]], ids=str
)
def test_help_imports_no_engine_and_no_library_of_it(arguments: list[str], tmp_path: Path) -> None:
    found = imported_by(tmp_path, *arguments)
    assert found.isdisjoint(ENGINE | THIRD | UNUSED), sorted(found & (ENGINE | THIRD | UNUSED))


@pytest.mark.parametrize("backend", ["asyncio", "curl"])
def test_a_url_is_downloaded_without_what_only_others_need(
    backend: str, server: FaultServer, tmp_path: Path
) -> None:
    found = imported_by(tmp_path, "get", "-o", "out", "--backend", backend, server.url("/ok/1"))
    others = NOT_FOR_GET if backend == "asyncio" else NOT_FOR_GET | ONLY_FOR_AIOHTTP
    if "tornado" in found:  # which tenacity imports where the cluster's libraries are, and it imports pickle
        others -= {"pickle"}
    assert "fetcher.wiring" in found
    assert found.isdisjoint(others), sorted(found & others)
