"""The head of an answer: status line and fields, read strictly (RFC 9112 §4 and §5). Pure.

A line may end with a bare LF (§2.2), and a folded value is unfolded (§5.2). Everything else that is not to
the letter is `Broken`: what one reader of HTTP forgives, another understands differently.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

HEAD_BYTES: Final = 1024 * 1024  # of all that arrives before a final header is complete
MOST_FIELDS: Final = 256
FIELD_BYTES: Final = 16 * 1024
END: Final = re.compile(rb"\n\r?\n")

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\0\r]*)?")
_IS_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

Fields = list[tuple[bytes, bytes]]


class Broken(ValueError):
    """The answer is not HTTP, or contradicts itself."""


class Head(NamedTuple):
    """`minor` is the 1 of HTTP/1.1."""

    status: int
    minor: int
    fields: Fields


def parse_head(block: bytes) -> Head:
    """Take apart all that stands before the empty line. Raises `Broken`."""
    if b"\0" in block or block.count(b"\r") != block.count(b"\r\n") + block.endswith(b"\r"):
        raise Broken("NUL or a stray CR in the header")
    lines = block.replace(b"\r", b"").split(b"\n")
    found = _STATUS_LINE.fullmatch(lines[0])
    if found is None or len(lines[0]) > FIELD_BYTES:
        raise Broken("bad status line")
    if len(lines) - 1 > MOST_FIELDS:
        raise Broken(f"more than {MOST_FIELDS} header fields")
    if len(block) > FIELD_BYTES and max(map(len, lines)) > FIELD_BYTES:
        raise Broken(f"a header field larger than {FIELD_BYTES} bytes")
    return Head(int(found[2]), int(found[1]), _fields(lines))


def _fields(lines: list[bytes]) -> Fields:
    fields: Fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if colon and _IS_TOKEN(name):
            fields.append((name, value.strip(b" \t")))
        elif line[:1] in {b" ", b"\t"} and fields:
            name, value = fields.pop()
            fields.append((name, b"%b %b" % (value, line.strip(b" \t"))))
        else:
            raise Broken("bad header field")
    return fields
