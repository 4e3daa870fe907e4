"""The workload `urls`: one list by every backend, on a server that answers by how often it was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.faultserver import Exchange, FaultServer

from fetcher.errors import ConfigError
from fetcher.lab.compare.child_runner import ChildRunner
from fetcher.lab.compare.compare_urls import BACKENDS, compare_urls, installed_backends, percentile, summarize
from fetcher.lab.compare.results import Answer, Measured, Trial
from fetcher.lab.compare.workloads import backend_gets

Reply = Callable[[int], tuple[int, bytes]]
ONCE_MORE = 1  # the round that is not counted


class Counting(FaultServer):
    """Answers `/name` by `replies[name]`, which is told how often the path was asked before."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: dict[str, Reply] = {}
        self.asked: Counter[str] = Counter()
        self._routes.append(("/", self._serve))

    async def _serve(self, x: Exchange) -> None:
        before = self.asked[x.hit.path]
        self.asked[x.hit.path] += 1
        status, body = self.replies[x.hit.path](before)
        await x.answer(status, body=body)


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting() as server:
        yield server
    assert not server.errors


def same(before: int) -> tuple[int, bytes]:
    return 200, b"the same every time"


def compare(server: Counting, paths: list[str], **settings):
    return compare_urls(
        [server.url(path) for path in paths], backend_gets.run, settings=settings, backends=BACKENDS
    )


def test_every_backend_fetches_the_list_once_and_the_first_once_more(counting):
    counting.replies = {"/a": same, "/b": same}
    found = compare(counting, ["/a", "/b"])
    assert [row.model for row in found.rows] == list(BACKENDS)
    assert counting.asked == {"/a": len(BACKENDS) + ONCE_MORE, "/b": len(BACKENDS) + ONCE_MORE}
    assert all(row.rate > 0 and row.wall_s > 0 and not row.failure for row in found.rows)
    assert found.differences == []
    assert all(row.is_equal for row in found.rows)
    assert "all brought the same" in found.conclusion


def test_a_page_that_turns_out_otherwise_for_some_backends_is_a_difference_of_those(counting):
    def turns(before: int) -> tuple[int, bytes]:
        return (200, b"early") if before < 3 else (200, b"later on")  # asyncio twice, curl; then the others

    counting.replies = {"/a": same, "/turns": turns}
    found = compare(counting, ["/a", "/turns"])
    (difference,) = found.differences
    assert difference.url == counting.url("/turns")
    assert difference.fields == ["bytes", "sha256"]
    assert {name: answer.bytes for name, answer in difference.answers.items()} == {
        "asyncio": 5,
        "curl": 5,
        "threads": 8,
        "sync": 8,
    }
    assert {row.model: row.is_equal for row in found.rows} == {
        "asyncio": True,
        "curl": True,
        "threads": False,
        "sync": False,
    }
    assert any(
        note.endswith("asyncio and curl 200, 5 bytes; threads and sync 200, 8 bytes") for note in found.notes
    )
    assert "1 URL came back differently" in found.conclusion


def test_a_page_that_changes_on_every_fetch_is_no_difference_and_is_said_to_change(counting):
    counting.replies = {"/clock": lambda before: (200, f"tick {before}".encode())}
    found = compare(counting, ["/clock"])
    assert found.differences == []
    assert found.changing == [counting.url("/clock")]
    assert "1 page apart that changed between two fetches" in found.conclusion
    assert any("says nothing of backends" in note for note in found.notes)


def test_a_page_that_changes_on_every_fetch_still_differs_by_its_status(counting):
    def clock(before: int) -> tuple[int, bytes]:
        return (404, b"") if before == len(BACKENDS) else (200, b"tick" * before)  # the last to ask is sync

    counting.replies = {"/clock": clock}
    (difference,) = compare(counting, ["/clock"]).differences
    assert difference.fields == ["state", "status", "error"]
    assert difference.answers["sync"].status == 404


def test_errors_are_counted_by_slug_for_each_backend(counting):
    counting.replies = {"/a": same, "/gone": lambda before: (404, b"no")}
    found = compare(counting, ["/a", "/gone", "/cut?at=10&of=100"], retries=0)
    for row in found.rows:
        assert row.details["error http-status"] == 1
        assert row.details["error connection-lost"] == 1
        assert row.details["errors"] == 2
    assert "2 URLs failed on every backend" in found.conclusion


def test_a_backend_that_fails_more_is_told_with_its_number(counting):
    counting.replies = {"/a": lambda before: (200, b"here") if before < len(BACKENDS) else (410, b"")}
    found = compare(counting, ["/a"])
    assert "Failures: 0 on asyncio, 0 on curl, 0 on threads and 1 on sync" in found.conclusion


def test_credentials_of_a_url_are_not_in_what_is_said(counting):
    counting.replies = {"/a": lambda before: (200, b"x" * before if before > 1 else b"")}
    secret = counting.url("/a").replace("//", "//me:hunter2@")
    found = compare_urls([secret], backend_gets.run, backends=("asyncio", "threads"))
    assert len(found.differences) == 1
    assert b"hunter2" not in msgspec.json.encode(found)


def test_only_the_first_urls_are_fetched_and_none_twice(counting):
    counting.replies = {"/a": same, "/b": same, "/c": same}
    pulled = []

    def endless() -> Iterator[str]:
        for path in ("/a", "/a", "/b", "/c"):
            pulled.append(path)
            yield counting.url(path)

    found = compare_urls(endless(), backend_gets.run, limit=2, backends=("threads",))
    assert counting.asked == {"/a": 2, "/b": 2}
    assert pulled == ["/a", "/a", "/b"]
    assert found.parameters["urls"] == 2


def test_the_limits_are_those_of_get_and_those_that_are_given(counting):
    counting.replies = {"/a": same}
    found = compare(counting, ["/a"], per_host=2)
    assert found.parameters["per_host"] == 2
    assert found.parameters["concurrency"] == 64


def test_a_backend_that_cannot_do_what_is_asked_fails_alone(counting):
    counting.replies = {"/a": same}
    found = compare(counting, ["/a"], http="2")
    failed = {row.model: row.failure for row in found.rows if row.failure}
    assert set(failed) == {"asyncio", "threads", "sync"}
    assert all("HTTP" in why or "http" in why for why in failed.values())


def test_no_url_at_all_is_an_error_of_usage():
    with pytest.raises(ConfigError, match="no URL"):
        compare_urls([], backend_gets.run)


def test_a_setting_that_there_is_not_is_an_error_of_usage():
    with pytest.raises(ConfigError, match="perhost"):
        compare_urls(["http://127.0.0.1:9/"], backend_gets.run, settings={"perhost": 3})


def test_a_child_process_brings_what_this_process_does(counting):
    counting.replies = {"/a": same, "/gone": lambda before: (404, b"no")}
    urls = [counting.url("/a"), counting.url("/gone"), "no such scheme"]
    trial = Trial("urls", "threads", urls=urls, settings={"per_host": 1})
    with ChildRunner(limit_s=0.001) as children:  # which is not for the user's own URLs
        there, here = children.measure(trial), backend_gets.run(trial)
    strip = [msgspec.structs.replace(answer, elapsed_s=0) for answer in there.answers]
    assert strip == [msgspec.structs.replace(answer, elapsed_s=0) for answer in here.answers]
    assert [answer.state for answer in there.answers] == ["done", "failed", "refused"]
    assert there.cpu_s > 0
    assert there.peak_bytes > 1_000_000


def test_a_child_that_cannot_fetch_says_why():
    trial = Trial("urls", "nothing", urls=["http://127.0.0.1:9/"])
    with ChildRunner(limit_s=30.0) as children:
        assert children.measure(trial).failure == "backend: there is no 'nothing'"


def test_curl_is_among_the_backends_because_pycurl_is_there():
    assert installed_backends() == list(BACKENDS)


# --- the conclusion, from made-up rounds ------------------------------------------------------------


Rounds = dict[str, Measured]


def rounds(*walls: float, cpu: float = 0.0, elapsed: float = 0.1, number: int = 100) -> Rounds:
    answers = [Answer(f"http://a/{n}", "done", 200, None, 10, "5" * 64, elapsed) for n in range(number)]
    return {
        name: Measured(wall, cpu, 1 << 25, number, answers=list(answers))
        for name, wall in zip(BACKENDS, walls, strict=False)
    }


def said(made: Rounds, **settings: object) -> str:
    first = next(iter(made.values()))
    return summarize([answer.url for answer in first.answers], made, first, settings).conclusion


def test_the_fastest_is_named_with_its_lead():
    assert said(rounds(4, 2, 6, 20)).startswith(
        "Curl was fastest, at 50 URLs/s: 2.0 × as fast as asyncio, 3.0 × threads and 10 × sync."
    )


def test_backends_that_are_close_share_the_first_place():
    assert said(rounds(2.2, 2, 2.1, 20)).startswith(
        "Curl, threads and asyncio were about equally fast, at 50 URLs/s: 10 × as fast as sync."
    )


def test_where_all_are_close_the_choice_makes_no_difference():
    assert said(rounds(2, 2.1, 2.2, 2.25)).startswith("The choice of backend makes no difference here")


@pytest.mark.parametrize(
    ("made", "settings", "expected"),
    [
        (rounds(10, 20, elapsed=0.75), {}, "The limits set the pace: 8 of at most 8"),
        (rounds(10, 20, elapsed=0.4), {}, "On average 4.0 of at most 8"),
        (rounds(10, 20, elapsed=0.4), {"per_host": 4}, "The limits set the pace: 4 of at most 4"),
        (rounds(10, 20, cpu=9.5), {}, "processor set the pace"),
        (rounds(10, 20), {"rate": 10.0}, "The rate that you allow set the pace"),
        (rounds(10, 20), {"delay": 0.1}, "The delay that you allow set the pace"),
        (rounds(10, 20, elapsed=9.0), {}, "One URL alone took 9 s of its 10 s"),
    ],
)
def test_what_set_the_pace_is_read_from_the_figures(made, settings, expected):
    assert expected in said(made, **settings)


def with_one_slow(made: Rounds, slow_s: float, *names: str, syns_resent: int = 0) -> Rounds:
    """One URL took that long on these backends, and the round is that much longer."""
    for name in names:
        one = made[name]
        one.answers[7] = msgspec.structs.replace(one.answers[7], elapsed_s=slow_s)
        one.details = {"syns_resent": float(syns_resent)}
    return made


def test_one_url_that_made_the_difference_is_told_and_does_not_decide_who_was_fastest():
    made = rounds(1.05, 1.06, 1.08, 0.16, elapsed=0.004, number=40)
    text = said(with_one_slow(made, 1.03, "asyncio", "curl", "threads", syns_resent=3))
    assert text.startswith(
        "1 URL of 40 made the difference: 1.03 s on asyncio, curl and threads, where the others took 4 ms at "
        "most. The cause is a connect that was sent again"
    )
    assert "sync was fastest" not in text.lower()
    assert "Without that: Asyncio was fastest" in text
    assert "sync." in text.partition("Without that")[2]


@pytest.mark.parametrize(("slow_s", "syns_resent"), [(1.03, 0), (2.2, 3)])
def test_a_connect_is_named_as_the_cause_only_where_one_was_sent_again_and_the_time_is_its(
    slow_s, syns_resent
):
    made = rounds(slow_s + 0.1, 3 * slow_s, elapsed=0.004, number=40)
    text = said(with_one_slow(made, slow_s, "asyncio", syns_resent=syns_resent))
    assert "1 URL of 40 made the difference" in text
    assert "sent again" not in text


def test_many_slow_urls_are_the_list_and_no_accident():
    made = rounds(1.05, 0.5, elapsed=0.004, number=40)
    for n in range(5):
        made["asyncio"].answers[n] = msgspec.structs.replace(made["asyncio"].answers[n], elapsed_s=1.0)
    assert "made the difference" not in said(made)
    assert "Curl was fastest" in said(made)


@given(
    st.lists(st.floats(0, 1e6), min_size=1).map(sorted),
    st.sampled_from([50, 90, 99, 100]),
)
def test_a_percentile_is_a_value_that_enough_are_not_above(ordered, part):
    value = percentile(ordered, part)
    assert value in ordered
    assert sum(one <= value for one in ordered) >= len(ordered) * part / 100
    assert sum(one < value for one in ordered) < len(ordered) * part / 100


def test_the_latencies_of_a_row_are_in_milliseconds():
    made = rounds(1.0)
    made["asyncio"].answers = [
        msgspec.structs.replace(answer, elapsed_s=(n + 1) / 1000)
        for n, answer in enumerate(made["asyncio"].answers)
    ]
    (row,) = summarize([answer.url for answer in made["asyncio"].answers], made, None, {}).rows
    assert [round(row.details[name], 6) for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms")] == [
        50,
        90,
        99,
        100,
    ]


def test_latencies_and_errors_of_each_backend_are_told(counting):
    counting.replies = {"/gone": lambda before: (404, b"no")}
    notes = compare(counting, ["/gone"]).notes
    assert notes[0].startswith("latency in ms, p50 / p90 / p99 / longest: asyncio ")
    assert notes[1] == (
        "errors: asyncio 1 http-status; curl 1 http-status; threads 1 http-status; sync 1 http-status"
    )


def test_a_url_that_was_refused_has_no_latency():
    made = rounds(1.0, number=2)
    made["asyncio"].answers[0] = Answer("nonsense", "refused", error="bad-url")
    (row,) = summarize(["nonsense", "http://a/1"], made, None, {}).rows
    assert row.details["p50_ms"] == 100


def test_a_backend_that_is_not_there_is_left_out():
    with pytest.raises(ConfigError, match="none-such: not installed"):
        compare_urls(["http://127.0.0.1:9/"], backend_gets.run, backends=["none-such"])
