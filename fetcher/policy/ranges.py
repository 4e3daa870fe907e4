"""Parts of a representation: what an answer says of the range that it holds (RFC 9110 §14 and §15.3.7). Pure.

Invariant: only what is shown to be the whole is whole. A Content-Range that can't be read shows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from fetcher.model import Response

PARTIAL_CONTENT: Final = 206

_CONTENT_RANGE: Final = re.compile(
    r"(?i:bytes) (?:([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)|\*/([0-9]{1,18}))"
).fullmatch
_PARTS: Final = "multipart/byteranges"
_DELTA: Final = 226  # RFC 3229: instance-manipulations, which nobody asked for


class ContentRange(msgspec.Struct, frozen=True, gc=False):
    """A Content-Range in bytes: `first` and `last` inclusive, None where the range was not satisfied (416).

    `total` is the length of the whole representation, None where the server does not know it.
    """

    first: int | None
    last: int | None
    total: int | None

    @property
    def size(self) -> int:
        """The number of bytes in the range."""
        return 0 if self.first is None or self.last is None else self.last - self.first + 1

    @property
    def is_whole(self) -> bool:
        """True if the range is all that there is: from 0 to the total - 1."""
        return self.first == 0 and self.total is not None and self.size == self.total

    def __str__(self) -> str:
        total = "an unknown length" if self.total is None else f"{self.total}"
        return f"no bytes of {total}" if self.first is None else f"bytes {self.first}-{self.last} of {total}"


def parse_content_range(value: str) -> ContentRange | None:
    """The range that a Content-Range field names (§14.4), or None if it is not to the letter, in bytes."""
    found = _CONTENT_RANGE(value.strip(" \t"))
    if found is None:
        return None
    first, last, total, whole = found.groups()
    if first is None:
        return ContentRange(None, None, int(whole))
    length = None if total == "*" else int(total)
    if int(first) > int(last) or (length is not None and int(last) >= length):
        return None  # §14.4: invalid, and not to be combined with anything
    return ContentRange(int(first), int(last), length)


def content_range_of(response: Response) -> ContentRange | None:
    """Return the one range of an answer; None if it names none, several, or one that is not valid."""
    headers = response.headers
    if headers.find(b"content-range") is None:
        return None
    values = set(headers.get_all("content-range"))
    return parse_content_range(values.pop()) if len(values) == 1 else None


def asks_range(fields: Sequence[tuple[str, str]]) -> bool:
    """Return True if a request with these fields asks for a part."""
    return any(name.lower() == "range" for name, _ in fields)


def may_be_part(response: Response) -> bool:
    """Return a quick no for nearly every answer; else ask `part_in`."""
    first = response.headers.first
    if response.status != 200 or b"content-range" in first:
        return True
    return b"content-type" in first and first[b"content-type"][:1] in b"mM"  # as multipart/byteranges


def part_in(response: Response) -> str | None:
    """Say what part an answer holds (a 2xx to a request without Range); None is the whole.

    A 206 is a part unless it shows that it is the whole. With another status a Content-Range means nothing
    (§14.4), but one that names a part tells of a server, or of what stands before it, that mixes the two up;
    only a Content-Length that is the total outweighs it. `multipart/byteranges` holds nothing but parts
    (§14.6), and a 226 is a delta.
    """
    status, headers = response.status, response.headers
    media_type = (headers.get("content-type") or "").partition(";")[0].strip(" \t").lower()
    if media_type == _PARTS:
        return "parts of it, as multipart/byteranges"
    if status == _DELTA:
        return "a delta, by its status 226"
    found = content_range_of(response)
    if found is not None and found.is_whole:
        declared = response.length
        if status != PARTIAL_CONTENT or declared is None or declared == found.size:
            return None
        return f"{declared} bytes where Content-Range says {found}"
    if status == PARTIAL_CONTENT:
        return f"{found}" if found is not None else "a part of it, by its status 206"
    if found is None or found.first is None or response.length == found.total:
        return None
    return f"{found}"
