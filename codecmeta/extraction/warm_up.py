"""Every kernel that extraction uses, compiled or loaded before the work begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from codecmeta.cache.locks import lock_if_possible
from codecmeta.codecs.h264.coefficients import block_rms
from codecmeta.codecs.h264.motion_vectors import count_rows, write_rows, write_vectors
from codecmeta.codecs.h264.slice_data import slice_data
from codecmeta.compiling import announce_compiling
from codecmeta.decoding import estimate
from codecmeta.record.display import Display, QpBlocks, qp_map
from codecmeta.record.metadata import VECTOR, I, P

ENTRY_KERNELS = (slice_data, block_rms, count_rows, write_rows, write_vectors)


def warm_up() -> None:
    """Load every kernel that extraction uses, compiling what numba's cache does not have; says so on stderr.

    Processes that start together take turns at it, so that one compiles and the others load.
    """
    with _one_at_a_time(Path(estimate.intra_error.stats.cache_path)):
        for kernel in ENTRY_KERNELS:
            kernel.prepare()
        announce_compiling(estimate.intra_error, estimate._motion_error)
        luma = np.zeros((16, 16), np.uint8)
        for has_vectors in (True, False):
            estimator = estimate.ResidualEstimator(has_vectors)
            for row, kind in enumerate((I, P)):
                vectors = np.zeros(1, VECTOR) if has_vectors else None
                estimator.push(estimate.LumaFrame(row, kind, luma, vectors, True))
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
        lock_if_possible(lock)
        yield
