"""Resources of the demo site: every path, byte, delay and fault, decided by the number of pages alone.

Pure: no clock, no randomness that is not seeded, no I/O.
"""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from html import escape
from typing import Literal

_SECTIONS = ("harbour", "mountains", "kitchen", "observatory", "workshop", "archive")
_NOUNS = (
    *("tide", "lantern", "ferry", "compass", "ledger", "orchard", "glacier", "kettle", "engine", "bridge"),
    *("signal", "garden", "letter", "map", "clock", "window", "market", "river", "violin", "telescope"),
)
_ADJECTIVES = (
    *("quiet", "early", "northern", "borrowed", "patient", "silver", "crooked", "second", "distant"),
    *("careful", "open", "winter", "forgotten", "steady", "narrow", "bright"),
)
_VERBS = ("keeps", "follows", "repairs", "measures", "remembers", "crosses", "opens", "copies", "carries")
_EPOCH = datetime(2024, 1, 1, 9, 0, tzinfo=UTC)
_LARGE_BYTES = 3 * 1024 * 1024
_LARGE_BYTES_PER_S = 1024 * 1024

MOVED_TO = "/articles/001.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One path of the site. `fault` happens on the first request only."""

    kind: Literal["page", "asset", "file", "moved", "missing"]
    content_type: str = "text/html; charset=utf-8"
    body: bytes = b""
    modified_at: datetime = _EPOCH
    delay_s: float = 0.0
    bytes_per_s: int = 0  # 0 is as fast as it goes
    fault: Literal["none", "busy", "reset"] = "none"
    is_coded: bool = False
    is_listed: bool = True

    @property
    def last_modified(self) -> str:
        return format_datetime(self.modified_at, usegmt=True)

    @property
    def modified_on(self) -> str:
        return self.modified_at.date().isoformat()


def plan(pages: int = 300) -> dict[str, Resource]:
    """Return the whole site as path → resource, the home page first.

    Raises:
        ValueError: fewer than ten pages make no site.
    """
    if pages < 10:
        raise ValueError(f"a demo site needs at least 10 pages, not {pages}")
    articles = pages - 1 - len(_SECTIONS)
    titles = [_title(number) for number in range(1, articles + 1)]
    site = {"/": _page("The Loopback Gazette", _home(titles), is_coded=True)}
    site |= {
        f"/{name}/": _page(name.capitalize(), _section(index, titles)) for index, name in enumerate(_SECTIONS)
    }
    for number in range(1, articles + 1):
        site[f"/articles/{number:03}.html"] = _article(number, titles)
    site |= dict(_assets(max(pages // 10, 1)))
    site |= dict(_files(max(pages // 20, 1)))
    site["/old-front-page"] = Resource(kind="moved")
    site["/articles/lost.html"] = Resource(kind="missing")
    site["/private/diary.html"] = _page("A diary", "<p>robots.txt asks you to stay out.</p>", is_listed=False)
    return site


def story(key: str, size: int, links: Iterable[str] = ()) -> bytes:
    """Return a page that follows from `key`, of `size` bytes, or of as many as its links need.

    It has a title if there is room; behind its text stand numbers, so that no two places look alike.
    """
    draw = random.Random(key)
    title = _title(draw.randrange(1 << 20))
    listed = "".join(f'<li><a href="{escape(to)}">{escape(to)}</a></li>' for to in links)
    text = "\n".join(f"<p>{_sentences(draw, 3)}</p>" for _ in range(min(size // 400, 20)))
    page = _html(title, f"<h1>{title}</h1>\n<ul>{listed}</ul>\n{text}")
    if len(page) > size and not listed:
        page = f"<title>{title}</title>\n{text}".encode()[:size]
    missing = size - len(page)
    return page + b"".join(b"%010d\n" % number for number in range(missing // 11 + 1))[: max(missing, 0)]


def _article(number: int, titles: list[str]) -> Resource:
    """Return an article; which are slow, busy, broken or coded follows from the number."""
    draw = random.Random(number)
    text = "\n".join(f"<p>{_sentences(draw, 6)}</p>" for _ in range(4))
    count = len(titles)
    others = sorted({draw.randrange(count) + 1 for _ in range(5)} | {number % count + 1})
    links = "".join(_link(other, titles) for other in others)
    picture = (
        f'<img src="/images/{(number - 1) % 30 + 1:02}.{"svg" if number % 2 else "png"}" alt="" width="160">'
    )
    section = _SECTIONS[number % len(_SECTIONS)]
    body = (
        f'<p class="where"><a href="/">Home</a> › <a href="/{section}/">{section.capitalize()}</a></p>'
        f"<h1>{titles[number - 1]}</h1>\n{picture}\n{text}\n<h2>Read on</h2>\n<ul>{links}</ul>"
    )
    fault: Literal["none", "busy", "reset"] = "none"
    if number % 100 == 23:
        fault = "reset"
    elif number % 150 == 11:
        fault = "busy"
    return Resource(
        kind="page",
        body=_html(titles[number - 1], body),
        modified_at=_EPOCH + timedelta(hours=7 * number),
        delay_s=0.3 + 0.1 * (number // 40 % 8) if number % 40 == 7 else 0.0,
        fault=fault,
        is_coded=number % 3 == 0,
    )


def _page(title: str, body: str, *, is_coded: bool = False, is_listed: bool = True) -> Resource:
    return Resource(kind="page", body=_html(title, body), is_coded=is_coded, is_listed=is_listed)


def _home(titles: list[str]) -> str:
    sections = "".join(f'<li><a href="/{name}/">{name.capitalize()}</a></li>' for name in _SECTIONS)
    news = "".join(_link(number, titles) for number in range(len(titles), max(len(titles) - 8, 0), -1))
    return (
        "<h1>The Loopback Gazette</h1>\n"
        '<p class="where">News from 127.0.0.1, printed fresh for every reader</p>\n'
        f"<h2>Sections</h2><ul>{sections}</ul>\n<h2>Latest</h2><ul>{news}</ul>\n"
        '<h2>More</h2><ul><li><a href="/files/">Files</a></li>'
        '<li><a href="/old-front-page">The old front page</a> (moved)</li>'
        '<li><a href="/articles/lost.html">A lost article</a> (gone)</li>'
        '<li><a href="/private/diary.html">A diary</a> (robots.txt says no)</li></ul>'
    )


def _section(index: int, titles: list[str]) -> str:
    numbers = [number for number in range(1, len(titles) + 1) if number % len(_SECTIONS) == index]
    links = "".join(_link(number, titles) for number in numbers)
    name = _SECTIONS[index].capitalize()
    return f'<p class="where"><a href="/">Home</a></p><h1>{name}</h1><ul>{links}</ul>'


def _assets(pictures: int) -> Iterator[tuple[str, Resource]]:
    yield "/style.css", Resource(kind="asset", content_type="text/css", body=_STYLE, is_coded=True)
    yield "/favicon.ico", Resource(kind="asset", content_type="image/png", body=_png(0, 16), is_listed=False)
    for number in range(1, 31):
        is_listed = number <= pictures
        svg, png = f"/images/{number:02}.svg", f"/images/{number:02}.png"
        yield (
            svg,
            Resource(kind="asset", content_type="image/svg+xml", body=_svg(number), is_listed=is_listed),
        )
        yield (
            png,
            Resource(kind="asset", content_type="image/png", body=_png(number, 160), is_listed=is_listed),
        )


def _files(tables: int) -> Iterator[tuple[str, Resource]]:
    names = [f"{stem}-{number:02}.{ext}" for number in range(1, tables + 1) for stem, ext in _FILE_KINDS]
    links = "".join(f'<li><a href="/files/{name}">{name}</a></li>' for name in [*names, "large.bin"])
    yield (
        "/files/",
        _page("Files", f'<p class="where"><a href="/">Home</a></p><h1>Files</h1><ul>{links}</ul>'),
    )
    for number in range(1, tables + 1):
        draw = random.Random(-number)
        rows = [(day, draw.choice(_NOUNS), draw.randrange(1000)) for day in range(1, 101)]
        csv = "day,what,how_many\r\n" + "".join(f"{day},{what},{many}\r\n" for day, what, many in rows)
        yield f"/files/table-{number:02}.csv", _file("text/csv", csv.encode())
        data = json.dumps([{"day": day, "what": what, "how_many": many} for day, what, many in rows])
        yield f"/files/table-{number:02}.json", _file("application/json", data.encode())
        yield f"/files/report-{number:02}.pdf", _file("application/pdf", _pdf(f"Report {number}"))
    noise = random.Random(2024).randbytes(_LARGE_BYTES)
    yield "/files/large.bin", _file("application/octet-stream", noise, _LARGE_BYTES_PER_S)


_FILE_KINDS = (("table", "csv"), ("table", "json"), ("report", "pdf"))


def _file(content_type: str, body: bytes, bytes_per_s: int = 0) -> Resource:
    return Resource(kind="file", content_type=content_type, body=body, bytes_per_s=bytes_per_s)


def _title(number: int) -> str:
    draw = random.Random(number * 7919)
    first, second = draw.sample(_NOUNS, 2)
    return f"The {draw.choice(_ADJECTIVES)} {first} {draw.choice(_VERBS)} the {second}"


def _sentences(draw: random.Random, count: int) -> str:
    """Yield plain sentences, harmless and endless."""
    told = []
    for _ in range(count):
        first, second, third = draw.sample(_NOUNS, 3)
        kind, other = draw.choices(_ADJECTIVES, k=2)
        does, too = draw.choices(_VERBS, k=2)
        told.append(f"The {kind} {first} {does} the {other} {second}, and the {third} {too} what is left.")
    return " ".join(told)


def _link(number: int, titles: list[str]) -> str:
    return f'<li><a href="/articles/{number:03}.html">{titles[number - 1]}</a></li>'


def _html(title: str, body: str) -> bytes:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="stylesheet" href="/style.css">\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    ).encode()


def _svg(number: int) -> bytes:
    draw = random.Random(number + 1000)
    circles = "".join(
        f'<circle cx="{draw.randrange(160)}" cy="{draw.randrange(160)}" r="{draw.randrange(8, 48)}" '
        f'fill="hsl({draw.randrange(360)} 60% 60%)" fill-opacity="0.7"/>'
        for _ in range(9)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 160" width="160" height="160">'
        f'<rect width="160" height="160" fill="#f4f0e8"/>{circles}</svg>\n'
    ).encode()


def _png(number: int, side: int) -> bytes:
    """Return a valid true-colour PNG: a gradient, filter type 0 on every row."""
    red, green, blue = 60 + number * 37 % 180, 60 + number * 71 % 180, 60 + number * 113 % 180
    rows = bytearray()
    for y in range(side):
        row = bytearray(3 * side)
        row[0::3] = bytes([red]) * side
        row[1::3] = bytes((green + x) % 256 for x in range(side))
        row[2::3] = bytes([(blue + y) % 256]) * side
        rows += b"\0" + row
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _pdf(text: str) -> bytes:
    """Return a one-page PDF with a correct table of offsets."""
    stream = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources 6 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Font << /F1 5 0 R >> >>",
    )
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    out += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


_STYLE = b"""\
:root { color-scheme: light dark; --paper: #fbf8f2; --ink: #22201c; --quiet: #7a7266; --link: #9c3d1c; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #1b1a18; --ink: #e8e2d6; --quiet: #9b9284; --link: #e8956f; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.1rem/1.6 Georgia, serif; }
main { max-width: 38rem; margin: 3rem auto; padding: 0 1.25rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.1rem; margin-top: 2rem; border-top: 1px solid var(--quiet); padding-top: .75rem; }
a { color: var(--link); text-decoration-thickness: 1px; text-underline-offset: 3px; }
ul { padding-left: 1.2rem; }
img { float: right; margin: 0 0 1rem 1rem; border-radius: 6px; }
.where { color: var(--quiet); font-size: .95rem; }
"""
