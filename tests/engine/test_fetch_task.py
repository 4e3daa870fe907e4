"""What follows a hop: the end, another attempt, or the next hop of a chain."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.fakeloop import EPOCH, in_virtual_time, virtual_loop
from support.scripted import Answer, fails, redirect, status
from support.stage import Stage

from fetcher.errors import (
    BadEncoding,
    ConnectFailed,
    ConnectionLost,
    NameNotResolved,
    ProtocolBroken,
    StorageError,
    TimedOut,
    TlsRejected,
)
from fetcher.events import HostThrottled, Retrying

A, B, C = "http://a.example/", "http://b.example/", "http://c.example/"
SECURE = "https://s.example/"


@pytest.fixture(params=["memory", "sqlite"])
def make(request: Any, tmp_path: Path) -> Any:
    """Make a stage with either frontier."""
    return partial(Stage, folder=None if request.param == "memory" else tmp_path / "out")


def truncated() -> BadEncoding:
    error = BadEncoding("cut short")
    error.is_truncated = True
    return error


# -- another attempt -----------------------------------------------------------------------------------


@in_virtual_time
async def test_a_failing_status_is_tried_again_after_growing_waits(make):
    stage = make({A: [status(500), status(502), status(504), Answer(body=b"at last")]})
    summary = await stage.run([A])
    assert summary.done == 1
    assert stage.backend.starts(A) == [0.0, 0.25, 0.75, 1.75]
    assert stage.record(A).attempts == 4


@in_virtual_time
async def test_after_the_last_retry_a_url_has_failed_with_the_last_status(make):
    stage = make({A: status(500)}, retries=2)
    summary = await stage.run([A])
    assert summary.failed == 1
    record = stage.record(A)
    assert (record.error, record.status, record.attempts) == ("http-status", 500, 3)
    assert record.message == "HTTP 500"
    assert summary.requests == len(stage.backend.hits) == 3


@in_virtual_time
async def test_without_retries_there_is_one_attempt(make):
    stage = make({A: status(500)}, retries=0)
    await stage.run([A])
    assert len(stage.backend.hits) == 1


@in_virtual_time
async def test_no_backoff_is_longer_than_a_minute(make):
    stage = make({A: status(500)}, retries=12, jitter=0.999)
    await stage.run([A])
    starts = stage.backend.starts(A)
    waits = [round(after - before, 2) for before, after in pairwise(starts)]
    assert waits[0] == 0.5
    assert max(waits) == waits[-1] == 59.94


@pytest.mark.parametrize(
    "error",
    [
        ConnectFailed("refused"),
        TimedOut("slow", phase="header"),
        ConnectionLost("gone", phase="body"),
        NameNotResolved("later", temporary=True),
        truncated(),
    ],
    ids=lambda error: error.slug,
)
@in_virtual_time
async def test_a_passing_error_is_tried_again(error):
    stage = Stage({A: [fails(error, error.phase), Answer(body=b"x")]})
    await stage.run([A])
    assert stage.record(A).state == "done"
    assert stage.record(A).attempts == 2


@pytest.mark.parametrize(
    "error",
    [
        TlsRejected("self-signed"),
        NameNotResolved("unknown"),
        ProtocolBroken("not HTTP"),
        BadEncoding("not gzip"),
    ],
    ids=lambda error: error.slug,
)
@in_virtual_time
async def test_an_error_that_would_stay_is_not_tried_again(error):
    stage = Stage({A: fails(error, error.phase)})
    await stage.run([A])
    record = stage.record(A)
    assert (record.error, record.attempts, record.message) == (error.slug, 1, error.message)
    assert record.status is None


@pytest.mark.parametrize("code", [300, 305, 306, 400, 401, 403, 404, 410, 418, 451, 501, 505, 599, 999])
@in_virtual_time
async def test_other_statuses_fail_at_once(code):
    stage = Stage({A: status(code)})
    await stage.run([A])
    record = stage.record(A)
    assert (record.state, record.error, record.status, record.attempts) == ("failed", "http-status", code, 1)


@in_virtual_time
async def test_the_statuses_to_try_again_can_be_chosen():
    stage = Stage({A: [status(404), Answer()], B: status(500)}, retry_on=[404])
    await stage.run([A, B])
    assert stage.states() == {A: "done", B: "http-status"}
    assert stage.record(B).attempts == 1


@in_virtual_time
async def test_a_wait_is_told_to_observers_with_attempt_and_delay():
    stage = Stage({A: [fails(ConnectionLost("the peer is gone"), "header"), Answer()]})
    await stage.run([A])
    (told,) = stage.events(Retrying)
    assert told == Retrying(A, "connection-lost", "the peer is gone", 1, 0.25)


@in_virtual_time
async def test_the_time_of_waiting_and_of_exchanges_is_told_apart():
    slow = Answer(status=500, header_s=2.0)
    stage = Stage({A: [slow, Answer(body=b"x", header_s=3.0)]})
    await stage.run([A])
    record = stage.record(A)
    assert record.elapsed == pytest.approx(5.0)
    assert record.waited == pytest.approx(0.25)
    assert (record.started_at, record.ended_at) == (stamp(5000.0), stamp(5005.25))


def stamp(loop_time: float) -> str:
    import datetime as dt

    at = dt.datetime.fromtimestamp(EPOCH + loop_time, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@in_virtual_time
async def test_a_silent_repeat_of_the_backend_counts_as_an_attempt_and_costs_no_retry():
    stage = Stage({A: [Answer(status=500, resent=1), status(500), Answer()]}, retries=2)
    await stage.run([A])
    assert stage.record(A).state == "done"
    assert stage.record(A).attempts == 4


# -- POST ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize(
    ("answer", "attempts"),
    [
        (fails(ConnectFailed("refused"), "connect"), 4),
        (fails(NameNotResolved("later", temporary=True), "name"), 4),
        (fails(ConnectionLost("gone", phase="header"), "header"), 1),
        (Answer(body=[b"a", ConnectionLost("cut", phase="body")], length=9), 1),
        (status(500), 1),
        (status(503), 1),
        (status(429, retry_after=1), 1),
    ],
    ids=["refused", "no-name", "no-header", "cut", "500", "503", "429"],
)
@in_virtual_time
async def test_a_post_is_tried_again_only_if_no_connection_was_made(method, answer, attempts):
    stage = Stage({A: answer}, method=method, data="x=1")
    await stage.run([A])
    assert len(stage.backend.hits) == attempts
    assert stage.record(A).state == "failed"
    assert {hit.request.method for hit in stage.backend.hits} == {method}


@in_virtual_time
async def test_a_post_that_waited_long_for_a_connection_is_tried_again():
    stage = Stage({A: [Answer(connect_s=None), Answer(body=b"x")]}, method="POST", connect_timeout=5)
    await stage.run([A])
    assert stage.record(A).state == "done"


@in_virtual_time
async def test_a_post_that_waited_long_for_its_answer_is_not_tried_again():
    stage = Stage({A: Answer(header_s=None)}, method="POST", header_timeout=5)
    await stage.run([A])
    assert stage.record(A).error == "timed-out"
    assert len(stage.backend.hits) == 1


# -- Retry-After ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [429, 503])
@in_virtual_time
async def test_retry_after_is_kept_to_and_costs_no_retry(make, code):
    stage = make({A: [status(code, retry_after=7)] * 3 + [Answer(body=b"x")]}, retries=0)
    summary = await stage.run([A])
    assert summary.done == 1
    assert stage.backend.starts(A) == [0, 7, 14, 21]
    assert stage.record(A).attempts == 4


@in_virtual_time
async def test_retry_after_holds_every_url_of_the_host_and_no_other(make):
    table = {A: [status(429, retry_after=7), Answer()]}
    stage = make(table, per_host=1)
    await stage.run([A, A + "1", A + "2", B, B + "1"])
    assert stage.backend.starts("b.example:80") == [0, 0]
    assert stage.backend.starts("a.example:80") == [0, 7, 7, 7]
    assert [hit.url for hit in stage.backend.at("a.example:80")][:2] == [A, A]


@in_virtual_time
async def test_a_retry_after_as_a_date_is_kept_to():
    from email.utils import formatdate

    date = formatdate(EPOCH + virtual_loop().time() + 90, usegmt=True)
    stage = Stage({A: [status(503, retry_after=date), Answer()]})
    await stage.run([A])
    assert stage.backend.starts(A) == [0, 90]


@in_virtual_time
async def test_one_wait_beyond_the_most_that_a_url_may_wait_fails_at_once(make):
    stage = make({A: status(429, retry_after=11)}, max_wait=10)
    await stage.run([A])
    record = stage.record(A)
    assert (record.error, record.status, record.attempts) == ("retry-later", 429, 1)
    assert stage.elapsed < 1


@in_virtual_time
async def test_several_waits_together_may_not_pass_the_most_that_a_url_may_wait(make):
    stage = make({A: status(429, retry_after=4)}, max_wait=10)
    await stage.run([A])
    assert stage.backend.starts(A) == [0, 4, 8]
    assert stage.record(A).error == "retry-later"


@in_virtual_time
async def test_a_503_without_a_time_backs_off_holds_the_host_and_costs_a_retry(make):
    stage = make({A: status(503)}, retries=2, per_host=1)
    await stage.run([A, A + "1"])
    assert stage.backend.starts(A) == [0.0, 0.25, 0.75]
    assert stage.backend.starts(A + "1") == [0.75 + 1.0]
    assert stage.record(A).error == "http-status"


@in_virtual_time
async def test_a_retry_after_of_zero_is_no_busy_loop():
    stage = Stage({A: status(429, retry_after=0)}, max_wait=20)
    await stage.run([A])
    assert len(stage.backend.hits) == 21
    assert stage.record(A).error == "retry-later"


@in_virtual_time
async def test_the_same_field_on_another_status_means_nothing():
    stage = Stage({A: [status(500, retry_after=50), Answer()]})
    await stage.run([A])
    assert stage.backend.starts(A) == [0, 0.25]


@in_virtual_time
async def test_a_host_that_pushes_back_is_asked_half_as_much_at_once():
    busy = Answer(status=429, headers={"Retry-After": "2"}, header_s=0.1)
    stage = Stage(default=lambda _, n: busy if n == 0 else Answer(header_s=1.0))
    await stage.run([A + str(n) for n in range(8)])
    held = stage.events(HostThrottled)
    assert {event.limit for event in held} == {4}
    assert stage.backend.starts("a.example:80")[8:] == [2.1] * 4 + [3.1] * 4


@in_virtual_time
async def test_waits_in_a_held_hosts_queue_do_not_add_retries_after_a_restart(tmp_path):
    last = A + "4"
    urls = [A + str(n) for n in range(5)]
    busy = Answer(status=429, headers={"Retry-After": "5"}, header_s=0.1)
    table = {urls[0]: [busy, Answer()], last: status(500)}
    first = Stage(table, default=Answer(header_s=0.2), folder=tmp_path, per_host=4, retries=2)
    virtual_loop().call_later(5.2, first.engine.stop, "SIGINT")
    await first.run(urls)
    assert first.backend.starts(last) == [5.1]
    second = Stage({last: status(500)}, folder=tmp_path, per_host=4, retries=2)
    await second.run(urls)
    assert len(first.backend.at(last)) + len(second.backend.hits) == 3


@in_virtual_time
async def test_attempts_and_waits_survive_a_restart(tmp_path):
    answers = {A: [status(500), status(503, retry_after=60)]}
    first = Stage(answers, folder=tmp_path, retries=2, max_wait=100)
    virtual_loop().call_later(10, first.engine.stop, "SIGTERM")
    await first.run([A])
    assert len(first.backend.hits) == 2
    second = Stage({A: [status(500), status(503, retry_after=60)]}, folder=tmp_path, retries=2, max_wait=100)
    begun = virtual_loop().time()
    await second.run([A])
    assert second.backend.hits[0].started - begun == pytest.approx(50.25, abs=0.1)
    record = second.record(A)
    assert (record.error, record.attempts) == ("retry-later", 4)


@pytest.mark.parametrize(("hours", "waited_s"), [(-5, 60), (0, 50), (5, 0)])
@in_virtual_time
async def test_a_stored_wait_survives_a_clock_that_was_set_by_hours(tmp_path, hours, waited_s):
    first = Stage({A: status(503, retry_after=60)}, folder=tmp_path, max_wait=1e6)
    virtual_loop().call_later(10, first.engine.stop, "SIGTERM")
    await first.run([A])
    with closing(sqlite3.connect(next(tmp_path.rglob("state.db")))) as db, db:
        assert db.execute("UPDATE url SET not_before = not_before - ?", (3600 * hours,)).rowcount == 1
    second = Stage({}, folder=tmp_path)
    begun = virtual_loop().time()
    assert (await second.run([A])).done == 1
    assert second.backend.hits[0].started - begun == pytest.approx(waited_s, abs=0.1)


@pytest.mark.parametrize(("slept_s", "state"), [(0, "failed"), (7200, "done")])
@in_virtual_time
async def test_connections_that_died_while_the_machine_slept_cost_no_retry(slept_s, state):
    lost = fails(ConnectionLost("gone"), "header")
    stage = Stage({A: [lost, lost, Answer(body=b"x")]}, retries=1)
    utc = stage.clock.utc
    stage.on_start = lambda _: setattr(stage.clock, "utc", lambda: utc() + slept_s)
    await stage.run([A])
    assert stage.record(A).state == state


# -- redirects -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@in_virtual_time
async def test_a_redirect_is_followed_and_told(make, code):
    stage = make({A: redirect("/b", code), A + "b": redirect(B, code), B: Answer(body=b"here")})
    summary = await stage.run([A])
    record = stage.record(A)
    assert (record.state, record.status, record.final_url, record.attempts) == ("done", 200, B, 1)
    assert record.redirects == [A + "b", B]
    assert (summary.done, summary.requests, record.bytes) == (1, 3, 4)


@in_virtual_time
async def test_a_redirect_to_another_host_waits_for_that_hosts_slot():
    table = {A: redirect(B + "target"), B: Answer(header_s=9.0)}
    stage = Stage(table, per_host=1)
    await stage.run([B, A])
    assert stage.backend.starts(B + "target") == [9.0]
    assert stage.backend.most_active_at["b.example:80"] == 1


@in_virtual_time
async def test_a_redirect_to_another_host_keeps_that_hosts_delay():
    stage = Stage({A: redirect(B + "target")}, delay=3)
    await stage.run([B, A])
    assert stage.backend.starts("b.example:80") == [0, 3]


@in_virtual_time
async def test_the_slot_of_the_first_host_is_free_while_the_second_is_waited_for():
    stage = Stage({A: redirect(B + "target"), B: Answer(header_s=9.0)}, per_host=1)
    await stage.run([B, A, A + "1"])
    assert stage.backend.starts(A + "1") == [0]


@in_virtual_time
async def test_a_loop_of_redirects_is_named():
    stage = Stage({A: redirect("/1"), A + "1": redirect("/2"), A + "2": redirect("/1")})
    await stage.run([A])
    record = stage.record(A)
    assert record.error == "redirect-loop"
    assert record.message == f"redirect loop: {A}1 → {A}2 → {A}1"
    assert record.attempts == 1


@in_virtual_time
async def test_more_redirects_than_are_allowed_fail():
    stage = Stage(default=lambda _, n: Answer(), max_redirects=3)
    stage.backend.default = lambda request, n: redirect(f"{request.url}x")
    await stage.run([A])
    assert stage.record(A).error == "too-many-redirects"
    assert len(stage.backend.hits) == 4


@pytest.mark.parametrize(
    "answer",
    [
        status(302),
        redirect(""),
        redirect("file:///etc/passwd"),
        redirect("ftp://a.example/"),
        redirect("http://[bad/"),
        redirect("http:///"),
        redirect("http://x\r\ny/"),
        Answer(status=302, headers=[("Location", A + "1"), ("Location", A + "2")]),
    ],
    ids=["none", "empty", "file", "ftp", "bracket", "no-host", "line-break", "two"],
)
@in_virtual_time
async def test_a_redirect_to_no_place_fails_without_a_request(answer):
    stage = Stage({A: answer})
    await stage.run([A])
    record = stage.record(A)
    assert (record.state, record.error, record.status) == ("failed", "bad-redirect", 302)
    assert len(stage.backend.hits) == 1


@in_virtual_time
async def test_the_hop_that_failed_is_repeated_and_not_the_chain():
    stage = Stage({A: redirect(B), B: [status(500), fails(ConnectionLost("gone"), "header"), Answer()]})
    await stage.run([A])
    assert stage.backend.urls() == [A, B, B, B]
    assert stage.record(A).attempts == 3


@in_virtual_time
async def test_cookies_of_a_chain_live_for_that_chain():
    stage = Stage({A: redirect("/b", cookies=["sid=1; Path=/"]), A + "b": redirect(B)})
    await stage.run([A, A + "other"])
    sent = {hit.url: hit.headers.get("cookie") for hit in stage.backend.hits}
    assert sent == {A: None, A + "b": "sid=1", B: None, A + "other": None}


@in_virtual_time
async def test_a_redirect_to_itself_that_sets_a_cookie_is_followed():
    stage = Stage({A: [redirect(A, cookies=["seen=1"]), Answer(body=b"welcome")]})
    await stage.run([A])
    assert stage.record(A).state == "done"
    assert [hit.headers.get("cookie") for hit in stage.backend.hits] == [None, "seen=1"]


@in_virtual_time
async def test_a_redirect_to_itself_that_sets_the_same_cookie_again_is_a_loop():
    stage = Stage({A: redirect(A, cookies=["seen=1"])})
    await stage.run([A])
    assert stage.record(A).error == "redirect-loop"
    assert len(stage.backend.hits) == 2


@in_virtual_time
async def test_a_redirect_to_itself_that_sets_another_cookie_each_time_ends():
    stage = Stage({A: lambda _, n: redirect(A, cookies=[f"seen={n}"])})
    await stage.run([A])
    assert stage.record(A).error == "too-many-redirects"
    assert len(stage.backend.hits) == 11


@in_virtual_time
async def test_credentials_of_the_run_go_to_listed_hosts_and_to_no_other(make):
    table = {A: redirect(B), B: redirect(C), C: redirect(A + "end")}
    stage = make(table, user="me:secret", header=["X-Api-Key: k"])
    await stage.run([A, C + "listed"])
    sent = {hit.url: {"authorization", "x-api-key"} & hit.headers.keys() for hit in stage.backend.hits}
    both = {"authorization", "x-api-key"}
    assert sent == {A: both, B: set(), C: both, A + "end": both, C + "listed": both}


@in_virtual_time
async def test_another_port_of_a_listed_host_gets_no_credentials():
    stage = Stage({A: redirect("http://a.example:8080/")}, user="me:secret")
    await stage.run([A])
    assert "authorization" in stage.backend.hits[0].headers
    assert "authorization" not in stage.backend.hits[1].headers


@in_virtual_time
async def test_credentials_of_a_url_go_to_its_origin_and_are_never_told(make):
    stage = make({A: redirect("/b"), A + "b": redirect(B), B: redirect(A + "end")})
    await stage.run(["http://me:secret@a.example/"])
    sent = ["authorization" in hit.headers for hit in stage.backend.hits]
    assert sent == [True, True, False, True]
    (record,) = stage.records
    assert "secret" not in repr(record)
    assert "me:secret" not in record.url


@in_virtual_time
async def test_headers_of_an_entry_stay_with_its_origin():
    stage = Stage({A: redirect(B)})
    await stage.run([{"url": A, "headers": {"X-Token": "t"}}, B + "listed"])
    assert stage.backend.at(A)[0].headers["x-token"] == "t"
    assert "x-token" not in stage.backend.at(B)[0].headers


@in_virtual_time
async def test_from_https_to_http_is_told():
    stage = Stage({SECURE: redirect(A)})
    await stage.run([SECURE])
    assert stage.record(SECURE).state == "done"
    assert any("https to plain http" in text for text in stage.notices())


@in_virtual_time
async def test_from_https_to_http_with_credentials_is_not_followed():
    stage = Stage({SECURE: redirect(A)}, user="me:secret")
    await stage.run([SECURE, A + "listed"])
    assert stage.record(SECURE).error == "insecure-redirect"
    assert stage.backend.at(A) == []


@pytest.mark.parametrize(
    ("code", "expected"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")]
)
@in_virtual_time
async def test_a_redirected_post_becomes_a_get_unless_the_status_keeps_it(code, expected):
    stage = Stage({A: redirect("/b", code)}, method="POST", data="x=1")
    await stage.run([A])
    hop = stage.backend.hits[1].request
    assert hop.method == expected
    assert hop.body == (b"x=1" if expected == "POST" else None)


@in_virtual_time
async def test_a_post_that_is_sent_back_to_its_own_url_as_a_get_is_no_loop():
    stage = Stage({A: [redirect(A, 303), Answer(body=b"done")]}, method="POST", data="x=1")
    await stage.run([A])
    assert [hit.request.method for hit in stage.backend.hits] == ["POST", "GET"]
    assert stage.record(A).state == "done"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("seeds", [True, False, True]), ("deny", [False] * 3), ("allow", [True] * 3)],
)
@in_virtual_time
async def test_private_addresses_are_reached_only_on_hosts_that_the_user_named(make, policy, expected):
    stage = make({A: redirect(B), B: redirect(C)}, private_addresses=policy)
    await stage.run([A, "http://c.example:8080/"])
    allowed = {hit.url: hit.request.allow_private for hit in stage.backend.hits}
    assert [allowed[url] for url in (A, B, C)] == expected


@in_virtual_time
async def test_a_private_address_is_refused_and_not_tried_again():
    from fetcher.errors import Refused

    stage = Stage({A: redirect(B), B: fails(Refused("private-address", "10.0.0.1 is private"))})
    summary = await stage.run([A])
    record = stage.record(A)
    assert (record.state, record.error, record.message) == (
        "refused",
        "private-address",
        "10.0.0.1 is private",
    )
    assert summary.refused == 1
    assert len(stage.backend.hits) == 2


@in_virtual_time
async def test_a_proxy_is_used_as_the_settings_say_and_the_missing_guard_is_told_once():
    stage = Stage(proxy="http://proxy.example:3128", no_proxy="b.example")
    await stage.run([A, A + "1", B])
    used = {hit.host: hit.request.proxy for hit in stage.backend.hits}
    assert used == {"a.example:80": "http://proxy.example:3128", "b.example:80": None}
    assert len([text for text in stage.notices() if "proxy" in text]) == 1


# -- the end -------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_body_is_stored_with_its_hash_and_length(tmp_path):
    stage = Stage(
        {A + "x": Answer(body=[b"one", b"two"], headers={"ETag": '"1"', "Content-Type": "a/b"})},
        folder=tmp_path,
    )
    await stage.run([A + "x"])
    record = stage.record(A + "x")
    assert record.sha256 == hashlib.sha256(b"onetwo").hexdigest()
    assert (record.bytes, record.wire_bytes, record.path) == (6, 6, "a.example/x")
    assert (record.etag, record.content_type, record.completeness) == ('"1"', "a/b", "length")
    assert (tmp_path / "a.example" / "x").read_bytes() == b"onetwo"
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["sha256"] == record.sha256


@pytest.mark.parametrize("code", [204, 205])
@in_virtual_time
async def test_an_answer_without_content_is_done_without_a_file(tmp_path, code):
    stage = Stage({A: Answer(status=code)}, folder=tmp_path)
    await stage.run([A])
    assert stage.record(A).state == "done"
    assert stage.record(A).path is None
    assert not (tmp_path / "a.example").exists()


@in_virtual_time
async def test_a_head_is_done_without_a_file(tmp_path):
    stage = Stage({A: Answer(body=b"never sent")}, folder=tmp_path, method="HEAD")
    await stage.run([A])
    assert stage.record(A).state == "done"
    assert not (tmp_path / "a.example").exists()


@in_virtual_time
async def test_a_status_below_200_is_not_http():
    stage = Stage({A: status(101)})
    await stage.run([A])
    assert stage.record(A).error == "protocol-broken"


@in_virtual_time
async def test_a_body_that_is_not_the_one_that_was_promised_fails_as_checksum(make):
    right, wrong = hashlib.sha256(b"right").hexdigest(), hashlib.sha256(b"wrong").hexdigest()
    stage = make(default=Answer(body=b"right"))
    await stage.run([{"url": A + "1", "sha256": right}, {"url": A + "2", "sha256": wrong}])
    assert stage.states() == {A + "1": "done", A + "2": "checksum"}
    assert right in (stage.record(A + "2").message or "")
    assert stage.record(A + "2").attempts == 1
    assert stage.record(A + "2").path is None


@pytest.mark.parametrize("declared", [2, 9])
@in_virtual_time
async def test_a_body_of_another_length_than_declared_is_never_done(declared):
    stage = Stage({A: Answer(body=b"12345", length=declared)}, retries=0)
    await stage.run([A])
    assert stage.record(A).error == ("connection-lost" if declared == 9 else "protocol-broken")


@in_virtual_time
async def test_a_body_that_is_too_large_fails_and_is_not_kept(tmp_path):
    stage = Stage(
        {A: Answer(body=[b"x" * 600, b"y" * 600], completeness="chunked")}, folder=tmp_path, max_size=1000
    )
    await stage.run([A])
    assert stage.record(A).error == "too-large"
    assert stage.record(A).attempts == 1
    assert not (tmp_path / "a.example").exists()


# -- asked again -----------------------------------------------------------------------------------------

FRESH = Answer(body=b"one", headers={"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})


async def refreshed(folder: Path, answer: Any, *, before: Answer = FRESH) -> Stage:
    """Download once, then refresh with another answer."""
    first = Stage({A: before}, folder=folder)
    await first.run([A])
    assert first.record(A).state == "done"
    second = Stage({A: answer}, folder=folder, refresh=True)
    await second.run([A])
    return second


@in_virtual_time
async def test_a_refresh_asks_with_the_validators_that_it_knows(tmp_path):
    stage = await refreshed(tmp_path, status(304))
    sent = stage.backend.hits[0].headers
    assert sent["if-none-match"] == '"1"'
    assert sent["if-modified-since"] == "Mon, 01 Jan 2024 00:00:00 GMT"
    record = stage.record(A)
    assert (record.state, record.status, record.bytes) == ("unchanged", 304, 3)
    assert (record.path, record.etag) == ("a.example/index.html", '"1"')
    assert record.sha256 == hashlib.sha256(b"one").hexdigest()


@in_virtual_time
async def test_equal_bytes_are_unchanged_too(tmp_path):
    stage = await refreshed(tmp_path, Answer(body=b"one", headers={"ETag": '"2"'}))
    record = stage.record(A)
    assert (record.state, record.status, record.etag) == ("unchanged", 200, '"2"')
    again = Stage({A: status(304)}, folder=tmp_path, refresh=True)
    await again.run([A])
    assert again.backend.hits[0].headers["if-none-match"] == '"2"'


@in_virtual_time
async def test_other_bytes_replace_the_file(tmp_path):
    stage = await refreshed(tmp_path, Answer(body=b"two!", headers={"ETag": '"2"'}))
    assert stage.record(A).state == "done"
    assert (tmp_path / "a.example" / "index.html").read_bytes() == b"two!"


@in_virtual_time
async def test_a_refresh_that_fails_keeps_the_file_and_its_validators(tmp_path):
    stage = await refreshed(tmp_path, status(404))
    assert stage.record(A).state == "failed"
    assert (tmp_path / "a.example" / "index.html").read_bytes() == b"one"
    again = Stage({A: status(304)}, folder=tmp_path, refresh=True)
    await again.run([A])
    assert again.backend.hits[0].headers["if-none-match"] == '"1"'
    assert again.record(A).state == "unchanged"


@pytest.mark.parametrize("damage", ["gone", "cut"])
@in_virtual_time
async def test_a_file_that_is_not_there_at_its_length_is_asked_for_plainly(tmp_path, damage):
    first = Stage({A: FRESH}, folder=tmp_path)
    await first.run([A])
    file = tmp_path / "a.example" / "index.html"
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"on")
    second = Stage({A: FRESH}, folder=tmp_path, refresh=True)
    await second.run([A])
    assert "if-none-match" not in second.backend.hits[0].headers
    assert second.record(A).state == "done"
    assert file.read_bytes() == b"one"


@in_virtual_time
async def test_a_304_that_nobody_asked_for_is_asked_once_more_past_every_cache(make):
    stage = make({A: [status(304), Answer(body=b"x")]})
    await stage.run([A])
    assert stage.record(A).state == "done"
    first, second = stage.backend.hits
    assert "cache-control" not in first.headers
    assert second.headers["cache-control"] == "no-cache"


@in_virtual_time
async def test_a_304_that_nobody_asked_for_twice_has_failed():
    stage = Stage({A: status(304)})
    await stage.run([A])
    assert (stage.record(A).error, stage.record(A).status) == ("http-status", 304)
    assert len(stage.backend.hits) == 2


@in_virtual_time
async def test_a_304_by_way_of_a_redirect_is_unchanged(tmp_path):
    first = Stage({A: redirect("/moved"), A + "moved": FRESH}, folder=tmp_path)
    await first.run([A])
    stage = Stage({A: redirect("/moved"), A + "moved": status(304)}, folder=tmp_path, refresh=True)
    await stage.run([A])
    assert stage.record(A).state == "unchanged"
    assert stage.record(A).final_url == A + "moved"


# -- no more file descriptors -------------------------------------------------------------------------------


@in_virtual_time
async def test_no_more_descriptors_means_fewer_exchanges_and_no_failure(make):
    error = ConnectFailed("too many open files")
    error.exhausted = True
    stage = make(concurrency=20, per_host=20, retries=0)
    stage.backend.default = lambda *_: (
        fails(error) if stage.backend.active > 5 else Answer(body=b"x", header_s=1.0)
    )
    urls = [A + str(n) for n in range(60)]
    summary = await stage.run(urls)
    assert summary.done == 60
    assert {record.attempts for record in stage.records} == {1}
    assert len(stage.backend.hits) < 120
    assert len([text for text in stage.notices() if "too many open files" in text]) == 1
    assert stage.backend.most_connections is not None


@in_virtual_time
async def test_without_a_single_descriptor_for_a_minute_the_run_ends_and_its_urls_have_not_failed():
    error = ConnectFailed("too many open files")
    error.exhausted = True
    stage = Stage({A: fails(error)}, concurrency=3)
    with pytest.raises(StorageError, match="no file can be opened for 60 s"):
        await stage.run([A])
    assert stage.records == []
