"""The kernels of extraction, compiled or loaded before the work begins."""

from __future__ import annotations

import numpy as np

from codecmeta.codecs.protocol import entry_kernels
from codecmeta.compiling import in_turn
from codecmeta.decoding import estimate
from codecmeta.record.display import Display, QpBlocks, qp_map
from codecmeta.record.metadata import VECTOR, I, P


def warm_up(codec: str = "") -> None:
    """Load every kernel that extraction uses for any codec, and those of the parser of `codec` (FFmpeg's name) if it
    has one, compiling what numba's cache does not have; says so on stderr. A parser that is not named here is loaded
    when its first stream is opened."""
    for kernel in entry_kernels(codec):
        kernel.prepare()
    with in_turn(str(estimate.intra_error.stats.cache_path)):
        luma = np.zeros((16, 16), np.uint8)
        for has_vectors in (True, False):
            estimator = estimate.ResidualEstimator(has_vectors)
            for row, kind in enumerate((I, P)):
                vectors = np.zeros(1, VECTOR) if has_vectors else None
                estimator.push(estimate.LumaFrame(row, kind, luma, vectors, True))
        qp_map(QpBlocks(0, np.zeros((1, 5), np.int32)), Display(16, 16, 0, 0, 0, 16, 16))
