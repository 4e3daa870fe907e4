"""Click options made from the table of settings.

Invariant: click reads no value. What was given stays text, so that flags are parsed by the same kinds,
with the same messages, as a file or the environment; what was not given is absent from `given`. A setting
of one command only is an unknown option of another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from fetcher.errors import ConfigError
from fetcher.option_types.values import BACKEND
from fetcher.settings import GROUPS, OPTIONS, Command, Option

F = TypeVar("F", bound="Callable[..., Any] | click.Command")


class SettingOption(click.Option):
    """One setting as an option of a command. A flag has a form that turns it off, which no help lists."""

    def __init__(self, setting: Option, command: Command | None = None, *, is_hidden: bool = False) -> None:
        names = [setting.flag, *([setting.short] if setting.short else [])]
        attributes: dict[str, Any] = {"metavar": setting.metavar, "multiple": setting.kind.is_repeatable}
        if setting.is_flag:
            names[0] += f"/{setting.flag_off}"
            attributes = {"is_flag": True}
        default = setting.default_for(command)
        text = f"{setting.help} [default: {default}]" if default else setting.help
        super().__init__(
            [setting.key, *names], default=None, help=text, type=None, hidden=is_hidden, **attributes
        )
        self.setting = setting

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:  # noqa: ARG002
        """Return the choices that begin so, or leave files and folders to the shell."""
        if self.setting.is_path:
            return [CompletionItem(incomplete, type="dir" if self.setting.metavar == "DIR" else "file")]
        before, comma, word = incomplete.rpartition(",")
        choices = _backends() if self.setting.kind is BACKEND else self.setting.kind.choices
        return [CompletionItem(before + comma + choice) for choice in choices if choice.startswith(word)]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if super().get_help_record(ctx) is None:  # hidden
            return None
        short = f"{self.setting.short}, " if self.setting.short else "    "
        return f"{short}{self.setting.flag} {self.setting.metavar}".rstrip(), self.help or ""


class SettingsCommand(click.Command):
    """A command whose help lists the settings under their headings."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from fetcher.cli.hints import misread

        settings = [param.setting for param in self.params if isinstance(param, SettingOption)]
        if not ctx.resilient_parsing and (found := misread(args, settings)) is not None:
            raise ConfigError(found[0], hint=found[1])
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {group: [] for group in (*GROUPS, "Options")}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                group = param.setting.group if isinstance(param, SettingOption) else "Options"
                headings[group].append(record)
        for heading, records in headings.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=32)


def _backends() -> tuple[str, ...]:
    from fetcher.wiring import BACKENDS

    return tuple(BACKENDS)


def settings_options(
    command: Command | None = None,
    *,
    groups: Collection[str] = GROUPS,
    without: Collection[str] = (),
    hidden: Collection[str] = (),
) -> Callable[[F], F]:
    """Return a decorator that adds the settings of `groups`, but those `without`, to a click command.

    Only those that `command` takes, with its defaults; without one, those of all commands. `hidden` ones
    are understood, and no help lists them.
    """

    def decorate(decorated: F) -> F:
        options = [
            SettingOption(option, command, is_hidden=option.key in hidden)
            for option in OPTIONS.values()
            if "cli" in option.where
            and option.is_for(command)
            and option.group in groups
            and option.key not in without
        ]
        if isinstance(decorated, click.Command):
            decorated.params += options
        else:
            # As click.option does: a command reads the list backwards.
            params = decorated.__dict__.setdefault("__click_params__", [])
            params += reversed(options)
        return decorated

    return decorate


def given(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings among a command's parameters that stood on the command line, for `config.load`."""
    return {
        key: value for key, value in params.items() if key in OPTIONS and value is not None and value != ()
    }
