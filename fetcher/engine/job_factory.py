"""From an entry of a source to a job: through the gate, or refused with its reason."""

from __future__ import annotations

from fetcher.errors import Refused
from fetcher.header_fields import TOKEN, is_secret
from fetcher.model import Entry, Job, RequestOverrides, Target
from fetcher.policy.checksums import ChecksumLists
from fetcher.policy.credentials import unfit
from fetcher.policy.redaction import mask, safe_text
from fetcher.policy.urls import admit

_NEVER = frozenset({"CONNECT", "TRACE"})


class JobFactory:
    """Makes jobs of entries. `method` and `body` are the run's own, for entries that say nothing.

    `lists` learn which of their checksums are of use; what they say of a URL counts when it is claimed.
    """

    def __init__(
        self, method: str = "GET", body: bytes | None = None, lists: ChecksumLists | None = None
    ) -> None:
        self._lists = lists
        self._default = RequestOverrides(method=method, body=body) if method != "GET" or body else None

    def job_of(self, entry: Entry) -> Job:
        """Return a job with a target, or with a refusal. Never raises on an entry, whatever it holds."""
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
                overrides=self._default,
            )
            if target.userinfo is not None:
                job.url = mask(entry.url)
                job.secret = target.userinfo
                job.target = Target(target.url, target.scheme, target.hostname, target.port, target.host)
            if (
                entry.method
                or entry.headers
                or entry.meta
                or entry.body is not None
                or entry.name
                or entry.sha256
                or entry.checksum
                or entry.mirrors
                or entry.size is not None
                or entry.pieces is not None
            ):
                self._add_extra(entry, job)
            if self._lists is not None:
                self._lists.of(target.url, entry.name)
        except Refused as refused:
            return _refused(entry, refused.slug, refused.message)
        except UnicodeEncodeError:
            return _refused(entry, "bad-entry", "not UTF-8")
        return job

    def _add_extra(self, entry: Entry, job: Job) -> None:
        default = self._default or RequestOverrides()
        method = (entry.method or (None if entry.body is None else "POST") or default.method or "GET").upper()
        if not TOKEN.fullmatch(method) or method in _NEVER:
            raise Refused("bad-entry", f"method {method[:40]!r} cannot be used")
        plain: dict[str, str] = {}
        secret: dict[str, str] = {}
        for name, value in (entry.headers or {}).items():
            if reason := unfit(name, value):
                raise Refused("bad-entry", f"headers: {reason}")
            (secret if is_secret(name) else plain)[name] = value
        job.secret_headers = secret or None
        job.overrides = RequestOverrides(
            name=entry.name,
            sha256=entry.sha256,
            method=None if method == "GET" else method,
            body=default.body if entry.body is None else entry.body.encode(),
            headers=plain or None,
            meta=entry.meta,
            checksums=(entry.checksum,) if entry.checksum else (),
            mirrors=tuple(map(_mirror, entry.mirrors)),
            size=entry.size,
            pieces=entry.pieces,
        )


def _mirror(url: str) -> str:
    try:
        target = admit(url)
    except Refused as refused:
        raise Refused("bad-entry", f"mirrors: {mask(safe_text(url))}: {refused.message}") from refused
    if target.userinfo is not None:
        raise Refused("bad-entry", f"mirrors: {mask(safe_text(url))}: a mirror can't have credentials")
    return target.url


def _refused(entry: Entry, slug: str, message: str) -> Job:
    return Job(
        id=0,
        url=mask(safe_text(entry.url)),
        target=None,
        source=entry.source,
        line=entry.line,
        rank=-entry.priority,
        overrides=RequestOverrides(meta=entry.meta) if entry.meta else None,
        refusal=(slug, message),
    )
