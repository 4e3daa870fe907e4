"""A run without its fetching: what would be asked for, and that nothing is touched."""

import contextlib
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.frontiers import Place, ended, finish, job, jobs

from fetcher import wiring
from fetcher.dry_run import dry_run
from fetcher.errors import ConfigError, StorageError
from fetcher.model import Added, Entry, Job
from fetcher.policy.filenames import name_template
from fetcher.run_dir import RunDirectory
from fetcher.settings import Command, Settings, make
from fetcher.sources.iterables import IterableSource


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's temporary folder, which must be empty again in the end."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """The run directory, named as a run would name it; not made yet."""
    place = Place(tmp_path / "out", candidate=name_template("{host}/{path}", date="2026-01-01"))
    place.state.parent.rmdir()
    place.root.rmdir()
    return place


def settings_of(place: Place, **settings: Any) -> Settings:
    return msgspec.structs.replace(make({}), output=str(place.root), **settings)


async def rehearsed(
    place: Place, urls: Sequence[Any], command: Command = "get", **settings: Any
) -> tuple[Added, dict[str, Job]]:
    shown: dict[str, Job] = {}

    def show(job: Job) -> None:
        assert job.url not in shown
        shown[job.url] = job

    return await dry_run(settings_of(place, **settings), [IterableSource(urls)], show, command), shown


def tree(root: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))}


async def test_everything_new_is_shown_with_its_name_and_nothing_is_written(place: Place) -> None:
    urls = [
        "http://a/x",
        "http://a/X",
        "http://b/",
        "http://a/x",
        "no url",
        {"url": "http://a/y", "name": "n"},
    ]
    added, shown = await rehearsed(place, urls)
    assert (added.new, added.duplicates) == (5, 1)
    paths = {url: job.path for url, job in shown.items()}
    assert paths["http://a/x"] == "a/x"
    assert paths["http://a/X"] is not None
    assert paths["http://a/X"].startswith("a/X~")
    assert (paths["http://b/"], paths["http://a/y"], paths["no url"]) == ("b/index.html", "n", None)
    assert shown["no url"].refusal is not None
    assert not place.root.exists()


async def test_the_names_are_those_that_the_run_then_gives(place: Place) -> None:
    urls = [f"http://{host}/{path}" for host in ("a", "A.b") for path in ("x", "X", "d", "d/e", "?q=1", "")]
    _, shown = await rehearsed(place, urls)
    place.state.parent.mkdir(parents=True)
    async with place.session() as frontier:
        await frontier.add(jobs(urls))
        assert {job.url: job.path for job in await finish(frontier)} == {
            url: job.path for url, job in shown.items()
        }


async def test_what_an_earlier_run_did_is_counted_and_what_it_left_is_shown(place: Place) -> None:
    place.state.parent.mkdir(parents=True)
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/done", "http://a/failed", "http://a/left"]))
        done, failed, _ = await frontier.claim(3, per_host=3, now=0.0)
        await frontier.settle([ended(done), ended(failed, "failed")])
    before = tree(place.root)
    added, shown = await rehearsed(place, ["http://a/done", "http://a/failed", "http://a/new"])
    assert added.finals == {"done": 1, "failed": 1}
    assert (added.new, added.pending) == (1, 0)
    assert set(shown) == {"http://a/left", "http://a/new"}
    assert tree(place.root) == before


@pytest.mark.parametrize(
    ("flag", "urls"),
    [
        ("refresh", {"http://a/done", "http://a/failed"}),
        ("retry_failed", {"http://a/failed"}),
        ("restart", {"http://a/done", "http://a/failed"}),
    ],
)
async def test_flags_are_rehearsed_and_change_nothing(place: Place, flag: str, urls: set[str]) -> None:
    place.state.parent.mkdir(parents=True)
    await place.run(jobs(["http://a/done"]))
    await place.run(jobs(["http://a/failed"]), state="failed")
    before = tree(place.root)
    _, shown = await rehearsed(place, ["http://a/done", "http://a/failed"], **{flag: True})
    assert set(shown) == urls
    assert tree(place.root) == before


async def test_a_file_that_is_there_is_foreign_in_the_rehearsal_too(place: Place) -> None:
    (place.root / "a").mkdir(parents=True)
    (place.root / "a" / "x").write_text("mine")
    _, shown = await rehearsed(place, ["http://a/x", "http://a/y"])
    assert shown["http://a/x"].is_foreign
    assert not shown["http://a/y"].is_foreign
    assert tree(place.root) == {str(place.root / "a"): None, str(place.root / "a/x"): b"mine"}


async def test_a_run_under_way_is_not_disturbed(place: Place) -> None:
    place.state.parent.mkdir(parents=True)
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/1", "http://a/2"]))
        (got,) = await frontier.claim(1, per_host=1, now=0.0)
        _, shown = await rehearsed(place, ["http://a/3"])
        await frontier.settle([ended(got)])
        assert (await frontier.counts()).done == 1
    assert set(shown) == {"http://a/1", "http://a/2", "http://a/3"}


async def test_without_files_nothing_has_a_name(place: Place) -> None:
    _, shown = await rehearsed(place, ["http://a/x"], store="none")
    assert shown["http://a/x"].path is None


async def test_more_than_one_batch_is_rehearsed(place: Place) -> None:
    added, shown = await rehearsed(place, [f"http://h{n % 3}/{n}" for n in range(3500)])
    assert added.new == len(shown) == 3500


class Broken:
    """A source that fails after its first batch."""

    is_closed = False

    async def __aiter__(self) -> AsyncIterator[Sequence[Entry]]:
        yield [Entry("http://a/1")]
        raise ConfigError("cannot read list.txt")

    async def aclose(self) -> None:
        self.is_closed = True


async def test_a_source_that_fails_ends_the_rehearsal_and_every_source_is_closed(place: Place) -> None:
    sources = [Broken(), Broken()]
    shown: list[Job] = []
    with pytest.raises(ConfigError, match=r"list\.txt"):
        await dry_run(settings_of(place), sources, shown.append)
    assert shown == []
    assert all(source.is_closed for source in sources)
    assert not place.root.exists()


async def test_settings_that_a_run_would_refuse_are_refused(place: Place) -> None:
    with pytest.raises(ConfigError, match="cookies"):
        await rehearsed(place, ["http://a/"], cookies=str(place.root / "missing"))
    with pytest.raises(ConfigError, match="name: bad template"):
        await rehearsed(place, ["http://a/"], name="{nothing")


async def test_the_directory_of_another_command_and_one_with_a_foreign_state_are_refused(
    place: Place,
) -> None:
    place.state.parent.mkdir(parents=True)
    await place.run([job("http://a/")], command="crawl")
    with pytest.raises(ConfigError, match="belongs to fetcher crawl"):
        await rehearsed(place, ["http://a/"])
    place.state.unlink()
    with contextlib.closing(sqlite3.connect(place.state)) as db:
        db.execute("CREATE TABLE photos (name)")
    with pytest.raises(StorageError, match="not a state of this program"):
        await rehearsed(place, ["http://a/"])


async def crawled(place: Place, urls: Sequence[str]) -> None:
    """A crawl that was stopped before it fetched anything."""
    settings = settings_of(place)
    directory = RunDirectory(place.root)
    directory.acquire()
    try:
        store = wiring.make_store(settings, directory)
        frontier = wiring.make_frontier(settings, directory.state, directory.results, store, follows=True)
        await frontier.open()
        await frontier.add(jobs(urls))
        await frontier.aclose(complete=False)
        await store.aclose()
    finally:
        directory.release()


async def test_a_crawl_shows_its_seeds_and_what_is_left_to_do_and_nothing_of_its_own(place: Place) -> None:
    await crawled(place, ["http://a/1", "http://b/2"])
    before = tree(place.root)
    _, shown = await rehearsed(place, ["http://a/1", "http://c/3"], "crawl", sitemaps=True)
    assert set(shown) == {"http://a/1", "http://b/2", "http://c/3"}, "neither robots.txt nor sitemaps"
    assert {job.path for job in shown.values()} == {"a/1", "b/2", "c/3"}
    assert tree(place.root) == before


async def test_the_directory_of_a_crawl_is_refused_to_the_dry_run_of_a_batch(place: Place) -> None:
    await crawled(place, ["http://a/1"])
    with pytest.raises(ConfigError, match="belongs to fetcher crawl, not get"):
        await rehearsed(place, ["http://a/1"])
