"""From a record to series of numbers, one per frame and cell of the picture: what `events` looks at. Numba."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codecmeta.compiling import njit
from codecmeta.record.metadata import B, I, Maps, Metadata, Motion, P, Probe

CELLS = (6, 8)
"""The picture is watched in this many rows and columns of cells."""

_VALUES_AT_ONCE = 1 << 22  # of vectors or blocks that are read together: tens of MB


@dataclass
class Signals:
    """What is known about each row r; NaN where it is not known.

    kind: uint8 (n,), I for intra pictures and keyframes, P, or B. key: bool (n,), keyframes. bytes: (n,), log of the
    packet size. past, future: (n,), share of the picture predicted from pictures displayed before, after it. energy,
    moving, intra: (n, cells): log of the mean square residual; share of blocks that move against the median motion;
    share without prediction. motion: (n, cells, 2), pixels per frame. luma: (n,), change of the decoded block means
    since the frame before.
    """

    kind: NDArray[np.uint8]
    key: NDArray[np.bool_]
    bytes: NDArray[np.float64]
    past: NDArray[np.float64]
    future: NDArray[np.float64]
    energy: NDArray[np.float64]
    moving: NDArray[np.float64]
    intra: NDArray[np.float64]
    motion: NDArray[np.float64]
    luma: NDArray[np.float64]


def dense_signals(meta: Metadata | Probe) -> tuple[Maps | None, Motion | None]:
    """Residual maps and vectors where nearly every frame has them, else None."""
    residual, motion = getattr(meta, "residual", None), getattr(meta, "motion", None)
    covered = max((len(one.frame) for one in (residual, motion) if one is not None), default=0)
    return (residual, motion) if covered >= 0.9 * len(meta.frames) else (None, None)


def read_signals(meta: Metadata | Probe, residual: Maps | None, motion: Motion | None) -> Signals:
    table = meta.frames
    kind = np.where(table.keyframe | (table.picture_type == I), I, np.where(table.picture_type == B, B, P))
    count, cells = len(table), CELLS[0] * CELLS[1]
    unknown = np.full((count, cells), np.nan)
    signals = Signals(
        kind=kind.astype(np.uint8),
        key=table.keyframe,
        bytes=np.log(table.packet_bytes + 30.0),  # a skipped picture still has a header
        past=np.full(count, np.nan),
        future=np.full(count, np.nan),
        energy=unknown,
        moving=unknown.copy(),
        intra=unknown.copy(),
        motion=np.full((count, cells, 2), np.nan),
        luma=np.full(count, np.nan),
    )
    if residual is not None:
        _read_energy(residual, signals)
        if len(residual.luma_change):
            signals.luma[residual.frame] = residual.luma_change
    if motion is not None:
        _read_motion(motion, meta, signals)
        if (
            residual is not None
        ):  # decoded, yet without a vector: an all-intra picture (the last one may just lack them)
            bare = np.setdiff1d(residual.frame, [*motion.frame, count - 1])
            bare = bare[signals.kind[bare] == P]
            signals.past[bare], signals.future[bare], signals.intra[bare] = 0.0, 0.0, 1.0
    return signals


def _read_energy(maps: Maps, signals: Signals) -> None:
    height, width = maps.values.shape[1:]
    row_edges = np.linspace(0, height, CELLS[0] + 1).astype(int)
    column_edges = np.linspace(0, width, CELLS[1] + 1).astype(int)
    area = np.outer(np.maximum(np.diff(row_edges), 1), np.maximum(np.diff(column_edges), 1))
    together = max(1, min(64, _VALUES_AT_ONCE // max(height * width, 1)))
    for first in range(0, len(maps.frame), together):
        energy = np.square(np.asarray(maps.values[first : first + together], np.float32))
        sums = np.add.reduceat(np.add.reduceat(energy, row_edges[:-1], axis=1), column_edges[:-1], axis=2)
        part = np.log(sums / area + 0.5)  # half a grey level squared: below it is rounding
        signals.energy[maps.frame[first : first + together]] = part.reshape(len(part), -1)


def _read_motion(motion: Motion, meta: Metadata | Probe, signals: Signals) -> None:
    """Vectors are brought to pixels per frame under the usual assumption: they refer to the nearest I or P picture."""
    anchors = np.flatnonzero(signals.kind != B)
    before = np.searchsorted(anchors, motion.frame) - 1
    after = np.searchsorted(anchors, motion.frame, side="right")
    behind = np.maximum(motion.frame - anchors[np.maximum(before, 0)], 1)
    ahead = np.maximum(anchors[np.minimum(after, len(anchors) - 1)] - motion.frame, 1)
    blocks = (max(-(-meta.stream.height // 8), CELLS[0]), max(-(-meta.stream.width // 8), CELLS[1]))
    against = max(0.5, meta.stream.width / 640)
    together = max(1, min(64, _VALUES_AT_ONCE // max(int(np.diff(motion.indptr).max(initial=0)), 1)))
    for first in range(0, len(motion.frame), together):
        part = slice(first, min(first + together, len(motion.frame)))
        start, stop = int(motion.indptr[part.start]), int(motion.indptr[part.stop])
        vectors = motion.vectors[start:stop]
        moved = np.stack([vectors[name].astype(np.float32) for name in ("motion_x", "motion_y")], axis=1)
        shares, cells = read_vectors(
            motion.indptr[first : part.stop + 1] - start,
            np.stack([vectors[name].astype(np.int32) for name in ("source", "w", "h", "dst_x", "dst_y")], axis=1),
            moved / np.maximum(vectors["scale"], 1).astype(np.float32)[:, None],
            np.stack([behind[part], ahead[part]], axis=1).astype(np.float64),
            blocks,
            CELLS,
            against,
        )
        rows = motion.frame[part]
        predicted = signals.kind[rows] != I
        rows, shares, cells = rows[predicted], shares[predicted], cells[predicted]
        signals.past[rows], signals.future[rows] = shares.T
        signals.moving[rows], signals.intra[rows] = cells[..., 0], cells[..., 1]
        signals.motion[rows] = cells[..., 2:]


@njit(cache=True, nogil=True)
def read_vectors(indptr, blocks, moved, distance, size, cells, against):  # type: ignore[no-untyped-def]
    """Paint the vectors of each frame on an 8x8-pixel grid and sum it up.

    indptr: (k + 1,). blocks: int32 (m, 5) source, w, h, centre x, y. moved: float32 (m, 2) pixels. distance: (k, 2)
    frames to the past, the future reference. size: (rows, columns) of the grid. cells: the same of the cells. against:
    pixels per frame. Returns shares (k, 2), predicted from the past, the future; and (k, cells, 4): share that moves
    against the median motion, share without prediction, mean motion x, y (NaN where nothing is predicted).
    """
    frames = len(indptr) - 1
    rows, columns = size
    shares = np.zeros((frames, 2))
    result = np.zeros((frames, cells[0] * cells[1], 4))
    known = np.empty((2, rows, columns), np.bool_)
    motion = np.empty((2, rows, columns, 2), np.float32)
    x_all, y_all = np.empty(rows * columns, np.float32), np.empty(rows * columns, np.float32)
    for f in range(frames):
        known[:] = False
        for v in range(indptr[f], indptr[f + 1]):
            side = 0 if blocks[v, 0] < 0 else 1
            scale = 1 / distance[f, 0] if side == 0 else -1 / distance[f, 1]
            top, left = blocks[v, 4] - blocks[v, 2] // 2, blocks[v, 3] - blocks[v, 1] // 2
            for r in range(max(0, (top + 4) // 8), min(rows, (top + blocks[v, 2] + 4) // 8)):
                for c in range(max(0, (left + 4) // 8), min(columns, (left + blocks[v, 1] + 4) // 8)):
                    known[side, r, c] = True
                    motion[side, r, c, 0] = moved[v, 0] * scale
                    motion[side, r, c, 1] = moved[v, 1] * scale
        count = 0
        for r in range(rows):
            for c in range(columns):
                shares[f, 0] += known[0, r, c]
                shares[f, 1] += known[1, r, c]
                if known[0, r, c] and known[1, r, c]:
                    motion[0, r, c] = (motion[0, r, c] + motion[1, r, c]) / 2
                elif known[1, r, c]:
                    motion[0, r, c] = motion[1, r, c]
                if known[0, r, c] or known[1, r, c]:
                    x_all[count] = motion[0, r, c, 0]
                    y_all[count] = motion[0, r, c, 1]
                    count += 1
        shares[f] /= rows * columns
        middle_x = np.median(x_all[:count]) if count else 0.0
        middle_y = np.median(y_all[:count]) if count else 0.0
        for i in range(cells[0]):
            for j in range(cells[1]):
                area = predicted = 0
                cell = result[f, i * cells[1] + j]
                for r in range(i * rows // cells[0], (i + 1) * rows // cells[0]):
                    for c in range(j * columns // cells[1], (j + 1) * columns // cells[1]):
                        area += 1
                        if known[0, r, c] or known[1, r, c]:
                            predicted += 1
                            x, y = motion[0, r, c, 0], motion[0, r, c, 1]
                            cell[0] += max(abs(x - middle_x), abs(y - middle_y)) > against
                            cell[2] += x
                            cell[3] += y
                cell[0] /= area
                cell[1] = 1 - predicted / area
                cell[2] = cell[2] / predicted if predicted else np.nan
                cell[3] = cell[3] / predicted if predicted else np.nan
    return shares, result
