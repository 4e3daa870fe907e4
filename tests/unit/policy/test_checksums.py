"""Checksums from lists, columns and header fields: which URL they belong to, and whether they are met."""

from __future__ import annotations

import base64
import hashlib

import pytest

from fetcher.model import Headers
from fetcher.policy.checksums import (
    CONTENT_DIGEST,
    REPR_DIGEST,
    ChecksumLists,
    announced,
    checksum_of,
    mismatch,
)

MD5, SHA1, SHA256, SHA512 = "a" * 32, "b" * 40, "c" * 64, "d" * 128
HOST = "https://example.org"


def lists(text: str, name: str = "SHA256SUMS") -> ChecksumLists:
    made = ChecksumLists()
    made.add(text, name)
    return made


@pytest.mark.parametrize(
    ("text", "checksum"),
    [
        (f"sha256:{SHA256}", f"sha256:{SHA256}"),
        (f" SHA-512:{SHA512.upper()} ", f"sha512:{SHA512}"),
        (f"sha1:{SHA1}", f"sha1:{SHA1}"),
        (f"md5:{MD5}", f"md5:{MD5}"),
        (f"md5:{SHA1}", None),
        (f"crc32:{MD5[:8]}", None),
        (SHA256, None),
        (f"sha256:{'g' * 64}", None),
        ("", None),
    ],
)
def test_a_checksum_names_its_algorithm(text: str, checksum: str | None) -> None:
    assert checksum_of(text) == checksum


@pytest.mark.parametrize(
    ("line", "name", "checksum"),
    [
        (f"{SHA256}  a.iso", "a.iso", f"sha256:{SHA256}"),
        (f"{SHA256.upper()} *a.iso", "a.iso", f"sha256:{SHA256}"),
        (f"{SHA512}\ta b.iso\r", "a%20b.iso", f"sha512:{SHA512}"),
        (f"{SHA1}  ./a.iso", "a.iso", f"sha1:{SHA1}"),
        (f"{MD5}  a.iso", "a.iso", f"md5:{MD5}"),
        (f"\\{MD5}  a\\\\b.iso", "a%5Cb.iso", f"md5:{MD5}"),
        (f"SHA256 (a (1).iso) = {SHA256}", "a%20(1).iso", f"sha256:{SHA256}"),
        (f"MD5 (a.iso) = {MD5}", "a.iso", f"md5:{MD5}"),
        (f"SHA2-512(a.iso)= {SHA512}", "a.iso", f"sha512:{SHA512}"),
    ],
)
def test_each_form_of_a_line_is_read(line: str, name: str, checksum: str) -> None:
    assert lists(line).of(f"{HOST}/pub/{name}?x=1") == (checksum,)


def test_a_list_of_one_digest_is_of_the_file_that_it_is_named_after() -> None:
    made = lists(f"{SHA256}\n", "sums/a.tar.gz.sha256")
    assert made.of(f"{HOST}/x/a.tar.gz") == (f"sha256:{SHA256}",)


def test_a_path_belongs_to_urls_that_end_with_it_and_the_longest_wins() -> None:
    made = lists(
        f"{'1' * 64}  pool/a.deb\n{'2' * 64}  a.deb\n{'3' * 64}  ../old/b.deb\n{'4' * 64}  index.html"
    )
    assert made.of(f"{HOST}/debian/pool/a.deb") == (f"sha256:{'1' * 64}",)
    assert made.of(f"{HOST}/spool/a.deb") == (f"sha256:{'2' * 64}",)
    assert made.of(f"{HOST}/x/old/b.deb") == (f"sha256:{'3' * 64}",)
    assert made.of(f"{HOST}/x/b.deb") == ()
    assert made.of(HOST) == made.of(f"{HOST}/a/") == (f"sha256:{'4' * 64}",)
    assert made.of(f"{HOST}/get.php", "pool/a.deb") == (f"sha256:{'1' * 64}",)


def test_what_met_nothing_is_counted_and_what_is_no_checksum_too() -> None:
    made = ChecksumLists()
    signed = f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# a comment\n{SHA256}  a\n{MD5}  b\n"
    assert made.add(signed + "-----BEGIN PGP SIGNATURE-----\niQIz\n", "S") == 2
    assert made.add(f"{SHA512}  a\n{SHA256[:-1]}  c\n", "T") == 1
    assert (made.lines, made.unused) == (3, 3)
    assert made.of(f"{HOST}/a") == (f"sha256:{SHA256}", f"sha512:{SHA512}")
    assert made.unused == 1


def test_lists_that_contradict_each_other_are_refused() -> None:
    made = lists(f"{SHA256}  a")
    made.add(f"{SHA256}  a", "again")
    with pytest.raises(ValueError, match=r"line 2 .* a "):
        made.add(f"\n{'e' * 64}  ./a", "other")


def test_a_mismatch_says_what_was_found_and_wanted() -> None:
    assert mismatch([f"sha256:{SHA256}", f"md5:{MD5}"], {"sha256": SHA256, "md5": MD5}) is None
    assert mismatch([f"md5:{MD5}"], {"md5": "e" * 32}) == f"MD5 is {'e' * 32}, not {MD5}"


def field(algorithm: str, data: bytes) -> bytes:
    return f"{algorithm}=:{base64.b64encode(hashlib.new(algorithm.replace('-', ''), data).digest()).decode()}:".encode()


def test_the_fields_of_an_answer_are_read_strictly_and_only_strong_algorithms() -> None:
    one, two = hashlib.sha256(b"x").hexdigest(), hashlib.sha512(b"x").hexdigest()
    both = Headers([(b"Repr-Digest", field("sha-512", b"x") + b", " + field("sha-256", b"x"))])
    assert announced(both) == f"sha256:{one}"
    assert announced(both, CONTENT_DIGEST) is None
    several = Headers([(b"Content-Digest", b"sha-512=:AAAA:"), (b"Content-Digest", field("sha-512", b"x"))])
    assert announced(several) == f"sha512:{two}"
    assert announced(several, REPR_DIGEST) is None
    for value in (
        field("md5", b"x"),
        b"sha-256=:AAAA:",
        b"SHA-256=abc",
        b"sha-256",
        b"=::",
        b"",
        b"sha-256=:" + b"=" * 44 + b":",
    ):
        assert announced(Headers([(b"Content-Digest", value)])) is None
