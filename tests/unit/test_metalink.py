"""Metalink files as lists, kind and hostile ones."""

from __future__ import annotations

from hashlib import new

import pytest

from fetcher.engine.piece_check import MOST_EXTENTS, good_extents
from fetcher.model import Entry, PieceHashes
from fetcher.sources.metalink import LARGEST, MetalinkFormat
from fetcher.sources.sniff import format_of

DIGEST = "ab" * 32
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<metalink xmlns="urn:ietf:params:xml:ns:metalink">'

KINDS = [("sha-1", 20), ("sha-256", 32), ("sha3-512", 64), ("md5", 16)]


def entries(document: str) -> list[Entry]:
    form = MetalinkFormat("list.meta4")
    data = document.encode()
    for start in range(0, len(data), 100):
        assert list(form.feed(data[start : start + 100])) == []
    return [entry for batch in form.finish() for entry in batch]


def test_a_file_has_name_size_hash_and_mirrors_by_priority() -> None:
    (entry,) = entries(
        HEAD
        + f"""<file name="example.ext"><size>14471447</size>
        <hash type="sha-1">ff</hash><hash type="sha-256"> {DIGEST.upper()} </hash>
        <pieces length="262144" type="sha-256"><hash>{"cd" * 32}</hash></pieces>
        <url>http://late.example/e</url>
        <url location="de" priority="2">https://two.example/e</url>
        <url priority="1">http://one.example/e</url>
        <url priority="1">ftp://ftp.example/e</url>
        <metaurl mediatype="torrent">http://t.example/e.torrent</metaurl></file></metalink>"""
    )
    assert (entry.url, entry.mirrors) == (
        "http://one.example/e",
        ("https://two.example/e", "http://late.example/e"),
    )
    assert (entry.name, entry.size, entry.sha256, entry.bad) == ("example.ext", 14471447, DIGEST, None)


def test_each_file_is_an_entry_and_one_without_a_url_is_bad() -> None:
    one, two = entries(
        HEAD
        + '<file name="a"><url>ftp://a.example/</url></file><file name="b"><url>http://b/</url></file></metalink>'
    )
    assert one.bad == "no http or https URL"
    assert (two.url, two.name, two.sha256, two.size, two.mirrors) == ("http://b/", "b", None, None, ())


def of_pieces(text: str, size: int = 5) -> Entry:
    (entry,) = entries(
        f'{HEAD}<file name="a"><size>{size}</size>{text}<url>http://a/</url></file></metalink>'
    )
    return entry


@pytest.mark.parametrize("kind", ["md5", "sha-1", "sha-224", "sha-256", "sha-384", "sha-512"])
def test_hashes_of_pieces_and_of_the_whole_may_be_of_any_type(kind: str) -> None:
    name = kind.replace("-", "")
    one, two = (new(name, data).hexdigest() for data in (b"abc", b"de"))
    entry = of_pieces(
        f'<hash type="{kind}">{one}</hash><pieces length="3" type="{kind}"><hash>{one}</hash>'
        f"<hash> {two.upper()} </hash></pieces>"
    )
    assert entry.pieces == PieceHashes(name, 3, bytes.fromhex(one + two))
    assert (entry.sha256, entry.checksum) == ((one, None) if name == "sha256" else (None, f"{name}:{one}"))


def test_the_strongest_hashes_of_pieces_count() -> None:
    lists = [f'<pieces length="5" type="{k}"><hash>{"ab" * n}</hash></pieces>' for k, n in KINDS]
    for text in ("".join(lists), "".join(reversed(lists))):
        entry = of_pieces(text)
        assert entry.pieces == PieceHashes("sha256", 5, b"\xab" * 32)


@pytest.mark.parametrize(
    "pieces",
    [
        '<pieces length="0" type="md5"><hash>{}</hash></pieces>',
        '<pieces length="-5" type="md5"><hash>{}</hash></pieces>',
        '<pieces length="3" type="md5"><hash>{}</hash></pieces>',
        '<pieces length="5" type="md5"><hash>{}</hash><hash>{}</hash></pieces>',
        '<pieces length="5" type="md5"><hash>{}ab</hash></pieces>',
        '<pieces length="5" type="md5"><hash>a {}</hash></pieces>',
    ],
)
def test_pieces_that_cannot_be_right_are_of_no_use(pieces: str) -> None:
    text = pieces.replace("{}", "ab" * 16)
    assert str(of_pieces(text).bad).startswith("pieces: expected")
    entry = of_pieces(f'{text}<hash type="sha-256">{DIGEST}</hash>')
    assert (entry.bad, entry.pieces, entry.sha256) == (None, None, DIGEST)


def test_a_body_with_each_second_piece_wrong_is_a_bounded_list_of_ranges() -> None:
    body = bytes(4000)
    digests = b"".join(new("md5", bytes([n % 2])).digest() for n in range(4000))
    good = good_extents(body, PieceHashes("md5", 1, digests))
    assert len(good) == MOST_EXTENTS
    assert all(end - begin == 1 and begin % 2 == 0 for begin, end in good)


BOMB = '<!DOCTYPE metalink [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE metalink [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("dtd", [BOMB, OUTSIDE])
def test_a_document_with_entities_is_not_read(dtd: str) -> None:
    (entry,) = entries(f'{dtd}<metalink><file name="&b;&x;"><url>http://a/</url></file></metalink>')
    assert "internal DTD" in str(entry.bad)


def test_a_damaged_document_gives_what_is_whole_and_says_so() -> None:
    good, bad = entries(HEAD + '<file name="a"><url>http://a/</url></file><file name="b"><url>http://b')
    assert (good.url, good.bad) == ("http://a/", None)
    assert "not well-formed" in str(bad.bad)


def test_a_document_without_end_takes_bounded_memory() -> None:
    form = MetalinkFormat("list.meta4")
    block = b" " * (1024 * 1024)
    for _ in range(LARGEST // len(block) + 5):
        list(form.feed(block))
    ((entry,),) = form.finish()
    assert "longer than" in str(entry.bad)


@pytest.mark.parametrize(
    ("head", "path"),
    [(HEAD.encode(), "-"), (b"<m:metalink xmlns:m='urn:x'>", "list"), (b"", "https.meta4")],
)
def test_a_metalink_file_is_known_by_its_name_or_its_root(head: bytes, path: str) -> None:
    assert format_of(head, is_all=True, named=None, path=path) == "metalink"
