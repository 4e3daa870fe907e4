"""The parts of the sources that need no file: lines, formats, columns, gzip, iterables."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from fetcher.errors import ConfigError
from fetcher.model import Entry
from fetcher.sources.arguments import Arguments
from fetcher.sources.array import ArrayFormat
from fetcher.sources.csv_format import CsvFormat
from fetcher.sources.gunzip import BadGzip, plain_blocks
from fetcher.sources.iterables import IterableSource
from fetcher.sources.jsonl_format import JsonlFormat
from fetcher.sources.line_splitter import LineSplitter
from fetcher.sources.rows import RowReader
from fetcher.sources.sniff import format_by_name, format_of
from fetcher.sources.text_format import TextFormat
from fetcher.sources.transcode import utf8_blocks
from fetcher.sources.validation import from_columns, is_unicode, readable

DIGEST = "ab" * 32
Form = TextFormat | JsonlFormat | CsvFormat
OPTION = ", and --url-column NAME says which holds the URL"


def entries(form: Form, data: bytes, size: int = 1 << 18) -> list[Entry]:
    """All entries of `data`, given to the format in blocks of `size`."""
    splitter = LineSplitter(form.longest)
    found: list[Entry] = []
    for start in range(0, len(data), size):
        for lines in splitter.feed(data[start : start + size]):
            found += form.entries(lines)
    for lines in splitter.finish():
        found += form.entries(lines)
    return found + form.finish()


def text(data: bytes, size: int = 1 << 18) -> list[Entry]:
    return entries(TextFormat("list"), data, size)


def jsonl(data: bytes) -> list[Entry]:
    return entries(JsonlFormat("list"), data)


def table(data: bytes, size: int = 1 << 18) -> list[Entry]:
    return entries(CsvFormat("list"), data, size)


async def everything(source: object) -> list[Entry]:
    return [entry async for batch in source for entry in batch]  # type: ignore[attr-defined]


# ------------------------------------------------------------------ lines


@given(st.binary(max_size=300), st.integers(1, 20), st.integers(3, 40))
def test_lines_are_numbered_whole_and_cut_only_above_the_limit(data: bytes, size: int, longest: int) -> None:
    splitter = LineSplitter(longest)
    pieces = [piece for at in range(0, len(data), size) for piece in splitter.feed(data[at : at + size])]
    pieces += splitter.finish()

    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    seen = [(piece.first + i, line) for piece in pieces for i, line in enumerate(piece.texts)]
    cut = {piece.first for piece in pieces if piece.is_cut}
    assert [number for number, _ in seen] == list(range(1, len(expected) + 1))
    assert cut == {number for number, line in enumerate(expected, 1) if len(line) > longest}
    for (number, line), raw in zip(seen, expected, strict=True):
        kept = line.encode("utf-8", "surrogateescape")
        whole = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        assert whole.startswith(kept) if number in cut else whole == kept


def test_no_more_of_a_long_line_is_held_than_the_limit_and_a_block() -> None:
    splitter = LineSplitter(100)
    found = [piece for _ in range(1_000) for piece in splitter.feed(b"x" * 64)]
    assert [piece.is_cut for piece in found] == [True]
    assert len(splitter._rest) <= 164


def test_lines_come_in_pieces_that_a_batch_can_hold() -> None:
    pieces = list(LineSplitter(100).feed(b"a\n" * 10_000))
    assert [len(piece.texts) for piece in pieces] == [4_096, 4_096, 1_808]
    assert [piece.first for piece in pieces] == [1, 4_097, 8_193]


# ------------------------------------------------------------------ text


def test_a_text_list_keeps_its_urls_with_their_line_numbers() -> None:
    data = b"\xef\xbb\xbfhttp://a/\r\n\r\n  # later\n\thttp://b/ \n#http://c/\n\nhttp://d/"
    assert text(data) == [
        Entry("http://a/", "list", 1),
        Entry("http://b/", "list", 4),
        Entry("http://d/", "list", 7),
    ]


def test_a_line_that_is_not_utf8_is_bad_and_its_neighbours_are_not() -> None:
    assert text(b"http://a/\nhttp://b/\xff\n# caf\xe9\nhttp://\xc3\xa9/\n") == [
        Entry("http://a/", "list", 1),
        Entry("http://b/\\xff", "list", 2, bad="not UTF-8"),
        Entry("http://é/", "list", 4),
    ]


def test_a_line_above_64_kib_is_bad_and_shows_its_beginning() -> None:
    longest = b"http://a/".ljust(65_536, b"x")
    fits, cut, after = text(longest + b"\n" + longest + b"y\nhttp://b/\n", 1_000)
    assert (len(fits.url), fits.bad) == (65_536, None)
    assert cut.bad == "line longer than 65,536 bytes"
    assert cut.url == "http://a/".ljust(200, "x") + "…"
    assert (cut.line, after) == (2, Entry("http://b/", "list", 3))


def test_a_comment_may_be_longer_than_a_line() -> None:
    assert text(b"# " + b"x" * 70_000 + b"\nhttp://a/\n") == [Entry("http://a/", "list", 2)]


def test_only_a_line_feed_ends_a_line_and_nul_is_left_to_the_gate() -> None:
    (entry,) = text("http://a/\x00\x0b\u2028\x85\rb".encode())
    assert entry == Entry("http://a/\x00\x0b\u2028\x85\rb", "list", 1)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_give_one_entry_or_a_skipped_line_for_each_line(data: bytes, size: int) -> None:
    expected: list[tuple[int, bool]] = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        line = raw.decode("utf-8", "surrogateescape").strip()
        if line and not line.startswith("#"):
            expected.append((number, is_unicode(line)))
    found = text(data, size)
    assert [(entry.line, entry.bad is None) for entry in found] == expected
    assert all(is_unicode(entry.url) for entry in found)


# ------------------------------------------------------------------ JSONL


def test_a_jsonl_object_gives_its_columns_and_the_rest_as_meta() -> None:
    row = {
        "id": 7,
        "url": " http://a/ ",
        "name": "x/y.bin",
        "sha256": DIGEST.upper(),
        "priority": -3,
        "method": "POST",
        "body": "",
        "headers": {"X-A": "b"},
        "tags": ["p", None],
    }
    assert jsonl(json.dumps(row).encode()) == [
        Entry(
            "http://a/",
            "list",
            1,
            name="x/y.bin",
            sha256=DIGEST,
            priority=-3,
            method="POST",
            body="",
            headers={"X-A": "b"},
            meta={"id": 7, "tags": ["p", None]},
        )
    ]


def test_a_jsonl_string_is_a_url_and_blank_lines_and_comments_are_skipped() -> None:
    assert jsonl(b'\xef\xbb\xbf"http://a/"\r\n\n  \n# no\n{"url": "http://b/", "name": null}\n') == [
        Entry("http://a/", "list", 1),
        Entry("http://b/", "list", 5),
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            '{"url": "http://a/", "priority": "5"}',
            "priority: expected a whole number of at most 53 bits, got '5'",
        ),
        (
            '{"url": "http://a/", "priority": true}',
            "priority: expected a whole number of at most 53 bits, got True",
        ),
        ('{"url": "http://a/", "priority": 9007199254740992}', "got 9007199254740992"),
        ('{"url": "http://a/", "priority": 1' + "0" * 4_000 + "}", "got a number"),
        ('{"url": "http://a/", "sha256": "abc"}', "sha256: expected 64 hex digits, got 'abc'"),
        ('{"url": "http://a/", "name": 5}', "name: expected a file name, got 5"),
        ('{"url": "http://a/", "name": " "}', "name: expected a file name, got ' '"),
        ('{"url": "http://a/", "method": []}', "method: expected a method such as POST, got an array"),
        ('{"url": "http://a/", "body": {"a": 1}}', "body: expected text, got an object"),
        (
            '{"url": "http://a/", "headers": {"a": 1}}',
            "headers: expected an object of text values, got an object",
        ),
        ('{"url": "http://a/"', "not JSON"),
        ('{"url": "http://a/"},', "not JSON"),
    ],
)
def test_a_bad_column_makes_its_line_bad_and_is_named(line: str, why: str) -> None:
    bad, good = jsonl(line.encode() + b'\n"http://b/"')
    assert bad.bad is not None
    assert why in bad.bad
    assert (bad.url, bad.line) == ("http://a/", 1)
    assert good == Entry("http://b/", "list", 2)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{}", "no url"),
        (b'{"link": "http://a/", "id": 1}', "no url; its columns are link, id"),
        (b'{"url": null, "a": 1}', "no url"),
        (b'{"url": 5}', "url: expected text, got 5"),
        (b"17", "expected an object with `url`, or a URL as a string"),
        (b'["http://a/"]', "a JSON array"),
        (b"[", "a JSON array"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"1" * 10_000, "not JSON"),
        (b'{"url": "http://a/\xff"}', "not UTF-8"),
        (b'{"url": "http://a/\\ud800 "}', "not JSON"),
        (b"NaN", "not JSON"),
        (b"\x00", "not JSON"),
        (b'{"url": "' + b"x" * 1_048_576 + b'"}', "line longer than 1,048,576 bytes"),
    ],
)
def test_a_line_that_is_no_jsonl_is_bad_and_says_why(line: bytes, why: str) -> None:
    (entry,) = jsonl(line)
    assert entry.bad is not None
    assert why in entry.bad
    assert is_unicode(entry.url + entry.bad)
    assert len(entry.url) <= 1_000


def test_a_bad_jsonl_line_keeps_its_meta_and_shows_no_headers() -> None:
    (entry,) = jsonl(b'{"id": 1, "headers": {"Authorization": "hush"}}')
    assert (entry.bad, entry.meta) == (f"no url; its columns are id, headers{OPTION}", {"id": 1})
    (other,) = jsonl(b'{"url": "http://a/", "headers": "Authorization: hush", "body": ["hush"]}')
    (broken,) = jsonl(b'{"headers": {"Authorization": "hush"}')
    assert "hush" not in repr([entry, other, broken])


@given(st.binary(max_size=200))
def test_any_bytes_as_jsonl_raise_nothing(data: bytes) -> None:
    found = jsonl(b'{"url": "http://a/"}\n' + data)
    assert found[0] == Entry("http://a/", "list", 1)
    assert all(entry.bad or entry.url or entry.url == "" for entry in found)
    assert all(is_unicode(entry.url) for entry in found)


# ------------------------------------------------------------------ CSV


def test_a_csv_row_gives_its_columns_and_the_rest_as_meta() -> None:
    data = (
        "\ufeffId,URL,Name,SHA256,priority,method,body,headers,\r\n"
        f'7, http://a/ ,x.bin,{DIGEST.upper()}, +5 ,POST," b ",h,nameless\r\n'
        "\r\n"
        ",,,,,,,,\r\n"
        "8,http://b/\r\n"
    )
    assert table(data.encode()) == [
        Entry(
            "http://a/",
            "list",
            2,
            name="x.bin",
            sha256=DIGEST,
            priority=5,
            method="POST",
            body=" b ",
            meta={"Id": "7", "headers": "h"},
        ),
        Entry("http://b/", "list", 5, meta={"Id": "8"}),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_that_of_the_header(delimiter: str) -> None:
    others = "".join({",", ";", "\t"} - {delimiter, "\t"})
    data = f"name{delimiter}url\nn{delimiter}http://a/{others}\n"
    assert table(data.encode()) == [Entry(f"http://a/{others}", "list", 2, name="n")]


def test_a_header_of_one_column_leaves_commas_to_the_url() -> None:
    assert table(b"url\nhttp://a/b,c;d\n") == [Entry("http://a/b,c;d", "list", 2)]


def test_a_quoted_field_may_hold_line_breaks_and_the_row_has_its_first_line() -> None:
    data = b'a,url\n"one\r\ntwo ""2""\n,three",http://a/\n"x",http://b/\n'
    assert table(data, 3) == [
        Entry("http://a/", "list", 2, meta={"a": 'one\r\ntwo "2"\n,three'}),
        Entry("http://b/", "list", 5, meta={"a": "x"}),
    ]


@pytest.mark.parametrize("data", [b"http://a/\nhttp://b/\n", b"name,link\nx,http://a/\n", b'"url\nx', b",\n"])
def test_a_header_without_url_stops_with_what_was_found(data: bytes) -> None:
    with pytest.raises(ConfigError, match="list: not a usable CSV header") as raised:
        table(data)
    assert "--url-column" in raised.value.hint


def test_a_missing_url_column_is_told_by_the_columns_that_are_there() -> None:
    with pytest.raises(ConfigError, match="its columns are name, link"):
        table(b"name,link\nx,http://a/\n")
    with pytest.raises(ConfigError, match="column url stands there twice"):
        table(b"url,URL\n")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (b"http://a/,b,c,d", "4 fields under a header of 3"),
        (b",b,c", "no url"),
        (b"http://a/,soon,c", "priority: expected a whole number of at most 53 bits, got 'soon'"),
        (b"http://a/,1_000,c", "priority: expected"),
        (b"http://a/,5,\xff", "not UTF-8"),
        (b"http://a/,1," + b"x" * 131_072, "row longer than 131,072 bytes"),
    ],
)
def test_a_bad_row_costs_only_itself(row: bytes, why: str) -> None:
    bad, good = table(b"url,priority,c\n" + row + b"\nhttp://b/\n")
    assert bad.bad is not None
    assert why in bad.bad
    assert bad.line == 2
    assert good == Entry("http://b/", "list", 3)


@pytest.mark.parametrize("rows", [10, 40_000])
def test_a_quote_that_is_never_closed_is_a_character_and_costs_no_row(rows: int) -> None:
    data = b'url,b\nhttp://a/,"oh\n' + b"".join(b"http://b/%d,b\n" % i for i in range(rows))
    first, *others = table(data)
    assert first == Entry("http://a/", "list", 2, meta={"b": '"oh'})
    assert [entry.url for entry in others] == [f"http://b/{i}" for i in range(rows)]
    assert [entry.line for entry in others] == list(range(3, rows + 3))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_quote_with_text_behind_it_closes_nothing(delimiter: str) -> None:
    data = 'url,caption\nhttp://h/1,"Quoted start\nhttp://h/2,b\nhttp://h/3,5" pipe\n'.replace(",", delimiter)
    assert table(data.encode()) == [
        Entry("http://h/1", "list", 2, meta={"caption": '"Quoted start'}),
        Entry("http://h/2", "list", 3, meta={"caption": "b"}),
        Entry("http://h/3", "list", 4, meta={"caption": '5" pipe'}),
    ]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ('"a" b', '"a" b'),
        ('"a"b"', '"a"b"'),
        ('a"b"', 'a"b"'),
        ('"', '"'),
        ('"""', '"""'),
        ('""', None),
        ('""""', '"'),
        ('"a""b"', 'a"b'),
        (' "a"', ' "a"'),
    ],
)
def test_quotes_count_only_around_a_whole_value(value: str, read: str | None) -> None:
    for row in (f"http://a/,{value},x", f"http://a/,{value}"):
        [entry] = table(f"url,b,c\n{row}\n".encode())
        assert (entry.url, entry.bad, (entry.meta or {}).get("b")) == ("http://a/", None, read)


def told(data: str) -> list[str]:
    """The warnings of a table."""
    warnings: list[str] = []
    entries(CsvFormat("list", notice=lambda _, text: warnings.append(text)), data.encode())
    return warnings


def test_a_quoted_value_with_line_breaks_and_a_url_is_told_with_its_line() -> None:
    swallowed = 'url,b\nhttp://1/,a\nhttp://2/,"b\nhttp://3/,5"\nhttp://4/,c\n'
    assert [entry.url for entry in table(swallowed.encode())] == ["http://1/", "http://2/", "http://4/"]
    [warning] = told(swallowed)
    assert warning.startswith("list:3: a quoted value goes on to line 4 and holds a URL")
    assert told('url,b\nhttp://1/,"two\nlines"\nhttp://2/,"http://3/"\n') == []
    assert len(told("url,b\n" + 'http://1/,"x\nhttp://y/"\n' * 50)) == 10


def test_an_open_quote_holds_back_no_more_than_the_longest_row() -> None:
    form = CsvFormat("list")
    splitter = LineSplitter(form.longest)
    fed = handed = 0
    for number in range(20_000):
        line = b'http://a/,"oh\n' if number == 1 else b"http://b/%d,b\n" % number
        fed += len(line)
        for lines in splitter.feed(b"url,b\n" if number == 0 else line):
            handed += len(form.entries(lines))
        if fed > 2 * form.longest:
            break
    assert handed == number  # all rows so far, without waiting for the end of the input


def test_nul_bytes_in_a_table_are_left_to_the_gate() -> None:
    assert table(b'url,b\nhttp://a/\x00,"\x00"\n') == [Entry("http://a/\x00", "list", 2, meta={"b": "\x00"})]


_CELL = st.text(st.sampled_from('ab",;\t \né'), max_size=12)
_DIALECTS: dict[str, dict[str, object]] = {
    "excel": {"dialect": "excel"},
    "excel-tab": {"dialect": "excel-tab"},
    "unix": {"dialect": "unix"},
    "excel of many countries": {"dialect": "excel", "delimiter": ";"},
    "every value in quotes": {"quoting": csv.QUOTE_ALL},
    "texts in quotes": {"quoting": csv.QUOTE_NONNUMERIC, "delimiter": "\t", "lineterminator": "\n"},
}


@pytest.mark.parametrize("dialect", _DIALECTS)
@given(rows=st.lists(st.tuples(_CELL, _CELL), max_size=12), size=st.integers(1, 30))
def test_what_the_csv_module_writes_is_read_back(
    dialect: str, rows: list[tuple[str, str]], size: int
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, **_DIALECTS[dialect])  # type: ignore[arg-type]
    writer.writerows([("before", "url", "after"), *((a, f"http://{i}/", b) for i, (a, b) in enumerate(rows))])
    found = table(out.getvalue().encode(), size)
    assert [entry.url for entry in found] == [f"http://{i}/" for i in range(len(rows))]
    for entry, (before, after) in zip(found, rows, strict=True):
        assert entry.bad is None
        assert entry.meta == ({k: v for k, v in (("before", before), ("after", after)) if v} or None)


_PIECES = st.lists(st.sampled_from(['"', '""', ",", "\n", "\r\n", "x", '"x"', '",', ',"']), max_size=40)


@given(_PIECES, st.integers(1, 60))
def test_rows_are_those_of_the_grammar_however_quotes_stand(parts: list[str], longest: int) -> None:
    body = "".join(parts)
    reader = RowReader(",", longest)
    lines = body.split("\n")
    rows = [row for number, line in enumerate(lines, 1) for row in reader.feed(number, line)]
    rows += reader.finish()
    assert [(row.first, row.values) for row in rows] == rows_of_the_grammar(lines, longest)


def rows_of_the_grammar(lines: list[str], longest: int) -> list[tuple[int, list[str]]]:
    """The grammar of `rows`, tried out value by value."""
    rows: list[tuple[int, list[str]]] = []
    at = 0
    while at < len(lines):
        text, values, first, begin = lines[at], [], at, 0
        while True:
            quoted = re.compile(r'"((?:[^"]|"")*)"(?=,|\r?(?:\n|\Z))')
            rest = "\n".join([text, *lines[at + 1 :]])
            match = quoted.match(rest, begin)
            size = sum(len(line) + 1 for line in lines[first:at])
            if match is not None and (breaks := match[1].count("\n")):
                # The lines before the one that closes must fit, and the one that opens must not be full.
                held = "\n".join(rest.split("\n")[:breaks]) + "\n"
                match = match if size + len(held) <= longest else None
            if match is not None:
                values.append(match[1].replace('""', '"'))
                breaks = match[0].count("\n")
                begin = match.end()
                if breaks:
                    at += breaks
                    begin -= rest.rindex("\n", 0, begin) + 1
                    text = lines[at]
            else:
                end = text.find(",", begin)
                end = len(text) if end < 0 else end
                value = text[begin:end]
                values.append(value.removesuffix("\r") if end == len(text) else value)
                begin = end
            if text[begin : begin + 1] != ",":
                break
            begin += 1
        rows.append((first + 1, values))
        at += 1
    return rows


@pytest.mark.parametrize("first", ["sep=;", "SEP=;\r", '"sep=;"'])
def test_the_first_line_of_excel_names_the_delimiter(first: str) -> None:
    data = f"\ufeff{first}\nname,x;url\nn;http://a/,b\n"
    assert table(data.encode()) == [Entry("http://a/,b", "list", 3, meta={"name,x": "n"})]


def test_the_column_of_urls_can_be_named_in_any_case() -> None:
    columns = b"Link,url,id\nhttp://a/,http://no/,7\n"
    [entry] = entries(CsvFormat("list", "link"), columns)
    assert entry == Entry("http://a/", "list", 2, meta={"url": "http://no/", "id": "7"})
    lines = b'{"LINK": "http://a/", "url": "http://no/", "name": "n"}\n{"url": "http://b/"}\n'
    found, lacking = entries(JsonlFormat("list", "link"), lines)
    assert found == Entry("http://a/", "list", 1, name="n", meta={"url": "http://no/"})
    assert lacking.bad == f"no link; its columns are url{OPTION}"
    with pytest.raises(ConfigError, match="there is no column nix; its columns are Link, url, id"):
        entries(CsvFormat("list", "nix"), columns)


def test_a_jsonl_url_may_stand_under_its_name_in_any_case() -> None:
    assert [entry.url for entry in jsonl(b'{"URL": "http://a/"}\n{"Url": "http://b/", "x": 1}')] == [
        "http://a/",
        "http://b/",
    ]


# ------------------------------------------------------------------ JSON arrays


def array(data: bytes, size: int = 1 << 18) -> list[Entry]:
    """All entries of `data`, in blocks of `size`; the first shows that it is an array."""
    form = ArrayFormat("list")
    head = data.index(b"[") + 1
    blocks = [data[:head], *(data[at : at + size] for at in range(head, len(data), size))]
    found = [entry for block in blocks for some in form.feed(block) for entry in some]
    found += [entry for some in form.finish() for entry in some]
    assert not form.is_cut
    return found


@pytest.mark.parametrize("size", [1, 2, 7, 1 << 18])
def test_an_array_gives_what_its_elements_would_as_lines(size: int) -> None:
    data = b"""\xef\xbb\xbf
[ "http://a/", {"url": "http://b/,]}", "x": [1, {"y": "\\"]"}]},
  {"URL": "http://c/"}, 17, {"url": "http://d/" "e"},
  [], nonsense, ["http://no/"], "http://e/\xff", ]

["http://f/"]
"""
    found = array(data, size)
    assert [(entry.url, entry.line) for entry in found if entry.bad is None] == [
        ("http://a/", 2),
        ("http://b/,]}", 2),
        ("http://c/", 3),
        ("http://f/", 6),
    ]
    assert found[1].meta == {"x": [1, {"y": '"]'}]}
    assert [(entry.line, (entry.bad or "")[:8]) for entry in found if entry.bad is not None] == [
        (3, "expected"),
        (3, "not JSON"),
        (4, "a JSON a"),
        (4, "not JSON"),
        (4, "a JSON a"),
        (4, "not UTF-"),
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab"\\\\,[]{}\n é', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab]", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["x", "y"]), _JSON, max_size=2), max_size=6),
    st.sampled_from([None, 2]),
    st.integers(1, 40),
)
def test_any_array_of_objects_is_read_as_the_json_module_reads_it(
    rows: list[dict[str, object]], indent: int | None, size: int
) -> None:
    listed = [{"url": f"http://{number}/", **row} for number, row in enumerate(rows)]
    found = array(json.dumps(listed, indent=indent, ensure_ascii=False).encode(), size)
    assert [(entry.url, entry.bad, entry.meta) for entry in found] == [
        (f"http://{number}/", None, row or None) for number, row in enumerate(rows)
    ]


def test_text_behind_an_array_is_told_and_an_array_that_does_not_end_is_cut() -> None:
    good, bad = array(b'["http://a/"]\nrest "x')
    assert (good.url, bad.bad, bad.line) == ("http://a/", "text behind the end of the JSON array", 2)
    form = ArrayFormat("list")
    assert [entry.url for some in form.feed(b'["http://a/", "http://b') for entry in some] == ["http://a/"]
    assert form.is_cut


def test_no_more_of_an_element_is_held_than_the_limit_and_those_behind_it_are_read() -> None:
    form = ArrayFormat("list")
    found = [entry for some in form.feed(b'["http://a/",\n{"x": "') for entry in some]
    for _ in range(100):
        found += [entry for some in form.feed(b"\\\\]," * 20_000) for entry in some]
        assert len(form._rest) <= 1_200_000
    found += [entry for some in form.feed(b'\n"},\n"http://b/"]') for entry in some]
    assert [(entry.line, entry.bad) for entry in found] == [
        (1, None),
        (2, "element longer than 1,048,576 bytes"),
        (4, None),
    ]


# ------------------------------------------------------------------ UTF-16


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-be"])
@given(text=st.text(max_size=60).filter(lambda text: text[:1] != "\0"), size=st.integers(1, 9))
def test_text_with_a_byte_order_mark_becomes_utf8(encoding: str, text: str, size: int) -> None:
    mark = "" if encoding in {"utf-16", "utf-32"} else "\ufeff"
    data = (mark + text).encode(encoding)
    blocks = list(utf8_blocks(data[at : at + size] for at in range(0, len(data), size)))
    assert b"".join(blocks) == text.encode()
    assert all(blocks)


@given(st.binary(max_size=40), st.integers(1, 9))
def test_bytes_without_such_a_mark_pass_unchanged_and_none_raise(data: bytes, size: int) -> None:
    blocks = list(utf8_blocks(data[at : at + size] for at in range(0, len(data), size)))
    assert all(blocks)
    if not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        assert b"".join(blocks) == data


def test_a_lone_surrogate_and_a_cut_character_cost_their_own_line() -> None:
    data = "http://a/\n".encode("utf-16") + b"h\0\0\xd8\n\0h\0\n\0x"
    found = text(b"".join(utf8_blocks([data])))
    assert [(entry.line, entry.bad) for entry in found] == [
        (1, None),
        (2, "not UTF-8"),
        (3, None),
        (4, "not UTF-8"),
    ]


# ------------------------------------------------------------------ which format


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.jsonl", "jsonl"),
        ("b.NDJSON.gz", "jsonl"),
        ("b.csv", "csv"),
        ("b.tsv.GZ", "csv"),
        ("b.txt", None),
        ("-", None),
        ("csv", None),
    ],
)
def test_the_extension_names_the_format(path: str, expected: str | None) -> None:
    assert format_by_name(path) == expected


@pytest.mark.parametrize(
    ("head", "is_all", "expected"),
    [
        (b"", False, None),
        (b"", True, "text"),
        (b" \n\t", False, None),
        (b'\xef\xbb\xbf \n{"url', False, "jsonl"),
        (b"http://a/", False, None),
        (b"http://a/\n", False, "text"),
        (b"url,name\n", False, "csv"),
        (b"\xef\xbb\xbfName;URL\r\n", False, "csv"),
        (b"name\turl", True, "csv"),
        (b'"url","my name"\n', False, "csv"),
        (b"url\n", False, "text"),
        (b"http://a/?x,url\n", False, "text"),
        (b"name,link\n", False, "text"),
        (b"#url,name\n", False, "text"),
        (b"x" * 70_000, False, "text"),
        (b" " * 70_000, False, "text"),
        (b'\xef\xbb\xbf [\n"http', False, "array"),
        (b"sep=;\n", False, "csv"),
        (b"\x7fELF\0\1\n\n\0", False, "binary"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", False, "binary"),
        (b"h\0t\0t\0p\0:\0/\0/\0", True, "binary"),
        (b"# caf\xe9\n", False, "text"),
        (b"http://a/\0\nb\0\n", False, "text"),
        (b"\0\nHTTPS://a/\n", False, "text"),
        (b"caf\xc3\xa9\n", False, "text"),
    ],
)
def test_the_content_tells_the_format(head: bytes, is_all: bool, expected: str | None) -> None:
    assert format_of(head, is_all=is_all, named=None, path="list") == expected


# ------------------------------------------------------------------ gzip


def plain(data: bytes, piece: int = 7, size: int = 100) -> Iterator[bytes]:
    reader = io.BytesIO(data)
    return plain_blocks(lambda: reader.read(piece), size)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.integers(1, 400))
def test_all_members_of_a_gzip_stream_are_read(members: list[bytes], piece: int) -> None:
    data = b"".join(map(gzip.compress, members)) + b"\0" * 20
    blocks = list(plain(data, piece))
    assert b"".join(blocks) == b"".join(members)
    assert all(0 < len(block) <= 100 for block in blocks)


@pytest.mark.parametrize("piece", [1, 1_000])
def test_what_is_not_gzip_passes_unchanged(piece: int) -> None:
    assert b"".join(plain(b"\x1fhttp://a/", piece)) == b"\x1fhttp://a/"
    assert list(plain(b"", piece)) == []


def test_gzip_cut_anywhere_gives_a_part_and_then_an_error() -> None:
    whole = bytes(range(256)) * 2
    data = gzip.compress(whole, 1)
    for cut in range(2, len(data)):
        got: list[bytes] = []
        with pytest.raises(BadGzip, match="cut short"):
            got.extend(plain(data[:cut]))
        assert whole.startswith(b"".join(got))


def test_damaged_gzip_and_gzip_with_a_tail_are_errors() -> None:
    data = gzip.compress(b"x" * 50)
    with pytest.raises(BadGzip, match="damaged"):
        list(plain(data[:-5] + b"?" + data[-4:]))
    with pytest.raises(BadGzip, match="followed by something else"):
        list(plain(data + b"\0\0tail"))


# ------------------------------------------------------------------ arguments and iterables


async def test_arguments_have_their_position_and_keep_undecodable_bytes_readable() -> None:
    assert await everything(Arguments(["http://a/", "http://b/\udcff"])) == [
        Entry("http://a/", "argv", 1),
        Entry("http://b/\\xff", "argv", 2, bad="not UTF-8"),
    ]


async def test_an_iterable_may_hold_strings_urls_mappings_and_entries() -> None:
    items = [
        "http://a/",
        URL("http://b/?x=%20"),
        {"url": "http://c/", "name": "c.bin", "id": 3},
        Entry("http://d/", priority=1),
        Entry("http://e/", "mine", 77),
        {"url": "http://f/", "sha256": "no"},
        {"url": "http://g/", "thing": object()},
        "http://h/\ud800",
    ]
    *good, f, g, h = await everything(IterableSource(items, batch=3))
    assert good == [
        Entry("http://a/", None, 1),
        Entry("http://b/?x=%20", None, 2),
        Entry("http://c/", None, 3, name="c.bin", meta={"id": 3}),
        Entry("http://d/", None, 4, priority=1),
        Entry("http://e/", "mine", 77),
    ]
    assert f.bad == "sha256: expected 64 hex digits, got 'no'"
    assert g.bad is not None
    assert "cannot be written as JSON" in g.bad
    assert (h.url, h.bad) == ("http://h/\\ud800", "not UTF-8")


@pytest.mark.parametrize("batch", [1, 10])
async def test_an_endless_iterable_is_pulled_one_batch_at_a_time(batch: int) -> None:
    numbers = count()
    source = IterableSource((f"http://{i}/" for i in numbers), batch=batch)
    batches = source.__aiter__()
    for _ in range(3):
        assert len(await anext(batches)) == batch
    assert next(numbers) == 3 * batch
    await batches.aclose()  # type: ignore[attr-defined]


async def test_an_item_of_an_async_iterable_is_handed_over_before_the_next_is_asked_for() -> None:
    asked: list[int] = []

    async def urls() -> AsyncIterator[str]:
        for i in count(1):
            asked.append(i)
            yield f"http://{i}/"

    seen: list[Sequence[Entry]] = []
    pulled = urls()
    source = IterableSource(pulled, batch=10)
    async for some in source:
        seen.append(some)
        assert asked == list(range(1, len(seen) + 1))
        if len(seen) == 3:
            break
    assert seen == [[Entry(f"http://{i}/", None, i)] for i in (1, 2, 3)]
    await source.aclose()
    assert await anext(pulled) == "http://4/"  # the caller's iterator is the caller's to close


@pytest.mark.parametrize("urls", ["http://a/", b"http://a/", URL("http://a/"), {"url": "http://a/"}, 5, None])
def test_what_is_no_iterable_of_urls_is_a_type_error(urls: object) -> None:
    with pytest.raises(TypeError, match=f"expected an iterable of URLs, got {type(urls).__name__}"):
        IterableSource(urls)  # type: ignore[arg-type]


async def test_an_item_of_another_type_is_a_type_error_with_its_position() -> None:
    with pytest.raises(TypeError, match=r"item 2: .* got bytes"):
        await everything(IterableSource(["http://a/", b"http://b/"]))  # type: ignore[list-item]


async def test_an_error_of_the_iterable_reaches_the_caller_unchanged() -> None:
    async def urls() -> AsyncIterator[str]:
        yield "http://a/"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await everything(IterableSource(urls()))


# ------------------------------------------------------------------ columns


@given(
    st.dictionaries(
        st.sampled_from(["url", "name", "sha256", "priority", "method", "body", "headers", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
)
def test_columns_of_any_type_give_a_typed_entry_or_a_bad_one(columns: dict[str, object]) -> None:
    entry = from_columns(columns, None, 1)
    assert is_unicode(entry.url)
    if entry.bad is None:
        assert isinstance(columns["url"], str)
        assert json.loads(json.dumps([entry.name, entry.sha256, entry.body, entry.headers])) is not None
        assert type(entry.priority) is int
        assert entry.sha256 is None or len(entry.sha256) == 64


@given(st.text(st.characters(), max_size=20))
def test_readable_text_always_fits_in_utf8(value: str) -> None:
    assert is_unicode(readable(value))
    assert is_unicode(value) == (readable(value) == value)


def test_the_event_loop_is_not_needed_to_make_a_source() -> None:
    sources = [Arguments([]), IterableSource([])]
    assert [asyncio.run(everything(source)) for source in sources] == [[], []]
