"""Text at the border to the system, where the locale may not be UTF-8.

Python reads arguments, variables and paths as the locale says, and keeps bytes that it can't read as lone
surrogates. A path stays what was given, byte for byte. The names of files that the program makes are UTF-8
whatever the locale says: stores encode them themselves.
"""

from __future__ import annotations

import os


def argument_text(text: str) -> str:
    """The text of an argument or a variable: its bytes as UTF-8 where they are that, else as the locale says.

    Scripts are written in UTF-8 whatever locale they run in; what is typed in another charset is seldom UTF-8
    by chance. Bytes that are neither stay lone surrogates.
    """
    if text.isascii():
        return text
    try:
        return os.fsencode(text).decode()
    except UnicodeError:
        return text


def system_path(text: str) -> str:
    """The path `text` as the system's calls take it: one that the locale has no characters for is UTF-8.

    Raises `ValueError` for a lone surrogate that stands for no byte.
    """
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(text.encode())
    return text
