"""The page `/metrics`: the figures of a run, as Prometheus asks for them."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from fetcher.observers.run_figures import RunFigures


def metrics_page(figures: RunFigures) -> web.Application:
    """Return the application that has this page alone."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=figures.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", show)
    return app
