"""The arguments of `get` and `crawl` as people type them: a URL without its scheme, a file, a hyphen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fetcher.errors import ConfigError, Refused
from fetcher.policy.object_urls import is_object_url
from fetcher.policy.urls import admit, lacks_scheme

_GLOB = re.compile(r"\[[0-9a-zA-Z]+-[0-9a-zA-Z]+(?::[0-9]+)?\]|\{[^{}]*,[^{}]*\}")
_FILE_NAME = re.compile(
    r"\.(?:html?|txt|json|xml|csv|pdf|zip|t?gz|tar|bz2|xz|iso|jpe?g|png|gif|mp[34]|deb|rpm|exe)\Z",
    re.IGNORECASE,
)
_URL_OF_THE_WEB = re.compile(r"https?://", re.IGNORECASE)
_OF_JSON = "{["
_QUOTES = "\"'“”‘’<>"


def meant_urls(words: Sequence[str], notice: Callable[[str, str], None]) -> list[str]:
    """The URLs that the words stand for; one without a scheme is tried as https, and that is said.

    Raises `ConfigError` for a file of URLs, and for `-`, which are no URLs.
    """
    return [_meant(word, notice) for word in words]


def check_files(*, inputs: Sequence[str], output_file: str | None) -> None:
    """Raise `ConfigError` where a URL was given as the name of a file."""
    if output_file is not None and _URL_OF_THE_WEB.match(output_file):
        raise ConfigError(
            f"output_file: {output_file} is a URL, not a file",
            hint="write -O FILE URL; without -O, files are named by their URLs",
        )
    for path in inputs:
        if _URL_OF_THE_WEB.match(path):
            raise ConfigError(
                f"input: {path} is a URL, not a file of URLs",
                hint="give it as an argument; for what it lists: fetcher get -O - URL | fetcher get -i -",
            )


def folder_notice(output: str, urls: Sequence[str]) -> str | None:
    """Text for whoever names a folder as a file, as `-o page.html` does in curl; None for anybody else."""
    if len(urls) != 1 or is_object_url(output) or _FILE_NAME.search(output) is None or Path(output).exists():
        return None
    return f"{output} is made a folder: --output is the run directory; one file is -O {output}"


def _meant(word: str, notice: Callable[[str, str], None]) -> str:
    if word == "-":
        raise ConfigError("- is no URL", hint="standard input is --input -")
    if _URL_OF_THE_WEB.match(word):
        if (found := _GLOB.search(word.partition("://")[2])) is not None:
            notice("warning", f"{found[0]} is taken as it is: nothing in a URL is expanded here")
        return word
    if _is_file(word):
        raise ConfigError(f"{word} is a file, not a URL", hint=f"to fetch the URLs in it: --input {word}")
    if word[:1] in _OF_JSON and word[:1]:
        raise ConfigError(f"{word[:60]} is no URL", hint="a request's body is --data; --json takes no value")
    bare = word.strip(_QUOTES)
    if _URL_OF_THE_WEB.match(bare):
        notice("info", f"{word}: taken without its quotes")
        return bare
    url = "https://" + word.removeprefix(":").removeprefix("//")
    if not lacks_scheme(word):
        return word  # refused, with its reason
    try:
        target = admit(url)
        url = url if target.userinfo else target.url
    except Refused:
        return word
    notice("info", f"{word} has no scheme: {url} is tried")
    return url


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False
