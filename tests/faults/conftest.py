"""What runs of this process have in common here."""

from __future__ import annotations

import pytest

from fetcher.policy import retry


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried almost at once: how long it waits is tested where the clock is made up."""
    monkeypatch.setattr(retry, "FIRST_WINDOW_S", 0.02)
