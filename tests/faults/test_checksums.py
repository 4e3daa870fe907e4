"""A body that does not meet its checksum is never kept, wherever the checksum came from."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path

import pytest
from support.faultserver import Exchange, FaultServer
from support.ranged import DATE, MIB, Ranged, pattern

import fetcher
from fetcher import Fetcher
from fetcher.cli.main import _run as run_here
from fetcher.errors import ConfigError
from fetcher.wiring import BACKENDS

BODY = b"the body of a file\n" * 3000
OTHER = BODY[:-1] + b"!"


def digests(data: bytes) -> dict[str, str]:
    return {name: hashlib.new(name, data).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")}


def field(data: bytes, algorithm: str = "sha-256") -> str:
    digest = hashlib.new(algorithm.replace("-", ""), data).digest()
    return f"{algorithm}=:{base64.b64encode(digest).decode()}:"


def serve(server: FaultServer, path: str, body: bytes, *fields: tuple[str, str]) -> str:
    async def script(x: Exchange) -> None:
        await x.answer(200, fields, body)

    server.route(path, script)
    return server.url(path)


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*.bin"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("digest", ["sha256", "none"])
def test_the_column_is_met_or_nothing_is_kept(
    backend: str, digest: str, server: FaultServer, tmp_path: Path
) -> None:
    rows = []
    for name, digits in digests(BODY).items():
        url = serve(server, f"/{name}.bin", BODY)
        rows += [{"url": url, "checksum": f"{name}:{digits}"}]
        rows += [{"url": serve(server, f"/bad-{name}.bin", OTHER), "checksum": f"{name}:{digits}"}]
    summary = Fetcher(backend=backend, digest=digest, min_free=0).download(rows, tmp_path)
    assert (summary.done, summary.errors) == (4, {"checksum": 4})
    assert len(files(tmp_path)) == 4
    assert not [name for name in files(tmp_path) if "bad" in name]


@pytest.mark.parametrize("processes", [1, 2])
def test_lists_are_met_by_what_they_name_and_verify_checks_the_same(
    processes: int, server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = serve(server, "/pool/good.bin", BODY), serve(server, "/pool/bad.bin", OTHER)
    free = serve(server, "/free.bin", OTHER)
    sums = tmp_path / "SHA512SUMS"
    sha512 = digests(BODY)["sha512"]
    sums.write_text(f"{sha512}  pool/good.bin\n{sha512} *./pool/bad.bin\n{sha512}  gone.bin\n")
    out, common = tmp_path / "out", ["--min-free", "0", "--processes", str(processes)]
    code = run_here(["get", good, bad, free, "-o", str(out), "--checksums", str(sums), *common])
    said = capsys.readouterr().err
    assert (code, files(out)) == (
        1,
        [f"127.0.0.1_{server.port}/{name}" for name in ("free.bin", "pool/good.bin")],
    )
    assert f"SHA-512 is {digests(OTHER)['sha512']}" in (out / "results.jsonl").read_text()
    assert "of 3 checksums, 1 belong to no URL of the list" in said
    sums.write_text(f"MD5 (good.bin) = {digests(BODY)['md5']}\nMD5 (free.bin) = {digests(BODY)['md5']}\n")
    assert run_here(["verify", str(out), "--json"]) == 0
    capsys.readouterr()
    assert run_here(["verify", str(out), "--json", "--checksums", str(sums)]) == 1
    found, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (found["kind"], found["url"]) == ("checksum", free)
    assert found["message"].startswith(f"MD5 is {digests(OTHER)['md5']}, not")
    assert summary["found"] == {"checksum": 1}


def test_a_crawl_meets_lists_on_what_it_finds(server: FaultServer, tmp_path: Path) -> None:
    seed = serve(
        server, "/", b'<a href="/good.html">a</a><a href="/bad.html">b</a>', ("Content-Type", "text/html")
    )
    for path, body in (("/good.html", BODY), ("/bad.html", OTHER)):
        serve(server, path, body, ("Content-Type", "text/html"))
    sums = tmp_path / "SHA1SUMS"
    sums.write_text(f"{digests(BODY)['sha1']}  good.html\n{digests(BODY)['sha1']}  bad.html\n")
    ended = {
        page.url: page.error for page in fetcher.crawl([seed], checksums=[sums], no_robots=True, retries=0)
    }
    assert ended == {seed: None, server.url("/good.html"): None, server.url("/bad.html"): "checksum"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_an_answer_announces_is_met_where_it_is_of_the_stored_bytes(
    backend: str, server: FaultServer
) -> None:
    packed = gzip.compress(BODY)
    wanted = {
        serve(server, "/good", BODY, ("Repr-Digest", field(BODY))): None,
        serve(server, "/content", OTHER, ("Content-Digest", field(BODY, "sha-512"))): "checksum",
        serve(server, "/repr", OTHER, ("Repr-Digest", field(BODY))): "checksum",
        serve(server, "/weak", OTHER, ("Content-Digest", field(BODY, "md5"))): None,
        # Of the coded bytes, which are not what is stored.
        serve(server, "/coded", packed, ("Content-Encoding", "gzip"), ("Repr-Digest", field(packed))): None,
        serve(server, "/c", packed, ("Content-Encoding", "gzip"), ("Content-Digest", field(OTHER))): None,
    }
    ended = fetcher.fetch_all(list(wanted), backend=backend)
    assert {result.url: result.error for result in ended} == wanted
    assert {result.status for result in ended} == {200}


@pytest.mark.parametrize("is_right", [True, False])
def test_of_a_body_that_was_continued_the_whole_is_met_and_not_the_rest(
    is_right: bool, server: FaultServer, tmp_path: Path
) -> None:
    body = pattern(3 * MIB)
    script = Ranged(body, cuts=[2 * MIB])
    # Of a 206 the first is of the rest alone: nothing to hold the whole against.
    announced = (
        ("Content-Digest", field(body[2 * MIB :])),
        ("Repr-Digest", field(body if is_right else BODY)),
    )
    script.fields = (("ETag", '"one"'), DATE, *announced)
    server.route("/file.bin", script)
    summary = Fetcher(retries=2, min_free=0).download([server.url("/file.bin")], tmp_path)
    assert script.asked[1] is not None
    assert summary.errors == ({} if is_right else {"checksum": 1})
    assert len(files(tmp_path)) == int(is_right)
    assert list((tmp_path / ".fetcher" / "parts").iterdir()) == []


def test_a_file_that_is_there_and_not_what_is_wanted_is_asked_for_without_conditions(
    server: FaultServer, tmp_path: Path
) -> None:
    url = serve(server, "/a.bin", OTHER, ("ETag", '"1"'))
    Fetcher(min_free=0).download([url], tmp_path)
    again = {"url": url, "sha256": digests(BODY)["sha256"]}
    assert Fetcher(min_free=0, refresh=True).download([again], tmp_path).errors == {"checksum": 1}
    assert server.hits("/a.bin")[1].header("if-none-match") is None
    assert files(tmp_path)  # the old file stays


@pytest.mark.parametrize("text", ["", "no checksum\n", b"\xff\xfe", f"{'a' * 32}  x\n{'b' * 32}  x\n", None])
def test_a_list_that_cannot_be_used_ends_the_run_before_it_fetches(
    text: str | bytes | None, server: FaultServer, tmp_path: Path
) -> None:
    sums = tmp_path / "MD5SUMS"
    if text is not None:
        sums.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"checksums: .*MD5SUMS"):
        fetcher.fetch(serve(server, "/x", BODY), checksums=[sums])
    assert not server.log
