"""Makes the manual page `fetcher.1` anew: `python docs/make_man_page.py`.

Its commands, options, exit codes and variables are those of the program, as in the reference; it holds
no date, so that it changes only with them. The format is man(7).
"""  # noqa: INP001  (a program beside the documents)

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from fetcher.cli.exit_codes import MEANINGS
from fetcher.cli.main import COMMANDS, cli
from fetcher.cli.options import SettingOption
from fetcher.settings import GROUPS, OPTIONS
from fetcher.version import __version__

HERE = Path(__file__).parent
PAGE = HERE / "fetcher.1"
_FILES = {
    "fetcher.toml": "settings, read where the program is called; --config names another file",
    "DIR/results.jsonl": "one line of JSON for each outcome; the last line for a URL wins",
    "DIR/data.jsonl": "what the parser returned",
    "DIR/.fetcher/": "the state, the lock and bodies that still grow: the program's own",
}


def page() -> str:
    """Return the manual page."""
    lines = [
        f'.TH FETCHER 1 "" "fetcher {__version__}" "User Commands"',
        ".SH NAME",
        "fetcher \\- download many URLs, or crawl a site, and never lose the place",
        ".SH SYNOPSIS",
        *(line for name in COMMANDS for line in (".br", _usage(name))),
        ".SH DESCRIPTION",
        _text(
            "fetcher downloads a list of URLs, or crawls a site, and writes each body to a file and each "
            "outcome to a record. It fetches many URLs at once, keeps to limits for every host, and can be "
            "killed at any moment: the same command then continues where it was."
        ),
        ".SH COMMANDS",
        *_commands(),
    ]
    for group in GROUPS:
        lines += [f'.SH "OPTIONS: {group.upper()}"', *_options(group)]
    lines += [".SH EXIT STATUS"]
    for codes, meaning in MEANINGS:
        lines += _entry(", ".join(map(str, codes)), meaning)
    lines += [
        ".SH ENVIRONMENT",
        _text(
            "Every option is also a variable: FETCHER_ and its name in capitals, as in "
            "FETCHER_CONCURRENCY=16. http_proxy, https_proxy, all_proxy, no_proxy and NO_COLOR are heeded; "
            "and where OTEL_EXPORTER_OTLP_ENDPOINT is set, what OpenTelemetry reads for traces."
        ),
        ".SH FILES",
    ]
    for name, meaning in _FILES.items():
        lines += _entry(name, meaning)
    return "\n".join(lines) + "\n"


def _commands() -> Iterator[str]:
    for name, what in COMMANDS.items():
        command = _command(name)
        yield from _entry(f"fetcher {name}", f"{what[:1].upper()}{what[1:]}.")
        example = (command.epilog or "").removeprefix("Example: ").splitlines()[0]
        yield from (".IP", "Example:", _bold(example))
        for param in command.params:
            if isinstance(param, click.Option) and not isinstance(param, SettingOption) and not param.hidden:
                value = "" if param.is_flag else f" {param.make_metavar(click.Context(command))}"
                yield from (".RS", *_entry(", ".join(param.opts) + value, param.help or ""), ".RE")


def _options(group: str) -> Iterator[str]:
    for option in OPTIONS.values():
        if option.group != group or "cli" not in option.where:
            continue
        names = ", ".join(name for name in (option.short, option.flag) if name)
        default = option.default_for(None)
        text = f"{option.help} [default: {default}]" if default else option.help
        yield from _entry(f"{names} {option.metavar}".rstrip(), text)


def _usage(name: str) -> str:
    command = _command(name)
    arguments = " ".join(command.collect_usage_pieces(click.Context(command)))
    return f"{_bold(f'fetcher {name}')} {_text(arguments)}"


def _entry(term: str, meaning: str) -> Iterator[str]:
    yield from (".TP", _bold(term), _text(meaning))


def _bold(text: str) -> str:
    return f"\\fB{_text(text)}\\fR"


def _text(text: str) -> str:
    """Return text for troff: its own characters escaped, hyphens as they are typed, no line a request."""
    escaped = re.sub(r"[`*]", "", text).replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return f"\\&{escaped}" if escaped[:1] in {".", "'"} else escaped


def _command(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    if command is None:
        raise LookupError(name)
    return command


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
