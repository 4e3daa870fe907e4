"""What `import fetcher` gives: exactly the names that are promised, typed, documented, and cheap."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import MYPY_CACHE

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
    assert loaded_by("import fetcher").isdisjoint(
        {*HEAVY, "fetcher.api", "fetcher.settings", "yarl", "click"}
    )


def test_the_errors_and_the_decorators_load_no_http_library() -> None:
    loaded = loaded_by("from fetcher import FetcherError, Result, async_or_sync")
    assert loaded.isdisjoint({"aiohttp", "rich", "sqlite3", "click"})


def test_the_version_is_told_without_loading_anything_heavy() -> None:
    program = "from fetcher.cli.main import main\ntry:\n    main(['--version'])\nexcept SystemExit as end:\n    assert not end.code"
    assert loaded_by(program).isdisjoint({*HEAVY, "fetcher.settings", "yarl", "tempfile"})


def test_the_version_is_that_of_the_package() -> None:
    ended = python("-m", "fetcher", "--version")
    assert (ended.returncode, ended.stdout) == (0, f"fetcher {fetcher.__version__}\n")


def test_the_library_without_a_run_directory_loads_no_database_and_no_display() -> None:
    program = "import fetcher\nassert fetcher.fetch_all([]) == []"
    assert loaded_by(program).isdisjoint({"sqlite3", "rich", "click", "uvloop"})


# --- the types -----------------------------------------------------------------------------------------

TYPED = Path(__file__).parent / "typed"
RIGHT, WRONG = TYPED / "right_uses.py", TYPED / "wrong_uses.py"
MARKED = [number for number, line in enumerate(WRONG.read_text().splitlines(), 1) if line.endswith("# wrong")]


def test_mypy_finds_right_uses_right_and_every_wrong_one(tmp_path: Path) -> None:
    options = ("--strict", "--config-file=", f"--cache-dir={MYPY_CACHE}")
    ended = python("-m", "mypy", *options, str(RIGHT), str(WRONG), folder=tmp_path)
    found = re.findall(r"^(.*?):(\d+): error:", ended.stdout, re.MULTILINE)
    assert {(Path(name).name, int(number)) for name, number in found} == {(WRONG.name, n) for n in MARKED}


def test_pyright_finds_right_uses_and_examples_right_and_every_wrong_use(tmp_path: Path) -> None:
    settings = {
        "include": [str(ROOT / "examples"), str(TYPED)],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "standard",
        "strict": [str(ROOT / "examples"), str(RIGHT)],
        "reportUnusedExpression": False,
        "pythonVersion": "3.11",
    }
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    program = Path(sys.executable).with_name("basedpyright")  # pyright, and the node that it needs, as wheels
    ended = subprocess.run(
        [program, "--outputjson", "-p", config, "--pythonpath", sys.executable],
        cwd=tmp_path, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    found = json.loads(ended.stdout)["generalDiagnostics"]
    lines = {(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in found}
    assert lines == {(WRONG.name, number) for number in MARKED}, found


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(fetcher.__file__).parent / "py.typed").is_file()
