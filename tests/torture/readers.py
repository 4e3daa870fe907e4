"""The parser of the runs that are tortured."""

from __future__ import annotations

from typing import Any


def summary(page: Any) -> Any:
    """Every page has two lines in `data.jsonl`."""
    return [{"of": page.url, "line": 1, "length": len(page.text())}, {"of": page.url, "line": 2}]
