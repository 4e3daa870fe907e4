"""The report that a run leaves for others at its end, however it ended: figures in a file, a summary posted.

Neither changes the exit code, and the post delays it by 10 s at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fetcher.errors import ConfigError, FetcherError
from fetcher.native import argument_text
from fetcher.settings import RETRIED_STATUSES, Command, Settings

if TYPE_CHECKING:
    from fetcher.events import Snapshot
    from fetcher.model import Summary
    from fetcher.observers.run_figures import RunFigures

MOST_S = 9.0  # and a moment to begin and to close


class RunReport:
    """The report of one run. `summary` is its end, if it came so far."""

    def __init__(self, settings: Settings, command: Command) -> None:
        self._settings = settings
        self._command = command
        self.figures: RunFigures | None = None
        self.summary: Summary | None = None

    def begin(self, snapshot: Callable[[], Snapshot]) -> None:
        """Begin to count, if anybody wants figures. Raises `ConfigError` where the extra is missing."""
        for key in ("metrics", "metrics_file"):
            if getattr(self._settings, key) is not None:
                try:
                    from fetcher.observers.run_figures import RunFigures
                except ImportError:
                    hint = "pip install 'fetcher[metrics]'"
                    raise ConfigError(f"{key}: needs the library prometheus-client", hint=hint) from None
                self.figures = self.figures or RunFigures(snapshot)

    def end(self, code: int, error: BaseException | None = None) -> None:
        """Write the file, and post the summary if it is to be."""
        settings = self._settings
        if settings.dry_run:
            return
        if settings.metrics_file is not None:
            self._write(settings.metrics_file, code)
        if settings.notify is not None and (code != 0 or settings.notify_always):
            try:
                fault = asyncio.run(_post(settings, settings.notify, self._message(code, error)))
            except OSError as unready:  # certificates that can't be read
                fault = str(unready)
            if fault:
                _warn(f"notify: the summary was not delivered: {fault}")

    def _write(self, path: str, code: int) -> None:
        if self.figures is None:  # it ended before it began
            with contextlib.suppress(ConfigError):
                from fetcher.events import Snapshot

                self.begin(Snapshot)
        if self.figures is None:
            return
        self.figures.set_end(code)
        try:
            self.figures.write(path, {"directory": argument_text(self._settings.output)})
        except OSError as error:
            _warn(f"metrics_file: cannot write {path}: {error.strerror}")

    def _message(self, code: int, error: BaseException | None) -> dict[str, Any]:
        import msgspec

        from fetcher import __version__
        from fetcher.policy.redaction import shown

        place = argument_text(self._settings.output)
        message: dict[str, Any] = {
            "text": "",
            "program": f"fetcher {__version__}",
            "machine": socket.gethostname(),
            "command": self._command,
            "directory": place,
            "exit_code": code,
            "error": None,
            "summary": None,
        }
        told = "ended"
        if self.summary is not None:
            message["summary"] = msgspec.to_builtins(self.summary)
            counts = self.summary.finals() | {"pending": self.summary.pending}
            told = ", ".join(f"{number:,} {state}" for state, number in counts.items() if number) or told
            if self.summary.stopped:
                told += f", stopped: {self.summary.stopped}"
        if error is not None:
            told = error.message if isinstance(error, FetcherError) else type(error).__name__
            told = message["error"] = shown(told)
        message["text"] = f"fetcher {self._command} in {place} on {message['machine']}: {told} (exit {code})"
        return message


async def _post(settings: Settings, url: str, message: dict[str, Any]) -> str:
    """Post a message as JSON, again while that may help. Returns why it was not taken, or nothing."""
    import aiohttp
    from tenacity import AsyncRetrying, retry_if_result, wait_random_exponential

    fault = "no answer"

    async def attempt() -> bool:
        """Post once. True if another attempt may help."""
        nonlocal fault
        try:
            async with session.post(url, json=message, allow_redirects=False) as answer:
                fault = "" if answer.status < 300 else f"HTTP {answer.status}"
                return answer.status in RETRIED_STATUSES
        except aiohttp.InvalidURL:
            fault = "not a URL"
            return False
        except aiohttp.ClientConnectorError as error:
            fault = f"cannot connect to {error.host}:{error.port}"
            return True
        except (aiohttp.ClientError, OSError) as error:
            if not isinstance(error, TimeoutError):
                fault = str(error) or type(error).__name__
            return True

    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(MOST_S),
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=settings.ca_file)),
                timeout=aiohttp.ClientTimeout(total=MOST_S / 2 - 0.5),
                trust_env=True,
            ) as session,
        ):
            wait = wait_random_exponential(multiplier=0.2, max=3)
            await AsyncRetrying(retry=retry_if_result(bool), wait=wait)(attempt)
    return fault


def _warn(text: str) -> None:
    from fetcher.policy.redaction import shown

    with contextlib.suppress(OSError):
        print(f"fetcher: warning: {shown(text)}", file=sys.stderr)
