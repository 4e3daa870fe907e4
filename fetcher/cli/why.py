"""`fetcher why`: everything that happened to one URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from fetcher.run_dir import RunDirectory
    from fetcher.story.url_finder import UrlFinder
    from fetcher.story.url_story import UrlStory


@click.command("why", epilog="Example: fetcher why pages https://example.org/a.html")
@click.argument("directories", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="DIR...")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="the story as one JSON object on stdout")
def command(directories: tuple[Path, ...], url: str, as_json: bool) -> int:
    """Tell the story of one URL of a run directory, in the order in which it happened.

    Where it came from, which rules admitted or refused it, its name, every attempt with what it waited for
    and where its time went, how it ended, and what to do about that. However the URL is spelled, after a run
    or while one is going on. Of several directories, or of a folder of them, from each that knows it.
    Exit 0 if one knows it, 1 if not, 2 if it is no run directory, 5 if the state can't be read.
    """
    from fetcher.run_dir import RunDirectory
    from fetcher.sharding.shard_folders import run_directories

    # A shard that found a link for another knows only that; the other knows the rest.
    places = [RunDirectory(directory) for directory in run_directories(directories)]
    found = [_look_up(place, url, place.owner() if place.is_locked() else None) for place in places]
    tellings = [one for one in found if any(story.error != "other-shard" for story in one.stories)]
    tellings = tellings or [one for one in found if one.stories] or found
    is_known = bool(tellings[0].stories)
    told = tellings if is_known else tellings[:1]
    if as_json:
        for telling in told:
            _tell_json(url, telling)
    else:
        print("\n\n".join(_text(url, telling) for telling in told))
    return 0 if is_known else 1


def story_text(place: RunDirectory, url: str, *, running: int) -> str:
    """Return the story of a URL as the command prints it, where the process `running` is at it.

    Raises:
        ConfigError: there is no state yet.
        StorageError: the state can't be read.
    """
    return _text(url, _look_up(place, url, running))


class _Telling(NamedTuple):
    """Knowledge of a URL in one run directory; `near` and `led_here` only where that is nothing."""

    command: str
    finder: UrlFinder
    stories: Sequence[UrlStory]
    near: Sequence[str]
    led_here: Sequence[tuple[str, str]]
    running: int | None


def _look_up(place: RunDirectory, url: str, running: int | None) -> _Telling:
    from fetcher.frontiers.sqlite.report import reading
    from fetcher.story.url_story import StoryTeller

    with reading(place.state) as db:
        teller = StoryTeller(db, place.results)
        finder = teller.finder(url)
        rows = finder.rows()
        stories = [teller.tell(row, finder) for row in rows]
        near = [] if rows else finder.near()
        led_here = [] if rows else teller.led_here(finder)
    return _Telling(teller.command, finder, stories, near, led_here, running)


def _text(url: str, telling: _Telling) -> str:
    from fetcher.cli.story_lines import lines_of

    stories = telling.stories
    if not stories:
        return "\n".join(_never_seen(url, telling))
    return "\n\n".join("\n".join(lines_of(story, running=telling.running)) for story in stories)


def _tell_json(url: str, telling: _Telling) -> None:
    import msgspec

    from fetcher.policy.redaction import escape_controls_json, mask
    from fetcher.story.url_advice import advice_on

    value = {
        "asked": mask(url),
        "running": telling.running,
        "stories": [
            {**msgspec.to_builtins(story), "advice": advice_on(story, is_running=telling.running is not None)}
            for story in telling.stories
        ],
        "near": telling.near,
        "redirected_from": [source for source, _ in telling.led_here],
    }
    click.echo(escape_controls_json(msgspec.json.encode(value)))


def _never_seen(url: str, telling: _Telling) -> Iterator[str]:
    """Yield the story of a URL that the directory does not know."""
    from fetcher.cli.story_lines import line
    from fetcher.policy.redaction import shown

    yield shown(url, 500)
    what = (
        "neither listed nor found on a page"
        if telling.command == "crawl"
        else "not in any list that was read"
    )
    so_far = " so far" if telling.running is not None else ""
    yield line("never seen", f"{what}{so_far}")
    if not telling.finder.targets:
        yield line("", f"as a URL it would be refused: {shown(telling.finder.problem, 300)}")
    for source, target in telling.led_here[:3]:
        yield line("but", f"{shown(source, 300)} was redirected to {shown(target, 300)}")
    for other in telling.near:
        yield line("meant?", shown(other, 500))
