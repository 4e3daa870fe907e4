"""Statements on the rows of URLs: states by name, counting by state, making pending again.

The state file stores a state as its number, and a partial index is used only where a statement spells its
condition alike. So statements name states (`:PENDING`), and `sql` puts the numbers in, once, at import.
"""

from __future__ import annotations

import re
import sqlite3

from fetcher.model import FINAL, SUCCESSFUL, UNSUCCESSFUL, Counts, State

_NAMED = {state.name: str(state.value) for state in State} | {
    name: f"({', '.join(str(state.value) for state in sorted(states))})"
    for name, states in (("FINAL", FINAL), ("SUCCESSFUL", SUCCESSFUL), ("UNSUCCESSFUL", UNSUCCESSFUL))
}
_COUNTED = Counts.__struct_fields__
# Whatever stands at the path of a URL that came to no file is not ours: it was put there since.
_PUT_BACK = """UPDATE url SET attempts = 0, waited = 0, not_before = 0, history = NULL, status = NULL,
 is_foreign = CASE WHEN state IN :UNSUCCESSFUL AND sha256 IS NULL THEN 1 ELSE is_foreign END,
 sha256 = CASE WHEN error = 'parse-failed' THEN NULL ELSE sha256 END, """


def sql(text: str) -> str:
    """Return a statement with the number for each `:STATE`, and the numbers in brackets for a set of them.

    Sets are those of `fetcher.model`: `:FINAL`, `:SUCCESSFUL`, `:UNSUCCESSFUL`. Raises `KeyError` for any
    other name.
    """
    return re.sub(r":([A-Z_]+)", lambda found: _NAMED[found[1]], text)


def put_back(assignments: str, where: str = "id = ?") -> str:
    """Return the statement that makes rows as good as new, but for name and validators."""
    return sql(f"{_PUT_BACK}{assignments} WHERE {where}")


def count_rows(db: sqlite3.Connection, where: str = "1") -> Counts:
    """Count the rows in each state that `Counts` has a field for; final ones only `where` that holds.

    One pass without grouping, which would sort all rows in memory.
    """
    totals = ", ".join(
        sql(f"total(state = :{name.upper()}{f' AND {where}' if State[name.upper()] in FINAL else ''})")
        for name in _COUNTED
    )
    numbers = db.execute(f"SELECT {totals} FROM url").fetchone()  # noqa: S608
    return Counts(**dict(zip(_COUNTED, map(int, numbers), strict=True)))
