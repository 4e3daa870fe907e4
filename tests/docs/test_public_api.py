"""What `import fetcher` gives: exactly the names that are promised, typed, documented, and cheap."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fetcher
from fetcher import errors

ROOT = Path(__file__).parents[2]
HEAVY = ("aiohttp", "aiodns", "rich", "sqlite3", "uvloop", "tenacity", "brotli", "ssl", "asyncio")
NAMES = {
    "verbs": {"crawl", "fetch", "fetch_all", "stream", "Crawl", "Fetcher", "Stream"},
    "decorators": {"async_or_sync", "async_wrap"},
    "data": {"Entry", "Headers", "Link", "Page", "Parsed", "Record", "Result", "Summary"},
    "version": {"__version__"},
}


def python(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def loaded_by(program: str) -> set[str]:
    """The modules that are loaded after `program` has run in a fresh interpreter."""
    ended = python("-c", f"import sys\n{program}\nprint(' '.join(sys.modules), file=sys.stderr)")
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.split())


# --- the names -----------------------------------------------------------------------------------------


def test_the_public_names_are_the_promised_ones_and_every_error() -> None:
    of_errors = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.FetcherError) and name[0] != "_"
    }
    assert set(fetcher.__all__) == of_errors.union(*NAMES.values())
    assert fetcher.__all__ == sorted(fetcher.__all__)


@pytest.mark.parametrize("name", fetcher.__all__)
def test_a_public_name_can_be_imported(name: str) -> None:
    assert getattr(fetcher, name) is not None


def test_nothing_else_can_be_got_by_accident() -> None:
    assert dir(fetcher) == fetcher.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Run'"):
        _ = fetcher.Run


def test_a_type_checker_sees_exactly_the_names_that_are_there() -> None:
    tree = ast.parse(Path(fetcher.__file__).read_text())
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in guard.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(fetcher.__all__)


@pytest.mark.parametrize("name", sorted(set(fetcher.__all__) - {"__version__"}))
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(fetcher, name)
    assert inspect.cleandoc(value.__doc__ or "")
    if inspect.isclass(value):
        assert "__doc__" in vars(value)


@pytest.mark.parametrize(
    "cls", [fetcher.Fetcher, fetcher.Result, fetcher.Summary], ids=lambda cls: cls.__name__
)
def test_every_public_method_has_a_docstring(cls: type) -> None:
    undocumented = [
        name for name, value in vars(cls).items() if name[0] != "_" and callable(value) and not value.__doc__
    ]
    assert undocumented == []


def test_every_error_derives_from_one_and_has_a_slug_of_its_own() -> None:
    classes = [value for name in fetcher.__all__ if inspect.isclass(value := getattr(fetcher, name))]
    raised = [cls for cls in classes if issubclass(cls, Exception)]
    assert all(issubclass(cls, fetcher.FetcherError) for cls in raised)
    slugs = [cls.slug for cls in raised if issubclass(cls, fetcher.FetcherError)]
    assert len(slugs) == len(set(slugs))


# --- the cost ------------------------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import fetcher").isdisjoint({*HEAVY, "msgspec", "yarl", "click"})


def test_the_errors_and_the_decorators_load_no_http_library() -> None:
    loaded = loaded_by("from fetcher import FetcherError, Result, async_or_sync")
    assert loaded.isdisjoint({"aiohttp", "rich", "sqlite3", "click"})


def test_the_version_is_told_without_loading_anything_heavy() -> None:
    program = "from fetcher.cli.main import main\ntry:\n    main(['--version'])\nexcept SystemExit as end:\n    assert not end.code"
    assert loaded_by(program).isdisjoint({*HEAVY, "msgspec", "yarl", "tempfile"})


def test_the_version_is_that_of_the_package() -> None:
    ended = python("-m", "fetcher", "--version")
    assert (ended.returncode, ended.stdout) == (0, f"fetcher {fetcher.__version__}\n")


def test_the_library_without_a_run_directory_loads_no_database_and_no_display() -> None:
    program = "import fetcher\nassert fetcher.fetch_all([]) == []"
    assert loaded_by(program).isdisjoint({"sqlite3", "rich", "click", "uvloop"})


# --- the types -----------------------------------------------------------------------------------------

PROGRAM = """
import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import fetcher
from fetcher import FetchFailed, Fetcher, FetcherError, Result, async_or_sync, async_wrap


@async_wrap(ThreadPoolExecutor(1))
def digest(data: bytes, *, times: int = 1) -> str:
    return str(hash(data) * times)


@async_or_sync
async def size(url: str) -> int:
    result = await fetcher.fetch.aio(url, retries=1)
    return len(result.body)


class Site:
    @async_or_sync
    async def pages(self, number: int) -> list[Result]:
        return await fetcher.fetch_all.aio([f"https://example.org/{n}" for n in range(number)])


async def urls() -> AsyncIterator[str]:
    yield "https://example.org/"


async def in_async_code() -> None:
    one: Result = await fetcher.fetch("https://example.org/", timeout=5)
    all_of_them: list[Result] = await fetcher.fetch_all(["https://example.org/"])
    async with Fetcher(concurrency=100, per_host=10) as f:
        async for result in f.stream(urls()):
            kind: str | None = result.headers.get("content-type")
            print(result.ok, kind, result.text(), result.json(), await digest(result.body, times=2))
        summary = await f.download.aio(["https://example.org/"], "out")
        print(summary.done + summary.failed, summary.errors.get("http-status", 0))
    print(one.status, len(all_of_them), await size.aio("x") + 1, len(await Site().pages.aio(3)))


def in_plain_code() -> int:
    one: Result = fetcher.fetch("https://example.org/")
    try:
        one.raise_for_error()
    except FetchFailed as error:
        print(error.slug.upper(), error.url, error.status)
    except FetcherError as error:
        print(error.hint)
    for result in fetcher.stream(["https://example.org/"], max_size="1M"):
        print(result.url, result.elapsed)
    found = fetcher.fetch_all.sync(["https://example.org/"])
    return size.sync("x") + len(found) + len(Site().pages.sync(2)) + Fetcher().download.sync([]).done


asyncio.run(in_async_code())
"""

MISTAKES = {
    "size.sync(5)": "arg-type",
    "fetcher.fetch.sync('x').body.encode()": "attr-defined",
    "digest(b'', times='2')": "arg-type",
    "Site().pages.sync('two')": "arg-type",
    "fetcher.fetch_all.sync(5)": "arg-type",
}


def test_a_strictly_checked_program_may_use_all_of_it_and_its_mistakes_are_found(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(PROGRAM)
    bad.write_text(f"{PROGRAM}\n" + "".join(f"print({mistake})\n" for mistake in MISTAKES))
    options = ("--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}")
    ended = python("-m", "mypy", *options, str(good), folder=tmp_path)
    assert ended.returncode == 0, ended.stdout
    ended = python("-m", "mypy", *options, str(bad), folder=tmp_path)
    found = [line for line in ended.stdout.splitlines() if "error:" in line]
    first = PROGRAM.count("\n") + 2
    assert len(found) == len(MISTAKES), ended.stdout
    for number, (line, code) in enumerate(zip(found, MISTAKES.values(), strict=True), first):
        assert line.startswith(f"bad.py:{number}: error:"), line
        assert line.endswith(f"[{code}]"), line


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(fetcher.__file__).parent / "py.typed").is_file()
