"""From an entry to a job: through the gate, or refused with its reason."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.frontiers import MEMORY, Place, claim_all, ended

from fetcher.engine.job_factory import JobFactory
from fetcher.frontiers.memory import MemoryFrontier
from fetcher.model import Entry, Job, Record, RequestOverrides
from fetcher.ports import Frontier, Source
from fetcher.sources.file_source import FileSource
from fetcher.sources.iterables import IterableSource

CANARY = "canary-5f3759df"


def job_of(url: str = "http://h/p", **columns: Any) -> Job:
    return JobFactory().job_of(Entry(url, **columns))


def refusal(job: Job) -> str:
    """The message of a job that was refused as a bad entry."""
    assert job.target is None
    assert job.refusal is not None
    assert job.refusal[0] == "bad-entry"
    return job.refusal[1]


# ---- what is admitted ----


def test_a_url_alone_is_a_job_with_its_target_and_nothing_else() -> None:
    job = job_of("HTTP://H:8080/a b".replace(" ", "%20"), source="list.txt", line=3)
    assert (job.url, job.source, job.line) == ("HTTP://H:8080/a%20b", "list.txt", 3)
    assert job.target is not None
    assert job.target.url == "http://h:8080/a%20b"
    assert job.host == "h:8080"
    assert (job.overrides, job.secret, job.secret_headers, job.refusal, job.rank) == (None,) * 4 + (0,)


def test_the_larger_priority_has_the_smaller_rank() -> None:
    assert [job_of(priority=priority).rank for priority in (5, 0, -5)] == [-5, 0, 5]


def test_every_column_has_its_place() -> None:
    job = job_of(
        name="n.txt",
        sha256="ab" * 32,
        method="put",
        body="é",
        headers={"Accept": "text/html", "X-Api-Key": "k"},
        meta={"k": [1]},
    )
    assert job.overrides == RequestOverrides(
        name="n.txt",
        sha256="ab" * 32,
        method="PUT",
        body="é".encode(),
        headers={"Accept": "text/html"},
        meta={"k": [1]},
    )
    assert job.secret_headers == {"X-Api-Key": "k"}


@pytest.mark.parametrize(
    ("columns", "method", "body"),
    [
        ({}, None, None),
        ({"method": "get", "meta": {"k": 1}}, None, None),
        ({"method": "Head"}, "HEAD", None),
        ({"body": "x"}, "POST", b"x"),
        ({"body": ""}, "POST", b""),
        ({"body": "", "meta": {"k": 1}}, "POST", b""),
        ({"body": "x", "method": "PATCH"}, "PATCH", b"x"),
        ({"body": "x", "method": "GET"}, None, b"x"),
        ({"method": "PROPFIND"}, "PROPFIND", None),
    ],
)
def test_a_body_makes_a_post_unless_a_method_is_given(
    columns: dict[str, Any], method: str | None, body: bytes | None
) -> None:
    extra = job_of(**columns).overrides or RequestOverrides()
    assert (extra.method, extra.body) == (method, body)


@pytest.mark.parametrize(
    ("columns", "method", "body"),
    [
        ({}, "POST", b"run"),
        ({"meta": {"k": 1}}, "POST", b"run"),
        ({"name": "n"}, "POST", b"run"),
        ({"body": "own"}, "POST", b"own"),
        ({"body": ""}, "POST", b""),
        ({"method": "PUT"}, "PUT", b"run"),
        ({"method": "PUT", "body": "own"}, "PUT", b"own"),
    ],
)
def test_what_an_entry_does_not_say_is_the_runs(columns: dict[str, Any], method: str, body: bytes) -> None:
    job = JobFactory("POST", b"run").job_of(Entry("http://h/p", **columns))
    assert job.overrides is not None
    assert (job.overrides.method, job.overrides.body) == (method, body)


# ---- credentials ----


def test_credentials_of_the_url_are_taken_out_of_all_that_is_kept() -> None:
    job = job_of(f"http://user:{CANARY}%21@h/p?q#f", meta={"k": 1})
    assert job.secret == f"user:{CANARY}!"
    assert job.target is not None
    assert job.target.userinfo is None
    assert job.url == "http://user:***@h/p?q#f"
    kept = msgspec.structs.replace(job, secret=None)
    assert CANARY not in repr(kept)


@pytest.mark.parametrize(
    "name", ["Authorization", "COOKIE", "X-Auth-Token", "Api-Key", "Proxy-Authorization"]
)
def test_headers_that_carry_a_credential_by_their_name_are_kept_apart(name: str) -> None:
    job = job_of(headers={name: CANARY, "Accept": "x"})
    assert job.secret_headers == {name: CANARY}
    assert job.overrides == RequestOverrides(headers={"Accept": "x"})


@pytest.mark.parametrize(
    "url",
    [f"ftp://user:{CANARY}@h/", f"http://user:{CANARY}@/", f"user:{CANARY}@h", f"http://u:{CANARY}@h:0/"],
)
def test_a_refused_url_does_not_show_its_password(url: str) -> None:
    job = job_of(url)
    assert job.target is None
    assert CANARY not in repr(job)


# ---- what is refused ----


def test_a_url_that_the_gate_refuses_keeps_its_place_columns_and_reason() -> None:
    job = job_of("example.org/a", source="list", line=4, priority=2, meta={"k": 1}, name="n")
    assert job.target is None
    assert job.refusal is not None
    assert job.refusal[0] == "bad-url"
    assert "https://example.org/a" in job.refusal[1]
    assert job == Job(
        id=0, url="example.org/a", target=None, source="list", line=4, rank=-2, overrides=RequestOverrides(meta={"k": 1}),
        refusal=job.refusal,
    )  # fmt: skip


def test_what_is_wrong_with_a_line_is_said_as_the_source_said_it() -> None:
    job = job_of("{broken", bad="not JSON: it ends too early", line=7)
    assert job.refusal == ("bad-entry", "not JSON: it ends too early")
    assert (job.url, job.line) == ("{broken", 7)


@pytest.mark.parametrize(
    "method", ["CONNECT", "trace", "GET /", "", " ", "a b", "GÉT", "G\nET", "GET\n", "\ud800"]
)
def test_a_method_that_cannot_be_used_is_refused(method: str) -> None:
    job = job_of(method=method, meta={"k": 1})
    if method:
        assert "method" in refusal(job)
    else:
        assert job.target is not None  # an empty column says nothing


@pytest.mark.parametrize(
    "headers",
    [
        {"": "x"},
        {"a b": "x"},
        {"a:": "x"},
        {"é": "x"},
        {"a\r\nb": "x"},
        {"a": "x\r\nInjected: y"},
        {"a": "x\n"},
        {"a": "x\x00"},
        {"Authorization": "Bearer x\r\n"},
    ],
)
def test_a_header_that_could_break_the_request_is_refused(headers: dict[str, str]) -> None:
    message = refusal(job_of(headers=headers))
    assert "header" in message
    assert "\n" not in message
    assert "\r" not in message


def test_a_secret_header_that_is_refused_is_not_shown() -> None:
    assert CANARY not in repr(job_of(headers={"Authorization": f"Bearer {CANARY}\n"}))


def test_text_that_is_not_unicode_is_refused_and_shown_escaped() -> None:
    assert refusal(job_of(body="\ud800")) == "not UTF-8"
    job = job_of("http://h/\udcff")
    assert job.refusal is not None
    assert "UTF-8" in job.refusal[1]
    assert job.url == "http://h/\\udcff"


# ---- anything at all ----

ODD = st.sampled_from(
    ["http://a/", "http://u:p@h/x", "https://é.example/", "ftp://x", "", " ", "GET", "post", "CONNECT", "X-Api-Key",
     "Accept", "a\nb", "\ud800", "\udcff", "\x00", "../../x", "0" * 64]
)  # fmt: skip
TEXT = st.one_of(st.text(st.characters(), max_size=12), ODD)
MAYBE = st.none() | TEXT
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
ENTRY = st.builds(
    Entry, url=TEXT, source=MAYBE, line=st.none() | st.integers(), name=MAYBE, sha256=MAYBE, priority=st.integers(),
    method=MAYBE, body=MAYBE, headers=st.none() | st.dictionaries(TEXT, TEXT, max_size=3),
    meta=st.none() | st.dictionaries(TEXT, VALUE, max_size=3), bad=MAYBE,
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(entry=ENTRY, method=st.sampled_from(["GET", "POST"]), body=st.none() | st.binary(max_size=3))
@example(entry=Entry("http://h/", body="\ud800"), method="GET", body=None)
def test_no_entry_raises_and_each_becomes_a_job_or_a_refusal(
    entry: Entry, method: str, body: bytes | None
) -> None:
    job = JobFactory(method, body).job_of(entry)
    assert (job.target is None) == (job.refusal is not None)
    assert job.url.encode() is not None


async def stored(frontier: Frontier, source: Source) -> Job:
    await frontier.open()
    try:
        async for entries in source:
            await frontier.add([JobFactory().job_of(one) for one in entries])
        (claimed,) = await claim_all(frontier)
        await frontier.settle([ended(claimed, "refused", message=(claimed.refusal or ("", ""))[1])])
    finally:
        await source.aclose()
        await frontier.aclose(complete=True)
    return claimed


async def test_an_input_file_with_a_name_that_is_not_unicode_can_be_stored_and_recorded(
    tmp_path: Path,
) -> None:
    path = tmp_path / "list\udcff.txt"
    path.write_text("http://a/\n")
    claimed = await stored(Place(tmp_path / "run").frontier(), FileSource(str(path)))
    assert claimed.source == f"{tmp_path}/list\\xff.txt"


@settings(max_examples=200, deadline=None)
@given(entry=ENTRY)
@example(entry=Entry("http://h/", priority=2**70, line=2**70))
@example(entry=Entry("http://h/", bad="\ud800"))
@example(entry=Entry("http://h/", name="\ud800", source="\udcff"))
@example(entry=Entry("http://h/", meta={"k": object()}))
def test_whatever_entry_a_program_hands_over_can_be_stored_and_recorded(entry: Entry) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        claimed = asyncio.run(stored(Place(Path(folder, "run")).frontier(), IterableSource([entry])))
    in_memory = asyncio.run(stored(MemoryFrontier(), IterableSource([entry])))
    assert msgspec.json.encode(claimed) == msgspec.json.encode(in_memory)
    msgspec.json.encode(Record(url=claimed.url, source=claimed.source, line=claimed.line))
