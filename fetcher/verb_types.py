"""Types and help of the library's verbs, as checkers, editors and people see them.

A call of a verb gives the result or a coroutine, by the running loop, and no type of Python says so. Each
class here is both, so that `result = fetch(url)` in plain code and `await fetch(url)` in async code are
exactly typed. When the program runs there is only `async_or_sync`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from fetcher.model import Result, Summary
from fetcher.settings import OPTIONS, Command
from fetcher.sync_async import AsyncOrSync, async_or_sync

P = ParamSpec("P")
V = TypeVar("V")

if TYPE_CHECKING:

    class ResultOrCoroutine(Result, Coroutine[Any, Any, Result]):
        """The result of one URL, or its coroutine."""

    class ResultsOrCoroutine(list[Result], Coroutine[Any, Any, list[Result]]):
        """The results of all URLs, or their coroutine."""

    class SummaryOrCoroutine(Summary, Coroutine[Any, Any, Summary], frozen=True):
        """The summary of a run, or its coroutine."""

    def gives_result(
        function: Callable[P, Coroutine[Any, Any, Result]],
    ) -> AsyncOrSync[P, Result, ResultOrCoroutine]:
        """`async_or_sync` for what gives a result."""

    def gives_results(
        function: Callable[P, Coroutine[Any, Any, list[Result]]],
    ) -> AsyncOrSync[P, list[Result], ResultsOrCoroutine]:
        """`async_or_sync` for what gives results."""

    def gives_summary(
        function: Callable[P, Coroutine[Any, Any, Summary]],
    ) -> AsyncOrSync[P, Summary, SummaryOrCoroutine]:
        """`async_or_sync` for what gives a summary."""

else:
    gives_result = gives_results = gives_summary = async_or_sync


def lists_settings(command: Command | None, *groups: str) -> Callable[[V], V]:
    """Return a decorator that ends a docstring with settings and their defaults.

    They are those that `command` takes, of `groups` or all.
    """

    def decorate(verb: V) -> V:
        if verb.__doc__ is not None:  # as it is under -OO
            verb.__doc__ = f"{verb.__doc__.rstrip()}\n\n    Settings:\n{_lines(command, groups)}\n    "
        return verb

    return decorate


# Where the library differs from the command line: it reads no environment and no file that was not named.
_DEFAULTS = {"proxy": "none", "no_proxy": "none", "max_size": "64M where bodies stay in memory, else none"}
_HELP = {"data": "request body"}


def _lines(command: Command | None, groups: tuple[str, ...]) -> str:
    lines = []
    for key, option in OPTIONS.items():
        if "library" in option.where and option.is_for(command) and (not groups or option.group in groups):
            default = "False" if option.is_flag else option.default_for(command) or "None"
            if key != "max_size" or command != "crawl":
                default = _DEFAULTS.get(key, default)
            lines.append(f"        {key}: {_HELP.get(key, option.help)}. Default: {default}.")
    return "\n".join(lines)


__all__ = ["gives_result", "gives_results", "gives_summary", "lists_settings"]
