"""Click options made from the table of settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fetcher.cli.options import SettingsCommand, given, settings_options
from fetcher.config import load
from fetcher.settings import GROUPS, OPTIONS, REPORTING

CLI_OPTIONS = {key: option for key, option in OPTIONS.items() if "cli" in option.where}
Run = Callable[..., dict[str, Any]]


@click.command(cls=SettingsCommand)
@click.argument("urls", nargs=-1)
@settings_options()
@click.option("--other", help="no setting")
@click.pass_context
def command(ctx: click.Context, **params: Any) -> None:
    ctx.obj.update(given(params))


def run(*args: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    result = CliRunner().invoke(command, args, obj=seen, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen


@pytest.fixture
def help_text() -> str:
    return CliRunner().invoke(command, ["--help"], terminal_width=200).output


def test_what_was_not_given_is_absent() -> None:
    assert run() == {}
    assert run("https://example.org/", "--other", "x") == {}


def test_what_was_given_stays_text_for_the_settings_to_judge() -> None:
    assert run("--concurrency", "many", "--min-free", "0") == {"concurrency": "many", "min_free": "0"}


@pytest.mark.parametrize(
    ("args", "key", "value"),
    [
        (["-c", "5"], "concurrency", "5"),
        (["-i", "a", "-i", "-"], "input", ("a", "-")),
        (["-o", "x"], "output", "x"),
        (["-O", "-"], "output_file", "-"),
        (["-X", "PUT"], "method", "PUT"),
        (["-H", "A: b", "-HC: d"], "headers", ("A: b", "C: d")),
        (["-u", "a:b"], "user", "a:b"),
        (["-4"], "ipv4", True),
        (["-6"], "ipv6", True),
        (["-q"], "quiet", True),
        (["-v"], "verbose", True),
        (["--proxy", ""], "proxy", ""),
        (["--no-proxy", "*"], "no_proxy", "*"),
        (["--no-overwrite"], "overwrite", False),
        (["--no-robots"], "no_robots", True),
        (["--robots"], "no_robots", False),
        (["--include", "a,b", "--include", "c"], "include", ("a,b", "c")),
        (["--ignore", "meta,canonical"], "ignore", "meta,canonical"),
    ],
)
def test_short_forms_and_values_are_those_of_the_contract(args: list[str], key: str, value: object) -> None:
    assert run(*args) == {key: value}


def test_every_setting_of_the_command_line_is_an_option_that_config_takes() -> None:
    samples = {
        "http": "2",
        "store": "none",
        "input_format": "csv",
        "log_format": "json",
        "private_addresses": "deny",
        "digest": "none",
        "notify": "https://example.org/hook",
        "shard": "0/2",
        "cluster": "local:2",
    }
    samples |= {
        "headers": "A: b",
        "resolve": "a:1:127.0.0.1",
        "retry_on": "429",
        "rate": "1/s",
        "user": "a:b",
    }
    samples |= {
        "scope": "any",
        "ignore": "meta",
        "parser": "pages:read",
        "offload": "threads",
        "parser_memory": "1M",
    }
    for key, option in CLI_OPTIONS.items():
        flags = run(option.flag) if option.is_flag else run(option.flag, samples.get(key, "1"))
        assert flags.keys() == {key}
        if key not in {"config", "backend"}:
            needed = {"parser": samples["parser"]} if key == "reparse" else {}
            origins = load(option.only or "get", flags=flags | needed, environ={}).origins
            assert origins[key] == f"flag {option.flag}"


def test_the_help_has_every_option_once_with_its_default(help_text: str) -> None:
    for option in CLI_OPTIONS.values():
        left = f"{option.flag} {option.metavar}".rstrip()
        lines = [
            line
            for line in help_text.splitlines()
            if left in line.strip().removeprefix(f"{option.short}, ")[: len(left)]
        ]
        assert len(lines) == 1, option.key
        assert option.help in lines[0] or option.help in help_text
        if default := option.default_for(None):
            assert f"{option.help} [default: {default}]" in help_text


def test_the_help_groups_the_options_under_their_headings(help_text: str) -> None:
    positions = [help_text.index(f"\n{heading}:\n") for heading in (*GROUPS, "Options")]
    assert positions == sorted(positions)
    assert (
        positions[0]
        < help_text.index("--output-file")
        < positions[1]
        < help_text.index("--per-host")
        < positions[2]
    )
    assert help_text.index("--other") > positions[-1]


def test_the_help_does_not_list_the_forms_that_turn_a_flag_off(help_text: str) -> None:
    assert "--no-overwrite" not in help_text
    assert "--no-proxy" in help_text


def test_a_command_may_take_some_of_the_settings_only() -> None:
    @click.command(cls=SettingsCommand)
    @settings_options(groups=[REPORTING], without=["config"])
    def small() -> None: ...

    names = [param.name for param in small.params]
    assert names == [
        key for key, option in CLI_OPTIONS.items() if option.group == REPORTING and key != "config"
    ]


def test_a_command_has_its_own_settings_with_its_own_defaults() -> None:
    shown = {}
    for name in ("get", "crawl"):
        made = settings_options(name, hidden=["output_file"])(SettingsCommand(name))
        result = CliRunner().invoke(made, ["--help"], terminal_width=200)
        shown[name] = " ".join(result.output.split())
        assert "--output-file" not in shown[name]
        given_params = made.make_context(name, ["-O", "x"]).params
        assert given(given_params) == {"output_file": "x"}, "what is hidden is understood"
    assert "--depth" not in shown["get"]
    assert "to one host [default: 8]" in shown["get"]
    assert "from a seed to a page [default: 5]" in shown["crawl"]
    assert "to one host [default: 4]" in shown["crawl"]


def test_a_setting_of_another_command_is_an_unknown_option() -> None:
    made = settings_options("get")(SettingsCommand("get"))
    for option in CLI_OPTIONS.values():
        if option.only == "crawl":
            result = CliRunner().invoke(made, [option.flag])
            assert result.exit_code == 2
            assert "No such option" in result.output
            assert option.flag in result.output


def test_a_finished_command_can_be_decorated_too() -> None:
    made = settings_options(groups=[REPORTING])(SettingsCommand("made"))
    assert [param.name for param in made.params] == [
        key for key, option in CLI_OPTIONS.items() if option.group == REPORTING
    ]


def test_a_mistyped_option_names_the_right_one() -> None:
    result = CliRunner().invoke(command, ["--concurency", "3"], obj={})
    assert result.exit_code == 2
    assert "--concurrency" in result.output


def test_nothing_heavy_is_imported_for_the_options() -> None:
    code = (
        "import sys, fetcher.cli.options, fetcher.config;"
        "print(*({'rich', 'aiohttp', 'asyncio', 'yarl', 'tenacity', 'difflib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
