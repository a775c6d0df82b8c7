"""From motion vectors to a dense field: pixels per frame on a regular grid, with the places that have no vector
marked. Numba.

A vector says how far a block lies from its prediction, not over how many frames: FFmpeg exports the direction of the
reference but not which picture it is, so a steady pan of 3 pixels per frame appears as 3, 6, 9 or 12 pixels depending
on the picture. The field divides by the distance to the reference where the source knows it, else by an assumed one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecmeta.compiling import njit
from codecmeta.record.metadata import B, Frames, Metadata


@dataclass(frozen=True)
class MotionGrid:
    """Motion of T frames on a grid of square cells over the displayed picture.

    motion: float32 (T, rows, columns, 2), pixels per frame (x, y) at the stream's frame rate, of the picture content
    (the negative of the vector); 0 where nothing covers the cell. coverage: float32 (T, rows, columns), share of the
    cell that vectors cover: 0 for intra blocks, which are new content, not still content. assumed: bool (T,), whether
    the distance to the reference was assumed. known: bool (T,), False for frames whose vectors are not available at
    all.
    """

    motion: NDArray[np.float32]
    coverage: NDArray[np.float32]
    assumed: NDArray[np.bool_]
    known: NDArray[np.bool_]


def motion_grid(meta: Metadata, frames: ArrayLike, *, cell: int = 16) -> MotionGrid:
    """Dense, normalised motion of some frames.

    >>> field = motion_grid(meta, [10, 11, 12])
    >>> np.median(field.motion[field.coverage > 0.5], axis=0)        # a pan of 3 pixels per frame: [-3, 0]

    frames: int (T,), rows of the frame table that the metadata covers. cell: side of a cell in pixels of the displayed
    picture, a multiple of 4. Each cell takes the mean over the vectors on it, weighted by the area they share. Assumed
    distances: the previous I or P picture for P pictures; for B pictures the nearest I or P picture on the vector's
    side.

    Raises ValueError if the metadata has no motion at all, or for a cell that is not a multiple of 4.
    """
    rows = np.atleast_1d(np.asarray(frames, np.int64))
    if cell < 4 or cell % 4:
        raise ValueError(f"cell={cell}: expected a multiple of 4 pixels")
    if meta.motion is None:
        why = meta.capability.get("motion", {}).get("why", "not extracted")
        raise ValueError(f"{meta.path}: no motion vectors ({why})")
    shape = (-(-meta.stream.height // cell), -(-meta.stream.width // cell))
    motion = np.zeros((len(rows), *shape, 2), np.float32)
    coverage = np.zeros((len(rows), *shape), np.float32)
    assumed, known = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for at, row in enumerate(rows):
        vectors = meta.motion.of(int(row))
        if vectors is None:
            continue
        known[at] = True
        distance, assumed[at] = _distances(vectors, meta.motion.distance_of(int(row)), meta.frames, int(row))
        columns = [vectors[name].astype(np.float32) for name in ("dst_x", "dst_y", "w", "h")]
        columns += [-vectors[name] / vectors["scale"] / distance for name in ("motion_x", "motion_y")]
        table = np.stack(columns, axis=1).astype(np.float32) if len(vectors) else np.zeros((0, 6), np.float32)
        _spread(table, cell, meta.stream.width, meta.stream.height, motion[at], coverage[at])
    return MotionGrid(motion, coverage, assumed, known)


def _distances(
    vectors: NDArray[np.void], known: NDArray[np.int16] | None, frames: Frames, row: int
) -> tuple[NDArray[np.float64], bool]:
    """By how many frames each vector's reference is displayed earlier, and whether that was assumed for any.

    Dividing the displacement by it gives motion per frame whatever the side of the reference.
    """
    if known is not None and known.all():
        return -known.astype(np.float64), False
    past, future = 1, 1
    anchors = frames.picture_type != B
    while row - past > 0 and not anchors[row - past]:
        past += 1
    while row + future < len(anchors) - 1 and not anchors[row + future]:
        future += 1
    assumed = np.where(vectors["source"] < 0, float(past), float(-future))
    return (assumed if known is None else np.where(known == 0, assumed, -known)), bool(len(vectors))


@njit(cache=True, nogil=True)
def _spread(table, cell, width, height, motion, coverage):  # type: ignore[no-untyped-def]
    """table: float32 (n, 6) centre x, y, width, height, motion x, y. Writes area-weighted means into motion, and into
    coverage the share of each cell that lies under any vector, to 4x4 pixels (blocks of B pictures have two
    vectors)."""
    rows, columns = coverage.shape
    weight = np.zeros((rows, columns), np.float32)
    covered = np.zeros(((height + 3) // 4, (width + 3) // 4), np.bool_)
    for index in range(table.shape[0]):
        left, right = table[index, 0] - table[index, 2] / 2, table[index, 0] + table[index, 2] / 2
        top, bottom = table[index, 1] - table[index, 3] / 2, table[index, 1] + table[index, 3] / 2
        left, right, top, bottom = max(left, 0.0), min(right, width), max(top, 0.0), min(bottom, height)
        covered[int(top + 2) // 4 : int(bottom + 2) // 4, int(left + 2) // 4 : int(right + 2) // 4] = True
        for row in range(int(top) // cell, min(int(np.ceil(bottom / cell)), rows)):
            for column in range(int(left) // cell, min(int(np.ceil(right / cell)), columns)):
                across = min(right, (column + 1) * cell) - max(left, column * cell)
                down = min(bottom, (row + 1) * cell) - max(top, row * cell)
                if across > 0 and down > 0:
                    weight[row, column] += across * down
                    motion[row, column, 0] += across * down * table[index, 4]
                    motion[row, column, 1] += across * down * table[index, 5]
    for row in range(rows):
        for column in range(columns):
            if weight[row, column] > 0:
                motion[row, column, 0] /= weight[row, column]
                motion[row, column, 1] /= weight[row, column]
                under = covered[row * cell // 4 : (row + 1) * cell // 4, column * cell // 4 : (column + 1) * cell // 4]
                coverage[row, column] = under.mean()
