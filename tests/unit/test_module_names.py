"""One name, one thing: no module name and no public class name stands in two places."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import fetcher

PACKAGE = Path(fetcher.__file__).parent

# Each of these means the same in every folder that has it.
SAME_EVERYWHERE = frozenset(
    {
        "__init__",
        "__main__",
        "backend",  # of one library, in its folder of `backends/`
        "connection",
        "errors",
        "head",
    }
)
NAMED_BY_USERS = frozenset({"cli", "workloads"})  # commands and workloads: `run`, `config`, `http`
SAME_CLASS = frozenset({"Body"})  # the port, and the class that the engine has for it


def shared_names(places: Iterable[tuple[str, Path]]) -> list[str]:
    """Each name that stands in more than one place, with its places."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, path in places:
        found[name].append(path.as_posix())
    return [f"{name}: {', '.join(sorted(where))}" for name, where in sorted(found.items()) if len(where) > 1]


def modules_of(package: Path) -> list[tuple[str, Path]]:
    """Every module whose name must be its own, but for those that users name."""
    paths = [path.relative_to(package) for path in sorted(package.rglob("*.py"))]
    return [
        (path.stem, path)
        for path in paths
        if path.stem not in SAME_EVERYWHERE and not NAMED_BY_USERS & set(path.parts)
    ]


def classes_of(package: Path) -> list[tuple[str, Path]]:
    """Every public class at the top of a module."""
    return [
        (node.name, path.relative_to(package))
        for path in sorted(package.rglob("*.py"))
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name not in SAME_CLASS
    ]


def test_no_module_name_stands_in_two_folders() -> None:
    assert shared_names(modules_of(PACKAGE)) == []


def test_no_public_class_name_stands_in_two_modules() -> None:
    assert shared_names(classes_of(PACKAGE)) == []


def test_a_name_that_stands_twice_is_told_with_both_places(tmp_path: Path) -> None:
    for path in (
        "policy/names.py",
        "backends/names.py",
        "cli/config.py",
        "config.py",
        "a/errors.py",
        "b/errors.py",
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("class Names: ...\nclass _Own: ...\n" if "names" in path else "")
    assert shared_names(modules_of(tmp_path)) == ["names: backends/names.py, policy/names.py"]
    assert shared_names(classes_of(tmp_path)) == ["Names: backends/names.py, policy/names.py"]
