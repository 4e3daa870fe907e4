"""Fixtures that every suite may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.faultserver import FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A fault server on 127.0.0.1 to 127.0.0.4, one port."""
    with FaultServer(hosts=["127.0.0.2", "127.0.0.3", "127.0.0.4"]) as running:
        yield running
    assert not running.errors, "a script of the fault server failed"
