"""Imports in a thread: a caller's loop goes on while the engine is loaded, which takes 0.1 s and more.

Invariant: `loaded` returns only once everything that a run of these settings imports is there.
"""

from __future__ import annotations

import asyncio

from fetcher.settings import Settings

_READY: set[tuple[str, bool, bool, bool]] = set()


async def loaded(settings: Settings, *, follows: bool = False, keeps: bool = False) -> None:
    """Import, once, what runs of `settings` need; `keeps` is for those in a run directory."""
    follows = follows or settings.parser is not None
    needed = settings.backend, follows, keeps, settings.cluster is not None
    if needed not in _READY:
        await asyncio.to_thread(_load, settings, follows=follows, keeps=keeps)
        _READY.add(needed)


def _load(settings: Settings, *, follows: bool, keeps: bool) -> None:
    from fetcher import wiring  # noqa: PLC0415  (this is what is heavy)

    wiring.preload(settings, follows=follows, keeps=keeps)
