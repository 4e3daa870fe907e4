"""Arguments of one request as callers of HTTP libraries give them: forms, JSON, parameters of the query.

Invariant: what can't be sent as it was meant is a `ConfigError` before anything is sent.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fetcher.errors import ConfigError
from fetcher.option_types.request import Header
from fetcher.settings import OPTIONS, convert, seen

FORM = "application/x-www-form-urlencoded"


def content_of(data: Any, json: Any) -> tuple[bytes | None, str | None]:
    """Return the body and its content type, each None where there is none to say.

    Raises:
        ConfigError: both are given, or what is given can't be a body.
    """
    if json is not None:
        if data is not None:
            raise ConfigError("json: cannot stand together with data")
        try:
            text = jsonlib.dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            return text.encode(), "application/json"
        except (TypeError, ValueError) as error:
            raise ConfigError(f"json: {error}") from None
    if data is None or isinstance(data, str | bytes | bytearray):
        return (None, None) if data is None else (convert(OPTIONS["data"], data), None)
    return _pairs("data", data).encode(), FORM


def with_params(url: str, params: Any) -> str:
    """`url` with `params` added to its query: text, a mapping (values may be lists), or pairs."""
    added = params if isinstance(params, str) else _pairs("params", params or ())
    if not added:
        return url
    head, mark, fragment = url.partition("#")
    joint = "" if head.endswith(("?", "&")) else "&" if "?" in head else "?"
    return f"{head}{joint}{added}{mark}{fragment}"


def header_fields(headers: Any) -> dict[str, str]:
    """Join headers of one name (RFC 9110 §5.3); an empty value takes a field away."""
    found: dict[str, tuple[str, str]] = {}
    given: Sequence[Header] = convert(OPTIONS["headers"], headers)
    for name, value in given:
        key = name.lower()
        before = found[key][1] if key in found else ""
        joint = "; " if key == "cookie" else ", "
        found[key] = name, joint.join(filter(None, (before, value or "")))
    return dict(found.values())


def _pairs(label: str, values: Any) -> str:
    items = values.items() if isinstance(values, Mapping) else values
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise ConfigError(f"{label}: expected a mapping, pairs, or text, got {seen(values)}")
    pairs: list[tuple[str, str]] = []
    for item in items:
        if not isinstance(item, tuple | list) or len(item) != 2 or not isinstance(item[0], str):
            raise ConfigError(f"{label}: expected pairs of a name and a value, got {seen(item)}")
        name, value = item
        values = value if isinstance(value, list | tuple) else (value,)
        pairs += [(name, _text(label, one)) for one in values]
    return urlencode(pairs)


def _text(label: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"{label}: expected text or a number as value, got {seen(value)}")
