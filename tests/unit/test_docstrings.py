"""The first line of a docstring names a thing or an action, in the field's words."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import fetcher

PACKAGE = Path(fetcher.__file__).parent
LEFT_OUT: tuple[str, ...] = ()

_CLAUSE = re.compile(r"(What|Whether|Where|Who|Whom|Whose|Which|How|When|Why)\b")


def clauses_in(package: Path, left_out: tuple[str, ...]) -> list[str]:
    """Every docstring that begins with a relative clause, as FILE:LINE and its first line."""
    found = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if place.parts[0] in left_out:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            text = ast.get_docstring(node)
            if text is not None and _CLAUSE.match(text):
                found.append(f"{place.as_posix()}:{node.body[0].lineno}: {text.splitlines()[0]}")
    return found


def test_no_docstring_begins_with_a_relative_clause() -> None:
    assert clauses_in(PACKAGE, LEFT_OUT) == []


def test_a_clause_is_found_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    source = (
        '"""Where it is."""\n'
        'class C:\n    """Whatever fits."""\n'
        '    async def f(self):\n        """Whether it is so.\n\n        More."""\n'
    )
    for name in ("a.py", "engine/b.py"):
        (tmp_path / name).write_text(source)
    assert clauses_in(tmp_path, ("engine",)) == ["a.py:1: Where it is.", "a.py:5: Whether it is so."]
