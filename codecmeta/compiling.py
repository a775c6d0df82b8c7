"""Compiling with numba, the one long pause that a first use brings: said on stderr, and done beforehand."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_announced = False


def announce_compiling(*functions: Any) -> None:
    """Print one line, once per process, if any of these numba functions is neither compiled nor in numba's cache."""
    global _announced
    if not _announced and any(not (function.signatures or _is_cached(function)) for function in functions):
        _announced = True
        print("codecmeta: compiling numeric kernels for this machine, a few seconds, once", file=sys.stderr, flush=True)


def _is_cached(function: Any) -> bool:
    name = f"{Path(function.py_func.__code__.co_filename).stem}.{function.py_func.__qualname__}-"
    folder = Path(function.stats.cache_path)
    return folder.is_dir() and any(entry.name.startswith(name) for entry in folder.glob("*.nbi"))


def warm_up() -> None:
    """Load every kernel that extraction uses, compiling what numba's cache does not have; says so on stderr.

    Processes that start together take turns at it, so that one compiles and the others load.
    """
    from codecmeta import residual

    with _one_at_a_time(Path(residual.intra_error.stats.cache_path)):
        from codecmeta.display import Display, QpBlocks, qp_map
        from codecmeta.h264 import motion, picture, sequence  # noqa: F401 (compile when imported)
        from codecmeta.metadata import VECTOR, I, P

        announce_compiling(residual.intra_error, residual._motion_error)
        luma = np.zeros((16, 16), np.uint8)
        for has_vectors in (True, False):
            estimator = residual.ResidualEstimator(has_vectors)
            for row, kind in enumerate((I, P)):
                vectors = np.zeros(1, VECTOR) if has_vectors else None
                estimator.push(residual.LumaFrame(row, kind, luma, vectors, True))
        qp_map(QpBlocks(0, np.zeros((1, 5), np.int32)), Display(16, 16, 0, 0, 0, 16, 16))


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "codecmeta.lock", "w")
    except OSError:  # nobody can write there: whatever it holds is all there will be
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
