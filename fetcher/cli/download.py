"""The common part of `get`, `crawl` and `run`: open the sources, then run, time, or only show."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from fetcher.cli.exit_codes import code_of
from fetcher.errors import ConfigError
from fetcher.native import argument_text
from fetcher.settings import Command, Settings

if TYPE_CHECKING:
    from fetcher.cli.run_report import RunReport
    from fetcher.config import Effective

_WITHOUT_INPUT: dict[Command, tuple[str, str]] = {
    "get": ("nothing to fetch", "give URLs, or --input FILE (- is standard input)"),
    "crawl": ("nowhere to begin", "give the URLs to start from, or --input FILE (- is standard input)"),
}


def run_download_command(
    effective: Effective, urls: Sequence[str], *, command: Command, is_typed: bool = True
) -> int:
    """Fetch `urls` and the inputs of the settings, or follow links from there. Returns the exit code.

    URLs that a person typed (`is_typed`) may lack their scheme; those of a job file may not.
    The command line of this process is the one that is shown to be typed again. Errors about a setting
    name the place that it came from.
    """
    from fetcher.cli.run_report import RunReport
    from fetcher.config import named_by_place

    report = RunReport(effective.settings, command)
    try:
        with named_by_place(effective.origins):
            code = _run(effective.settings, urls, command, report, is_typed=is_typed)
    except BaseException as error:
        report.end(code_of(error), error)
        raise
    report.end(code)
    return code


def _run(
    settings: Settings, urls: Sequence[str], command: Command, report: RunReport, *, is_typed: bool
) -> int:
    if command == "crawl" and settings.output_file is not None:
        raise ConfigError(
            "output_file: one URL goes straight to a file, and a crawl finds many", hint="use --output DIR"
        )
    from fetcher.cli.arguments import check_files, folder_notice, meant_urls

    check_files(inputs=settings.input, output_file=settings.output_file)
    if not urls and not settings.input:
        message, hint = _WITHOUT_INPUT[command]
        raise ConfigError(message, hint=hint)
    noticed: list[tuple[str, str]] = []
    if is_typed:
        urls = meant_urls(urls, lambda level, text: noticed.append((level, text)))
    if settings.output_file is not None:
        from fetcher.cli.output_file import run_single

        return run_single(settings, urls, noticed)
    stdin, list_again = 0, None
    if settings.shard is not None and command == "get" and not settings.no_split_hosts:
        stdin, again = _read_twice(settings)

        def list_again() -> list[Any]:
            return open_sources(settings, urls, lambda _level, _text: None, stdin=again)

    if settings.dry_run:
        from fetcher.cli.show_dry_run import show_dry_run, tell

        for level, text in noticed:
            tell(level, text)
        return show_dry_run(settings, open_sources(settings, urls, tell, stdin=stdin), command, list_again)
    from fetcher.cli.runner import run_download, shown_command
    from fetcher.download import Download

    if settings.cluster is None:
        download = Download(settings, environ=os.environ, command=command, list_again=list_again)
    else:
        from fetcher.cluster.cluster_download import ClusterDownload

        download = ClusterDownload(settings, environ=os.environ, command=command)
    report.begin(download.snapshot)
    if (warning := folder_notice(settings.output, urls)) is not None and not settings.input:
        noticed.append(("warning", warning))
    for level, text in noticed:
        download.notice(level, text)
    words = ["fetcher", *map(argument_text, sys.argv[1:])]
    begin_anew = ("--restart", "--refresh", "--reparse")
    return run_download(
        download,
        open_sources(settings, urls, download.notice, stdin=stdin),
        title=f"fetcher {command} → {argument_text(settings.output)}",
        command=shown_command(words, without=("--restart",)),
        retry_command=shown_command(words, without=begin_anew, extra=("--retry-failed",)),
        report=report,
    )


def _read_twice(settings: Settings) -> tuple[int, int]:
    """Return two descriptors of a copy of standard input, if that is a list: it is to be read twice.

    Raises:
        ConfigError: another input can be read only once, or there is no room for the copy.
    """
    import shutil
    import stat
    import tempfile
    from pathlib import Path

    from fetcher.run_dir import directory_of

    if directory_of(settings).share.exists():  # divided already
        return 0, 0
    for path in settings.input:
        if path != "-" and not stat.S_ISREG(Path(path).stat().st_mode):
            raise ConfigError(
                f"shard: {path} can't be read twice, to see which hosts are too large for one shard",
                hint="give a file or standard input, or --no-split-hosts",
            )
    if "-" not in settings.input or sys.stdin is None:
        return 0, 0
    try:
        with tempfile.NamedTemporaryFile(prefix="fetcher-") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy, 1024 * 1024)
            copy.flush()
            read = os.O_RDONLY | os.O_CLOEXEC
            return os.open(copy.name, read), os.open(copy.name, read)
    except OSError as error:
        raise ConfigError(
            f"input: cannot copy standard input: {(error.strerror or str(error)).lower()}"
        ) from error


def open_sources(
    settings: Settings, urls: Sequence[str], notice: Callable[[str, str], None], *, stdin: int = 0
) -> list[Any]:
    """Return the sources of a run, each checked, and the names of files with their columns.

    `notice` is told, by level and text, what should be known of a list. `-` is the descriptor
    `stdin`. Raises `ConfigError`.
    """
    from fetcher.policy.filenames import Template
    from fetcher.sources.arguments import Arguments

    sources: list[Any] = [Arguments(urls)] if urls else []
    if not settings.input:
        Template(settings.name, frozenset())
        return sources
    from fetcher.sources.file_source import FileSource
    from fetcher.sources.parquet_source import ParquetSource, is_parquet

    input_format = cast("Literal['auto', 'text', 'jsonl', 'csv', 'metalink']", settings.input_format)
    columns: set[str] = set()
    unknown: list[FileSource] = []

    def check_name(more: Collection[str] = ()) -> None:
        Template(settings.name, columns.union(more))

    for path in settings.input:
        if settings.input_format == "parquet" or (settings.input_format == "auto" and is_parquet(path)):
            table = ParquetSource(path, url_column=settings.url_column)
            columns.update(table.check())
            sources.append(table)
            continue
        source = FileSource(path, input_format, url_column=settings.url_column, notice=notice, stdin=stdin)
        found = source.check()
        if found is None:
            unknown.append(source)
        else:
            columns.update(found)
        sources.append(source)
    if not unknown:
        check_name()
    elif len(unknown) == 1:  # of several, each may have what another lacks
        unknown[0].on_columns = check_name
    return sources
