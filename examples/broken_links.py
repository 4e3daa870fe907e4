"""A checker of the links of one site: each that is broken, and the pages on which it stands.

    python examples/broken_links.py https://example.org/

The site is crawled, images and the like included. A link that leads out of it is asked for and not followed,
and not at all if its address is private; `--intranet` lifts that. The exit code is 1 if anything is broken.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import fetcher


def fault(result: fetcher.Result) -> str:
    """What is wrong with a link, or nothing."""
    if result.state == "failed" and result.error != "too-large":  # it is there, and that is all we ask
        return str(result.status) if result.error == "http-status" else str(result.error)
    return "bad-url" if result.error == "bad-url" else ""  # other refusals: robots.txt, a private address


def asked(urls: Sequence[str], private: str) -> Iterator[tuple[str, str]]:
    """Each URL and its fault, by HEAD; by GET, too, where that failed: not every server knows HEAD."""
    failed: list[str] = []
    rules: dict[str, Any] = {"private_addresses": private, "per_host": 2, "retries": 1}
    for result in fetcher.stream(map(entry, urls), method="HEAD", **rules):
        if result.error == "http-status":
            failed.append(link(result))
        else:
            yield link(result), fault(result)
    for result in fetcher.stream(map(entry, failed), max_size="64K", **rules):
        yield link(result), fault(result)


def entry(url: str) -> dict[str, str]:
    return {"url": url, "link": url}  # the second comes back as it is; in a result's URL secrets are masked


def link(result: fetcher.Result) -> str:
    return str((result.meta or {})["link"])


def route(url: str, moved: dict[str, str]) -> list[str]:
    """The URL, and where redirects lead from it."""
    hops = [url]
    while (after := moved.get(hops[-1])) is not None and after not in hops:
        hops.append(after)
    return hops


def main(site: str, *, intranet: bool = False) -> int:
    faults: dict[str, str] = {}  # of every URL that was asked for
    moved: dict[str, str] = {}
    found: dict[str, list[str]] = defaultdict(list)  # by URL, the pages on which it stands
    own: Literal["allow", "seeds"] = "allow" if intranet else "seeds"
    for page in fetcher.crawl(site, depth=100, assets=True, ignore="nofollow,meta", private_addresses=own):
        faults[page.url] = fault(page)
        if page.depth == 0:
            found[page.url].append("the command line")
        if page.redirects:
            moved[page.url] = page.redirects[-1]
        else:
            for there in page.links:
                found[there.url].append(page.url)

    left = [url for url in {*found, *moved.values()} if url not in faults]
    home = urlsplit(site).netloc.lower()
    for is_own, private in ((True, own), (False, "allow" if intranet else "deny")):
        urls = [url for url in left if (urlsplit(url).netloc == home) is is_own]
        faults.update(asked(urls, private))

    number = 0
    for url, pages in sorted(found.items()):
        hops = route(url, moved)
        if what := "redirect-loop" if hops[-1] in moved else faults[hops[-1]]:
            number += 1
            print(f"{what:<12} {' → '.join(hops)}")
            for page_url in sorted(set(pages)):
                print(f"{'':<12} on {page_url}")
    print(f"{len(faults)} URLs, {number} broken links", file=sys.stderr)
    return 1 if number else 0


if __name__ == "__main__":
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    (start,) = (word for word in sys.argv[1:] if not word.startswith("-"))
    sys.exit(main(start, intranet="--intranet" in options))
