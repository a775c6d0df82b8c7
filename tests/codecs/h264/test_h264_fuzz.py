"""Damaged packets never raise out of the kernels, never read outside, and always return.

The long run and its committed result: benchmarks/h264_fuzz.py, benchmarks/results/h264_fuzz.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CASES = 1500


def _run(tmp_path, name, **environment):
    """The script in a process of its own: the two builds cannot live in one."""
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.h264_fuzz",
            "--cases",
            str(CASES),
            "--seed",
            "3",
            "--json",
            str(tmp_path / name),
        ],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((tmp_path / name).read_text())


@pytest.mark.slow
def test_both_builds_return_the_same_for_every_damaged_packet(tmp_path, pytestconfig):
    cache = pytestconfig.rootpath / ".pytest_cache" / "h264_arrays"
    cache.mkdir(parents=True, exist_ok=True)
    checked = _run(tmp_path, "a", CODECMETA_H264_ARRAYS="1", NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(cache))
    plain = _run(tmp_path, "b")
    assert checked["bounds_checked"] and checked["build"] == "arrays" and plain["build"] == "pointers"
    assert checked["damaged_packets"] >= CASES
    assert checked["digest_of_all_results"] == plain["digest_of_all_results"]
    assert plain["longest_packet_ms"] < 1000  # a hang, not a slow machine
    assert 0 < plain["refused_by_header"] < CASES and plain["pictures_that_still_looked_complete"] > 0
