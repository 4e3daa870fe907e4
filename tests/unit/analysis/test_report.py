"""`fetcher report`: its figures are those of the records, and its page only ever shows what servers sent."""

from __future__ import annotations

import html.parser
import json
import random
import re
import subprocess
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from support.attacks import ATTACKS
from support.run_dirs import make_run_dir, record

from fetcher.analysis.report.distribution import Distribution
from fetcher.analysis.report.timeline import ReportTimeline
from fetcher.cli.main import _run
from fetcher.frontiers.sqlite.schema import open_state
from fetcher.frontiers.sqlite.timing_rows import TimingRows
from fetcher.timings import CAUSES, TimingNotes, pack_ordinary, pack_unusual


def run_dir(root: Path, records: list[dict[str, Any]], *, command: str = "get") -> Path:
    make_run_dir(root, records)
    db = open_state(root / ".fetcher" / "state.db", fsync=False)
    db.execute("INSERT INTO meta VALUES ('command', ?), ('created', '2026-11-29T10:00:00Z')", (command,))
    db.close()
    return root


def figures_of(out: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert _run(["report", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert isinstance(figures, dict)
    return figures


def some_records(number: int) -> list[dict[str, Any]]:
    chance = random.Random(7)
    records = []
    for index in range(number):
        state = chance.choice(["done", "done", "unchanged", "failed", "refused"])
        status = {"done": 200, "unchanged": 304, "failed": chance.choice([404, 500, None]), "refused": None}[
            state
        ]
        error = None if state in {"done", "unchanged"} else "http-status" if status else "timed-out"
        size = chance.choice([0, 1, 3, 4, 1000, 70_000]) if state == "done" else 0
        host = f"h{chance.randrange(40)}.example"
        records.append(
            record(
                f"http://{host}/{index % (number - number // 10)}",  # some are asked for again
                state,
                status=status,
                error=error,
                attempts=chance.randrange(4),
                bytes=size,
                wire_bytes=size // 2,
                path=f"{index}" if size else None,
                content_type=chance.choice(["text/html; charset=utf-8", "TEXT/html", "image/png", None]),
                redirects=[f"https://{host}/"] * chance.choice([0, 0, 1, 2]),
                started_at=f"2026-11-29T10:0{index % 10}:00.000Z",
                ended_at=f"2026-11-29T10:0{index % 10}:{index % 60:02}.{index % 1000:03}Z",
                elapsed=round(chance.lognormvariate(0, 2), 6),
                waited=round(chance.lognormvariate(0, 2), 6),
            )
        )
    return records


def test_every_figure_is_one_counted_from_the_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = some_records(2000)
    figures = figures_of(run_dir(tmp_path / "out", written), capsys)
    last = list({one["url"]: one for one in written}.values())

    def by(*names: str) -> Counter[Any]:
        return Counter(tuple(one[name] for name in names) for one in last)

    assert figures["urls"] == len(last)
    assert Counter(figures["states"]) == Counter(one["state"] for one in last)
    assert figures["statuses"] == {str(status or "none"): n for (status,), n in by("status").items()}
    for name in ("bytes", "wire_bytes", "attempts"):
        assert figures[name] == sum(one[name] for one in last)
    assert figures["retried"] == sum(one["attempts"] > 1 for one in last)
    assert figures["ended_at"] == max(one["ended_at"] for one in last)
    for state in figures["states"]:
        assert sum(column[state] for column in figures["columns"]) == figures["states"][state]
    assert sum(column["wire_bytes"] for column in figures["columns"]) == figures["wire_bytes"]
    assert {(each["error"], each["status"]): each["urls"] for each in figures["errors"]} == {
        (error, status): n for (error, status), n in by("error", "status").items() if error
    }
    assert all(each["advice"] for each in figures["errors"])
    assert figures["redirected"] == sum(bool(one["redirects"]) for one in last)
    assert figures["hops"] == {
        str(n): m for n, m in sorted(Counter(len(one["redirects"]) for one in last).items()) if n
    }
    stored = [one for one in last if one["bytes"]]
    assert sum(each["count"] for each in figures["size_classes"]) == len(stored)
    for each in figures["size_classes"]:
        assert each["count"] == sum(each["least"] <= one["bytes"] < each["below"] for one in stored)
    types = Counter((one["content_type"] or "(none)").partition(";")[0].lower() for one in stored)
    assert {each["content_type"]: each["urls"] for each in figures["types"]} == types
    fetched = [one for one in last if one["attempts"]]
    slowest = sorted((one["elapsed"] for one in fetched), reverse=True)
    assert [one["elapsed"] for one in figures["slowest"]] == slowest[: len(figures["slowest"])]
    assert figures["elapsed"]["count"] == len(fetched)
    assert figures["elapsed"]["total"] == pytest.approx(sum(one["elapsed"] for one in fetched), abs=1e-4)
    assert figures["elapsed"]["median"] == pytest.approx(slowest[::-1][-(-len(fetched) // 2) - 1], rel=0.002)
    assert [one["bytes"] for one in figures["largest"]] == sorted(
        (one["bytes"] for one in stored), reverse=True
    )[:25]

    hosts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in last:
        hosts[one["url"].split("/")[2] + ":80"].append(one)
    assert figures["hosts"] == len(hosts)
    for each in figures["hosts_most_urls"] + figures["hosts_slowest"] + figures["hosts_most_errors"]:
        own = hosts[each["host"]]
        assert each["urls"] == len(own)
        assert each["failed"] == sum(one["state"] == "failed" for one in own)
        assert each["bytes"] == sum(one["bytes"] for one in own)
        assert each["slowest"] == max(one["elapsed"] for one in own)
    assert figures["hosts_most_urls"][0]["urls"] == max(map(len, hosts.values()))


def test_times_and_holds_are_those_of_the_exchanges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run_dir(tmp_path / "out", [record("http://a/1"), record("http://b/2")])
    db = open_state(out / ".fetcher" / "state.db", fsync=False)
    db.executescript(
        "INSERT INTO host VALUES (1, 'a:80'), (2, 'b:80');"
        "INSERT INTO url (id, key, check_key, url, host, rank, state, generation, session) VALUES"
        " (1, 1, 1, 'http://a/1', 1, 0, 1, 0, 1), (2, 2, 2, 'http://b/2', 2, 0, 1, 0, 1)"
    )
    phases = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    held = pack_unusual(
        2, 0.0, 200, phases, 5, TimingNotes(waits={"retry-after": 9.0}), is_new_connection=True
    )
    rows = TimingRows(db, 1, "", asks=True)
    entries = pack_ordinary(1, 0.0, CAUSES.index("per-host"), 2.0, 0.0, 200, 1.5, 0.25) + held
    db.execute("INSERT INTO timing (session, settled, entries) VALUES (1, 0, ?)", (entries,))
    rows.end()
    db.close()

    figures = figures_of(out, capsys)
    assert figures["exchanges"] == 2
    assert {name: of["count"] for name, of in figures["stages"].items()} == {
        **dict.fromkeys(("name", "connect", "tls", "disk", "bandwidth"), 1),
        **dict.fromkeys(("queue", "header", "body"), 2),
    }
    assert figures["stages"]["header"]["most"] == 1.5
    assert {name: of["total"] for name, of in figures["causes"].items()} == {
        "per-host": 2.0,
        "retry-after": 9.0,
    }
    (host,) = figures["hosts_held_longest"]
    assert (host["host"], host["held"]) == ("b:80", {"retry-after": 9.0})


class _Page(html.parser.HTMLParser):
    """What a page consists of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}


def hostile_records() -> list[dict[str, Any]]:
    return [
        record(
            f"http://{'a.' * number}example/{attack}",
            ("failed", "done", "refused")[number % 3],
            error=attack if number % 3 != 1 else None,
            message=attack,
            path=attack,
            bytes=7 if number % 3 == 1 else 0,
            attempts=1,
            content_type=attack,
            redirects=[f"http://b/{attack}", attack],
            source=attack,
            parent=attack,
            ended_at="2026-11-29T10:00:00.000Z" if number % 2 else attack,
        )
        for number, attack in enumerate(ATTACKS)
    ]


def test_nothing_that_a_server_sent_is_markup_or_is_run(tmp_path: Path) -> None:
    out = run_dir(tmp_path / "<img src=x onerror=alert(1)>", hostile_records(), command=ATTACKS[0])
    page = tmp_path / "page.html"
    assert _run(["report", str(out), "-o", str(page), "--quiet"]) == 0
    parsed = _Page(page.read_text())
    assert parsed.tags["script"] == parsed.tags["style"] == parsed.tags["body"] == 1
    assert not parsed.tags.keys() & {"img", "iframe", "base", "link", "b i", "object", "form"}
    assert not {name for name in parsed.attributes if name.startswith("on")} | ({"src"} & parsed.attributes)
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e\u2066]", page.read_text())

    # A copy without the page's own policy, which would stop a script even if it got in; it sorts a table too.
    naked = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    assert naked != page.read_text()
    button = "const s = document.querySelector('#hosts th button'); s.click(); s.click();"
    page.write_text(naked.replace("</body>", f"<script>{button}</script></body>"))
    shown = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--enable-logging=stderr", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in shown.stderr
    assert re.search("<title>[^<]*&lt;img src=x onerror=alert", shown.stdout)
    hosts = shown.stdout.partition('id="hosts"')[2].partition("</section>")[0]
    names = re.findall(r"(?:a\.)*example(?=:80)", hosts)
    assert len(names) > 2
    assert names == sorted(names, reverse=True)


def test_a_page_is_small_however_much_servers_invent(tmp_path: Path) -> None:
    records = [
        record(
            f"http://h{number}.example/{'x' * 2000}",
            "failed",
            error=f"{number}<{'&' * 500}",
            message="&" * 5000,
            redirects=[f"http://{number}.example/{'<' * 2000}"],
            ended_at=f"{1990 + number % 30}-11-29T10:00:00.000Z",
        )
        for number in range(1500)
    ]
    page = tmp_path / "page.html"
    assert _run(["report", str(run_dir(tmp_path / "out", records)), "-o", str(page)]) == 0
    assert page.stat().st_size < 2_000_000


def test_a_page_replaces_a_page_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run_dir(tmp_path / "out", [record("http://a/1")])
    monkeypatch.chdir(out)
    assert _run(["report", "."]) == 0
    page = tmp_path / "out-report.html"
    before = page.stat().st_ino
    assert _run(["report", str(out)]) == 0
    assert page.stat().st_ino != before
    page.write_text("<!doctype html>somebody's")
    assert _run(["report", str(out)]) == 2
    assert page.read_text() == "<!doctype html>somebody's"
    capsys.readouterr()
    assert _run(["report", str(out), "-o", "-"]) == 0
    assert capsys.readouterr().out.endswith("</html>\n")
    assert _run(["report", str(out), "-o", str(tmp_path / "no" / "where.html")]) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out-report.html"]


def test_a_page_of_a_run_that_fetched_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["report", str(run_dir(tmp_path / "out", [])), "-o", "-"]) == 0
    assert "URLs ended" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(3))
def test_quantiles_are_those_of_all_values_within_a_fifth_of_a_percent(seed: int) -> None:
    chance = random.Random(seed)
    values = [chance.choice([0.0, chance.lognormvariate(0, 5)]) for _ in range(997)]
    found = Distribution()
    for value in values:
        found.add(value)
    values.sort()
    of = found.quantiles()
    for quantile, share in ((of.p10, 0.1), (of.median, 0.5), (of.p90, 0.9), (of.p99, 0.99)):
        assert quantile == pytest.approx(values[-int(-share * len(values) // 1) - 1], rel=0.002)
    assert (of.least, of.most, of.count) == (values[0], values[-1], len(values))


def test_a_large_body_came_over_its_whole_time_in_the_course_and_not_at_its_end() -> None:
    timeline = ReportTimeline()
    timeline.add(1e9 + 60, "done", 60_000_001, 60.0)
    timeline.add(1e9 + 60, "done", 5, 30.0)
    columns = timeline.columns()
    assert sum(column.wire_bytes for column in columns) == 60_000_006
    assert sum(column.done for column in columns) == columns[-1].done == 2
    assert sum(column.seconds for column in columns) == pytest.approx(60, abs=1)
    assert max(column.wire_bytes / column.seconds for column in columns) < 3_000_000


def test_the_course_leaves_pauses_out_and_nothing_else() -> None:
    timeline = ReportTimeline()
    for second in range(5000):  # two runs, a day apart
        timeline.add(1e9 + second / 10 + (86400 if second >= 2500 else 0), "done", 3)
    columns = timeline.columns()
    assert sum(column.done for column in columns) == 5000
    assert sum(column.wire_bytes for column in columns) == 15_000
    assert [column.is_resumed for column in columns].count(True) == 1
    assert len(columns) <= 152
    assert sum(column.seconds for column in columns) == pytest.approx(500, rel=0.05)
