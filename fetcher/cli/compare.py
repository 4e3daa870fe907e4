"""`fetcher compare`: the same work on every concurrency model, side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fetcher.cli.ended_by_signals import ended_by_signals

if TYPE_CHECKING:
    from fetcher.lab.compare.results import Comparison, Measured, Trial

_URLS_WHAT = "your own list (-i FILE) by every backend, each URL once"


class CompareCommand(click.Command):
    """Command whose help lists the workloads, as their table has them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from fetcher.lab.compare.results import URLS
        from fetcher.lab.compare.workloads import WORKLOADS

        with formatter.section("Workloads"):
            formatter.write_dl([*((one.name, one.what) for one in WORKLOADS.values()), (URLS, _URLS_WHAT)])
        with formatter.section("Models"):
            formatter.write_dl([(one.name, ", ".join(one.models)) for one in WORKLOADS.values()])
        super().format_options(ctx, formatter)


@click.command("compare", cls=CompareCommand, epilog="Example: fetcher compare http cpu --plot models.svg")
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]...")
@click.option("-n", "--size", type=click.IntRange(1, 10**6), metavar="N", help="how many; of one workload")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0, 10), metavar="S", help="seconds of a wait; of one workload"
)
@click.option("--models", metavar="LIST", help="only these, with commas between")
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    metavar="N",
    default=3,
    help="how often; medians are shown [3]",
)
@click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(1, 86400),
    default=120.0,
    metavar="S",
    help="a model that takes longer in a round is stopped [120]",
)
@click.option("-i", "--input", "inputs", multiple=True, metavar="FILE", help="urls: the list of URLs")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="draw it, timelines included: .svg or .png",
)
@click.option("--ignore-load", is_flag=True, help="draw it even while other programs keep the machine busy")
@click.option("--json", "as_json", is_flag=True, help="the figures on stdout, one JSON object a workload")
def command(
    workloads: tuple[str, ...],
    size: int | None,
    wait_s: float | None,
    models: str | None,
    rounds: int,
    limit_s: float,
    inputs: tuple[str, ...],
    plot: Path | None,
    ignore_load: bool,
    as_json: bool,
) -> int:
    """Run the same work on every concurrency model that can do it, and say what follows.

    Without a WORKLOAD all are run, but urls; that takes some minutes. Every model runs in a process of its
    own, in turn with the others, several times; shown are the medians, and whether all results are equal.
    """
    import msgspec

    chosen = _checked(workloads, size, wait_s, models, inputs)
    if plot is not None:
        from fetcher.lab.compare.pictures import checked_suffix

        checked_suffix(plot)
        if not ignore_load:
            _refuse_foreign_load(plot)
    progress = Progress(sys.stderr)
    done: list[Comparison] = []
    with ended_by_signals():
        for comparison in _comparisons(
            chosen,
            progress,
            size=size,
            wait_s=wait_s,
            rounds=rounds,
            limit_s=limit_s,
            inputs=inputs,
            draws=as_json or plot is not None,
        ):
            progress.clear()
            done.append(comparison)
            if as_json:
                click.echo(msgspec.json.encode(comparison))
            else:
                from fetcher.cli.compare_table import rendered

                click.echo(rendered(comparison))
    if plot is not None:
        from fetcher.lab.compare.pictures import draw

        if not ignore_load:
            _refuse_foreign_load(plot, max(one.foreign_load for one in done))
        draw(done, plot)
    return 0 if all(row.is_equal and not row.failure for one in done for row in one.rows) else 1


def _refuse_foreign_load(plot: Path, load: float | None = None) -> None:
    """Raise `ConfigError` when others kept the machine busy, or do now: a picture would show them."""
    from fetcher.errors import ConfigError
    from fetcher.lab.compare.machine_load import foreign_load, is_busy, shown_load

    load = foreign_load() if load is None else load
    if is_busy(load):
        hint = "wait until the machine is idle, or draw it all the same with --ignore-load"
        raise ConfigError(f"cannot draw {plot}: {shown_load(load)}", hint=hint)


def _checked(
    workloads: Sequence[str],
    size: int | None,
    wait_s: float | None,
    models: str | None,
    inputs: Sequence[str],
) -> dict[str, list[str]]:
    """Return the chosen workloads, each with its models; no models is all."""
    from fetcher.lab.compare.results import URLS
    from fetcher.lab.compare.workloads import WORKLOADS

    names = list(dict.fromkeys(workloads)) or list(WORKLOADS)
    for name in names:
        if name not in WORKLOADS and name != URLS:
            known = ", ".join([*WORKLOADS, URLS])
            raise click.UsageError(f"there is no workload {name!r}: choose from {known}")
    if (size is not None or wait_s is not None) and len(names) > 1:
        raise click.UsageError("--size and --wait are of one workload: name it")
    if URLS in names and not inputs:
        raise click.UsageError("urls: which? give the list by -i FILE")
    if inputs and URLS not in names:
        raise click.UsageError("-i is for the workload urls")
    wanted = [model.strip() for model in models.split(",")] if models is not None else []
    return _models_of(names, wanted)


def _models_of(names: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    from fetcher.lab.compare.compare_urls import BACKENDS
    from fetcher.lab.compare.results import URLS
    from fetcher.lab.compare.workloads import WORKLOADS

    able = {name: list(BACKENDS) if name == URLS else WORKLOADS[name].models for name in names}
    for model in wanted:
        if not any(model in of for of in able.values()):
            known = ", ".join(dict.fromkeys(one for of in able.values() for one in of))
            raise click.UsageError(f"there is no model {model!r} here: choose from {known}")
    chosen = {name: [model for model in of if model in wanted] for name, of in able.items()}
    return {name: found for name, found in chosen.items() if found or not wanted}


def _comparisons(
    chosen: dict[str, list[str]],
    progress: Progress,
    *,
    size: int | None,
    wait_s: float | None,
    rounds: int,
    limit_s: float,
    inputs: Sequence[str],
    draws: bool,
) -> Iterator[Comparison]:
    """Yield each comparison when it is ready. Leaving early ends what runs."""
    from fetcher.lab.compare.child_runner import ChildRunner
    from fetcher.lab.compare.results import URLS
    from fetcher.lab.compare.runner import compare
    from fetcher.lab.compare.workloads import WORKLOADS

    with ChildRunner(limit_s) as children:
        for name, models in chosen.items():
            progress.begins(name)
            if name == URLS:
                yield _compare_urls(inputs, models, size, children.measure, progress.says)
                continue
            yield compare(
                WORKLOADS[name],
                children,
                rounds=rounds,
                size=size,
                wait_s=wait_s,
                models=models,
                draws=draws,
                on_progress=progress.says,
            )


def _compare_urls(
    inputs: Sequence[str],
    models: Sequence[str],
    size: int | None,
    measure: Callable[[Trial], Measured],
    say: Callable[[str], None],
) -> Comparison:
    import asyncio

    from fetcher.lab.compare.compare_urls import MOST_URLS, compare_urls
    from fetcher.sources.file_source import FileSource

    async def read() -> list[str]:
        found: list[str] = []
        for path in inputs:
            source = FileSource(path, "auto")
            source.check()
            try:
                async for batch in source:
                    found += [entry.url for entry in batch if entry.bad is None]
                    if len(found) > 10 * limit:
                        break
            finally:
                await source.aclose()
        return found

    limit = MOST_URLS if size is None else size
    return compare_urls(asyncio.run(read()), measure, limit=limit, backends=models, say=say)


class Progress:
    """Progress on standard error: a line that is written over, or one for each workload."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()

    def begins(self, workload: str) -> None:
        if not self._is_terminal:
            print(f"{workload} …", file=self._stream, flush=True)

    def says(self, what: str) -> None:
        if self._is_terminal:
            print(f"\r\033[K{what}", end="", file=self._stream, flush=True)

    def clear(self) -> None:
        if self._is_terminal:
            print("\r\033[K", end="", file=self._stream, flush=True)
