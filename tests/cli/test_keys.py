"""The keys of the live display, on a terminal of the program's own."""

from __future__ import annotations

import fcntl
import os
import signal
import termios
from collections.abc import Iterator

import pytest
from support.program import Program, Running, eventually, write_list
from support.screen import CANON, Screen
from support.site import Site


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    os.close(screen.primary)
    os.close(screen.secondary)


def on(screen: Screen, *, is_ours: bool = True) -> dict[str, object]:
    """How a process is started whose terminal this is; one that `is_ours` controls it, in its foreground."""

    def own() -> None:
        fcntl.ioctl(screen.secondary, termios.TIOCSCTTY, 0)

    streams = {"stdin": screen.secondary, "stderr": screen.secondary}
    return {**streams, "start_new_session": True, "preexec_fn": own if is_ours else None}


@pytest.fixture
def held(program: Program, site: Site) -> list[str]:
    """Arguments of a run that waits for its site after two answers."""
    site.hold_after(2)
    program.environment |= {"TERM": "xterm", "NO_COLOR": "1"}
    write_list(program.folder / "urls.txt", [site.url(f"/p/{n}") for n in range(10)])
    return ["get", "-i", "urls.txt", "-c", "4", "--grace", "1"]


def ended(running: Running) -> int:
    return running.end().code


def test_keys_pause_change_the_concurrency_and_stop(
    program: Program, held: list[str], screen: Screen
) -> None:
    with program.start(*held, **on(screen)) as running:
        assert screen.shows(r"4 of 4 in flight.*p pause")
        assert screen.modes == 0
        screen.type("p")
        assert screen.shows("paused: ")
        screen.type("p+++")
        assert screen.shows(r"7 of 7 in flight")
        screen.type("-")
        assert screen.shows(r"of 6 in flight")
        running.send(signal.SIGSTOP)
        termios.tcsetattr(screen.secondary, termios.TCSANOW, _canonical(screen))  # as a shell does
        running.send(signal.SIGCONT)
        assert eventually(lambda: screen.modes == 0), "back in the foreground, keys are read again"
        screen.type("q")
        assert screen.shows("press q again to stop at once")
        assert ended(running) == 128 + signal.SIGINT
    assert screen.modes == CANON, "the terminal is as it was"


def _canonical(screen: Screen) -> list[object]:
    attributes = termios.tcgetattr(screen.secondary)
    attributes[3] |= CANON
    return attributes


def test_a_terminal_of_others_is_left_alone(
    program: Program, held: list[str], site: Site, screen: Screen
) -> None:
    with program.start(*held, **on(screen, is_ours=False)) as running:
        assert screen.shows(r"4 in flight")
        assert screen.modes == CANON
        screen.type("q")
        site.release()
        assert ended(running) == 0
