"""The key of a URL in an index of web archives: its SURT, in the canonical form of the Wayback Machine. Pure.

`http://www.example.org:80/A/?b=2&a=1` becomes `org,example)/a?a=1&b=2`: what archives take for one page has
one key, and hosts of one domain stand together.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from fetcher.policy.http import DEFAULT_PORTS

_WWW: Final = re.compile(r"^www\d*\.")
_SESSION: Final = re.compile(
    r"(?:^|&)(?:jsessionid=[0-9a-z]{32}|phpsessid=[0-9a-z]{32}|sid=[0-9a-z]{32}"
    r"|aspsessionid[a-z]{8}=[a-z]{24}|cfid=[^&]+&cftoken=[^&]+)(?=&|$)"
)
_MOST_UNQUOTED = 5


def surt(url: str) -> str:
    """Return the key of an absolute http or https URL."""
    parts = urlsplit(url)
    host = _WWW.sub("", (parts.hostname or "").lower())
    name = host if ":" in host else ",".join(reversed(host.split(".")))
    port = parts.port
    if port is not None and port != DEFAULT_PORTS.get(parts.scheme):
        name += f":{port}"
    query = _SESSION.sub("", _canonical(parts.query).lower()).strip("&")
    query = "&".join(sorted(query.split("&"))) if query else ""
    return f"{name}){_path(parts.path)}{f'?{query}' if query else ''}"


def _path(path: str) -> str:
    kept: list[str] = []
    for step in _canonical(path).lower().split("/"):
        if step == "..":
            del kept[-1:]
        elif step not in {"", "."}:
            kept.append(step)
    return "/" + "/".join(kept)


def _canonical(text: str) -> str:
    """Return `text` with what need not be escaped unescaped, and the rest escaped once."""
    octets = text.encode("utf-8", "surrogateescape")
    for _ in range(_MOST_UNQUOTED):
        before, octets = octets, unquote_to_bytes(octets)
        if octets == before:
            break
    return "".join(
        chr(octet) if 0x20 < octet < 0x7F and octet not in b"#%" else f"%{octet:02x}" for octet in octets
    )
