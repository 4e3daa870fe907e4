"""Runs whose bodies go to an object store: a real server of the protocol, killed runs, refusals, damage."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.objectstore import Bucket, ObjectServer, Relay
from support.program import Ended, Program, eventually, records, write_list
from support.site import Site

MakeSite = Callable[..., Site]

LARGE = b"0123456789abcdef" * (9 * 65536)  # 9 MiB: it goes up in parts


@pytest.fixture
def program(tmp_path: Path, s3: ObjectServer) -> Program:
    return Program(tmp_path, s3.variables)


def command(bucket: Bucket, site: Site, program: Program, *more: str) -> list[str]:
    """The command that gets all pages of a site to the bucket."""
    write_list(program.folder / "urls.txt", [site.url(path) for path in site.pages])
    return ["get", "-i", "urls.txt", "-o", f"{bucket.url}/in/it", "--state", "state", *more]


def folder_of(site: Site) -> str:
    return site.url("").removeprefix("http://").replace(":", "_")


def assert_all_there(bucket: Bucket, site: Site, program: Program) -> None:
    """The listing is what the records say, and each object is its page."""
    found = records(program.folder / "state")
    assert len({record["url"] for record in found}) == len(found) == len(site.pages)
    listed = dict(bucket.objects())
    journal = bucket.read("in/it/results.jsonl")
    assert journal == (program.folder / "state" / "results.jsonl").read_bytes()
    assert listed.pop("in/it/results.jsonl") == len(journal)
    assert listed == {f"in/it/{record['path']}": record["bytes"] for record in found}
    for record in found:
        assert bucket.read(f"in/it/{record['path']}") == site.pages[record["url"].removeprefix(site.url(""))]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_bodies_are_objects_and_the_next_run_and_a_refresh_find_them(
    program: Program, bucket: Bucket, site: Site, processes: str
) -> None:
    site.content_type = "text/html; charset=utf-8"
    run = command(bucket, site, program, "--processes", processes, "-q")
    first = program.run(*run)
    assert first.code == 0, first.err
    assert_all_there(bucket, site, program)
    path = next(record["path"] for record in records(program.folder / "state"))
    assert bucket.head(f"in/it/{path}")["ContentType"] == "text/html; charset=utf-8"
    assert sorted(entry.name for entry in (program.folder / "state").iterdir()) == [
        ".fetcher",
        "results.jsonl",
    ]

    bucket.remove(f"in/it/{path}")
    refreshed = program.run(*run, "--refresh")

    assert refreshed.code == 0, refreshed.err
    states = [record["state"] for record in records(program.folder / "state")[len(site.pages) :]]
    assert sorted(states) == ["done"] + ["unchanged"] * (len(site.pages) - 1)  # the lost one came again
    assert f"in/it/{path}" in bucket.objects()


def test_a_run_killed_three_times_ends_with_every_object_whole(
    program: Program, bucket: Bucket, make_site: MakeSite
) -> None:
    site = make_site(150)
    site.pages["/large"] = LARGE
    run = command(bucket, site, program, "-c", "16", "--per-host", "16")
    for reached in (20, 60, 110):
        site.hold_after(reached - len(site.log) + 20)
        with program.start(*run) as running:
            assert site.wait(lambda s, n=reached: len(s.log) >= n, 30)
            running.send(signal.SIGKILL)
            running.end()
        site.release()

    ended = program.run(*run)

    assert ended.code == 0, ended.err
    assert_all_there(bucket, site, program)
    assert bucket.uploads() == []
    assert program.run("verify", "state").code == 0
    status = program.run("status", "state")
    assert f"bodies in {bucket.url}/in/it\n  complete" in status.out


def test_an_upload_in_parts_that_a_kill_left_is_ended_by_the_next_run_and_no_other_is(
    program: Program, bucket: Bucket, site: Site, s3: ObjectServer
) -> None:
    site.pages = {"/large": LARGE}
    run = command(bucket, site, program)
    key = f"in/it/{folder_of(site)}/large"
    s3.control.create_multipart_upload(Bucket=bucket.name, Key=f"{key}-of-another")
    with Relay(s3) as relay:
        program.environment.update(relay.variables)
        relay.hold_after(1024 * 1024)
        with program.start(*run) as running:
            assert eventually(lambda: len(bucket.uploads()) == 2), running.said()
            running.send(signal.SIGKILL)
            running.end()
    assert key not in bucket.objects()
    program.environment.update(s3.variables)

    ended = program.run(*run)

    assert ended.code == 0, ended.err
    assert "uploads that were cut off are ended: 1" in ended.err
    assert bucket.uploads() == [f"{key}-of-another"]
    assert_all_there(bucket, site, program)


@pytest.mark.parametrize(
    ("output", "variables", "says"),
    [
        ("s3://no-such-bucket/a", {}, "cannot list s3://no-such-bucket/a: there is no such bucket"),
        (None, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, ": it can't be reached"),
        (None, {"AWS_ACCESS_KEY_ID": ""}, ": there are no credentials"),
    ],
)
def test_a_store_that_refuses_is_told_in_one_line_before_anything_is_fetched(
    program: Program,
    bucket: Bucket,
    site: Site,
    output: str | None,
    variables: dict[str, str],
    says: str,
) -> None:
    run = command(bucket, site, program, "-o", output or bucket.url)
    ended = program.run(*run, variables=variables)
    assert ended.code == 5, ended.err
    assert says in ended.err.splitlines()[0]
    assert len(ended.err.splitlines()) == 2
    assert not site.log


def test_a_store_that_lists_and_takes_nothing_is_told_before_anything_is_fetched(
    program: Program, bucket: Bucket, site: Site, s3: ObjectServer
) -> None:
    with Relay(s3) as relay:
        relay.deny("PUT")
        program.environment.update(relay.variables)
        ended = program.run(*command(bucket, site, program))
    assert ended.code == 5
    said = f"cannot write {bucket.url}/in/it/results.jsonl: access is denied (AccessDenied)"
    assert said in ended.err.splitlines()[0]
    assert not site.log


def test_a_store_that_denies_in_mid_run_ends_it_and_the_next_one_goes_on(
    program: Program, bucket: Bucket, make_site: MakeSite, s3: ObjectServer
) -> None:
    site = make_site(100)
    run = command(bucket, site, program, "-c", "8")
    site.hold_after(40)
    with Relay(s3) as relay:
        program.environment.update(relay.variables)
        with program.start(*run) as running:
            assert site.wait(lambda s: len(s.log) >= 40, 30)
            relay.deny()
            site.release()
            ended = running.end()
        refused = program.run(*run)
    program.environment.update(s3.variables)
    assert ended.code == refused.code == 5
    assert f"cannot write {bucket.url}/in/it/" in ended.err
    assert "access is denied (AccessDenied)" in ended.err
    assert "access is denied (AccessDenied)" in refused.err.splitlines()[0]
    secret = s3.variables["AWS_SECRET_ACCESS_KEY"], s3.variables["AWS_ACCESS_KEY_ID"]
    written = [path.read_bytes() for path in (program.folder / "state").rglob("*") if path.is_file()]
    for text in (*written, ended.stderr, refused.stderr, *map(bucket.read, bucket.objects())):
        assert not any(word.encode() in text for word in secret)

    assert program.run(*run, "-q").code == 0
    assert_all_there(bucket, site, program)


def test_objects_that_the_state_does_not_know_stay_as_they_are(
    program: Program, bucket: Bucket, site: Site
) -> None:
    host = folder_of(site)
    bucket.write(f"in/it/{host}/p/1", site.pages["/p/1"])
    bucket.write(f"in/it/{host}/p/2", b"somebody else's")
    run = command(bucket, site, program, "-q")

    assert program.run(*run).code == 0

    paths = {record["url"]: record["path"] for record in records(program.folder / "state")}
    assert paths[site.url("/p/1")] == f"{host}/p/1"  # the same bytes: adopted
    assert paths[site.url("/p/2")].startswith(f"{host}/p/2~")
    assert bucket.read(f"in/it/{host}/p/2") == b"somebody else's"
    assert bucket.read(f"in/it/{paths[site.url('/p/2')]}") == site.pages["/p/2"]

    another = [*run[:-2], "other", "-q"]
    refused = program.run(*another)
    assert refused.code == 2
    assert "results.jsonl is there, and this state does not know of it" in refused.err
    over = program.run(*another, "--overwrite")
    assert over.code == 0, over.err
    assert bucket.read(f"in/it/{host}/p/2") == site.pages["/p/2"]


def test_what_is_off_is_found_put_back_and_fetched_again(
    program: Program, bucket: Bucket, site: Site
) -> None:
    run = command(bucket, site, program, "-q")
    assert program.run(*run).code == 0
    path = {record["url"]: f"in/it/{record['path']}" for record in records(program.folder / "state")}
    changed = site.pages["/p/2"][::-1]
    bucket.remove(path[site.url("/p/0")])
    bucket.write(path[site.url("/p/1")], b"short")
    bucket.write(path[site.url("/p/2")], changed)
    bucket.write("in/it/stray", b"?")

    assert found(program.run("verify", "state", "--fast", "--json")) == {
        "missing": "/p/0",
        "short": "/p/1",
        "unknown": "tray",
    }
    full = program.run("verify", "state", "--json")
    assert found(full) == {"missing": "/p/0", "short": "/p/1", "changed": "/p/2", "unknown": "tray"}
    assert full.code == 1
    assert program.run("verify", "state", "--repair").code == 0
    assert bucket.read(path[site.url("/p/2")].replace("in/it/", "in/it/.fetcher/damaged/")) == changed

    assert program.run(*run).code == 0
    assert found(program.run("verify", "state", "--json")) == {"unknown": "tray"}


def found(ended: Ended) -> dict[str, str]:
    """Kinds of findings, with the end of the path of each."""
    lines = [line for line in ended.lines if "kind" in line]
    return {line["kind"]: line["path"][-4:] for line in lines}


def test_a_state_that_is_lost_is_made_anew_from_the_records_in_the_store(
    program: Program, bucket: Bucket, site: Site
) -> None:
    run = command(bucket, site, program, "-q")
    assert program.run(*run).code == 0
    lost = records(program.folder / "state")
    (program.folder / "state").rename(program.folder / "gone")
    bucket.remove(f"in/it/{lost[0]['path']}")
    before = len(site.log)

    refused = program.run(*run)
    assert refused.code == 2
    assert "fetcher verify state --rebuild" in refused.err
    (program.folder / "state" / "results.jsonl").write_bytes(bucket.read("in/it/results.jsonl"))
    assert program.run("verify", "state", "--rebuild").code == 0
    assert program.run(*run).code == 0

    assert [hit.target for hit in site.log[before:]] == [lost[0]["url"].removeprefix(site.url(""))]
    assert f"in/it/{lost[0]['path']}" in bucket.objects()


def test_a_crawl_keeps_its_pages_in_a_store_and_a_parser_reads_them(
    program: Program, bucket: Bucket, make_site: MakeSite
) -> None:
    site = make_site(3)
    site.content_type = "text/html"
    site.pages["/"] = b'<a href="/p/0">0</a> <a href="/p/1">1</a>'
    (program.folder / "titles.py").write_text("def length(page):\n    return {'length': len(page.body)}\n")
    ended = program.run(
        *("crawl", site.url("/"), "-o", f"{bucket.url}/c", "--state", "state", "-q", "--no-robots"),
        *("--parser", "titles.py:length", "--on-done", "sh -c 'echo $1 >> done.txt' sh {path}"),
    )
    assert ended.code == 0, ended.err
    paths = {record["path"] for record in records(program.folder / "state")}
    assert {f"c/{path}" for path in paths} | {"c/results.jsonl", "c/data.jsonl"} == set(bucket.objects())
    lengths = [json.loads(line)["length"] for line in bucket.read("c/data.jsonl").splitlines()]
    assert sorted(lengths) == sorted(len(site.pages[path]) for path in ("/", "/p/0", "/p/1"))
    told = (program.folder / "done.txt").read_text().split()
    assert sorted(told) == sorted(f"{bucket.url}/c/{path}" for path in paths)


def test_a_state_belongs_to_one_output(program: Program, bucket: Bucket, site: Site) -> None:
    assert program.run(*command(bucket, site, program, "-q")).code == 0
    for output in (["-o", f"{bucket.url}/other", "--state", "state"], ["-o", "state"]):
        ended = program.run("get", site.url("/p/0"), *output)
        assert ended.code == 2
        assert f"state holds the state of {bucket.url}/in/it" in ended.err
    assert program.run("export", "state", "t.csv", "--bodies").code == 2
