"""Damaged HEVC packets never raise out of the kernels, never read outside, and always return.

The long run and its committed result: benchmarks/hevc_fuzz.py, benchmarks/results/hevc_fuzz.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

CASES = 1500


def _run(root, target, **environment):
    """The script in a process of its own: the two builds cannot live in one."""
    command = ["-m", "benchmarks.hevc_fuzz", "damaged", "--cases", str(CASES), "--seed", "3", "--json", str(target)]
    result = subprocess.run(
        [sys.executable, *command],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(target.read_text())


@pytest.mark.slow
def test_both_builds_return_the_same_for_every_damaged_packet(tmp_path, pytestconfig):
    cache = pytestconfig.rootpath / ".pytest_cache" / "hevc_arrays"
    cache.mkdir(parents=True, exist_ok=True)
    arrays = dict(CODECMETA_H264_ARRAYS="1", NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(cache))
    checked = _run(pytestconfig.rootpath, tmp_path / "a", **arrays)
    plain = _run(pytestconfig.rootpath, tmp_path / "b")
    assert checked["bounds_checked"] and checked["build"] == "arrays" and plain["build"] == "pointers"
    assert checked["damaged_packets"] >= CASES
    assert checked["digest_of_all_results"] == plain["digest_of_all_results"]
    assert plain["longest_packet_ms"] < 1000  # a hang, not a slow machine
    assert 0 < plain["without_a_picture"] < CASES and plain["pictures_parsed_in_part"] > CASES / 20
    assert plain["pictures_that_still_looked_complete"] > 0
