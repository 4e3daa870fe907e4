"""What `fetcher status` says of a report."""

from __future__ import annotations

from typing import Any

from fetcher.cli.status import lines_of
from fetcher.frontiers.sqlite.report import Report


def report(**more: Any) -> Report:
    states = {"pending": 0, "done": 1200, "unchanged": 0, "failed": 3, "refused": 0}
    fields: dict[str, Any] = {
        "directory": "site",
        "command": "crawl",
        "created": "2026-01-01T00:00:00Z",
        "states": states,
        "hosts": {"a.example:443": {"done": 1200, "failed": 3}},
        "errors": {"http-status": 3},
        "bytes": 2048,
        "sessions": 1,
        "is_resumable": False,
        **more,
    }
    return Report(**fields)


def test_a_crawl_is_counted_by_depth_and_by_what_rules_left_out() -> None:
    depths = {1: {"done": 1199, "failed": 2}, 0: {"done": 1}, 2: {"failed": 1}}
    lines = lines_of(report(depths=depths, left_out={"scope": 12345, "depth": 6, "exclude": 0}))
    assert lines == [
        "site: 1,203 URLs, 2.0 KB, begun 2026-01-01T00:00:00Z",
        "  complete",
        "",
        "by state",
        "  done                        1,200",
        "  failed                          3",
        "",
        "by depth          done      failed",
        "  0                  1           0",
        "  1              1,199           2",
        "  2                  0           1",
        "",
        "by error",
        "  http-status                     3",
        "",
        "left out, by rule",
        "  scope                      12,345",
        "  depth                           6",
        "",
        "by host",
        "  a.example:443                            1,200 done, 3 failed",
    ]


def test_a_batch_has_neither_depths_nor_what_was_left_out() -> None:
    text = "\n".join(lines_of(report(command="get")))
    assert "depth" not in text
    assert "left out" not in text


def test_whether_it_can_be_resumed_is_said_unless_it_is_running() -> None:
    waiting = report(is_resumable=True, states={"pending": 1, "done": 3})
    assert lines_of(waiting)[1] == "  can be resumed: run the same command again"
    assert lines_of(report(is_resumable=True))[1].startswith(
        "  was stopped, and nothing waits: the same command"
    )
    assert lines_of(report(is_resumable=True, running=5))[1] == "  running now, process 5"


def test_the_names_of_the_directory_and_of_hosts_are_escaped() -> None:
    text = "\n".join(lines_of(report(directory="a\x1b[2Jb", hosts={"\x1b]0;x:80": {"done": 1}})))
    assert "\x1b" not in text
