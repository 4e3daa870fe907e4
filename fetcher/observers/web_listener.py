"""The listener of what a run shows over HTTP: an aiohttp.web application at an address, on the run's loop."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fetcher.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp import web


@asynccontextmanager
async def listening(app: web.Application, address: tuple[str, int], key: str) -> AsyncIterator[str]:
    """Serve `app` until the block ends; gives its URL, without a path.

    What is under way then is cut off. Raises `ConfigError`, naming the setting, if the address can't be had.
    """
    from aiohttp import web  # noqa: PLC0415  (only where something is shown)

    host, port = address
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family)
        except OSError as error:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            why = str(error.strerror or error).partition(" (while ")[0]  # Python says the address again
            raise ConfigError(
                f"{key}: cannot listen on {where}: {why}",
                hint="choose another port; 0 is any that is free",
            ) from error
        await web.SockSite(runner, listener).start()
        name = f"[{host}]" if ":" in host else host
        yield f"http://{name}:{listener.getsockname()[1]}"
    finally:
        await runner.cleanup()
