"""Make the run directories in `earlier_runs.tar.xz` by an earlier version of the program.

    git worktree add --detach /tmp/earlier ba8ded6
    PYTHONPATH=tests python tests/data/make_earlier_runs.py /tmp/earlier

Four directories are packed, as that version leaves them:

- `finished`: a list fetched to its end;
- `killed`: a list whose run was killed half-way;
- `interrupted`: a list whose run was interrupted; names that it gave are in the table `naming` still;
- `crawl`: a crawl that was killed half-way.
"""

from __future__ import annotations

import signal
import sys
import tarfile
import tempfile
from pathlib import Path

from support.earlier_site import FOREIGN, ORIGIN, EarlierSite, urls
from support.program import Program, eventually, write_list

ARCHIVE = Path(__file__).with_name("earlier_runs.tar.xz")
SLOWLY = ("-c", "4", "--per-host", "4")
HELD_AFTER = 12


def make(program: Program) -> None:
    """Make every directory in the folder of the program."""
    write_list(program.folder / "urls.txt", urls())
    for name in ("finished", "killed", "interrupted"):
        foreign = program.folder / name / FOREIGN
        foreign.parent.mkdir(parents=True)
        foreign.write_text("mine\n")
    with EarlierSite() as site:
        done = program.run("get", "-i", "urls.txt", "-o", "finished", *SLOWLY, *site.proxy)
        assert done.code == 1, done.err  # one of them is missing, one is no URL
    stop(program, signal.SIGKILL, "get", "-i", "urls.txt", "-o", "killed")
    stop(program, signal.SIGINT, "get", "--grace", "0", "-i", "urls.txt", "-o", "interrupted")
    stop(program, signal.SIGKILL, "crawl", f"{ORIGIN}/c/0", "-o", "crawl")


def stop(program: Program, number: signal.Signals, *command: str) -> None:
    """End a run while the site holds its answers back."""
    with EarlierSite() as site:
        site.hold_after(HELD_AFTER)
        with program.start(*command, *SLOWLY, *site.proxy) as run:
            assert site.wait(lambda site: len(site.log) >= HELD_AFTER + 4, 30)
            assert eventually((program.folder / command[-1] / "results.jsonl").read_bytes)
            run.send(number)
            run.end()


def pack(folder: Path) -> None:
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for name in ("finished", "killed", "interrupted", "crawl"):
            archive.add(folder / name, name, filter=_anonymous)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if entry.name.endswith(("-shm", ".lock")):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        make(Program(Path(folder), {"PYTHONPATH": str(Path(sys.argv[1]).resolve())}))
        pack(Path(folder))
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size} bytes")
