"""robots.txt as RFC 9309 says, whatever is in it."""

from __future__ import annotations

import itertools
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.policy import robots
from fetcher.policy.robots import (
    MOST_BYTES,
    MOST_DELAY_S,
    MOST_SITEMAPS,
    RobotsRules,
    agent_token,
    verdict_on,
)

HOST = "https://example.org"
NOTHING = "User-agent: *\nDisallow: /\n"


def rules(text: str, agent: str = "fetcher") -> RobotsRules:
    return RobotsRules(text.encode(), agent, f"{HOST}/robots.txt")


def allows(text: str, path: str, agent: str = "fetcher") -> bool:
    return rules(text, agent).allows(HOST + path)


def for_all(*lines: str) -> str:
    return "\n".join(["User-agent: *", *lines])


# --- which rule wins: RFC 9309 §2.2.2 and §5 -------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("/example/page/", True),
        ("/example/page/disallowed.gif", False),
        ("/example/other", True),
    ],
)
def test_the_longest_match_wins(path: str, is_allowed: bool) -> None:
    """RFC 9309 §5.2."""
    text = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n"
    assert allows(text, path, "foobot") is is_allowed


@pytest.mark.parametrize(
    "lines", [*itertools.permutations(["Allow: /p", "Disallow: /", "Disallow: /page/x"])]
)
def test_the_order_of_rules_does_not_matter(lines: tuple[str, ...]) -> None:
    assert allows(for_all(*lines), "/page")
    assert not allows(for_all(*lines), "/page/x")
    assert not allows(for_all(*lines), "/other")


@pytest.mark.parametrize("lines", [*itertools.permutations(["Allow: /page", "Disallow: /page"])])
def test_allow_wins_a_tie(lines: tuple[str, ...]) -> None:
    assert allows(for_all(*lines), "/page/x")


SIMPLE_EXAMPLE = """\
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""


@pytest.mark.parametrize(
    ("agent", "path", "is_allowed"),
    [
        ("other", "/a.gif", False),
        ("other", "/a.gif?x", True),
        ("other", "/example/page.html", False),
        ("other", "/publications/x", True),
        ("other", "/", True),
        ("foobot", "/", False),
        ("foobot", "/publications/x", False),
        ("foobot", "/example/page.html", True),
        ("foobot", "/example/allowed.gif", True),
        ("foobot", "/example/other.gif", False),
        ("barbot", "/example/page.html", False),
        ("barbot", "/example/a.gif", True),
        ("bazbot", "/example/page.html", False),
        ("quxbot", "/example/page.html", True),
        ("quxbot", "/a.gif", True),
    ],
)
def test_the_simple_example_of_rfc_9309(agent: str, path: str, is_allowed: bool) -> None:
    """RFC 9309 §5.1."""
    assert allows(SIMPLE_EXAMPLE, path, agent) is is_allowed


@pytest.mark.parametrize(
    ("rule", "path", "matches"),
    [
        # special characters, §2.2.3
        ("/this/*/exactly", "/this/x/y/exactly", True),
        ("/this/*/exactly", "/this/exactly", False),
        ("/*.php", "/a/b.php?c", True),
        ("/*.php$", "/a/b.php", True),
        ("/*.php$", "/a/b.php?c", False),
        ("/*.php$", "/b.php.php", True),
        ("/path$", "/path", True),
        ("/path$", "/path/", False),
        ("/fish*", "/fishheads", True),
        ("/*", "/anything", True),
        ("/a*b*c", "/a1b2c3", True),
        ("/a*b*c", "/a1c2b3", False),
        ("/a**b", "/ab", True),
        ("/a*a$", "/a", False),
        ("/a*a$", "/aa", True),
        ("/$x", "/$x", True),
        ("/a%24", "/a$b", True),
        ("/a%2A", "/a*b", True),
        ("/a%2A", "/ab", False),
        ("/", "/", True),
        # percent-encoding, §2.2.2
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz", True),
        ("/foo/bar/\N{KATAKANA LETTER TU}", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%E3%83%84", "/foo/bar/%e3%83%84", True),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz", True),
        ("/foo/bar/baz", "/foo/bar/%62az", True),
        ("/a%2fb", "/a/b", False),
        ("/a%2fb", "/a%2Fb", True),
        ("/a%3cd.html", "/a%3Cd.html", True),
        ("/%7Ejoe/", "/~joe/", True),
        ("/100%", "/100%", True),
        # case
        ("/Page", "/page", False),
        # the query is part of what is matched
        ("/*?", "/a?b", True),
        ("/*?", "/a", False),
        ("/a?$", "/a?", True),
        # the path that looks like a host
        ("//x", "//x/y", True),
        ("/x", "//x/y", False),
    ],
)
def test_a_rule_matches_as_rfc_9309_says(rule: str, path: str, matches: bool) -> None:
    assert allows(for_all(f"Disallow: {rule}"), path) is not matches
    assert allows(for_all("Disallow: /", f"Allow: {rule}  # why"), path) is (matches)


def test_robots_txt_itself_is_always_allowed() -> None:
    """RFC 9309 §2.2.2."""
    assert allows(NOTHING, "/robots.txt")


def test_an_empty_disallow_allows_all() -> None:
    assert allows(for_all("Disallow:"), "/x")
    assert allows(for_all("Disallow:", "Disallow: /y"), "/x")


def test_bytes_that_are_not_utf_8_still_match_themselves() -> None:
    text = b"User-agent: *\nDisallow: /caf\xe9\n"
    assert not RobotsRules(text, "fetcher", f"{HOST}/robots.txt").allows(HOST + "/caf%E9")
    assert RobotsRules(text, "fetcher", f"{HOST}/robots.txt").allows(HOST + "/cafe")


# --- which group holds: RFC 9309 §2.2.1 ------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["fetcher", "FETCHER", "Fetcher/2.0", "fetcher*", "  fetcher  # us", "fetcher bot"]
)
@pytest.mark.parametrize("agent", ["fetcher", "Fetcher"])
def test_the_group_that_names_us_holds_without_regard_to_case(line: str, agent: str) -> None:
    text = f"User-agent: *\nDisallow: /\n\nuser-AGENT:{line}\nDisallow: /mine\n"
    assert allows(text, "/x", agent)
    assert not allows(text, "/mine", agent)


@pytest.mark.parametrize(
    "line", ["fetch", "f", "fetcher-image", "myfetcher", "my-fetcher", "other fetcher", ""]
)
def test_a_group_with_another_name_does_not_hold(line: str) -> None:
    assert allows(f"User-agent: {line}\nDisallow: /\n", "/x")
    assert not allows(f"User-agent: {line}\nAllow: /\n\n{NOTHING}", "/x")


def test_groups_for_the_same_agent_are_merged() -> None:
    """RFC 9309 §2.2.1, its example."""
    text = (
        "user-agent: ExampleBot\ndisallow: /foo\ndisallow: /bar\n\n"
        "user-agent: ExampleBot\ndisallow: /baz\n\nuser-agent: *\nallow: /baz/x\n"
    )
    for path in ("/foo", "/bar", "/baz", "/baz/x"):
        assert not allows(text, path, "ExampleBot")
    assert allows(text, "/qux", "ExampleBot")


def test_the_general_group_holds_only_where_none_names_us() -> None:
    assert not allows(NOTHING, "/x")
    assert allows(f"{NOTHING}User-agent: fetcher\nDisallow: /y\n", "/x")
    assert allows(f"{NOTHING}User-agent: fetcher\n", "/x")
    assert allows(f"User-agent: fetcher\nDisallow:\n\n{NOTHING}", "/x")


def test_general_groups_are_merged_too() -> None:
    text = "User-agent: *\nDisallow: /a\n\nUser-agent: x\nDisallow: /\n\nUser-agent: *\nDisallow: /b\n"
    assert not allows(text, "/a")
    assert not allows(text, "/b")
    assert allows(text, "/c")


def test_a_group_may_name_several_agents_with_other_lines_between() -> None:
    text = "User-agent: a\n\n# us\nSitemap: https://example.org/s\nNoise\nUser-agent: fetcher\nUser-agent: *\nDisallow: /x\n"
    for agent in ("a", "fetcher", "other"):
        assert not allows(text, "/x", agent)


def test_a_rule_ends_the_list_of_agents() -> None:
    text = "User-agent: fetcher\nDisallow:\nUser-agent: other\nDisallow: /\n"
    assert allows(text, "/x")
    assert allows("User-agent: fetcher\nCrawl-delay: 1\nUser-agent: other\nDisallow: /\n", "/x")


def test_rules_before_any_group_hold_for_nobody() -> None:
    assert allows("Disallow: /\nUser-agent: *\nDisallow: /y\n", "/x")


def test_without_a_name_only_the_general_group_holds() -> None:
    assert not allows(NOTHING, "/x", "")
    assert allows("User-agent:\nDisallow: /\n", "/x", "")


# --- how it is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\n", "\r\r\n", " \t\n\t "])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n", "# comment\n", " "])
def test_any_line_end_and_start_will_do(start: str, end: str) -> None:
    text = start + end.join(["User-agent: fetcher", "Disallow: /x", "Allow: /x/y", ""])
    assert not allows(text, "/x")
    assert allows(text, "/x/y")
    assert allows(text, "/")


@pytest.mark.parametrize(
    "text",
    [
        "User-agent:*\nDisallow:/x",
        "USER-AGENT: *\nDISALLOW: /x",
        "useragent: *\ndisalow: /x",
        "User agent: *\nDissallow: /x",
        "User-agent *\nDisallow /x",
        "User-agent: *\nDisallow : /x",
        "User-agent: *#all\nDisallow: /x#this",
        "\tUser-agent:\t*\n\tDisallow:\t/x",
    ],
)
def test_spellings_seen_in_the_wild_are_understood(text: str) -> None:
    assert not allows(text, "/x")
    assert allows(text, "/y")


@pytest.mark.parametrize("character", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_only_cr_and_lf_end_a_line(character: str) -> None:
    text = for_all(f"Disallow: /x{character}y", f"# {character}Disallow: /")
    assert allows(text, "/x")
    assert allows(text, "/z")
    escaped = "".join(f"%{byte:02X}" for byte in character.encode())
    assert not allows(text, f"/x{escaped}y")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n\n",
        b"\xef\xbb\xbf",
        b"<!DOCTYPE html><html>\nUser-agent: *\nDisallow: /\n</html>",
        b"\n <HTML><pre>\nUser-agent: *\nDisallow: /\n</pre>",
        b"\xef\xbb\xbf<?xml version='1.0'?>\nUser-agent: *\nDisallow: /",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\x1f\x8b\x08\0\0\0\0\0",
        "User-agent: *\nDisallow: /\n".encode("utf-16"),
        bytes(range(256)) * 20,
        b"Not found",
        b"Disallow: /",
        b"User-agent: *",
    ],
)
def test_what_has_no_rules_allows_all(text: bytes) -> None:
    found = RobotsRules(text, "fetcher", f"{HOST}/robots.txt")
    assert found.allows(HOST + "/x")
    assert (found.crawl_delay_s, found.sitemaps) == (0.0, ())


def test_nul_bytes_cost_their_line_only() -> None:
    text = b"User-agent: *\nDisallow: /x\nDis\0allow: /y\nDisallow: /z\0z\n"
    found = RobotsRules(text, "fetcher", f"{HOST}/robots.txt")
    assert not found.allows(HOST + "/x")
    assert found.allows(HOST + "/y")
    assert found.allows(HOST + "/z")


# --- delay --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "delay_s"),
    [
        (["Crawl-delay: 5"], 5.0),
        (["crawl-delay:0.5"], 0.5),
        (["Crawl delay 2"], 2.0),
        (["Crawl-delay: 0"], 0.0),
        (["Crawl-delay: -1"], 0.0),
        (["Crawl-delay: nan"], 0.0),
        (["Crawl-delay: inf"], 0.0),
        (["Crawl-delay: -inf"], 0.0),
        (["Crawl-delay: 1e999"], 0.0),
        (["Crawl-delay: soon"], 0.0),
        (["Crawl-delay:"], 0.0),
        (["Crawl-delay: 3 # s"], 3.0),
        (["Request-rate: 1/5"], 5.0),
        (["Request-rate: 2/1m"], 30.0),
        (["Request-rate: 10/s"], 0.0),
        (["Request-rate: 1/10s 0600-0845"], 10.0),
        (["Request-rate: 0/5"], 0.0),
        (["Request-rate: 1/0"], 0.0),
        (["Request-rate: x"], 0.0),
        (["Request-rate: 1/5", "Crawl-delay: 2"], 5.0),
        (["Request-rate: 1/5", "Crawl-delay: 7"], 7.0),
        ([f"Request-rate: {'9' * 400}/1"], 1e-9),
        (["Crawl-delay: 60"], 60.0),
    ],
)
def test_a_delay_is_read(lines: list[str], delay_s: float) -> None:
    found = rules(for_all(*lines))
    assert found.crawl_delay_s == delay_s


@pytest.mark.parametrize(
    "line",
    ["Crawl-delay: 60.001", "Crawl-delay: 1e300", "Request-rate: 1/1h", f"Request-rate: 1/{'9' * 400}d"],
)
def test_a_huge_delay_is_clamped(line: str) -> None:
    found = rules(for_all(line))
    assert found.crawl_delay_s == MOST_DELAY_S


def test_the_delay_is_that_of_our_group() -> None:
    text = "User-agent: *\nCrawl-delay: 9\n\nUser-agent: fetcher\nCrawl-delay: 2\n"
    assert rules(text).crawl_delay_s == 2.0
    assert rules(text, "other").crawl_delay_s == 9.0
    assert rules("User-agent: *\nCrawl-delay: 9\n\nUser-agent: fetcher\nDisallow:\n").crawl_delay_s == 0.0


# --- sitemaps -----------------------------------------------------------------------------------------


def test_sitemaps_are_those_of_all_groups_in_order_and_once() -> None:
    text = (
        "Sitemap: https://example.org/a.xml\nUser-agent: other\nDisallow: /\nsitemap:https://cdn.test/b.xml\n"
        "User-agent: fetcher\nDisallow: /x\nSite-map: HTTP://Example.org:80/c.xml#top\n"
        "Sitemap: https://example.org/a.xml # again\nSitemap https://example.org/d.xml\n"
    )
    assert rules(text).sitemaps == (
        "https://example.org/a.xml",
        "https://cdn.test/b.xml",
        "http://example.org/c.xml",
        "https://example.org/d.xml",
    )


@pytest.mark.parametrize(
    ("line", "sitemap"),
    [
        ("/s.xml", f"{HOST}/s.xml"),
        ("s.xml", f"{HOST}/s.xml"),
        ("../a/./s.xml?b#c", f"{HOST}/a/s.xml?b"),
        ("//cdn.test/s.xml", "https://cdn.test/s.xml"),
        ("sitemap index.xml", f"{HOST}/sitemap%20index.xml"),
    ],
)
def test_a_relative_sitemap_is_resolved_against_the_robots_txt(line: str, sitemap: str) -> None:
    assert rules(f"Sitemap: {line}").sitemaps == (sitemap,)


def test_what_is_no_http_url_is_no_sitemap() -> None:
    lines = [
        "ftp://h/s.xml",
        "file:///etc/passwd",
        "data:text/plain,http://h/",
        "http://",
        "https://[",
        "",
        "#",
    ]
    assert rules("\n".join(f"Sitemap: {line}" for line in lines)).sitemaps == ()


def test_sitemaps_are_bounded() -> None:
    text = "\n".join(f"Sitemap: http://h/{number}" for number in range(MOST_SITEMAPS + 500))
    assert len(rules(text).sitemaps) == MOST_SITEMAPS


# --- hostile ones ---------------------------------------------------------------------------------------


def test_only_the_first_500_kib_are_read_and_no_half_line() -> None:
    start = "User-agent: *\nDisallow: /x\n"
    filler = "# " + "a" * (MOST_BYTES - len(start) - 2 - len("\nAllow: /x/y")) + "\n"
    whole = start + filler + "Allow: /x/y\n"
    assert len(whole.encode()) == MOST_BYTES + 1  # its last byte is the line's end
    assert allows(whole, "/x/y")
    assert not allows(whole, "/x/z")
    cut = start + "#" + filler + "Allow: /x/yes\n"
    assert not allows(cut, "/x/yes")
    assert not allows(cut, "/x/y")
    assert allows(start + "#" * MOST_BYTES + f"\n{NOTHING}", "/z")


def test_one_endless_line_has_no_rules() -> None:
    assert allows("Disallow: /" + "a" * (MOST_BYTES * 2), "/x")


def words(length: int) -> list[str]:
    return [
        "".join(letters)
        for letters in itertools.islice(itertools.product(string.ascii_lowercase, repeat=4), length)
    ]


HOSTILE = {
    "stars": for_all(*(f"Disallow: /{'*a' * 2000}{word}$" for word in words(125))),
    "one rule of stars": for_all("Disallow: /" + "*a" * 250_000 + "*b$"),
    "long wildcards": for_all(*(f"Disallow: /*{'a' * 1000}b{word}" for word in words(490))),
    "short wildcards": for_all(*(f"Disallow: /*{word}1" for word in words(30_000))),
    "rules": for_all(*(f"Disallow: /{word}" for word in words(32_000))),
    "dollars": for_all(*(f"Disallow: /$${word}$" for word in words(30_000))),
    "agents and rules": "\n".join(
        [
            *(f"User-agent: a{word}" for word in words(15_000)),
            "User-agent: *",
            *(f"Disallow: /{w}" for w in words(20_000)),
        ]
    ),
    "the same agent": "User-agent: *\n" * 36_000 + "Disallow: /aaaa\n",
    "white space": (" " * 16_000 + "\n") * 31,
    "letters": "di" + "l" * 500_000,
    "line ends": "\n" * 512_000,
    "nul": "\0" * 512_000,
    "percent": for_all(*(f"Disallow: /%{word}\xe9%" for word in words(30_000))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_rules_end_soon_against_a_long_url(name: str) -> None:
    """What took longer with the square of the text would be ended by the limit on a test's time."""
    found = rules(HOSTILE[name])
    found.allows(HOST + "/" + "a" * 8000)
    assert found.allows(HOST + "/robots")


def test_all_rules_of_the_first_500_kib_are_heeded() -> None:
    text = for_all(*(f"Disallow:/{word}" for word in words(33_000)))
    assert MOST_BYTES - 20_000 < len(text) < MOST_BYTES
    found = rules(text)
    assert not any(found.allows(f"{HOST}/{word}") for word in words(33_000)[::500])
    assert (found.allows(f"{HOST}/z"), found.notes) == (True, ())


def test_rules_beyond_the_limit_on_wildcards_are_not_heeded_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(robots, "MOST_WILDCARDS", 2)
    found = rules(for_all("Disallow: /*a*", "Disallow: /*b", "Disallow: /c", "Disallow: /*d", "Disallow: /e"))
    assert [found.allows(f"{HOST}/{letter}") for letter in "abcde"] == [False, True, False, True, False]
    assert found.notes == ("2 rules beyond 2 wildcards are not heeded",)


def test_a_text_that_is_cut_tells_it() -> None:
    assert rules(for_all("Disallow: /a") + "#" * MOST_BYTES).notes == ("only the first 500 KiB are read",)


def test_an_agent_that_is_named_twice_uses_up_the_limit_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots, "MOST_WILDCARDS", 3)
    for agent in ("*", "fetcher"):
        text = f"User-agent: {agent}\n" * 3 + "Disallow: /*a\nDisallow: /*b\nDisallow: /*c\n"
        assert not allows(text, "/c")


def test_a_rule_with_more_wildcards_than_the_limit_does_not_hide_the_next() -> None:
    text = for_all("Disallow: /" + "*a" * 8000, "Disallow: /*.pdf$")
    assert not allows(text, "/x.pdf")


LINES = st.sampled_from(
    ["User-agent: *", "User-agent: fetcher", "Disallow: /", "Allow: /", "Disallow: ", "Crawl-delay: ", "Sitemap: http://h/",
     "Request-rate: 1/", "Visit-time: ", "Host: ", "\r", "\n", "\ufeff", "$", "*", "%", "\0", "#", ":", "\x85", "[", "http://["]
)  # fmt: skip
TEXTS = st.lists(LINES | st.text(max_size=8), max_size=20).map(
    lambda pieces: "".join(pieces).encode("utf-8", "replace")
)
URLS = st.text(alphabet="ab*$%?&/.[]@:;=#", max_size=20).map(lambda rest: f"https://example.org/{rest}")


@settings(max_examples=800, deadline=None)
@given(st.binary(max_size=200) | TEXTS, st.text(max_size=10) | st.just("fetcher"), URLS)
def test_any_bytes_give_rules(text: bytes, agent: str, url: str) -> None:
    found = RobotsRules(text, agent, f"{HOST}/robots.txt")
    assert found.allows(url) in {True, False}
    assert 0.0 <= found.crawl_delay_s <= MOST_DELAY_S
    assert all(sitemap.startswith(("http://", "https://")) for sitemap in found.sitemaps)


# --- our name -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [
        ("fetcher/0.1", "fetcher"),
        ("fetcher/0.1 (+https://example.org/bot)", "fetcher"),
        ("fetcher", "fetcher"),
        ("  Fetcher 1.0", "Fetcher"),
        ("My-Bot_2 (x)", "My-Bot_2"),
        ("MJ12bot/v1.4.8", "MJ12bot"),
        ("Mozilla/5.0 (compatible; Foobot/1.0; +http://foo)", "Foobot"),
        ("mozilla/5.0 ( COMPATIBLE ;Foobot)", "Foobot"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla"),
        ("fetcher(test)", "fetcher"),
        ("", ""),
        ("/", ""),
    ],
)
def test_the_product_token_is_the_first_product_or_the_compatible_one(user_agent: str, token: str) -> None:
    assert agent_token(user_agent) == token


@given(st.text(max_size=40))
def test_any_user_agent_has_a_token(user_agent: str) -> None:
    assert not set(agent_token(user_agent)) & set("/ ;,(")


# -- the line that decides ---------------------------------------------------------------------------------


def test_the_line_that_decides_is_named_by_its_number_and_group() -> None:
    text = b"# ours\nUser-agent: *\nDisallow: /\n\nUser-agent: Fetcher\nDisallow: /a\nAllow: /a/b\nDisallow: /*.pdf$\n"
    found = {path: verdict_on(text, "fetcher", HOST + path) for path in ("/a/x", "/a/b", "/c.pdf", "/d")}
    assert [(v.allows, v.group, v.line) for v in found.values()] == [
        (False, "fetcher", 6),
        (True, "fetcher", 7),
        (False, "fetcher", 8),
        (True, "fetcher", None),
    ]
    assert found["/a/b"].text == "Allow: /a/b"
    other = verdict_on(text, "other", HOST + "/d")
    assert (other.allows, other.group, other.line) == (False, "*", 3)
    assert verdict_on(b"", "fetcher", HOST + "/d").group == ""


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Allow", "Disallow", "disalow", "Crawl-delay"]), st.text("/ab*$%2", max_size=6)
        ),
        max_size=6,
    ),
    st.text("/ab", max_size=6),
)
def test_the_line_that_decides_says_what_the_rules_say(lines: list[tuple[str, str]], path: str) -> None:
    text = "User-agent: *\n" + "".join(f"{name}: {pattern}\n" for name, pattern in lines)
    url = f"{HOST}/{path}"
    verdict = verdict_on(text.encode(), "fetcher", url)
    assert verdict.allows == rules(text).allows(url)
    if verdict.line is not None:
        assert text.splitlines()[verdict.line - 1] == verdict.text
