"""A batch into a run directory, from a program: what `fetcher get` does.

    python examples/save_all.py pages https://example.org/a https://example.org/b

Run it again: what is done is not fetched again, what was interrupted is continued.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import fetcher


def main(directory: str, urls: Sequence[str]) -> int:
    saver = fetcher.Fetcher(per_host=4, name="{stem}-{index}{ext}", mtime=True)
    summary = saver.download.sync(urls, directory)
    print(f"{summary.done} done, {summary.failed} failed, {summary.earlier} of them earlier")
    for error, number in summary.errors.items():
        print(f"  {error}: {number}")
    return 0 if summary.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
