"""The head of an answer: status line and fields, read strictly (RFC 9112 §4 and §5). Pure.

A line may end with a bare LF (§2.2), and a folded value is unfolded (§5.2). Everything else that is not to
the letter is `ProtocolBroken`: what one reader of HTTP forgives, another understands differently. Invariant:
what is found does not depend on where packets end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from fetcher.errors import ProtocolBroken
from fetcher.header_fields import TOKEN
from fetcher.model import Headers
from fetcher.policy.http import FIELD_BYTES, HEAD_BYTES, MOST_FIELDS, MOST_INTERIM

_START: Final = b"HTTP/"
_END: Final = re.compile(rb"\n\r?\n")
_STATUS: Final = re.compile(rb"HTTP/(1\.[01]|[23]) ([1-9][0-9]{2})(?: ([^\0\r\n]*))?").fullmatch
_FIELD: Final = re.compile(rb"(%b):[ \t]*([^\0\r\n]*)" % TOKEN.pattern.encode()).fullmatch
_BLANK: Final = (b" ", b"\t")
_REMEMBERED: Final = 4096  # bytes of a head whose lines are remembered


_Named = tuple[bytes, tuple[bytes, bytes]]  # a field behind its name in lower case


class Head(NamedTuple):
    """Head of an answer, as it came in `wire`. `version` is "1.0" or "1.1"; libcurl has "2" and "3" too."""

    version: str
    status: int
    headers: Headers
    reason: str
    wire: bytes = b""


class Beginning(NamedTuple):
    """Whole lines of a head that has not ended, and how many interim answers came before it."""

    lines: Sequence[bytes]
    interim: int


def broken(what: str, *, in_body: bool = False) -> ProtocolBroken:
    """Return an error that says what is wrong with an answer."""
    return ProtocolBroken(f"not valid HTTP: {what}", phase="body" if in_body else "header")


def too_large() -> ProtocolBroken:
    """Return the error of a head that is larger than it may be."""
    return broken(f"header larger than {HEAD_BYTES // 1024} KiB")


@lru_cache(maxsize=256)
def parse_status(line: bytes) -> tuple[str, int, str]:
    """HTTP version, status and reason of a status line without its end. Raises `ProtocolBroken`."""
    found = _STATUS(line)
    if found is None or len(line) > FIELD_BYTES:
        raise broken("no valid status line")
    return found[1].decode(), int(found[2]), (found[3] or b"").decode("latin-1")


def parse_head(lines: Sequence[bytes]) -> Head:
    """Take apart the lines before the empty one, each without its end. Raises `ProtocolBroken`."""
    version, status, reason = parse_status(lines[0])
    size = sum(map(len, lines))
    if len(lines) > MOST_FIELDS + 1:
        raise broken(f"more than {MOST_FIELDS} header fields")
    if size > FIELD_BYTES and max(map(len, lines)) > FIELD_BYTES:
        raise broken(f"a header field larger than {FIELD_BYTES} bytes")
    parse = _known_field if size <= _REMEMBERED else _field
    try:
        fields = [*map(parse, lines[1:])]
    except ProtocolBroken:
        fields = _unfolded(lines[1:])
    first = {name: field[1] for name, field in reversed(fields)}
    if len(first) != len(fields) and b"location" in first and _differ(fields, b"location"):
        raise broken("Locations that differ")  # as libcurl and Chromium have it, whatever the status
    return Head(version, status, Headers([field for _, field in fields], first), reason)


def _field(line: bytes) -> _Named:
    """Return a field line as its name in lower case, and the field."""
    found = _FIELD(line)
    if found is None:
        raise broken("a bad header field")
    name, value = found.groups()
    return name.lower(), (name, value.rstrip(b" \t"))


_known_field = lru_cache(maxsize=1024)(_field)  # most lines of a server's answers are the same


def _differ(fields: list[_Named], wanted: bytes) -> bool:
    return len({value for name, (_, value) in fields if name == wanted}) > 1


def _unfolded(lines: Sequence[bytes]) -> list[_Named]:
    """The fields, values that go on over several lines in one. Raises `ProtocolBroken` for any other line."""
    fields: list[_Named] = []
    for line in lines:
        if not line.startswith(_BLANK):
            fields.append(_field(line))
            continue
        if not fields or b"\0" in line or b"\r" in line:
            raise broken("a bad header field")
        lower, (name, value) = fields.pop()
        value = (b"%b %b" % (value, line.strip(b" \t"))).strip(b" \t")
        if len(name) + len(value) > FIELD_BYTES:
            raise broken(f"a header field larger than {FIELD_BYTES} bytes")
        fields.append((lower, (name, value)))
    return fields


def _is_kept_back(field: bytes) -> bool:
    """Return True if libcurl, which waits for how a field goes on, never tells of it if nothing comes."""
    name, colon, _ = field.partition(b":")
    return not colon or b"\0" in name


def may_be_status_line(beginning: bytes | bytearray) -> bool:
    """Return True if a status line may begin so."""
    return beginning[: len(_START)] == _START[: len(beginning)]


def passes_over(status: int, before: int) -> bool:
    """Return True for an interim answer, `before` of which were passed over already (RFC 9110 §15.2).

    Raises `ProtocolBroken` for one too many, and for another protocol.
    """
    if status >= 200:
        return False
    if status == 101:
        raise broken("switching protocols unasked")
    if before >= MOST_INTERIM:
        raise broken(f"more than {MOST_INTERIM} interim answers")
    return True


class HeadReader:
    """Reader of a head: takes what arrives until a final one is complete; `rest` is what came behind it."""

    __slots__ = ("_buffer", "_interim", "_passed", "_searched", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self._buffer: bytes | bytearray = b""
        self._searched = 0
        self._passed = 0  # bytes of interim answers
        self._interim = 0

    def take(self, data: bytes) -> Head | None:
        """Return the final head, once it is complete. Raises `ProtocolBroken`."""
        buffer: bytes | bytearray
        if self._buffer:
            if type(self._buffer) is bytes:
                self._buffer = bytearray(self._buffer)
            self._buffer += data
            buffer = self._buffer
        else:
            buffer = data
        while (end := _END.search(buffer, self._searched)) is not None:
            if self._passed + end.end() > HEAD_BYTES:
                raise too_large()
            wire = bytes(buffer[: end.end()])
            found = parse_head(_lines(wire[: end.start()]))._replace(wire=wire)
            buffer = bytes(buffer[end.end() :])
            self._passed += end.end()
            self._searched = 0
            if found.version[0] != "1":
                raise broken("no valid status line")
            if not passes_over(found.status, self._interim):
                self.rest = buffer
                return found
            self._interim += 1
        if not may_be_status_line(buffer):
            raise broken("no valid status line")
        if self._passed + len(buffer) > HEAD_BYTES:
            raise too_large()
        self._searched = max(0, len(buffer) - 2)
        self._buffer = buffer
        return None

    @property
    def beginning(self) -> Beginning:
        """Return what came of a head that is not complete."""
        block, _, rest = bytes(self._buffer).rpartition(b"\n")
        lines = _lines(block) if block else []
        if len(lines) > 1 and (not rest or rest.startswith(_BLANK)):  # the last field may go on
            last = next((at for at in range(len(lines) - 1, 1, -1) if not lines[at].startswith(_BLANK)), 1)
            field = b"".join(lines[last:])
            if not field.startswith(b"\r") and (rest or _is_kept_back(field)):
                del lines[last:]
        return Beginning(lines, self._interim)


def _lines(block: bytes) -> list[bytes]:
    """Return the lines of a head, without the ends of any kind."""
    lines = block.removesuffix(b"\r").split(b"\r\n")
    if block.count(b"\n") == len(lines) - 1:
        return lines
    return block.replace(b"\r\n", b"\n").removesuffix(b"\r").split(b"\n")
