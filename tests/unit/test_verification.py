"""What `verify` compares by, and what it tells."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fetcher.verification import findings
from fetcher.verification.file_checks import FileCheck, Stored, files_below, is_within
from fetcher.verification.findings import KINDS, Verdict
from fetcher.verification.records import lines_of, lines_with, record_of
from fetcher.verification.scratch import Scratch

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference.md").read_text("utf-8")


def test_the_reference_names_every_kind_of_finding_and_whether_it_is_off() -> None:
    begin = REFERENCE.index("- Findings are ")
    off, _, told = REFERENCE[begin : REFERENCE.index("\n\n", begin)].partition("Told, and not off, are")
    assert set(re.findall(r"`([a-z-]+)`", off)) == {kind for kind, what in KINDS.items() if what.is_off}
    assert set(re.findall(r"`([a-z-]+)`", told)) == {kind for kind, what in KINDS.items() if not what.is_off}


def test_every_kind_that_is_off_can_be_mended() -> None:
    mended = findings.OF_FILES | findings.OF_PARTS | findings.OF_RECORDS | findings.OF_DATA
    assert mended | findings.OF_ARCHIVES == {kind for kind, what in KINDS.items() if what.is_off}
    assert not mended & findings.OF_ARCHIVES


def test_only_what_is_off_and_not_mended_counts() -> None:
    verdict = Verdict()
    verdict.found.update({"missing": 3, "unknown": 5, "bad-line": 1})
    verdict.mended.update({"missing": 2, "bad-line": 1})
    assert verdict.off == 1


def test_names_that_lead_out_of_the_directory_are_never_touched(tmp_path: Path) -> None:
    for path in ("../a", "a/../b", "/etc/passwd", "a//b", "", ".fetcher/state.db", "a\0b", "./a"):
        assert not is_within(path), path
    outside = tmp_path / "secret"
    outside.write_bytes(b"theirs")
    root = tmp_path / "root"
    root.mkdir()
    (root / "way").symlink_to(tmp_path)
    check = FileCheck(root, fast=False, on_read=lambda _files, _bytes: None)
    stored = [Stored(n, "u", path, 6, "0" * 64) for n, path in enumerate(["../secret", "way/secret"])]
    assert [finding.kind for finding in check.findings([stored])] == ["not-a-file"] * 2
    assert list(files_below(root)) == ["way"]


def test_lines_with_a_text_are_found_across_blocks_and_at_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    wanted = [b"begin one", b"x" * 3_000_000 + b"one", b"one" * 5, b"two" + b"y" * 100, b"the end: two"]
    path.write_bytes(b"\n".join(line for one in wanted for line in (one, b"nothing" * 20_000))[:-140_001])
    assert list(lines_with(path, [b"one", b"two"])) == wanted
    assert list(lines_with(path, [b"three"])) == list(lines_with(tmp_path / "none", [b"one"])) == []


def test_what_is_no_record_is_none() -> None:
    for line in (
        b"",
        b"{}",
        b"[1]",
        b'{"url":"","state":"done"}',
        b'{"url":"u","state":"dune"}',
        b"\xff",
        b'{"url":',
    ):
        assert record_of(line) is None, line
    record = record_of(b'{"url":"http://a/","state":"done","later":"field"}')
    assert record is not None
    assert record.url == "http://a/"


@given(st.binary(max_size=200), st.integers(0, 220))
def test_lines_are_those_of_the_file_up_to_an_end(data: bytes, end: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.jsonl")
        path.write_bytes(data)
        whole = [line for _, line in lines_of(path)]
        found = list(lines_of(path, end))
    assert whole == data.removesuffix(b"\n").split(b"\n")[: len(data)]
    assert b"".join(line + b"\n" for _, line in found)[: min(end, len(data))] == data[:end]
    assert all(data[at:].startswith(line) for at, line in found)


says = st.integers(0, 2)


@given(
    st.lists(st.tuples(st.integers(1, 4), says), max_size=12),
    st.lists(st.tuples(st.integers(1, 4), says), max_size=8),
)
def test_rows_and_records_are_compared_as_a_plain_model_does(
    written: list[tuple[int, int]], rows: list[tuple[int, int]]
) -> None:
    with Scratch() as scratch:
        for line, (url, said) in enumerate(written, 1):
            scratch.add_record(url, said, line, line * 10)
        for number, (url, said) in enumerate(rows, 1):
            scratch.add_row(url, said, number)
        expected = {}
        for number, (url, said) in enumerate(rows, 1):
            own = [(line, says) for line, (at, says) in enumerate(written, 1) if at == url]
            is_shared = sum(at == url for at, _ in rows) > 1
            if not own:
                expected[number] = None, False
            elif own[-1][1] != said and not (is_shared and said in {says for _, says in own}):
                expected[number] = own[-1][0], True
        assert {number: (line, has) for number, line, has in scratch.disagreeing()} == expected
        known = {url for url, _ in rows}
        assert [line for line, _ in scratch.unknown_records()] == [
            line for line, (url, _) in enumerate(written, 1) if url not in known
        ]
