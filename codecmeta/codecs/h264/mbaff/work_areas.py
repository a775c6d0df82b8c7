"""The arrays of slice_data_of_pairs() that only it knows."""

from __future__ import annotations

import numpy as np

from codecmeta.codecs.h264 import state
from codecmeta.codecs.h264.mbaff.neighbours import EDGE, LIST_STRIDE_OF_ONE, TOTALS


class WorkAreas:
    """of_one: n, t, m, e, v, g, q, r, kv, kr, km and k of `state` for a picture of one macroblock. of_frame: pw, pn, px
    and pq of `neighbours` for a frame of so many macroblocks."""

    def __init__(self, macroblocks: int) -> None:
        self.macroblocks = macroblocks
        blocks = 2 * LIST_STRIDE_OF_ONE
        self.of_one = (
            np.zeros(state.N_TOP + state.N_COLUMN, np.uint8),
            np.zeros(state.T_TOP + 1, np.int32),
            np.zeros(4, np.int32),
            np.zeros(32, np.float32),
            np.zeros(blocks, np.int32),
            np.zeros(blocks, np.int8),
            np.zeros(blocks, np.uint16),
            np.zeros(8, np.int8),
            np.zeros(blocks, np.int32),
            np.zeros(8, np.int8),
            np.zeros(4, np.int32),
            np.zeros(32 + 64, np.int32),
        )
        edges = 2 * EDGE * macroblocks
        self.of_frame = (
            np.zeros(2 * macroblocks, np.int32),
            np.zeros(TOTALS * macroblocks, np.uint8),
            np.zeros(edges, np.int32),
            np.zeros(edges, np.uint16),
        )
