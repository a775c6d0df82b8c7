"""That numba compiles is said when it does, once, and never else."""

import os
import subprocess
import sys
from pathlib import Path

from codecmeta.compiling import njit

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import numpy as np
from codecmeta.decisions.union_find import join_pairs
home = np.arange(3)
join_pairs(home, np.array([0]), np.array([2]))
assert home.tolist() == [0, 1, 0]
"""


def test_compiling_is_said_when_the_cache_does_not_hold_the_kernel(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    said = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        ).stderr
        for _ in range(2)
    ]
    assert said == ["codecmeta: compiling numeric kernels for this machine, a few seconds, once\n", ""]


def test_what_others_compile_is_not_announced(capfd, monkeypatch):
    monkeypatch.setattr("codecmeta.compiling._announced", False)
    assert njit(lambda: 3)() == 3
    assert capfd.readouterr().err == ""
