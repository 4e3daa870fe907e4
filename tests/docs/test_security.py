"""SECURITY.md and docs/hostile-input.md are so: every promise and every case has a row, and every test is there."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECURITY, CATALOGUE = "SECURITY.md", "docs/hostile-input.md"
DOCUMENTS = (SECURITY, CATALOGUE)
PROMISES = 14
CASES = 117  # a new one is added at the end
FOLDERS = "fetcher|tests|docs|examples|benchmarks"


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def rows(name: str) -> list[tuple[int, str]]:
    """Each numbered row of a document's tables, as its number and all behind it."""
    found = re.findall(r"^\| (\d+) \|(.*)\|$", text_of(name), re.MULTILINE)
    return [(int(number), rest) for number, rest in found]


def named(text: str) -> list[str]:
    """Everything that a text calls a test."""
    return re.findall(r"`([^`]*::[^`]*)`", text.replace("`make test PYTEST_ARGS='FILE::TEST'`", ""))


def defined(path: Path) -> set[str]:
    """The tests of a file as pytest names them: functions, and methods with their classes."""

    def names(body: list[ast.stmt], before: str) -> set[str]:
        found = set()
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                found |= names(node.body, f"{before}::{node.name}")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(f"{before}::{node.name}")
        return found

    return names(ast.parse(path.read_text("utf-8")).body, path.relative_to(ROOT).as_posix())


def missing(text: str) -> list[str]:
    """What a text calls a test and is none."""
    tests = named(text)
    files = {ROOT / test.partition("::")[0] for test in tests}
    there = {test for file in files if file.is_file() for test in defined(file)}
    return [test for test in tests if test not in there]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_test_that_is_named_is_there(name: str) -> None:
    assert named(text_of(name))
    assert missing(text_of(name)) == []


def test_a_test_that_is_not_there_is_found_out() -> None:
    here = "tests/docs/test_security.py"
    good = f"`{here}::test_every_test_that_is_named_is_there`"
    wrong = [
        f"{here}::test_gone",
        f"{here}::TestGone::test_gone",
        f"{here}::rows",
        "tests/gone.py::test_gone",
    ]
    assert missing(good) == []
    assert missing(" ".join([good, *(f"`{test}`" for test in wrong)])) == wrong


def test_every_promise_has_a_row_with_tests() -> None:
    found = rows(SECURITY)
    assert [number for number, _ in found] == list(range(1, PROMISES + 1))
    assert [number for number, rest in found if not named(rest)] == []


def test_every_promise_has_a_protection_that_is_taken_out_to_see_its_tests_fail() -> None:
    mutants = tomllib.loads(text_of("tests/mutants/mutants.toml"))["mutant"]
    assert {mutant.get("promise", 0) for mutant in mutants} - {0} == set(range(1, PROMISES + 1))


def test_every_case_has_a_row_with_tests_or_the_reason_why_not() -> None:
    found = rows(CATALOGUE)
    assert len(found) >= CASES
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert [number for number, rest in found if not (named(rest) or re.search(r"No test: \w", rest))] == []


def test_every_row_of_the_catalogue_says_case_and_outcome() -> None:
    cells = {number: [cell.strip() for cell in rest.split(" | ")] for number, rest in rows(CATALOGUE)}
    assert [number for number, row in cells.items() if len(row) != 3 or not all(row)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_and_every_path_exists(name: str) -> None:
    text = text_of(name)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    paths = re.findall(rf"`((?:{FOLDERS})/[^`:]*|[A-Z]+\.md)`", text)
    assert paths
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_line_is_longer_than_120_but_in_tables(name: str) -> None:
    assert [line for line in text_of(name).splitlines() if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("leads", ["README.md", "CONTRIBUTING.md"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_readme_and_contributing_lead_there(leads: str, name: str) -> None:
    assert f"]({name})" in text_of(leads)
