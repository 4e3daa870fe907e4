"""Content-codings removed from wire bytes, a bounded step at a time.

A bomb is harmless if no single step can be large, so the decoder is pulled: `feed` only takes input,
and each `step` gives at most 256 KiB of output for a bounded amount of work. The caller decides how
many steps it makes before it lets others run.

Invariants: a coding gets its input in small pieces, so that the rests which the libraries copy at
each call stay small; no input raises anything but `BadEncoding`; and what was given out is a whole
body only once `finish` returned.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from typing import Any, Protocol

from fetcher.errors import BadEncoding

STEP = 262_144  # the most that one step gives out
PIECE = 16_384  # what a coding gets at once
MEMBERS = 64  # the most gzip members or zstd frames begun in one step: even an empty one costs time
RATIO = 250
RATIO_FLOOR = 32 * 1024 * 1024  # an expansion to less than this harms nobody
ZSTD_WINDOW_LOG = 23  # 8 MiB, the most that a decoder need support (RFC 9659 §3)


class Decoder:
    """Undoes `codings`, in the order given, on a body that comes in pieces of any size.

    `is_pending` says that `step` has more to do with what was fed; feed again only when it is false.
    """

    __slots__ = ("_codings", "_input", "_offset", "_wire_bytes", "is_pending")

    def __init__(self, codings: Sequence[str]) -> None:
        self._codings = [_CODINGS[name]() for name in codings]
        self._input = b""
        self._offset = 0
        self._wire_bytes = 0
        self.is_pending = False

    def feed(self, data: bytes) -> None:
        """Take wire bytes; nothing is decoded yet."""
        self._input = data
        self._offset = 0
        self._wire_bytes += len(data)
        self.is_pending = bool(data)

    def step(self) -> bytes:
        """The next decoded bytes: at most `STEP`, and possibly none although `is_pending` stays.

        Raises:
            BadEncoding: the bytes are not what the coding says, or expand beyond reason.
        """
        output = self._pull(len(self._codings) - 1, STEP)
        self.is_pending = self._offset < len(self._input)
        for coding in self._codings:
            if coding.is_pending:
                self.is_pending = True
        return output

    def finish(self) -> None:
        """Demand that every coding reached its end. An empty body has none to reach.

        Raises:
            BadEncoding: the body was cut short.
        """
        for coding in self._codings:
            if coding.is_open:
                error = BadEncoding(f"the {coding.name} body is cut short")
                error.is_truncated = True
                raise error

    def _pull(self, index: int, limit: int) -> bytes:
        coding = self._codings[index]
        if coding.is_pending:
            data = b""
        else:
            data = self._pull(index - 1, PIECE) if index else self._next_piece()
            if not data:
                return b""
        try:
            output = coding.decode(data, limit)
        except coding.error as error:
            raise BadEncoding(f"the body is not valid {coding.name}: {error}") from error
        coding.given += len(output)
        # Every coding of a chain is held to it: what is small in the end may be huge on the way.
        if coding.given > RATIO_FLOOR and coding.given > RATIO * self._wire_bytes:
            raise BadEncoding(f"the body expands more than {RATIO} times ({coding.name})")
        return output

    def _next_piece(self) -> bytes:
        start = self._offset
        self._offset = start + PIECE
        if start == 0 and len(self._input) <= PIECE:
            return self._input
        return self._input[start : start + PIECE]


class _Coding:
    """One coding being removed.

    `is_open`: it began and has not reached its end. `is_pending`: more can come of what it took, by
    `decode(b"")`; only when it is false may it get new input. `error` is what its library raises.
    """

    __slots__ = ("given", "is_open", "is_pending")

    name = ""
    error: type[Exception] = zlib.error

    def __init__(self) -> None:
        self.given = 0
        self.is_open = False
        self.is_pending = False

    def decode(self, data: bytes, limit: int) -> bytes:
        raise NotImplementedError


class _Member(Protocol):
    """What zlib and zstd share."""

    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, limit: int, /) -> bytes: ...


class _Members(_Coding):
    """A sequence of members, each with a beginning and an end (RFC 1952 §2.2, RFC 8878 §3.1)."""

    __slots__ = ("_member", "_rest")

    def __init__(self) -> None:
        super().__init__()
        self._member: Any = None
        self._rest = b""  # taken, and not yet given to the library

    def decode(self, data: bytes, limit: int) -> bytes:
        data = data or self._rest
        output = b""
        for _ in range(MEMBERS):
            if not self.is_open:
                data = self._skip_padding(data)
                if not data:
                    break
                self._member = self._begin()
                self.is_open = True
            member: _Member = self._member
            output = member.decompress(data, limit)
            if not member.eof:
                self._pause(output, limit)
                return output
            self.is_open = False
            data = member.unused_data
            if output:
                break
        self._rest = data
        self.is_pending = bool(data)
        return output

    def _skip_padding(self, data: bytes) -> bytes:
        return data

    def _begin(self) -> Any:
        raise NotImplementedError

    def _pause(self, output: bytes, limit: int) -> None:
        """Set `_rest` and `is_pending` from the state of an open member."""
        raise NotImplementedError


class _Gzip(_Members):
    __slots__ = ()

    name = "gzip"

    def _begin(self) -> Any:
        return zlib.decompressobj(wbits=31)  # the header and the checksum of gzip

    def _skip_padding(self, data: bytes) -> bytes:
        # Zeros may follow a member (tapes, block devices); anything else must be another member.
        return data if self._member is None else data.lstrip(b"\0")

    def _pause(self, output: bytes, limit: int) -> None:
        self._rest = self._member.unconsumed_tail
        self.is_pending = bool(self._rest) or len(output) >= limit


class _Zstd(_Members):
    __slots__ = ("_library", "error")

    name = "zstd"

    def __init__(self) -> None:
        super().__init__()
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415  not before a body needs it
        else:
            from backports import zstd  # noqa: PLC0415
        self._library = zstd
        self.error = zstd.ZstdError

    def _begin(self) -> Any:
        window = self._library.DecompressionParameter.window_log_max
        return self._library.ZstdDecompressor(options={window: ZSTD_WINDOW_LOG})

    def _pause(self, output: bytes, limit: int) -> None:  # noqa: ARG002  the library keeps count
        self._rest = b""
        self.is_pending = not self._member.needs_input


class _Deflate(_Coding):
    """zlib's format as RFC 9110 §8.4.1.2 has it, or the bare DEFLATE that some servers send."""

    __slots__ = ("_inflater", "_rest")

    name = "deflate"

    def __init__(self) -> None:
        super().__init__()
        self._inflater: Any = None
        self._rest = b""

    def decode(self, data: bytes, limit: int) -> bytes:
        data = self._rest + data
        if self._inflater is None:
            self.is_open = True
            if len(data) < 2:  # the header is two bytes
                self._rest = data
                return b""
            self._inflater = zlib.decompressobj(wbits=15 if _has_zlib_header(data) else -15)
        output: bytes = self._inflater.decompress(data, limit)
        self._rest = self._inflater.unconsumed_tail
        self.is_open = not self._inflater.eof
        if self._inflater.unused_data:
            raise zlib.error("bytes after its end")
        self.is_pending = self.is_open and (bool(self._rest) or len(output) >= limit)
        return output


def _has_zlib_header(data: bytes) -> bool:
    """RFC 1950 §2.2. A first byte of method 8 would be a stored block with dirty padding in DEFLATE."""
    return data[0] & 0x0F == 8 and data[0] >> 4 <= 7 and (data[0] << 8 | data[1]) % 31 == 0


class _Brotli(_Coding):
    __slots__ = ("_decompressor", "error")

    name = "br"

    def __init__(self) -> None:
        super().__init__()
        import brotli  # type: ignore[import-untyped]  # noqa: PLC0415  not before a body needs it

        self._decompressor = brotli.Decompressor()
        self.error = brotli.error

    def decode(self, data: bytes, limit: int) -> bytes:
        limit //= 2  # its buffer grows in doubling blocks, and may pass the limit by as much again
        output: bytes = self._decompressor.process(data, output_buffer_limit=limit)
        self.is_open = not self._decompressor.is_finished()
        # "Can accept more" only says that the input is used up; output may still wait behind the limit.
        self.is_pending = not self._decompressor.can_accept_more_data() or (
            self.is_open and len(output) >= limit
        )
        return output


_CODINGS: dict[str, type[_Coding]] = {
    "gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
