"""Fixtures that every suite may use."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings
from support.faultserver import FaultServer
from support.objectstore import Bucket, ObjectServer, object_server

# On a busy machine an example may take as long as it likes; what hangs meets the limit of its test.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# A shell's background job ignores it, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A fault server on 127.0.0.1 to 127.0.0.4, one port."""
    with FaultServer(hosts=["127.0.0.2", "127.0.0.3", "127.0.0.4"]) as running:
        yield running
    assert not running.errors, "a script of the fault server failed"


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectServer]:
    """A server of objects for the tests of one file."""
    with object_server() as server:
        yield server


@pytest.fixture
def bucket(s3: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket there, and this process has its credentials."""
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    return s3.bucket()
