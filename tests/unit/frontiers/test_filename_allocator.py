"""Names in the state: given once, to one URL, and never changed."""

import hashlib
import unicodedata
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.frontiers import Place, by_path, claim_all, ended, finish, job, jobs

from fetcher.model import Job
from fetcher.policy.filenames import casefold_key, name_template, parents, sanitized
from fetcher.stores.files import FilesStore


def digits(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:8]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "run", candidate=by_path)


async def named(place: Place, urls: list[str]) -> dict[str, str | None]:
    """The names that these URLs get, listed together and claimed in that order."""
    async with place.session() as frontier:
        await frontier.add(jobs(urls))
        return {job.url: job.path for job in await claim_all(frontier)}


async def named_in_turn(place: Place, urls: list[str]) -> list[str | None]:
    """The names that these URLs get when each is claimed before the next is listed."""
    paths = []
    async with place.session() as frontier:
        for url in urls:
            await frontier.add([job(url)])
            (claimed,) = await claim_all(frontier)
            paths.append(claimed.path)
    return paths


async def test_an_ordinary_url_gets_the_name_that_the_template_gives(place: Place) -> None:
    assert await named(place, ["http://h/a/b.html"]) == {"http://h/a/b.html": "a/b.html"}


@pytest.mark.parametrize(
    ("first", "second", "given", "suffixed"),
    [
        ("http://a/x.html", "http://b/x.html", "x.html", "x~{}.html"),
        ("http://a/Read.txt", "http://b/READ.TXT", "Read.txt", "READ~{}.TXT"),
        ("http://a/d/x", "http://a/D/x", "d/x", "D/x~{}"),
        ("http://a/foo", "http://a/foo/bar", "foo", "foo~{}/bar"),
        ("http://a/foo/bar", "http://a/foo", "foo/bar", "foo~{}"),
        ("http://a/a/b/c", "http://a/a/b", "a/b/c", "a/b~{}"),
        ("http://a/a/b", "http://a/A/B/c", "a/b", "A/B~{}/c"),
    ],
)
async def test_where_two_would_have_one_name_the_first_claimed_keeps_it(
    place: Place, first: str, second: str, given: str, suffixed: str
) -> None:
    wanted = [given, suffixed.format(digits(second))]
    assert await named_in_turn(place, [first, second]) == wanted


async def test_names_that_differ_in_normal_form_only_are_one_name(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    names = {"http://a/1": composed, "http://a/2": decomposed}
    place = Place(tmp_path / "run", candidate=lambda job: names[job.url])
    assert await named_in_turn(place, list(names)) == [composed, f"{decomposed}~{digits('http://a/2')}"]


async def test_folders_that_differ_in_case_only_do_not_clash(place: Place) -> None:
    paths = await named_in_turn(place, ["http://a/d/1", "http://a/D/2", "http://a/d/3"])
    assert paths == ["d/1", "D/2", "d/3"]


async def test_the_suffix_is_the_urls_own_whatever_else_is_listed(tmp_path: Path) -> None:
    url = "http://b/x.html"
    for number, others in enumerate(
        (["http://a/x.html"], ["http://c/X.html", "http://a/x.html", "http://d/y"])
    ):
        place = Place(tmp_path / str(number), candidate=by_path)
        assert (await named_in_turn(place, [*others, url]))[-1] == f"x~{digits(url)}.html"


async def test_requests_that_differ_in_method_or_body_get_names_of_their_own(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add([job("http://a/x"), *(job("http://a/x", body=str(n)) for n in range(5))])
        paths = [job.path for job in await claim_all(frontier)]
    assert paths[:2] == ["x", f"x~{digits('http://a/x')}"]
    assert len({casefold_key(path or "") for path in paths}) == 6


async def test_a_thousand_urls_with_one_name_are_all_told_apart(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", candidate=lambda job: "Same/Name.txt" if job.id % 2 else "same/name.TXT")
    paths = await named(place, [f"http://h{n % 7}/{n}" for n in range(1000)])
    assert len({casefold_key(path or "") for path in paths.values()}) == 1000
    assert sum(path in {"Same/Name.txt", "same/name.TXT"} for path in paths.values()) == 1
    assert all(path and "~" in path for path in paths.values() if len(path or "") > 13)


async def test_what_was_given_stays_over_every_session_and_outcome(place: Place) -> None:
    urls = ["http://a/x", "http://b/x", "http://c/x", "http://a/y"]
    first = await named(place, urls)
    async with place.session(complete=True) as frontier:
        assert {job.url: job.path for job in await claim_all(frontier)} == first
    await place.run(state="failed")
    async with place.session(retry_failed=True) as frontier:
        assert {job.url: job.path for job in await finish(frontier)} == first
    for mode in ({"refresh": True}, {"restart": True}):
        async with place.session(**mode) as frontier:
            await frontier.add(jobs(reversed(urls)))
            assert {job.url: job.path for job in await finish(frontier)} == first


async def test_a_kill_between_claim_and_settle_changes_no_name(place: Place) -> None:
    urls = [f"http://{host}/{path}" for host in "abc" for path in ("x", "X", "d", "d/e", "d/e/f")]
    async with place.session() as frontier:
        await frontier.add(jobs(urls))
        claimed = await frontier.claim(6, per_host=10, now=0.0)
        left = place.killed()
        later = await claim_all(frontier)
    paths = {job.url: job.path for job in [*claimed, *later]}
    async with left.session() as frontier:
        again = {job.url: job.path for job in await claim_all(frontier)}
    assert {url: again[url] for url in (job.url for job in claimed)} == {job.url: job.path for job in claimed}
    assert again == paths


async def test_after_a_restart_a_new_url_does_not_get_a_name_that_is_taken(place: Place) -> None:
    await place.run(jobs(["http://a/x", "http://a/d/e"]))
    async with place.session(restart=True) as frontier:
        await frontier.add(jobs(["http://b/x", "http://b/D"]))
        paths = {job.url: job.path for job in await claim_all(frontier)}
    assert paths == {"http://b/x": f"x~{digits('http://b/x')}", "http://b/D": f"D~{digits('http://b/D')}"}


async def test_a_column_wins_over_the_template_and_is_made_safe(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", candidate=name_template("{host}/{path}", date="2026-01-01"))
    async with place.session() as frontier:
        await frontier.add(
            [
                job("http://a/1", name="mine.txt"),
                job("http://a/2", name="../../etc/passwd"),
                job("http://a/3", name="MINE.TXT"),
                job("http://a/4"),
                job("http://a/5", name=".fetcher/state.db"),
            ]
        )
        paths = [job.path for job in await claim_all(frontier)]
    assert paths[0] == "mine.txt"
    assert paths[1] == sanitized("../../etc/passwd")
    assert paths[2] == f"MINE~{digits('http://a/3')}.TXT"
    assert paths[3] == "a/4"
    assert paths[4] == sanitized(".fetcher/state.db")
    assert all(
        path and path[0] != "/" and not {"..", ".fetcher"}.intersection(path.split("/")) for path in paths
    )


async def test_an_index_in_the_template_is_the_jobs_number(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", candidate=name_template("{index}", date="2026-01-01"))
    assert await named(place, ["http://a/x", "http://a/y"]) == {"http://a/x": "1", "http://a/y": "2"}


async def test_a_line_that_is_no_url_gets_no_name(place: Place) -> None:
    async with place.session() as frontier:
        await frontier.add([job("not a url")])
        (claimed,) = await claim_all(frontier)
    assert claimed.path is None
    assert place.rows("SELECT count(*) FROM name") == [(0,)]


async def test_without_names_nothing_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path / "run")
    assert await named(place, ["http://a/x"]) == {"http://a/x": None}


# ---- files that the state does not know ----


async def test_a_file_that_stood_there_is_foreign_to_the_url_that_gets_its_name(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", candidate=by_path, existing={"x"}.intersection)
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/x", "http://a/y"]))
        claimed = {job.url: job for job in await claim_all(frontier)}
    assert claimed["http://a/x"].is_foreign
    assert claimed["http://a/x"].path == "x"
    assert not claimed["http://a/y"].is_foreign


async def test_the_store_tells_files_links_and_folders_that_stood_there(tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    (root / "file").write_text("theirs")
    (root / "dangling").symlink_to("nowhere")
    (root / "folder").mkdir()
    store = FilesStore(root, parts=root / ".fetcher" / "parts", overwrite=False, mtime=False, fsync=False)
    place = Place(root, candidate=by_path, existing=store.existing)
    async with place.session() as frontier:
        await frontier.add(jobs(f"http://a/{name}" for name in ("file", "dangling", "folder", "free")))
        foreign = {job.path: job.is_foreign for job in await claim_all(frontier)}
    await store.aclose()
    assert foreign == {"file": True, "dangling": True, "folder": True, "free": False}


async def test_the_store_is_asked_once_for_a_claim_and_never_inside_a_transaction(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def existing(paths: Collection[str]) -> Collection[str]:
        assert not frontier._db.in_transaction
        asked.append(list(paths))
        return ()

    place = Place(tmp_path / "run", candidate=by_path, existing=existing)
    async with place.session() as frontier:
        await frontier.add(jobs(f"http://{host}/{number}" for host in "ab" for number in range(20)))
        claimed = await frontier.claim(100, per_host=100, now=0.0)
        assert [sorted(paths) for paths in asked] == [sorted(job.path or "" for job in claimed)]
        assert len(set(asked[0])) == 40


async def test_that_a_file_was_foreign_is_remembered_after_a_kill_and_forgotten_once_it_is_ours(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path / "run", candidate=by_path, existing={"x"}.intersection)
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/x"]))
        assert (await claim_all(frontier))[0].is_foreign
        place = place.killed()
    async with place.session() as frontier:
        (claimed,) = await claim_all(frontier)
        assert claimed.is_foreign
        await frontier.settle([ended(claimed, path="x~stored")])
    async with place.session(refresh=True) as frontier:
        await frontier.add(jobs(["http://a/x"]))
        (claimed,) = await claim_all(frontier)
    assert (claimed.path, claimed.is_foreign) == ("x~stored", False)
    assert claimed.cached is not None
    assert claimed.cached.path == "x~stored"


async def test_a_file_of_ours_that_a_kill_left_unsettled_is_not_foreign(tmp_path: Path) -> None:
    standing: set[str] = set()
    place = Place(tmp_path / "run", candidate=by_path, existing=standing.intersection)
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/x"]))
        (claimed,) = await claim_all(frontier)
        standing.add(claimed.path or "")  # stored, and then the process was killed
        place = place.killed()
    async with place.session() as frontier:
        (claimed,) = await claim_all(frontier)
    assert (claimed.path, claimed.is_foreign) == ("x", False)


@pytest.mark.parametrize("is_killed", [True, False])
async def test_what_a_user_put_in_the_place_of_a_failed_url_is_foreign_when_it_is_tried_again(
    tmp_path: Path, is_killed: bool
) -> None:
    standing: set[str] = set()
    place = Place(tmp_path / "run", candidate=by_path, existing=standing.intersection)
    async with place.session() as frontier:
        await frontier.add(jobs(["http://a/x"]))
        (claimed,) = await claim_all(frontier)
        await frontier.settle([ended(claimed, "failed")])
        left = place.killed()
    place = left if is_killed else place
    standing.add("x")
    async with place.session(retry_failed=True) as frontier:
        await frontier.add(jobs(["http://a/x"]))
        (claimed,) = await claim_all(frontier)
    assert (claimed.path, claimed.is_foreign) == ("x", True)


async def test_what_a_user_put_in_the_place_of_a_refused_url_is_foreign_when_it_is_asked_for_again(
    tmp_path: Path,
) -> None:
    standing: set[str] = set()
    place = Place(tmp_path / "run", candidate=by_path, existing=standing.intersection)
    await place.run(jobs(["http://a/x"]), "refused")
    standing.add("x")
    async with place.session(refresh=True) as frontier:
        await frontier.add(jobs(["http://a/x"]))
        (claimed,) = await claim_all(frontier)
    assert (claimed.path, claimed.is_foreign) == ("x", True)


async def test_names_by_the_thousand_are_kept_through_kills_and_given_once(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", candidate=by_path)
    urls = [f"http://{host}/{number % 3000}" for number in range(6000) for host in "ab"[number // 3000]]
    given: dict[str, str | None] = {}
    for start in range(0, 6000, 1500):
        async with place.session() as frontier:
            await frontier.add(jobs(urls[: start + 1500]))
            for claimed in await claim_all(frontier):
                assert given.setdefault(claimed.url, claimed.path) == claimed.path
            left = place.killed()
        place = left
    check_apart([path or "" for path in given.values()])
    assert sum("~" in (path or "") for path in given.values()) == 3000
    await place.run()
    assert place.rows("SELECT count(*) FROM naming") == [(0,)]
    assert dict(place.rows("SELECT url, path FROM url")) == given


# ---- any names ----

SEGMENT = st.sampled_from(["a", "A", "b", "é", "e\u0301", "É", "c.txt", "C.TXT", "index.html"])
PATHS = st.lists(st.lists(SEGMENT, min_size=1, max_size=4).map("/".join), min_size=1, max_size=15)


def check_apart(paths: list[str]) -> None:
    files = [casefold_key(path) for path in paths]
    folders = {casefold_key(folder) for path in paths for folder in parents(path)}
    assert len(set(files)) == len(files), "two URLs write one file"
    assert not folders.intersection(files), "a file stands where a folder is needed"


@settings(max_examples=60, deadline=None)
@given(
    candidates=PATHS,
    ends=st.dictionaries(st.integers(0, 14), st.sampled_from(["left", "killed"]), max_size=4),
)
@example(candidates=["a", "a/b", "a/b/c", "A/B", "a"], ends={})
@example(candidates=["a/b", "A", "a", "a/B/c", "a/b"], ends={0: "killed", 2: "left", 3: "killed"})
async def test_whatever_names_are_wanted_no_two_urls_share_a_file_and_no_file_stands_for_a_folder(
    candidates: list[str], ends: dict[int, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`ends` says after which URLs a session ends, and how."""
    by_url = {f"http://h/{number}": path for number, path in enumerate(candidates)}
    place = Place(tmp_path_factory.mktemp("names") / "run", candidate=lambda job: by_url[job.url])
    paths: dict[str, str | None] = {}
    wanted = list(enumerate(by_url))
    while wanted:
        async with place.session() as frontier:
            end = None
            while wanted and end is None:
                number, url = wanted.pop(0)
                await frontier.add([job(url)])
                for claimed in await claim_all(frontier):
                    assert paths.setdefault(claimed.url, claimed.path) == claimed.path
                end = ends.get(number)
            left = place.killed() if end == "killed" else place
        place = left
    check_apart([path or "" for path in paths.values()])
    assert paths["http://h/0"] == candidates[0]


def deep(number: int) -> Callable[[Job], str]:
    return lambda job: f"d{job.id % number}/" + "x/" * 100 + "f"


async def test_more_folders_than_are_remembered_are_still_folders(tmp_path: Path) -> None:
    place = Place(tmp_path / "run", candidate=deep(300))
    paths = await named(place, [f"http://h/{n}" for n in range(600)])
    check_apart([path or "" for path in paths.values()])
    folders = place.rows("SELECT count(*) FROM name WHERE url = 0")[0][0]
    assert folders == 300 * 101
