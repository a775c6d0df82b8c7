"""Bits and residual energy per block -> by how much some part of a picture stands out, whatever the whole does.

The onset of something small is one or two deviations of a packet's size where the camera shakes or the night is noisy,
and drowns. Inside the picture it does not: what the camera or the light changes, it changes everywhere, so each cell of
a coarse grid is compared with the median cell of its picture, then with itself in pictures of the same kind around it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codecmeta.decisions.packet_events import KEY, NEIGHBOURHOOD, frames_per_second, running_median
from codecmeta.record.metadata import Maps, Metadata

CELLS = (6, 8)
STRONGEST = 4
"""Cells whose mean deviation says how far the picture stands out: about a twelfth of it."""

FLOOR_OF_A_CELL = 0.3
FLOOR_OF_A_PICTURE = 0.15
CLIP = (-2.0, 6.0)
_VALUES_AT_ONCE = 1 << 22


def block_evidence(meta: Metadata, kinds: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """float64 (n,): deviations from the usual, as `packet_events.outstanding` gives them for sizes, from the bits per
    block, else from the residual; None where neither is known of nearly every frame. 0 for keyframes.

    kinds: of `packet_events.picture_kinds`.
    """
    for maps, square in ((meta.bits, False), (meta.residual, True)):
        if maps is not None and len(maps.frame) >= 0.9 * len(kinds):
            return _standing_out(_cells(maps, len(kinds), square), kinds, meta.frames.time)
    return None


def _cells(maps: Maps, count: int, square: bool) -> NDArray[np.float64]:
    """float64 (n, cells): log of the sum of the values in each cell, or of their mean square; less the median cell."""
    height, width = maps.values.shape[1:]
    rows = np.linspace(0, height, CELLS[0] + 1).astype(int)[:-1]
    columns = np.linspace(0, width, CELLS[1] + 1).astype(int)[:-1]
    area = np.outer(np.diff(np.append(rows, height)), np.diff(np.append(columns, width))).clip(min=1)
    result = np.zeros((count, CELLS[0] * CELLS[1]))
    together = max(1, _VALUES_AT_ONCE // max(height * width, 1))
    for first in range(0, len(maps.frame), together):
        part = np.asarray(maps.values[first : first + together], np.float32)
        sums = np.add.reduceat(np.add.reduceat(part**2 if square else part, rows, axis=1), columns, axis=2)
        # below half a grey level squared, or a bit a block, is rounding
        cells = np.log(sums / area + 0.5) if square else np.log(sums + 8.0)
        result[maps.frame[first : first + together]] = cells.reshape(len(part), -1)
    return result - np.median(result, axis=1, keepdims=True)


def _standing_out(
    cells: NDArray[np.float64], kinds: NDArray[np.int64], time: NDArray[np.float64]
) -> NDArray[np.float64]:
    rate = frames_per_second(time)
    result = np.zeros(len(cells))
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        if kind == KEY or len(rows) < 8:
            continue
        width = max(int(NEIGHBOURHOOD * rate * len(rows) / len(kinds)) | 1, 9)
        away = np.stack([_deviations(one, width, FLOOR_OF_A_CELL) for one in cells[rows].T], axis=1)
        strongest = np.partition(np.clip(away, *CLIP), -STRONGEST, axis=1)[:, -STRONGEST:].mean(axis=1)
        result[rows] = _deviations(strongest, width, FLOOR_OF_A_PICTURE)
    return np.clip(result, *CLIP)


def _deviations(values: NDArray[np.float64], width: int, floor: float) -> NDArray[np.float64]:
    away = values - running_median(np.ascontiguousarray(values), width)
    return away / (1.4826 * running_median(np.abs(away), width) + floor)
