"""From an entry of a source to a job: through the gate, or refused with its reason."""

from __future__ import annotations

import re

from fetcher.errors import Refused
from fetcher.model import Entry, Extra, Job, Target
from fetcher.policy.credentials import unfit
from fetcher.policy.gate import admit
from fetcher.policy.text import is_secret_header, mask, safe_text

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")  # RFC 9110 §5.6.2
_NEVER = frozenset({"CONNECT", "TRACE"})


class Intake:
    """Makes jobs of entries. `method` and `body` are the run's own, for entries that say nothing."""

    def __init__(self, method: str = "GET", body: bytes | None = None) -> None:
        self._default = Extra(method=method, body=body) if method != "GET" or body else None

    def job_of(self, entry: Entry) -> Job:
        """A job with a target, or with a refusal. Never raises on an entry, whatever it holds."""
        if entry.bad is not None:
            return _refused(entry, "bad-entry", entry.bad)
        try:
            target = admit(entry.url)
            job = Job(
                id=0,
                url=entry.url,
                target=target,
                source=entry.source,
                line=entry.line,
                rank=-entry.priority,
                extra=self._default,
            )
            if target.userinfo is not None:
                job.url = mask(entry.url)
                job.secret = target.userinfo
                job.target = Target(target.url, target.scheme, target.name, target.port, target.host)
            if (
                entry.method
                or entry.headers
                or entry.meta
                or entry.body is not None
                or entry.name
                or entry.sha256
            ):
                self._add_extra(entry, job)
        except Refused as refused:
            return _refused(entry, refused.slug, refused.message)
        except UnicodeEncodeError:
            return _refused(entry, "bad-entry", "not UTF-8")
        return job

    def _add_extra(self, entry: Entry, job: Job) -> None:
        default = self._default or Extra()
        method = (entry.method or (None if entry.body is None else "POST") or default.method or "GET").upper()
        if not _TOKEN.match(method) or method in _NEVER:
            raise Refused("bad-entry", f"method {method[:40]!r} cannot be used")
        plain: dict[str, str] = {}
        secret: dict[str, str] = {}
        for name, value in (entry.headers or {}).items():
            if reason := unfit(name, value):
                raise Refused("bad-entry", f"headers: {reason}")
            (secret if is_secret_header(name) else plain)[name] = value
        job.secret_headers = secret or None
        job.extra = Extra(
            name=entry.name,
            sha256=entry.sha256,
            method=None if method == "GET" else method,
            body=default.body if entry.body is None else entry.body.encode(),
            headers=plain or None,
            meta=entry.meta,
        )


def _refused(entry: Entry, slug: str, message: str) -> Job:
    return Job(
        id=0,
        url=mask(safe_text(entry.url)),
        target=None,
        source=entry.source,
        line=entry.line,
        rank=-entry.priority,
        extra=Extra(meta=entry.meta) if entry.meta else None,
        refusal=(slug, message),
    )
