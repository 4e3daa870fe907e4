"""Makes the tables of reference.md, coming-from.md and library.md anew: `python docs/make_reference.py`.

Each part between `<!-- NAME -->` and `<!-- end -->` is made from the program: its commands, the table of
settings, the exit codes, the table of other programs' options, and the library's names. The site shows
the docstrings of those names in the place of their list.
"""  # noqa: INP001  (a program beside the documents)

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click

import fetcher
from fetcher.cli.exit_codes import MEANINGS
from fetcher.cli.hints import FOREIGN
from fetcher.cli.main import COMMANDS, cli
from fetcher.settings import GROUPS, OPTIONS, Option

HERE = Path(__file__).parent
PAGES = (HERE / "reference.md", HERE / "coming-from.md", HERE / "library.md")
_PART = re.compile(r"(<!-- (?!end )([\w-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
_HELP = {o.flag_off: o.help for o in OPTIONS.values()} | {o.flag: o.help for o in OPTIONS.values()}
_NAMES = re.compile(  # what is typed, in an answer to "what is it here?"
    r"fetcher crawl(?: URL)?(?: --refresh)?|-H '[^']*'"
    r"|--(?:scope|store) [a-z]+|--[a-z][a-z-]*(?: (?:[A-Z@][A-Z:@]*|[0-9.]+|'[^']*'))?"
)


def commands() -> str:
    """Every command with what it does and its example, as its help has them."""
    lines = ["| command | what it does | example |", "|---|---|---|"]
    for name, what in COMMANDS.items():
        example = (_command(name).epilog or "").removeprefix("Example: ").splitlines()[0]
        lines.append(_row(f"`{name}`", what, f"`{example}`"))
    return "\n".join(lines)


def own_options() -> str:
    """The options of single commands that are no settings."""
    lines = ["| command | option | meaning |", "|---|---|---|"]
    for name in COMMANDS:
        for param in _command(name).params:
            if not isinstance(param, click.Option) or param.hidden:
                continue
            if not any((param.help or "").startswith(_HELP.get(flag, "\0")) for flag in param.opts):
                value = "" if param.is_flag else f" {param.make_metavar(click.Context(_command(name)))}"
                lines.append(_row(f"`{name}`", f"`{', '.join(param.opts)}{value}`", param.help or ""))
    return "\n".join(lines)


def options() -> str:
    """Every setting under its heading."""
    lines: list[str] = []
    for group in GROUPS:
        lines += [f"### {group}", "", "| option | default | meaning |", "|---|---|---|"]
        lines += [option_row(o) for o in OPTIONS.values() if o.group == group and "cli" in o.where]
        lines.append("")
    return "\n".join(lines[:-1])


def option_row(option: Option) -> str:
    """One row of the tables of options."""
    names = ", ".join(name for name in (option.short, option.flag) if name)
    default = "off" if option.is_flag else option.default_for("get")
    if default and option.shown is None and not option.is_flag:
        default = f"`{default}`"
        if (other := option.default_for("crawl")) != option.default_for("get"):
            default += f" (`crawl`: `{other}`)"
    return _row(f"`{names} {option.metavar}".rstrip() + "`", default, option.help)


def exit_codes() -> str:
    """The exit codes and what each means."""
    rows = [_row(", ".join(map(str, codes)), meaning) for codes, meaning in MEANINGS]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def foreign(tool: str) -> str:
    """The options of another program, those that are the same here in one row."""
    by_answer: dict[str, list[str]] = {}
    for name, here in FOREIGN[tool].items():
        by_answer.setdefault(here, []).append(f"`{name}`")
    rows = [_row(", ".join(names), _answer(here)) for here, names in by_answer.items()]
    return "\n".join([f"| {tool} | here |", "|---|---|", *rows])


def names() -> str:
    """Every public name of the library with the first line of its docstring, under three headings."""
    found = {
        name: getattr(fetcher, name) for name in sorted(fetcher.__all__, key=str.lower) if name[0] != "_"
    }
    errors = {n for n, what in found.items() if isinstance(what, type) and issubclass(what, Exception)}
    classes = {name for name, what in found.items() if isinstance(what, type)} - errors
    lines: list[str] = []
    for title, group in (
        ("Functions", {*found} - classes - errors),
        ("Classes", classes),
        ("Errors", errors),
    ):
        lines += [f"## {title}", "", "| name | what it is |", "|---|---|"]
        lines += [_row(f"`{name}`", _first_line(what)) for name, what in found.items() if name in group]
        lines.append("")
    return "\n".join(lines[:-1])


def _first_line(what: object) -> str:
    return " ".join((what.__doc__ or "").split("\n\n")[0].split())


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "own-options": own_options,
    "options": options,
    "exit-codes": exit_codes,
    "names": names,
    **{tool: (lambda tool=tool: foreign(tool)) for tool in FOREIGN},
}


def filled(text: str) -> str:
    """Return a page with every part made anew; nothing else of it changes."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n\n", text)


def parts_of(text: str) -> Iterator[str]:
    """The names of the parts of a page."""
    return (part[2] for part in _PART.finditer(text))


def _command(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    if command is None:
        raise LookupError(name)
    return command


def _answer(here: str) -> str:
    return _NAMES.sub(lambda found: f"`{found[0]}`", here)


def _row(*cells: str) -> str:
    written = (cell.replace("|", "\\|") for cell in cells)
    return "".join(f"| {cell} " if cell else "| " for cell in written) + "|"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text("utf-8")), "utf-8")
