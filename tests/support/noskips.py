"""A pytest plugin: tests marked with a program are skipped where that is missing; with `--no-skips` none may be.

Loaded by name (`-p support.noskips`), with this folder's parent on PYTHONPATH. A test that is expected to
fail (xfail) is not a skip.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator

import pytest

# Each is a marker of its name (pyproject.toml), and `.ci/run` installs it.
PROGRAMS = ("nginx", "strace", "zsh", "fish")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test has failed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for name in PROGRAMS:
        if shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") is None:
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=f"{name} is not installed"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        _forbid(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid(report, collector.config)
    return report


def _forbid(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    if report.skipped and config.getoption("--no-skips"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and here nothing may be: {reason}"
