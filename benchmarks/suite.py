"""The benchmarks: what each measures, against which goal. Method and caveats are in README.md."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import batch
import crawl
import distance
import middling
import watched
from harness import Contender, Goal, Overran, Usage, emptied, interleaved, median, ratios, spread, table
from scale import HERE, PAGE_BYTES, PYTHON, Findings, Scale, elapsed_of, fetcher, figures_of, write_site
from server import MISSING, nginx, program

# -- the engine's own cost -----------------------------------------------------------------------------


def engine(scale: Scale, folder: Path) -> Findings:
    """CPU and wall time per URL with a backend that answers at once."""
    script = str(HERE / "engine_cost.py")
    shared = [PYTHON, script, "--folder", str(folder)]
    many = str(scale.engine_urls)
    contenders = [
        Contender(f"memory, {scale.engine_urls:,} URLs", [*shared, "--frontier", "memory", "--urls", many]),
        Contender(f"SQLite, {scale.engine_urls:,} URLs", [*shared, "--frontier", "sqlite", "--urls", many]),
    ]
    usages = interleaved(contenders, scale.rounds)
    limits = [15.0, 20.0]
    if scale.million:
        shuffled = ["--frontier", "sqlite", "--urls", str(scale.million), "--hosts", "1000", "--shuffled"]
        million = Contender(f"SQLite, {scale.million:,} shuffled, 1,000 hosts", [*shared, *shuffled])
        usages.update(interleaved([million], scale.million_rounds))
        limits.append(30.0)
    findings = Findings()
    rows = []
    for (name, runs), limit in zip(usages.items(), limits, strict=True):
        figures = [json.loads(run.stdout) for run in runs]
        cpu = [each["cpu_us_per_url"] for each in figures]
        wall = [each["us_per_url"] for each in figures]
        peak = max(each["peak_mb"] for each in figures)
        rows.append([name, spread(cpu, 1), spread(wall, 1), f"{limit:g}", f"{peak}"])
        findings.goals.append(Goal(f"engine, {name}: CPU per URL", limit, " µs", median(cpu)))
        findings.figures[name] = figures
        if name.endswith("hosts"):
            findings.goals.append(Goal("engine, a million URLs: peak memory", 150, " MB", peak))
    if not scale.million:
        for text, limit, unit in (("CPU per URL", 30, " µs"), ("peak memory", 150, " MB")):
            why = "left out of --quick"
            findings.goals.append(Goal(f"engine, a million URLs: {text}", limit, unit, None, why=why))
    columns = ["frontier", "CPU µs/URL", "wall µs/URL", "goal", "peak MB"]
    findings.texts.append(table("The engine's own cost per URL", columns, rows))
    return findings


# -- pages into files ----------------------------------------------------------------------------------


def get(scale: Scale, folder: Path) -> Findings:
    """`fetcher get` against scripts that save the same files."""
    root, out = folder / "site", folder / "out"
    paths = write_site(root, scale.pages)
    with nginx(root, folder / "nginx") as address:
        listed = folder / "urls.txt"
        listed.write_text("".join(f"{address}/{path}\n" for path in paths))

        def after(_: Usage) -> None:
            _check_pages(out, scale.pages)
            emptied(out)

        def script(name: str, file: str, *more: str) -> Contender:
            return Contender(name, [PYTHON, str(HERE / file), str(listed), str(out), *more], after=after)

        contenders = [
            Contender(
                "fetcher get",
                fetcher("get", "-i", str(listed), "-o", str(out), "--per-host", "64"),
                after=after,
            ),
            script("bare aiohttp loop, uvloop", "bare_aiohttp.py", "--loop", "uvloop"),
            script("bare aiohttp loop", "bare_aiohttp.py"),
            script("gather + semaphore + aiofiles", "usual_script.py"),
        ]
        usages = interleaved(contenders, scale.rounds)
    inside = {
        name: [elapsed_of(run, scale.pages) if name == "fetcher get" else float(run.stdout) for run in runs]
        for name, runs in usages.items()
    }
    ours, bare = contenders[0].name, contenders[1].name
    rows = []
    per_page = 1e6 / scale.pages
    for name, runs in usages.items():
        walls = [run.wall_s for run in runs]
        alone = ratios(inside[bare], inside[name])
        whole = ratios([run.wall_s for run in usages[bare]], walls)
        rows.append(
            [
                name,
                f"{scale.pages / median(inside[name]):,.0f}",
                spread(alone),
                spread(walls),
                spread(whole),
                f"{median(run.cpu_s for run in runs) * per_page:.0f}",
                f"{max(run.peak_mb for run in runs):.0f}",
            ]
        )
    columns = ["program", "pages/s alone", "× bare", "whole s", "× bare", "CPU µs/page", "peak MB"]
    findings = Findings([table(f"{scale.pages:,} pages of 1.5 KB into files", columns, rows)])
    ours_s, bare_s = [run.wall_s for run in usages[ours]], [run.wall_s for run in usages[bare]]
    for text, ratio in (
        ("the fetching alone", median(ratios(inside[bare], inside[ours]))),
        ("whole processes", median(ratios(bare_s, ours_s))),
    ):
        goal = f"get against the bare aiohttp loop, {text}"
        findings.goals.append(Goal(goal, 0.9, " ×", ratio, is_least=True))
    findings.figures = figures_of(usages) | {"alone_s": inside}
    return findings


def _check_pages(out: Path, pages: int) -> None:
    """All files are there, and whole: a fast program that loses some would win nothing."""
    found = [path for path in out.rglob("page-*.html") if path.stat().st_size == PAGE_BYTES]
    if len(found) != pages:
        raise Overran(f"{len(found)} whole files instead of {pages}")


# -- feeding worker processes ----------------------------------------------------------------------------


def feed(scale: Scale, folder: Path) -> Findings:
    """What one parent can feed to two workers that answer at once."""
    shared = [PYTHON, str(HERE / "fleet_feed.py"), "--folder", str(folder), "--urls", str(scale.engine_urls)]
    contenders = [
        Contender(f"{name} frontier", [*shared, "--frontier", name]) for name in ("memory", "sqlite")
    ]
    usages = interleaved(contenders, scale.rounds)
    findings = Findings(figures=figures_of(usages))
    rows = []
    for name, runs in usages.items():
        rates = [float(re.findall(r"([\d,]+) URL/s", run.stdout)[0].replace(",", "")) for run in runs]
        costs = [float(re.findall(r"([\d.]+) µs", run.stdout)[0]) for run in runs]
        rows.append([name, spread(rates, 0), spread(costs, 1)])
        goal = f"one parent to two workers, {name}"
        findings.goals.append(Goal(goal, 150_000, " URL/s", median(rates), is_least=True))
    findings.texts.append(table("Feeding two workers", ["state", "URL/s", "parent's CPU µs/URL"], rows))
    return findings


# -- a parser that costs CPU ---------------------------------------------------------------------------


def offload(scale: Scale, folder: Path) -> Findings:
    """Parsing on the loop, in worker processes, and where `auto` puts it."""
    root, out = folder / "site", folder / "out"
    cheap = write_site(root, 2_000)
    findings = Findings()
    with nginx(root, folder / "nginx") as address:

        def contender(where: str, cost_ms: str, paths: Sequence[str]) -> Contender:
            listed = folder / f"urls-{where}-{cost_ms}.txt"
            listed.write_text("".join(f"{address}/{path}\n" for path in paths))
            command = [PYTHON, str(HERE / "offload.py"), str(listed), str(out), where, cost_ms]
            return Contender(f"{where}, {cost_ms} ms", command, after=lambda _: emptied(out))

        dear = cheap[: scale.parsed_pages]
        places = [contender(where, "20", dear) for where in ("inline", "processes", "auto")]
        usages = interleaved([*places, contender("auto", "0.1", cheap)], scale.rounds)
    found = {name: [json.loads(run.stdout) for run in runs] for name, runs in usages.items()}
    rows = [
        [
            name,
            spread((each["pages_per_s"] for each in figures), 0),
            spread((each["lag_p99_s"] * 1000 for each in figures), 1),
            figures[-1]["said"][-1] if figures[-1]["said"] else "",
        ]
        for name, figures in found.items()
    ]
    columns = ["where, cost", "pages/s", "loop's lag p99, ms", "what was said"]
    findings.texts.append(table("A parser that costs CPU", columns, rows))

    def compared(key: str) -> float:
        pairs = zip(found["processes, 20 ms"], found["inline, 20 ms"], strict=True)
        return median(ours[key] / inline[key] for ours, inline in pairs)

    findings.goals = [
        Goal("processes against inline, 20 ms a page", 1.6, " ×", compared("pages_per_s"), is_least=True),
        Goal("the loop's lag, processes against inline", 0.5, " ×", compared("lag_p99_s")),
    ]
    findings.figures = found
    return findings


# -- a long list ---------------------------------------------------------------------------------------


def growth(scale: Scale, folder: Path) -> Findings:
    """The durable state as a list of millions is added to it, URLs of it fetched meanwhile."""
    urls = scale.listed_urls
    command = [PYTHON, str(HERE / "growth.py"), "--folder", str(folder), "--urls", str(urls)]
    usages = interleaved([Contender(f"{urls:,} URLs", command)], 1, longest_s=GROWTH_S)
    (run,) = usages[f"{urls:,} URLs"]
    parts: list[dict[str, float]] = json.loads(run.stdout)
    columns = ["URLs", "adding, µs", "claiming, µs", "settling, µs", "bytes/URL", "peak MB"]
    keys = ("add_us", "claim_us", "settle_us", "bytes_per_url", "peak_mb")
    rows = [[f"{part['urls']:,}", *(f"{part[key]:.0f}" for key in keys)] for part in parts]
    findings = Findings([table(f"The state as {urls:,} URLs are listed; CPU for each URL", columns, rows)])

    def grown(key: str) -> float:
        """The last three parts against the first three."""
        return median(part[key] for part in parts[-3:]) / median(part[key] for part in parts[:3])

    findings.goals = [
        Goal("adding at the end against the start", 0.7, " ×", 1 / grown("add_us"), is_least=True),
        Goal("claiming at the end against the start", 1.3, " ×", grown("claim_us")),
        Goal("memory at the end against the start", 1.1, " ×", grown("peak_mb")),
    ]
    findings.figures = {"parts": parts}
    return findings


# -- memory --------------------------------------------------------------------------------------------


def memory(scale: Scale, folder: Path) -> Findings:
    """The peak of `fetcher get -i -` with a short and a ten times longer list."""
    (folder / "site").mkdir()
    out = folder / "out"
    findings = Findings()
    peaks = {}
    rows = []
    with nginx(folder / "site", folder / "nginx") as address:
        for count in (scale.few_lines, scale.many_lines):
            contender = Contender(
                f"{count:,} lines",
                fetcher("get", "-i", "-", "-o", str(out), "--store", "none", "--per-host", "64"),
                after=lambda _: emptied(out),
                lines=_lines(address, count),
            )
            (run,) = interleaved([contender], 1)[contender.name]
            peaks[count] = run.peak_mb
            rows.append([contender.name, f"{run.peak_mb:.0f}", f"{run.wall_s:.1f}"])
            findings.figures[contender.name] = {"peak_mb": run.peak_mb, "wall_s": run.wall_s}
    few, many = peaks[scale.few_lines], peaks[scale.many_lines]
    title = "Memory of `fetcher get -i - --store none`"
    findings.texts.append(table(title, ["standard input", "peak MB", "whole s"], rows))
    findings.goals = [
        Goal(f"memory with {scale.many_lines:,} lines on standard input", 150, " MB", many),
        Goal("memory with ten times the lines", 1.1, " ×", many / few),
    ]
    return findings


def _lines(address: str, count: int) -> Callable[[], Iterator[bytes]]:
    """Distinct URLs that one instant answer serves."""
    return lambda: (f"{address}/instant?n={number}\n".encode() for number in range(count))


# -- one large body ------------------------------------------------------------------------------------


def large(scale: Scale, folder: Path) -> Findings:
    """One large body to a file in memory, against curl; and the memory that it takes."""
    root, out = folder / "site", folder / "out.bin"
    root.mkdir()
    sizes = {"small": 64 * 2**20, "large": scale.large_mb * 2**20}
    if shutil.disk_usage(folder).free < sizes["large"] + 2**28:
        return _not_large(f"less than {scale.large_mb + 256} MB are free in {folder.parent}")
    if shutil.which("curl") is None:
        return _not_large("curl is needed for this benchmark")
    for name, size in sizes.items():
        with (root / name).open("wb") as file:
            file.truncate(size)  # sparse: the server reads zeros and takes no memory of its own
    with nginx(root, folder / "nginx") as address:

        def after(name: str) -> Callable[[Usage], None]:
            def check(_: Usage) -> None:
                if out.stat().st_size != sizes[name]:
                    raise Overran(f"{out.stat().st_size} bytes instead of {sizes[name]}")
                out.unlink()

            return check

        url = f"{address}/large"
        contenders = [
            Contender("fetcher get -O", fetcher("get", url, "-O", str(out)), after=after("large")),
            Contender("curl -o", ["curl", "-sS", "-o", str(out), url], after=after("large")),
            Contender(
                "fetcher get -O, 64 MB",
                fetcher("get", f"{address}/small", "-O", str(out)),
                after=after("small"),
            ),
            Contender(
                "curl -o, 64 MB",
                ["curl", "-sS", "-o", str(out), f"{address}/small"],
                after=after("small"),
            ),
        ]
        usages = interleaved(contenders, scale.rounds)
    ours, curl, short, curl_short = (usages[contender.name] for contender in contenders)
    rate_ratios = ratios([run.wall_s for run in curl], [run.wall_s for run in ours])
    rows = []
    for name, runs in usages.items():
        megabytes = 64 if runs in (short, curl_short) else scale.large_mb
        rows.append(
            [
                name,
                f"{megabytes / median(run.wall_s for run in runs):,.0f}",
                spread(run.wall_s for run in runs),
                f"{median(run.cpu_s for run in runs):.2f}",
                f"{max(run.peak_mb for run in runs):.0f}",
            ]
        )
    columns = ["program", "MB/s", "whole s", "CPU s", "peak MB"]
    findings = Findings([table(f"One body of {scale.large_mb} MB", columns, rows)])
    ours_more, curl_more = (
        median(run.wall_s for run in long) - median(run.wall_s for run in brief)
        for long, brief in ((ours, short), (curl, curl_short))
    )
    if ours_more > 0:
        alone = curl_more / ours_more
        findings.texts.append(
            f"Start-up apart (the large body less the small one): {alone:.2f} × curl's rate\n"
        )
    growth = median(run.peak_mb for run in ours) / median(run.peak_mb for run in short)
    findings.goals = [
        Goal(f"one body of {scale.large_mb} MB against curl", 0.8, " ×", median(rate_ratios), is_least=True),
        Goal(f"memory with {scale.large_mb} MB against 64 MB", 1.1, " ×", growth),
    ]
    findings.figures = figures_of(usages)
    return findings


def _not_large(why: str) -> Findings:
    return Findings(
        [f"One large body: {why}.\n"], [Goal("one large body against curl", 0.8, " ×", None, why=why)]
    )


# -- start-up ------------------------------------------------------------------------------------------


def startup(scale: Scale, folder: Path) -> Findings:  # noqa: ARG001  (all benchmarks are called alike)
    """`fetcher --version`, and Python itself for scale."""
    contenders = [
        Contender("fetcher --version", fetcher("--version")),
        Contender("python -c pass", [PYTHON, "-c", "pass"]),
    ]
    usages = interleaved(contenders, scale.starts)
    rows = [
        [name, spread((run.wall_s for run in runs), 3), f"{median(run.cpu_s for run in runs):.3f}"]
        for name, runs in usages.items()
    ]
    findings = Findings([table(f"Start-up, {scale.starts} rounds", ["program", "wall s", "CPU s"], rows)])
    wall_s = median(run.wall_s for run in usages[contenders[0].name])
    findings.goals = [Goal("fetcher --version", 0.15, " s", wall_s)]
    findings.figures = figures_of(usages)
    return findings


Benchmark = Callable[[Scale, Path], Findings]
BENCHMARKS: dict[str, Benchmark] = {
    "startup": startup,
    "engine": engine,
    "get": get,
    "crawl": crawl.measure,
    "batch": batch.measure,
    "middling": middling.measure,
    "latency": distance.latency,
    "hosts": distance.hosts,
    "growth": growth,
    "feed": feed,
    "offload": offload,
    "memory": memory,
    "large": large,
    "watched": watched.measure,
}
NEED_NGINX: Sequence[str] = ("get", "crawl", "batch", "middling", "offload", "memory", "large", "watched")
GROWTH_S = 3600.0


def run_one(name: str, scale: Scale, folder: Path) -> Findings:
    """Run one benchmark in a folder of its own. One that can't run, or fails, says so in its goal's place."""
    if name in NEED_NGINX and program() is None:
        return Findings([f"{name}: skipped. {MISSING}.\n"], [Goal(name, 0, "", None, why="no nginx")])
    own = folder / name
    own.mkdir()
    try:
        return BENCHMARKS[name](scale, own)
    except Overran as failure:
        return Findings([f"{name}: {failure}\n"], [Goal(name, 0, "", None, why="failed, see above")])
    finally:
        emptied(own)
