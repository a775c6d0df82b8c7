"""From decoded luma and exported vectors to an estimate of the residual energy per 8x8 block. Numba.

Definition, per 8x8 block of the displayed luma (high bit depths are rounded to 8 bits first); the value is the root of
the mean squared error in grey levels:

* ``motion_compensated`` - frames whose vectors are known. The error of the decoded pixels against the prediction that
  the vectors make from decoded reference frames, quarter-pel by bilinear interpolation; where a pixel has a past and a
  future prediction they are averaged (the first two, should more vectors reach it). The reference is the nearest I/P
  picture on the vector's side. H.264 has more than one, and FFmpeg exports a direction, not a reference index, so there
  per vector the better of two candidates is taken: for P pictures the two I/P pictures before it; for B pictures the
  nearest I/P picture and the frame next to it on that side. A block less than half covered by vectors is an intra
  block, and has the error of the rule below.
* ``intra`` - I pictures of codecs with vectors. The smallest of the errors of three predictions from the decoded pixels
  above and to the left of the block: horizontal, vertical, and their mean (DC).
* ``previous_or_intra`` - frames without known vectors. The smaller, per block, of ``intra`` and of the difference to
  the frame displayed before it (``intra`` alone for the first frame of a keyframe segment).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.compiling import njit
from codecmeta.record.metadata import B, I

BLOCK = 8

_MOST_PENDING = 16  # the largest picture buffer of H.264; a stream with more B-frames in a row gets no future anchor


@dataclass(frozen=True)
class LumaFrame:
    """One decoded frame on its way through the estimator. picture: its luma, uint8 (height, width), or the decoded
    frame itself, from which luma is taken if somebody needs it. vectors: dtype VECTOR in pixels of that picture, or
    None where they are not known. wanted: False for a frame that is only a reference of others."""

    row: int
    picture_type: int
    picture: Any
    vectors: NDArray[np.void] | None
    wanted: bool = True

    @cached_property
    def luma(self) -> NDArray[np.uint8]:
        """uint8 (height, width)."""
        return self.picture if isinstance(self.picture, np.ndarray) else luma_plane(self.picture)


@dataclass
class ResidualEstimator:
    """Takes the frames of one keyframe segment in display order, gives their residual maps in the same order.

    has_vectors: whether this codec has vectors at all. one_reference: whether a vector has but one picture on its side
    that it can refer to, as in every codec with vectors but H.264. Holds back B-frames until the picture they predict
    from is there.
    """

    has_vectors: bool
    one_reference: bool = False
    _pending: list[LumaFrame] = field(default_factory=list)
    _anchors: list[LumaFrame] = field(default_factory=list)
    _previous: LumaFrame | None = None

    def push(self, frame: LumaFrame) -> list[tuple[int, NDArray[np.float32], str]]:
        """Give one frame; returns what is now known: (row, rms error float32 (rows, columns), source)."""
        self._pending.append(frame)
        waits = frame.picture_type == B and frame.vectors is not None and len(self._pending) < _MOST_PENDING
        return [] if waits else self.finish()

    def finish(self) -> list[tuple[int, NDArray[np.float32], str]]:
        """The maps of every frame still held back."""
        pending, self._pending = self._pending, []
        future = pending[-1] if pending and pending[-1].picture_type != B else None
        known = []
        for at, frame in enumerate(pending):
            after = pending[at + 1] if at + 1 < len(pending) else None
            if frame.wanted:
                known.append((frame.row, *self._estimate(frame, after, future)))
            self._previous = frame
            if frame.picture_type != B:
                self._anchors = [*self._anchors[-1:], frame]
        return known

    def _estimate(
        self, frame: LumaFrame, after: LumaFrame | None, future: LumaFrame | None
    ) -> tuple[NDArray[np.float32], str]:
        if self.has_vectors and frame.picture_type == I:
            return np.sqrt(intra_error(frame.luma)), "intra"
        if frame.vectors is None:
            if self._previous is None or self._previous.luma.shape != frame.luma.shape:
                return np.sqrt(intra_error(frame.luma)), "previous_or_intra"
            difference = difference_error(frame.luma, self._previous.luma)
            return np.sqrt(np.minimum(intra_error(frame.luma), difference)), "previous_or_intra"
        past: list[LumaFrame | None] = [*self._anchors[-1:]]
        ahead = [future]
        if not self.one_reference:
            past += [self._previous] if frame.picture_type == B else self._anchors[-2:-1]
            ahead += [after]
        references = [[one.luma if one is not None else None for one in side] for side in (past, ahead)]
        error = motion_error(frame.luma, frame.vectors, *references)
        uncovered = np.isnan(error)
        if uncovered.any():
            error[uncovered] = intra_error(frame.luma)[uncovered]
        return np.sqrt(error), "motion_compensated"


def motion_error(
    luma: NDArray[np.uint8],
    vectors: NDArray[np.void],
    past: Sequence[NDArray[np.uint8] | None],
    future: Sequence[NDArray[np.uint8] | None],
) -> NDArray[np.float32]:
    """Mean squared error per 8x8 block against motion-compensated prediction, NaN where vectors cover less than half.

    luma: uint8 (height, width). vectors: dtype VECTOR. past, future: up to two candidate references each.
    """
    usable = [[one for one in side if one is not None and one.shape == luma.shape][:2] for side in (past, future)]
    candidates = [one for side in usable for one in side]
    references = [*candidates, *[luma] * (4 - len(candidates))]
    columns = [
        vectors[name].astype(np.int32)
        for name in ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "scale")
    ]
    table = np.ascontiguousarray(np.stack(columns, axis=1)) if len(vectors) else np.zeros((0, 8), np.int32)
    scales = table[table[:, 7] > 0, 7]
    finest = int(np.lcm.reduce(np.unique(scales))) if len(scales) else 1
    return _motion_error(luma, table, *references, len(usable[0]), len(usable[1]), finest)


def rounded_rms(rms: NDArray[np.floating], steps: int) -> NDArray[np.float16]:
    """Root mean squares rounded to so many steps per power of two, float16: what compresses well."""
    mantissa, exponent = np.frexp(np.minimum(rms, 60000).astype(np.float32))  # damaged streams have any coefficient
    return np.ldexp(np.rint(mantissa * 2 * steps) / (2 * steps), exponent).astype(np.float16)


def stored_estimate(rms: NDArray[np.float32]) -> NDArray[np.float16]:
    """An estimate as it is kept: float16 in four steps per power of two, and zero below one grey level.

    One level is what rounding the picture and its prediction to integers can add up to, and the assumptions of the
    estimate cost more than the steps. Finer values would only make the cache larger than the video.
    """
    return np.where(rms < 1, np.float16(0), rounded_rms(rms, 4))


def luma_plane(frame: Any) -> NDArray[np.uint8]:
    """The luma of a decoded PyAV frame as 8-bit grey levels, uint8 (height, width), copied out of the frame."""
    first = frame.format.components[0]
    plane = frame.planes[0]
    planar_luma = first.is_luma and not first.is_alpha and frame.format.is_planar and not frame.format.is_big_endian
    if planar_luma and first.bits == 8:
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        return rows[: frame.height, : frame.width].copy()
    if planar_luma and 8 < first.bits <= 16:
        deep = np.frombuffer(plane, np.uint16).reshape(-1, plane.line_size // 2)[: frame.height, : frame.width]
        shift = first.bits - 8
        return np.minimum((deep.astype(np.uint32) + (1 << shift >> 1)) >> shift, 255).astype(np.uint8)
    return frame.to_ndarray(format="gray")


# The block kernels below go along whole lines of the picture and add up blocks at the end: compilers turn that into
# vector instructions, four times faster than block by block. All sums are whole numbers, so no order changes them.


@njit(cache=True, nogil=True)
def _sum_by_block(values: NDArray[Any], sums: NDArray[Any]) -> None:
    """The sum of every eight values of a line, and of the rest of it, into `sums`."""
    whole = len(values) // 8
    for column in range(whole):
        total = np.int64(0)
        for x in range(8):  # a fixed number is what gets unrolled
            total += values[column * 8 + x]
        sums[column] = total
    if whole < len(sums):
        sums[whole] = values[whole * 8 :].sum()


@njit(cache=True, nogil=True)
def intra_error(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean squared error per 8x8 block, float32 (rows, columns), of the best of horizontal, vertical and DC prediction
    from the decoded neighbours (DC of the block itself in the top left corner, which has none).

    All three follow from a block's sums of values by row and by column, and its sum of squares.
    """
    height, width = luma.shape
    error = np.empty(((height + 7) // 8, (width + 7) // 8), np.float32)
    by_column, squares, vertical = np.empty(width, np.int32), np.empty(width, np.int32), np.empty(width, np.int32)
    by_row, left, above, total, square, horizontal, upright = np.empty((7, error.shape[1]), np.int32)
    for row in range(error.shape[0]):
        y0, y1 = row * 8, min(row * 8 + 8, height)
        rows = np.int32(y1 - y0)
        by_column[:], squares[:], left[:], horizontal[:] = 0, 0, 0, 0
        for y in range(y0, y1):
            line = luma[y]
            for x in range(width):
                value = np.int32(line[x])
                by_column[x] += value
                squares[x] += value * value
            _sum_by_block(line, by_row)
            for column in range(1, error.shape[1]):
                beside, across = np.int32(line[column * 8 - 1]), np.int32(min(8, width - column * 8))
                left[column] += beside
                horizontal[column] += beside * (across * beside - 2 * by_row[column])
        line = luma[max(y0 - 1, 0)]
        for x in range(width):
            value = np.int32(line[x])
            vertical[x] = value * (rows * value - 2 * by_column[x])
        _sum_by_block(line, above)
        _sum_by_block(by_column, total)
        _sum_by_block(squares, square)
        _sum_by_block(vertical, upright)
        for column in range(error.shape[1]):
            across = np.int32(min(8, width - column * 8))
            pixels, known, count = rows * across, np.int32(0), np.int32(0)
            best = np.int32(2**31 - 1)
            if column > 0:
                known, count, best = known + left[column], count + rows, horizontal[column]
            if row > 0:
                known, count, best = known + above[column], count + across, min(best, upright[column])
            if count == 0:
                known, count = total[column], pixels
            mean = np.int32((2 * known + count) // (2 * count))
            error[row, column] = (square[column] + min(best, mean * (pixels * mean - 2 * total[column]))) / pixels
    return error


@njit(cache=True, nogil=True)
def difference_error(luma: NDArray[np.uint8], previous: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean squared difference of two pictures per 8x8 block, float32 (rows, columns)."""
    height, width = luma.shape
    error = np.empty(((height + 7) // 8, (width + 7) // 8), np.float32)
    squares, square = np.empty(width, np.int32), np.empty(error.shape[1], np.int32)
    for row in range(error.shape[0]):
        squares[:] = 0
        y1 = min(row * 8 + 8, height)
        for y in range(row * 8, y1):
            one, other = luma[y], previous[y]
            for x in range(width):
                difference = np.int32(one[x]) - np.int32(other[x])
                squares[x] += difference * difference
        _sum_by_block(squares, square)
        for column in range(error.shape[1]):
            error[row, column] = square[column] / (min(8, width - column * 8) * (y1 - row * 8))
    return error


@njit(cache=True, nogil=True)
def block_means(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean luma of every 16x16 block that lies whole in the picture, float32 (rows, columns)."""
    rows, columns = luma.shape[0] // 16, luma.shape[1] // 16
    means = np.empty((rows, columns), np.float32)
    by_column = np.empty(columns * 16, np.int32)
    for row in range(rows):
        by_column[:] = 0
        for y in range(row * 16, row * 16 + 16):
            line = luma[y]
            for x in range(columns * 16):
                by_column[x] += np.int32(line[x])
        for column in range(columns):
            means[row, column] = by_column[column * 16 : column * 16 + 16].sum() / 256
    return means


@njit(cache=True, nogil=True)
def _predict(
    reference: NDArray[np.uint8], x0: int, y0: int, motion_x: int, motion_y: int, scale: int, out: NDArray[np.int32]
) -> None:
    """Bilinear prediction of the block at (y0, x0) into `out`, in units of 1 / scale^2.

    The reference continues beyond its edges with the edge's pixels, as in the standards.
    """
    height, width = reference.shape
    rows, columns = out.shape
    left, top = x0 + motion_x // scale, y0 + motion_y // scale
    part_x, part_y = np.int32(motion_x % scale), np.int32(motion_y % scale)
    rest_x, rest_y = np.int32(scale) - part_x, np.int32(scale) - part_y
    inside = left >= 0 and top >= 0 and left + columns < width and top + rows < height
    for y in range(rows):
        if not inside:
            upper = reference[min(max(top + y, 0), height - 1)]
            lower = reference[min(max(top + y + 1, 0), height - 1)]
            for x in range(columns):
                a, b = min(max(left + x, 0), width - 1), min(max(left + x + 1, 0), width - 1)
                above = np.int32(upper[a]) * rest_x + np.int32(upper[b]) * part_x
                below = np.int32(lower[a]) * rest_x + np.int32(lower[b]) * part_x
                out[y, x] = above * rest_y + below * part_y
            continue
        first = reference[top + y, left : left + columns + 1]
        if part_x == 0 and part_y == 0:
            for x in range(columns):
                out[y, x] = np.int32(first[x]) * (rest_x * rest_y)
            continue
        second = reference[top + y + 1, left : left + columns + 1]
        for x in range(columns):
            above = np.int32(first[x]) * rest_x + np.int32(first[x + 1]) * part_x
            below = np.int32(second[x]) * rest_x + np.int32(second[x + 1]) * part_x
            out[y, x] = above * rest_y + below * part_y


@njit(cache=True, nogil=True)
def _squared_error(block: NDArray[np.uint8], prediction: NDArray[np.int32], square: int) -> np.int64:
    """Squared error of a prediction in units of 1 / square, in units of 1 / square^2."""
    error = np.int64(0)
    for y in range(block.shape[0]):
        for x in range(block.shape[1]):
            difference = np.int32(block[y, x]) * np.int32(square) - prediction[y, x]
            error += np.int64(difference) * difference
    return error


@njit(cache=True, nogil=True)
def _motion_error(
    luma: NDArray[np.uint8],
    vectors: NDArray[np.int32],
    reference0: NDArray[np.uint8],
    reference1: NDArray[np.uint8],
    reference2: NDArray[np.uint8],
    reference3: NDArray[np.uint8],
    past: int,
    future: int,
    finest: int,
) -> NDArray[np.float32]:
    """The first `past` references serve vectors into the past, the `future` ones after them those into the future.
    finest: a multiple of every vector's scale; predictions are summed in units of 1 / finest^2."""
    height, width = luma.shape
    total = np.zeros((height, width), np.int32)
    count = np.zeros((height, width), np.uint8)
    trials = np.empty((2, 64, 64), np.int32)
    for index in range(vectors.shape[0]):
        source, w, h, dst_x, dst_y, motion_x, motion_y, scale = vectors[index]
        x0, y0 = max(dst_x - w // 2, 0), max(dst_y - h // 2, 0)
        x1, y1 = min(dst_x - w // 2 + w, width, x0 + 64), min(dst_y - h // 2 + h, height, y0 + 64)
        first = 0 if source < 0 else past
        last = past if source < 0 else past + future
        if x1 <= x0 or y1 <= y0 or first == last or scale <= 0:
            continue
        best, smallest = 0, np.int64(-1)
        for which in range(first, last):
            reference = reference0
            if which == 1:
                reference = reference1
            elif which == 2:
                reference = reference2
            elif which == 3:
                reference = reference3
            trial = trials[which - first, : y1 - y0, : x1 - x0]
            _predict(reference, x0, y0, motion_x, motion_y, scale, trial)
            if last - first > 1:
                error = _squared_error(luma[y0:y1, x0:x1], trial, scale * scale)
                if smallest < 0 or error < smallest:
                    best, smallest = which - first, error
        unit = np.int32((finest // scale) ** 2)
        for y in range(y1 - y0):
            sums, counts, values = total[y0 + y, x0:x1], count[y0 + y, x0:x1], trials[best, y]
            for x in range(x1 - x0):
                first_two = counts[x] < 2
                sums[x] += values[x] * unit if first_two else np.int32(0)
                counts[x] += np.uint8(1) if first_two else np.uint8(0)
    return _block_error(luma, total, count, finest * finest)


@njit(cache=True, nogil=True)
def _block_error(
    luma: NDArray[np.uint8], total: NDArray[np.int32], count: NDArray[np.uint8], square: int
) -> NDArray[np.float32]:
    """Mean squared error per 8x8 block of predictions summed in units of 1 / square, NaN where less than half of the
    block is predicted. count: predictions of each pixel, 0 to 2."""
    height, width = luma.shape
    error = np.empty(((height + 7) // 8, (width + 7) // 8), np.float32)
    squares, predicted = np.empty(width, np.int64), np.empty(width, np.int32)
    square_by_block, covered = np.empty(error.shape[1], np.int64), np.empty(error.shape[1], np.int32)
    for row in range(error.shape[0]):
        squares[:], predicted[:] = 0, 0
        y1 = min(row * 8 + 8, height)
        for y in range(row * 8, y1):
            line, sums, counts = luma[y], total[y], count[y]
            for x in range(width):
                n = np.int32(counts[x])
                difference = np.int32(line[x]) * np.int32(square) * n - sums[x]  # n times too large
                weight = np.int32(4) if n == 1 else np.int32(1)
                squares[x] += np.int64(difference * difference * weight)
                predicted[x] += np.int32(1) if n else np.int32(0)
        _sum_by_block(squares, square_by_block)
        _sum_by_block(predicted, covered)
        for column in range(error.shape[1]):
            known = covered[column] > 0 and 2 * covered[column] >= min(8, width - column * 8) * (y1 - row * 8)
            unit = 4 * np.float64(square) ** 2 * covered[column]
            error[row, column] = square_by_block[column] / unit if known else np.nan
    return error
