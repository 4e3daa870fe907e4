"""Names to addresses, on the loop: a lookup in a thread can't be interrupted, and would hold its slot.

Invariant: what `addresses` returns for a guarded request are public addresses only, whether they were
written out, given by the user, cached or just found; and nothing else is connected to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from fetcher.errors import Refused
from fetcher.policy.addresses import is_local_name, literal, permitted

if TYPE_CHECKING:
    import aiodns

_MOST_KNOWN: Final = 50_000
_KNOWN_FOR_S: Final = 120.0
_NO_SUCH_NAME: Final = frozenset({1, 4, 8})  # c-ares: ENODATA, ENOTFOUND, EBADNAME

Lookup = Callable[[str], Awaitable[Sequence[str]]]


class Names:
    """The user's own addresses first, then DNS, remembered for two minutes."""

    def __init__(
        self, given: Mapping[tuple[str, int], str], family: int | None, lookup: Lookup | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._given = given
        self._family = family
        self._lookup = lookup or self._ask
        self._known: dict[str, tuple[float, asyncio.Task[Sequence[str]]]] = {}
        self._resolver: aiodns.DNSResolver | None = None

    async def addresses(self, name: str, port: int, *, is_vetted: bool) -> list[str]:
        """Where `name` may be reached.

        Raises:
            socket.gaierror: there is no address, or none of the wanted family.
            Refused: policy denies them all.

        Cancelling leaves the lookup to others who wait for it.
        """
        if is_vetted and is_local_name(name):
            raise Refused("private-address", f"{name} is a name of this machine")
        given = self._given.get((name.lower(), port)) or literal(name)
        found = [given.strip("[]")] if given is not None else [*await self._found(name)]
        if self._family is not None:
            found = [address for address in found if (":" in address) == (self._family == 6)]
            if not found:
                raise socket.gaierror(socket.EAI_ADDRFAMILY, f"no IPv{self._family} address")
        if not is_vetted:
            return found
        public = permitted(found)
        if not public:
            raise Refused("private-address", _denial(name, found))
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
        """What DNS says; asked once for all who want to know at the same time."""
        known = self._known.pop(name, None)
        now = self._loop.time()
        if known is None or (known[1].done() and now >= known[0]):
            known = now + _KNOWN_FOR_S, self._loop.create_task(self._settled(name))
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

    async def _settled(self, name: str) -> Sequence[str]:
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
        family = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[self._family]
        try:
            answer = await self._resolver.getaddrinfo(
                name, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        except aiodns.error.DNSError as cause:
            code, text = [*cause.args, None, "no answer"][:2]
            kind = socket.EAI_NONAME if code in _NO_SUCH_NAME else socket.EAI_AGAIN
            raise socket.gaierror(kind, str(text)) from cause
        found = [node.addr[0] for node in answer.nodes]
        return [one.decode("ascii") if isinstance(one, bytes) else str(one) for one in found]


def _denial(name: str, addresses: Sequence[str]) -> str:
    if name in addresses:
        return f"{name} is a private address"
    return f"{name} resolves to a private address ({', '.join(addresses[:3])})"
