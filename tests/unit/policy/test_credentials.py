"""Credentials: which header fields go to which origin."""

import base64
import netrc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import ConfigError
from fetcher.model import Target
from fetcher.policy.credentials import (
    Credentials,
    HostCredentials,
    carry_credentials,
    fields,
    unfit,
)

OURS = (("User-Agent", "fetcher/1"), ("Accept", "*/*"), ("Accept-Encoding", "gzip"))


def target(name="example.org", *, scheme="https", port=None):
    port = port or {"http": 80, "https": 443}[scheme]
    return Target(
        url=f"{scheme}://{name}:{port}/x", scheme=scheme, hostname=name, port=port, host=f"{name}:{port}"
    )


def credentials(**given):
    return Credentials(user_agent="fetcher/1", accept_encoding="gzip", **given)


def basic(user):
    return ("Authorization", "Basic " + base64.b64encode(user.encode()).decode())


def test_without_credentials_every_host_gets_our_own_fields_in_order():
    for listed in (True, False):
        assert credentials().headers_for(target(), origin_listed=listed) == OURS


def test_headers_and_user_go_to_a_listed_host_after_our_own():
    given = credentials(headers=[("X-Api-Key", "k"), ("X-Api-Key", "l")], user="u:p")
    assert given.headers_for(target(), origin_listed=True) == (
        *OURS,
        basic("u:p"),
        ("X-Api-Key", "k"),
        ("X-Api-Key", "l"),
    )


def test_headers_and_user_go_to_no_other_host():
    given = credentials(headers=[("X-Api-Key", "k"), ("Accept-Language", "de")], user="u:p")
    assert given.headers_for(target("evil.example"), origin_listed=False) == OURS


def test_the_common_case_is_prepared_once():
    given = credentials(headers=[("X", "1")])
    first = given.headers_for(target("a.example"), origin_listed=True)
    assert given.headers_for(target("b.example"), origin_listed=True) is first


def test_a_header_of_the_user_replaces_ours_whatever_its_case():
    given = credentials(headers=[("user-AGENT", "me"), ("ACCEPT", None)])
    assert given.headers_for(target(), origin_listed=True) == (
        ("Accept-Encoding", "gzip"),
        ("user-AGENT", "me"),
    )


def test_an_authorization_header_wins_over_the_user_option():
    given = credentials(headers=[("Authorization", "Bearer t")], user="u:p")
    assert given.headers_for(target(), origin_listed=True) == (*OURS, ("Authorization", "Bearer t"))


def test_the_user_of_a_url_wins_over_the_option():
    given = credentials(user="u:p")
    sent = given.headers_for(target(), origin_listed=True, userinfo="url:secret")
    assert sent == (*OURS, basic("url:secret"))


def test_the_user_of_a_url_is_sent_to_its_origin_even_if_that_is_not_listed():
    sent = credentials().headers_for(target(), origin_listed=False, userinfo="url:secret")
    assert sent == (*OURS, basic("url:secret"))


def test_a_user_is_encoded_as_utf8_and_an_absent_password_is_empty():
    assert credentials(user="ü:ß").headers_for(target(), origin_listed=True)[-1] == basic("ü:ß")
    assert credentials(user="u").headers_for(target(), origin_listed=True)[-1] == basic("u:")
    assert credentials().headers_for(target(), origin_listed=True, userinfo="") == OURS


def test_the_headers_of_an_entry_are_sent_with_it_and_replace_all_others():
    given = credentials(headers=[("X", "all")], user="u:p")
    sent = given.headers_for(
        target(), origin_listed=True, extra={"x": "one", "Authorization": "Bearer t", "Accept": ""}
    )
    assert sent == (OURS[0], OURS[2], ("x", "one"), ("Authorization", "Bearer t"))


def test_the_headers_of_an_entry_are_dropped_where_the_host_is_not_listed():
    assert credentials().headers_for(target(), origin_listed=False, extra={"X-Key": "k"}) == OURS


class TestOneHost:
    given = credentials(
        headers=[("X", "all"), ("Y", "all")],
        user="u:p",
        hosts={
            "Example.org": HostCredentials(headers=(("X", "one"),), user="host:pw"),
            "example.org:8443": HostCredentials(headers=(("Z", "port"),)),
        },
    )

    def test_its_own_headers_and_user_win_over_those_for_all(self):
        assert self.given.headers_for(target(), origin_listed=True) == (
            *OURS,
            ("Y", "all"),
            basic("host:pw"),
            ("X", "one"),
        )

    def test_it_gets_its_own_even_if_it_was_not_listed(self):
        sent = self.given.headers_for(target(), origin_listed=False)
        assert sent == (*OURS, basic("host:pw"), ("X", "one"))

    def test_another_host_does_not_get_them(self):
        assert self.given.headers_for(target("www.example.org"), origin_listed=False) == OURS

    def test_another_port_of_the_same_host_does_not_get_them(self):
        assert self.given.headers_for(target(port=9000), origin_listed=False) == OURS
        assert self.given.headers_for(target(scheme="http", port=443), origin_listed=False) == OURS

    def test_a_port_that_was_named_gets_what_is_for_that_port(self):
        sent = self.given.headers_for(target(port=8443), origin_listed=False)
        assert sent == (*OURS, ("Z", "port"))

    def test_they_are_prepared_once_for_each_host(self):
        first = self.given.headers_for(target(), origin_listed=True)
        assert self.given.headers_for(target(), origin_listed=True) is first


class TestNetrc:
    @pytest.fixture
    def entries(self, tmp_path):
        path = tmp_path / "netrc"
        path.write_text(
            "machine a.example login anna password pa\n"
            "machine half.example login anna\n"
            "default login someone password pd\n"
        )
        return netrc.netrc(path).hosts

    def test_an_entry_goes_to_its_machine(self, entries):
        sent = credentials(netrc=entries).headers_for(target("a.example"), origin_listed=False)
        assert sent == (*OURS, basic("anna:pa"))

    def test_an_entry_wins_over_the_default_entry(self, entries):
        sent = credentials(netrc=entries).headers_for(target("a.example"), origin_listed=True)
        assert sent == (*OURS, basic("anna:pa"))

    def test_the_default_entry_goes_to_listed_hosts_only(self, entries):
        given = credentials(netrc=entries)
        assert given.headers_for(target("c.example"), origin_listed=True) == (*OURS, basic("someone:pd"))
        assert given.headers_for(target("c.example"), origin_listed=False) == OURS

    def test_an_entry_without_a_password_gets_nobody_elses(self, entries):
        assert credentials(netrc=entries).headers_for(target("half.example"), origin_listed=False) == OURS

    def test_the_user_option_wins(self, entries):
        sent = credentials(netrc=entries, user="u:p").headers_for(target("a.example"), origin_listed=True)
        assert sent == (*OURS, basic("u:p"))


@pytest.mark.parametrize(
    "field",
    [
        ("", "hunter2"),
        ("X Y", "hunter2"),
        ("X", "hunter2\r\nEvil: 1"),
        ("X", "hunter2\0"),
        ("Ünï", "hunter2"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("X", "hunter2\ud800"),
    ],
)
def test_a_header_that_may_not_go_on_the_wire_is_refused_without_showing_its_value(field):
    with pytest.raises(ConfigError) as caught:
        credentials(headers=[field])
    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    "given",
    [
        {"headers": [("X", "a\nb")]},
        {"hosts": {"a.example": HostCredentials(headers=(("X\n", "a"),))}},
    ],
)
def test_every_way_to_give_a_header_is_checked(given):
    with pytest.raises(ConfigError):
        credentials(**given)


def test_a_user_agent_with_a_line_end_is_refused():
    with pytest.raises(ConfigError):
        Credentials(user_agent="a\r\nX: y", accept_encoding="gzip")


def test_an_empty_value_in_a_mapping_takes_the_field_away():
    assert fields({"Accept": "", "X": "1"}) == (("Accept", None), ("X", "1"))


@given(name=st.text(max_size=20), value=st.text(max_size=50))
def test_a_field_that_is_fit_cannot_break_a_message(name, value):
    if unfit(name, value) is None:
        assert name.isascii()
        assert name
        assert not set(name) & set(" \t\r\n:\0")
        assert not set(value) & {"\r", "\n", "\0"}


def test_only_harmless_fields_are_no_credentials():
    assert not carry_credentials(
        (*OURS, ("Accept-Language", "de"), ("If-None-Match", '"x"'), ("Range", "bytes=1-"))
    )
    for name in ("Authorization", "cookie", "X-Api-Key", "Proxy-Authorization"):
        assert carry_credentials((*OURS, (name, "s")))


@given(
    headers=st.dictionaries(
        st.sampled_from(["X-Key", "Authorization", "Accept", "Cookie"]), st.just("canary")
    ),
    user=st.sampled_from([None, "canary:canary"]),
    extra=st.dictionaries(st.sampled_from(["X-Key", "User-Agent"]), st.just("canary")),
    default=st.booleans(),
)
def test_a_host_that_nobody_named_gets_no_secret_however_it_was_given(headers, user, extra, default):
    given = credentials(
        headers=list(headers.items()),
        user=user,
        hosts={"named.example": HostCredentials(headers=(("X-Key", "canary"),), user=user)},
        netrc={"default": ("canary", None, "canary")} if default else {},
    )
    assert given.headers_for(target("evil.example"), origin_listed=False, extra=extra) == OURS
