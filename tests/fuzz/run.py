"""Fuzz by coverage with atheris, each target in a process of its own, and then by the properties of hypothesis.

    python tests/fuzz/run.py                    # every target, a minute each
    python tests/fuzz/run.py --seconds 600 url  # one, for longer

What was tried is kept in `.fuzz/TARGET`, and what fails beside it; a finding becomes a named test. Exit status 1:
something was found; 2: atheris is missing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE.parents[1] / ".fuzz"
LONGEST = 2000  # bytes of one input


def fuzz(target: str, seconds: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["fetcher"]):
        import targets

    corpus = CORPUS / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.SEEDS.get(target, [])):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=20", "-rss_limit_mb=2048"]
    options += ["-verbosity=0", f"-artifact_prefix={corpus}-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], targets.TARGETS[target])
    atheris.Fuzz()


def main() -> int:
    """See the module."""
    sys.path.insert(0, str(HERE))
    options = argparse.ArgumentParser(description="Fuzz the readers of foreign bytes by coverage.")
    options.add_argument("targets", nargs="*", help="names of targets (all)")
    options.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    options.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        fuzz(given.targets[0], given.seconds)
        return 0
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("fuzz: needs atheris (pip install atheris): Linux, Python 3.11 to 3.13", file=sys.stderr)
        return 2
    import targets

    found = []
    for target in given.targets or targets.TARGETS:
        command = [sys.executable, __file__, "--one", f"--seconds={given.seconds}", target]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        print(f"{'FOUND' if done.returncode else 'nothing'}  {target}", flush=True)
        if done.returncode:
            found.append(target)
            print(done.stdout[-4000:], flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
