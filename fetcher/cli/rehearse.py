"""`fetcher rehearse`: a job against a loopback site that misbehaves, killed at random moments, and judged."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fetcher.cli.ended_by_signals import ended_by_signals
from fetcher.cli.options import SettingsCommand, given, settings_options
from fetcher.errors import ConfigError, FetcherError, StorageError
from fetcher.settings import OPTIONS, Command, Settings

if TYPE_CHECKING:
    from fetcher.rehearsal.judgement import Judgement
    from fetcher.rehearsal.rehearsal import Course
    from fetcher.rehearsal.rehearsed_job import RehearsedJob

_OWN = (
    *("input", "input_format", "url_column", "output", "output_file", "dry_run", "json", "quiet", "verbose"),
    *("refresh", "retry_failed", "restart", "log_file", "log_format", "resolve", "max_failures"),
)
_MOST_SHOWN = 10
_USAGE, _STORAGE, _DEFECT = 2, 5, 70


@click.command("rehearse", cls=SettingsCommand, epilog="Example: fetcher rehearse nightly.toml --minutes 2")
@click.argument("job", type=click.Path(path_type=Path), required=False)
@settings_options(without=_OWN)
@click.option("--crawl", is_flag=True, help="follow links, where there is no job file that says so")
@click.option("--seed", type=click.IntRange(0), help="the same site and kills as before [default: new ones]")
@click.option(
    "--minutes",
    type=click.FloatRange(0, 24 * 60, min_open=True),
    default=1.0,
    help="limit in all [default: 1]",
)
@click.option("--kills", type=click.IntRange(0, 1000), default=5, help="how often it is killed [default: 5]")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="keep it all, in a new folder")
@click.option("--json", "as_json", is_flag=True, help="the report as one JSON object on stdout")
@click.option("--quiet", "-q", is_flag=True, help="print nothing unless something was lost")
def command(
    job: Path | None,
    crawl: bool,
    seed: int | None,
    minutes: float,
    kills: int,
    keep: Path | None,
    as_json: bool,
    quiet: bool,
    **params: Any,
) -> int:
    """Try the options of JOB, or those given here, on a loopback site that misbehaves.

    The run is killed at random moments and continued. The report says what was lost (nothing), how each kind
    of trouble ended, what your parser did, and what your settings cost. Exit 0 if nothing was lost, else 1.
    """
    settings, of_job = _settings(job, crawl, given(params))
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    with _folder(keep) as folder, ended_by_signals():
        return _rehearse(
            settings,
            of_job,
            folder,
            seed=seed,
            kills=kills,
            limit_s=60 * minutes,
            as_json=as_json,
            quiet=quiet,
        )


def _settings(job: Path | None, crawl: bool, flags: dict[str, Any]) -> tuple[Settings, Command]:
    from fetcher import config

    if job is not None:
        if crawl:
            raise ConfigError("--crawl: the job file says what the command is", hint="leave it out")
        loaded = config.load_job(job, flags=flags, environ=os.environ)
        return loaded.effective.settings, loaded.command
    is_crawl = crawl or any(OPTIONS[key].only == "crawl" for key in flags)
    name: Command = "crawl" if is_crawl else "get"
    found = config.find(Path())
    return config.load(name, flags=flags, environ=os.environ, found=found).settings, name


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give the folder of everything; it goes with the rehearsal, unless it is to be kept."""
    if keep is not None:
        try:
            keep.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            raise ConfigError(f"--keep: {keep} is there already", hint="name a new folder") from None
        except OSError as error:
            raise StorageError(f"--keep: cannot make {keep}: {error.strerror}") from error
        yield keep.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="fetcher-rehearsal-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rehearse(
    settings: Settings,
    of_job: Command,
    folder: Path,
    *,
    seed: int,
    kills: int,
    limit_s: float,
    as_json: bool,
    quiet: bool,
) -> int:
    import msgspec

    from fetcher.rehearsal.advice import advice_on
    from fetcher.rehearsal.judgement import judge
    from fetcher.rehearsal.rehearsal import Rehearsal
    from fetcher.rehearsal.rehearsed_job import columns_of, rehearsed_job
    from fetcher.rehearsal.trouble_site import TroubleSite

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    is_crawl = of_job == "crawl"
    address = "::1" if settings.ipv6 else "127.0.0.1"
    allows = settings.private_addresses == "allow"
    with TroubleSite(seed, crawl=is_crawl, allows_private=allows, address=address) as site:
        listing, output = folder / "list.jsonl", folder / "out"
        columns = dict.fromkeys(columns_of(settings.name), "rehearsed")
        urls = site.seeds if is_crawl else [one.url for one in site.planned]
        listing.write_bytes(b"".join(msgspec.json.encode({**columns, "url": url}) + b"\n" for url in urls))
        job = rehearsed_job(settings, of_job, listing=listing, output=output, resolve=site.resolve)
        say(f"rehearsal of a {of_job} with seed {seed}: {len(site.planned)} URLs on {len(site.hosts)} hosts")
        if job.left_out:
            say(f"not rehearsed, since they concern other servers or runs: {', '.join(job.left_out)}")
        course = Rehearsal(site, folder, job, seed=seed, kills=kills, limit_s=limit_s, say=say).run()
        _check_end(course, folder)
        judged = judge(site, output, course, job)
    advice = advice_on(job.settings, judged)
    is_lost = bool(judged.lost)
    if as_json:
        click.echo(_json(job, seed, course, judged, advice))
    elif not quiet or is_lost:
        for line in report_lines(job, course, judged, advice):
            print(line)
        print(f"\nonce more:  fetcher rehearse … --seed {seed} --kills {kills}")
    return 1 if is_lost else 0


def _check_end(course: Course, folder: Path) -> None:
    """Raise what the run itself ended with, where that was not the site's doing."""
    last = course.starts[-1]
    if last.code in {_USAGE, _STORAGE, _DEFECT}:
        text = (folder / f"run-{len(course.starts)}.log").read_text("utf-8", "replace").strip()
        lines = [line.strip().removeprefix("fetcher: ") for line in text.splitlines()[-6:]]
        kind = {_USAGE: ConfigError, _STORAGE: StorageError}.get(last.code, FetcherError)
        raise kind(
            f"the run ended with exit {last.code}: {lines[0] if lines else ''}", hint="\n  ".join(lines[1:])
        )


def report_lines(job: RehearsedJob, course: Course, judged: Judgement, advice: list[str]) -> list[str]:
    """Return the report for people."""
    from fetcher.observers.formatting import duration, plural, size
    from fetcher.policy.redaction import shown

    cost = judged.cost
    ended = "ended by itself" if course.is_over else "stopped when the time was over"
    times = (
        f"{plural(len(course.starts), 'start')}, {plural(course.kills, 'kill')}, {duration(course.elapsed)}"
    )
    lines = ["", f"{job.command} on {job.settings.backend}: {times}, {ended}"]
    if judged.lost:
        lines.append(f"LOST: {len(judged.lost):,}")
        for loss in judged.lost[:_MOST_SHOWN]:
            told = f" ({shown(loss.message, 200)})" if loss.message else ""
            lines.append(f"  {shown(loss.url or 'the run', 200)} {loss.what}{told}")
    else:
        pending = f", {judged.pending:,} still pending" if judged.pending else ""
        held = f"{plural(judged.urls, 'URL')}, {plural(judged.records, 'record')}{pending}"
        bodies = f"{plural(judged.whole, 'body')} byte for byte what the site served"
        lines.append(f"lost: nothing ({held}, {bodies})")
    lines += ["", f"{'trouble':<10}{'URLs':>5}{'tries':>7}{'waited':>12}{'sent':>8}  how they ended"]
    for name, kind in judged.kinds.items():
        how = ", ".join(f"{number:,} {what}" for what, number in kind.ended.most_common())
        figures = f"{kind.urls:>5,}{kind.attempts:>7,}{duration(kind.waited):>12}{size(kind.sent):>8}"
        lines.append(f"{name:<10}{figures}  {how}")
    if (parser := judged.parser) is not None:
        seen = f"{plural(parser.pages, 'page')}, {plural(parser.items, 'item')}"
        lines += ["", f"your parser: {seen}, {parser.failed.total():,} failed"]
        for what, number in parser.failed.most_common(_MOST_SHOWN):
            lines.append(f"  {number:>4,} × {shown(what, 100)}, as {shown(parser.examples[what], 80)}")
        if seconds := list(parser.seconds.values()):
            median, most = 1000 * seconds[len(seconds) // 2], 1000 * seconds[0]
            slowest = shown(next(iter(parser.seconds)), 80)
            lines.append(f"  {median:.1f} ms a page (median), at most {most:.1f} ms: {slowest}")
    asked = f"{cost.first:,} first, {cost.again_by_retry:,} by retries, {cost.again_after_kill:,} after kills"
    again = f"{size(cost.sent_again_by_retry)} by retries, {size(cost.sent_again_after_kill)} after kills"
    lines += [
        "",
        f"requests: {cost.requests:,}: {asked}",
        f"bytes:    {size(cost.sent)} sent, {size(cost.stored)} stored; sent again: {again}",
        f"waits:    {duration(cost.waited)} over all URLs",
        f"memory:   {size(cost.memory)} at most, of one process",
    ]
    return lines + (["", "advice", *(f"- {shown(text)}" for text in advice)] if advice else [])


def _json(job: RehearsedJob, seed: int, course: Course, judged: Judgement, advice: list[str]) -> bytes:
    import msgspec

    from fetcher.policy.redaction import escape_controls_json

    value = {
        "seed": seed,
        "command": job.command,
        "backend": job.settings.backend,
        "processes": job.settings.processes,
        "not_rehearsed": job.left_out,
        "starts": [
            {
                "killed": start.is_kill,
                "code": start.code,
                "requests": start.requests,
                "elapsed": start.elapsed,
            }
            for start in course.starts
        ],
        "kills": course.kills,
        "elapsed": round(course.elapsed, 3),
        "ended": course.is_over,
        **{name: getattr(judged, name) for name in judged.__struct_fields__},
        "advice": advice,
    }
    return escape_controls_json(msgspec.json.encode(value))
