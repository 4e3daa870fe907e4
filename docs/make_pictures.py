"""Makes the tables and the pictures of concurrency.md anew: `python docs/make_pictures.py [WORKLOAD]...`

Each part between `<!-- NAME -->` and `<!-- end -->` is what `fetcher compare NAME` finds on this machine.
Without names all are made, which takes some minutes. While other programs keep the machine busy, none is.
"""  # noqa: INP001  (a program beside the documents)

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path

import msgspec

from fetcher.demo_site.site import DemoSite
from fetcher.lab.compare.results import Comparison, Row
from fetcher.lab.compare.units import shown_count, shown_ratio, shown_s, shown_size

HERE = Path(__file__).parent
PAGE = HERE / "concurrency.md"


async def measure(name: str) -> Comparison:
    """Run `fetcher compare NAME`; its picture lies beside the page then."""
    async with DemoSite() as site:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
            listed.write("\n".join(site.urls()))
            listed.flush()
            more = ["-i", listed.name] if name == "urls" else []
            picture = str(HERE / f"{name}.svg")
            command = ["-m", "fetcher", "compare", name, *more, "--json", "--plot", picture]
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdout=asyncio.subprocess.PIPE
            )
            figures, _ = await process.communicate()
    if process.returncode not in {0, 1}:  # 1: a model failed, which the part says
        sys.exit(f"{name}: no part was made")
    return msgspec.json.decode(figures, type=Comparison)


def table_of(comparison: Comparison) -> list[str]:
    """The rows as Markdown, with the columns that tell them apart."""
    if comparison.measure == "cost_s":
        lines = ["| way | one costs | of these in a second |", "|---|---:|---:|"]
        return [
            *lines,
            *(f"| {row.name} | {shown_s(row.cost_s)} | {shown_count(row.rate)} |" for row in comparison.rows),
        ]
    has_speedup = any(row.speedup is not None for row in comparison.rows)
    head = "| model | time | CPU | memory |"
    rule = "|---|---:|---:|---:|"
    if has_speedup:
        head, rule = f"{head} speed-up |", f"{rule}---:|"
    return [head, rule, *(_line(row, has_speedup=has_speedup) for row in comparison.rows)]


def _line(row: Row, *, has_speedup: bool) -> str:
    if row.failure:
        return f"| {row.name} | failed: {row.failure} | | |{' |' if has_speedup else ''}"
    about = "≈ " if row.is_extrapolated else ""
    cells = [
        row.name if row.is_equal else f"{row.name} (other results)",
        about + shown_s(row.wall_s),
        about + shown_s(row.cpu_s),
        about + shown_size(row.peak_bytes),
    ]
    if has_speedup:
        cells.append(shown_ratio(row.speedup) if row.speedup else "")
    return f"| {' | '.join(cells)} |"


def part_of(name: str, comparison: Comparison) -> str:
    """What stands between the marks."""
    lines = [
        f"![{comparison.title}]({name}.svg)",
        "",
        *table_of(comparison),
        "",
        f"> {comparison.conclusion}",
        ">",
        f"> *{comparison.shown_rounds}; {comparison.machine.shown}*",
        "",
    ]
    return "\n".join(lines)


def replace(name: str, part: str) -> None:
    """Put a part between its marks; nothing else of the page changes."""
    before, mark, rest = PAGE.read_text("utf-8").partition(f"<!-- {name} -->\n")
    if not mark:
        sys.exit(f"{PAGE.name} has no part {name}")
    _, end, after = rest.partition("<!-- end -->")
    PAGE.write_text(f"{before}{mark}{part}\n{end}{after}", "utf-8")


def main(names: list[str]) -> None:
    """Make the parts with these names, or all."""
    found = re.findall(r"^<!-- (\w+) -->$", PAGE.read_text("utf-8"), re.MULTILINE)
    for name in names or [name for name in found if name != "end"]:
        comparison = asyncio.run(measure(name))
        replace(name, part_of(name, comparison))
        sys.stderr.write(f"{name}: {comparison.conclusion}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
