"""What people are shown: figures, summaries, lines, logs, counts and the live display."""

import asyncio
import errno
import io
import json
import os
import pty
import re
import stat
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from fetcher.events import (
    HostThrottled,
    LogMessage,
    OutcomesSettled,
    Retrying,
    RunEnded,
    RunStarted,
    Snapshot,
)
from fetcher.model import Bottleneck, Record
from fetcher.observers import formatting
from fetcher.observers.jsonl_output import JsonlOutput
from fetcher.observers.line_display import (
    LineDisplay,
    QuietObserver,
    VerboseLines,
    can_animate,
    progress_line,
    trouble_line,
)
from fetcher.observers.live_display import LiveDisplay, render
from fetcher.observers.log import LogObserver
from fetcher.observers.summary import summary_lines

WHO = "example.org's limit of 8 held 71 % of the time"
EVIL = "http://u:canary@h/a\x1b[31m\u202e\n\x9b\x7f"


def record(url="http://h/a", **fields):
    return Record(url=url, **{"state": "done", "status": 200, "attempts": 1, **fields})


def failure(url="http://h/bad", error="http-status", message="404 Not Found", **fields):
    return record(url, **{"state": "failed", "status": 404, "error": error, "message": message, **fields})


def settled(*records, lines=()):
    return OutcomesSettled(list(records), list(lines))


def snapshot(**fields):
    return Snapshot(
        **{
            "listed": 20_000,
            "input_ended": True,
            "pending": 7_696,
            "done": 12_300,
            "failed": 3,
            "refused": 1,
            "active": 64,
            "waiting": 12,
            "bytes": 47_185_920,
            "wire_bytes": 40_000_000,
            "elapsed_s": 10.0,
            **fields,
        }
    )


def unsafe(text):
    """The characters that a terminal might obey."""
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}


# ---- figures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (1024, "1.0 KB"),
        (10 * 1024, "10 KB"),
        (1023 * 1024, "1.0 MB"),
        (45 * 2**20, "45 MB"),
        (3 * 2**30, "3.0 GB"),
        (5000 * 2**50, "5,000 PB"),
    ],
)
def test_sizes_have_two_or_three_digits_and_the_units_of_the_options(octets, text):
    assert formatting.size(octets) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.26, "0.3 s"),
        (2, "2 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7380, "2 h 03 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_durations_carry_into_the_next_unit(seconds, text):
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("per_s", "text"),
    [(1230.4, "1,230/s"), (4.5, "4.5/s"), (2, "2/s"), (0, "0/s"), (0.2, "12/min"), (0.01, "36/h")],
)
def test_rates_below_one_a_second_are_told_by_the_minute_or_hour(per_s, text):
    assert formatting.rate(per_s) == text


@pytest.mark.parametrize(
    ("number", "noun", "text"), [(1, "URL", "1 URL"), (0, "URL", "0 URLs"), (1200, "retry", "1,200 retries")]
)
def test_plurals_follow_the_number(number, noun, text):
    assert formatting.plural(number, noun) == text


@given(st.text(), st.integers(0, 50))
def test_a_shortened_text_fits_and_keeps_both_ends(text, width):
    short = formatting.shorten(text, width)
    assert len(short) <= width or short == text
    if len(text) > width >= 3:
        assert short[0] == text[0]
        assert short[-1] == text[-1]


def test_a_steady_run_shows_its_rate_from_the_first_sample_on():
    pace = formatting.RateEstimator()
    for second in range(1, 4):
        rates = pace.sample(
            snapshot(
                done=100 * second,
                failed=0,
                refused=0,
                pending=0,
                wire_bytes=5000 * second,
                elapsed_s=float(second),
            )
        )
        assert rates.urls_per_s == pytest.approx(100)
        assert rates.bytes_per_s == pytest.approx(5000)


def test_urls_that_ended_in_an_earlier_session_are_no_speed_of_this_one():
    rates = formatting.RateEstimator().sample(
        snapshot(done=5100, failed=0, refused=0, earlier=5000, elapsed_s=1.0)
    )
    assert rates.urls_per_s == pytest.approx(100)


def test_time_left_is_known_only_when_the_input_has_ended():
    assert formatting.RateEstimator().sample(
        snapshot(done=100, failed=0, refused=0, pending=400, listed=500)
    ).left_s == pytest.approx(40)
    assert formatting.RateEstimator().sample(snapshot(input_ended=False)).left_s is None
    assert formatting.RateEstimator().sample(snapshot(done=0, failed=0, refused=0)).left_s is None


def test_a_large_body_in_flight_has_as_much_time_left_as_it_needs_itself():
    pace = formatting.RateEstimator()
    for second in range(1, 9):
        growing = [("http://h/large", second * MIB, 100 * MIB), ("http://h/any", second * MIB, None)]
        now = snapshot(
            done=second * 30, failed=0, pending=3, listed=250, growing=growing, elapsed_s=float(second)
        )
        rates = pace.sample(now)
    assert rates.left_s == pytest.approx(92)


@pytest.mark.parametrize("state", ["is_paused", "is_stopping"])
def test_a_run_that_starts_nothing_more_has_no_time_left(state):
    now = {"done": 100, "failed": 0, "pending": 400, "listed": 500}
    assert formatting.RateEstimator().sample(snapshot(**now)).left_s is not None
    assert formatting.RateEstimator().sample(snapshot(**now, **{state: True})).left_s is None


def test_two_samples_at_the_same_instant_agree():
    pace = formatting.RateEstimator()
    first = pace.sample(snapshot(elapsed_s=2.0))
    assert pace.sample(snapshot(elapsed_s=2.0)) == first
    assert formatting.RateEstimator().sample(snapshot(elapsed_s=0.0)) == formatting.Rates()


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 10_000)), max_size=30))
def test_a_smoothed_rate_is_never_negative_and_never_above_the_fastest_moment(steps):
    pace, elapsed, done, fastest = formatting.RateEstimator(), 0.0, 0, 0.0
    for passed, ended in steps:
        elapsed += passed
        done += ended
        fastest = max(fastest, done / 0.001 if passed < 0.001 else (done / passed))
        assert 0 <= pace.sample(Snapshot(done=done, elapsed_s=elapsed)).urls_per_s <= fastest * 1.001


# ---- summary ----------------------------------------------------------------------------------------


def test_the_summary_tells_how_many_ended_how_and_what_to_type_next():
    lines = summary_lines(
        snapshot(errors={"http-status": 2, "connect-failed": 1}, duplicates=12, earlier=300),
        stopped="--deadline",
        continue_command="fetcher get -i urls.txt",
        retry_command="fetcher get -i urls.txt --retry-failed",
        directory="downloads",
    )
    assert lines == [
        "12,004 URLs in 10 s (1,200/s), 45 MB in downloads, 38 MB received",
        "  done        12,300",
        "  failed           3",
        "  refused          1",
        "  left         7,696",
        "  duplicates      12  listed more than once, fetched once",
        "  earlier        300  of these had ended before this run",
        "",
        "errors:",
        "  http-status     2",
        "  connect-failed  1",
        "",
        "stopped: --deadline; 7,696 URLs left",
        "to continue:                   fetcher get -i urls.txt",
        "to try the failed ones again:  fetcher get -i urls.txt --retry-failed",
    ]


def test_the_summary_of_one_good_url_is_two_lines_in_the_singular():
    end = Snapshot(listed=1, input_ended=True, done=1, bytes=1500, wire_bytes=1500, elapsed_s=0.25)
    lines = summary_lines(end, stopped=None, continue_command=None, retry_command=None, directory="out")
    assert lines == ["1 URL in 0.2 s (4/s), 1.5 KB in out", "  done  1"]


def test_the_summary_names_the_five_commonest_errors_and_counts_the_rest():
    errors = {f"slug-{number}": number for number in range(1, 8)}
    lines = summary_lines(
        snapshot(errors=errors), stopped=None, continue_command=None, retry_command=None, directory=""
    )
    assert [line.split() for line in lines[-7:]] == [
        ["errors:"],
        *([f"slug-{number}", str(number)] for number in (7, 6, 5, 4, 3)),
        ["and", "3", "of", "2", "other", "kinds"],
    ]


def test_the_summary_shows_nothing_of_a_hostile_name_to_the_terminal():
    lines = summary_lines(
        snapshot(errors={EVIL: 1}), stopped=EVIL, continue_command=EVIL, retry_command=None, directory=EVIL
    )
    assert not unsafe("".join(lines))


# ---- plain lines ------------------------------------------------------------------------------------


def test_the_line_of_totals_reads_as_promised():
    line = progress_line(snapshot(refused=0), formatting.Rates(1230.0, 1e6, 20.2))
    assert line == "12,300 of 20,000 · 1,230/s · 38 MB · 977 KB/s · 3 failed · 20 s left".replace(
        "12,300", "12,303"
    )


def test_the_line_of_totals_says_that_the_input_is_still_read():
    assert progress_line(snapshot(input_ended=False, failed=0), formatting.Rates()) == (
        "12,301 of 20,000, reading… · 0/s · 38 MB · 0 B/s · 1 refused"
    )


MIB = 2**20


def alone(length, elapsed_s, whole=50 * MIB):
    """A run of one URL whose body has come so far."""
    growing = [("http://h/large", length, whole)]
    return Snapshot(
        listed=1,
        input_ended=True,
        pending=1,
        active=1,
        wire_bytes=length,
        elapsed_s=elapsed_s,
        growing=growing,
    )


def test_one_body_alone_shows_percent_rate_and_time_left_as_it_grows():
    pace = formatting.RateEstimator()
    for second in range(30):
        rates = pace.sample(alone(second * MIB, float(second)))
    line = progress_line(alone(29 * MIB, 29.0), rates)
    assert line == "0 of 1 · 29 MB of 50 MB, 58 % · 1.0 MB/s · 21 s left"
    frame = plain(draw(alone(29 * MIB, 29.0), 80, 20, rates=rates, errors=[]))
    assert "58 %" in frame.splitlines()[1]
    assert "↓ http://h/large  ━━━━━━╸─────  29 MB of 50 MB, 58 % · 1.0 MB/s" in frame


def test_a_body_of_unknown_length_shows_what_is_there():
    pace = formatting.RateEstimator()
    rates = [pace.sample(alone(second * MIB, float(second), None)) for second in range(1, 5)][-1]
    assert progress_line(alone(4 * MIB, 4.0, None), rates) == "0 of 1 · 4.0 MB · 1.0 MB/s"
    assert rates.left_s is None


def test_the_largest_bodies_in_flight_have_a_line_each_with_a_rate_of_their_own():
    pace = formatting.RateEstimator()
    for second in range(5):
        growing = [(f"http://h/{n}", second * n * MIB, 100 * MIB) for n in (3, 2, 1)]
        rates = pace.sample(snapshot(elapsed_s=float(second), growing=growing))
    frame = plain(draw(snapshot(elapsed_s=4.0, growing=growing), 100, 30, rates=rates, errors=[]))
    told = [line.strip() for line in frame.splitlines() if line.startswith("↓")]
    assert told == [
        "↓ http://h/3  ━───────────  12 MB of 100 MB, 12 % · 3.0 MB/s",
        "↓ http://h/2  ╸───────────  8.0 MB of 100 MB, 8 % · 2.0 MB/s",
        "↓ http://h/1  ────────────  4.0 MB of 100 MB, 4 % · 1.0 MB/s",
    ]
    narrow = plain(draw(snapshot(elapsed_s=4.0, growing=growing), 60, 30, rates=rates, errors=[]))
    assert "↓ http://h/3  12 MB of 100 MB, 12 % · 3.0 MB/s" in narrow


def test_a_paused_run_says_so_and_what_the_keys_do_is_left_out_first():
    paused = snapshot(is_paused=True, active=0, concurrency=64)
    wide = plain(draw(paused, 100, 30, errors=[], keys="p pause"))
    assert "paused: what is in flight may end, nothing is started" in wide
    assert "0 of 64 in flight" in wide
    assert "p pause" in wide
    assert "p pause" not in plain(draw(paused, 40, 30, errors=[], keys="p pause"))
    assert progress_line(paused, formatting.Rates(left_s=5.0)).endswith(" · paused")


@pytest.mark.parametrize(
    ("width", "height", "told"),
    [
        (100, 8, f"{WHO}; --per-host 16 would save about 11 min"),
        (80, 8, f"{WHO}; --per-host 16"),
        (60, 8, WHO),
        (100, 7, None),
    ],
)
def test_what_holds_the_run_has_a_line_where_there_is_room(width, height, told):
    held = Bottleneck(
        cause="per-host", share=0.7, text=f"{WHO}; --per-host 16 would save about 11 min", host="h"
    )
    lines = plain(draw(snapshot(bottleneck=held), width, height)).splitlines()
    assert [line.rstrip() for line in lines if "held" in line] == ([told] if told else [])


def test_the_url_of_a_body_is_shown_escaped_and_without_its_secrets():
    growing = [("http://u:secret@h/\x1b[31m", MIB, None)]
    frame = plain(draw(snapshot(growing=growing), 100, 30, errors=[]))
    assert "secret" not in frame
    assert not unsafe(frame.replace("\n", ""))


def test_only_the_first_failures_get_a_line_and_that_is_said_once():
    stream = io.StringIO()
    display = LineDisplay(snapshot, stream, failures=2)
    display.on_event(settled(failure("http://h/1"), record()))
    display.on_event(settled(failure("http://h/2"), failure("http://h/3")))
    display.on_event(settled(failure("http://h/4")))
    assert stream.getvalue().splitlines() == [
        "failed: http://h/1: http-status (404 Not Found)",
        "failed: http://h/2: http-status (404 Not Found)",
        "further failures are only counted here; -v shows every one",
    ]


def test_as_many_failures_as_get_a_line_are_no_further_ones():
    stream = io.StringIO()
    display = LineDisplay(snapshot, stream)
    display.on_event(settled(*(failure(f"http://h/{n}") for n in range(10))))
    assert len(stream.getvalue().splitlines()) == 10
    display.on_event(settled(failure("http://h/10")))
    assert stream.getvalue().splitlines()[10:] == [
        "further failures are only counted here; -v shows every one"
    ]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"source": "list.txt", "line": 210}, ", list.txt:210"),
        ({"source": "-", "line": 3}, ", standard input:3"),
        ({"source": "argv", "line": 1}, ""),
        ({"parent": "http://h/page"}, ", linked from http://h/page"),
    ],
)
def test_a_failure_says_where_its_url_was_listed_or_linked(fields, place):
    assert trouble_line(failure(**fields)) == "failed: http://h/bad: http-status (404 Not Found)" + place


def test_while_a_run_stops_no_time_left_is_shown_and_how_to_stop_at_once_is():
    rates = formatting.Rates(10.0, 10.0, 30.0)
    assert "30 s left" in progress_line(snapshot(), rates)
    line = progress_line(snapshot(is_stopping=True), rates)
    assert line.endswith(" · stopping")
    assert "left" not in line
    frame = plain(draw(snapshot(is_stopping=True), 100, 30, rates=rates, errors=[]))
    assert "stopping: what is in flight may end; press Ctrl-C again to stop at once" in frame
    assert " left" not in frame


def test_queued_is_said_of_hosts_alone_and_what_has_not_ended_is_pending():
    frame = plain(draw(snapshot(pending=500, active=3, waiting=2, hosts=[("h:80", 3, 40, "")]), 100, 30))
    assert frame.count("queued") == 1
    assert "500 pending" in frame


def test_a_wide_terminal_says_where_a_failed_url_came_from():
    errors = [failure("http://h/" + "x" * 60, parent="http://h/page")]
    assert "linked from http://h/page" in plain(draw(snapshot(), 180, 30, errors=errors))
    assert "linked from" not in plain(draw(snapshot(), 100, 30, errors=errors))


def test_a_run_with_nothing_left_says_so_and_how_the_urls_had_ended():
    stands = snapshot(done=200, unchanged=0, failed=3, refused=0, earlier=203, pending=0)
    lines = summary_lines(stands, stopped=None, continue_command=None, retry_command="again", directory="d")
    assert lines[0] == "nothing left to fetch: 200 done, 3 failed before"
    assert lines[-1] == "to try the failed ones again:  again"


def test_a_page_refused_by_robots_is_no_trouble_and_a_bad_url_is():
    told = formatting.troubles(
        settled(
            record(state="refused", error="robots"), record("x", state="refused", error="bad-url"), record()
        )
    )
    assert [one.error for one in told] == ["bad-url"]


def test_notices_are_lines_with_their_level_unless_they_only_inform():
    stream = io.StringIO()
    display = LineDisplay(snapshot, stream)
    display.on_event(LogMessage("info", "continuing"))
    display.on_event(LogMessage("warning", "certificates are not checked"))
    assert stream.getvalue() == "continuing\nwarning: certificates are not checked\n"


@pytest.mark.parametrize("hostile", ["url", "message"])
def test_nothing_hostile_and_no_secret_reaches_a_line(hostile):
    line = trouble_line(failure(**{hostile: EVIL}))
    assert not unsafe(line)
    assert "canary" not in line


async def test_the_line_display_writes_until_it_is_cancelled():
    told = asyncio.Event()

    class Stream(io.StringIO):
        def flush(self):
            if self.getvalue().count("\n") == 3:
                told.set()

    stream = Stream()
    running = asyncio.create_task(LineDisplay(snapshot, stream, every_s=0).run())
    await asyncio.wait_for(told.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stream.getvalue().startswith("12,304 of 20,000 · ")


async def test_the_line_display_ends_quietly_when_its_stream_is_gone():
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    await asyncio.wait_for(LineDisplay(snapshot, stream, every_s=0).run(), 5)
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_verbose_tells_of_retries_failures_and_holds():
    told = []
    verbose = VerboseLines(told.append)
    verbose.on_event(Retrying("http://h/a", "timed-out", "no header in 60 s", 1, 1.5))
    verbose.on_event(HostThrottled("h:80", "retry-after", 12.0, 4))
    verbose.on_event(settled(record(), failure()))
    assert told == [
        "retry: http://h/a: timed-out (no header in 60 s), attempt 1 failed, again in 1.5 s",
        "hold: h:80: retry-after, 12 s, at most 4 at once",
        "failed: http://h/bad: http-status (404 Not Found)",
    ]


def test_verbose_lines_are_clean_whatever_a_server_says():
    told = []
    verbose = VerboseLines(told.append)
    verbose.on_event(Retrying(EVIL, "timed-out", EVIL, 1, 1.5))
    verbose.on_event(HostThrottled(EVIL, EVIL, 12.0, 4))
    assert len(told) == 2
    assert not unsafe("".join(told))
    assert "canary" not in "".join(told)


def test_quiet_says_nothing_of_a_good_run():
    quiet = QuietObserver()
    quiet.on_event(settled(record(), record()))
    quiet.on_event(LogMessage("info", "continuing"))
    assert quiet.failed == 0
    assert quiet.lines() == []


def test_quiet_keeps_the_first_twenty_failures_and_counts_the_rest():
    quiet = QuietObserver()
    quiet.on_event(LogMessage("warning", "a record was cut"))
    for number in range(25):
        quiet.on_event(settled(failure(f"http://h/{number}")))
    lines = quiet.lines()
    assert quiet.failed == 25
    assert lines[0] == "warning: a record was cut"
    assert lines[1] == "failed: http://h/0: http-status (404 Not Found)"
    assert len(lines) == 22
    assert lines[-1] == "and 5 more"


@pytest.mark.parametrize(
    ("environ", "suits"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "unknown"}, False),
        ({}, False),
    ],
)
def test_a_live_display_suits_only_terminals_that_move_their_cursor(environ, suits):
    primary, secondary = pty.openpty()
    with os.fdopen(primary), os.fdopen(secondary, "w") as terminal:
        assert can_animate(terminal, environ) is suits
    assert not can_animate(io.StringIO(), environ)


# ---- the log ----------------------------------------------------------------------------------------


def log(*events, **options):
    stream = io.StringIO()
    observer = LogObserver(stream, utc=lambda: 1_700_000_000.7, **options)
    for event in events:
        observer.on_event(event)
    return stream.getvalue()


def test_a_text_log_has_a_line_for_each_settled_url():
    assert log(settled(record(bytes=1500, elapsed=0.12345), failure())) == (
        "2023-11-14T22:13:20Z info settled url=http://h/a state=done status=200 error=- bytes=1500 elapsed=0.123\n"
        "2023-11-14T22:13:20Z warning settled url=http://h/bad state=failed status=404 error=http-status "
        'bytes=0 elapsed=0.0 message="404 Not Found"\n'
    )


def test_a_json_log_is_one_object_a_line():
    lines = log(
        RunStarted(3),
        settled(record(), failure()),
        Retrying("http://h/a", "timed-out", "slow", 2, 1.5),
        HostThrottled("h:80", "retry-after", 12.0, 4),
        LogMessage("error", "the log of the other is gone"),
        RunEnded(snapshot(), "deadline"),
        format="json",
    ).splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["event"] for entry in entries] == [
        *("started", "settled", "settled", "retrying", "held", "notice", "ended")
    ]
    assert [entry["level"] for entry in entries] == [
        "info",
        "info",
        "warning",
        "info",
        "info",
        "error",
        "info",
    ]
    assert entries[1]["status"] == 200
    assert entries[3]["delay"] == 1.5
    assert entries[6]["stopped"] == "deadline"
    assert {entry["time"] for entry in entries} == {"2023-11-14T22:13:20Z"}


@pytest.mark.parametrize("kind", ["text", "json"])
@given(text=st.text(st.characters(), max_size=30))
@example(text="\x7f")
@example(text="\ud800")
@example(text="a\r\nb\x1b[2J\x9b\u2028\u202e")
def test_no_value_breaks_a_log_line_or_carries_a_raw_control(kind, text):
    written = log(
        settled(failure(text, message=text, final_url=text)),
        LogMessage("info", text),
        format=kind,
        verbose=True,
    )
    assert written.count("\n") == 2
    assert not unsafe(written.replace("\n", ""))
    written.encode("utf-8")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(lambda text: "@" not in text))
def test_a_json_log_keeps_the_path_of_a_url_exactly(path):
    entry = json.loads(log(settled(record(path=path)), format="json", verbose=True))
    assert entry["path"] == path


@pytest.mark.parametrize("kind", ["text", "json"])
def test_no_secret_of_a_url_or_message_reaches_the_log(kind):
    events = (
        settled(failure(EVIL, message=EVIL, final_url=EVIL)),
        Retrying(EVIL, "x", EVIL, 1, 1),
        LogMessage("info", EVIL),
    )
    assert "canary" not in log(*events, format=kind, verbose=True)


def test_verbose_adds_the_details_of_each_url():
    plain, verbose = log(settled(record())), log(settled(record(path="h/a", backend="curl")), verbose=True)
    assert "path=" not in plain
    assert "path=h/a" in verbose
    assert "backend=curl" in verbose


def test_a_log_file_is_private_appended_to_and_not_made_before_open(tmp_path):
    path = tmp_path / "fetch.log"
    first = LogObserver(path)
    assert not path.exists()
    for observer in (first, LogObserver(str(path))):
        observer.open()
        observer.on_event(LogMessage("info", "hello"))
        observer.close()
        observer.close()
    assert path.read_text().count("hello") == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_raises():
    observer = LogObserver("/dev/full")
    observer.open()
    with pytest.raises(OSError, match="space"):
        observer.on_event(LogMessage("info", "hello"))
    observer.close()


# ---- records ----------------------------------------------------------------------------------------


def test_records_go_out_one_a_line_and_one_write_a_batch():
    class Stream(io.BytesIO):
        writes = 0

        def write(self, data):
            self.writes += 1
            return super().write(data)

    stream = Stream()
    records = JsonlOutput(stream)
    records.on_event(settled(record(), record(), lines=[b'{"a":1}', b'{"b":2}']))
    records.on_event(settled())
    records.on_event(LogMessage("info", "nothing for a machine"))
    assert stream.getvalue() == b'{"a":1}\n{"b":2}\n'
    assert stream.writes == 1


def test_a_reader_that_is_gone_passes_up_as_a_broken_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as stream, pytest.raises(BrokenPipeError):
        JsonlOutput(stream).on_event(settled(record(), lines=[b"{}"]))


# ---- the live display -------------------------------------------------------------------------------

HOSTS = [
    ("example.org:443", 8, 1234, ""),
    ("slow.example.net:443", 0, 32, "retry-after 12 s"),
    *((f"host-{number}.with-a-rather-long-name.example.com:8080", 1, number, "") for number in range(4)),
]
ERRORS = [
    failure("https://example.org/some/long/path/of/a/page/index.html"),
    failure(EVIL, "connect-failed", EVIL),
    failure("https://例え.example/日本語/ページ", message="表示できない" * 20),
]


def draw(
    state, width, height, *, rates=None, errors=ERRORS, title="fetcher get → downloads", keys="", **options
):
    frame = render(
        state, rates or formatting.Rates(1230.0, 6.4e6, 20.0), errors, width, height, title=title, keys=keys
    )
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, legacy_windows=False, **options
    )
    console.print(frame)
    return console.file.getvalue()


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_a_wide_frame_shows_totals_hosts_and_errors():
    text = plain(draw(snapshot(hosts=HOSTS), 100, 30))
    for part in (
        "fetcher get → downloads",
        "61 %",
        "12,304 of 20,000 · 1,230/s · 38 MB · 6.1 MB/s · 20 s left",
        "64 in flight · 12 waiting · 3 failed",
        "slow.example.net ",
        "1,234",
        "retry-after 12 s",
        "✗ http-status ",
        "404 Not Found",
    ):
        assert part in text
    assert text.count("host-") == 3
    assert ":443" not in text


def test_while_the_input_goes_on_there_is_no_share_and_no_end_in_sight():
    state = snapshot(input_ended=False)
    text = plain(draw(state, 100, 30, rates=formatting.RateEstimator().sample(state)))
    assert "reading…" in text
    assert "so far" in text
    assert "%" not in text
    assert "left" not in text


@pytest.mark.parametrize(("width", "height"), [(100, 30), (60, 20), (40, 10), (20, 5), (10, 1), (300, 80)])
@pytest.mark.parametrize("input_ended", [True, False])
def test_a_frame_fits_its_terminal(width, height, input_ended):
    lines = plain(draw(snapshot(hosts=HOSTS, input_ended=input_ended), width, height)).splitlines()
    assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)


def test_a_short_terminal_still_shows_a_host_and_the_last_error():
    lines = plain(draw(snapshot(hosts=HOSTS), 40, 9)).splitlines()
    assert lines[2] == "12,304 of 20,000 · 1,230/s · 20 s left"
    assert any(line.startswith("example.org") for line in lines)
    assert lines[-1].startswith("✗")


@given(
    st.integers(10, 130),
    st.integers(1, 40),
    st.text(max_size=40),
    st.integers(0, 10**12),
    st.lists(
        st.tuples(st.text(max_size=40), st.integers(0, 10**6), st.integers(0, 10**9), st.text(max_size=20)),
        max_size=7,
    ),
)
def test_whatever_the_world_sends_a_frame_fits_and_is_clean(width, height, text, number, hosts):
    state = snapshot(done=number, pending=number, hosts=hosts, elapsed_s=float(number % 10**6))
    shown = plain(draw(state, width, height, errors=[failure(text, message=text)] * 2, no_color=True))
    lines = shown.splitlines()
    assert len(shown.split("\n")) - 1 <= height
    assert all(cell_len(line) <= width for line in lines)
    assert not unsafe(shown.replace("\n", ""))


def test_no_secret_reaches_the_screen():
    assert "canary" not in draw(snapshot(hosts=HOSTS), 300, 40)


def test_without_colour_the_bar_still_tells_done_from_left(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    drawn = draw(snapshot(), 60, 20)
    bar = plain(drawn).splitlines()[1]
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", drawn)
    assert bar.count("━") == pytest.approx(0.61 * 54, abs=1)
    assert "─" in bar


class Terminal:
    """A pseudo-terminal whose output is read as it comes."""

    def __init__(self):
        self.primary, secondary = pty.openpty()
        os.set_blocking(self.primary, False)
        self.stream = os.fdopen(secondary, "w")
        self.seen = ""
        self.grew = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.primary, self.read)

    def read(self):
        try:
            self.seen += os.read(self.primary, 65536).decode("utf-8", "replace")
        except OSError:
            return
        self.grew.set()

    async def shows(self, text):
        while text not in plain(self.seen):
            self.grew.clear()
            await self.grew.wait()

    def close(self):
        asyncio.get_running_loop().remove_reader(self.primary)
        self.stream.close()
        os.close(self.primary)


@pytest.fixture
async def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    terminal = Terminal()
    yield terminal
    terminal.close()


async def test_the_display_draws_on_a_terminal_keeps_notices_and_removes_its_last_frame(terminal):
    display = LiveDisplay(snapshot, terminal.stream, title="fetcher get", refresh_s=0.01)
    running = asyncio.create_task(display.run())
    async with asyncio.timeout(60):
        await terminal.shows("12,304 of 20,000")
        display.on_event(LogMessage("warning", "certificates are not checked"))
        display.on_event(settled(failure()))
        await terminal.shows("warning: certificates are not checked")
        await terminal.shows("✗ http-status")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        display.say("the end")
        await terminal.shows("the end")
    after = terminal.seen[terminal.seen.rindex("✗") :]
    assert "\x1b[?25h" in after  # the cursor is back
    assert after.count("\x1b[1A") >= 6  # and the frame's lines are erased
    assert after.rstrip().endswith("the end")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "gone"), BrokenPipeError()])
async def test_a_terminal_that_goes_away_ends_the_display_and_nothing_else(error, monkeypatch):
    class Vanishing(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            if "12,304" in self.getvalue():
                raise error
            return super().write(text)

    monkeypatch.setenv("TERM", "xterm")
    display = LiveDisplay(snapshot, Vanishing(), title="fetcher get", refresh_s=0)
    async with asyncio.timeout(60):
        await display.run()
    with pytest.raises(type(error)):
        display.say("nobody reads this")
