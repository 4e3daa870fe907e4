"""Hints for a command line that was meant otherwise: options of curl, wget and aria2, and words near ours.

`FOREIGN` is data: what a program calls an option, and what it is here. No name in it is an option of this
program, so that each hint can be reached.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from fetcher.settings import OPTIONS, Option, closest

# An option here, or a sentence.
FOREIGN: Final[dict[str, dict[str, str]]] = {
    "curl": {
        "-A": "--user-agent",
        "-b": "--cookies FILE, or -H 'Cookie: …'",
        "--cookie": "--cookies FILE, or -H 'Cookie: …'",
        "-C": "not needed: a body that was cut off is continued by itself",
        "--continue-at": "not needed: a body that was cut off is continued by itself",
        "--cacert": "--ca-file",
        "--cert": "--client-cert",
        "-E": "--client-cert",
        "--key": "--client-cert, with the key in the same file",
        "--compressed": "not needed: compressed answers are asked for and decoded",
        "--create-dirs": "not needed: folders are made",
        "-d": "--data",
        "--data-ascii": "--data",
        "--data-binary": "--data",
        "--data-raw": "--data",
        "-D": "--json, with the answer's fields in the record",
        "-e": "-H 'Referer: …'",
        "--referer": "-H 'Referer: …'",
        "-f": "not needed: a status from 400 up is a failure",
        "--fail": "not needed: a status from 400 up is a failure",
        "-g": "not needed: URLs are taken as they are",
        "--globoff": "not needed: URLs are taken as they are",
        "-I": "--method HEAD",
        "--head": "--method HEAD",
        "-K": "--config, a TOML file; lists of URLs are --input",
        "-k": "--insecure",
        "-L": "not needed: redirects are followed, at most --max-redirects",
        "--location": "not needed: redirects are followed, at most --max-redirects",
        "--limit-rate": "--max-bandwidth",
        "-m": "--timeout",
        "--max-time": "--timeout",
        "--max-filesize": "--max-size",
        "--max-redirs": "--max-redirects",
        "-n": "--netrc",
        "--noproxy": "--no-proxy",
        "--http1.1": "--http 1.1",
        "--http2": "--http 2",
        "--http3": "--http 3",
        "-J": "--server-names",
        "--output-dir": "--output",
        "--parallel": "not needed: --concurrency exchanges are in flight at once",
        "-Z": "not needed: --concurrency exchanges are in flight at once",
        "--parallel-max": "--concurrency",
        "-R": "--mtime",
        "--remote-time": "--mtime",
        "--remote-name": "not needed: files are named by their URLs",
        "--remote-name-all": "not needed: files are named by their URLs",
        "--request": "--method",
        "--retry": "--retries",
        "--retry-max-time": "--max-wait",
        "-s": "--quiet",
        "-S": "not needed: with --quiet failures are told all the same",
        "--silent": "--quiet",
        "--show-error": "not needed: with --quiet failures are told all the same",
        "-y": "--min-speed",
        "-Y": "--min-speed",
        "--speed-limit": "--min-speed",
        "-T": "--method PUT --data @FILE",
        "--upload-file": "--method PUT --data @FILE",
        "-F": "not here: forms with files are not sent",
        "--url": "not needed: URLs are arguments",
        "-w": "--json, with a record for each URL",
        "--write-out": "--json, with a record for each URL",
        "-x": "--proxy",
        "-z": "--refresh",
        "--time-cond": "--refresh",
    },
    "wget": {
        "-A": "--include, a pattern, of fetcher crawl",
        "--accept": "--include, a pattern, of fetcher crawl",
        "--accept-regex": "--include, of fetcher crawl",
        "-b": "not here: use the shell's & or nohup",
        "--background": "not here: use the shell's & or nohup",
        "--ca-certificate": "--ca-file",
        "--certificate": "--client-cert",
        "--continue": "not needed: a body that was cut off is continued by itself",
        "--adjust-extension": "--extension",
        "--content-disposition": "--server-names",
        "--cut-dirs": "--name, a template such as '{host}/{stem}{ext}'",
        "--directory-prefix": "--output",
        "-P": "--output",
        "-e": "robots=off, for one, is --no-robots here",
        "--execute": "robots=off, for one, is --no-robots here",
        "--http-user": "--user USER:PASS",
        "--http-password": "--user USER:PASS",
        "--input-file": "--input",
        "-k": "--convert-links of fetcher crawl",
        "-K": "not needed: fetcher export gives what was served",
        "--backup-converted": "not needed: fetcher export gives what was served",
        "-l": "--depth of fetcher crawl",
        "--level": "--depth of fetcher crawl",
        "--limit-rate": "--max-bandwidth",
        "--load-cookies": "--cookies",
        "-m": "fetcher crawl URL --refresh",
        "--mirror": "fetcher crawl URL --refresh",
        "-N": "--refresh",
        "--timestamping": "--refresh",
        "-nc": "not needed: what is done is not fetched again, and no other file is overwritten",
        "--no-clobber": "not needed: what is done is not fetched again, and no other file is overwritten",
        "-nd": "--name '{stem}{ext}'",
        "--no-directories": "--name '{stem}{ext}'",
        "-nH": "--name '{path}'",
        "--no-host-directories": "--name '{path}'",
        "-nv": "not needed: only failures and totals are told",
        "-np": "--scope prefix of fetcher crawl",
        "--no-parent": "--scope prefix of fetcher crawl",
        "--no-check-certificate": "--insecure",
        "--output-document": "--output-file",
        "-p": "--assets of fetcher crawl",
        "--page-requisites": "--assets of fetcher crawl",
        "--post-data": "--data",
        "--post-file": "--data @FILE",
        "-Q": "--max-size for each body, --max-pages of fetcher crawl",
        "--quota": "--max-size for each body, --max-pages of fetcher crawl",
        "-r": "fetcher crawl URL",
        "--recursive": "fetcher crawl URL",
        "-R": "--exclude, a pattern, of fetcher crawl",
        "--reject": "--exclude, a pattern, of fetcher crawl",
        "--reject-regex": "--exclude, of fetcher crawl",
        "-D": "--scope domain of fetcher crawl",
        "--domains": "--scope domain of fetcher crawl",
        "--span-hosts": "--scope any of fetcher crawl",
        "--spider": "--link-check",
        "-T": "--timeout",
        "-t": "--retries",
        "--tries": "--retries",
        "-U": "--user-agent",
        "-w": "--delay",
        "--wait": "--delay",
        "--random-wait": "--delay",
        "--waitretry": "not needed: retries wait longer each time",
        "-x": "not needed: folders are made",
    },
    "aria2": {
        "--all-proxy": "--proxy",
        "--allow-overwrite": "--overwrite",
        "--check-certificate": "--insecure",
        "--checksum": "the column checksum of a list, or --checksums FILE",
        "--conditional-get": "--refresh",
        "--continue": "not needed: a body that was cut off is continued by itself",
        "-d": "--output",
        "--dir": "--output",
        "--http-proxy": "--proxy",
        "--https-proxy": "--proxy",
        "--input-file": "--input",
        "-j": "--concurrency",
        "--max-concurrent-downloads": "--concurrency",
        "--log": "--log-file",
        "-l": "--log-file",
        "--lowest-speed-limit": "--min-speed",
        "-m": "--retries",
        "--max-tries": "--retries",
        "--max-download-limit": "--max-bandwidth, for the whole run",
        "--max-overall-download-limit": "--max-bandwidth",
        "--on-download-complete": "--on-done",
        "--out": "--output-file",
        "--remote-time": "--mtime",
        "-R": "--mtime",
        "--retry-wait": "not needed: retries wait longer each time",
        "--save-session": "not needed: the run directory knows what is left",
        "-t": "--timeout",
        "-x": "--per-host",
        "--max-connection-per-server": "--per-host",
    },
}
_COMMAND_WORDS: Final = {
    "download": "get",
    "fetch": "get",
    "wget": "get",
    "curl": "get",
    "mirror": "crawl",
    "spider": "crawl",
    "benchmark": "compare",
    "settings": "config",
    "info": "status",
}
_URL = re.compile(r"https?://|www\.|(?:[\w-]+\.)+[a-z]{2,}(?::[0-9]+)?(?:/|\Z)|localhost\b", re.IGNORECASE)
_DASHES = "‐‑‒–—―−"  # what an editor makes of hyphens
_LONG_WITH_ONE = re.compile(r"-([a-z][a-z0-9-]+)(?:=.*)?", re.DOTALL)


def looks_like_url(word: str) -> bool:
    """Return True if a word is a URL, or one that lacks its scheme; a file of that name is none."""
    return _URL.match(word) is not None and ("://" in word or not Path(word).exists())


def foreign_hint(names: Iterable[str]) -> str | None:
    """Name the option here that other programs' is, by the first of `names` that any of them has."""
    for name in names:
        told: dict[str, list[str]] = {}
        for tool, options in FOREIGN.items():
            if name in options:
                told.setdefault(options[name], []).append(f"{tool}'s")
        if told:
            return "; ".join(f"{_of(tools, name)} {_says(here)}" for here, tools in told.items())
    return None


def _of(tools: Sequence[str], name: str) -> str:
    return f"{' and '.join(tools)} {name}"


def _says(here: str) -> str:
    if here.startswith(("--", "fetcher ", "-H")):
        option, comma, rest = here.partition(", ")
        return f"is {option} here{comma}{rest}"
    return f"is {here}"


def whole_option(name: str, arguments: Sequence[str]) -> str:
    """Return an unknown option as it was typed: `-nc`, of which click tells `-n`."""
    found = (word for word in arguments if word.startswith(name) and any(word in o for o in FOREIGN.values()))
    return next(found, name)


def option_hint(name: str, command: str, arguments: Sequence[str], own: Sequence[str]) -> str:
    """Say what to do about an option that `command` (a path such as `fetcher get`) does not have.

    `own` are the options that it has.
    """
    see = f"see {command} --help"
    of_command = next((o for o in OPTIONS.values() if name in {o.flag, o.short, o.flag_off}), None)
    if of_command is not None and command == "fetcher":
        of = of_command.only or "get"
        return f"options stand after the command: fetcher {of} {name} …"
    if of_command is not None and of_command.only is not None and "fetcher " + of_command.only != command:
        return f"only {of_command.only} takes it: see fetcher {of_command.only} --help"
    if command == "fetcher" and name in {"-V", "-v"}:
        return "fetcher --version tells the version"
    hint = foreign_hint([whole_option(name, arguments), name])
    if hint is None:
        close = _closest(name, own)
        hint = f"did you mean {close}?" if close else None
    return hint or see


def _closest(name: str, own: Sequence[str]) -> str:
    """The one or two options among `own` that were probably meant."""
    from difflib import get_close_matches

    long = [option for option in own if option.startswith("--")]
    keys = {option.removeprefix("--").replace("-", "_"): option for option in long}
    by_word = closest(name.removeprefix("--"), keys)
    found = get_close_matches(name, long, 2, 0.7)
    if by_word is not None and keys[by_word] not in found:
        found.insert(0, keys[by_word])
    return " or ".join(found[:2])


def command_hint(word: str, rest: Sequence[str], commands: Iterable[str]) -> str:
    """Say what to type in the place of a command that does not exist."""
    commands = list(commands)
    if word == "help":
        return f"fetcher {rest[0]} --help" if rest and rest[0] in commands else "fetcher --help"
    if word == "version":
        return "fetcher --version"
    if looks_like_url(word):
        return f"to download it: fetcher get {word}"
    if Path(word).is_file():
        return (
            f"its job: fetcher run {word}" if word.endswith(".toml") else f"its URLs: fetcher get -i {word}"
        )
    from difflib import get_close_matches

    close = _COMMAND_WORDS.get(word.lower()) or next(iter(get_close_matches(word.lower(), commands, 1)), None)
    return f"did you mean fetcher {close}?" if close else "see fetcher --help"


def misread(arguments: Sequence[str], options: Iterable[Option]) -> tuple[str, str] | None:
    """Name what click would take otherwise than it was meant, as a message and what to write.

    `-output DIR` is `-o` with the value `utput` to it, and an option that begins with a dash a URL.
    """
    known = {
        name: option for option in options for name in (option.flag, option.flag_off, option.short) if name
    }
    takes_next = False
    for word in arguments:
        if word == "--":
            return None
        if takes_next:
            takes_next = False
            continue
        option = known.get(word)
        takes_next = option is not None and not option.is_flag
        if word[:1] in _DASHES and word[:1]:
            meant = "--" + word.lstrip("-" + _DASHES)
            return (
                f"{word} begins with a dash that is no hyphen",
                f"write {meant if meant in known else '--'}",
            )
        found = _LONG_WITH_ONE.fullmatch(word)
        if found is not None and "--" + found[1] in known:
            return f"{word} has one hyphen", f"write --{word[1:]}"
    return None
