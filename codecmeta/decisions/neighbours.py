"""A series of numbers against its neighbours of the same kind: maxima, steps, jitter. Numba."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compiling import njit
from codecmeta.record.metadata import B, P


def window_maximum(values: NDArray[np.float64], reach: int, way: Literal[-1, 1]) -> NDArray[np.float64]:
    """The largest of the `reach` values before (-1) or after (+1) each one, itself left out; 0 at the end."""
    padded = np.pad(values, reach)
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach).max(axis=1)
    return windows[: len(values)] if way < 0 else windows[reach + 1 :]


def steps(values: NDArray[np.float64], kind: NDArray[np.uint8], reach: int) -> NDArray[np.float64]:
    """Median of the next pictures (row r among them) minus that of the last ones, like with like.

    P and B pictures are compared with their own kind, up to `reach` on each side, and the two averaged by their
    numbers. values: (n, series). Returns (n, series), NaN where neither kind has 2 known values on both sides.
    """
    step, weight = np.zeros(values.shape), np.zeros(values.shape)
    for of in (P, B):
        after, before, pairs = sides(np.ascontiguousarray(values), kind, of, reach, 0)
        known = pairs >= 2
        step[known] += (pairs * (after - before))[known]
        weight[known] += pairs[known]
    return np.divide(step, weight, out=np.full(values.shape, np.nan), where=weight > 0)


def jitter(values: NDArray[np.float64], kind: NDArray[np.uint8], reach: int) -> NDArray[np.float64]:
    """How much a series usually changes from one picture to the next of its kind, in the neighbourhood: the mean of
    the medians before and after row r, of P and of B pictures by their numbers. (n, series), 0 where unknown."""
    found, weight = np.zeros(values.shape), 0
    for of in (P, B):
        rows = np.flatnonzero(kind == of)
        if len(rows) < 6:
            continue
        change = np.full(values.shape, np.nan)
        change[rows[1:]] = np.abs(np.diff(values[rows], axis=0))
        before, after = medians(change, kind, of, reach)
        both = (np.fmin(before, after) + np.fmax(before, after)) / 2  # one side alone where the other is unknown
        found += len(rows) * np.nan_to_num(both)
        weight += len(rows)
    return found / max(weight, 1)


def medians(
    values: NDArray[np.float64], kind: NDArray[np.uint8], of: int, reach: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians of the `reach` nearest pictures of a kind before and after each row, the row itself left out."""
    after, before, _ = sides(np.ascontiguousarray(values), kind, of, reach, 1)
    return before, after


@njit(cache=True, nogil=True)
def _median(values, count):  # type: ignore[no-untyped-def]
    """Median of values[:count], which it sorts in place; NaN if there are none."""
    for i in range(1, count):
        value = values[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value
    if count == 0:
        return np.nan
    return 0.5 * (values[(count - 1) // 2] + values[count // 2])


@njit(cache=True, nogil=True)
def _gather(values, kind, of, series, start, way, reach, out):  # type: ignore[no-untyped-def]
    """Up to `reach` known values of one kind from row `start` on, going `way` (+1, -1), at most 5 * reach rows far."""
    count = 0
    row = start
    while 0 <= row < len(kind) and count < reach and abs(row - start) < 5 * reach:
        if kind[row] == of and not np.isnan(values[row, series]):
            out[count] = values[row, series]
            count += 1
        row += way
    return count


@njit(cache=True, nogil=True)
def sides(values, kind, of, reach, skip):  # type: ignore[no-untyped-def]
    """Medians of up to `reach` pictures of one kind from row r + skip on and before row r, and the smaller number of
    values that went into one: three arrays (n, series)."""
    rows, series = values.shape
    after, before, pairs = np.empty((rows, series)), np.empty((rows, series)), np.empty((rows, series))
    near = np.empty(reach)
    for s in range(series):
        if np.isnan(values[:, s]).all():  # a signal that does not exist costs nothing
            after[:, s], before[:, s], pairs[:, s] = np.nan, np.nan, 0
            continue
        for r in range(rows):
            new = _gather(values, kind, of, s, r + skip, 1, reach, near)
            after[r, s] = _median(near, new)
            old = _gather(values, kind, of, s, r - 1, -1, reach, near)
            before[r, s] = _median(near, old)
            pairs[r, s] = min(new, old)
    return after, before, pairs
