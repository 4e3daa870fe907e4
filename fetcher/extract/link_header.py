"""Links of the `Link` header field (RFC 8288 §3)."""

from __future__ import annotations

from collections.abc import Iterator

from fetcher import re_compat
from fetcher.extract.link_collector import MOST_LINKS
from fetcher.extract.link_relations import kind_of_relation
from fetcher.model import Headers, LinkKind

_link = re_compat.compile(r"[ \t,]*+<([^>]*+)>").match
_parameter = re_compat.compile(
    r'[ \t]*+;[ \t]*+([^=;,"<> \t]*+)[ \t]*+(?:=[ \t]*+(?:"((?:[^"\\]++|\\.)*+)"?|([^;, \t]*+)))?+'
).match
_next = re_compat.compile(r'(?:[^,"]++|"(?:[^"\\]++|\\.)*+"?)*+').match
_escape = re_compat.compile(r"\\(.)")


def links_of_header(headers: Headers | None) -> Iterator[tuple[str, LinkKind, bool]]:
    """URL reference, kind and whether it is `nofollow`, for each link that is worth fetching. Never raises.

    A link with an `anchor` says something of another page than this, and is passed over.
    """
    if headers is None or headers.find(b"link") is None:
        return
    for field in headers.get_all("link"):
        for reference, parameters in _links(field):
            rel = parameters.get("rel", "")
            kind = kind_of_relation(rel, parameters.get("type", ""))
            if kind is not None and "anchor" not in parameters:
                yield _text(reference), kind, "nofollow" in rel.lower().split()


def _links(field: str) -> Iterator[tuple[str, dict[str, str]]]:
    at = 0
    for _ in range(MOST_LINKS):
        found = _link(field, at)
        if found is None:
            return
        at = found.end()
        parameters: dict[str, str] = {}
        while parameter := _parameter(field, at):
            name, quoted, token = parameter.groups()
            value = _escape.sub(r"\1", quoted) if quoted is not None else token or ""
            parameters.setdefault(name.lower(), value)  # of two, the first counts (§3.3)
            at = parameter.end()
        yield found[1].strip(), parameters
        rest = _next(field, at)
        at = rest.end() if rest is not None else len(field)


def _text(reference: str) -> str:
    """Return the text of a field: Latin-1, but UTF-8 where a URL can be read so."""
    try:
        return reference.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return reference
