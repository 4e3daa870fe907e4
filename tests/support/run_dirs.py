"""Run directories as a run leaves them, written by hand: records, their files, and the program's own folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def make_run_dir(root: Path, records: list[dict[str, Any]], files: dict[str, bytes] | None = None) -> Path:
    (root / ".fetcher").mkdir(parents=True)
    (root / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for path, body in (files or {}).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(body)
    return root


def record(url: str, state: str = "done", **fields: Any) -> dict[str, Any]:
    return {"url": url, "state": state, **fields}
