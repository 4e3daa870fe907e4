"""Each target of the fuzzing by coverage takes its seeds, and whatever hypothesis makes of them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.campaign import tried

_SPEC = importlib.util.spec_from_file_location("fuzz_targets", Path(__file__).with_name("targets.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
fuzz = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = fuzz
_SPEC.loader.exec_module(fuzz)


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_the_seeds_of_a_target_are_taken(target: str) -> None:
    for seed in [b"", *fuzz.SEEDS.get(target, [])]:
        fuzz.TARGETS[target](seed)


@pytest.mark.parametrize("target", fuzz.TARGETS)
@tried(25)
@given(data=st.data())
def test_any_bytes_are_taken(target: str, data: st.DataObject) -> None:
    seeds = fuzz.SEEDS.get(target, [b""])
    wild = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(0, 4))):
        begin = data.draw(st.integers(0, len(wild)))
        wild[begin : begin + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    fuzz.TARGETS[target](bytes(wild))
