"""A checker of links: one line for each, and an exit code for scripts.

    python examples/link_status.py https://example.org/ https://example.org/missing

Only the heads are asked for. The list of results is in the order of the URLs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import fetcher


def main(urls: Sequence[str]) -> int:
    results = fetcher.fetch_all.sync(urls, method="HEAD", per_host=4, retries=1, timeout=20)
    for result in results:
        what = str(result.status) if result.error in {None, "http-status"} else result.error
        print(f"{what:<20} {result.url}")
        for hop in result.redirects:
            print(f"{'':<20} → {hop}")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
