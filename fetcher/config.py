"""The effective settings: defaults, a TOML file, the environment and flags, the later winning.

Invariant: every value is parsed by its option's type wherever it came from, carries its origin, and
anything unknown or wrong is a `ConfigError` that names the place before any request is made. A list
(`headers`, `input`, `resolve`) is replaced as a whole, never joined over places.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from fetcher.errors import ConfigError, StorageError
from fetcher.named_file import printable, read_whole, reason_of
from fetcher.native import argument_text
from fetcher.option_types.values import FUNCTION, PATTERNS
from fetcher.policy.object_urls import is_object_url
from fetcher.settings import (
    EXCLUSIVE,
    OLD_KEYS,
    OPTIONS,
    Command,
    HostSettings,
    Option,
    Settings,
    build,
    closest,
    convert,
    host_settings,
    seen,
    unknown_key,
)
from fetcher.toml_file import TomlFile, toml_value

FILE_NAME: Final = "fetcher.toml"
COMMANDS: Final[tuple[Command, ...]] = get_args(Command)
# Code of whoever wrote in the folder one happens to be in.
NOT_FROM_FOUND_FILE: Final = frozenset({"parser", "on_done"})
JOB_OPTIONS: Final[dict[str, Option]] = {"inputs": OPTIONS["input"], "output": OPTIONS["output"]}
MOST_DATA: Final = 128 * 1024**2  # bytes of a request's body, which is held in memory
_PREFIX = "FETCHER_"
_CONFIG_VARIABLE = OPTIONS["config"].variable


class Effective(msgspec.Struct, frozen=True):
    """The settings of a run, and where each came from.

    `origins` has every key: "default", "file fetcher.toml:12", "environment FETCHER_RATE" or
    "flag --rate"; and `host."example.org".rate` for what was set for one host.
    """

    settings: Settings
    origins: dict[str, str]


class JobFile(msgspec.Struct, frozen=True):
    """Contents of a job file: its paths are relative to it. `inputs` and `output` may be the flags'."""

    command: Command
    urls: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str
    effective: Effective


class _Layer(msgspec.Struct):
    """Typed values of one place and the origin of each."""

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}


def find(folder: Path) -> Path | None:
    """Return the `fetcher.toml` of a folder, if there is one."""
    path = folder / FILE_NAME
    return path if path.is_file() else None


def load(
    command: Command,
    *,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    config_path: Path | None = None,
    found: Path | None = None,
) -> Effective:
    """Return the settings of `command`. `flags` holds what was given, by key, as text or lists of text.

    A file that was named (`config_path`, --config or FETCHER_CONFIG) takes the place of the one that was
    found. Raises `ConfigError`.
    """
    named = config_path or flags.get("config") or environ.get(_CONFIG_VARIABLE)
    path = Path(named) if named else found
    label = "--config: " if config_path or flags.get("config") else f"{_CONFIG_VARIABLE}: " if named else ""
    places = [] if path is None else _read_file(TomlFile(path, is_found=not named, label=label), command)
    return _overlaid([*places, _read_environ(environ, command), _read_flags(flags, command)], command)


def load_job(path: Path, *, flags: Mapping[str, Any], environ: Mapping[str, str]) -> JobFile:
    """Return the job that a TOML file describes; the environment and `flags` override any of its keys.

    The default output is beside the job file too. Raises `ConfigError`.
    """
    file = TomlFile(path, base=path.parent)
    command, urls, job = _read_job(file)
    places = _read_file(file, command)
    output = _Layer({"output": str(path.parent / Settings().output)}, {"output": "default"})
    given = [_read_environ(environ, command), _read_flags(flags, command)]
    effective = _overlaid([output, *places, job, *given], command)
    settings = effective.settings
    return JobFile(command, urls, settings.input, settings.output, effective)


def _overlaid(places: Iterable[_Layer], command: Command) -> Effective:
    values: dict[str, Any] = {}
    origins = dict.fromkeys((key for key in OPTIONS if key not in {"config", "hosts"}), "default")
    for place in places:
        for pair in EXCLUSIVE:  # a later -6 wins over an earlier -4
            for one, other in (pair, pair[::-1]):
                if place.values.get(one) and other not in place.values:
                    values.pop(other, None)
                    origins[other] = "default"
        values |= place.values
        origins |= place.origins
    return Effective(build(values, command, place=lambda key: place_of(key, origins)), origins)


def place_of(key: str, origins: Mapping[str, str]) -> str:
    """Return what a message calls a setting: where it was given, or its flag.

    `--rate`, `FETCHER_RATE: rate` or `fetcher.toml:12: rate`.
    """
    kind, _, place = origins.get(key, "default").partition(" ")
    option = OPTIONS.get(key)
    if kind in {"file", "environment"}:
        return f"{place}: {key}"
    return key if option is None or "cli" not in option.where else option.flag


@contextlib.contextmanager
def named_by_place(origins: Mapping[str, str]) -> Iterator[None]:
    """Make the errors about a setting name the place that it came from: `rate: …` is `--rate: …`."""
    try:
        yield
    except (ConfigError, StorageError) as error:
        key, colon, rest = error.message.partition(":")
        if colon and key in OPTIONS:
            error.message = f"{place_of(key, origins)}:{rest}"
        raise


# --- the environment and flags -------------------------------------------------------------------


def _read_environ(environ: Mapping[str, str], command: Command) -> _Layer:
    """Read the variables. All are checked; those of another command are not used."""
    place = _Layer()
    known = {option.variable: option for option in OPTIONS.values() if "env" in option.where}
    old = {_PREFIX + name.upper(): OPTIONS[key].variable for name, key in OLD_KEYS.items()}
    for variable in sorted(environ):
        if not variable.startswith(_PREFIX) or variable == _CONFIG_VARIABLE:
            continue
        option = known.get(old.get(variable, variable))
        if option is None:
            raise _unknown_variable(variable)
        raw: str | list[str] = environ[variable]
        if option.kind.is_repeatable:  # one item on each line
            raw = [line for line in environ[variable].split("\n") if line.strip()]
        value = _converted(option, _understood(option, raw), f"{variable}: {option.key}")
        if option.is_for(command):
            place.values[option.key] = value
            place.origins[option.key] = f"environment {variable}"
    return place


def _unknown_variable(variable: str) -> ConfigError:
    close = closest(variable.removeprefix(_PREFIX), (key for key, o in OPTIONS.items() if "env" in o.where))
    advice = f"; did you mean {OPTIONS[close].variable}?" if close else ""
    name = variable if variable.isprintable() else seen(variable)
    return ConfigError(f"environment: unknown key {name}{advice}")


def _read_flags(flags: Mapping[str, Any], command: Command) -> _Layer:
    place = _Layer()
    known = {key: option for key, option in OPTIONS.items() if "cli" in option.where}
    for key, raw in flags.items():
        option = known.get(key)
        if option is None:
            raise unknown_key(key, known)
        if not option.is_for(command):
            raise ConfigError(
                f"{option.flag}: only {option.only} takes it, and the command is {command}",
                hint=f"leave it out, or see fetcher {option.only} --help",
            )
        if key != "config":
            place.values[key] = _converted(option, _understood(option, raw), option.flag)
            place.origins[key] = f"flag {option.flag}"
    return place


def _converted(option: Option, raw: Any, label: str, base: Path | None = None) -> Any:
    """Return the typed value; paths are relative to `base`; `@FILE` as data is the file's, as in curl."""
    if option.key == "data" and isinstance(raw, str) and raw.startswith("@"):
        path = _joined(base, raw[1:])
        try:
            raw = read_whole(path, most=MOST_DATA).translate(None, b"\r\n\0")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{label}: cannot read {printable(path)}: {reason_of(error)}") from error
    value = convert(option, raw, label)
    if option.kind is PATTERNS and value:
        _check_patterns(option.key, value, label)
    if option.kind is FUNCTION and isinstance(value, str) and ".py:" in value:
        return _joined(base, value)  # a module in a file, beside the job
    if not option.is_path or value is None:
        return value
    return tuple(_joined(base, item) for item in value) if isinstance(value, tuple) else _joined(base, value)


def _understood(option: Option, raw: Any) -> Any:
    """Text of the command line or the environment in UTF-8; paths stay what was given."""
    if isinstance(raw, (list, tuple)):
        return [_understood(option, item) for item in raw]
    if not isinstance(raw, str) or option.is_path or (option.key == "data" and raw.startswith("@")):
        return raw
    return argument_text(raw)


def _check_patterns(key: str, patterns: tuple[str, ...], label: str) -> None:
    from fetcher.policy.scope import Scope  # noqa: PLC0415  only where there are patterns

    rule: dict[str, Any] = {key: patterns}
    try:
        Scope(**rule)
    except ConfigError as error:
        is_glob = any(pattern.startswith("*") for pattern in patterns)
        hint = r"it is a regular expression, not a glob: '*.pdf' is '\.pdf$' here" if is_glob else error.hint
        raise ConfigError(f"{label}{error.message.removeprefix(key)}", hint=hint) from error


def _joined(base: Path | None, path: str) -> str:
    return path if base is None or path == "-" or is_object_url(path) else str(base / path)


def _read_file(file: TomlFile, command: Command) -> list[_Layer]:
    """[common] and the section of `command`, later winning; every section is checked."""
    is_job = file.base is not None
    sections = ["common", *COMMANDS, "host", *(["job"] if is_job else [])]
    for name in file.tables:
        if name == "job" and not is_job:
            raise ConfigError(f"{file.place(name)}: [job] stands only in a job file, for fetcher run")
        if name in OPTIONS and "toml" in OPTIONS[name].where:
            raise ConfigError(f"{file.place(name)}: {name}: {_expected_in(OPTIONS[name], command)}")
        if name not in sections:
            raise unknown_key(name, sections, file.place(name), "section")
    read = {name: _read_section(file, name) for name in ("common", *COMMANDS)}
    return [read["common"], _read_hosts(file), read[command]]


def _expected_in(option: Option, command: Command) -> str:
    return f"expected in [{option.only}]" if option.only else f"expected in [common] or [{command}]"


def _read_section(file: TomlFile, section: str) -> _Layer:
    place = _Layer()
    known = {key: option for key, option in OPTIONS.items() if "toml" in option.where}
    for name, raw in file.table(section).items():
        where, key = file.place(section, name), OLD_KEYS.get(name, name)
        if key != name and key in file.table(section):
            raise ConfigError(f"{where}: {name}: it is {key} by its old name, and {key} is given too")
        if key not in known:
            raise unknown_key(
                key, (name for name, option in known.items() if option.only in {None, section}), where
            )
        if known[key].only not in {None, section}:
            raise ConfigError(f"{where}: {key}: expected in [{known[key].only}]")
        if file.is_found and key in NOT_FROM_FOUND_FILE:
            raise ConfigError(
                f"{where}: {key}: it names code to run, and this file was found, not named",
                hint=f"name the file with --config, or give --{key.replace('_', '-')}",
            )
        place.values[key] = _converted(known[key], raw, f"{where}: {key}", file.base)
        place.origins[key] = f"file {where}"
    return place


def _read_hosts(file: TomlFile) -> _Layer:
    place = _Layer()
    hosts: dict[str, HostSettings] = {}
    for name, table in file.table("host").items():

        def beginning(key: str, name: str = name) -> str:
            return f"{file.place('host', name, key)}: "

        host, settings = host_settings(name, table, beginning)
        hosts[host] = settings
        for key in table:
            place.origins[f"host.{toml_value(host)}.{key}"] = f"file {file.place('host', name, key)}"
    if hosts:
        place.values["hosts"] = hosts
    return place


def _read_job(file: TomlFile) -> tuple[Command, tuple[str, ...], _Layer]:
    """Return the [job] section: its command, its URLs, and its inputs and output as settings."""
    table = file.table("job")
    if not table:
        raise ConfigError(f"{file.place('job')}: expected a section [job] with a command")
    place = _Layer()
    for key, raw in table.items():
        where = file.place("job", key)
        if key in JOB_OPTIONS:
            option = JOB_OPTIONS[key]
            place.values[option.key] = _converted(option, raw, f"{where}: {key}", file.base)
            place.origins[option.key] = f"file {where}"
        elif key not in {"command", "urls"}:
            raise unknown_key(key, ("command", "urls", *JOB_OPTIONS), where)
    command, urls = table.get("command"), table.get("urls", [])
    if command not in COMMANDS:
        got = f", got {seen(command)}" if command is not None else ""
        expected = " or ".join(COMMANDS)
        raise ConfigError(f"{file.place('job', 'command')}: command: expected {expected}{got}")
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise ConfigError(f"{file.place('job', 'urls')}: urls: expected a list of URLs, got {seen(urls)}")
    return command, tuple(urls), place
