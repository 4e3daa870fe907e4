"""A body that was written anew leads back to what it was."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.model import ConvertedFile
from fetcher.policy.rewriting import Rewriting, restored, served_body


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9), st.binary(max_size=9))), st.binary())
def test_the_original_comes_back(pieces: list[tuple[bytes, bytes, bytes]], end: bytes) -> None:
    original = b"".join(kept + old for kept, old, _ in pieces) + end
    rewriting = Rewriting(original)
    at = 0
    for kept, old, new in pieces:
        rewriting.replace(at + len(kept), at + len(kept) + len(old), new)
        at += len(kept) + len(old)
    content, way_back = rewriting.finish()
    assert content == b"".join(kept + new for kept, _, new in pieces) + end
    assert restored(content, way_back) == original


def test_nothing_leads_back_from_other_bytes() -> None:
    rewriting = Rewriting(b"one two")
    rewriting.replace(4, 7, b"three")
    content, way_back = rewriting.finish()
    form = ConvertedFile(sha256(content).digest(), len(content), way_back)
    damaged = ConvertedFile(form.sha256, form.length, way_back[:-3])
    assert served_body(content, [form]) == b"one two"
    assert served_body(b"one thref", [form]) is None
    assert served_body(content, [damaged]) is None
    with pytest.raises(ValueError, match="longer"):
        restored(b"one", way_back)
