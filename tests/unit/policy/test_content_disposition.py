"""Names that servers give: RFC 6266's examples, what browsers forgive, and what is hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.model import NameHints
from fetcher.policy.content_disposition import filename_of
from fetcher.policy.file_endings import completed
from fetcher.policy.filenames import Template, sanitized
from fetcher.policy.urls import admit

URL = "http://example.org/dir/get.php?id=1"


def path_of(field: str, template: str = "{host}/{path}") -> str:
    """Where a file goes whose answer has this field."""
    hints = NameHints(filename_of(field))
    return Template(template).render(admit(URL), index=1, date="2026-11-29", hints=hints)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        # RFC 6266 §5
        ("Attachment; filename=example.html", "example.html"),
        ('INLINE; FILENAME= "an example.html"', "an example.html"),
        ("attachment; filename*= UTF-8''%e2%82%ac%20rates", "€ rates"),
        ("attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates", "€ rates"),
        # Appendix D and RFC 8187 §3.2.3
        ('attachment; filename="\\"quoting\\" tested.html"', '"quoting" tested.html'),
        ("attachment; filename*=iso-8859-1''%a3%20rates", "£ rates"),
        ('attachment; filename="a;b=c.txt"; x="y"', "a;b=c.txt"),
        ('attachment; x="filename=no.txt"; filename=yes.txt', "yes.txt"),
        ("attachment; filename*=UTF-8''; filename=plain.txt", "plain.txt"),
        ("attachment; filename*=UTF-8''%ff%fe; filename=plain.txt", "plain.txt"),
        ("attachment; filename*=koi8-r''%c1; filename=plain.txt", "plain.txt"),
        ("attachment", None),
        ("", None),
        # What is wrong and common
        ("attachment; filename=a file.txt", "a file.txt"),
        ('attachment; filename="cut.txt', "cut.txt"),
        ("filename=bare.txt", "bare.txt"),
        (";filename = b.txt;", "b.txt"),
        ("attachment; filename=one.txt; filename=two.txt", "one.txt"),
        ("attachment; filename*=\"UTF-8''%c3%a4.txt\"", "ä.txt"),
        ("ä.txt".encode().decode("latin-1").join(['attachment; filename="', '"']), "ä.txt"),
        ('attachment; filename="\xe4.txt"', "ä.txt"),
        ('attachment; filename="=?UTF-8?B?w6QudHh0?="', "ä.txt"),
        ('attachment; filename="=?nonsense?B?w6QudHh0?="', "=?nonsense?B?w6QudHh0?="),
        ('attachment; filename="C:\\dir\\a.txt"', "a.txt"),
    ],
)
def test_a_name_is_read_as_it_was_meant(field: str, name: str | None) -> None:
    assert filename_of(field) == name


FOLDER = "example.org/dir/"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\\\..\\\\x.dll", "x.dll"),
        ("\\\\\\\\host\\\\share\\\\x", "x"),
        ("%2e%2e%2fx", "%2Fx"),
        ("..%2F..%2Fx", "%2F..%2Fx"),
        ("%2ebashrc", "bashrc"),
        ("..", "get.php@id=1"),
        ("...", "get.php@id=1"),
        ("", "get.php@id=1"),
        ("  ", "get.php@id=1"),
        ("a/", "get.php@id=1"),
        (".bashrc", "bashrc"),
        (".fetcher", "fetcher"),
        ("CON", "%43ON"),
        ("nul.txt", "%6Eul.txt"),
        ("aux .html", "%61ux .html"),
        ("name.", "name%2E"),
        ("a:b", "a%3Ab"),
        ("a<b>|?*", "a%3Cb%3E%7C%3F%2A"),
        ("a\x00b\r\nc\x1b[2J", "abc[2J"),
        ("a\xe2\x80\xaegpj.exe", "agpj.exe"),
        ("~", "~"),
        ("-rf", "-rf"),
        ("é" * 300, None),
    ],
)
def test_a_hostile_name_ends_in_one_that_is_confined_and_portable(name: str, path: str | None) -> None:
    given = path_of(f'attachment; filename="{name}"')
    assert given.startswith(FOLDER)
    assert given == sanitized(given)
    assert "/" not in given.removeprefix(FOLDER)
    assert len(given.removeprefix(FOLDER).encode()) <= 255
    if path is not None:
        assert given == FOLDER + path
    assert path_of('x; filename="results.jsonl"', "{stem}{ext}") == "%72esults.jsonl"


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_any_field_gives_one_confined_segment_or_none(text: str) -> None:
    for field in (
        text,
        f"attachment; filename={text}",
        f'x; filename="{text}"',
        f"x; filename*=UTF-8''{text}",
    ):
        name = filename_of(field)
        assert name is None or (name.isprintable() and name[0] != "." and not {*"/\\"} & {*name})
        path = path_of(field)
        assert path == sanitized(path)
        assert path.startswith(FOLDER)
        assert path.count("/") == 2


@pytest.mark.parametrize(
    ("name", "content_type", "ending"),
    [
        ("a", "text/html; charset=utf-8", ".html"),
        ("a.php", "TEXT/HTML", ".html"),
        ("a.htm", "text/html", ""),
        ("a.XHTML", "text/html", ""),
        ("style.php", "text/css", ".css"),
        ("photo", "image/jpeg", ".jpg"),
        ("photo.jpeg", "image/jpeg", ""),
        ("photo.png", "image/jpeg", ""),
        ("get.cgi@id=1", "image/png", ".png"),
        ("v1.2", "application/pdf", ".pdf"),
        ("README", "text/plain", ".txt"),
        ("main.rs", "text/plain", ""),
        ("a.tar.gz", "application/x-tar", ""),
        ("data", "application/octet-stream", ""),
        ("data", "nonsense", ""),
        ("data", None, ""),
        ("x", "image/webp", ".webp"),
    ],
)
def test_an_ending_is_completed_where_it_is_wanting(name: str, content_type: str | None, ending: str) -> None:
    assert completed(name, content_type) == name + ending
    assert completed(name + ending, content_type) == name + ending


def test_a_template_has_the_server_s_name_in_its_fields() -> None:
    hints = NameHints("report 1.PDF", "text/html")
    for template, path in (
        ("{host}/{path}", "example.org/dir/report 1.PDF.html"),
        ("{index}{ext}", "7.html"),
        ("{stem}-{index}{ext}", "report 1-7.html"),
        ("{sha256}", f"{Template('{sha256}').render(admit(URL), index=7, date='')}.html"),
    ):
        assert Template(template).render(admit(URL), index=7, date="", hints=hints) == path
