"""The limit on the descriptors that this process may have open, and how many it has."""

from __future__ import annotations

import contextlib
import errno
import os
import resource

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})
_MOST_FOLDERS = 256
_LEAST_FOLDERS = 8  # a walk holds a parent and a child
_UNLIMITED = (1 << 20, 10_240)  # tried in turn where the hard limit is none: not every system takes the first
_LISTS = ("/proc/self/fd", "/dev/fd")


def limit() -> int | None:
    """Return how many descriptors may be open at once; None is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """Raise the soft limit to the hard one, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    for most in _UNLIMITED if hard == resource.RLIM_INFINITY else (hard,):
        if most <= soft:
            return
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return


def number() -> int | None:
    """Count the descriptors that are open; None where there is no way to tell."""
    for folder in _LISTS:
        try:
            return len(os.listdir(folder)) - 1  # noqa: PTH208  (one was open for the list)
        except OSError as error:
            if error.errno == errno.EMFILE:
                return limit()
    return None


def are_spent() -> bool:
    """Return True if not one more can be opened at this moment."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in EXHAUSTED
    return False


def folders() -> int:
    """Return how many folders a store may keep open: an eighth of the limit, for the rest is others'."""
    most = limit()
    return _MOST_FOLDERS if most is None else max(_LEAST_FOLDERS, min(_MOST_FOLDERS, most // 8))
