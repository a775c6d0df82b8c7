"""An order of the cells of a grid in which any first few lie far apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dispersed_order(grid: tuple[int, int]) -> NDArray[np.int64]:
    """Every cell of a grid once, so that the first few of any number lie far apart: raster numbers, int64 (N,).

    >>> dispersed_order((2, 2))
    array([0, 3, 1, 2])

    Ordered dithering (Bayer 1973): the bits of row and column, row XOR column first, read from the lowest up.
    """
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    rank = np.zeros(len(row), np.int64)
    for bit in range(int(max(grid) - 1).bit_length()):
        rank = (rank << 2) | ((((row ^ column) >> bit) & 1) << 1) | ((row >> bit) & 1)
    return np.argsort(rank, kind="stable").astype(np.int64)


def tile_turns(frames: int, grid: tuple[int, int]) -> NDArray[np.int64]:
    """When each cell comes up in each frame, int64 (T, N): 2x2 tiles in dispersed order, a fifth of them later in every
    frame; the cells of a tile follow each other, so that they can share a token."""
    rows, columns = (-(-side // 2) for side in grid)
    turn = np.empty(rows * columns, np.int64)
    turn[dispersed_order((rows, columns))] = np.arange(rows * columns)
    row, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    tile = turn[row // 2 * columns + column // 2]
    later = np.arange(frames)[:, None] * len(turn) // 5
    return (tile - later) % len(turn) * 4 + row % 2 * 2 + column % 2
