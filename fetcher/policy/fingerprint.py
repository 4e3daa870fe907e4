"""Fingerprints of requests: method, URL, credentials in it, headers and body.

A key is 128 bits of BLAKE2b as two signed integers: one for an index, one to check it by, so that
de-duplication is exact for all practical numbers while the index stays small.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

from fetcher.model import Job

_two_integers = struct.Struct("<qq").unpack


def request_fingerprint(job: Job) -> tuple[int, int]:
    """Return the key of a job's request. A line that is no URL is known by its text."""
    target = job.target
    if target is None:
        text = f"refused\0{job.url}"
    elif job.overrides is None and job.secret is None:
        text = target.url
    else:
        text = _spelled_out(job)
    first, second = _two_integers(blake2b(text.encode(), digest_size=16).digest())
    return first, second


def text_fingerprint(text: str) -> int:
    """64 bits of a text, for the index of names."""
    key: int = struct.unpack("<q", blake2b(text.encode(), digest_size=8).digest())[0]
    return key


def _spelled_out(job: Job) -> str:
    assert job.target is not None
    extra = job.overrides
    method = (extra and extra.method) or "GET"
    body = ((extra and extra.body) or b"").hex()
    headers = {**((extra and extra.headers) or {}), **(job.secret_headers or {})}
    if method == "GET" and not body and not headers and job.secret is None:
        return job.target.url
    fields = sorted(f"{name.lower()}: {value}" for name, value in headers.items())
    return "\0".join([job.target.url, method, job.secret or "", body, *fields])
