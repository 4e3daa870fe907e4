"""Names on disk: section H of what must be survived, numbers 78 to 83."""

import hashlib
import posixpath
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.errors import ConfigError
from fetcher.model import Target
from fetcher.policy import filenames
from fetcher.policy.filenames import Template, casefold_key, deduplicated, parents, sanitized, wanted_name

DEVICES = ["con", "prn", "aux", "nul", "com1", "lpt9", "com¹", "conin$", "conout$"]
OWN = ["results.jsonl", "results.jsonl.1", "data.jsonl", "data.jsonl.1"]


def target(path: str = "/", *, name: str = "example.org", port: int = 443, scheme: str = "https") -> Target:
    default = 443 if scheme == "https" else 80
    authority = name if port == default else f"{name}:{port}"
    return Target(f"{scheme}://{authority}{path}", scheme, name, port, f"{name}:{port}")


def rendered(template: str, url_path: str = "/", **columns: object) -> str:
    return Template(template).render(target(url_path), index=7, date="2026-01-02", columns=columns)


def assert_is_portable(path: str) -> None:
    assert path
    assert not path.startswith("/")
    assert posixpath.normpath(path) == path
    assert path.isprintable()
    assert not set(path) & set('<>:"|?*\\')
    assert unicodedata.is_normalized("NFC", path)
    assert len(path.encode()) <= filenames.PATH_BYTES
    segments = path.split("/")
    assert len(segments) <= filenames.PATH_SEGMENTS
    assert casefold_key(segments[0]) not in OWN
    for segment in segments:
        assert segment not in {"", ".", ".."}
        assert segment[-1] not in ". "
        assert len(segment.encode()) <= 255
        assert segment.split(".")[0].rstrip(" ").casefold() not in DEVICES
        assert casefold_key(segment) != ".fetcher"


# What names are made of when somebody means harm, and ordinary text between.
hostile = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        ":",
        "C:",
        "~",
        "%",
        "%2e%2e%2f",
        "%00",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        " ",
        "\n",
        "con",
        "NUL.txt",
        "com¹",
        "aux .c",
        ".fetcher",
        ".FETCHER",
        "results.jsonl",
        "reſults.jsonl",
        "data.jsonl.1",
        "\u0301",
        "e\u0301",
        "ﬁ",
        "ß",
        "\u212a",
        "\u037e",
        "a" * 260,
        "é" * 140,
        ".x" * 130,
        "😀" * 70,
        "a/" * 200,
    ]
)
wild_text = st.lists(st.one_of(hostile, st.text(max_size=8)), max_size=8).map("".join)
url_path_bytes = st.lists(
    st.one_of(
        st.binary(max_size=6).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw)),
        st.sampled_from(
            ["/", "//", ".", "..", "?", "&", "=", "%", "%2", "@", "~", "con", "a.b", "%2E", "%5c", "%20"]
        ),
        st.text("abcXYZ019-._~!$&'()+,;=:@*", max_size=6),
    ),
    max_size=12,
).map(lambda parts: "/" + "".join(parts))


# ---- portable ----


@given(wild_text)
@example("<\u0301")
@example("%3C\u0301")
@example("a/b/" * 1000)
@example("é" * 4000 + ".html")
@example("aux\u0301")
def test_any_text_becomes_a_confined_and_portable_path(text: str) -> None:
    assert_is_portable(sanitized(text))


@given(wild_text)
@example("<\u0301")
@example("a/" * 127 + "b")
@example("d" * 200 + "/" + "x/" * 2000)
def test_what_is_portable_stays_as_it_is(text: str) -> None:
    once = sanitized(text)
    assert sanitized(once) == once


@pytest.mark.parametrize(
    ("given_path", "safe"),
    [
        ("../../etc/passwd", ".%2E/.%2E/etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("a//b/./c", "a/b/%2E/c"),
        ("..\\..\\x", "..%5C..%5Cx"),
        ("C:/x", "C%3A/x"),
        ("", "index.html"),
        ("a/", "a/index.html"),
        ("nul\x00", "nul%00"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_traversal_and_absolute_paths_are_confined(given_path: str, safe: str) -> None:
    assert sanitized(given_path) == safe


@pytest.mark.parametrize(
    ("given_path", "safe"),
    [
        ("x/CON", "x/%43ON"),
        ("x/nul.tar.gz", "x/%6Eul.tar.gz"),
        ("x/aux .txt", "x/%61ux .txt"),
        ("x/COM²", "x/%43OM²"),
        ("x/console", "x/console"),
        ("a:b", "a%3Ab"),
        ("dot./space /end. ", "dot%2E/space%20/end.%20"),
        ("\u202egpj.exe", "%E2%80%AEgpj.exe"),
        ("a\x1b]0;x\x07", "a%1B]0;x%07"),
    ],
)
def test_names_that_some_system_refuses_are_escaped_on_all(given_path: str, safe: str) -> None:
    assert sanitized(given_path) == safe


@pytest.mark.parametrize("char", ["a", "é", "漢", "😀"])
@pytest.mark.parametrize("extension", ["", ".html", ".e" + "x" * 200])
def test_a_long_segment_is_cut_at_a_character_with_a_hash_before_a_short_extension(
    char: str, extension: str
) -> None:
    long = char * 300 + extension
    cut = sanitized(f"h/{long}").removeprefix("h/")
    kept = extension if len(extension) < 32 else ""
    assert 250 < len(cut.encode()) <= 255
    assert cut.endswith("~" + hashlib.sha256(long.encode()).hexdigest()[:8] + kept)
    assert long.startswith(cut[: -(9 + len(kept))])


def test_long_segments_that_differ_at_their_end_stay_different() -> None:
    assert sanitized("a" * 300 + "1") != sanitized("a" * 300 + "2")


def test_a_path_too_long_or_too_deep_keeps_its_head_and_its_last_segment() -> None:
    deep = sanitized("host/" + "d/" * 500 + "page.html")
    long = sanitized("host/" + ("d" * 200 + "/") * 30 + "page.html")
    for path in (deep, long):
        assert path.startswith("host/d")
        assert path.endswith("/page.html")
        assert_is_portable(path)
    assert deep != sanitized("host/" + "d/" * 501 + "page.html")


@pytest.mark.parametrize("own", [*OWN, "RESULTS.jsonl", "reſults.jsonl", "Data.JSONL"])
def test_the_tools_own_files_are_never_a_name_at_the_top(own: str) -> None:
    assert casefold_key(sanitized(own)) not in OWN
    assert casefold_key(sanitized(own + "/x").split("/")[0]) not in OWN
    assert sanitized(f"host/{own}") == f"host/{own}"


@pytest.mark.parametrize("path", [".fetcher/state.db", "x/.Fetcher/y", ".fetcher"])
def test_no_segment_is_the_tools_own_folder(path: str) -> None:
    assert ".fetcher" not in casefold_key(sanitized(path)).split("/")


# ---- fold, suffixed, ancestors ----


@given(st.text())
def test_case_and_normal_form_do_not_tell_names_apart(text: str) -> None:
    assert casefold_key(unicodedata.normalize("NFC", text)) == casefold_key(
        unicodedata.normalize("NFD", text)
    )
    assert casefold_key(text.casefold()) == casefold_key(text)


def test_fold_tells_different_names_apart() -> None:
    assert casefold_key("a/B.html") == casefold_key("A/b.HTML") != casefold_key("a/c.html")
    assert casefold_key("Straße") == casefold_key("STRASSE")
    assert casefold_key("é") != casefold_key("e")


def test_a_suffix_is_8_digits_of_the_urls_hash_before_the_extension() -> None:
    mark = "~" + hashlib.sha256(b"https://h/foo").hexdigest()[:8]
    assert deduplicated("h/foo.html", "https://h/foo") == f"h/foo{mark}.html"
    assert deduplicated("h/foo", "https://h/foo") == f"h/foo{mark}"
    assert deduplicated("h/.htaccess", "https://h/foo") == f"h/.htaccess{mark}"


def test_a_folder_that_clashes_with_a_file_gets_the_suffix_at_its_depth() -> None:
    mark = "~" + hashlib.sha256(b"u").hexdigest()[:8]
    assert deduplicated("h/foo/bar.html", "u", 1) == f"h/foo{mark}/bar.html"


@given(wild_text, st.text(st.characters(codec="utf-8")))
def test_a_suffixed_name_is_another_and_stays_portable(text: str, url: str) -> None:
    path = sanitized(text)
    for depth in (None, 0):
        changed = deduplicated(path, url, depth)
        assert casefold_key(changed) != casefold_key(path)
        assert changed.count("/") == path.count("/")
        for segment in changed.split("/"):
            assert sanitized(f"x/{segment}") == f"x/{segment}"


def test_ancestors_are_the_folders_outermost_first() -> None:
    assert parents("a/b/c.html") == ["a", "a/b"]
    assert parents("c.html") == []


# ---- templates ----


@pytest.mark.parametrize(
    ("url_path", "name"),
    [
        ("/", "example.org/index.html"),
        ("", "example.org/index.html"),
        ("/docs/", "example.org/docs/index.html"),
        ("/a/b.html", "example.org/a/b.html"),
        ("/dl?id=1", "example.org/dl@id=1"),
        ("/docs/?page=2", "example.org/docs/index.html@page=2"),
        ("/dl?", "example.org/dl@"),
        ("?q", "example.org/index.html@q"),
        ("/go?u=http://x/y", "example.org/go@u=http%3A%2F%2Fx%2Fy"),
        ("/c%C3%A9/my%20file.pdf", "example.org/cé/my file.pdf"),
        ("/%41%00b", "example.org/A%00b"),
        ("/%ff", "example.org/%ff"),
        ("/100%25", "example.org/100%25"),
        ("/a%2fb", "example.org/a%2Fb"),
        ("/%2e%2e/%2e%2e/etc", "example.org/.%2E/.%2E/etc"),
        ("/%2e%2e%2f%2e%2e%2fetc", "example.org/..%2F..%2Fetc"),
        ("/..%5c..%5cx", "example.org/..%5C..%5Cx"),
        ("/%E2%80%AE", "example.org/%E2%80%AE"),
        ("/con.txt", "example.org/%63on.txt"),
        ("/.fetcher/state.db", "example.org/%2Efetcher/state.db"),
    ],
)
def test_the_default_name_is_host_and_path(url_path: str, name: str) -> None:
    assert rendered("{host}/{path}", url_path) == name


def test_a_port_other_than_the_schemes_is_part_of_the_host() -> None:
    default = Template("{host}/{path}")

    def host(name: str, port: int, scheme: str) -> str:
        path = default.render(target("/", name=name, port=port, scheme=scheme), index=1, date="")
        return path.removesuffix("/index.html")

    assert host("127.0.0.1", 8080, "http") == "127.0.0.1_8080"
    assert host("127.0.0.1", 80, "http") == "127.0.0.1"
    assert host("h.org", 80, "https") == "h.org_80"
    assert host("::1", 8080, "http") == "%3A%3A1_8080"
    assert host("con", 80, "http") == "%63on"
    assert host("results.jsonl", 80, "http") == "%72esults.jsonl"


def test_every_field_of_a_template_is_filled() -> None:
    url_path = "/a/b/archive.tar.gz?v=1"
    digest = hashlib.sha256(b"https://example.org/a/b/archive.tar.gz?v=1").hexdigest()
    assert rendered("{stem}-{index}{ext}", url_path) == "archive.tar-7.gz"
    assert rendered("{date}/{sha256}", url_path) == f"2026-01-02/{digest}"
    assert rendered("{host}+{query}", url_path) == "example.org+v=1"
    assert rendered("{path}", url_path) == "a/b/archive.tar.gz@v=1"
    assert rendered("{{{index}}}", url_path) == "{7}"
    assert rendered("{stem}{ext}", "/a/") == "index.html"


def test_a_column_fills_its_field_and_a_missing_one_is_empty() -> None:
    assert rendered("{kind}/{index}.txt", kind="news") == "news/7.txt"
    assert rendered("{kind}x/{n}", n=3) == "x/3"
    assert rendered("a/{kind}", kind=None) == "a/index.html"


def test_a_columns_value_makes_no_folder() -> None:
    assert rendered("{title}.html", title="AC/DC") == "AC%2FDC.html"
    assert rendered("x/{title}", title="../../etc/passwd") == "x/..%2F..%2Fetc%2Fpasswd"
    assert rendered("x/{title}/y", title="..") == "x/.%2E/y"


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        ("", "empty"),
        ("{host", "'}'"),
        ("host}", "'}'"),
        ("{}", "without a field"),
        ("{index:05d}", "no format"),
        ("{host!r}", "no format"),
        ("../{host}", "leads out"),
        ("{host}/../{path}", "leads out"),
        ("/tmp/{host}", "leads out"),
        ("{hots}/{path}", "'hots'"),
    ],
)
def test_a_bad_template_says_what_is_wrong_and_what_is_allowed(template: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Template(template, columns=["kind"])
    assert wrong in str(caught.value)
    assert "host path stem ext query sha256 index date kind" in caught.value.hint


def test_columns_that_are_known_are_accepted() -> None:
    assert Template("{kind}", columns=["kind"]).text == "{kind}"


@given(url_path_bytes)
@example("/" + "a" * 240 + "/")
@example("/" + "a" * 300)
@example("/?" + "q" * 250)
@example("/com0")
@example("/conin$")
@example("/a.?x=1")
def test_the_quick_way_for_ordinary_urls_gives_the_same_names(url_path: str) -> None:
    quick = rendered("{host}/{path}", url_path)
    assert quick == rendered("{host}{nothing}/{path}", url_path)
    assert_is_portable(quick)


@given(
    st.sampled_from(["{x}", "{host}/{x}", "{x}/{path}", "{stem}{x}{ext}", "{x}{query}"]),
    url_path_bytes,
    wild_text,
)
def test_any_value_in_any_template_is_confined_and_portable(template: str, url_path: str, value: str) -> None:
    name = rendered(template, url_path, x=value)
    assert_is_portable(name)
    assert sanitized(name) == name


@pytest.mark.parametrize("depth", [None, 0, 1])
@pytest.mark.parametrize("path", ["h/foo.html", "h/.htaccess", "h/a~b"])
def test_the_name_that_was_wanted_can_be_told_from_the_mark(path: str, depth: int | None) -> None:
    url = "https://h/foo"
    assert wanted_name(deduplicated(path, url, depth), url) == path
    assert wanted_name(path, url) is None
    assert wanted_name(deduplicated(path, "https://h/other"), url) is None
