"""The bottleneck of a run: what held it back for most of its time, and which setting would change that.

Samples say for each moment what kept the next exchange from starting (`engine/holdup_sampler.py`). Their sums
by cause are weighed here. The estimates are bounds of operational analysis (Denning and Buzen, "The
Operational Analysis of Queueing Network Models", 1978): while a limit holds a run, the rate grows with it,
until the processor is what holds it.
"""

from __future__ import annotations

from collections.abc import Iterable

from fetcher.model import Bottleneck, Holdup, SpeedSettings

LEAST_S = 0.5  # of samples; a shorter run says nothing
_LEAST_SHARE = 0.25  # what held a run for less is not what held it
_BUSY = 0.85  # of the time: then the processor is what was waited for
_MOST_SAID_HOSTS = 200
_LEAST_GAIN = 1.1
# These may be the loop's doing: exchanges last longer where it has no time to see to them.
_MAY_BE_PROCESSOR = frozenset({"concurrency", "per-host", "disk", "parser", "memory", "answers", "loop"})


def add_holdups(holdups: Iterable[Holdup]) -> list[Holdup]:
    """Return the sums by cause and host, the greatest first; hosts beyond the first 200 are one."""
    sums: dict[tuple[str, str], Holdup] = {}
    for each in holdups:
        _add(sums, each.cause, each.host, each)
    ranked = sorted(sums.values(), key=lambda each: -each.seconds)
    if len(ranked) <= _MOST_SAID_HOSTS:
        return ranked
    rest: dict[tuple[str, str], Holdup] = {
        (each.cause, each.host): each for each in ranked[:_MOST_SAID_HOSTS]
    }
    for each in ranked[_MOST_SAID_HOSTS:]:
        _add(rest, each.cause, "", each)
    return list(rest.values())


def _add(sums: dict[tuple[str, str], Holdup], cause: str, host: str, more: Holdup) -> None:
    found = sums.get((cause, host))
    if found is None:
        found = sums[cause, host] = Holdup(cause, host)
    found.seconds += more.seconds
    found.active_s += more.active_s
    found.busy_s += more.busy_s


def bottleneck_of(holdups: Iterable[Holdup], settings: SpeedSettings, elapsed_s: float) -> Bottleneck | None:
    """Name what held a run of `elapsed_s` for most of its time; None where nothing did, or it was short."""
    sums = add_holdups(holdups)
    total_s = sum(each.seconds for each in sums)
    if total_s < LEAST_S:
        return None
    by_cause: dict[tuple[str, str], Holdup] = {}
    for each in sums:
        _add(by_cause, each.cause, "", each)
    for each in list(by_cause.values()):
        if each.cause in _MAY_BE_PROCESSOR and each.busy_s >= _BUSY * each.seconds:
            del by_cause[each.cause, ""]
            _add(by_cause, "processor", "", each)
    worst = max(by_cause.values(), key=lambda each: each.seconds)
    share = worst.seconds / total_s
    if share < _LEAST_SHARE:
        return None
    hosts = [each for each in sums if each.cause == worst.cause and each.host]
    host = hosts[0].host if hosts and hosts[0].seconds >= worst.seconds / 2 else ""
    held = _Held(worst, host, len(hosts), share * min(elapsed_s, total_s), settings)  # pauses apart
    who, setting, gain = _JUDGES.get(worst.cause, _by_itself)(held)
    text = f"{who} held {100 * share:.0f} % of the time"
    saves_s = None
    if setting and gain > _LEAST_GAIN:
        saves_s = held.seconds * (1 - 1 / gain)
        text += f"; {setting} would save about {_duration(saves_s)}"
    elif setting:
        text += f"; {setting}"
    return Bottleneck(
        cause=worst.cause,
        share=round(share, 4),
        text=text,
        host=host,
        setting=setting or None,
        saves_s=saves_s,
    )


class _Held:
    """Facts of the worst cause."""

    def __init__(self, sums: Holdup, host: str, hosts: int, seconds: float, settings: SpeedSettings) -> None:
        self.cause = sums.cause
        self.host = host
        self.seconds = seconds
        self.settings = settings
        self.active = sums.active_s / sums.seconds * settings.processes
        self.busy = sums.busy_s / sums.seconds
        self._hosts = hosts

    @property
    def name(self) -> str:
        """The host without the port that goes without saying."""
        return self.host.removesuffix(":80").removesuffix(":443")

    def of(self, noun: str) -> str:
        """Return `example.org's limit of 8`, or `the limit of 8 of each host (12 hosts)`."""
        if self.host:
            return f"{self.name}'s {noun}"
        return f"the {noun}{f' of each host ({self._hosts} hosts)' if self._hosts > 1 else ''}"

    @property
    def own_setting(self) -> str:
        """The place where the limits of the host are set, if it has its own."""
        own = self.settings.own_hosts
        return f'[host."{self.name}"]' if {self.host, self.host.rpartition(":")[0]} & own else ""

    def gain(self, most: float) -> float:
        """The factor by which it gets faster at most, before the processor is what holds it."""
        return min(most, 1 / self.busy if self.busy > 0 else most)


def _per_host(held: _Held) -> tuple[str, str, float]:
    settings = held.settings
    if held.own_setting:
        return held.of("limit"), f"a larger per_host in {held.own_setting}", 1.0
    setting = f"--per-host {2 * settings.per_host}"
    if 2 * held.active > settings.concurrency:
        setting += f" --concurrency {2 * settings.concurrency}"
    return held.of(f"limit of {settings.per_host}"), setting, held.gain(2.0)


def _delay(held: _Held) -> tuple[str, str, float]:
    delay = held.settings.delay
    if held.own_setting or not delay:
        return held.of("delay"), f"a smaller delay in {held.own_setting}" if held.own_setting else "", 1.0
    return held.of(f"delay of {delay:g} s"), f"--delay {delay / 2:g}", held.gain(2.0)


def _rate(held: _Held) -> tuple[str, str, float]:
    rate = held.settings.rate
    if held.host or rate is None:
        return held.of("rate"), f"a larger rate in {held.own_setting}" if held.own_setting else "", 1.0
    return f"the rate of {_per_time(rate)}", f"--rate {_per_time(2 * rate)}", held.gain(2.0)


def _bandwidth(held: _Held) -> tuple[str, str, float]:
    limit = held.settings.max_bandwidth or 0
    return f"--max-bandwidth {_octets(limit)}", f"--max-bandwidth {_octets(2 * limit)}", held.gain(2.0)


def _concurrency(held: _Held) -> tuple[str, str, float]:
    settings = held.settings
    if settings.backend == "sync":
        return "one exchange at a time (--backend sync)", "--backend asyncio", 1.0
    number = settings.concurrency
    return f"the limit of {number} exchanges at once", f"--concurrency {2 * number}", held.gain(2.0)


def _processor(held: _Held) -> tuple[str, str, float]:
    settings = held.settings
    if settings.processes < settings.cores:
        gain = settings.cores / settings.processes
        return "the processor", f"--processes {settings.cores}", gain
    return "the processor", "" if settings.backend == "curl" else "--backend curl needs less of it", 1.0


def _parser(held: _Held) -> tuple[str, str, float]:
    workers, cores = held.settings.parser_workers or held.settings.cores, held.settings.cores
    if workers < cores:
        return "the parser", f"--parser-workers {cores}", cores / workers
    return "the parser", "a faster parser, or more processors", 1.0


def _by_itself(held: _Held) -> tuple[str, str, float]:
    who, setting = _WORDS.get(held.cause, (held.cause, ""))
    return (f"{held.name}'s {who}" if held.host else f"the {who}"), setting, 1.0


def _storing(held: _Held) -> tuple[str, str, float]:
    if held.settings.stores_objects:
        return "the object store", "run nearer to it; or --store none, if records are enough", 1.0
    return _by_itself(held)


_JUDGES = {
    "per-host": _per_host,
    "delay": _delay,
    "rate": _rate,
    "bandwidth": _bandwidth,
    "concurrency": _concurrency,
    "processor": _processor,
    "parser": _parser,
    "disk": _storing,
}
_GENTLER = "a smaller --per-host or a --rate may keep it from that"
_WORDS = {
    "crawl-delay": ("Crawl-delay of robots.txt", "--no-robots, if its owner agrees"),
    "pushback": ("limit, lowered because it asked for less,", _GENTLER),
    "retry-after": ("Retry-After", _GENTLER),
    "backoff": ("backoff after failures", "fewer --retries end sooner"),
    "hold": ("hold of an earlier run", ""),
    "disk": ("disk", "a faster one; or --store none, if records are enough"),
    "memory": ("memory for bodies", "a smaller --concurrency would need less"),
    "descriptors": ("limit on open files", "raise it with ulimit -n"),
    "answers": ("answers under way, with nothing else to ask for,", ""),
    "input": ("wait for more of the list", ""),
    "loop": ("start of exchanges", ""),
}


def _per_time(rate: float) -> str:
    return f"{rate:g}/s" if rate >= 1 else f"{60 * rate:g}/m"


def _octets(number: int) -> str:
    for unit, size in (("G", 1024**3), ("M", 1024**2), ("K", 1024)):
        if number >= size and number % size == 0:
            return f"{number // size}{unit}"
    return str(number)


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 9.95 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
