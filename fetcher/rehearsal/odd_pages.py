"""Pages that are hard to parse, by name: each its content type and its bytes."""

from __future__ import annotations

_HTML = "text/html; charset=utf-8"
_TEXT = "Grüße, «tide» and a lantern"

ODD_PAGES: dict[str, tuple[str, bytes]] = {
    "empty": (_HTML, b""),
    "blank": (_HTML, b"   \n\n"),
    "no-title": (_HTML, b"<p>a page without a title"),
    "no-end": (_HTML, b"<html><title>cut <b>in the middle <a href="),
    "no-type": ("", b"<title>a page of no type</title>"),
    "deep": (_HTML, b"<div>" * 30_000 + b"deep" + b"</div>" * 30_000),
    "wide": (_HTML, b"<table>" + b"<tr><td>1<td>2" * 50_000 + b"</table>"),
    "attribute": (_HTML, b'<title>long</title><a title="' + b"x" * 1_000_000 + b'" href="/">a</a>'),
    "text": (_HTML, b"<title>long</title><p>" + b"many words " * 200_000),
    "false-charset": (_HTML, f"<title>{_TEXT}</title>".encode("latin-1")),
    "utf-16": ("text/html; charset=utf-16", f"<title>{_TEXT}</title>".encode("utf-16")),
    "no-charset": ("text/html; charset=nonsense", f"<title>{_TEXT}</title>".encode()),
    "picture": (_HTML, b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20),
    "nul": (_HTML, b"<title>a\0b</title><p>\x1b]0;title\x07\xe2\x80\xae"),
    "json": (_HTML, b'{"a page": "of JSON", "called": "HTML"}'),
    "xml": (
        "application/xhtml+xml",
        b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><p/></html>',
    ),
    "many-links": (
        _HTML,
        b"<title>links</title>" + b"".join(b'<a href="#%d">%d</a>' % (n, n) for n in range(20_000)),
    ),
}
