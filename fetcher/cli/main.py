"""The program: its commands, imported when they are called, and what its errors mean to the shell.

No traceback reaches a user: an error that was foreseen is one line and what to do about it, one that
was not is a defect, exit 70, with the trace in a file.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from fetcher import __version__
from fetcher.cli.exit_codes import DEFECT, STORAGE, USAGE, code_of
from fetcher.errors import DISK_FAULTS, ConfigError, FetcherError
from fetcher.open_files import EXHAUSTED

COMMANDS = {
    "get": "download a batch of URLs",
    "crawl": "follow links from a few URLs",
    "compare": "the same work on every concurrency model, side by side",
    "run": "run the job that a TOML file describes",
    "status": "what a run directory holds",
    "why": "everything that happened to one URL",
    "report": "one HTML file that shows how a run went and what held it back",
    "verify": "check a run directory: files, records and state against each other",
    "export": "records, bodies or parsed data as Parquet, Arrow, CSV or SQLite",
    "diff": "what changed between two run directories, or two generations of one",
    "rehearse": "your options and parser against a site that misbehaves, killed at random moments",
    "doctor": "what works on this machine and what does not, and why",
    "completion": "the shell's completion script",
    "config": "the effective settings and where each came from",
    "demo": "a first look: download a small site from the loopback",
}
REPORT_TO = "the project's issue tracker"


class ReaderGone(Exception):
    """The reader of our output has gone. A broken pipe by its own name is click's, which makes it exit 1."""


class Commands(click.Group):
    """The commands by name; each lives in a module of its own, imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"fetcher.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from fetcher.cli.hints import command_hint

            word, *rest = args
            raise ConfigError(f"there is no command {word}", hint=command_hint(word, rest, COMMANDS))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: fetcher get -i urls.txt -o pages",
)
@click.version_option(__version__, "--version", prog_name="fetcher", message="%(prog)s %(version)s")
def cli() -> None:
    """Fetch URLs: many at once, politely, and never losing the place."""


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit with its code."""
    _open_streams()
    if "_FETCHER_COMPLETE" in os.environ:  # a shell asks
        import fetcher.cli.completion  # noqa: F401
    code = _run(arguments)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # it was told by the code; at exit the interpreter would have its own
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


# Our own marks; other characters are escaped.
_MARKS = {"…": "...", "→": "->", "·": "-", "×": "x", "µ": "u", "─": "-", "━": "=", "╸": "-", "›": ">"}


def _in_place_of(error: UnicodeError) -> tuple[str | bytes, int]:
    """Text that the terminal has no characters for: our own marks in ASCII, the rest escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    failed = error.object[error.start : error.end]
    spelled = "".join(
        _MARKS.get(char) or char.encode("ascii", "backslashreplace").decode() for char in failed
    )
    return spelled, error.end


def _open_streams() -> None:
    """Make the streams take any text, whatever the locale says.

    Where the caller closed one, the null device stands: else the next file or socket would take its place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, and those below are open
            if number:
                setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115  (a descriptor)
    codecs.register_error("fetcher", _in_place_of)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="fetcher")


def _run(arguments: list[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="fetcher", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:
        return 128 + signal.SIGINT
    except click.UsageError as error:
        return _usage(error, sys.argv[1:] if arguments is None else arguments)
    except click.ClickException as error:
        return _say(error.format_message(), "", USAGE)
    except FetcherError as error:
        return _say(error.message, error.hint, code_of(error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (BrokenPipeError, ReaderGone):
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno in EXHAUSTED:
            hint = "raise the limit on open files (ulimit -n), or close other programs"
            return _say(f"cannot go on: {error.strerror}", hint, STORAGE)
        if error.errno not in DISK_FAULTS:
            return _defect(error)
        return _say(f"cannot write the output: {error.strerror}", "", STORAGE)
    except Exception as error:  # noqa: BLE001  (whatever it is, the user gets a line and not a trace)
        return _defect(error)
    return code if isinstance(code, int) else 0


def _usage(error: click.UsageError, arguments: Sequence[str]) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USAGE
    name = error.ctx.command_path if error.ctx is not None else "fetcher"
    if name == "fetcher" and arguments[:1] and arguments[0] in COMMANDS:
        name = f"fetcher {arguments[0]}"  # of an option without its value, click tells no command
    if isinstance(error, click.NoSuchOption):
        from fetcher.cli.hints import option_hint, whole_option

        option = error.option_name
        own = [
            o for p in (error.ctx.command.params if error.ctx else ()) for o in (*p.opts, *p.secondary_opts)
        ]
        hint = option_hint(option, name, arguments, own)
        return _say(f"there is no option {whole_option(option, arguments)}", hint, USAGE)
    if isinstance(error, click.MissingParameter) and error.param is not None and error.ctx is not None:
        wanted = [
            p.make_metavar(error.ctx) for p in error.ctx.command.params if isinstance(p, click.Argument)
        ]
        return _say(f"expected {' '.join(wanted)}", f"see {name} --help", USAGE)
    if isinstance(error, click.BadOptionUsage):
        fault = "expected a value after it" if "requires an argument" in error.message else "takes no value"
        return _say(f"{error.option_name}: {fault}", f"see {name} --help", USAGE)
    if isinstance(error, click.BadParameter) and error.param and isinstance(error.param.type, click.Choice):
        *others, last = error.param.type.choices
        got = error.message.partition(" is not ")[0]
        return _say(f"expected {', '.join(others)} or {last}, got {got}", f"see {name} --help", USAGE)
    if found := re.fullmatch(r"Got unexpected extra arguments? \((.*)\)", error.message, re.DOTALL):
        return _say(f"{name} takes no argument {found[1]}", f"see {name} --help", USAGE)
    return _say(error.format_message(), f"see {name} --help", USAGE)


def _say(message: str, hint: str, code: int) -> int:
    from fetcher.policy.redaction import shown

    with contextlib.suppress(OSError):  # whoever can't be told is told by the code
        print(f"fetcher: {shown(message)}", file=sys.stderr)
        if hint:
            print(f"  {shown(hint)}", file=sys.stderr)
    return code


def _defect(error: Exception) -> int:
    import tempfile
    import traceback

    from fetcher.policy.redaction import mask

    trace = mask(traceback.format_exc())
    what = traceback.format_exception_only(error)[-1].strip()
    place = ""
    with contextlib.suppress(OSError):  # a full disk: what happened is in the line
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="fetcher-defect-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.write(f"fetcher {__version__}, Python {sys.version}, {sys.platform}\n{trace}")
        place = f" with {file.name}"
    return _say(
        f"this is a defect of the program: {what}",
        f"please report it to {REPORT_TO}{place}; what was settled is safe, and the run can go on",
        DEFECT,
    )
