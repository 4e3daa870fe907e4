"""Names of header fields: their grammar, and the one rule for which of them hold a secret.

A name says little, so the rule lists what is harmless: the value of any other field may be a credential. Such
a value is not shown, not stored, and not sent from https on to plain http.
"""

from __future__ import annotations

import re
from typing import Final

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2; methods too

_PUBLIC: Final = frozenset(
    {
        *("accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "connection"),
        *("content-encoding", "content-language", "content-type", "dnt", "host", "if-match"),
        *("if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "origin", "pragma"),
        *("prefer", "priority", "range", "referer", "save-data", "sec-ch-ua", "sec-ch-ua-mobile"),
        *("sec-ch-ua-platform", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user"),
        *("sec-gpc", "te", "upgrade-insecure-requests", "user-agent", "x-requested-with"),
    }
)


def is_secret(name: str) -> bool:
    """Tell whether the value of a request's field of this name may be a credential."""
    return name.strip().lower() not in _PUBLIC
