"""The container: who runs in it, where its data is, and how its health is told."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import text_of
from support.program import Program
from support.site import Site

TEXT = text_of("Containerfile")
LAST = TEXT[TEXT.rindex("\nFROM ") :]


def value_of(instruction: str) -> str:
    [found] = re.findall(rf"^{instruction} (.*)$", LAST, re.MULTILINE)
    return found


def test_it_runs_as_a_user_of_its_own_with_its_data_in_a_volume() -> None:
    assert value_of("USER") == "fetcher"
    assert "-o fetcher -g fetcher /data" in value_of("RUN")
    assert value_of("VOLUME") == value_of("WORKDIR") == "/data"
    assert value_of("ENTRYPOINT") == '["fetcher"]'
    assert LAST.index("\nUSER ") < LAST.index("\nENTRYPOINT ")


@pytest.mark.parametrize("variables", [{}, {"FETCHER_OUTPUT": "else where"}])
def test_its_health_is_that_there_is_a_run(
    program: Program, site: Site, tmp_path: Path, variables: dict[str, str]
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "fetcher").write_text(f'#!/bin/sh\nexec {sys.executable} -m fetcher "$@"\n')
    (folder / "fetcher").chmod(0o755)
    check = value_of("HEALTHCHECK").partition(" CMD ")[2]

    def health() -> int:
        path = f"{folder}:{program.environment['PATH']}"
        environment = {**program.environment, **variables, "PATH": path}
        return subprocess.run(
            ["/bin/sh", "-c", check], cwd=program.folder, env=environment, capture_output=True, timeout=60
        ).returncode

    assert health() != 0
    assert program.run("get", site.url("/p/0"), variables=variables).code == 0
    assert health() == 0
