"""Continuing a body that was cut off: when it may be, how it is asked for, which answers fit (RFC 9110 §14).

Pure functions over a `Part`: the bytes that are on disk, with the validator of the answer they came from. A
part is never continued by bytes of another version: every request carries `If-Range` with a strong validator,
and an answer is accepted only if it begins where the part ends, names the same total and contradicts no
validator. Whatever does not fit costs the part, never the correctness of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fetcher.model import Headers, Part, Response, Target
from fetcher.policy.credentials import Fields
from fetcher.policy.ranges import content_range_of

LEAST_BYTES: Final = 1024 * 1024  # a smaller part is sooner fetched again than asked about
_STRONG_ETAG: Final = re.compile(rb'"[\x21\x23-\x7e\x80-\xff]*"')  # RFC 9110 §8.8.3


def strong_validator(headers: Headers) -> str | None:
    """Return the strong validator of an answer, or None: its ETag, else its Last-Modified (RFC 9110 §8.8).

    A Last-Modified is strong where the answer's Date is at least a second later: nothing that was written
    within the second of the answer could hide behind the same stamp (§8.8.2.2).
    """
    etag = headers.find(b"etag")
    if etag is not None:
        etag = etag.strip()
        return etag.decode("latin-1") if _STRONG_ETAG.fullmatch(etag) else None
    modified, date = _seconds(headers.find(b"last-modified")), _seconds(headers.find(b"date"))
    if modified is None or date is None or date - modified < 1:
        return None
    return (headers.find(b"last-modified") or b"").decode("latin-1").strip()


def resumable(response: Response) -> str | None:
    """Return the validator by which the body of a 200 could be continued later, or None if it could not.

    It can where the end of the body is known, by its length or its chunks, no content-coding is on it, and
    the server does not say that it knows no ranges.
    """
    headers = response.headers
    if response.status not in {200, 206} or response.completeness not in {"length", "chunked"}:
        return None
    if headers.find(b"content-encoding") is not None:
        return None
    if (headers.find(b"accept-ranges") or b"").strip().lower() == b"none":
        return None
    return strong_validator(headers)


def may_continue(part: Part, target: Target) -> bool:
    """Return whether a request to `target` may ask for the rest of `part`.

    The address must be the one that answered, its query aside: the addresses that storage services sign
    differ from day to day in nothing else. It may be any if the hashes of its pieces vouch for the body.
    """
    return not part.validator or target.url.partition("?")[0] == part.address.partition("?")[0]


def begin_of_rest(part: Part) -> int:
    """Return the offset from which `part` is continued.

    Of a part that is whole already its last byte is asked for again, so that the server can say whether that
    is still the same body.
    """
    end = part.end
    return end - 1 if part.total is not None and end >= part.total else end


def end_of_rest(part: Part) -> int | None:
    """Return the end of the first range that `part` lacks; None if nothing of it is there behind."""
    behind = part.extents[1:] if part.end else part.extents
    return behind[0][0] if behind else None


def range_fields(part: Part) -> Fields:
    """Make the header fields that ask for the rest of `part`, or for the whole of a newer version.

    Where it has several gaps, that is the first of them.
    """
    end = end_of_rest(part)
    return segment_fields(begin_of_rest(part), end, part.validator or None)


def segment_fields(begin: int, end: int | None, validator: str | None) -> Fields:
    """Make the header fields that ask for the bytes from `begin` up to `end`, None being all that follow.

    Without a validator they ask another server than the one that gave it.
    """
    last = "" if end is None else end - 1
    fields: Fields = (("Range", f"bytes={begin}-{last}"),)
    return fields if validator is None else (*fields, ("If-Range", validator))


def merged(extents: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the same ranges sorted and disjoint; empty ones are left out."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(extents):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        elif begin < end:
            found.append((begin, end))
    return tuple(found)


def first_gap(extents: Iterable[tuple[int, int]], total: int) -> tuple[int, int] | None:
    """Return the first range of `total` bytes that `extents` lack, or None."""
    at = 0
    for begin, end in merged(extents):
        if begin > at:
            return at, begin
        at = end
    return (at, total) if at < total else None


def takes_ranges(response: Response) -> bool:
    """Return whether the answer says that its server knows ranges of bytes (RFC 9110 §14.3)."""
    units = response.headers.get("accept-ranges", "") or ""
    return "bytes" in {unit.strip().lower() for unit in units.split(",")}


def misfit(part: Part, response: Response) -> str | None:
    """Say why a 206 does not continue `part`, or return None if it does (RFC 9110 §15.3.7)."""
    return misfit_range(part, response, begin_of_rest(part), end_of_rest(part))


def misfit_range(
    part: Part, response: Response, begin: int, end: int | None, *, is_foreign: bool = False
) -> str | None:
    """Say why a 206 is not the range of `part` that was asked for, or return None if it is.

    Of a foreign server, a mirror, the total must agree; its validators are its own. So it is where pieces'
    hashes vouch for the body.
    """
    headers = response.headers
    if headers.find(b"content-encoding") is not None:
        return "it has a content-coding"
    found = content_range_of(response)
    if found is None or found.first is None or found.last is None:
        return "it does not say which range it is"
    first, last, total = found.first, found.last, found.total
    if first != begin:
        return f"it begins at {first}, where {begin} was asked for"
    if part.total is not None and total is not None and total != part.total:
        return f"its total is {total}, where it was {part.total}"
    whole = part.total if total is None else total
    if whole is None:
        return f"nobody says if the whole ends at {last}"
    if last != (whole if end is None else end) - 1:
        return f"it ends at {last} of {whole}"
    if response.length is not None and response.length != found.size:
        return f"it has {response.length} bytes for a range of {found.size}"
    if is_foreign or not part.validator:
        return None if total is not None else "it does not say its total"
    return _other_version(part.validator, headers)


def total_of(part: Part, response: Response) -> int | None:
    """Return the length of the whole that a 206 which fits belongs to, if anybody has said it."""
    found = content_range_of(response)
    return part.total if found is None or found.total is None else found.total


def _other_version(validator: str, headers: Headers) -> str | None:
    """Say which validator contradicts the part's: a server that ignores `If-Range` is found out by it."""
    field = "etag" if validator.startswith('"') else "last-modified"
    now = headers.get(field)
    if now is not None and now.strip() != validator:
        return f"its {field} is another"
    return None


def _seconds(value: bytes | None) -> float | None:
    if value is None or len(value) > 64:
        return None
    import email.utils  # noqa: PLC0415  (20 modules, only for large bodies)

    try:
        return email.utils.parsedate_to_datetime(value.decode("latin-1")).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
