"""A nameless file that a parser's worker shares with its parent: which page is read, where a crash was.

The worker writes the number of the page that it begins; `faulthandler` adds the stack of Python when a
fault or the alarm ends the process.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import struct
from typing import BinaryIO


class CrashNote:
    """The file, at either end."""

    _NUMBER = struct.Struct("<Q")
    _FRAME = re.compile(r'^  File "(.*)", line (\d+) in ', re.MULTILINE)

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.fd = file.fileno()

    def begin(self, number: int) -> None:
        """Note the number of a page in its batch, from 1; 0 is none."""
        os.pwrite(self.fd, self._NUMBER.pack(number), 0)

    def note_ends(self) -> None:
        """Have the stack of Python noted when a fault or the alarm ends the process."""
        os.lseek(self.fd, self._NUMBER.size, os.SEEK_SET)
        faulthandler.enable(self.fd, all_threads=False)
        faulthandler.register(signal.SIGALRM, self.fd, all_threads=False, chain=True)

    def read(self) -> tuple[int, list[tuple[str, int]]]:
        """Return the number of the page, and the frames of the stack, the innermost first."""
        noted = os.pread(self.fd, 65536, 0)
        if len(noted) < self._NUMBER.size:
            return 0, []
        stack = noted[self._NUMBER.size :].decode("utf-8", "replace")
        frames = [(found[1], int(found[2])) for found in self._FRAME.finditer(stack)]
        return self._NUMBER.unpack_from(noted)[0], frames

    def close(self) -> None:
        self._file.close()
