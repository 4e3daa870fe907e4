"""How long properties are tried: a few examples in the suite, as many as FETCHER_FUZZ says times that by `make fuzz`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("FETCHER_FUZZ", "1"))


def tried(examples: int, **options: Any) -> settings:
    """Settings of a property whose one example takes milliseconds."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]
    return settings(max_examples=examples * TIMES, deadline=None, suppress_health_check=checks, **options)
