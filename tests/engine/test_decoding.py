"""Content-codings removed from wire bytes: whole, cut, broken, chained, hostile (catalogue E58 to E63)."""

from __future__ import annotations

import gzip
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetcher.engine.decoding import PIECE, STEP, Decoder
from fetcher.errors import BadEncoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "raw": raw_deflate,
    "br": lambda data: brotli.compress(data, quality=4),
    "zstd": zstd.compress,
}
LABEL = {name: "deflate" if name == "raw" else name for name in PACK}
CHAINS = [(a,) for a in PACK] + [(a, b) for a in PACK for b in PACK]
TEXT = b"The quick brown fox jumps over the lazy dog. " * 40 + os.urandom(200)


def pack(data: bytes, chain: Iterable[str]) -> bytes:
    for name in chain:
        data = PACK[name](data)
    return data


def decoder(chain: tuple[str, ...]) -> Decoder:
    return Decoder([LABEL[name] for name in reversed(chain)])


def decode(chain: tuple[str, ...], pieces: Iterable[bytes]) -> bytes:
    undo = decoder(chain)
    given_out = []
    for piece in pieces:
        undo.feed(piece)
        while undo.is_pending:
            output = undo.step()
            assert len(output) <= STEP
            given_out.append(output)
    given_out.append(undo.finish())
    return b"".join(given_out)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("chain", CHAINS, ids="+".join)
def test_what_was_packed_comes_out_again(chain):
    assert decode(chain, [pack(TEXT, chain)]) == TEXT


@pytest.mark.parametrize("chain", CHAINS, ids="+".join)
def test_bytes_that_come_one_by_one_give_the_same(chain):
    assert decode(chain, [bytes([byte]) for byte in pack(TEXT, chain)]) == TEXT


@given(chain=st.sampled_from(CHAINS), data=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 9999)))
def test_any_split_gives_the_same_bytes(chain, data, cuts):
    assert decode(chain, split(pack(data, chain), cuts)) == data


@settings(max_examples=60, deadline=None)
@given(chain=st.sampled_from(CHAINS), size=st.integers(0, 3_000_000), cuts=st.lists(st.integers(0, 10**7)))
def test_large_bodies_come_out_whole_in_steps_that_stay_small(chain, size, cuts):
    data = (TEXT * (size // len(TEXT) + 1))[:size]
    assert decode(chain, split(pack(data, chain), cuts)) == data


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("size", [STEP - 1, STEP, STEP + 1, 2 * STEP, 2 * STEP + 1])
def test_a_body_that_ends_near_the_end_of_a_step_is_whole(name, size):
    for data in (bytes(size), os.urandom(size)):
        assert decode((name,), [PACK[name](data)]) == data
        assert decode((name,), [bytes([byte]) for byte in PACK[name](bytes(size))]) == bytes(size)


@pytest.mark.parametrize("name", PACK)
def test_output_that_waits_in_the_library_after_the_last_input_comes_out(name):
    for size in range(STEP + 1, STEP + 300):  # for some, one bit of input stands for what passes the step
        assert len(decode((name,), [PACK[name](bytes(size))])) == size


@pytest.mark.parametrize("chain", CHAINS, ids="+".join)
def test_a_body_cut_at_any_byte_is_refused(chain):
    packed = pack(TEXT, chain)
    for end in range(1, len(packed)):
        with pytest.raises(BadEncoding):
            decode(chain, [packed[:end]])


@pytest.mark.parametrize("name", PACK)
def test_an_empty_body_is_empty_whatever_its_label(name):
    assert decode((name,), []) == b""
    assert decode((name,), [b"", b""]) == b""


@pytest.mark.parametrize("name", PACK)
def test_a_coded_empty_body_is_empty(name):
    assert decode((name,), [PACK[name](b"")]) == b""


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_plain_body_with_a_label_is_refused(name):
    with pytest.raises(BadEncoding, match=name):
        decode((name,), [b"<!doctype html><title>plain</title>" * 20])


@settings(max_examples=400)
@given(
    chain=st.sampled_from(CHAINS),
    noise=st.binary(min_size=1, max_size=400),
    start=st.binary(max_size=60),
    cuts=st.lists(st.integers(0, 999), max_size=5),
)
def test_random_bytes_raise_nothing_but_bad_encoding(chain, noise, start, cuts):
    for data in (noise, pack(start, chain) + noise, pack(start, chain)[:-4] + noise):
        with suppress(BadEncoding):
            decode(chain, split(data, cuts))


@settings(max_examples=300)
@given(chain=st.sampled_from(CHAINS), at=st.integers(0, 10_000), mask=st.integers(1, 255))
def test_a_flipped_byte_raises_nothing_but_bad_encoding(chain, at, mask):
    packed = bytearray(pack(TEXT, chain))
    packed[at % len(packed)] ^= mask
    with suppress(BadEncoding):
        found = decode(chain, [bytes(packed)])
        assert found == TEXT or "gzip" not in chain, "the checksum was not looked at"


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_a_wrong_checksum_is_refused(name):
    packed = bytearray(PACK[name](TEXT))
    packed[-8 if name == "gzip" else -1] ^= 1
    with pytest.raises(BadEncoding, match="check"):
        decode((name,), [bytes(packed)])


def test_a_wrong_length_in_a_gzip_trailer_is_refused():
    packed = bytearray(gzip.compress(TEXT))
    packed[-1] ^= 1
    with pytest.raises(BadEncoding, match="length"):
        decode(("gzip",), [bytes(packed)])


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=8), cuts=st.lists(st.integers(0, 5000)))
def test_all_members_come_out(name, parts, cuts):
    packed = b"".join(PACK[name](part) for part in parts)
    assert decode((name,), split(packed, cuts)) == b"".join(parts)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_step_takes_few_members_even_if_they_are_empty(name):
    undo = Decoder([name])
    undo.feed(PACK[name](b"") * 5000 + PACK[name](b"x"))
    output, steps = b"", 0
    while undo.is_pending:
        output += undo.step()
        steps += 1
    undo.finish()
    assert output == b"x"
    assert steps >= 5000 / 64


@pytest.mark.parametrize("pieces", [[b"\0" * 700], [b"\0"] * 700])
def test_zeros_after_a_gzip_member_are_padding(pieces):
    assert decode(("gzip",), [gzip.compress(TEXT), *pieces]) == TEXT


def test_zeros_alone_are_not_gzip():
    with pytest.raises(BadEncoding):
        decode(("gzip",), [b"\0" * 700])


CHECKED = ["gzip", "deflate", "zstd"]  # what has a checksum, or a beginning that no text has
COMMENT = "\n<!-- cached, année 2026 -->\r\n".encode()


def apart(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("text", [b"x", COMMENT, b"\0\0\0" + COMMENT, b"<script>" * 1000], ids=len)
@pytest.mark.parametrize("cut", [lambda packed, text: [packed + text], lambda packed, text: [packed, text], lambda packed, text: apart(packed + text)])  # fmt: skip
def test_text_after_the_end_is_passed_over_and_told(name, text, cut):
    undo = Decoder([name])
    output = b""
    for piece in cut(PACK[name](TEXT), text):
        undo.feed(piece)
        while undo.is_pending:
            output += undo.step()
    assert (output + undo.finish(), undo.has_passed_over) == (TEXT, True)


@pytest.mark.parametrize("name", PACK)
def test_nothing_is_told_of_a_body_that_ends_with_its_coding(name):
    undo = Decoder([LABEL[name]])
    undo.feed(PACK[name](TEXT) + b"\0" * (name in CHECKED))
    while undo.is_pending:
        undo.step()
    undo.finish()
    assert not undo.has_passed_over


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize(
    "junk", [b"\x1f", b"\x1f\x8b", b"\x8b\x08\0\0", b"\0\0\0\x01", b"a" * 8193, b"text\0", b"text\x1f"]
)
@pytest.mark.parametrize("is_apart", [False, True])
def test_what_may_be_a_part_of_the_body_is_refused_after_its_end(name, junk, is_apart):
    packed = PACK[name](TEXT)
    with pytest.raises(BadEncoding):
        decode((name,), [packed, *apart(junk)] if is_apart else [packed + junk])


@pytest.mark.parametrize("name", ["raw", "br"])
@pytest.mark.parametrize("is_apart", [False, True])
def test_text_after_a_coding_without_a_checksum_is_refused(name, is_apart):
    """Any text may begin as such a body does."""
    packed = PACK[name](TEXT)
    with pytest.raises(BadEncoding):
        decode((name,), [packed, COMMENT] if is_apart else [packed + COMMENT])


@given(
    data=st.binary(min_size=20),
    damage=st.integers(0, 9),
    bit=st.integers(0, 7),
    cuts=st.lists(st.integers(0, 999)),
)
def test_a_member_whose_beginning_is_damaged_is_not_taken_for_text(data, damage, bit, cuts):
    second = bytearray(gzip.compress(data, mtime=0))
    second[damage] ^= 1 << bit
    whole = gzip.compress(b"first") + bytes(second)
    with suppress(BadEncoding):
        assert decode(("gzip",), split(whole, cuts)) == b"first" + data


@pytest.mark.parametrize("between", [b"\0" * 600, b""])
def test_members_behind_zeros_are_read(between):
    packed = gzip.compress(b"a") + between + gzip.compress(b"b")
    assert decode(("gzip",), [packed]) == decode(("gzip",), apart(packed)) == b"ab"


@pytest.mark.parametrize("is_apart", [False, True])
def test_a_member_behind_text_is_refused(is_apart):
    packed = gzip.compress(b"a") + COMMENT + gzip.compress(b"b")
    with pytest.raises(BadEncoding):
        decode(("gzip",), apart(packed) if is_apart else [packed])


# --- a coding that repeats the file's type ---------------------------------------------------------


def second(name: str, pieces: Iterable[bytes]) -> bytes:
    undo = Decoder([f"{name}?"])
    given_out = []
    for piece in pieces:
        undo.feed(piece)
        while undo.is_pending:
            given_out.append(undo.step())
            assert len(given_out[-1]) <= STEP
    given_out.append(undo.finish())
    return b"".join(given_out)


FILES = [b"", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x07", b"(\xb5/", TEXT, bytes(3_000_000), os.urandom(3_000_000)]


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@pytest.mark.parametrize("content", FILES, ids=len)
def test_a_file_that_has_its_coding_once_is_kept_and_one_layer_of_two_goes(name, content):
    file = PACK[name](content)
    for pieces in ([file], [file[:1], file[1:]], [file[:25], file[25:]]):
        assert second(name, pieces) == file
    packed = PACK[name](file)
    for pieces in ([packed], [packed[:1], packed[1:]], [packed[:25], packed[25:]]):
        assert second(name, pieces) == file
    if len(packed) < 10_000:
        assert second(name, apart(file)) == second(name, apart(packed)) == file


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 5000)))
def test_one_layer_is_removed_of_two_and_of_three_however_they_are_split(name, content, cuts):
    one = PACK[name](content)
    two = PACK[name](one)
    assert second(name, split(two, cuts)) == one
    assert second(name, split(PACK[name](two), cuts)) == two


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_file_that_was_packed_once_more_and_is_cut_is_refused(name):
    packed = PACK[name](PACK[name](TEXT))
    for end in range(1, len(packed)):
        with pytest.raises(BadEncoding, match="cut short"):
            second(name, [packed[:end]])


@pytest.mark.parametrize(
    "body", [b"plain text", b"\0" * 600, b"\x1f\x8b\x09" + bytes(20), b"\x1f\x8b\x08\0" + b"\xff" * 900]
)
def test_what_only_claims_to_be_packed_is_kept_as_sent(body):
    assert second("gzip", [body]) == second("gzip", apart(body)) == body


def test_no_more_than_a_piece_is_held_before_the_choice():
    endless_name = b"\x1f\x8b\x08\x08" + b"\0" * 6 + b"n" * 1_000_000  # a header whose file name does not end
    undo = Decoder(["gzip?"])
    output = 0
    for start in range(0, 100_000, 1000):
        undo.feed(endless_name[start : start + 1000])
        while undo.is_pending:
            output += len(undo.step())
        assert start + 1000 - output <= PIECE + 1000


def test_a_file_that_is_kept_costs_little():
    file = gzip.compress(os.urandom(4_000_000), 1)
    started = time.process_time()
    assert second("gzip", [file]) == file
    assert time.process_time() - started < 0.5


def test_a_zstd_window_of_8_mib_is_accepted_and_16_is_not():
    data = os.urandom(1 << 20)

    def packed(window_log: int) -> bytes:
        packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
        return packer.compress(data) + packer.flush()

    assert decode(("zstd",), [packed(23)]) == data
    with pytest.raises(BadEncoding, match="memory"):
        decode(("zstd",), [packed(24)])


def test_a_skippable_zstd_frame_is_skipped():
    assert decode(("zstd",), [b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd.compress(TEXT)]) == TEXT


@pytest.mark.parametrize(
    "chain", [("gzip",), ("br",), ("zstd",), ("gzip", "gzip"), ("zstd", "br")], ids="+".join
)
def test_a_bomb_is_refused_soon_after_32_mib(chain):
    bomb = pack(bytes(256 * 1024 * 1024), chain)
    undo = decoder(chain)
    undo.feed(bomb)
    total = 0

    def defuse() -> None:
        nonlocal total
        while undo.is_pending:
            total += len(undo.step())

    with pytest.raises(BadEncoding, match="more than 250 times"):
        defuse()
    assert total <= max(32 * 1024 * 1024, 250 * len(bomb))


def test_what_expands_a_thousand_times_to_less_than_32_mib_is_no_bomb():
    data = bytes(31 * 1024 * 1024)
    assert len(data) > 250 * len(gzip.compress(data))
    assert decode(("gzip",), [gzip.compress(data)]) == data


def test_a_chain_that_is_large_only_in_the_middle_is_a_bomb_too():
    nothing = zstd.compress(gzip.compress(b"") * 4_000_000)  # 80 MB of gzip that decodes to not a byte
    with pytest.raises(BadEncoding, match=r"more than 250 times \(zstd\)"):
        decode(("gzip", "zstd"), [nothing])


@pytest.mark.parametrize("chain", [("gzip",), ("raw",), ("br",), ("zstd",), ("br", "gzip")], ids="+".join)
def test_tiny_pieces_cost_time_in_proportion_only(chain):
    def seconds(size: int) -> float:
        pieces = [bytes([byte]) for byte in pack(os.urandom(size), chain)]
        started = time.process_time()
        decode(chain, pieces)
        return time.process_time() - started

    seconds(2_000)
    small, large = min(seconds(20_000) for _ in range(3)), seconds(200_000)
    assert large < 40 * small  # ten times is linear, a hundred quadratic
