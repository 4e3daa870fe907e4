"""The lines that tell what a link check has found."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fetcher.observers.formatting import count, plural
from fetcher.policy.redaction import shown

if TYPE_CHECKING:
    from fetcher.analysis.broken_links import BrokenLink, LinkCheck

_LONGEST = 500
_LEAST_WIDTH = 3
_LISTS = {"": "the command line", "argv": "the command line", "-": "standard input"}


def headline(check: LinkCheck) -> str:
    """Return in one line how many links are broken, of how many that were asked for."""
    so_far = f" so far; {count(check.pending)} wait" if check.pending else ""
    if not check.broken:
        return f"no broken links: {plural(check.checked, 'URL')} checked{so_far}"
    held = f", {plural(check.links, 'link')} on {plural(check.pages, 'page')}" if check.pages else ""
    return f"broken: {count(check.broken)} of {plural(check.checked, 'URL')} checked{held}{so_far}"


def link_lines(check: LinkCheck, file: str) -> list[str]:
    """Return the broken links by the page that holds them, and at the end how many there are."""
    lines: list[str] = []
    for (parent, source), group in itertools.groupby(
        check.shown, key=lambda link: (link.parent, link.source)
    ):
        lines.append(shown(parent or _LISTS.get(source or "", source or ""), _LONGEST))
        links = list(group)
        width = max(_LEAST_WIDTH, *(len(_fault(link)) for link in links))
        lines += [f"  {_fault(link):<{width}}  {_leads(link)}" for link in links]
    if check.links > len(check.shown):
        lines.append(f"and {count(check.links - len(check.shown))} more, in {file}")
    if lines:
        lines.append("")
    lines.append(headline(check) + (f"; as records: {file}" if check.links else ""))
    if check.unchecked:
        reasons = ", ".join(f"{count(number)} {shown(why, 40)}" for why, number in check.unchecked.items())
        lines.append(f"not checked: {reasons}")
    return lines


def _fault(link: BrokenLink) -> str:
    return str(link.status) if link.status is not None and link.error == "http-status" else link.error


def _leads(link: BrokenLink) -> str:
    way = " → ".join(shown(url, _LONGEST) for url in (link.url, *link.redirects))
    if link.parent is None and link.source != "argv" and link.line is not None:
        way = f"line {link.line}: {way}"
    if link.text:
        way += f'  "{shown(link.text)}"'
    if link.message and link.error not in {"http-status", "redirect-loop"}:
        way += f"  ({shown(link.message, _LONGEST)})"
    return way
