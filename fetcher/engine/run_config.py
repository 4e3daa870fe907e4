"""The numbers and limits of a run."""

from __future__ import annotations

import msgspec

from fetcher.engine.timeouts import Limits
from fetcher.model import SpeedSettings

READ_AHEAD = 1_000_000


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers and limits of one run; None is no limit. `follows` says that links are followed."""

    concurrency: int
    per_host: int
    limits: Limits
    ahead: int = READ_AHEAD
    grace_s: float = 10.0
    deadline_s: float | None = None  # from the start
    max_failures: int | None = None
    min_free: int | None = None
    follows: bool = False
    speed: SpeedSettings = SpeedSettings()
