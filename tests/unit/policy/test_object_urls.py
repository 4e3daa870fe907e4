"""Addresses of places in object stores: taken apart, refused where they can't be one, long enough for any key."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetcher.model import Job, RequestOverrides, Target
from fetcher.policy.filenames import deduplicated, name_template
from fetcher.policy.object_urls import KEY_BYTES, PREFIX_BYTES, is_object_url, object_url


@pytest.mark.parametrize(
    ("text", "parts", "shown"),
    [
        ("s3://bucket", ("s3", "bucket", ""), "s3://bucket"),
        ("s3://b.u-c_k/", ("s3", "b.u-c_k", ""), "s3://b.u-c_k"),
        ("gs://bucket/a/b c/", ("gs", "bucket", "a/b c"), "gs://bucket/a/b c"),
        ("az://container/é", ("az", "container", "é"), "az://container/é"),
    ],
)
def test_an_address_has_a_bucket_and_a_prefix(text: str, parts: tuple[str, str, str], shown: str) -> None:
    assert is_object_url(text)
    assert object_url(text) == parts
    assert str(object_url(text)) == shown
    assert object_url(text).at("x") == f"{shown}/x"


@pytest.mark.parametrize(
    "text",
    [
        *("ftp://bucket/a", "S3://bucket/a", "gcs://bucket/a", "s3:///a", "s3://buc ket/a", "s3://b?x=1/a"),
        *("s3://b/a//c", "s3://b/../c", "s3://b/a/.", "s3://b/\x1b[2J", f"s3://b/{'x' * (PREFIX_BYTES + 1)}"),
        *("s3://key:hush@bucket/a", "s3://key:hush/x@bucket"),
    ],
)
def test_what_can_be_no_address_is_refused_and_no_secret_of_it_is_shown(text: str) -> None:
    assert is_object_url(text)
    with pytest.raises(ValueError, match=r"expected|prefix|credentials") as caught:
        object_url(text)
    assert "hush" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("text", ["out", "/a/b", "s3:/b", "./s3://b", "a b://c", "://b"])
def test_everything_else_is_a_folder(text: str) -> None:
    assert not is_object_url(text)


@example(name="some folder/", times=120, prefix="é" * (PREFIX_BYTES // 2))
@given(
    name=st.text(min_size=1, max_size=300),
    times=st.integers(1, 30),
    prefix=st.sampled_from(["", "x", "é" * (PREFIX_BYTES // 2)]),
)
def test_every_key_fits_whatever_the_name(name: str, times: int, prefix: str) -> None:
    url = object_url(f"s3://bucket/{prefix}")
    target = Target("http://h/a", "http", "h", 80, "h:80")
    job = Job(id=1, url="http://h/a", target=target, overrides=RequestOverrides(name=name * times))
    path = name_template("{path}", date="", most=url.path_bytes)(job)
    marked = deduplicated(path, "http://h/a")
    for _ in range(2):
        marked = deduplicated(marked, marked, 0)
    assert len(url.at(marked).removeprefix("s3://bucket/").encode()) <= KEY_BYTES
    assert path == name_template("{path}", date="", most=url.path_bytes)(job)
