"""Mutation testing by hand: take each protection out of a copy of the program, and see its tests fail.

    python tests/mutants/run.py                 # all; a few minutes
    python tests/mutants/run.py 7 per-host      # those of promise 7, and those with "per-host" in their name
    python tests/mutants/run.py --list

`mutants.toml` beside this holds the mutants. Each replaces a text that stands exactly once in `fetcher/`,
wherever that is, and names the tests that must fail then, by their function's name, wherever they are: so
files may be renamed. A test with parameters fails if it fails with any.

The copy has a virtual environment of its own, which takes the libraries from this one and the program from the
copy, so the processes that tests start are mutants too. Before anything is replaced all named tests must pass.

Exit status 1: a mutant survived a test; 2: a mutant does not fit the program, or a test fails without it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import venv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("mutants.toml")
LIMIT_S = 900.0  # for the tests of one mutant
TEST_LIMIT_S = 60  # for one test: what hangs has failed
COPIED = ("fetcher", "tests", "examples", "pyproject.toml", "README.md", "config.example.toml")


class Misfit(Exception):
    """A mutant does not fit the program or its tests."""


@dataclass(frozen=True)
class Mutant:
    """One protection taken out. `promise` is 0 for those that belong to none.

    `also` are further texts to be replaced, where one of two protections alone is enough.
    """

    name: str
    old: str
    new: str
    tests: Sequence[str]
    promise: int = 0
    also: Sequence[Mapping[str, str]] = ()

    @property
    def edits(self) -> list[tuple[str, str]]:
        return [(self.old, self.new), *((edit["old"], edit["new"]) for edit in self.also)]

    def check(self, folder: Path) -> None:
        """Raise `Misfit` unless each old text stands in one place."""
        for old, _ in self.edits:
            self._file_of(old, folder)

    def apply(self, folder: Path) -> None:
        for old, new in self.edits:
            path = self._file_of(old, folder)
            path.write_text(path.read_text().replace(old, new))
            compile(path.read_text(), path, "exec")

    def _file_of(self, old: str, folder: Path) -> Path:
        """The one file of the program that holds the text, once."""
        files = {path: path.read_text().count(old) for path in sorted(folder.glob("fetcher/**/*.py"))}
        number = sum(files.values())
        if number != 1:
            raise Misfit(f"{self.name}: this stands {number} times in fetcher/, not once:\n{old}")
        return next(path for path, times in files.items() if times)


@dataclass
class Copy:
    """A copy of the tree with a virtual environment."""

    folder: Path
    python: Path = field(init=False)

    def __post_init__(self) -> None:
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, self.folder / name)
        home = self.folder / ".venv"
        venv.create(home, with_pip=False, symlinks=True)
        self.python = home / "bin" / "python"
        own = sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)})
        # The first line goes before the second, whose own `.pth` files (an editable install) are not read.
        Path(own, "mutant.pth").write_text(f"{self.folder}\n{sysconfig.get_path('purelib')}\n")

    def failed(self, tests: Sequence[str]) -> set[str]:
        """Run test functions; the names of those that failed. A run that never ends has failed them all."""
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        options = ("-p", "no:cacheprovider", f"--timeout={TEST_LIMIT_S}", f"--junitxml={report}", "--tb=no")
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "tests"), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                [self.python, "-m", "pytest", *options, *tests],
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            return {function(test) for test in tests}
        if done.returncode not in {0, 1} or not report.exists():
            raise Misfit(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        cases = ET.parse(report).iter("testcase")
        return {
            case.get("name", "").partition("[")[0]
            for case in cases
            if case.find("failure") is not None or case.find("error") is not None
        }


def function(test: str) -> str:
    """The function's name of a test's address."""
    return test.rpartition("::")[2]


def read_table() -> list[Mutant]:
    """The mutants, in their order."""
    table = tomllib.loads(TABLE.read_text())["mutant"]
    mutants = [Mutant(**entry) for entry in table]
    names = [mutant.name for mutant in mutants]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise Misfit(f"named twice: {', '.join(sorted(twice))}")
    return mutants


def addresses() -> dict[str, list[str]]:
    """Where each test function is: `file::function`, or `file::Class::function`."""
    found = defaultdict(list)
    for path in sorted(ROOT.glob("tests/**/test_*.py")):
        group = ""
        for line in path.read_text().splitlines():
            if match := re.match(r"class (Test\w*)", line):
                group = f"{match[1]}::"
            elif match := re.match(r"( *)(?:async )?def (test_\w+)", line):
                group = group if match[1] else ""
                found[match[2]].append(f"{path.relative_to(ROOT)}::{group}{match[2]}")
    return found


def look_up(mutant: Mutant, places: dict[str, list[str]]) -> list[str]:
    """The addresses of a mutant's tests."""
    missing = [name for name in mutant.tests if name not in places]
    if missing or not mutant.tests:
        raise Misfit(f"{mutant.name}: there is no test {', '.join(missing) or 'named at all'}")
    return [place for name in mutant.tests for place in places[name]]


def attack(mutant: Mutant, tests: Sequence[str]) -> tuple[set[str], float]:
    """Apply a mutant to a copy of its own. Returns the tests that it survived, and the seconds it took."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Copy(Path(folder))
        mutant.apply(copy.folder)
        return set(mutant.tests) - copy.failed(tests), time.monotonic() - begun


def baseline(tests: Iterable[str]) -> set[str]:
    """The tests that fail without any mutant."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        return Copy(Path(folder)).failed(sorted(set(tests)))


def chosen(mutants: Sequence[Mutant], words: Sequence[str]) -> list[Mutant]:
    """Those whose promise is one of the words, or whose name has one of them in it."""
    return [
        mutant
        for mutant in mutants
        if not words or any(word == str(mutant.promise) or word in mutant.name for word in words)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    options = argparse.ArgumentParser(description="Take each protection out and see its tests fail.")
    options.add_argument("words", nargs="*", help="numbers of promises, or parts of names")
    options.add_argument("--list", action="store_true", help="say which mutants there are")
    options.add_argument("--jobs", type=int, default=2, help="mutants tried at once (2)")
    options.add_argument("--no-baseline", action="store_true", help="take it that the tests pass without any")
    given = options.parse_args(arguments)
    try:
        mutants = chosen(read_table(), given.words)
        places = addresses()
        tests = {mutant.name: look_up(mutant, places) for mutant in mutants}
        for mutant in mutants:
            mutant.check(ROOT)
    except Misfit as misfit:
        print(misfit, file=sys.stderr)
        return 2
    if given.list:
        for mutant in mutants:
            print(f"{mutant.promise or '-':>2}  {mutant.name}")
        return 0
    if not given.no_baseline:
        broken = baseline(test for each in tests.values() for test in each)
        if broken:
            print(f"these fail without any mutant: {', '.join(sorted(broken))}", file=sys.stderr)
            return 2
    status = 0
    with ThreadPoolExecutor(given.jobs) as executor:
        attacks = [executor.submit(attack, mutant, tests[mutant.name]) for mutant in mutants]
        for mutant, attacked in zip(mutants, attacks, strict=True):
            try:
                survived, seconds = attacked.result()
            except (Misfit, SyntaxError) as misfit:
                print(f"misfit    {mutant.name}: {misfit}", flush=True)
                status = 2
                continue
            verdict = "SURVIVED" if survived else "killed"
            by = f": {', '.join(sorted(survived))}" if survived else ""
            print(f"{verdict:8}  {mutant.promise or '-':>2}  {seconds:4.0f} s  {mutant.name}{by}", flush=True)
            if survived and not status:
                status = 1
    return status


if __name__ == "__main__":
    raise SystemExit(main())
