"""From decoded luma and exported vectors to an estimate of the residual energy per 8x8 block. Numba.

Definition, per 8x8 block of the displayed luma (high bit depths are rounded to 8 bits first); the value is the root of
the mean squared error in grey levels:

* ``motion_compensated`` - frames whose vectors are known. The error of the decoded pixels against the prediction that
  the vectors make from decoded reference frames, quarter-pel by bilinear interpolation; where a pixel has a past and a
  future prediction they are averaged. FFmpeg exports a direction, not a reference index, so per vector the better of
  two candidates is taken: for P pictures the two I/P pictures before it; for B pictures the nearest I/P picture on
  that side and the frame next to it on that side. A block less than half covered by vectors is an intra block, and
  has the error of the rule below.
* ``intra`` - I pictures of codecs with vectors. The smallest of the errors of three predictions from the decoded pixels
  above and to the left of the block: horizontal, vertical, and their mean (DC).
* ``previous_or_intra`` - frames without known vectors. The smaller, per block, of ``intra`` and of the difference to
  the
  frame displayed before it (``intra`` alone for the first frame of a keyframe segment).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codecmeta.metadata import B, I

BLOCK = 8
SOURCES = ("bitstream", "motion_compensated", "intra", "previous_or_intra")
"""The ladder, best first. `Maps.source` indexes it. "bitstream" is filled by parsers that read coefficients."""

_MOST_PENDING = 16  # the largest picture buffer of H.264; a stream with more B-frames in a row gets no future anchor


@dataclass(frozen=True)
class LumaFrame:
    """One decoded frame on its way through the estimator. luma: uint8 (height, width). vectors: dtype VECTOR in pixels
    of that picture, or None where they are not known. wanted: False for a frame that is only a reference of others."""

    row: int
    picture_type: int
    luma: NDArray[np.uint8]
    vectors: NDArray[np.void] | None
    wanted: bool = True


@dataclass
class ResidualEstimator:
    """Takes the frames of one keyframe segment in display order, gives their residual maps in the same order.

    has_vectors: whether this codec has vectors at all. Holds back B-frames until the picture they predict from is
    there.
    """

    has_vectors: bool
    _pending: list[LumaFrame] = field(default_factory=list)
    _anchors: list[NDArray[np.uint8]] = field(default_factory=list)
    _previous: NDArray[np.uint8] | None = None

    def push(self, frame: LumaFrame) -> list[tuple[int, NDArray[np.float32], str]]:
        """Give one frame; returns what is now known: (row, rms error float32 (rows, columns), source)."""
        self._pending.append(frame)
        waits = frame.picture_type == B and frame.vectors is not None and len(self._pending) < _MOST_PENDING
        return [] if waits else self.finish()

    def finish(self) -> list[tuple[int, NDArray[np.float32], str]]:
        """The maps of every frame still held back."""
        pending, self._pending = self._pending, []
        future = pending[-1].luma if pending and pending[-1].picture_type != B else None
        known = []
        for at, frame in enumerate(pending):
            after = pending[at + 1].luma if at + 1 < len(pending) else None
            if frame.wanted:
                known.append((frame.row, *self._estimate(frame, after, future)))
            self._previous = frame.luma
            if frame.picture_type != B:
                self._anchors = [*self._anchors[-1:], frame.luma]
        return known

    def _estimate(
        self, frame: LumaFrame, after: NDArray[np.uint8] | None, future: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.float32], str]:
        intra = intra_error(frame.luma)
        if self.has_vectors and frame.picture_type == I:
            return np.sqrt(intra), "intra"
        if frame.vectors is None:
            if self._previous is None or self._previous.shape != frame.luma.shape:
                return np.sqrt(intra), "previous_or_intra"
            return np.sqrt(np.minimum(intra, difference_error(frame.luma, self._previous))), "previous_or_intra"
        past = self._anchors[-1:] + ([self._previous] if frame.picture_type == B else self._anchors[-2:-1])
        error = motion_error(frame.luma, frame.vectors, past, [future, after])
        return np.sqrt(np.where(np.isnan(error), intra, error)), "motion_compensated"


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
    return _motion_error(luma, table, *references, len(usable[0]), len(usable[1]))


def rounded_rms(rms: NDArray[np.floating], steps: int) -> NDArray[np.float16]:
    """Root mean squares rounded to so many steps per power of two, float16: what compresses well."""
    mantissa, exponent = np.frexp(rms.astype(np.float32))
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


@njit(cache=True, nogil=True)
def intra_error(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean squared error per 8x8 block, float32 (rows, columns), of the best of horizontal, vertical and DC prediction
    from the decoded neighbours (DC of the block itself in the top left corner, which has none)."""
    height, width = luma.shape
    rows, columns = (height + 7) // 8, (width + 7) // 8
    result = np.empty((rows, columns), np.float32)
    for row in range(rows):
        y0, y1 = row * 8, min(row * 8 + 8, height)
        for column in range(columns):
            x0, x1 = column * 8, min(column * 8 + 8, width)
            total, count = np.int64(0), np.int64(0)
            if y0 > 0:
                for x in range(x0, x1):
                    total += luma[y0 - 1, x]
                count += x1 - x0
            if x0 > 0:
                for y in range(y0, y1):
                    total += luma[y, x0 - 1]
                count += y1 - y0
            if count == 0:
                for y in range(y0, y1):
                    for x in range(x0, x1):
                        total += luma[y, x]
                count = (x1 - x0) * (y1 - y0)
            mean = (2 * total + count) // (2 * count)
            dc, horizontal, vertical = np.int64(0), np.int64(0), np.int64(0)
            for y in range(y0, y1):
                for x in range(x0, x1):
                    value = np.int64(luma[y, x])
                    dc += (value - mean) ** 2
                    if x0 > 0:
                        horizontal += (value - np.int64(luma[y, x0 - 1])) ** 2
                    if y0 > 0:
                        vertical += (value - np.int64(luma[y0 - 1, x])) ** 2
            best = dc
            if x0 > 0:
                best = min(best, horizontal)
            if y0 > 0:
                best = min(best, vertical)
            result[row, column] = best / ((y1 - y0) * (x1 - x0))
    return result


@njit(cache=True, nogil=True)
def difference_error(luma: NDArray[np.uint8], previous: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean squared difference of two pictures per 8x8 block, float32 (rows, columns)."""
    height, width = luma.shape
    rows, columns = (height + 7) // 8, (width + 7) // 8
    result = np.empty((rows, columns), np.float32)
    for row in range(rows):
        y0, y1 = row * 8, min(row * 8 + 8, height)
        for column in range(columns):
            x0, x1 = column * 8, min(column * 8 + 8, width)
            total = np.int64(0)
            for y in range(y0, y1):
                for x in range(x0, x1):
                    total += (np.int64(luma[y, x]) - np.int64(previous[y, x])) ** 2
            result[row, column] = total / ((y1 - y0) * (x1 - x0))
    return result


@njit(cache=True, nogil=True)
def _predict(
    luma: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    x0: int,
    y0: int,
    x1: int,
    y1: int,
    motion_x: int,
    motion_y: int,
    scale: int,
    out: NDArray[np.float32],
) -> np.int64:
    """Bilinear prediction of the block [x0, x1) x [y0, y1) into `out`; returns its squared error in units of scale^4.

    The reference continues beyond its edges with the edge's pixels, as in the standards.
    """
    height, width = luma.shape
    step_x, step_y = motion_x // scale, motion_y // scale
    part_x, part_y = np.int32(motion_x - step_x * scale), np.int32(motion_y - step_y * scale)
    rest_x, rest_y = np.int32(scale) - part_x, np.int32(scale) - part_y
    square = np.int32(scale * scale)
    inside = x0 + step_x >= 0 and x1 + step_x < width and y0 + step_y >= 0 and y1 + step_y < height
    error = np.int64(0)
    for y in range(y0, y1):
        upper = min(max(y + step_y, 0), height - 1)
        lower = min(max(y + step_y + (1 if part_y else 0), 0), height - 1)
        line = np.int64(0)
        for x in range(x0, x1):
            left, right = x + step_x, x + step_x + 1
            if not inside:
                left, right = min(max(left, 0), width - 1), min(max(right, 0), width - 1)
            above = np.int32(reference[upper, left]) * rest_x + np.int32(reference[upper, right]) * part_x
            below = np.int32(reference[lower, left]) * rest_x + np.int32(reference[lower, right]) * part_x
            value = above * rest_y + below * part_y
            out[y - y0, x - x0] = np.float32(value) / np.float32(square)
            difference = np.int32(luma[y, x]) * square - value
            line += np.int64(difference) * difference
        error += line
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
) -> NDArray[np.float32]:
    """The first `past` references serve vectors into the past, the `future` ones after them those into the future."""
    height, width = luma.shape
    prediction = np.zeros((height, width), np.float32)
    count = np.zeros((height, width), np.uint8)
    trial, best = np.empty((64, 64), np.float32), np.empty((64, 64), np.float32)
    for index in range(vectors.shape[0]):
        source, w, h, dst_x, dst_y, motion_x, motion_y, scale = vectors[index]
        x0, y0 = max(dst_x - w // 2, 0), max(dst_y - h // 2, 0)
        x1, y1 = min(dst_x - w // 2 + w, width, x0 + 64), min(dst_y - h // 2 + h, height, y0 + 64)
        first = 0 if source < 0 else past
        last = past if source < 0 else past + future
        if x1 <= x0 or y1 <= y0 or first == last or scale <= 0:
            continue
        smallest = np.int64(-1)
        for which in range(first, last):
            reference = reference0
            if which == 1:
                reference = reference1
            elif which == 2:
                reference = reference2
            elif which == 3:
                reference = reference3
            error = _predict(luma, reference, x0, y0, x1, y1, motion_x, motion_y, scale, trial)
            if smallest < 0 or error < smallest:
                smallest = error
                trial, best = best, trial
        for y in range(y0, y1):
            for x in range(x0, x1):
                prediction[y, x] += best[y - y0, x - x0]
                count[y, x] += 1
    return _block_error(luma, prediction, count)


@njit(cache=True, nogil=True)
def _block_error(
    luma: NDArray[np.uint8], prediction: NDArray[np.float32], count: NDArray[np.uint8]
) -> NDArray[np.float32]:
    height, width = luma.shape
    rows, columns = (height + 7) // 8, (width + 7) // 8
    result = np.empty((rows, columns), np.float32)
    for row in range(rows):
        y0, y1 = row * 8, min(row * 8 + 8, height)
        for column in range(columns):
            x0, x1 = column * 8, min(column * 8 + 8, width)
            total, covered = np.float64(0.0), 0
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if count[y, x]:
                        total += (np.float64(luma[y, x]) - prediction[y, x] / count[y, x]) ** 2
                        covered += 1
            inter = 2 * covered >= (y1 - y0) * (x1 - x0)
            result[row, column] = total / covered if inter else np.nan
    return result
