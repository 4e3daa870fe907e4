"""`--json`: each final record on standard output as it happens.

One write and one flush per batch of settled URLs, and only of records that are already safe: what a
reader downstream has seen is never fetched again.
"""

from __future__ import annotations

from typing import BinaryIO

from fetcher.events import Event, OutcomesSettled


class JsonlOutput:
    """Writer of the encoded records of settled batches to a binary stream, one a line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def on_event(self, event: Event) -> None:
        """Write the batch.

        Raises:
            BrokenPipeError: the reader is gone; the program ends with 141.
            OSError: nothing can be written.
        """
        if isinstance(event, OutcomesSettled) and event.lines:
            data = memoryview(b"\n".join(event.lines) + b"\n")
            while data:  # an unbuffered stream may take less than all
                data = data[self._stream.write(data) or 0 :]
            self._stream.flush()
