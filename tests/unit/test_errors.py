"""The tree of errors: slugs, messages, and that each survives the way to another process."""

import copy
import inspect
import pickle
import re

import pytest

import fetcher
from fetcher import errors

EXAMPLES: list[errors.FetcherError] = [
    errors.FetcherError("m", hint="h"),
    errors.ConfigError("m", hint="h"),
    errors.DirectoryInUse("m", hint="h"),
    errors.FetchFailed("m", slug="http-status", url="http://a/", status=404),
    errors.ExchangeError("m", url="http://a/", phase="header"),
    errors.NameNotResolved("m", url="http://a/", temporary=True),
    errors.ConnectFailed("m", url="http://a/", phase="connect"),
    errors.TlsRejected("m", url="http://a/"),
    errors.TimedOut("m", url="http://a/", phase="total"),
    errors.ConnectionLost("m", url="http://a/", phase="body"),
    errors.ProtocolBroken("m", url="http://a/", phase="header"),
    errors.PartialAnswer("m", url="http://a/"),
    errors.BodyTooLarge("m", url="http://a/"),
    errors.BadEncoding("m", url="http://a/"),
    errors.PieceMismatch("m"),
    errors.Refused("private-address", "m", hint="h"),
    errors.RedirectFailed("redirect-loop", "m"),
    errors.ParseFailed("m"),
    errors.WorkerDied("m"),
    errors.StorageError("m", hint="h", systemic=False),
]
CLASSES = {
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, errors.FetcherError) and not member.__name__.startswith("_")
}
SLUGS = {
    "FetcherError": "error",
    "ConfigError": "bad-config",
    "DirectoryInUse": "directory-in-use",
    "FetchFailed": "failed",
    "ExchangeError": "exchange-failed",
    "NameNotResolved": "name-not-resolved",
    "ConnectFailed": "connect-failed",
    "TlsRejected": "tls-rejected",
    "TimedOut": "timed-out",
    "ConnectionLost": "connection-lost",
    "ProtocolBroken": "protocol-broken",
    "PartialAnswer": "partial-answer",
    "BodyTooLarge": "too-large",
    "BadEncoding": "bad-encoding",
    "PieceMismatch": "checksum",
    "Refused": "refused",
    "RedirectFailed": "bad-redirect",
    "ParseFailed": "parse-failed",
    "WorkerDied": "worker-died",
    "StorageError": "storage-failed",
}


def test_every_error_has_an_example_here() -> None:
    assert {type(error) for error in EXAMPLES} == CLASSES


def test_slugs_are_stable_and_no_two_errors_share_one() -> None:
    assert {cls.__name__: cls.slug for cls in CLASSES} == SLUGS
    assert len(set(SLUGS.values())) == len(SLUGS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in SLUGS.values())


def test_the_picture_of_the_tree_names_every_error_once() -> None:
    tree = (errors.__doc__ or "").partition("::")[2].partition("Every class")[0]
    drawn = [
        name for line in tree.splitlines() for name in re.findall(r"(?:^ +|─ |  )([A-Z][A-Za-z]+)", line)
    ]
    assert sorted(drawn) == sorted(cls.__name__ for cls in CLASSES)


def test_every_error_is_public() -> None:
    for cls in CLASSES:
        assert getattr(fetcher, cls.__name__) is cls
        assert cls.__name__ in fetcher.__all__


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_arrives_in_another_process_as_it_was(error: errors.FetcherError, protocol: int) -> None:
    arrived = pickle.loads(pickle.dumps(error, protocol))
    assert type(arrived) is type(error)
    assert arrived.__dict__ == error.__dict__
    assert (str(arrived), arrived.args, arrived.slug) == (str(error), error.args, error.slug)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_can_be_copied_and_shows_its_message(error: errors.FetcherError) -> None:
    copied = copy.copy(error)
    assert copied is not error
    assert copied.__dict__ == error.__dict__
    assert str(error) == error.message == "m"
    assert repr(copied) == repr(error)


def test_what_was_noted_and_set_later_travels_too() -> None:
    error = errors.ConnectFailed("m", url="u")
    error.exhausted = True
    error.add_note("seen")
    arrived = pickle.loads(pickle.dumps(error))
    assert arrived.exhausted
    assert arrived.__notes__ == ["seen"]
    assert not errors.ConnectFailed.exhausted


def test_an_exchange_says_where_it_failed() -> None:
    phases = {
        type(error).__name__: error.phase for error in EXAMPLES if isinstance(error, errors.ExchangeError)
    }
    assert phases == {
        "ExchangeError": "header",
        "NameNotResolved": "name",
        "ConnectFailed": "connect",
        "TlsRejected": "tls",
        "TimedOut": "total",
        "ConnectionLost": "body",
        "ProtocolBroken": "header",
        "PartialAnswer": "body",
        "BodyTooLarge": "body",
        "BadEncoding": "body",
    }


def test_a_reason_is_the_slug() -> None:
    assert errors.Refused("robots", "m").slug == "robots"
    assert errors.Refused.slug == "refused"
    assert errors.RedirectFailed("too-many-redirects", "m").slug == "too-many-redirects"
    assert errors.FetchFailed("m", slug="timed-out", url="u", status=None).slug == "timed-out"


def test_a_storage_error_stops_the_run_unless_it_says_otherwise() -> None:
    assert errors.StorageError("m").systemic
    assert not errors.StorageError("m", systemic=False).systemic
