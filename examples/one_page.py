"""One page, in plain code: fetched with all the manners of a batch (retries, limits, safety).

    python examples/one_page.py https://example.org/

A page that can't be had is no exception until you ask for one: `raise_for_error`.
"""

from __future__ import annotations

import sys

import fetcher


def main(url: str) -> int:
    result = fetcher.fetch.sync(url, retries=1, timeout="30s")  # `fetcher.fetch(url)` does the same
    try:
        result.raise_for_error()
    except fetcher.FetchFailed as error:
        print(f"{error.slug}: {error}", file=sys.stderr)
        return 1
    print(f"{result.status} {result.content_type}, {result.bytes} bytes in {result.elapsed:.3f} s")
    print(result.text()[:200])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
