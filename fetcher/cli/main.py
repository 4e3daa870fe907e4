"""The program: its commands, imported when they are called, and what its errors mean to the shell.

No traceback reaches a user: an error that was foreseen is one line and what to do about it, one that
was not is a defect, exit 70, with the trace in a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

from fetcher import __version__
from fetcher.errors import ConfigError, DirectoryInUse, FetcherError, StorageError

COMMANDS = {
    "get": "download a batch of URLs",
    "crawl": "follow links from a few URLs",
    "compare": "the same work on every concurrency model, side by side",
    "run": "run the job that a TOML file describes",
    "status": "what a run directory holds",
    "config": "the effective settings and where each came from",
    "demo": "a first look: download a small site from the loopback",
}
REPORT_TO = "the project's issue tracker"

USAGE, IN_USE, STORAGE, DEFECT = 2, 3, 5, 70
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class ReaderGone(Exception):
    """Whoever read our output has gone. A broken pipe by its own name is click's, which makes it exit 1."""


class Commands(click.Group):
    """The commands by name; each lives in a module of its own, imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"fetcher.cli.{cmd_name}").command
        return command

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
    code = _run(arguments)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # it was told by the code; at exit the interpreter would have its own
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _open_streams() -> None:
    """Put the null device where the caller closed a stream: else the next file or socket takes its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, and those below are open
            if number:
                setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115  (a descriptor)


def _run(arguments: list[str] | None) -> int:
    try:
        code = cli.main(arguments, prog_name="fetcher", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:
        return 128 + signal.SIGINT
    except click.UsageError as error:
        return _usage(error)
    except click.ClickException as error:
        return _say(error.format_message(), "", USAGE)
    except ConfigError as error:
        return _say(error.message, error.hint, USAGE)
    except DirectoryInUse as error:
        return _say(error.message, error.hint, IN_USE)
    except StorageError as error:
        return _say(error.message, error.hint, STORAGE)
    except FetcherError as error:
        return _say(error.message, error.hint, 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (BrokenPipeError, ReaderGone):
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in FULL:
            return _defect(error)
        return _say(f"cannot write the output: {error.strerror}", "", STORAGE)
    except Exception as error:  # noqa: BLE001  (whatever it is, the user gets a line and not a trace)
        return _defect(error)
    return code if isinstance(code, int) else 0


def _usage(error: click.UsageError) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USAGE
    name = error.ctx.command_path if error.ctx is not None else "fetcher"
    return _say(error.format_message(), f"see {name} --help", USAGE)


def _say(message: str, hint: str, code: int) -> int:
    from fetcher.policy.text import mask, visible

    with contextlib.suppress(OSError):  # whoever can't be told is told by the code
        print(f"fetcher: {visible(mask(message))}", file=sys.stderr)
        if hint:
            print(f"  {visible(mask(hint))}", file=sys.stderr)
    return code


def _defect(error: Exception) -> int:
    import tempfile
    import traceback

    from fetcher.policy.text import mask

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
