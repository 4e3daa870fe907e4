import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.policy.sessionids import without_session_ids

HEX = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://h/a;jsessionid=1F2E.node1", "http://h/a"),
        ("http://h/a;JSESSIONID=1F2E?x=1", "http://h/a?x=1"),
        ("http://h/a;jsessionid=1F2E/b;c=2", "http://h/a/b;c=2"),
        ("http://h/a;b=2;jsessionid=1", "http://h/a;b=2"),
        (f"http://h/a;sid={HEX}", "http://h/a"),
        ("http://h/(S(lit3py55t21z5v55vlm25s55))/a.aspx", "http://h/a.aspx"),
        ("http://h/app/(A(abc)S(lit3py55t21z5v55vlm25s55)F(x-_1))/", "http://h/app/"),
        ("http://h/?PHPSESSID=k3", "http://h/"),
        ("http://h/?a=1&phpsessid=k3&b=2", "http://h/?a=1&b=2"),
        ("http://h/?jsessionid=k3&b=2", "http://h/?b=2"),
        (f"http://h/viewtopic.php?t=4&sid={HEX}", "http://h/viewtopic.php?t=4"),
        (f"http://h/?session_id={HEX}", "http://h/"),
        ("http://h/a.asp?ASPSESSIONIDQSCCDDAR=AAMHJKKABPLOPAGJPKMABCDE", "http://h/a.asp"),
        ("http://h/a.cfm?CFID=12&CFTOKEN=34&p=1", "http://h/a.cfm?p=1"),
        ("http://h/a.cfm;cfid=12;cftoken=34", "http://h/a.cfm"),
    ],
)
def test_a_session_id_does_not_tell_urls_apart(url: str, plain: str) -> None:
    assert without_session_ids(url) == plain


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "http://h/",
        "http://h/?sid=42",  # a story's
        "http://h/?sid=0123456789012345678",
        "http://h/?sid=averylongtitleofapage",
        f"http://h/?side={HEX}",
        f"http://h/?x{HEX}",
        "http://h/?xphpsessid=1",
        "http://h/jsessionid=1",
        "http://h/a;v=1;w",
        "http://h/a.cfm?cfid=12",
        "http://h/wiki/Foo_(S)",
        "http://h/wiki/(S)/",
        "http://h/f(x(1))/",
        "http://h/a?x=1&&y=(sid)&",
    ],
)
def test_what_may_tell_pages_apart_stays(url: str) -> None:
    assert without_session_ids(url) == url


@given(st.lists(st.sampled_from([*"/?&;=()aS1", "jsessionid=", "sid=", "cfid=1", "cftoken=2", HEX])))
@example(["?", "cfid=1", "&", "cftoken=2", "&", "a"])
def test_what_is_plain_stays_plain(parts: list[str]) -> None:
    plain = without_session_ids("http://h/" + "".join(parts))
    assert plain.startswith("http://h/")
    assert len(plain) <= len("http://h/" + "".join(parts))


@pytest.mark.parametrize(
    "piece", [";", "(", "?", "/(S(", ";sid=a1", "&sid=a", ";jsessionid=", "/(S(a))", "?sid="]
)
def test_a_hostile_url_costs_no_more_than_its_length(piece: str) -> None:
    def cost_s(length: int) -> float:
        url = "http://h/" + piece * (length // len(piece))
        begun = time.process_time()
        without_session_ids(url)
        return time.process_time() - begun

    assert cost_s(2_000_000) < 2
