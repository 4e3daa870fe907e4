"""The type of a command: words as a shell would split them, run by none."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import PurePath
from typing import Any, Final

from fetcher.option_types import OptionType

_SHELLS: Final = frozenset(
    {"sh", "bash", "dash", "zsh", "ksh", "fish", "ash", "busybox", "cmd", "powershell", "pwsh"}
)
_FIELDS: Final = ("{path}", "{url}")


def command_line(text: str) -> list[str]:
    """Split a command into words. Raises `ValueError` if there are none, or quotes do not close.

    And where a shell would run what a name says: `{path}` within its text.
    """
    words = shlex.split(text)
    if not words or not words[0]:
        raise ValueError
    texts = [word for flag, word in pairwise(words) if flag[:1] == "-" and "c" in flag]
    is_shell = any(PurePath(word).name in _SHELLS for word in words)
    if is_shell and any(field in word for word in texts for field in _FIELDS):
        raise ValueError
    return words


def _command(value: Any) -> Any:
    if callable(value):
        return value
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    command_line(value)
    return value


def _plain(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else getattr(value, "__qualname__", "function")


COMMAND: Final = OptionType(  # in the library, anything that can be called
    expected="a command such as 'gzip -k {path}' (in a shell's own text, \"$RECORD_FILE\" instead)",
    metavar="CMD",
    parse=_command,
    to_plain=_plain,
)
