"""Which links a crawl follows, and which rule leaves the others out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.errors import ConfigError, Refused
from fetcher.model import LinkKind
from fetcher.policy.scope import Scope, is_repeating, variants_key
from fetcher.policy.urls import admit

KINDS: tuple[LinkKind, ...] = ("page", "asset", "canonical", "redirect", "sitemap")
PAGES: tuple[LinkKind, ...] = ("page", "canonical", "redirect")
FREE: tuple[LinkKind, ...] = ("asset", "sitemap")
SEED = "https://example.org/docs/start.html"


def judged(scope: Scope, url: str, kind: LinkKind = "page", depth: int = 1) -> str | None:
    return scope.judge(admit(url), kind, depth)


def scope_of(*seeds: str, **settings: object) -> Scope:
    scope = Scope(**settings)  # type: ignore[arg-type]
    for seed in seeds or (SEED,):
        scope.add_seed(admit(seed))
    return scope


# --- depth ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PAGES)
def test_what_is_deeper_than_depth_is_left_out(kind: LinkKind) -> None:
    scope = scope_of(depth=2)
    assert judged(scope, SEED, kind, 2) is None
    assert judged(scope, SEED, kind, 3) == "depth"


@pytest.mark.parametrize("kind", FREE)
def test_assets_and_sitemaps_may_be_deeper(kind: LinkKind) -> None:
    assert judged(scope_of(depth=0), SEED, kind, 9) is None


def test_at_depth_zero_only_seeds_are_fetched() -> None:
    assert judged(scope_of(depth=0), SEED, "page", 1) == "depth"


# --- scope ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "url", "is_within"),
    [
        ("https://example.org/a/b", "https://example.org/z", True),
        ("https://example.org/", "http://example.org/", True),
        ("http://example.org/", "https://example.org/", True),
        ("https://example.org/", "https://example.org:8443/", False),
        ("https://example.org:8443/", "https://example.org:8443/x", True),
        ("https://example.org:8443/", "http://example.org:8443/x", True),
        ("https://example.org:8443/", "https://example.org/", False),
        ("https://example.org/", "https://www.example.org/", False),
        ("https://www.example.org/", "https://example.org/", False),
        ("https://example.org/", "https://example.org.evil.test/", False),
        ("http://[::1]/", "https://[::1]/x", True),
        ("http://[::1]:81/", "http://[::1]/", False),
        ("http://127.0.0.1/", "http://127.0.0.2/", False),
    ],
)
def test_scope_host_is_the_seeds_name_and_port_or_both_default_ports(
    seed: str, url: str, is_within: bool
) -> None:
    assert judged(scope_of(seed), url) == (None if is_within else "scope")


@pytest.mark.parametrize(
    ("seed", "url", "is_within"),
    [
        ("https://www.example.org/", "https://example.org/", True),
        ("https://www.example.org/", "http://a.b.example.org:8080/", True),
        ("https://a.example.co.uk/", "https://b.example.co.uk/", True),
        ("https://a.example.co.uk/", "https://other.co.uk/", False),
        ("https://a.github.io/", "https://b.github.io/", False),  # a private suffix: other people
        ("https://a.github.io/", "https://x.a.github.io/", True),
        ("https://github.io/", "https://a.github.io/", False),
        ("https://b\xfccher.example.de/", "https://x.example.de/", True),
        ("http://127.0.0.1/", "http://127.0.0.1:8080/", True),
        ("http://127.0.0.1/", "http://1.0.0.1/", False),
        ("http://[::1]/", "http://[::1]:8080/", True),
        ("http://[::1]/", "http://[::2]/", False),
        ("http://intranet/", "http://intranet:81/", True),
        ("http://a.internal/", "http://b.internal/", False),  # no known suffix: by equality
        ("http://a.internal/", "http://a.internal:8080/", True),
    ],
)
def test_scope_domain_is_what_can_be_registered(seed: str, url: str, is_within: bool) -> None:
    assert judged(scope_of(seed, scope="domain"), url) == (None if is_within else "scope")


@pytest.mark.parametrize(
    ("seed", "url", "is_within"),
    [
        ("https://h/docs/start.html", "https://h/docs/", True),
        ("https://h/docs/start.html", "https://h/docs/a/b?c", True),
        ("https://h/docs/start.html", "https://h/docs", False),
        ("https://h/docs/start.html", "https://h/docs2/", False),
        ("https://h/docs/start.html", "http://h/docs/", False),
        ("https://h/docs/start.html", "https://h:444/docs/", False),
        ("https://h/docs", "https://h/other", True),
        ("https://h", "https://h/other", True),
        ("https://h/docs/?a=/b/c", "https://h/docs/x", True),
        ("https://h/docs/?a=/b/c", "https://h/x", False),
        ("https://h/%7euser/", "https://h/~user/x", True),
        ("https://h/~user/", "https://h/%7Euser/x", True),
        ("https://h/~user/", "https://h/%7Fuser/x", False),
        ("https://h/docs/", "https://h/docs/../x", False),
    ],
)
def test_scope_prefix_is_the_seeds_folder(seed: str, url: str, is_within: bool) -> None:
    assert judged(scope_of(seed, scope="prefix"), url) == (None if is_within else "scope")


def test_scope_any_is_everything() -> None:
    assert judged(scope_of(scope="any"), "http://elsewhere.test:99/") is None


@pytest.mark.parametrize("reach", ["host", "domain", "prefix"])
def test_every_seed_widens_the_scope(reach: str) -> None:
    scope = scope_of("https://a.test/x/", "https://b.test/y/", scope=reach)
    assert judged(scope, "https://a.test/x/1") is None
    assert judged(scope, "https://b.test/y/1") is None
    assert judged(scope, "https://c.test/x/1") == "scope"
    scope.add_seed(admit("https://c.test/x/"))
    assert judged(scope, "https://c.test/x/1") is None


@pytest.mark.parametrize("reach", ["host", "domain", "prefix"])
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_seed_only_what_is_exempt_is_within(reach: str, kind: LinkKind) -> None:
    assert judged(Scope(scope=reach), SEED, kind) == ("scope" if kind in PAGES else None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_assets_and_sitemaps_may_be_anywhere(kind: LinkKind) -> None:
    assert judged(scope_of(), "https://elsewhere.test/x", kind) == (None if kind in FREE else "scope")


def test_an_unknown_scope_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="scope: expected one of host, domain, prefix, any, got galaxy"):
        Scope(scope="galaxy")  # type: ignore[arg-type]


def test_domains_stay_right_when_more_are_seen_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetcher.policy.scope._MOST_DOMAINS", 3)
    scope = scope_of("https://www.example.org/", scope="domain")
    for number in range(10):
        assert judged(scope, f"https://a{number}.example.org/") is None
        assert judged(scope, f"https://a.example{number}.org/") == "scope"
    assert len(scope._by_name) <= 3


# --- patterns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_include_says_which_pages_and_nothing_of_assets_and_sitemaps(kind: LinkKind) -> None:
    scope = scope_of(include=["/news/", r"\.html$"])
    assert judged(scope, "https://example.org/news/1", kind) is None
    assert judged(scope, "https://example.org/x.html", kind) is None
    assert judged(scope, "https://example.org/x.html?y", kind) == ("include" if kind in PAGES else None)


@pytest.mark.parametrize("kind", KINDS)
def test_exclude_holds_for_all_kinds_and_wins_over_include(kind: LinkKind) -> None:
    scope = scope_of(include=["example"], exclude=["logout", r"\.pdf$"])
    assert judged(scope, "https://example.org/x", kind) is None
    assert judged(scope, "https://example.org/user/logout?x", kind) == "exclude"
    assert judged(scope, "https://example.org/x.pdf", kind) == "exclude"


def test_patterns_see_the_whole_url() -> None:
    scope = scope_of(include=["^https://example[.]org/a[?]b=1$"])
    assert judged(scope, "https://example.org/a?b=1") is None
    assert judged(scope, "https://example.org/a?b=12") == "include"


def test_patterns_mind_case_unless_told() -> None:
    scope = scope_of(exclude=["(?i)ADMIN", "Secret"])
    assert judged(scope, "https://example.org/aDmin") == "exclude"
    assert judged(scope, "https://example.org/secret") is None
    assert judged(scope, "https://example.org/Secret") == "exclude"


@pytest.mark.parametrize("setting", ["include", "exclude"])
@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a(", "missing ): a("),
        ("(?=x)", "invalid perl operator: (?="),
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("[b-a]", "invalid character class range: b-a"),
        ("x{1001}", "invalid repetition size: {1001}"),
        ("((a{100}){100}){100}", "invalid repetition size: {100}"),
        ("\\", "trailing \\"),
        ("\ud800", "it is not text"),
        ("\x1b[31m(\u202e", "missing ]"),
    ],
)
def test_a_bad_pattern_is_a_config_error_that_names_setting_and_reason(
    setting: str, pattern: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        scope_of(**{setting: ["fine", pattern]})
    message = caught.value.message
    assert message.startswith(f"{setting}: bad pattern '")
    assert reason in message
    assert message.isprintable()


def test_a_bad_pattern_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError):
        scope_of(include=["a("])
    assert capfd.readouterr() == ("", "")


def test_a_hostile_pattern_takes_linear_time_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """A backtracking engine would need 2 to the 30th steps for the first, and much memory for the last."""
    scope = scope_of(
        exclude=["(a+)+$", "(a|a)*c$", "(.*)(.*)(.*)(.*)[0-9]x", "(?:a|b)*a(?:a|b){900}c"],
        max_url_length=9000,
    )
    assert judged(scope, "https://example.org/" + "ab" * 2000 + "a" * 30 + "/") is None
    assert capfd.readouterr() == ("", "")


# --- length and repetition ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_url_that_is_too_long_is_left_out(kind: LinkKind) -> None:
    start = "https://example.org/"
    assert judged(scope_of(), start + "a" * (2083 - len(start)), kind) is None
    assert judged(scope_of(), start + "a" * (2084 - len(start)), kind) == "url-length"
    assert judged(scope_of(max_url_length=len(start)), start, kind) is None
    assert judged(scope_of(max_url_length=len(start)), start + "a", kind) == "url-length"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "path",
    [
        "/a/a/a/a",
        "/a/a/a/a/",
        "/a/a/a/a?b",
        "/x/a/a/a/a/y.html",
        "/a/b/a/b/a/b/a/b",
        "/a/b/a/b/a/b/a/b/",
        "/x/a/b/a/b/a/b/a/b/c",
        "/a/b/c/a/b/c/a/b/c/a/b/c/d",
        "/////x",
        "/" + "shop/" * 40,
    ],
)
def test_a_path_that_repeats_itself_is_left_out(kind: LinkKind, path: str) -> None:
    assert judged(scope_of(), f"https://example.org{path}", kind) == "repeating-path"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/1/1/2/",
        "/1/1/1/2",
        "/a/a/a",
        "/a/a/a/",
        "/a/a/a/ab",
        "/ba/a/a/a",
        "/a/a/a/a.html",
        "/a/b/a/b/a/b/a",
        "/a/b/a/b/a/b/a/bc",
        "/a/b/c/d/a/b/c/d/a/b/c/d/a/b/c/d",  # four segments: more likely meant
        "/2024/01/01/2024/01/01",
        "/a/b/c/d/e/f/g/h/i/j",
        "/x?/a/a/a/a/a/a",
        "/https://example.org/https://example.org/",
        "/example.org/example.org/example.org",
    ],
)
def test_a_path_that_only_looks_repeating_is_followed(path: str) -> None:
    assert judged(scope_of(), f"https://example.org{path}") is None
    assert not is_repeating(f"https://example.org{path}")


def by_counting(path: str) -> bool:
    segments = path.split("/")[1:]
    return any(
        all(segments[at + i] == segments[at + i % size] for i in range(4 * size))
        for size in (1, 2, 3)
        for at in range(len(segments) - 4 * size + 1)
    )


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "ab", ""]), max_size=24))
def test_repetition_is_what_counting_says(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    assert is_repeating(f"http://h{path}") == by_counting(path)
    assert is_repeating(f"http://h{path}?/a/a/a/a") == by_counting(path)


# --- the whole ------------------------------------------------------------------------------------


def test_the_first_rule_of_several_is_named() -> None:
    scope = scope_of(depth=1, include=["good"], exclude=["bad"], max_url_length=50)
    deep = "https://elsewhere.test/bad" + "/a" * 50
    assert judged(scope, deep, depth=2) == "depth"
    assert judged(scope, deep) == "scope"
    assert judged(scope, deep.replace("elsewhere.test", "example.org")) == "include"
    assert judged(scope, deep.replace("elsewhere.test", "example.org/good")) == "exclude"
    assert judged(scope, deep.replace("elsewhere.test/bad", "example.org/good")) == "url-length"


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["host", "domain", "prefix", "any"]),
    st.sampled_from(KINDS),
    st.integers(0, 3),
    st.text(alphabet="ab/.?%7E;[]:@", max_size=30),
)
def test_judging_twice_gives_the_same_and_never_raises(
    reach: str, kind: LinkKind, depth: int, rest: str
) -> None:
    try:
        target = admit(f"https://example.org/{rest}")
    except Refused:
        return
    scope = scope_of("https://example.org/a/b", scope=reach, depth=2, include=["a"], exclude=["b+b"])
    answer = scope.judge(target, kind, depth)
    scope.add_seed(admit("https://example.org/a/b"))
    assert scope.judge(target, kind, depth) == answer
    assert answer in {None, "depth", "scope", "include", "exclude", "url-length", "repeating-path"}


def test_patterns_and_suffixes_are_loaded_only_where_they_are_needed() -> None:
    program = (
        "import sys\n"
        "from fetcher.policy.urls import admit\n"
        "from fetcher.policy.scope import Scope\n"
        "scope = Scope()\n"
        "scope.add_seed(admit('https://example.org/'))\n"
        "scope.judge(admit('https://example.org/x'), 'page', 1)\n"
        "print({'re2', 'publicsuffixlist'} & set(sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("set()\n", "")


# --- variants -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://h/", None),
        ("http://h/a/b.html", None),
        ("http://h/a?b=c", "http://h/a"),
        ("http://h/a?", "http://h/a"),
        ("http://h/?b", "http://h/"),
        ("http://h/a;jsessionid=1", "http://h/a"),
        ("http://h/a;x?y;z", "http://h/a"),
        ("http://h/a?y;z", "http://h/a"),
        ("http://h/a;v=1/b", None),
        ("http://h/a;v=1/b;w=2;x=3", "http://h/a;v=1/b"),
        ("http://h/a;v=1/b?c", "http://h/a;v=1/b"),
        ("http://h/a?/b;c", "http://h/a"),
        ("http://h/;x", "http://h/"),
    ],
)
def test_variants_of_a_page_share_what_stands_before_query_and_parameters(url: str, key: str | None) -> None:
    assert variants_key(url) == key
