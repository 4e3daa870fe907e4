"""The kinds of runs that are tortured: their commands, what stood in the folder before, and what is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BACKENDS = ("asyncio", "curl", "threads", "sync")
OUT = "out"
LIST = "urls.txt"
PARSER = "torture.readers:summary"


@dataclass(frozen=True)
class Mode:
    """`words` after `fetcher`; `before` are those of the run that made the folder, of version 1 of the site."""

    name: str
    words: Sequence[str]
    before: Sequence[str] = ()
    version: int = 1
    starts_processes: bool = False  # and so takes a while longer

    def command(self, backend: str, seed: str) -> list[str]:
        """The arguments of the run."""
        return self._complete(self.words, backend, seed)

    def command_before(self, backend: str, seed: str) -> list[str]:
        """The arguments of the run that made the folder; none if it is new."""
        return self._complete(self.before, backend, seed) if self.before else []

    @property
    def is_again(self) -> bool:
        """Whether it asks again for what had ended: then, once it is complete, the command begins anew."""
        return bool(self.before)

    @staticmethod
    def _complete(words: Sequence[str], backend: str, seed: str) -> list[str]:
        source = [seed] if words[0] == "crawl" else ["-i", LIST]
        return [*words, *source, "-o", OUT, "--backend", backend, *_ALWAYS]


_ALWAYS = ("--per-host", "32", "--retries", "3", "--min-free", "0", "--quiet")

MODES = {
    mode.name: mode
    for mode in (
        Mode("get", ["get"]),
        Mode("crawl", ["crawl"]),
        Mode("refresh", ["get", "--refresh"], ["get"], version=2),
        Mode("retry-failed", ["get", "--retry-failed"], ["get"], version=2),
        Mode("parser", ["crawl", "--parser", PARSER, "--offload", "inline"]),
        Mode("convert", ["crawl", "--convert-links"]),
        Mode(
            "convert-refresh",
            ["crawl", "--convert-links", "--refresh"],
            ["crawl", "--convert-links"],
            version=2,
        ),
        Mode("fsync", ["get", "--fsync"]),
        Mode("processes", ["get", "--processes", "2"], starts_processes=True),
        Mode(
            "parser-processes",
            ["crawl", "--parser", PARSER, "--offload", "processes", "--parser-workers", "1"],
            starts_processes=True,
        ),
    )
}
