"""`fetcher compare`: the same work on every concurrency model, side by side."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from fetcher.cli.ended_by_signals import ended_by_signals
from fetcher.errors import ConfigError
from fetcher.lab.compare.results import URLS, Comparison
from fetcher.lab.compare.workloads import ALL_WORKLOADS, WORKLOADS


class CompareCommand(click.Command):
    """Command whose help lists the workloads, as their table has them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Workloads"):
            formatter.write_dl([(one.name, one.what) for one in ALL_WORKLOADS.values()])
        with formatter.section("Models"):
            formatter.write_dl([(one.name, ", ".join(one.models)) for one in ALL_WORKLOADS.values()])
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

    from fetcher.cli.compare_table import rendered
    from fetcher.lab.compare.child_runner import ChildRunner
    from fetcher.lab.compare.compare_urls import compare_urls
    from fetcher.lab.compare.machine_load import foreign_load
    from fetcher.lab.compare.pictures import checked_suffix, draw
    from fetcher.lab.compare.runner import compare

    names = list(dict.fromkeys(workloads)) or list(WORKLOADS)
    if unknown := [name for name in names if name not in ALL_WORKLOADS]:
        raise click.UsageError(f"there is no workload {unknown[0]!r}: choose from {', '.join(ALL_WORKLOADS)}")
    if (size is not None or wait_s is not None) and len(names) > 1:
        raise click.UsageError("--size and --wait are of one workload: name it")
    if URLS in names and not inputs:
        raise click.UsageError("urls: which? give the list by -i FILE")
    if inputs and URLS not in names:
        raise click.UsageError("-i is for the workload urls")
    chosen = _models_of(names, [model.strip() for model in models.split(",")] if models is not None else [])
    if plot is not None:
        checked_suffix(plot)
        if not ignore_load:
            _refuse_foreign_load(plot, foreign_load())
    done: list[Comparison] = []
    with ended_by_signals(), ChildRunner(limit_s) as children:
        for name, its_models in chosen.items():
            _say(name, is_new=True)
            if name == URLS:
                most = size or ALL_WORKLOADS[URLS].size
                urls = asyncio.run(_listed(inputs, 10 * most))
                found: Comparison = compare_urls(
                    urls, children.measure, limit=most, backends=its_models, say=_say
                )
            else:
                found = compare(
                    WORKLOADS[name],
                    children,
                    rounds=rounds,
                    size=size,
                    wait_s=wait_s,
                    models=its_models,
                    draws=as_json or plot is not None,
                    on_progress=_say,
                )
            _say("")
            click.echo(msgspec.json.encode(found) if as_json else rendered(found))
            done.append(found)
    if plot is not None:
        if not ignore_load:
            _refuse_foreign_load(plot, max(one.foreign_load for one in done))
        draw(done, plot)
    return 0 if all(row.counts for one in done for row in one.rows) else 1


def _refuse_foreign_load(plot: Path, load: float) -> None:
    """Raise `ConfigError` when others kept the machine busy, or do now: a picture would show them."""
    from fetcher.lab.compare.machine_load import is_busy, shown_load

    if is_busy(load):
        hint = "wait until the machine is idle, or draw it all the same with --ignore-load"
        raise ConfigError(f"cannot draw {plot}: {shown_load(load)}", hint=hint)


def _models_of(names: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """Return the workloads that have any of the wanted models, each with those; nothing wanted is all."""
    able = {name: ALL_WORKLOADS[name].models for name in names}
    known = list(dict.fromkeys(model for of in able.values() for model in of))
    if unknown := [model for model in wanted if model not in known]:
        raise click.UsageError(f"there is no model {unknown[0]!r} here: choose from {', '.join(known)}")
    chosen = {name: [model for model in of if model in (wanted or of)] for name, of in able.items()}
    return {name: of for name, of in chosen.items() if of}


async def _listed(paths: Sequence[str], most: int) -> list[str]:
    """Read the URLs of the lists, and not many more than so many."""
    from fetcher.sources.file_source import FileSource

    found: list[str] = []
    for path in paths:
        async with contextlib.aclosing(FileSource(path, "auto")) as source:
            source.check()
            async for batch in source:
                found += [entry.url for entry in batch if entry.bad is None]
                if len(found) > most:
                    return found
    return found


def _say(what: str, *, is_new: bool = False) -> None:
    """Show on standard error what runs: a line that is written over, or one for each workload."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)
    elif is_new:
        print(f"{what} …", file=sys.stderr, flush=True)
