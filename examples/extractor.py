"""An extractor of facts from pages, in worker processes: one that hangs or crashes it costs that page only.

    python examples/extractor.py facts https://example.org/a https://example.org/b

The command line takes it by its name, in a crawl too; its items are lines of `data.jsonl`:

    fetcher crawl https://example.org/ -o site --parser examples/extractor.py:Extractor --offload processes
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import fetcher


class Extractor:
    """Called with every page. Made once in each worker, so what is dear to make belongs in `__init__`."""

    def __init__(self) -> None:
        self._words = re.compile(r"\w+")

    def __call__(self, page: fetcher.Page) -> Iterator[dict[str, Any]]:
        if page.tree.body is None:
            return
        text = page.tree.body.text(separator=" ", strip=True)
        words = self._words.findall(text.casefold())
        yield {
            "url": page.url,
            "title": page.title,
            "headings": [node.text(strip=True) for node in page.tree.css("h1, h2")],
            "words": len(words),
            "digest": hashlib.sha256(" ".join(words).encode()).hexdigest(),  # the same for the same text
        }
        for node in page.tree.css('script[type="application/ld+json"]'):
            # What is not JSON raises: the page is `failed` with `parse-failed`, and its message says where.
            yield {"url": page.url, "linked_data": json.loads(node.text())}


def main(directory: str, urls: Sequence[str]) -> int:
    saver = fetcher.Fetcher(parser=Extractor, offload="processes", parser_timeout=5, parser_memory="256M")
    summary = saver.download.sync(urls, directory)
    print(f"{summary.done} pages, {summary.failed} failed; what they say is in {directory}/data.jsonl")
    return 0 if summary.ok else 1


if __name__ == "__main__":  # a worker imports this file, and must not start the program again
    sys.exit(main(sys.argv[1], sys.argv[2:]))
