"""The forms of input, as files and on standard input, and what their columns do."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.program import Program, by_url, records, stored
from support.site import Site

MakeSite = Callable[..., Site]
COMMAND = ("get", "-o", "out")


def jsonl(path: Path, *rows: dict[str, Any] | str) -> None:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def test_a_text_file_with_comments_blank_lines_bom_and_crlf(program: Program, site: Site) -> None:
    lines = ["\ufeff# the list", "", f"  {site.url('/p/0')}  ", "# another", site.url("/p/1#part"), "   "]
    (program.folder / "urls.txt").write_bytes("\r\n".join(lines).encode())
    assert program.run(*COMMAND, "-i", "urls.txt").code == 0
    assert [
        (r["line"], r["source"]) for r in sorted(records(program.folder / "out"), key=lambda r: r["line"])
    ] == [
        (3, "urls.txt"),
        (5, "urls.txt"),
    ]
    assert [hit.target for hit in site.log].count("/p/1") == 1


@pytest.mark.parametrize("name", ["urls.txt.gz", "urls"])
def test_a_gzip_file_is_read_whatever_its_name(program: Program, site: Site, name: str) -> None:
    text = "".join(f"{site.url(path)}\n" for path in site.pages)
    half = len(text) // 2
    members = gzip.compress(text[:half].encode()) + gzip.compress(text[half:].encode())
    (program.folder / name).write_bytes(members)
    assert program.run(*COMMAND, "-i", name).code == 0
    assert len(by_url(program.folder / "out")) == 10


def test_a_gzip_file_that_is_cut_is_fetched_as_far_as_it_can_be_read_and_is_an_error(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(200)
    lines = [f"{site.url(path)}\n".encode() for path in site.pages]
    (program.folder / "urls.gz").write_bytes(b"".join(map(gzip.compress, lines))[:-20])
    ended = program.run(*COMMAND, "-i", "urls.gz")
    assert ended.code == 1
    assert "cannot read urls.gz: its gzip data is cut short (after line 199)" in ended.err
    assert len(by_url(program.folder / "out")) == len(site.log) == 199
    assert "to continue:" in ended.err


def test_standard_input_several_files_and_arguments_make_one_list(program: Program, site: Site) -> None:
    (program.folder / "a.txt").write_text(site.url("/p/1") + "\n")
    (program.folder / "b.csv").write_text(f"url\n{site.url('/p/2')}\n")
    ended = program.run(
        *COMMAND, site.url("/p/0"), "-i", "a.txt", "-i", "b.csv", "-i", "-", stdin=site.url("/p/3").encode()
    )
    assert ended.code == 0
    found = by_url(program.folder / "out")
    assert [(found[site.url(f"/p/{n}")]["source"], found[site.url(f"/p/{n}")]["line"]) for n in range(4)] == [
        ("argv", 1),
        ("a.txt", 1),
        ("b.csv", 2),
        ("-", 1),
    ]


def test_standard_input_is_fetched_as_it_comes_before_its_end(program: Program, site: Site) -> None:
    with program.start(*COMMAND, "-i", "-", stdin=subprocess.PIPE) as run:
        assert run.process.stdin is not None
        for path in ("/p/0", "/p/1", "/p/2"):
            run.process.stdin.write(site.url(path).encode() + b"\n")
            run.process.stdin.flush()
            assert site.wait(lambda s, path=path: s.count(path) == 1, 30)
        ended = run.end()
    assert ended.code == 0
    assert len(records(program.folder / "out")) == 3


def test_jsonl_columns_name_check_send_and_are_kept(program: Program, site: Site) -> None:
    digest = hashlib.sha256(site.pages["/p/0"]).hexdigest()
    jsonl(
        program.folder / "list.jsonl",
        {"url": site.url("/p/0"), "name": "first.bin", "sha256": digest, "ticket": 7, "tags": ["a", None]},
        {
            "url": site.url("/echo"),
            "method": "PUT",
            "body": "höre",
            "headers": {"X-Kind": "test"},
            "name": "echo",
        },
        {"url": site.url("/echo"), "body": "posted", "name": "echo2"},
        json.dumps(site.url("/p/1")),
    )
    ended = program.run(*COMMAND, "-i", "list.jsonl")
    assert ended.code == 0, ended
    out = program.folder / "out"
    lines = {record["line"]: record for record in records(out)}
    assert (out / "first.bin").read_bytes() == site.pages["/p/0"]
    assert lines[1]["meta"] == {"ticket": 7, "tags": ["a", None]}
    assert lines[1]["sha256"] == digest
    assert lines[4]["meta"] is None
    put, post = (json.loads((out / name).read_text()) for name in ("echo", "echo2"))
    assert (put["method"], put["body"].encode("latin-1").decode()) == ("PUT", "höre")
    assert ["X-Kind", "test"] in put["headers"]
    assert (post["method"], post["body"]) == ("POST", "posted")
    assert not any(name == "X-Kind" for name, _ in post["headers"])


def test_csv_columns_name_files_and_are_kept(program: Program, site: Site) -> None:
    rows = [f'{site.url(f"/p/{n}")};"Müller; {n}";g{n % 2}' for n in range(4)]
    (program.folder / "list.csv").write_text("\n".join(["URL;author;group", *rows]) + "\n")
    ended = program.run(*COMMAND, "-i", "list.csv", "--name", "{group}/{author}-{index}.txt")
    assert ended.code == 0, ended
    found = by_url(program.folder / "out")
    for n in range(4):
        record = found[site.url(f"/p/{n}")]
        assert record["meta"] == {"author": f"Müller; {n}", "group": f"g{n % 2}"}
        assert record["path"] == f"g{n % 2}/Müller; {n}-{n + 1}.txt"
        assert record["line"] == n + 2
    assert len(stored(program.folder / "out")) == 4


def test_a_larger_priority_is_fetched_first(program: Program, site: Site) -> None:
    jsonl(program.folder / "l.jsonl", *({"url": site.url(f"/p/{n}"), "priority": n} for n in range(10)))
    assert program.run(*COMMAND, "-i", "l.jsonl", "-c", "1").code == 0
    assert [hit.target for hit in site.log] == [f"/p/{n}" for n in reversed(range(10))]


def test_a_wrong_checksum_fails_as_checksum_and_keeps_no_file(program: Program, site: Site) -> None:
    jsonl(program.folder / "l.jsonl", {"url": site.url("/p/0"), "sha256": "0" * 64})
    assert program.run(*COMMAND, "-i", "l.jsonl").code == 1
    [record] = records(program.folder / "out")
    assert (record["state"], record["error"], record["path"]) == ("failed", "checksum", None)
    assert "0" * 64 in record["message"]
    assert stored(program.folder / "out") == {}
    assert len(site.log) == 1, "a wrong file is not asked for again"


def test_duplicates_are_fetched_once_and_counted(program: Program, site: Site) -> None:
    urls = [
        site.url("/p/0"),
        site.url("/p/0#x"),
        site.url("/p/0").replace("http", "HTTP"),
        site.url("/p/./0"),
    ]
    ended = program.run(*COMMAND, *urls, site.url("/p/1"))
    assert ended.code == 0
    assert sorted(hit.target for hit in site.log) == ["/p/0", "/p/1"]
    assert "duplicates  3" in " ".join(ended.err.split("\n")).replace("   ", "  ")


def test_a_line_that_is_no_url_is_a_refused_record_with_its_place(program: Program, site: Site) -> None:
    rows = [
        {"url": site.url("/p/0")},
        '{"url": ',
        {"link": "x"},
        {"url": 5},
        {"url": site.url("/p/1"), "sha256": "short"},
        {"url": site.url("/p/2"), "method": "NO SPACE"},
        {"url": site.url("/p/3"), "headers": {"A": "b\r\nEvil: 1"}},
        {"url": site.url("/p/4"), "headers": {"Content-Length": "5"}},
        {"url": "gopher://x/", "ticket": 9},
        "[1, 2]",
    ]
    jsonl(program.folder / "l.jsonl", *rows)
    ended = program.run(*COMMAND, "-i", "l.jsonl")
    assert ended.code == 1
    lines = {record["line"]: record for record in records(program.folder / "out")}
    assert lines.keys() == set(range(1, 11))
    assert lines[1]["state"] == "done"
    for number in range(2, 11):
        assert lines[number]["state"] == "refused", lines[number]
        assert lines[number]["source"] == "l.jsonl"
        assert lines[number]["error"]
        assert lines[number]["message"]
    assert lines[9]["meta"] == {"ticket": 9}
    assert [hit.target for hit in site.log] == ["/p/0"]


def test_two_urls_with_one_name_get_two_files_and_keep_them(program: Program, site: Site) -> None:
    site.pages |= {"/a/x": b"one", "/b/x": b"two", "/A/X": b"three"}
    rows = [
        {"url": site.url(path), "name": name}
        for path, name in (("/a/x", "same"), ("/b/x", "same"), ("/A/X", "SAME"))
    ]
    jsonl(program.folder / "l.jsonl", *rows)
    assert program.run(*COMMAND, "-i", "l.jsonl", "-c", "1").code == 0
    found = by_url(program.folder / "out")
    names = [found[row["url"]]["path"] for row in rows]
    assert names[0] == "same"
    for row, name, body in zip(rows[1:], names[1:], (b"two", b"three"), strict=True):
        assert name.lower() == f"same~{hashlib.sha256(row['url'].encode()).hexdigest()[:8]}"
        assert (program.folder / "out" / name).read_bytes() == body
    site.pages["/a/x"] = b"one again"
    assert program.run(*COMMAND, "-i", "l.jsonl", "--refresh").code == 0
    assert [by_url(program.folder / "out")[row["url"]]["path"] for row in rows] == names


def test_a_file_that_the_state_does_not_know_is_adopted_or_kept_and_replaced_only_when_told(
    program: Program, site: Site
) -> None:
    out = program.folder / "out"
    out.mkdir()
    (out / "0").write_bytes(b"mine")
    (out / "1").write_bytes(site.pages["/p/1"])
    inode = (out / "1").stat().st_ino
    urls = [site.url("/p/0"), site.url("/p/1")]
    assert program.run(*COMMAND, *urls, "--name", "{stem}").code == 0
    found = by_url(out)
    assert (out / "0").read_bytes() == b"mine"
    assert found[urls[0]]["path"].startswith("0~")
    assert found[urls[1]]["path"] == "1"
    assert (out / "1").stat().st_ino == inode
    assert program.run("get", *urls, "--name", "{stem}", "-o", "over", "--overwrite").code == 0
    (program.folder / "other").mkdir()
    (program.folder / "other" / "0").write_bytes(b"mine")
    assert program.run("get", urls[0], "--name", "{stem}", "-o", "other", "--overwrite").code == 0
    assert (program.folder / "other" / "0").read_bytes() == site.pages["/p/0"]


def test_a_quote_that_closes_nothing_costs_no_row_and_one_that_may_is_told(
    program: Program, site: Site
) -> None:
    rows = [f'{site.url("/p/0")}\t"Quoted start', f"{site.url('/p/1')}\tb", f'{site.url("/p/2")}\t5" pipe']
    (program.folder / "q.tsv").write_text("".join(f"{row}\n" for row in ("url\tcaption", *rows)))
    ended = program.run("get", "-i", "q.tsv", "-o", "out")
    assert ended.code == 0, ended.err
    assert len(by_url(program.folder / "out")) == 3
    swallowed = f'url,b\n{site.url("/p/3")},"x\n{site.url("/p/4")},y"\n'
    (program.folder / "s.csv").write_text(swallowed)
    for more in ((), ("--dry-run",)):
        ended = program.run("get", "-i", "s.csv", "-o", "out2", *more)
        assert "warning: s.csv:2: a quoted value goes on to line 3 and holds a URL" in ended.err


def test_a_list_of_another_sort_is_read_or_refused_before_any_request(program: Program, site: Site) -> None:
    (program.folder / "a.json").write_text(
        f'[{{"URL": "{site.url("/p/0")}", "team": "red"}},\n"{site.url("/p/1")}"]'
    )
    (program.folder / "w.txt").write_text(site.url("/p/2"), encoding="utf-16")
    (program.folder / "l.csv").write_text(f"sep=;\nteam;Link\nblue;{site.url('/p/3')}\n")
    (program.folder / "bin.bin").write_bytes(bytes(range(256)) * 40)
    (program.folder / "empty.txt").touch()
    name = ("--name", "{team}-{stem}")
    assert program.run("get", "-i", "a.json", "-i", "w.txt", "-o", "out", *name).code == 0
    assert program.run("get", "-i", "l.csv", "--url-column", "link", "-o", "out", *name).code == 0
    assert set(stored(program.folder / "out")) == {"red-0", "-1", "-2", "blue-3"}
    refused = program.run("get", site.url("/p/4"), "-i", "bin.bin", "-o", "out3")
    assert refused.code == 2
    assert refused.err.startswith("fetcher: bin.bin:1: this is no list of URLs\n")
    wanting = program.run("get", "-i", "l.csv", "-o", "out3")
    assert wanting.code == 2
    assert "there is no column url; its columns are team, Link" in wanting.err
    empty = program.run("get", "-i", "empty.txt", "-o", "out4")
    assert empty.code == 0
    assert "empty.txt is empty" in empty.err
    assert sum(site.requests().values()) == 4


def test_a_field_of_a_name_that_no_list_has_is_refused_with_those_that_there_are(
    program: Program, site: Site
) -> None:
    url = site.url("/p/0")
    (program.folder / "l.csv").write_text(f"url,team\n{url},x\n")
    for arguments, stdin in (
        ((url,), b""),
        (("-i", "l.csv"), b""),
        (("-i", "-"), f"url,team\n{url},x\n".encode()),
        (("-i", "-"), url.encode()),
    ):
        ended = program.run("get", *arguments, "--name", "{nope}", "-o", "out", stdin=stdin)
        assert ended.code == 2, ended.err
        assert "there is no field 'nope'" in ended.err
        assert "host path stem ext query sha256 index date" in ended.err
        assert ("date team;" in ended.err) == (b"team" in stdin or "l.csv" in arguments)
    assert site.log == []
    assert program.run("get", "-i", "l.csv", "--name", "{team}", "-o", "out").code == 0
