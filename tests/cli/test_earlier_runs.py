"""Run directories that an earlier version made: this one continues and refreshes them.

`tests/data/earlier_runs.tar.xz` has them; the script beside it says how each was made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.earlier_site import (
    BROKEN,
    FOREIGN,
    NO_URL,
    ORIGIN,
    EarlierSite,
    crawl_pages,
    get_pages,
    urls,
)
from support.program import Program, by_url, records, stored, write_list

ARCHIVE = Path(__file__).parent.parent / "data" / "earlier_runs.tar.xz"
UNDER_WAY = {"killed", "interrupted", "crawl"}
ALL = sorted({"finished", *UNDER_WAY})
GET = ("get", "-i", "urls.txt", "-o")


@pytest.fixture
def site() -> Iterator[EarlierSite]:
    with EarlierSite() as site:
        yield site
    assert not site.errors


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program beside the directories."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    write_list(tmp_path / "urls.txt", urls())
    return Program(tmp_path)


def command_of(name: str, site: EarlierSite) -> tuple[str, ...]:
    command = ("crawl", f"{ORIGIN}/c/0", "-o", name) if name == "crawl" else (*GET, name)
    return *command, *site.proxy


def ask(out: Path, statement: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(out / ".fetcher" / "state.db")) as db:
        return db.execute(statement).fetchall()


def names_of(out: Path) -> dict[str, str]:
    """The names that URLs were given, those that did not move to their rows yet included."""
    by_id: dict[int, str] = dict(ask(out, "SELECT id, url FROM url"))
    named: dict[str, str] = dict(ask(out, "SELECT url, path FROM url WHERE path IS NOT NULL"))
    for (text,) in ask(out, "SELECT given FROM naming"):
        named |= {by_id[owner]: path for _, owner, path, _ in json.loads(text) if path}
    return named


def assert_complete(out: Path, named: dict[str, str]) -> None:
    """Every page has its file, under the name that it was given, and the record that is true of it."""
    found, files = by_url(out), stored(out)
    pages = crawl_pages() if out.name == "crawl" else get_pages()
    assert {path.removeprefix(ORIGIN) for path in found} - {"/missing", NO_URL} == set(pages)
    for path, body in pages.items():
        record = found[ORIGIN + path]
        assert record["state"] in {"done", "unchanged"}
        assert record["sha256"] == hashlib.sha256(body).hexdigest()
        assert files[record["path"]].read_bytes() == body
    now = names_of(out)
    for url, name in named.items():
        if name != FOREIGN:  # whose file stands beside the user's
            assert now[url] == name
    if out.name != "crawl":
        assert (out / FOREIGN).read_text() == "mine\n"
        assert found[BROKEN]["state"] == "failed"
        assert found[NO_URL]["state"] == "refused"


@pytest.mark.parametrize("name", ALL)
def test_the_status_of_an_earlier_directory_can_be_read(program: Program, name: str) -> None:
    status = program.run("status", name, "--json")
    assert status.code == 0, status.err
    report = json.loads(status.out)
    assert report["is_resumable"] == (name in UNDER_WAY)
    assert report["states"]["done"] == sum(r["state"] == "done" for r in records(program.folder / name))


@pytest.mark.parametrize("name", ALL)
def test_an_earlier_directory_is_continued_and_what_was_settled_is_kept(
    program: Program, site: EarlierSite, name: str
) -> None:
    out = program.folder / name
    before, named = records(out), names_of(out)
    assert bool(ask(out, "SELECT 1 FROM naming")) == (name in UNDER_WAY)
    assert not ask(out, "SELECT 1 FROM sqlite_master WHERE name = 'part'")
    assert before
    if name in UNDER_WAY:  # as if the kill had come between a file and its settling: it is ours, by its name
        left = next(n for u, n in named.items() if u not in by_url(out) and n != FOREIGN)
        (out / left).parent.mkdir(parents=True, exist_ok=True)
        (out / left).write_text("not settled")

    done = program.run(*command_of(name, site))

    assert done.code == (0 if name == "crawl" else 1), done.err
    assert records(out)[: len(before)] == before
    assert len(by_url(out)) == len(records(out)), "a URL has two records"
    assert not site.asked().keys() & {record["url"].removeprefix(ORIGIN) for record in before}
    assert_complete(out, named)
    assert ask(out, "SELECT 1 FROM sqlite_master WHERE name = 'part'")
    assert not ask(out, "SELECT 1 FROM naming")


@pytest.mark.parametrize("name", ALL)
def test_an_earlier_directory_is_refreshed_by_its_validators_under_the_names_it_has(
    program: Program, site: EarlierSite, name: str
) -> None:
    out = program.folder / name
    was_done = {record["url"] for record in records(out) if record["state"] == "done"}
    named = names_of(out)

    done = program.run(*command_of(name, site), "--refresh")

    assert done.code == (0 if name == "crawl" else 1), done.err
    assert set(site.asked().values()) == {1}
    found = by_url(out)
    assert {found[url]["state"] for url in was_done} == {"unchanged"}
    assert sum(record["state"] == "unchanged" for record in records(out)) == len(was_done)
    assert_complete(out, named)
