"""A static site to crawl: pages of about 9 KB with some 40 links each, the same for the same number of pages.

Each page has a navigation that all share, a few paragraphs with links in them, and a list of related pages.
All pages are reached within six clicks from the first, each link leads to a page that is there, and most lead
to one that is known already, as on real sites.
"""

from __future__ import annotations

import random
from pathlib import Path

FIRST = "section0/page-0.html"
_FAN = 6
_SECTIONS = 40
_TEXT = (
    "the crawl of a page begins where another one ends and every link is a promise that somebody will keep "
    "the server running long enough for it to be followed by those who come after us in search of the rest"
)
_WORDS = _TEXT.split()


def write_site(root: Path, pages: int) -> None:
    """Write the pages below `root`."""
    for section in range(min(_SECTIONS, pages)):
        (root / f"section{section}").mkdir(parents=True)
    for number in range(pages):
        (root / path_of(number)).write_text(_page(number, pages))


def path_of(number: int) -> str:
    return f"section{number % _SECTIONS}/page-{number}.html"


def _page(number: int, pages: int) -> str:
    draw = random.Random(number)
    children = [child for child in range(number * _FAN + 1, number * _FAN + _FAN + 1) if child < pages]
    inline = [*children, *(draw.randrange(pages) for _ in range(16 - len(children)))]
    here = number % _SECTIONS
    navigation = "\n".join(
        f'    <li class="nav-item"><a class="nav-link" href="/{path_of(n)}">Section {n}</a></li>'
        for n in range(min(14, pages))
    )
    text = "\n".join(f"  <p>{_paragraph(draw, inline[n * 4 : n * 4 + 4])}</p>" for n in range(4))
    related = "\n".join(
        f'    <li><a href="../{path_of(n)}" title="Page {n}"><span class="title">Page {n}</span></a></li>'
        for n in (draw.randrange(pages) for _ in range(10))
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>Page {number} – a site to crawl</title>
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <link rel="stylesheet" href="/style.css">
  <link rel="canonical" href="/{path_of(number)}">
  <script>window.page = {{"number": {number}, "section": {here}}};</script>
</head>
<body class="page section-{here}">
<header id="top">
  <nav><ul>
{navigation}
  </ul></nav>
</header>
<main>
  <h1>Page {number}</h1>
{text}
  <aside><h2>Related</h2><ul class="related">
{related}
  </ul></aside>
</main>
<footer><p>&copy; nobody. <a href="#top">Up</a> <a href="mailto:nobody@invalid">Write</a></p></footer>
</body>
</html>
"""


def _paragraph(draw: random.Random, links: list[int]) -> str:
    parts = []
    for number in links:
        parts.append(" ".join(draw.choices(_WORDS, k=55)))
        parts.append(f'<a href="/{path_of(number)}">{" ".join(draw.choices(_WORDS, k=3))}</a>')
    return " ".join(parts)
