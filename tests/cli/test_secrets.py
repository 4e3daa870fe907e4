"""Secrets reach the origin that they are for, and nothing else: no stream, no file, no other host.

Each secret is a canary: a token that stands nowhere else, so that finding it anywhere is a leak.
"""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from support.faultserver import FaultServer, Hit
from support.program import Ended, Program, by_url, records, write_list
from support.site import Site

MakeSite = Callable[..., Site]


def forms(secret: str) -> list[bytes]:
    """What a secret may look like where it leaked: itself, quoted, or inside Basic's base64."""
    encoded = []
    for padding in range(3):  # wherever it stands, some of its base64 is the same
        whole = base64.b64encode(b"x" * padding + secret.encode())
        encoded.append(whole[4 if padding else 0 : -4])
    return [secret.encode(), quote(secret).encode(), *encoded]


def leaks(secrets: list[str], *texts: bytes) -> set[str]:
    return {secret for secret in secrets for form in forms(secret) for text in texts if form in text}


def everything_written(folder: Path) -> list[bytes]:
    """The bytes of every file below, state and its log included."""
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


def streams(ended: Ended) -> list[bytes]:
    return [ended.stdout, ended.stderr]


def heads(hits: list[Hit]) -> bytes:
    return b"\n".join(hit.head for hit in hits)


USER, HEADER, INURL, ENTRY, COOKIE = (
    f"canary-{kind}-7f3a" for kind in ("user", "head", "url", "entry", "cookie")
)


@pytest.fixture
def told(program: Program, make_site: MakeSite) -> tuple[Site, list[str]]:
    """A site whose /r redirects to another host, and a command line full of secrets for the first."""
    site = make_site(3, hosts=("127.0.0.2",))
    other = quote(site.url("/p/2", host="127.0.0.2"))
    listed = site.url("/p/0").replace("http://", f"http://me:{INURL}@")
    (program.folder / "list.jsonl").write_text(
        "".join(
            json.dumps(row) + "\n"
            for row in (
                {"url": listed},
                {"url": site.url(f"/redirect/1?to={other}").replace("http://", f"http://me:{INURL}@")},
                {"url": site.url(f"/redirect/1?to={other}&x=1"), "headers": {"X-Api-Key": ENTRY}},
                {"url": site.url("/p/1"), "headers": {"Authorization": f"Bearer {ENTRY}"}},
                {"url": site.url("/gone/1").replace("http://", f"http://me:{INURL}@")},
                {"url": f"http://me:{INURL}@127.0.0.1:99999/"},
                {"url": f"htp://me:{INURL}@host/"},
                {"url": site.url("/bad"), "headers": {"X-Token": f"{ENTRY}\r\n"}},
                {"url": site.url("/bad"), "headers": [ENTRY]},
            )
        )
        + f'{{"url": "http://me:{INURL}@h/", "headers": {{"A": "{ENTRY}" \n'
    )
    jar = program.folder / "home" / "cookies.txt"
    jar.write_text(f"# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsid\t{COOKIE}\n")
    return (
        site,
        [
            *("get", "-i", "list.jsonl", "-o", "out", "--private-addresses", "allow", "--retries", "0"),
            *("-u", f"me:{USER}", "-H", f"X-Session: {HEADER}", "--cookies", str(jar)),
        ],
    )


@pytest.mark.parametrize("shows", [["-v", "--json"], ["-q"], []])
def test_secrets_are_in_no_output_no_file_and_on_no_other_host(
    program: Program, told: tuple[Site, list[str]], shows: list[str]
) -> None:
    site, command = told
    secrets = [USER, HEADER, INURL, ENTRY, COOKIE]
    site.hold_after(2)
    logged = ["--log-file", "run.log", "--log-format", "json" if shows else "text"]
    with program.start(*command, *shows, *logged, "-c", "2") as run:  # killed: the state has its log still
        assert site.wait(lambda s: len(s.log) >= 3, 30)
        run.send(signal.SIGKILL)
        killed = run.end()
    site.release()
    out = program.folder / "out"
    assert (out / ".fetcher" / "state.db-wal").stat().st_size > 0
    assert leaks(secrets, *streams(killed), *everything_written(out)) == set()

    ended = program.run(*command, *shows, *logged)

    assert ended.code == 1
    status = program.run("status", "out", "--json")
    config = program.run(
        "config", "-u", f"me:{USER}", "-H", f"X-Session: {HEADER}", "--proxy", f"http://u:{INURL}@h"
    )
    again = program.run(*command, *shows, *logged)
    rehearsed = program.run(*command, "--dry-run")
    refreshed = program.run(*command, *shows, "--refresh")
    for shown in (ended, status, config, again, rehearsed, refreshed):
        assert leaks(secrets, *streams(shown)) == set()
    log = (program.folder / "run.log").read_bytes()
    assert leaks(secrets, log, *everything_written(out)) == set()
    assert list((program.folder / "home").iterdir()) == [program.folder / "home" / "cookies.txt"]

    foreign = [hit for hit in site.log if hit.address == "127.0.0.2"]
    assert len(foreign) >= 2
    assert leaks(secrets, heads(foreign)) == set()
    own = [hit for hit in site.log if hit.address == "127.0.0.1"]
    assert leaks(secrets, heads(own)) == set(secrets), "each secret reached the origin that it is for"
    assert {hit.header("x-session") for hit in own} == {HEADER}
    assert {hit.header("cookie") for hit in own} == {f"sid={COOKIE}"}
    [first] = {hit.header("authorization") for hit in own if hit.target == "/p/0"}
    assert first == "Basic " + base64.b64encode(f"me:{INURL}".encode()).decode()


def test_the_urls_of_records_have_their_passwords_masked(
    program: Program, told: tuple[Site, list[str]]
) -> None:
    site, command = told
    program.run(*command)
    urls = {record["url"] for record in records(program.folder / "out")}
    assert site.url("/p/0").replace("http://", "http://me:***@") in urls


def test_a_run_with_credentials_in_its_urls_sends_them_again_when_its_list_is_given_again(
    program: Program, make_site: MakeSite
) -> None:
    site = make_site(60)
    urls = [site.url(path).replace("http://", f"http://me:{INURL}@") for path in site.pages]
    write_list(program.folder / "urls.txt", urls)
    command = ("get", "-i", "urls.txt", "-o", "out", "-c", "4")
    site.hold_after(20)
    with program.start(*command) as run:
        assert site.wait(lambda s: len(s.log) >= 22, 30)
        run.send(signal.SIGKILL)
        run.end()
    site.release()
    reached = len(site.log)
    # Without the list its URLs wait: they may not be fetched without their credentials.
    without = program.run("get", site.url("/p/0?plain"), "-o", "out")
    assert without.code == 1
    assert "credentials are not kept" in without.err
    assert [hit.target for hit in site.log[reached:]] == ["/p/0?plain"]
    status = program.run("status", "out", "--json")
    assert status.lines[0]["is_resumable"] is True

    assert program.run(*command).code == 0

    wanted = "Basic " + base64.b64encode(f"me:{INURL}".encode()).decode()
    listed = [hit for hit in site.log if hit.target != "/p/0?plain"]
    assert {hit.header("authorization") for hit in listed} == {wanted}
    assert {hit.target for hit in listed} == set(site.pages)
    assert leaks([INURL], *everything_written(program.folder / "out")) == set()


def test_the_password_of_a_proxy_reaches_the_proxy_alone(program: Program, make_site: MakeSite) -> None:
    site = make_site(2)
    secret = "canary-proxy-7f3a"
    with FaultServer(proxy_auth=f"me:{secret}") as proxy:
        given = f"http://me:{secret}@127.0.0.1:{proxy.port}"
        good = program.run("get", site.url("/p/0"), "-o", "out", "--proxy", given, "-v", "--log-file", "log")
        assert good.code == 0, good.err
        assert proxy.log[0].header("proxy-authorization")
        wrong = program.run(
            "get", site.url("/p/1"), "-o", "out", "--proxy", given.replace("me:", "you:"), "-v"
        )
        assert wrong.code == 1
        dead = program.run(
            *("get", site.url("/p/1"), "-o", "out2", "--retries", "0", "-v"),
            variables={"http_proxy": f"http://me:{secret}@127.0.0.1:1"},
        )
        assert dead.code == 1
        for ended in (good, wrong, dead):
            assert leaks([secret], *streams(ended)) == set()
        assert leaks([secret], heads(site.log)) == set()
    for written in ("out", "out2"):
        assert leaks([secret], *everything_written(program.folder / written)) == set()
    assert leaks([secret], (program.folder / "log").read_bytes()) == set()


def test_mistakes_in_options_do_not_show_their_secrets(program: Program, site: Site) -> None:
    secret = "canary-opts-7f3a"
    for options in (
        ("-u", secret),  # no colon
        ("-H", f"X-Key {secret}"),
        ("-H", f"X-Key: {secret}\x01"),
        ("--proxy", f"http://me:{secret}@ h/"),
        ("--data", "@no-such-file", "-u", f"me:{secret}"),
        ("-i", f"http://me:{secret}@h/list"),
    ):
        ended = program.run("get", site.url("/p/0"), *options)
        assert ended.code == 2, options
        assert leaks([secret], *streams(ended)) == set(), options
    single = program.run("get", f"http://me:{secret}@127.0.0.1:1/x", "-O", "-", "--retries", "0", "-v")
    assert single.code == 1
    assert leaks([secret], *streams(single)) == set()
    assert site.log == []


def test_netrc_is_read_only_when_asked_and_for_its_host(program: Program, make_site: MakeSite) -> None:
    site = make_site(2, hosts=("127.0.0.2",))
    secret = "canary-netrc-7f3a"
    netrc = program.folder / "home" / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {secret}\n")
    netrc.chmod(0o600)
    urls = [site.url("/p/0"), site.url("/p/1", host="127.0.0.2")]
    assert program.run("get", *urls, "-o", "without").code == 0
    assert leaks([secret], heads(site.log)) == set()
    site.log.clear()
    ended = program.run("get", *urls, "-o", "with", "--netrc", "-v")
    assert ended.code == 0
    assert leaks([secret], *streams(ended), *everything_written(program.folder / "with")) == set()
    assert {hit.address: hit.header("authorization") is not None for hit in site.log} == {
        "127.0.0.1": True,
        "127.0.0.2": False,
    }
    assert len(by_url(program.folder / "with")) == 2
