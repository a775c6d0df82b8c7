"""HEVC samples from syntax elements, plainly after clauses 8.4 to 8.6: no deblocking, no SAO, one block after another.

Intra prediction (8.4.4.2) is in hevc_intra.

FFmpeg with skip_loop_filter=all shows the same samples, references included, so one comparison judges partitions,
vectors, reference lists, intra modes, quantisers and levels at once. Slow on purpose; numba only loops here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from tests.support.hevc_intra import clip, filtered, intra_prediction, neighbours

# a transform block, in decoding order; x, y in samples of its plane
C, X, Y, LOG2, MODE, KIND, QP, MATRIX, START, COUNT, BLOCK_FIELDS = range(11)
BYPASS, SKIP, DST, PCM = 1, 2, 4, 8  # KIND; MODE is -1 in inter coding units
# a prediction block; R0, R1 index Coded.references, W0, W1 rows of Coded.weights, all -1 where unused
PX, PY, PW, PH, MX0, MY0, R0, W0, MX1, MY1, R1, W1, PART_FIELDS = range(13)


@dataclass
class Coded:
    """What the entropy parser says of one picture, in the terms of the standard."""

    width: int  # pic_width_in_luma_samples
    height: int
    ctb_log2: int
    bit_depth: tuple[int, int]
    monochrome: bool
    strong_intra_smoothing: bool
    constrained_intra_pred: bool
    min_tb_address: np.ndarray  # int32 per 4x4 luma block: decoding order of the picture (6.5.2)
    region: np.ndarray  # int32 per 4x4 luma block: equal where slice and tile are
    intra: np.ndarray  # bool per 4x4 luma block: CuPredMode is MODE_INTRA
    blocks: np.ndarray  # int32 (n, BLOCK_FIELDS)
    levels: np.ndarray  # int32 (m, 3): x, y in the block, TransCoeffLevel (or PCM sample)
    parts: np.ndarray = field(default_factory=lambda: np.zeros((0, PART_FIELDS), np.int32))
    scaling: np.ndarray | None = None  # uint8 (4, 6, 32, 32): sizeId, matrixId, y, x; None: flat 16
    references: list[list[np.ndarray]] = field(default_factory=list)  # planes
    weights: np.ndarray = field(default_factory=lambda: np.zeros((0, 3, 3), np.int32))  # per plane log2Wd, w, o


def _matrix() -> np.ndarray:
    """8.6.4.2 transMatrix: the 32-point one, from its 31 distinct column values and the symmetry of the cosine."""
    first = [64, 90, 90, 90, 89, 88, 87, 85, 83, 82, 80, 78, 75, 73, 70, 67, 64]
    first += [61, 57, 54, 50, 46, 43, 38, 36, 31, 25, 22, 18, 13, 9, 4, 0]
    matrix = np.empty((32, 32), np.int64)
    for k in range(32):
        for n in range(32):
            m = k * (2 * n + 1) % 128  # cos(m pi / 64)
            m, sign = (128 - m if m > 64 else m), 1
            if m > 32:
                m, sign = 64 - m, -1
            matrix[k, n] = sign * first[m]
    return matrix


DCT = _matrix()
DST4 = np.array([[29, 55, 74, 84], [74, 74, 0, -74], [84, -29, -74, 55], [55, -84, 74, -29]], np.int64)
LUMA_FILTER = np.array(
    [[0, 0, 0, 64, 0, 0, 0, 0], [-1, 4, -10, 58, 17, -5, 1, 0], [-1, 4, -11, 40, 40, -11, 4, -1]]
    + [[0, 1, -5, 17, 58, -10, 4, -1]]
)  # Table 8-11
CHROMA_FILTER = np.array(
    [[0, 64, 0, 0], [-2, 58, 10, -2], [-4, 54, 16, -2], [-6, 46, 28, -4]]
    + [[-4, 36, 36, -4], [-4, 28, 46, -6], [-2, 16, 54, -4], [-2, 10, 58, -2]]
)  # Table 8-12
LEVEL_SCALE = np.array([40, 45, 51, 57, 64, 72])


@njit(cache=True, nogil=True)
def scaled(levels, start, count, n, qp, depth, scaling, flat, matrix):
    """8.6.3 (8-309): transform coefficients of one block."""
    log2 = 2 if n == 4 else 3 if n == 8 else 4 if n == 16 else 5
    shift = depth + log2 - 5
    d = np.zeros((n, n), np.int64)
    for i in range(start, start + count):
        x, y = levels[i, 0], levels[i, 1]
        m = np.int64(16) if flat else np.int64(scaling[log2 - 2, matrix, y, x])
        value = levels[i, 2] * m * (LEVEL_SCALE[qp % 6] << (qp // 6))
        d[y, x] = clip(-32768, 32767, (value + (np.int64(1) << (shift - 1))) >> shift)
    return d


@njit(cache=True, nogil=True)
def inverse_transform(d, kind, depth):
    """8.6.4: transform skip, DST or DCT, columns first, and the last shift."""
    n = d.shape[0]
    shift = 20 - depth
    r = np.zeros((n, n), np.int64)
    if kind & SKIP:
        for y in range(n):
            for x in range(n):
                r[y, x] = ((d[y, x] << 7) + (1 << (shift - 1))) >> shift
        return r
    step = 32 // n
    g = np.zeros((n, n), np.int64)
    for x in range(n):
        for k in range(n):
            if d[k, x]:
                for y in range(n):
                    g[y, x] += d[k, x] * (DST4[k, y] if kind & DST else DCT[k * step, y])
    for y in range(n):
        for x in range(n):
            g[y, x] = clip(-32768, 32767, (g[y, x] + 64) >> 7)
    for y in range(n):
        for k in range(n):
            if g[y, k]:
                for x in range(n):
                    r[y, x] += g[y, k] * (DST4[k, x] if kind & DST else DCT[k * step, x])
        for x in range(n):
            r[y, x] = (r[y, x] + (1 << (shift - 1))) >> shift
    return r


@njit(cache=True, nogil=True)
def interpolated(plane, x, y, w, h, mx, my, c, depth):
    """8.5.3.3.3: predSamples at 14 bits; vectors in quarter samples of luma, eighths of chroma."""
    height, width = plane.shape
    bits = 2 if c == 0 else 3
    taps, before = (8, 3) if c == 0 else (4, 1)
    table = LUMA_FILTER if c == 0 else CHROMA_FILTER
    fx, fy = mx & ((1 << bits) - 1), my & ((1 << bits) - 1)
    left, top = x + (mx >> bits), y + (my >> bits)
    out = np.empty((h, w), np.int64)
    if fx == 0 and fy == 0:
        for j in range(h):
            for i in range(w):
                sample = np.int64(plane[clip(0, height - 1, top + j), clip(0, width - 1, left + i)])
                out[j, i] = sample << (14 - depth)
        return out
    rows = np.empty((h + taps - 1, w), np.int64)
    shift1 = min(4, depth - 8)
    for j in range(h + taps - 1):
        row = clip(0, height - 1, top + j - before)
        for i in range(w):
            total = np.int64(0)
            for k in range(taps):
                total += table[fx, k] * plane[row, clip(0, width - 1, left + i + k - before)]
            rows[j, i] = total
    for j in range(h):
        for i in range(w):
            if fy == 0:
                out[j, i] = rows[j + before, i] >> shift1
                continue
            total = np.int64(0)
            for k in range(taps):
                # without a horizontal part the rows are 64 times the samples, and shift1 applies to the columns
                total += table[fy, k] * ((rows[j + k, i] >> 6) if fx == 0 else (rows[j + k, i] >> shift1))
            out[j, i] = total >> (shift1 if fx == 0 else 6)
    return out


@njit(cache=True, nogil=True)
def combined(a, b, depth, weight_a, weight_b, explicit, both):
    """8.5.3.3.4.2 default and 8.5.3.3.4.3 explicit weighting; weights are (log2Wd, w, o)."""
    peak = (1 << depth) - 1
    shift = 14 - depth
    out = np.empty(a.shape, np.int64)
    for j in range(a.shape[0]):
        for i in range(a.shape[1]):
            if not explicit:
                if both:
                    value = (a[j, i] + b[j, i] + (1 << shift)) >> (shift + 1)
                else:
                    value = (a[j, i] + ((1 << shift) >> 1)) >> shift
            else:
                log2wd = weight_a[0] + shift
                if both:
                    value = a[j, i] * weight_a[1] + b[j, i] * weight_b[1]
                    value = (value + ((weight_a[2] + weight_b[2] + 1) << log2wd)) >> (log2wd + 1)
                elif log2wd >= 1:
                    value = ((a[j, i] * weight_a[1] + (1 << (log2wd - 1))) >> log2wd) + weight_a[2]
                else:
                    value = a[j, i] * weight_a[1] + weight_a[2]
            out[j, i] = clip(0, peak, value)
    return out


@njit(cache=True, nogil=True)
def predict_parts(plane, references, c, depth, parts, weights):
    """Inter prediction of all prediction blocks of one plane; references: (number, height, width)."""
    half = 0 if c == 0 else 1
    none = np.zeros(3, np.int64)
    for i in range(len(parts)):
        p = parts[i]
        x, y, w, h = p[PX] >> half, p[PY] >> half, p[PW] >> half, p[PH] >> half
        both = p[R0] >= 0 and p[R1] >= 0
        first, second = none, none
        if p[W0] >= 0:
            first = weights[p[W0], c]
        if p[W1] >= 0:
            second = weights[p[W1], c]
        if p[R0] >= 0:
            a = interpolated(references[p[R0]], x, y, w, h, p[MX0], p[MY0], c, depth)
            b = a
            if both:
                b = interpolated(references[p[R1]], x, y, w, h, p[MX1], p[MY1], c, depth)
        else:
            a = interpolated(references[p[R1]], x, y, w, h, p[MX1], p[MY1], c, depth)
            b, first = a, second
        plane[y : y + h, x : x + w] = combined(a, b, depth, first, second, p[W0] >= 0 or p[W1] >= 0, both)


@njit(cache=True, nogil=True)
def reconstruct_blocks(
    plane, residual, c, depth, strong, constrained, address, region, intra, blocks, levels, scaling, flat
):
    """Intra prediction and residual of all transform blocks of one plane, in decoding order."""
    peak = (1 << depth) - 1
    for i in range(len(blocks)):
        b = blocks[i]
        if b[C] != c:
            continue
        x, y, n, mode, kind = b[X], b[Y], 1 << b[LOG2], b[MODE], b[KIND]
        if kind & PCM:
            for k in range(b[START], b[START] + b[COUNT]):
                plane[y + levels[k, 1], x + levels[k, 0]] = levels[k, 2]
            continue
        if mode >= 0:
            p = neighbours(plane, c, x, y, n, depth, address, region, intra, constrained)
            if c == 0:
                p = filtered(p, n, mode, depth, strong)
            plane[y : y + n, x : x + n] = intra_prediction(p, n, mode, depth, c)
        if b[COUNT] == 0:
            continue
        if kind & BYPASS:
            r = np.zeros((n, n), np.int64)
            for k in range(b[START], b[START] + b[COUNT]):
                r[levels[k, 1], levels[k, 0]] = levels[k, 2]
        else:
            d = scaled(levels, b[START], b[COUNT], n, b[QP], depth, scaling, flat, b[MATRIX])
            r = inverse_transform(d, kind, depth)
        residual[y : y + n, x : x + n] = r
        for j in range(n):
            for k in range(n):
                plane[y + j, x + k] = clip(0, peak, plane[y + j, x + k] + r[j, k])


def reconstruct(coded: Coded) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Planes of samples and of residuals, int32, of the coded size."""
    planes, residuals = [], []
    blocks, levels = coded.blocks.astype(np.int64), coded.levels.astype(np.int64)
    flat = coded.scaling is None
    scaling = np.full((4, 6, 32, 32), 16, np.uint8) if coded.scaling is None else coded.scaling
    for c in range(1 if coded.monochrome else 3):
        half, depth = int(c > 0), coded.bit_depth[c > 0]
        plane = np.zeros((coded.height >> half, coded.width >> half), np.int32)
        residual = np.zeros_like(plane)
        if len(coded.parts):
            references = np.stack([one[c] for one in coded.references]).astype(np.int32)
            parts, weights = coded.parts.astype(np.int64), coded.weights.astype(np.int64)
            predict_parts(plane, references, c, depth, parts, weights)
        reconstruct_blocks(
            plane,
            residual,
            c,
            depth,
            coded.strong_intra_smoothing,
            coded.constrained_intra_pred,
            coded.min_tb_address,
            coded.region,
            coded.intra,
            blocks,
            levels,
            scaling,
            flat,
        )
        planes.append(plane)
        residuals.append(residual)
    return planes, residuals


def decoding_order(
    width: int, height: int, ctb_log2: int, column_bounds: list[int], row_bounds: list[int], slice_starts: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """6.5.1, 6.5.2 per 4x4 luma block: decoding order, and the number of its slice and tile.

    column_bounds, row_bounds: tile boundaries in CTBs, 0 and the end included. slice_starts: slice addresses
    (SliceAddrRs) of the independent slice segments.
    """
    columns, rows = -(-width >> ctb_log2), -(-height >> ctb_log2)
    scan, tile_of = [], {}
    for ty in range(len(row_bounds) - 1):
        for tx in range(len(column_bounds) - 1):
            for y in range(row_bounds[ty], row_bounds[ty + 1]):
                for x in range(column_bounds[tx], column_bounds[tx + 1]):
                    tile_of[y * columns + x] = ty * (len(column_bounds) - 1) + tx
                    scan.append(y * columns + x)
    size = 1 << (ctb_log2 - 2)
    morton = np.zeros((size, size), np.int32)
    for bit in range(ctb_log2 - 2):
        at = np.arange(size) >> bit & 1
        morton |= (at[None, :] << 2 * bit | at[:, None] << (2 * bit + 1)).astype(np.int32)
    address = np.zeros((rows * size, columns * size), np.int32)
    region = np.zeros_like(address)
    current, starts = 0, set(slice_starts)
    for order, ctb in enumerate(scan):
        if ctb in starts:
            current = ctb
        y, x = divmod(ctb, columns)
        where = np.s_[y * size : (y + 1) * size, x * size : (x + 1) * size]
        address[where] = order * size * size + morton
        region[where] = current * len(scan) + tile_of[ctb]
    return address, region


def default_scaling_list(size: int, matrix: int) -> list[int]:
    """Tables 7-5 and 7-6, in the order in which lists are coded."""
    if size == 0:
        return [16] * 16
    intra = [16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 17, 16, 17, 16, 17, 18, 17, 18, 18, 17, 18, 21, 19, 20, 21, 20, 19]
    intra += [21, 24, 22, 22, 24, 24, 22, 22, 24, 25, 25, 27, 30, 27, 25, 25, 29, 31, 35, 35, 31, 29, 36, 41, 44, 41]
    intra += [36, 47, 54, 54, 47, 65, 70, 65, 88, 88, 115]
    inter = [16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 17, 17, 17, 17, 17, 18, 18, 18, 18, 18, 18, 20, 20, 20, 20, 20, 20]
    inter += [20, 24, 24, 24, 24, 24, 24, 24, 24, 25, 25, 25, 25, 25, 25, 25, 28, 28, 28, 28, 28, 28, 33, 33, 33, 33]
    inter += [33, 41, 41, 41, 41, 54, 54, 54, 71, 71, 91]
    return intra if matrix < 3 else inter


def scaling_factors(lists: list | None, dc: list | None) -> np.ndarray:
    """7.4.5 ScalingFactor, uint8 (sizeId, matrixId, y, x); lists[sizeId][matrixId] as coded, None: the defaults."""
    factors = np.full((4, 6, 32, 32), 16, np.uint8)
    for size in range(4):
        width = 4 if size == 0 else 8
        places = sorted(np.ndindex(width, width), key=lambda at: (at[0] + at[1], at[0]))  # (x, y), up-right diagonal
        for matrix in range(0, 6, 3 if size == 3 else 1):
            values = default_scaling_list(size, matrix) if lists is None else lists[size][matrix]
            small = np.zeros((width, width), np.uint8)
            for (x, y), value in zip(places, values, strict=True):
                small[y, x] = value
            repeat = (4 << size) // width
            factors[size, matrix, : 4 << size, : 4 << size] = np.kron(small, np.ones((repeat, repeat), np.uint8))
            if size >= 2:
                factors[size, matrix, 0, 0] = 16 if dc is None else dc[size][matrix]
    return factors
