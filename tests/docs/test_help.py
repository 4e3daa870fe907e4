"""The help and the table of settings say the same; the reference is made of that table."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from click.testing import CliRunner
from support.documents import text_of

from fetcher.cli.main import COMMANDS, cli
from fetcher.settings import CRAWLING, GROUPS, OPTIONS, Command, Option

SHOWN = [option for option in OPTIONS.values() if "cli" in option.where]
# What the help of a command does not list: its own reasons, beside those of another command only.
UNLISTED = {"get": set(), "crawl": {"output_file"}, "run": {"config"}, "config": {"json"}}
COMMAND_OF: dict[str, Command | None] = {"get": "get", "crawl": "crawl", "run": None, "config": None}


def help_of(*words: str) -> str:
    result = CliRunner().invoke(cli, [*words, "--help"], terminal_width=200, max_content_width=200)
    assert result.exit_code == 0, result.output
    return result.output


def command_named(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def words_of(option: Option) -> str:
    """An option as help and reference write it."""
    names = [option.short, option.flag] if option.short else [option.flag]
    return f"{', '.join(names)} {option.metavar}".rstrip()


def test_the_program_lists_every_command_with_what_it_does() -> None:
    text = help_of()
    for name, what in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(what)}$", text, re.MULTILINE), name


@pytest.mark.parametrize("name", [*COMMANDS, ""], ids=lambda name: name or "the program itself")
def test_every_help_ends_with_an_example_that_is_a_good_command_line(name: str) -> None:
    text = help_of(*name.split())
    example = re.search(r"^  Example: (fetcher .*)\n\Z", text, re.MULTILINE)
    assert example is not None
    program, called, *arguments = shlex.split(example[1])
    assert program == "fetcher"
    assert called == (name or "get")
    command_named(called).make_context(called, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_says_what_it_does(name: str) -> None:
    for param in command_named(name).params:
        if isinstance(param, click.Option):
            assert param.help, param.name


def listed(name: str) -> list[Option]:
    command = COMMAND_OF[name]
    return [option for option in SHOWN if option.is_for(command) and option.key not in UNLISTED[name]]


@pytest.mark.parametrize("name", COMMAND_OF)
def test_every_setting_stands_in_the_help_once_with_its_default(name: str) -> None:
    text = help_of(name)
    for option in SHOWN:
        if name == "config" and option.key == "json":
            continue  # the command's own: the settings as JSON
        lines = re.findall(rf"^ +{re.escape(words_of(option))}(?:  +|\n +)(.*)$", text, re.MULTILINE)
        default = option.default_for(COMMAND_OF[name])
        expected = f"{option.help} [default: {default}]" if default else option.help
        assert lines == ([expected] if option in listed(name) else []), option.key


@pytest.mark.parametrize("name", COMMAND_OF)
def test_the_help_has_the_settings_under_their_headings(name: str) -> None:
    text = help_of(name)
    groups = [group for group in GROUPS if name != "get" or group != CRAWLING]
    places = [text.index(f"\n{group}:\n") for group in groups]
    assert places == sorted(places)
    for option in listed(name):
        heading = max(place for place in places if place < text.index(f" {words_of(option)}\n".rstrip()))
        assert groups[places.index(heading)] == option.group, option.key


@pytest.mark.parametrize("name", COMMAND_OF)
def test_the_help_knows_no_option_that_is_not_in_the_table(name: str) -> None:
    flags = set(re.findall(r"^ +(?:-\w, |    )(--[a-z0-9-]+)", help_of(name), re.MULTILINE))
    own = {"--help", *(["--json"] if name == "config" else [])}
    assert flags - own == {option.flag for option in listed(name)}


@pytest.mark.parametrize("name", COMMAND_OF)
def test_every_flag_can_be_turned_off_as_readme_says(name: str) -> None:
    for option in listed(name):
        if option.is_flag:
            context = command_named(name).make_context(
                name, [option.flag, option.flag_off, *["x"] * (name == "run")]
            )
            assert context.params[option.key] is False
            said = "`--robots`" if option.key == "no_robots" else "`--no-`"
            assert said in text_of("docs/reference.md")
