"""What a level is worth: its share of the residual's energy, by scaling list, qP' and place in the scan."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.h264.parameter_sets import ScalingLists
from codecmeta.codecs.h264.tables import table

QP_COUNT = 64  # qP' of 0..51 and 12 more at 10 bits
WEIGHTS_8X8 = 6 * QP_COUNT * 16  # where the 8x8 lists start in `w`
WEIGHTS_FIELD = WEIGHTS_8X8 + 6 * QP_COUNT * 64  # where the weights start that are in the order of the field scan


def energy_weights(scaling_lists: ScalingLists) -> np.ndarray:
    """The energy of a level of one in squared grey levels, by scaling list, qP' and position in the scan.

    float32, flat: [6 lists][64 qP'][16 positions], then [6 lists][64 qP'][64 positions], for the frame scan, then all
    of it for the field scan (scaling lists are in the order of the frame scan; which they are: `ScalingLists`).
    """
    weights = np.empty(2 * WEIGHTS_FIELD, np.float32)
    at = 0
    for kind in ("zigzag", "field"):
        for lists, size in ((scaling_lists[:6], 4), (scaling_lists[6:], 8)):
            energy, order = _of_flat_lists(kind, size)
            squares = np.array(lists, float)[:, None, order] ** 2
            weights[at : at + 6 * energy.size] = (energy * squares).reshape(-1)
            at += 6 * energy.size
    return weights


@cache
def _of_flat_lists(kind: str, size: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What a list of ones gives, float64 (64 qP', positions in the scan), and where each position stands in a list.

    From 8.5.12: a level is scaled by LevelScale * 2^(qP / 6) / 16 (4x4) or / 64 (8x8), then transformed and divided by
    64; the squared norms of the basis functions are 4 and 5 / 2 per dimension, and 8, 578 / 64 and 5.
    """
    norm, unit = (np.array([4, 2.5, 4, 2.5]), 16.0) if size == 4 else (np.array([8, 578 / 64, 5, 578 / 64] * 2), 64.0)
    qp = np.arange(QP_COUNT)
    doubling = (4.0 ** (qp // 6))[:, None] / 64.0**2
    scan, in_frames = np.array(table(f"{kind}_{size}x{size}")), np.array(table(f"zigzag_{size}x{size}"))
    adjust = np.array(table(f"normAdjust{size}x{size}"), float)[qp % 6][:, scan] / unit
    energy = np.outer(norm, norm).reshape(-1)[scan] * adjust**2 * doubling
    return energy, np.argsort(in_frames)[scan]
