"""From the bytes of a page to its text, as browsers do it (HTML Standard §13.2.3.2, WHATWG Encoding)."""

from __future__ import annotations

import codecs

import pytest
import webencodings
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.policy.charset import charset_of, decode

KOI8 = "\N{CYRILLIC SMALL LETTER YA}".encode("koi8-r")  # no UTF-8
HINT = b"<meta charset=koi8-r>"


# --- what wins ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bom", "codec"),
    [(b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")],
)
def test_a_byte_order_mark_wins_over_all(bom: bytes, codec: str) -> None:
    assert charset_of(bom + HINT, "text/html; charset=windows-1251") == codec
    assert decode(bom + "a\xe9".encode(codec), "text/html; charset=windows-1251") == "a\xe9"


def test_the_header_wins_over_the_page() -> None:
    assert charset_of(HINT, "text/html; charset=windows-1251") == "windows-1251"


def test_the_page_wins_over_a_guess() -> None:
    assert charset_of(HINT + b"ascii", None) == "koi8-r"
    assert charset_of(HINT + b"ascii", "text/html") == "koi8-r"


def test_an_unknown_label_in_the_header_leaves_it_to_the_page() -> None:
    assert charset_of(HINT, "text/html; charset=nonsense") == "koi8-r"


@pytest.mark.parametrize(
    ("body", "codec"),
    [
        (b"", "utf-8"),
        (b"ascii", "utf-8"),
        ("\xe9".encode(), "utf-8"),
        (b"\xe9", "cp1252"),
        ("\xe9".encode() + b"\xe9", "cp1252"),
        ("x\xe9".encode()[:-1], "cp1252"),
    ],
)
def test_where_nothing_is_said_it_is_utf_8_if_valid_else_windows_1252(body: bytes, codec: str) -> None:
    assert charset_of(body, None) == codec


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        ("text/html;charset=koi8-r", "koi8-r"),
        ("text/html; CHARSET=KOI8-R", "koi8-r"),
        ('text/html; charset="koi8-r"', "koi8-r"),
        ("text/html; charset='koi8-r'", "koi8-r"),
        ("text/html; charset = koi8-r ; x=y", "koi8-r"),
        ("text/html; x=y;charset=koi8-r", "koi8-r"),
        ("text/html; charset=koi8-r; charset=utf-8", "koi8-r"),
        ('text/html; charset="koi8-r', "koi8-r"),
        ("text/html; charset=latin1", "windows-1252"),
        ("text/html; charset=ascii", "windows-1252"),
        ("text/html; charset=utf-16", "utf-16-le"),  # in the header it may be true
        ("text/html; charset=utf-16be", "utf-16-be"),
        ("text/html; charset=x-user-defined", "cp1252"),
        ("text/html; charset=", "utf-8"),
        ("text/html; charset=utf-7", "utf-8"),
        ("text/html; xcharset=koi8-r", "utf-8"),
        ("charset=koi8-r", "utf-8"),
        ("", "utf-8"),
    ],
)
def test_the_charset_of_the_header_is_a_whatwg_label(content_type: str, codec: str) -> None:
    assert charset_of(b"ascii", content_type) == codec


@pytest.mark.parametrize(
    "label",
    [
        "zlib",
        "idna",
        "undefined",
        "punycode",
        "unicode_escape",
        "rot13",
        "hex",
        "base64",
        "utf-7",
        "utf-32",
        "mbcs",
    ],
)
def test_a_codec_of_python_that_is_no_whatwg_label_is_ignored(label: str) -> None:
    assert charset_of(b"ascii", f"text/html; charset={label}") == "utf-8"
    assert charset_of(b"<meta charset=%s>\xe9" % label.encode(), None) == "cp1252"


@pytest.mark.parametrize(
    "label", ["replacement", "iso-2022-kr", "hz-gb-2312", "iso-2022-cn", "iso-2022-cn-ext", "csiso2022kr"]
)
def test_the_replacement_family_is_never_decoded_as_such(label: str) -> None:
    assert charset_of(b"ascii", f"text/html; charset={label}") == "utf-8"
    assert charset_of(b"<meta charset=%s>\xe9" % label.encode(), None) == "cp1252"


@pytest.mark.parametrize("label", sorted(webencodings.labels.LABELS))
def test_every_whatwg_label_has_a_codec_of_text(label: str) -> None:
    codec = charset_of(b"x", f"text/html; charset={label}")
    assert codecs.lookup(codec)._is_text_encoding
    text = "<a href='x'>y</a>"
    assert text.encode(codec).decode(codec) == text
    assert decode(bytes(range(256)) * 3, f"text/html; charset={label}")
    inside = charset_of(b"<meta charset=%s>" % label.encode(), None)
    assert inside == ("utf-8" if codec.startswith("utf-16") else codec)


@pytest.mark.parametrize(
    ("label", "text", "raw"),
    [
        ("shift_jis", "\N{CIRCLED DIGIT ONE}", b"\x87\x40"),  # NEC's, only in cp932
        ("euc-kr", "\N{HANGUL SYLLABLE DDOM}", b"\x8c\x63"),  # only in cp949
        ("gb2312", "\N{EURO SIGN}", b"\xa2\xe3"),
        ("gbk", "\U00020000", b"\x95\x32\x82\x36"),
        ("big5", "\xca\u0304", b"\x88\x62"),
        ("iso-8859-1", "\N{EURO SIGN}", b"\x80"),
        ("iso-8859-9", "\N{EURO SIGN}", b"\x80"),
        ("tis-620", "\N{EURO SIGN}", b"\x80"),
        ("iso-8859-8-i", "\N{HEBREW LETTER ALEF}", b"\xe0"),
        ("macintosh", "\N{LATIN CAPITAL LETTER A WITH DIAERESIS}", b"\x80"),
        ("koi8-r", "\N{CYRILLIC SMALL LETTER YA}", b"\xd1"),
    ],
)
def test_a_label_means_what_browsers_take_it_for(label: str, text: str, raw: bytes) -> None:
    assert decode(raw, f"text/html; charset={label}") == text


# --- what a page says of itself ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"<meta charset=koi8-r>",
        b"<meta charset='koi8-r'>",
        b'<meta charset="koi8-r"/>',
        b'<META CHARSET = " KOI8-R " >',
        b"<meta/charset=koi8-r>",
        b"<meta\ncharset\t=\x0ckoi8-r\r>",
        b"<meta name=x charset=koi8-r id=y>",
        b"<meta charset=koi8-r charset=utf-8>",  # the first of a name
        b"<meta charset=nonsense><meta charset=koi8-r>",
        b"<meta><meta charset=koi8-r>",
        b"<meta =charset=utf-8 charset=koi8-r>",
        b"<meta charset=koi8-r http-equiv=content-type content='charset=utf-8'>",
        b"<meta http-equiv=content-type content='charset=utf-8' charset=koi8-r>",
        b"<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>",
        b"<meta content='text/html; charset=koi8-r' http-equiv=content-type>",
        b"<meta http-equiv='content-type' content=charset=koi8-r>",
        b"<meta http-equiv='content-type' content='charset charset = \"koi8-r\"'>",
        b"<meta http-equiv='content-type' content=\"text/html; charset='koi8-r'; x\">",
        b"<meta http-equiv=content-type content='charset=koi8-r' charset=bad><meta charset=koi8-r>",
        b"<!doctype html><html><head><title>x</title>" + HINT,
        b"<!-- <meta charset=utf-8> -->" + HINT,
        b"<!-->" + HINT,
        b"<!--->" + HINT,
        b"<!-- -- > <meta charset=utf-8> -->" + HINT,
        b"<p title='<meta charset=utf-8>'>" + HINT,
        b'<p title="<meta charset=utf-8>" b>' + HINT,
        b"<p title=a>b" + HINT,
        b"</p title='<meta charset=utf-8>'>" + HINT,
        b"<p\n=='<meta charset=utf-8>'>" + HINT,
        b"<a/b title='>'>" + HINT,
        b"<? <meta charset=utf-8 >" + HINT,
        b"</ <meta charset=utf-8 >" + HINT,
        b"<! <meta charset=utf-8 >" + HINT,
        b"< <1 <<" + HINT,
        b"<metal charset=utf-8>" + HINT,
        b"<script>if (a<b) x = '</s'</script>" + HINT,
        b"a" * (1024 - len(HINT)) + HINT,
        b"<p>" + b"a" * (1021 - len(HINT)) + HINT,
        b"<html><head><!-- %b -->" % (b"a" * 1100) + HINT,
        b"<html><head><title>%b</title><script>'<p>' + %b</script>" % ((b"a" * 1100,) * 2) + HINT,
        b"<!--" + b"a" * 65_000 + b"-->" + HINT,
        b"<!--%b--><meta http-equiv=Content-Type content='text/html; charset=koi8-r'>" % (b"a" * 1100),
        b"<title>" + HINT,  # nothing ends it
        b"<?xml version='1.0' encoding='koi8-r'?>",
        b'<?xml version="1.0" encoding = "KOI8-R" standalone="yes"?><x/>',
        b"<?xml version='1.0' encoding='utf-8'?>" + HINT,  # the declaration comes last
    ],
)
def test_the_page_says_what_it_is(head: bytes) -> None:
    assert charset_of(head + KOI8, None) == "koi8-r"
    assert decode(head + KOI8, None).endswith("\N{CYRILLIC SMALL LETTER YA}")


@pytest.mark.parametrize(
    "head",
    [
        b"<meta charset=koi8-r",
        b"<meta charset='koi8-r>",
        b"<metacharset=koi8-r>",
        b"<meta charset>koi8-r",
        b"<meta charset=>",
        b"<meta content='text/html; charset=koi8-r'>",  # no pragma
        b"<meta http-equiv=refresh content='text/html; charset=koi8-r'>",
        b"<meta http-equiv=content-type content='charset=\"koi8-r'>",
        b"<meta http-equiv=content-type content='charset koi8-r'>",
        b"<meta http-equiv=content-type content='charset=;koi8-r'>",
        b"<meta http-equiv=content-type charset=bad content='text/html'>",
        b"<meta charset=bad http-equiv=content-type content='charset=koi8-r'>",
        b"<!-- <meta charset=koi8-r> ",
        b"<!-- <meta charset=koi8-r> -- >",
        b"<p title='<meta charset=koi8-r>'>",
        b"<p title='" + HINT,
        b"<p>" + b"a" * 1024 + HINT,
        b"</head>" + b"a" * 1024 + HINT,
        b"<!--" + b"a" * 66_000 + b"-->" + HINT,
        b"<script>" + b"a" * 1024 + HINT + b"</script>",
        b"<script>x = '" + HINT + b"'</script>",
        b"<title>" + HINT + b"</title>",
        b"<style>" + b"a" * 1024 + HINT + b"</style>",
        b"<link title='" + b"a" * 1024 + HINT + b"'>",
        b"<!--" + b"a" * 1024 + HINT + b"-->",
        b" <?xml version='1.0' encoding='koi8-r'?>",
        b"<?xml version='1.0'> encoding='koi8-r'?>",
        b"<?xml version='1.0' encoding='koi8- r'?>",
        b"<?xml version='1.0' encoding=koi8-r?>",
        b"<?xml version='1.0' encoding='koi8-r\"?>",
        b"charset=koi8-r",
    ],
)
def test_what_only_looks_like_a_hint_is_none(head: bytes) -> None:
    assert charset_of(head, None) == "utf-8"


@pytest.mark.parametrize("label", [b"utf-16", b"utf-16le", b"UTF-16BE", b"unicode", b"ucs-2"])
def test_utf_16_inside_a_page_means_utf_8(label: bytes) -> None:
    assert charset_of(b"<meta charset=%s>\xff" % label, None) == "utf-8"
    assert charset_of(b"<meta http-equiv=content-type content='charset=%s'>\xff" % label, None) == "utf-8"
    assert charset_of(b"<?xml version='1.0' encoding='%s'?>\xff" % label, None) == "utf-8"


def test_x_user_defined_means_windows_1252() -> None:
    assert charset_of(b"<meta charset=x-user-defined>", None) == "cp1252"


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_shows_in_its_xml_declaration(codec: str) -> None:
    text = "<?xml version='1.0' encoding='utf-16'?><x>\xe9</x>"
    assert decode(text.encode(codec), None) == text


# --- whatever comes ---------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [b"<meta ", b"charset", b"=", b"'", b'"', b">", b"<", b"!--", b"-->", b"/", b" ", b"http-equiv", b"content", b"content-type",
     b"koi8-r", b"utf-16", b"replacement", b"<?xml ", b"encoding", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe9", b"<p ", b";"]
)  # fmt: skip
BODIES = st.binary(max_size=60) | st.lists(PIECES, max_size=30).map(b"".join)
LABELS = st.sampled_from(sorted(webencodings.labels.LABELS)) | st.text(max_size=12)


@settings(max_examples=1000, deadline=None)
@given(BODIES, st.none() | st.text(max_size=30) | LABELS.map(lambda label: f"text/html; charset={label}"))
def test_anything_is_decoded(body: bytes, content_type: str | None) -> None:
    codec = charset_of(body, content_type)
    assert codecs.lookup(codec)._is_text_encoding
    assert decode(body, content_type).encode("utf-8", "strict") is not None


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=50).filter(lambda text: not text.startswith("\ufeff")))
def test_utf_8_comes_back_whatever_is_in_it(text: str) -> None:
    assert (
        decode(text.encode("utf-8", "replace"), "text/html; charset=utf-8")
        == text.encode("utf-8", "replace").decode()
    )


def test_a_hostile_head_is_scanned_in_linear_time() -> None:
    for piece in (
        b"<",
        b"<!--",
        b"<p ",
        b"<meta ",
        b"<meta charset='",
        b"<a =",
        b"<?xml encoding",
        b"charset=",
        b"</",
        b"<meta content='",
        b"<title>",
        b"<script><title>",
        b"<style></style ",
    ):
        assert charset_of(piece * 200_000, None) == "utf-8"
