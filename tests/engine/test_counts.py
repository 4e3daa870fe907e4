"""What a URL costs: counts that are the same on every machine, so that a part that got dearer shows.

A bound is a little over the count of the day it was set; `benchmarks/README.md` says how to renew it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COUNTS = Path(__file__).parents[2] / "benchmarks" / "counts.py"
BOUNDS = {
    "python_calls": 51_000,
    "c_calls": 34_500,
    "transactions": 10.5,
    "thread_hops": 1.5,
}  # per 1,000 URLs
SYSTEM_CALLS = 2200  # in the whole run of 4,000, of those named here; imports and start-up make few of them
TRACED = "write,pwrite64,fsync,fdatasync,ftruncate,epoll_wait,epoll_pwait,sendto,recvfrom"


def test_a_url_costs_no_more_calls_transactions_and_hops_than_it_did():
    done = subprocess.run([sys.executable, str(COUNTS)], capture_output=True, text=True, check=True)
    counts = json.loads(done.stdout)
    assert counts.keys() == BOUNDS.keys()
    over = {name: f"{counts[name]} > {most}" for name, most in BOUNDS.items() if counts[name] > most}
    assert not over


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_url_costs_no_more_system_calls_than_it_did(tmp_path):
    table = tmp_path / "calls"
    strace = ["strace", "-f", "-c", "-o", str(table), "-e", f"trace={TRACED}"]
    done = subprocess.run([*strace, sys.executable, str(COUNTS)], capture_output=True, text=True, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip("processes may not be traced here")
    assert done.returncode == 0, done.stderr
    total = re.search(r"^100\.00 .* (\d+) +(?:\d+ +)?total$", table.read_text(), re.MULTILINE)
    assert total is not None, table.read_text()
    assert int(total[1]) <= SYSTEM_CALLS, table.read_text()
