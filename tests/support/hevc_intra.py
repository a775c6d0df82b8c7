"""Intra prediction of HEVC, plainly after clause 8.4.4.2: one block from the samples around it."""

from __future__ import annotations

import numpy as np
from numba import njit

ANGLE = np.array(
    [0, 0, 32, 26, 21, 17, 13, 9, 5, 2, 0, -2, -5, -9, -13, -17, -21, -26]
    + [-32, -26, -21, -17, -13, -9, -5, -2, 0, 2, 5, 9, 13, 17, 21, 26, 32]
)  # Table 8-5
INVERSE_ANGLE = np.zeros(35, np.int64)
INVERSE_ANGLE[11:26] = [-4096, -1638, -910, -630, -482, -390, -315, -256, -315, -390, -482, -630, -910, -1638, -4096]


@njit(cache=True, nogil=True)
def clip(low, high, value):
    return min(max(value, low), high)


@njit(cache=True, nogil=True)
def neighbours(plane, c, x, y, n, depth, address, region, intra, constrained):
    """8.4.4.2.2: 4n + 1 samples from the bottom left over the corner (index 2n) to the top right, substituted."""
    to_unit = 2 if c == 0 else 1  # samples to units of 4x4 luma
    height, width = plane.shape
    here = (y >> to_unit, x >> to_unit)
    p = np.zeros(4 * n + 1, np.int64)
    there = np.zeros(4 * n + 1, np.bool_)
    for i in range(4 * n + 1):
        nx = x - 1 if i <= 2 * n else x + i - 2 * n - 1
        ny = y - 1 if i >= 2 * n else y + 2 * n - 1 - i
        if nx < 0 or ny < 0 or nx >= width or ny >= height:
            continue
        unit = (ny >> to_unit, nx >> to_unit)
        if address[unit] > address[here] or region[unit] != region[here] or (constrained and not intra[unit]):
            continue
        p[i] = plane[ny, nx]
        there[i] = True
    if not there.any():
        p[:] = 1 << (depth - 1)
        return p
    first = 0
    while not there[first]:
        first += 1
    for i in range(first):
        p[i] = p[first]
    for i in range(first + 1, 4 * n + 1):
        if not there[i]:
            p[i] = p[i - 1]
    return p


@njit(cache=True, nogil=True)
def filtered(p, n, mode, depth, strong):
    """8.4.4.2.3, luma only."""
    if mode == 1 or n == 4:
        return p
    distance = min(abs(mode - 26), abs(mode - 10))
    if distance <= (7 if n == 8 else 1 if n == 16 else 0):
        return p
    q = p.copy()
    corner, end = 2 * n, 4 * n
    limit = 1 << (depth - 5)
    if (
        strong
        and n == 32
        and abs(p[corner] + p[end] - 2 * p[corner + n]) < limit
        and abs(p[corner] + p[0] - 2 * p[corner - n]) < limit
    ):
        for i in range(1, 64):
            q[corner + i] = ((64 - i) * p[corner] + i * p[end] + 32) >> 6
            q[corner - i] = ((64 - i) * p[corner] + i * p[0] + 32) >> 6
        return q
    for i in range(1, end):
        q[i] = (p[i - 1] + 2 * p[i] + p[i + 1] + 2) >> 2
    return q


@njit(cache=True, nogil=True)
def intra_prediction(p, n, mode, depth, c):
    """8.4.4.2.4 planar, .5 DC, .6 angular; p as `neighbours` orders it."""
    out = np.empty((n, n), np.int64)
    corner = 2 * n
    log2 = 2 if n == 4 else 3 if n == 8 else 4 if n == 16 else 5
    if mode == 0:
        for y in range(n):
            for x in range(n):
                out[y, x] = (
                    (n - 1 - x) * p[corner - 1 - y]
                    + (x + 1) * p[corner + 1 + n]
                    + (n - 1 - y) * p[corner + 1 + x]
                    + (y + 1) * p[corner - 1 - n]
                    + n
                ) >> (log2 + 1)
        return out
    if mode == 1:
        mean = n
        for i in range(n):
            mean += p[corner + 1 + i] + p[corner - 1 - i]
        mean >>= log2 + 1
        out[:] = mean
        if c == 0 and n < 32:
            out[0, 0] = (p[corner - 1] + 2 * mean + p[corner + 1] + 2) >> 2
            for i in range(1, n):
                out[0, i] = (p[corner + 1 + i] + 3 * mean + 2) >> 2
                out[i, 0] = (p[corner - 1 - i] + 3 * mean + 2) >> 2
        return out
    vertical = mode >= 18
    side = 1 if vertical else -1  # the reference runs over the top, or down the left
    angle = ANGLE[mode]
    ref = np.zeros(3 * n + 1, np.int64)  # ref[n + i] is ref[i] of the standard
    for i in range(n + 1):
        ref[n + i] = p[corner + side * i]
    if angle < 0:
        last = (n * angle) >> 5
        for i in range(-1, last - 1 if last < -1 else -1, -1):
            ref[n + i] = p[corner - side * ((i * INVERSE_ANGLE[mode] + 128) >> 8)]
    else:
        for i in range(n + 1, 2 * n + 1):
            ref[n + i] = p[corner + side * i]
    for j in range(n):  # along the direction of prediction
        whole, part = ((j + 1) * angle) >> 5, ((j + 1) * angle) & 31
        for i in range(n):
            at = n + i + whole + 1
            value = ref[at]
            if part:
                value = ((32 - part) * ref[at] + part * ref[at + 1] + 16) >> 5
            if vertical:
                out[j, i] = value
            else:
                out[i, j] = value
    if angle == 0 and c == 0 and n < 32:
        peak = (1 << depth) - 1
        for i in range(n):
            value = clip(0, peak, p[corner + side] + ((p[corner - side * (1 + i)] - p[corner]) >> 1))
            if vertical:
                out[i, 0] = value
            else:
                out[0, i] = value
    return out
