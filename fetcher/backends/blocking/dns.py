"""Names to addresses, on the loop: a lookup in a thread can't be interrupted, and would hold its slot.

Invariant: what `addresses` returns for a guarded request are public addresses only, whether they were
written out, given by the user, cached or just found; and nothing else is connected to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from fetcher.backends import failure_texts as texts
from fetcher.policy.ip_filter import is_local_name, literal_address, permitted_addresses
from fetcher.ports import ConnectionOptions

if TYPE_CHECKING:
    import aiodns

_MOST_KNOWN: Final = 50_000
_KNOWN_FOR_S: Final = 120.0

Lookup = Callable[[str], Awaitable[Sequence[str]]]


class DnsCache:
    """A cache of addresses: the user's own first, then DNS's, kept for two minutes."""

    def __init__(self, options: ConnectionOptions, lookup: Lookup | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._options = options
        self._lookup = lookup or self._ask
        self._known: dict[str, tuple[float, asyncio.Task[Sequence[str]]]] = {}
        self._resolver: aiodns.DNSResolver | None = None

    async def addresses(self, name: str, port: int, *, is_vetted: bool) -> list[str]:
        """Find the addresses of `name` that may be connected to.

        Raises:
            socket.gaierror: there is no address, or none of the wanted family.
            Refused: policy denies them all.

        Cancelling leaves the lookup to others who wait for it.
        """
        if is_vetted and is_local_name(name):
            raise texts.denied(name, [])
        given = self._options.resolve.get((name, port)) or literal_address(name)
        found = [given] if given is not None else [*await self._found(name)]
        family = self._options.family
        if family is not None:
            found = [address for address in found if (":" in address) == (family == 6)]
            if not found:
                raise texts.OtherFamily(family)
        if not is_vetted:
            return found
        public = permitted_addresses(found)
        if not public:
            raise texts.denied(name, found)
        return public

    async def aclose(self) -> None:
        """End what is still being looked up."""
        tasks = [task for _, task in self._known.values()]
        self._known.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._resolver is not None:
            resolver, self._resolver = self._resolver, None
            await resolver.close()

    async def _found(self, name: str) -> Sequence[str]:
        """Ask DNS, once for all who want to know at the same time, or remember."""
        known = self._known.pop(name, None)
        now = self._loop.time()
        if known is None or (known[1].done() and now >= known[0]):
            known = now + _KNOWN_FOR_S, self._loop.create_task(self._resolved(name))
        self._known[name] = known  # now the last to be forgotten
        if len(self._known) > _MOST_KNOWN:
            self._forget_oldest()
        try:
            return await asyncio.shield(known[1])
        except OSError:
            if self._known.get(name) is known:
                del self._known[name]
            raise

    def _forget_oldest(self) -> None:
        oldest = next(iter(self._known))
        if self._known[oldest][1].done():
            del self._known[oldest]

    async def _resolved(self, name: str) -> Sequence[str]:
        try:
            found = await self._lookup(name)
        except UnicodeError as cause:
            raise socket.gaierror(socket.EAI_NONAME, "not a name of DNS") from cause
        if not found:
            raise socket.gaierror(socket.EAI_NODATA, "no address")
        return found

    async def _ask(self, name: str) -> list[str]:
        """Ask the name servers, and the hosts file, as c-ares does."""
        import aiodns  # noqa: PLC0415  (not needed for addresses)

        if self._resolver is None:
            self._resolver = aiodns.DNSResolver(loop=self._loop)
        try:
            answer = await self._resolver.getaddrinfo(
                name, family=self._options.address_family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        except aiodns.error.DNSError as cause:
            code, text = [*cause.args, None, "no answer"][:2]
            raise texts.from_cares(code, text) from cause
        found = [node.addr[0] for node in answer.nodes]
        return [one.decode("ascii") if isinstance(one, bytes) else str(one) for one in found]
