"""The user's job as it is rehearsed: all of theirs, but what concerns other servers or earlier runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from fetcher import config
from fetcher.policy.filenames import Template
from fetcher.rehearsal.rehearsed_job import columns_of, rehearsed_job
from fetcher.settings import Settings, build

RESOLVE = (("a.test", 80, "127.0.0.1"),)


def rehearse(settings: Settings, command: Any, folder: Path) -> Any:
    return rehearsed_job(
        settings, command, listing=folder / "list.jsonl", output=folder / "out", resolve=RESOLVE
    )


@pytest.mark.parametrize("command", ["get", "crawl"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {
            "max_size": None,
            "timeout": None,
            "rate": 5.0,
            "retry_on": frozenset({429}),
            "name": "{team}/{stem}",
        },
        {
            "ipv6": True,
            "headers": (("Accept", 'text/\\x "quoted"'),),
            "parser": "lib.pages:parse",
            "data": b"a=b",
        },
    ],
)
def test_the_job_file_gives_the_same_settings(tmp_path: Path, command: Any, given: dict[str, Any]) -> None:
    job = rehearse(build(given, command), command, tmp_path)
    path = tmp_path / "job.toml"
    path.write_text(job.toml())
    loaded = config.load_job(path, flags={}, environ={})
    assert loaded.command == command
    assert loaded.effective.settings == job.settings
    changed = {
        key: getattr(job.settings, key)
        for key in job.settings.__struct_fields__
        if getattr(job.settings, key) != getattr(build(given, command), key)
    }
    listed = {
        "input": (str(tmp_path / "list.jsonl"),),
        "input_format": "jsonl",
        "output": str(tmp_path / "out"),
    }
    assert changed == {**listed, "resolve": RESOLVE, "proxy": ""}
    assert job.left_out == ()


def test_what_concerns_other_servers_or_runs_is_left_out_and_told(tmp_path: Path) -> None:
    given = {
        "user": "me:secret",
        "headers": (("X-Key", "secret"), ("Accept", "text/html")),
        "proxy": "http://proxy:3128",
        "private_addresses": "deny",
        "http": "2",
        "retry_failed": True,
    }
    job = rehearse(build(given), "get", tmp_path)
    flags = {"--user", "--header", "--proxy", "--private-addresses", "--http", "--retry-failed"}
    assert set(job.left_out) == flags
    assert "secret" not in job.toml()
    assert job.settings.headers == (("Accept", "text/html"),)


def test_paths_are_absolute_since_the_job_comes_through_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = msgspec.structs.replace(build({}), ca_file="ca.pem", parser="own.py:parse")
    job = rehearse(settings, "get", tmp_path)
    assert job.settings.ca_file == str(tmp_path / "ca.pem")
    assert job.settings.parser == str(tmp_path / "own.py:parse")


def test_the_columns_of_a_template_are_those_that_are_no_fields() -> None:
    assert columns_of("{host}/{team}-{index}{ext}{{x}}/{id}") == ["id", "team"]
    for field in ("host", "path", "stem", "ext", "query", "sha256", "index", "date"):
        Template(f"{{{field}}}", ())
        assert columns_of(f"{{{field}}}") == []
