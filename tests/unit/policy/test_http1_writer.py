"""Requests as bytes: exactly one, as given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.model import Request, Target
from fetcher.policy.http1_writer import RequestWriter


def request(url: str, **options: object) -> Request:
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    return Request(target=Target(url=url, scheme=scheme, hostname=host, port=80, host=host), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://a.test/x/../y?q=|[]", b"GET /x/../y?q=|[] HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ("http://a.test", b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ("https://[::1]:8443/", b"GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n"),
    ],
)
def test_a_target_is_written_as_given(url: str, line: bytes) -> None:
    assert RequestWriter().write(request(url)) == line


def test_a_proxy_gets_the_absolute_form_and_its_credentials() -> None:
    written = RequestWriter().write(
        request("http://a.test/x", headers=(("A", "b"),)), relayed_for="Basic eA=="
    )
    assert written == (
        b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\nA: b\r\nProxy-Authorization: Basic eA==\r\n\r\n"
    )
    assert b"Proxy" not in RequestWriter().write(request("http://a.test/x"), relayed_for="")


@pytest.mark.parametrize(
    ("method", "body", "end"),
    [
        ("GET", None, b"\r\n\r\n"),
        ("POST", None, b"Content-Length: 0\r\n\r\n"),
        ("POST", b"ab", b"Content-Length: 2\r\n\r\nab"),
        ("GET", b"ab", b"Content-Length: 2\r\n\r\nab"),
        ("DELETE", None, b"\r\n\r\n"),
    ],
)
def test_a_body_has_its_length_and_a_method_that_means_one_too(
    method: str, body: bytes | None, end: bytes
) -> None:
    written = RequestWriter().write(request("http://a.test/", method=method, body=body))
    assert written.endswith(end)
    assert (b"Content-Length" in written) == (b"Content-Length" in end)


def test_the_fields_of_one_request_are_not_those_of_another() -> None:
    writer = RequestWriter()
    first = request("http://a.test/", headers=(("Host", "b.test"), ("X", "1")))
    second = request("http://a.test/", headers=(("X", "\xe9"), ("X", "☃")))
    for _ in range(2):
        assert writer.write(first) == b"GET / HTTP/1.1\r\nHost: b.test\r\nX: 1\r\n\r\n"
        assert writer.write(second) == (
            b"GET / HTTP/1.1\r\nHost: a.test\r\nX: \xe9\r\nX: " + "☃".encode() + b"\r\n\r\n"
        )


TEXT = st.text(st.sampled_from("ab/:?# \t\r\n\0é☃"), max_size=12)


@given(method=TEXT, path=TEXT, name=TEXT, value=TEXT)
def test_nothing_makes_two_requests_or_another_field_of_one(
    method: str, path: str, name: str, value: str
) -> None:
    try:
        written = RequestWriter().write(
            request(f"http://a.test/{path}", method=method, headers=((name, value),))
        )
    except ValueError:
        return
    lines = written.split(b"\r\n")
    host = [] if name.lower() == "host" else [b"Host: a.test"]
    assert len(lines) == 4 + len(host)
    assert lines[0].count(b" ") == 2
    assert b"\n" not in b"".join(lines)


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ((("Connection", "close"),), True),
        ((("connection", "keep-alive, CLOSE"),), True),
        ((("Connection", "keep-alive"),), False),
        ((("X-Connection", "close"), ("Connection", "closed")), False),
        ((), False),
    ],
)
def test_a_request_may_ask_for_the_end_of_its_connection(
    fields: tuple[tuple[str, str], ...], ends: bool
) -> None:
    writer = RequestWriter()
    writer.write(request("http://a.test/", headers=fields))
    assert writer.ends_connection is ends
    writer.write(request("http://a.test/", headers=(("A", "b"),)))
    assert not writer.ends_connection
