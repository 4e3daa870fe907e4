"""A backend that sends no request once the lease of its shard is over."""

from __future__ import annotations

from fetcher.cluster.lease import Lease
from fetcher.model import Request, Response
from fetcher.ports import Backend, BodyWriter


class LeasedBackend:
    """The `Backend` port, as long as a lease is held; then every exchange raises `LeaseLost`."""

    def __init__(self, backend: Backend, lease: Lease) -> None:
        self.traits = backend.traits
        self._backend = backend
        self._lease = lease

    async def exchange(self, request: Request, body: BodyWriter) -> Response:
        self._lease.require()
        return await self._backend.exchange(request, body)

    def limit_connections(self, most: int) -> None:
        self._backend.limit_connections(most)

    async def aclose(self) -> None:
        await self._backend.aclose()
