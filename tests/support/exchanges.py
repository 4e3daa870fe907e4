"""Exchanges of a backend, made by hand, for the suites of backends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from fetcher.errors import ExchangeError, Refused
from fetcher.model import Request, Response, Target
from fetcher.ports import Backend
from support.bodies import RecordingBody


def hop(
    url: str,
    *,
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = (("User-Agent", "test"),),
    body: bytes | None = None,
    allow_private: bool = True,
    proxy: str | None = None,
) -> Request:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    name = parts.hostname or ""
    target = Target(url=url, scheme=parts.scheme, hostname=name, port=port, host=parts.netloc)
    return Request(
        target=target, method=method, headers=headers, body=body, allow_private=allow_private, proxy=proxy
    )


async def get(backend: Backend, url: str, **options: Any) -> tuple[Response, RecordingBody]:
    body = RecordingBody()
    async with asyncio.timeout(10):
        response = await backend.exchange(hop(url, **options), body)
    assert body.response is response
    return response, body


async def fails(backend: Backend, url: str, **options: Any) -> Any:
    with pytest.raises((ExchangeError, Refused)) as caught:
        await get(backend, url, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value)
    return caught.value


async def seen(server: Any, holds: Callable[[Any], bool]) -> bool:
    return await asyncio.to_thread(server.wait, holds)
