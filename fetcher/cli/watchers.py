"""Those who watch a run from outside while it goes: a page, Prometheus, traces, the service manager."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from fetcher.cli.trace_export import exported_traces
from fetcher.observers.service_manager import ServiceManager

if TYPE_CHECKING:
    from fetcher.download import Download
    from fetcher.observers.run_figures import RunFigures


@asynccontextmanager
async def watched(download: Download, figures: RunFigures | None, title: str) -> AsyncIterator[None]:
    """Let those see `download` whom its settings and the environment name, until the block ends.

    Raises `ConfigError` where an address can't be had.
    """
    settings = download.settings
    async with AsyncExitStack() as stack:
        if figures is not None:
            download.observers.append(figures)
        if settings.metrics is not None and figures is not None:
            from fetcher.observers.metrics_page import metrics_page
            from fetcher.observers.web_listener import listening

            url = await stack.enter_async_context(
                listening(metrics_page(figures), settings.metrics, "metrics")
            )
            download.notice("info", f"metrics: {url}/metrics")
        if settings.dashboard is not None:
            from fetcher.cli.why import story_text
            from fetcher.observers.dashboard import Dashboard
            from fetcher.observers.web_listener import listening

            why = partial(story_text, download.directory, running=os.getpid())
            page = Dashboard(download, why, title=title)
            url = await stack.enter_async_context(listening(page.app, settings.dashboard, "dashboard"))
            download.observers.append(page)
            download.notice("info", f"dashboard: {url}/{page.token}/")
            sampling = asyncio.create_task(page.run())
            stack.callback(sampling.cancel)
            stack.push_async_callback(page.end)
        download.observers += await stack.enter_async_context(exported_traces(os.environ, download.notice))
        manager = ServiceManager.from_environ(os.environ, download.snapshot)
        if manager is not None:
            download.observers.append(manager)
            telling = asyncio.create_task(manager.run())
            stack.callback(telling.cancel)
        yield
