"""The figures for Prometheus: bounded, growing only, and the same sum whatever is named."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from fetcher.events import OutcomesSettled, Snapshot
from fetcher.model import Record
from fetcher.observers.run_figures import OTHER, HostCounts, RunFigures


def samples(figures: RunFigures) -> dict[str, Counter[str]]:
    """Of each family with hosts, the values by host."""
    found: dict[str, Counter[str]] = {}
    for family in text_string_to_metric_families(figures.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, Counter())[sample.labels.get("host", "")] += int(sample.value)
    return found


def test_a_crawl_over_5000_hosts_has_the_busiest_by_name_and_no_more_series_than_that() -> None:
    figures = RunFigures(Snapshot)
    urls = [f"https://h{n}.example/{i}" for i in range(2) for n in range(5000)]
    urls += [f"http://user:pw@Busy{n}.example:8080/{i}?a=http://x/" for i in range(100) for n in range(10)]
    urls += ["not a URL", 'http://quo"te\\/', "http://h\n/"]
    for at in range(0, len(urls), 64):
        records = [Record(url=url, state="done", status=200) for url in urls[at : at + 64]]
        figures.on_event(OutcomesSettled(records, []))
    text = figures.text().decode()
    hosts = samples(figures)["fetcher_host_outcomes_total"]
    assert len(hosts) <= 51
    assert hosts.total() == len(urls)
    assert {f"busy{n}.example:8080" for n in range(10)} <= set(hosts)
    assert OTHER in hosts
    assert "pw" not in text
    assert len(text.splitlines()) < 200


@given(st.lists(st.sampled_from("abcdefgh"), max_size=300))
def test_every_count_of_hosts_only_grows_while_it_is_named_and_none_is_lost(hosts: list[str]) -> None:
    counts = HostCounts(most=2)
    others = 0
    for number, host in enumerate(hosts, 1):
        counts.add(host, "done")
        assert len(counts.named) <= 2
        assert counts.other.total() >= others
        others = counts.other.total()
        assert others + sum(named.total() for named in counts.named.values()) == number
