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

from fetcher.events import HostHeld, Notice, Retrying, RunEnded, RunStarted, Settled, Snapshot
from fetcher.model import Record
from fetcher.observers import figures
from fetcher.observers.lines import (
    LineDisplay,
    QuietObserver,
    VerboseLines,
    can_animate,
    progress_line,
    trouble_line,
)
from fetcher.observers.live import LiveDisplay, render
from fetcher.observers.log import LogObserver
from fetcher.observers.records import JsonRecords
from fetcher.observers.stats import MOST_HOSTS, Histogram, Stats
from fetcher.observers.summary import summary_lines

EVIL = "http://u:canary@h/a\x1b[31m\u202e\n\x9b\x7f"


def record(url="http://h/a", **fields):
    return Record(url=url, **{"state": "done", "status": 200, "attempts": 1, **fields})


def failure(url="http://h/bad", error="http-status", message="404 Not Found", **fields):
    return record(url, **{"state": "failed", "status": 404, "error": error, "message": message, **fields})


def settled(*records, lines=()):
    return Settled(list(records), list(lines))


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
    assert figures.size(octets) == text


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
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("per_s", "text"),
    [(1230.4, "1,230/s"), (4.5, "4.5/s"), (2, "2/s"), (0, "0/s"), (0.2, "12/min"), (0.01, "36/h")],
)
def test_rates_below_one_a_second_are_told_by_the_minute_or_hour(per_s, text):
    assert figures.rate(per_s) == text


@pytest.mark.parametrize(
    ("number", "noun", "text"), [(1, "URL", "1 URL"), (0, "URL", "0 URLs"), (1200, "retry", "1,200 retries")]
)
def test_plurals_follow_the_number(number, noun, text):
    assert figures.plural(number, noun) == text


@given(st.text(), st.integers(0, 50))
def test_a_shortened_text_fits_and_keeps_both_ends(text, width):
    short = figures.shorten(text, width)
    assert len(short) <= width or short == text
    if len(text) > width >= 3:
        assert short[0] == text[0]
        assert short[-1] == text[-1]


def test_a_steady_run_shows_its_rate_from_the_first_sample_on():
    pace = figures.Pace()
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
    rates = figures.Pace().sample(snapshot(done=5100, failed=0, refused=0, earlier=5000, elapsed_s=1.0))
    assert rates.urls_per_s == pytest.approx(100)


def test_time_left_is_known_only_when_the_input_has_ended():
    assert figures.Pace().sample(
        snapshot(done=100, failed=0, refused=0, pending=400, listed=500)
    ).left_s == pytest.approx(40)
    assert figures.Pace().sample(snapshot(input_ended=False)).left_s is None
    assert figures.Pace().sample(snapshot(done=0, failed=0, refused=0)).left_s is None


def test_two_samples_at_the_same_instant_agree():
    pace = figures.Pace()
    first = pace.sample(snapshot(elapsed_s=2.0))
    assert pace.sample(snapshot(elapsed_s=2.0)) == first
    assert figures.Pace().sample(snapshot(elapsed_s=0.0)) == figures.Rates()


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 10_000)), max_size=30))
def test_a_smoothed_rate_is_never_negative_and_never_above_the_fastest_moment(steps):
    pace, elapsed, done, fastest = figures.Pace(), 0.0, 0, 0.0
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
    line = progress_line(snapshot(refused=0), figures.Rates(1230.0, 1e6, 20.2))
    assert line == "12,300 of 20,000 · 1,230/s · 45 MB · 3 failed · 20 s left".replace("12,300", "12,303")


def test_the_line_of_totals_says_that_the_input_is_still_read():
    assert progress_line(snapshot(input_ended=False, failed=0), figures.Rates()) == (
        "12,301 of 20,000, reading… · 0/s · 45 MB · 1 refused"
    )


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


def test_a_page_refused_by_robots_is_no_trouble_and_a_bad_url_is():
    told = figures.troubles(
        settled(
            record(state="refused", error="robots"), record("x", state="refused", error="bad-url"), record()
        )
    )
    assert [one.error for one in told] == ["bad-url"]


def test_notices_are_lines_with_their_level_unless_they_only_inform():
    stream = io.StringIO()
    display = LineDisplay(snapshot, stream)
    display.on_event(Notice("info", "continuing"))
    display.on_event(Notice("warning", "certificates are not checked"))
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
    verbose.on_event(HostHeld("h:80", "retry-after", 12.0, 4))
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
    verbose.on_event(HostHeld(EVIL, EVIL, 12.0, 4))
    assert len(told) == 2
    assert not unsafe("".join(told))
    assert "canary" not in "".join(told)


def test_quiet_says_nothing_of_a_good_run():
    quiet = QuietObserver()
    quiet.on_event(settled(record(), record()))
    quiet.on_event(Notice("info", "continuing"))
    assert quiet.failed == 0
    assert quiet.lines() == []


def test_quiet_keeps_the_first_twenty_failures_and_counts_the_rest():
    quiet = QuietObserver()
    quiet.on_event(Notice("warning", "a record was cut"))
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
        HostHeld("h:80", "retry-after", 12.0, 4),
        Notice("error", "the log of the other is gone"),
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
        settled(failure(text, message=text, final_url=text)), Notice("info", text), format=kind, verbose=True
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
        Notice("info", EVIL),
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
        observer.on_event(Notice("info", "hello"))
        observer.close()
        observer.close()
    assert path.read_text().count("hello") == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_raises():
    observer = LogObserver("/dev/full")
    observer.open()
    with pytest.raises(OSError, match="space"):
        observer.on_event(Notice("info", "hello"))
    observer.close()


# ---- counts -----------------------------------------------------------------------------------------


def test_stats_count_by_state_error_status_and_host():
    stats = Stats()
    stats.on_event(
        settled(record("http://u:p@A.example:81/x?y", bytes=10, wire_bytes=7), failure("http://b/"))
    )
    stats.on_event(settled(record("not a url", state="refused", status=None, error="bad-url", attempts=0)))
    stats.on_event(Retrying("http://b/", "timed-out", "", 1, 1.0))
    stats.on_event(HostHeld("b:80", "retry-after", 1.0, 1))
    counts = stats.as_dict()
    del counts["latency_s"]
    assert counts == {
        "ended": 3,
        "states": {"done": 1, "failed": 1, "refused": 1},
        "errors": {"bad-url": 1, "http-status": 1},
        "statuses": {"2xx": 1, "4xx": 1},
        "hosts": {
            "-": {"ended": 1, "failed": 0, "bytes": 0},
            "a.example:81": {"ended": 1, "failed": 0, "bytes": 10},
            "b": {"ended": 1, "failed": 1, "bytes": 0},
        },
        "bytes": 10,
        "wire_bytes": 7,
        "retries": 1,
        "holds": 1,
    }


def test_hosts_beyond_the_limit_are_counted_together():
    stats = Stats()
    for first in range(0, MOST_HOSTS + 500, 500):
        stats.on_event(settled(*(record(f"http://h{first + number}/") for number in range(500))))
    hosts = stats.as_dict()["hosts"]
    assert len(hosts) == MOST_HOSTS + 1
    assert hosts["others"]["ended"] == 500


@given(st.lists(st.floats(0.0001, 10_000), min_size=1, max_size=200), st.integers(1, 100))
def test_a_percentile_is_right_within_five_percent(durations, percent):
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    exact = sorted(durations)[max(-(-len(durations) * percent // 100), 1) - 1]
    assert exact * 0.999 <= histogram.percentile(percent) <= exact * 1.051


def test_percentiles_survive_durations_beyond_every_bucket():
    histogram = Histogram()
    assert histogram.percentile(50) == 0
    for seconds in (0.0, 1e9):
        histogram.add(seconds)
    assert histogram.percentile(99) > 1e5
    assert histogram.as_dict()["max"] == 1e9


# ---- records ----------------------------------------------------------------------------------------


def test_records_go_out_one_a_line_and_one_write_a_batch():
    class Stream(io.BytesIO):
        writes = 0

        def write(self, data):
            self.writes += 1
            return super().write(data)

    stream = Stream()
    records = JsonRecords(stream)
    records.on_event(settled(record(), record(), lines=[b'{"a":1}', b'{"b":2}']))
    records.on_event(settled())
    records.on_event(Notice("info", "nothing for a machine"))
    assert stream.getvalue() == b'{"a":1}\n{"b":2}\n'
    assert stream.writes == 1


def test_a_reader_that_is_gone_passes_up_as_a_broken_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as stream, pytest.raises(BrokenPipeError):
        JsonRecords(stream).on_event(settled(record(), lines=[b"{}"]))


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


def draw(state, width, height, *, rates=None, errors=ERRORS, title="fetcher get → downloads", **options):
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, legacy_windows=False, **options
    )
    console.print(
        render(state, rates or figures.Rates(1230.0, 6.4e6, 20.0), errors, width, height, title=title)
    )
    return console.file.getvalue()


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_a_wide_frame_shows_totals_hosts_and_errors():
    text = plain(draw(snapshot(hosts=HOSTS), 100, 30))
    for part in (
        "fetcher get → downloads",
        "61 %",
        "12,304 of 20,000 · 1,230/s · 45 MB · 6.1 MB/s · 20 s left",
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
    text = plain(draw(state, 100, 30, rates=figures.Pace().sample(state)))
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
    async with asyncio.timeout(10):
        await terminal.shows("12,304 of 20,000")
        display.on_event(Notice("warning", "certificates are not checked"))
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
    async with asyncio.timeout(10):
        await display.run()
    with pytest.raises(type(error)):
        display.say("nobody reads this")
