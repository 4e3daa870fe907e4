"""A rehearsal of a small site: killed, continued, judged; and what the judge says of a directory that was harmed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.program import records

from fetcher.rehearsal.judgement import judge
from fetcher.rehearsal.rehearsal import Course, Rehearsal
from fetcher.rehearsal.rehearsed_job import RehearsedJob, rehearsed_job
from fetcher.rehearsal.trouble_site import TroubleSite
from fetcher.settings import build

KINDS = ("/ok/", "/fail/1", "/cut/", "/loop", "/surplus", "/name/", "/odd/empty", "nonsense")


class Rehearsed:
    """A rehearsal that has ended."""

    def __init__(self, site: TroubleSite, folder: Path, job: RehearsedJob, course: Course) -> None:
        self.site, self.folder, self.job, self.course = site, folder, job, course
        self.said: list[str] = []

    def lost(self, output: Path) -> set[str]:
        return {loss.what for loss in judge(self.site, output, self.course, self.job).lost}


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsed]:
    folder = tmp_path_factory.mktemp("rehearsal")
    with TroubleSite(5, crawl=False) as site:
        site.planned = [one for one in site.planned if any(kind in one.url for kind in KINDS)]
        lines = [f'{{"url": "{one.url}"}}\n' for one in site.planned]
        (folder / "list.jsonl").write_text("".join(lines))
        settings = build({"concurrency": 4, "user": "me:secret", "retries": 1, "min_free": 0})
        job = rehearsed_job(
            settings, "get", listing=folder / "list.jsonl", output=folder / "out", resolve=site.resolve
        )
        said: list[str] = []
        rehearsal = Rehearsal(site, folder, job, seed=5, kills=2, limit_s=60, say=said.append)
        made = Rehearsed(site, folder, job, rehearsal.run())
        made.said = said
        yield made


def test_it_was_killed_went_on_and_lost_nothing(rehearsed: Rehearsed) -> None:
    course = rehearsed.course
    assert (course.kills, len(course.starts), course.is_over) == (2, 3, True)
    assert [line.split()[2] for line in rehearsed.said] == ["killed", "killed", "ended"]
    judged = judge(rehearsed.site, rehearsed.folder / "out", course, rehearsed.job)
    assert judged.lost == []
    assert judged.pending == 0
    assert judged.urls == judged.records == len(rehearsed.site.planned)
    assert judged.whole > 30
    cost = judged.cost
    assert cost.requests == cost.first + cost.again_by_retry + cost.again_after_kill
    assert cost.first == len({(hit.host_header, hit.target) for hit in rehearsed.site.log})
    assert cost.again_by_retry + cost.again_after_kill > 0
    assert judged.kinds["cut"].ended == {"failed: connection-lost": 3}
    assert judged.kinds["listed"].ended == {"refused: bad-url": 1}
    assert "secret" not in "".join(path.read_text("latin-1") for path in rehearsed.folder.glob("*.*"))


def spoil_file(out: Path) -> None:
    path = out / next(record["path"] for record in records(out) if "/ok/" in record["url"])
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def remove_file(out: Path) -> None:
    (out / next(record["path"] for record in records(out) if "/ok/" in record["url"])).unlink()


def cut_records(out: Path) -> None:
    path = out / "results.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))


def repeat_record(out: Path) -> None:
    path = out / "results.jsonl"
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])


def add_file(out: Path) -> None:
    (out / "nobody's").write_bytes(b"x")


def take_for_whole(out: Path) -> None:
    path = out / "results.jsonl"
    lines = path.read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if "/cut/" in line)
    lines[number] = lines[number].replace('"state":"failed"', '"state":"done"')
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (spoil_file, {"changed", "is not what was served"}),
        (remove_file, {"missing", "has no file"}),
        (cut_records, {"journal-short", "no-record", "has no record and is not pending"}),
        (repeat_record, {"journal-long", "has two records"}),
        (add_file, {"unknown"}),
        (take_for_whole, {"was taken for whole"}),
    ],
)
def test_what_was_harmed_is_told_as_lost(
    rehearsed: Rehearsed, tmp_path: Path, harm: Callable[[Path], None], what: set[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(rehearsed.folder / "out", out)
    harm(out)
    assert rehearsed.lost(out) >= what


def test_what_is_fetched_again_though_it_had_ended_is_told(rehearsed: Rehearsed) -> None:
    last = rehearsed.course.starts[-1]
    hits = rehearsed.site.log[last.first : last.first + last.requests]
    urls = {f"http://{hit.host_header}{hit.target}" for hit in hits}
    course = Course(starts=[last], elapsed=1, is_over=True, memory=0)
    before, last.had_ended = last.had_ended, frozenset(urls)
    try:
        judged = judge(rehearsed.site, rehearsed.folder / "out", course, rehearsed.job)
    finally:
        last.had_ended = before
    assert [loss.what for loss in judged.lost] == ["were fetched again although they had ended"]


@pytest.mark.parametrize("crawl", [False, True])
def test_a_seed_gives_the_same_site_and_the_same_kills(tmp_path: Path, crawl: bool) -> None:
    def made(seed: int) -> tuple[object, ...]:
        with TroubleSite(seed, crawl=crawl) as site:
            port = site.resolve[0][1]
            job = rehearsed_job(build({}), "get", listing=tmp_path, output=tmp_path, resolve=())
            rehearsal = Rehearsal(site, tmp_path, job, seed=seed, kills=4, limit_s=60, say=print)
            planned = [(one.url.replace(str(port), "PORT"), one.body) for one in site.planned]
            return rehearsal._kills, planned

    assert made(3) == made(3)
    assert made(3) != made(4)
