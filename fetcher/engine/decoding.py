"""Content-codings removed from wire bytes, a bounded step at a time.

A bomb is harmless if no single step can be large, so the decoder is pulled: `feed` only takes input,
and each `step` gives at most 256 KiB of output for a bounded amount of work. The caller decides how
many steps it makes before it lets others run.

Invariants: a coding gets its input in small pieces, so that the rests which the libraries copy at
each call stay small; no input raises anything but `BadEncoding`; and what was given out is a whole
body only once `finish` returned.

Text after the end of a coding that checks itself (gzip, zstd, zlib's deflate) is passed over, as browsers do:
caches and hosters append such. It is no more than `TRAILING` bytes without control characters, so it
is neither the rest of a page that was packed in part nor another member, which is damaged.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from fetcher.errors import BadEncoding

STEP = 262_144  # the most that one step gives out
PIECE = 16_384  # what a coding gets at once
MEMBERS = 64  # the most gzip members or zstd frames begun in one step: even an empty one costs time
TRAILING = 8192  # bytes of text after the end
RATIO = 250
RATIO_FLOOR = 32 * 1024 * 1024  # an expansion to less than this harms nobody
ZSTD_WINDOW_LOG = 23  # 8 MiB, the most that a decoder need support (RFC 9659 §3)

_TEXT = bytes({*range(0x20, 0x7F), *range(0x80, 0x100), *b"\t\n\f\r"})


class Decoder:
    """Undoes `codings`, in the order given, on a body that comes in pieces of any size.

    `is_pending` says that `step` has more to do with what was fed; feed again only when it is false.
    `has_passed_over` says, once finished, that text stood after an end.
    """

    __slots__ = ("_codings", "_input", "_offset", "_wire_bytes", "has_passed_over", "is_pending")

    def __init__(self, codings: Sequence[str]) -> None:
        self._codings = [_CODINGS[name]() for name in codings]
        self.has_passed_over = False
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

    def finish(self) -> bytes:
        """Demand that every coding reached its end, and give what is left. An empty body has no end.

        Raises:
            BadEncoding: the body was cut short.
        """
        for coding in self._codings:
            if coding.is_open:
                error = BadEncoding(f"the {coding.name} body is cut short")
                error.is_truncated = True
                raise error
            if coding.passed_over:
                self.has_passed_over = True
        return self._codings[-1].left()

    def may_expand(self) -> bool:
        """Tell whether there may be more than came: not of a packed file, even if it was packed once more."""
        return any(type(coding) is not _Second for coding in self._codings)

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
    `passed_over` counts the bytes of text after its end.
    """

    __slots__ = ("given", "is_open", "is_pending", "passed_over")

    name = ""
    error: type[Exception] = zlib.error

    def __init__(self) -> None:
        self.given = 0
        self.is_open = False
        self.is_pending = False
        self.passed_over = 0

    def decode(self, data: bytes, limit: int) -> bytes:
        raise NotImplementedError

    def left(self) -> bytes:
        """Give what is left at the end of the body."""
        return b""

    def _pass_over(self, data: bytes) -> None:
        """Take what stands after the end: zeros (tapes, block devices), then text."""
        if not self.passed_over:
            data = data.lstrip(b"\0")
        self.passed_over += len(data)
        if self.passed_over > TRAILING or data.translate(None, _TEXT):
            raise BadEncoding(f"other bytes follow the end of the {self.name} body")


class _Member(Protocol):
    """Base of the decoders by zlib and zstd."""

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
                if self._member is not None:
                    data = self._after_member(data)
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

    def _after_member(self, data: bytes) -> bytes:
        """The beginning of another member, or nothing: then what came was passed over."""
        if not self.passed_over:
            data = data.lstrip(b"\0")
            if self._begins(data[:1]):
                return data
        self._pass_over(data)
        return b""

    def _begins(self, first: bytes) -> bool:
        """Tell whether a member can begin so."""
        raise NotImplementedError

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

    def _begins(self, first: bytes) -> bool:
        return first == b"\x1f"

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

    def _begins(self, first: bytes) -> bool:
        return first == b"\x28" or b"\x50" <= first <= b"\x5f"  # a frame, or one to be skipped

    def _pause(self, output: bytes, limit: int) -> None:  # noqa: ARG002  the library keeps count
        self._rest = b""
        self.is_pending = not self._member.needs_input


class _Deflate(_Coding):
    """zlib's format as RFC 9110 §8.4.1.2 has it, or the bare DEFLATE that some servers send."""

    __slots__ = ("_inflater", "_is_checked", "_rest")

    name = "deflate"

    def __init__(self) -> None:
        super().__init__()
        self._inflater: Any = None
        self._is_checked = False
        self._rest = b""

    def decode(self, data: bytes, limit: int) -> bytes:
        data = self._rest + data
        if self._inflater is None:
            self.is_open = True
            if len(data) < 2:  # the header is two bytes
                self._rest = data
                return b""
            self._is_checked = _has_zlib_header(data)
            self._inflater = zlib.decompressobj(wbits=15 if self._is_checked else -15)
        elif self._inflater.eof:
            self._pass_over(data)
            return b""
        output: bytes = self._inflater.decompress(data, limit)
        self._rest = self._inflater.unconsumed_tail
        self.is_open = not self._inflater.eof
        if self._inflater.unused_data:
            self._pass_over(self._inflater.unused_data)
        self.is_pending = self.is_open and (bool(self._rest) or len(output) >= limit)
        return output

    def _pass_over(self, data: bytes) -> None:
        if not self._is_checked:  # any text may look like a short body
            raise BadEncoding("other bytes follow the end of the deflate body")
        super()._pass_over(data)


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


class _Second(_Coding):
    """A coding that repeats the file's type: removed if what it holds begins as it does, else left on.

    What came is held until that shows, `PIECE` bytes at most: then the body is taken as it was sent.
    """

    __slots__ = ("_coding", "_head", "_held", "_is_decided", "_is_removed", "_look", "error", "name")

    def __init__(self, coding: type[_Coding]) -> None:
        super().__init__()
        self.name = coding.name
        self._coding = coding()
        self._look: _Coding = coding()
        self.error = self._coding.error
        self._head = self._held = b""
        self._is_decided = self._is_removed = False

    def decode(self, data: bytes, limit: int) -> bytes:
        if not self._is_decided:
            self._held += data
            self._decide(data)
            if not self._is_decided:
                self.is_open = self._look.is_open
                return b""
            data, self._held = self._held, b""
            self.is_open = False
        if not self._is_removed:
            return data  # within any limit: it is the last of its chain
        coding = self._coding
        output = coding.decode(data, limit)
        self.is_open, self.is_pending, self.passed_over = (
            coding.is_open,
            coding.is_pending,
            coding.passed_over,
        )
        return output

    def left(self) -> bytes:
        held, self._held = self._held, b""
        return held

    def _decide(self, data: bytes) -> None:
        look = self._look
        magic = _MAGIC[self.name]
        try:
            while True:
                self._head += look.decode(data, len(magic) - len(self._head))
                if not look.is_pending or not magic.startswith(self._head) or self._head == magic:
                    break
                data = b""
        except (BadEncoding, look.error):
            self._is_decided = True
            return
        self._is_removed = self._head == magic
        self._is_decided = self._is_removed or not magic.startswith(self._head) or len(self._held) > PIECE


_MAGIC = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd"}
_CODINGS: dict[str, Callable[[], _Coding]] = {
    "gzip": _Gzip,
    "gzip?": partial(_Second, _Gzip),
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
    "zstd?": partial(_Second, _Zstd),
}
