"""Bits or residual energy since the last sample -> how much is new in each cell of a token grid.

`patch_density` stretches every frame to 0..1, so that a frame in which nothing happened ranks as loudly as one in which
everything did. Here frames stay comparable: one scale for the whole clip.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecmeta.decisions.budget import frame_rows
from codecmeta.record.metadata import Maps, Metadata

Signal = Literal["bits_first", "residual_first", "bits", "residual"]


def cell_novelty(
    meta: Metadata,
    frames: ArrayLike,
    grid: tuple[int, int],
    *,
    view: tuple[float, float, float, float] | None = None,
    pictures: int = 1,
    signal: Signal = "bits_first",
    intra: bool = True,
) -> NDArray[np.float64]:
    """Root of what the codec sent for each cell since the last sample, relative to the clip: mean 1.

    >>> novelty = cell_novelty(meta, rows, (14, 14))
    >>> novelty.shape, round(novelty.mean(), 6)
    ((16, 14, 14), 1.0)

    What a sample is worth is the mean over all stored frames after the sample before it, its own included: with
    metadata of the sampled frames alone that is the frame itself, with frames="all" everything that was sent in
    between. The first sample has its own frame alone. Nothing is new in a sample that repeats the frame before it. Cell
    values are means over exactly the pixels that the cell sees, fractions of blocks by area, 0 where it sees none;
    the root keeps a few loud blocks from outshouting all others.

    frames: int (T * pictures,), rows of the frame table, ascending. grid: (rows, columns). view: rectangle (x0, y0, x1,
    y1) of displayed pixels that the grid covers, default the whole picture. pictures: sampled pictures per temporal
    position, which count together. signal: bits per 16x16 block, or mean square of the residual; of "bits_first" and
    "residual_first" each position takes the first that is stored for it, each on a scale of its own. intra: count
    frames of type I, whose bits are texture rather than change; without them a position that has no other is worth the
    mean of its clip.

    Returns float64 (T, rows, columns). Raises ValueError where a position has no signal at all.
    """
    rows = frame_rows(frames, len(meta.frames))
    if len(rows) % pictures:
        raise ValueError(f"{len(rows)} frames do not make whole positions of {pictures} pictures")
    width, height = meta.stream.width, meta.stream.height
    x0, y0, x1, y1 = (0.0, 0.0, float(width), float(height)) if view is None else map(float, view)
    last = rows[pictures - 1 :: pictures]
    start = np.concatenate((rows[:1], last[:-1] + 1))
    novelty = np.zeros((len(last), *grid))
    missing = np.ones(len(last), bool)
    for name in {"bits_first": ("bits", "residual"), "residual_first": ("residual", "bits")}.get(signal, (signal,)):
        maps: Maps | None = getattr(meta, name)
        if maps is None:
            continue
        tall = _overlaps(np.linspace(y0, y1, grid[0] + 1), maps.block, maps.origin_y, maps.values.shape[1], height)
        wide = _overlaps(np.linspace(x0, x1, grid[1] + 1), maps.block, maps.origin_x, maps.values.shape[2], width)
        area = tall.sum(axis=1)[:, None] * wide.sum(axis=1)
        found = np.full(len(last), False)
        unknown = np.full(len(last), False)
        for t in np.flatnonzero(missing):
            first, end = np.searchsorted(maps.frame, (start[t], last[t] + 1))
            found[t] = end > first or start[t] > last[t]
            which = np.arange(first, end)
            if not intra:
                which = which[meta.frames.picture_type[maps.frame[first:end]] != ord("I")]
            unknown[t] = found[t] and not len(which) and start[t] <= last[t]
            for at in which:
                values = np.asarray(maps.values[at], np.float64)
                sums = tall @ (values**2 if name == "residual" else values) @ wide.T
                novelty[t] += np.divide(sums, area, out=np.zeros(grid), where=area > 0) / len(which)
        novelty[found] = np.sqrt(novelty[found])
        known = found & ~unknown
        mean = novelty[known].mean() if known.any() else 0.0
        # rounded, or the order in which a machine adds up would break ties between equal cells
        novelty[known] = np.round(novelty[known] / mean, 9) if mean > 0 else 0.0
        novelty[unknown] = 1.0
        missing &= ~found
    if missing.any():
        raise ValueError(
            f"no {signal.replace('_first', '')} stored for {int(missing.sum())} of {len(last)} sampled frames (the "
            f"first is row {last[missing][0]}); extract them with frames='all', or choose rows that are stored"
        )
    return novelty


def _overlaps(edges: NDArray[np.float64], block: int, origin: int, blocks: int, side: int) -> NDArray[np.float64]:
    """float64 (cells, blocks): how many displayed pixels of each block lie in each cell, along one axis.

    edges: (cells + 1,), borders of the cells in displayed pixels. side: displayed pixels along the axis.
    """
    low = np.maximum(origin + block * np.arange(blocks), 0)
    high = np.minimum(origin + block * (np.arange(blocks) + 1), side)
    return np.maximum(0.0, np.minimum(edges[1:, None], high) - np.maximum(edges[:-1, None], low))
