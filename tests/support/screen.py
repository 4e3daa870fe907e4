"""A pseudo-terminal, read and typed at as a person would."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios

from support.program import eventually

CANON = termios.ICANON | termios.ECHO


class Screen:
    """A terminal: what was written to it, and what is typed on it."""

    def __init__(self) -> None:
        self.primary, self.secondary = pty.openpty()
        fcntl.ioctl(self.secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 110, 0, 0))
        os.set_blocking(self.primary, False)
        self._seen = ""

    @property
    def modes(self) -> int:
        return int(termios.tcgetattr(self.secondary)[3]) & CANON

    def shows(self, pattern: str) -> bool:
        """Whether a text comes after all that was seen before."""

        def found() -> bool:
            try:
                self._seen += os.read(self.primary, 65536).decode("utf-8", "replace")
            except OSError:
                return False
            plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._seen)
            if re.search(pattern, plain) is None:
                return False
            self._seen = ""
            return True

        return eventually(found, 30)

    def type(self, keys: str) -> None:
        os.write(self.primary, keys.encode())
