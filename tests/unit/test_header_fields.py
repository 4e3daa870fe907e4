"""The one rule for which header fields hold a secret, where it is asked."""

from __future__ import annotations

import pytest

from fetcher.cli.runner import _without_secret
from fetcher.engine.job_factory import JobFactory
from fetcher.header_fields import is_secret
from fetcher.model import Entry
from fetcher.option_types.request import HEADERS
from fetcher.policy.credentials import carry_credentials

SECRET = [
    *("Authorization", "COOKIE", "Proxy-Authorization", "X-Api-Key", "X-Amz-Security-Token", "Client-Secret"),
    *("X-Password", "api_key", "X-Auth", "Private-Token", "X-Of-Their-Own"),
]
PUBLIC = ["Accept", "user-agent", "If-None-Match", "Origin", "Range", "Referer", "TE", "Sec-Fetch-Mode"]


@pytest.mark.parametrize("name", SECRET)
def test_a_field_that_is_not_known_to_be_harmless_is_a_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_field_that_says_nothing_of_who_asks_is_none(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize("name", [*SECRET, *PUBLIC])
def test_what_is_stored_shown_and_sent_to_plain_http_follows_the_same_rule(name: str) -> None:
    job = JobFactory().job_of(Entry("http://h/", headers={name: "value"}))
    assert (job.secret_headers is not None) == is_secret(name)
    assert (HEADERS.redacted(((name, "value"),)) != ((name, "value"),)) == is_secret(name)
    assert ("value" not in _without_secret("header", f"{name}: value")) == is_secret(name)
    assert carry_credentials(((name, "value"),)) == is_secret(name)
