"""Updates of rows by outcomes: a final state with what came of it, or a deferral.

A page that could not be parsed is `failed`, and its file stays: it keeps what a stored row has, but no
validators, because "not modified" would leave nothing to parse.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from fetcher.frontiers.sqlite.digests import pack_digest
from fetcher.frontiers.sqlite.url_rows import sql
from fetcher.model import FINAL_STATES, UNSUCCESSFUL, Outcome

_KEEP_PLAIN = """UPDATE url SET state = ?, status = ?, attempts = ?, bytes = ?, sha256 = ?, etag = ?,
 last_modified = ?, path = ? WHERE id = ?"""
_KEEP = """UPDATE url SET state = ?, status = ?, attempts = ?, bytes = ?, sha256 = ?, etag = ?,
 last_modified = ?, error = NULL, waited = ?, not_before = 0, history = ?, path = ?, is_foreign = 0
 WHERE id = ?"""
_LOSE = """UPDATE url SET state = ?, status = ?, error = ?, attempts = ?, waited = ?, not_before = 0,
 history = ?, path = ?, is_foreign = ? WHERE id = ?"""
_UNPARSED = """UPDATE url SET bytes = ?, sha256 = ?, path = ?, etag = NULL, last_modified = NULL,
 is_foreign = 0 WHERE id = ?"""
_ENDED_UNLISTED = "UPDATE url SET session = -? WHERE id = ? AND session <> ?"
# It may have ended since, in the same batch.
_DEFER = sql(
    "UPDATE url SET attempts = ?, waited = ?, not_before = ?, history = ? WHERE id = ? AND state = :PENDING"
)

_NUMBERS = {name: int(state) for name, state in FINAL_STATES.items()}  # sqlite3 is slow to take an enum

_encode = msgspec.json.Encoder().encode


def apply_outcomes(
    db: sqlite3.Connection, outcomes: Sequence[Outcome], *, session: int, first_id: int
) -> None:
    """Update the rows, in the transaction under way. `first_id` is the first that this session made."""
    plain, kept, lost, deferred, older, unparsed = [], [], [], [], [], []
    for outcome in outcomes:
        record, job = outcome.record, outcome.job
        if record is None:
            if job.id > 0:  # a robots.txt has no row
                deferred.append(_deferral(outcome))
            continue
        if job.id < first_id:
            older.append((session, job.id, session))
        state = _NUMBERS[record.state]
        history = _encode(outcome.history).decode() if outcome.history else None
        digest = pack_digest(record.sha256, record.digest)
        if state in UNSUCCESSFUL:
            error = record.error
            if job.refusal is not None and job.target is None:
                error = "\n".join(job.refusal)
            elif digest is not None and error == "parse-failed":
                unparsed.append((record.bytes, digest, record.path or job.path, job.id))
            fate = state, record.status, error, record.attempts, job.waited_s, history
            lost.append((*fate, job.path, job.is_foreign, job.id))
            continue
        result = (
            state, record.status, record.attempts, record.bytes, digest, record.etag, record.last_modified
        )  # fmt: skip
        path = record.path or job.path
        if history is None and path == job.path and not (job.attempts or job.cached or job.is_foreign):
            plain.append((*result, path, job.id))
        else:
            kept.append((*result, job.waited_s, history, path, job.id))
    for statement, rows in (
        (_KEEP_PLAIN, plain),
        (_KEEP, kept),
        (_LOSE, lost),
        (_UNPARSED, unparsed),
        (_DEFER, deferred),
        (_ENDED_UNLISTED, older),
    ):
        if rows:
            db.executemany(statement, rows)


def _deferral(outcome: Outcome) -> tuple[Any, ...]:
    deferral = outcome.deferral
    assert deferral is not None
    history = _encode(deferral.history).decode() if deferral.history else None
    return deferral.attempts, deferral.waited_s, deferral.not_before, history, outcome.job.id
