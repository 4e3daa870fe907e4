"""Imports only point down: the table of layers, held to the syntax trees of all modules.

An import counts wherever it stands: at the top, in a function, under TYPE_CHECKING, or as
`import_module` with a name.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fetcher

PACKAGE = Path(fetcher.__file__).parent
ROOT = "fetcher"  # the public API, as `import fetcher` gives it

# A part is a module or a package directly below `fetcher`. A new one must find its layer here.
DATA = frozenset(
    {
        *("re_compat", "header_fields", "model", "errors", "events", "ports", "option_types"),
        *("settings", "settings_dict", "network_disks", "open_files", "processors", "whole_file"),
        *("serial_executor", "sync_async", "native", "timings", "subprocesses", "version"),
    }
)
POLICY = frozenset({"policy"})
ENGINE = frozenset({"engine"})
ADAPTERS = frozenset(
    {"backends", "frontiers", "stores", "sources", "extract", "parsers", "observers", "processes"}
)
COMPOSE = frozenset(
    {
        *(
            "analysis",
            "cluster",
            "done_hook",
            "conversion",
            "kept_output",
            "object_output",
            "verification",
            "story",
            "config",
            "config_output",
            "named_file",
            "setting_files",
            "toml_file",
            "wiring",
            "run_dir",
            "sharding",
            "dry_run",
            "api",
            "worker_main",
        ),
        *("call_arguments", "download", "fetch_calls", "loading", "streams", "verb_types"),
    }
)
BELOW_EDGE = DATA | POLICY | ENGINE | ADAPTERS | COMPOSE | {ROOT}

MAY_IMPORT: dict[str, frozenset[str]] = {
    **dict.fromkeys(DATA, DATA),
    "sync_async": frozenset(),
    "policy": DATA | POLICY,
    "engine": DATA | POLICY | ENGINE,
    **{adapter: DATA | POLICY | {adapter} for adapter in ADAPTERS},
    "sources": DATA | POLICY | {"sources", "extract"},  # a Metalink file is XML
    "parsers": DATA | POLICY | {"parsers", "extract"},  # a parser gets its page with the links
    **dict.fromkeys(COMPOSE, BELOW_EDGE),
    "demo_site": frozenset({"demo_site"}),
    "lab": DATA | {"lab", ROOT},
    "rehearsal": BELOW_EDGE | {"rehearsal", "demo_site"},
    "cli": BELOW_EDGE | {"cli", "demo_site", "lab", "rehearsal"},
}
ENTRIES = frozenset({ROOT, "__main__"})  # these may import whatever there is

# What a part may import from outside the package and the standard library; the others: anything.
OUTSIDE: dict[str, frozenset[str]] = {
    **dict.fromkeys(DATA, frozenset({"yarl", "msgspec"})),
    "sync_async": frozenset(),
    "re_compat": frozenset({"regex"}),
    "policy": frozenset(
        {
            "yarl",
            "idna",
            "tenacity",
            "msgspec",
            "re2",
            "ada_url",
            "protego",
            "publicsuffixlist",
            "webencodings",
        }
    ),
}
IMPURE = frozenset({"time", "random", "os", "socket", "asyncio"})  # not for policy
SHAPELESS = frozenset({"utils", "util", "helpers", "helper", "manager", "managers", "base"})


def imports_of(tree: ast.Module, package: str, root: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported; `package` resolves relative imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, (above, node.module)))
            for alias in node.names:
                is_part = module == ROOT and is_part_of(root, alias.name)
                yield node.lineno, f"{module}.{alias.name}" if is_part else module
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.args[0].value
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"} and isinstance(name, str):
                yield node.lineno, name


def modules_of(root: Path, *, package: bool) -> dict[str, Path]:
    """The modules in a folder by their dotted names; without `package`, scripts beside each other."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent if package else root).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def circles_of(modules: dict[str, Path]) -> list[list[str]]:
    """Groups of modules of which each imports all others, directly or not, wherever the imports stand."""
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        graph[name] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            found: list[str] = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = package.rsplit(".", node.level - 1)[0] if node.level else ""
                module = ".".join(filter(None, (above, node.module)))
                found = [f"{module}.{alias.name}" for alias in node.names]
            for one in found:
                wanted = one if one in modules else one.rpartition(".")[0]
                if wanted in modules and wanted != name:
                    graph[name].add(wanted)
    reached = {name: reachable(graph, name) for name in graph}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in graph
        if name in reached[name]
    }
    return sorted(map(list, groups))


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [*graph[start]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def is_part_of(root: Path, name: str) -> bool:
    return (root / f"{name}.py").is_file() or (root / name).is_dir()


def faults_of(root: Path) -> list[str]:
    """What breaks the rules in the package at `root`, each as `file:line what`."""
    faults: list[str] = []
    for path in sorted(root.rglob("*.py")):
        where = path.relative_to(root.parent)
        parts = where.with_suffix("").parts
        part = ROOT if parts == (ROOT, "__init__") else parts[1]
        faults += [f"{where}: no module is called {name}" for name in parts if name in SHAPELESS]
        if part in ENTRIES:
            continue
        if part not in MAY_IMPORT:
            faults.append(f"{where}: {part} has no layer yet")
            continue
        tree = ast.parse(path.read_text("utf-8"))
        for line, name in imports_of(tree, ".".join(parts[:-1]), root):
            if why := forbidden(part, name):
                faults.append(f"{where}:{line} imports {name}: {why}")
        if part == "policy":
            faults += [
                f"{where}:{node.lineno} calls open: policy does no I/O"
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
            ]
    return faults


def forbidden(part: str, name: str) -> str:
    """Why `part` may not import `name`, or nothing."""
    top, _, rest = name.partition(".")
    if top == ROOT:
        wanted = rest.partition(".")[0] or ROOT
        return "" if wanted in MAY_IMPORT[part] else f"{part} may not import {wanted}"
    if part == "policy" and top in IMPURE:
        return "policy has no I/O, no clock and no chance"
    if top in sys.stdlib_module_names or part not in OUTSIDE or top in OUTSIDE[part]:
        return ""
    return f"{part} is built on {', '.join(sorted(OUTSIDE[part])) or 'the standard library'} only"


def test_imports_only_point_down() -> None:
    faults = faults_of(PACKAGE)
    assert not faults, "\n".join(["imports that do not point down:", *faults])


@pytest.mark.parametrize(
    ("folder", "package"),
    [
        (PACKAGE, True),
        (PACKAGE.parent / "benchmarks", False),
        (PACKAGE.parent / "tests" / "support", True),
        (PACKAGE.parent / "tests" / "torture", True),
    ],
)
def test_no_modules_import_one_another_in_a_circle(folder: Path, package: bool) -> None:
    assert circles_of(modules_of(folder, package=package)) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"a": "import b", "b": "def f():\n    from a import x"},
        {"a": "from b import x", "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a"},
        {"a": "import b", "b": "import c", "c": "import a"},
    ],
)
def test_a_circle_of_imports_is_found_however_long_and_late_it_is(
    tmp_path: Path, sources: dict[str, str]
) -> None:
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    (tmp_path / "apart.py").write_text("import a")
    assert circles_of(modules_of(tmp_path, package=False)) == [sorted(sources)]


def test_the_table_names_no_part_twice_and_every_layer() -> None:
    layers = [DATA, POLICY, ENGINE, ADAPTERS, COMPOSE, {"demo_site"}, {"lab"}, {"rehearsal"}, {"cli"}]
    assert sum(map(len, layers)) == len(MAY_IMPORT)
    assert set().union(*layers) == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("model.py", "import fetcher.policy.urls", "fetcher/model.py:1 imports fetcher.policy.urls"),
        ("ports.py", "import aiohttp", "ports is built on msgspec, yarl only"),
        ("sync_async.py", "import yarl", "sync_async is built on the standard library only"),
        ("sync_async.py", "from fetcher.errors import FetcherError", "sync_async may not import errors"),
        ("policy/a.py", "def f():\n    import random", "fetcher/policy/a.py:2 imports random"),
        ("policy/a.py", "import os.path", "imports os.path: policy has no I/O"),
        ("policy/a.py", "x = 1\nopen('x')", "fetcher/policy/a.py:2 calls open"),
        ("policy/a.py", "import aiohttp", "policy is built on"),
        ("policy/a.py", "from fetcher import engine", "policy may not import engine"),
        ("engine/a.py", "from fetcher.stores.files import X", "engine may not import stores"),
        ("engine/a.py", "from ..stores import files", "engine may not import stores"),
        ("engine/a.py", "import fetcher", "engine may not import fetcher"),
        ("stores/a.py", "from fetcher.engine.body import Body", "stores may not import engine"),
        ("stores/a.py", "from fetcher.sources.line_splitter import X", "stores may not import sources"),
        (
            "sources/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fetcher.api import Fetcher",
            "fetcher/sources/a.py:3 imports fetcher.api: sources may not import api",
        ),
        ("sources/a/b.py", "from ...api import Fetcher", "sources may not import api"),
        (
            "stores/a.py",
            "import importlib\nimportlib.import_module('fetcher.cli.main')",
            ":2 imports fetcher.cli",
        ),
        ("api.py", "from fetcher.cli import main", "api may not import cli"),
        ("config.py", "from fetcher.demo_site import site", "config may not import demo_site"),
        ("lab/a.py", "from fetcher.engine.run import Run", "lab may not import engine"),
        ("lab/a.py", "from fetcher.api import Fetcher", "lab may not import api"),
        ("engine/utils.py", "", "no module is called utils"),
        ("stores/base/a.py", "", "no module is called base"),
        ("other.py", "", "other has no layer yet"),
    ],
)
def test_a_wrong_import_is_found_and_told_by_file_and_line(
    tmp_path: Path, module: str, source: str, fault: str
) -> None:
    root = tmp_path / ROOT
    for part in MAY_IMPORT:
        (root / part).mkdir(parents=True)
    path = root / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    (found,) = faults_of(root)
    assert fault in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("model.py", "import json, msgspec\nfrom fetcher.errors import X"),
        (
            "policy/a.py",
            "import re\nfrom fetcher.model import X\nfrom fetcher.policy import urls\nimport re2",
        ),
        (
            "engine/a.py",
            "import asyncio\nfrom . import b\nfrom .b import c\nfrom fetcher.policy.urls import X",
        ),
        ("stores/a.py", "import aiofiles\nfrom fetcher import errors, ports\nfrom fetcher.stores.b import X"),
        (
            "wiring.py",
            "import fetcher\nfrom fetcher.engine.run import X\nfrom fetcher.stores.files import Y",
        ),
        (
            "cli/main.py",
            "import click\nfrom fetcher import __version__, api, lab\nfrom fetcher.engine import run",
        ),
        ("lab/a.py", "import fetcher, matplotlib\nfrom fetcher import Fetcher\nfrom fetcher.model import X"),
        ("__main__.py", "from fetcher.cli.main import main"),
        ("__init__.py", "from fetcher.api import Fetcher"),
    ],
)
def test_a_right_import_is_let_pass(tmp_path: Path, module: str, source: str) -> None:
    root = tmp_path / ROOT
    for part in MAY_IMPORT:
        (root / part).mkdir(parents=True)
    (root / module).write_text(source)
    assert faults_of(root) == []
