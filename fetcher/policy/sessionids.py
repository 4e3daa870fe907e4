"""Session ids in URLs: parameters that name a visitor and not a page.

Servers write them where there is no cookie: as a parameter of the path (Java, RFC 3986 §3.3), as a segment
of it (`/(S(…))/`, ASP.NET), or in the query. Names that nothing else has count whatever their value is; `sid`
and the like only where the value looks like a session's: at least 16 letters and digits, of both some.
Invariant: a URL without session ids is given back as it is.
"""

from __future__ import annotations

from fetcher import re_compat
from fetcher.policy.urls import path_start

_ANY_VALUE = "jsessionid|phpsessid|aspsessionid[a-z]*+"
_OF_ITS_FORM = "sid|sessid|session_?id|zenid|oscsid"
_FORM = r"(?=[^&;/?]*[0-9])(?=[^&;/?]*[a-z])[a-z0-9]{16,}+(?:[.!,_:-][a-z0-9]++)*+(?![^&;/?])"
_PARAMETER = rf"(?:(?:{_ANY_VALUE})=[^&;/?]*+|(?:{_OF_ITS_FORM})={_FORM})"
_COLDFUSION = r"(?:cfid|cftoken)=[^&;/?]*+"

_in_path = re_compat.compile(rf"(?i);{_PARAMETER}|/\((?:[a-z]\([a-z0-9_-]++\))++\)(?=/)")
_in_query = re_compat.compile(rf"(?i)(?<![^&;]){_PARAMETER}(?:[&;]|\Z)")
_coldfusion_in_path = re_compat.compile(rf"(?i);{_COLDFUSION}")
_coldfusion_in_query = re_compat.compile(rf"(?i)(?<![^&;]){_COLDFUSION}(?:[&;]|\Z)")
_may_have = re_compat.compile(r"(?i)[^;(?]*+[;(?].*(?:sid|sess|cfid|zenid|\))").match


def without_session_ids(url: str) -> str:
    """Return the URL less its session ids, for comparison: what is sent is the URL as it was found."""
    if _may_have(url) is None:
        return url
    start = path_start(url)
    path, question, query = url[start:].partition("?")
    shorter, rest = _in_path.sub("", path), _in_query.sub("", query)
    lower = url.lower()
    if "cfid=" in lower and "cftoken=" in lower:  # each alone may be anything
        shorter, rest = _coldfusion_in_path.sub("", shorter), _coldfusion_in_query.sub("", rest)
    if rest != query:
        rest = rest.rstrip("&;")
        question = "?" if rest else ""
    if (shorter, rest) == (path, query):
        return url
    return url[:start] + shorter + question + rest
