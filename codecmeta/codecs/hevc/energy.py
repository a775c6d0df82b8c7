"""Clause 8.6.4: from the levels of a transform block to the energy of its residual.

A level becomes a coefficient with the standard's own rounding (8.6.4.2). Rows of the transform matrices have squared
norm 4096 N, within 0.13 %, so the energy of a small block is the sum of its squared coefficients times one weight.
Larger blocks are transformed, to find how their energy lies over the picture's 8x8 blocks: the first transform goes by
columns that hold anything, the second uses that a row of the matrix is symmetric or antisymmetric. All that is linear;
what is left out is the rounding of residual samples to integers.
"""

from __future__ import annotations

from numba import types

from codecmeta.codecs.hevc.state import (
    B_LEVELS,
    BYPASS,
    F_4,
    F_8,
    F_16,
    F_32,
    K_BIT_DEPTH,
    K_HEIGHT,
    K_WIDTH,
    LEVEL_COUNT,
    MODE_INTRA,
    PRED_MODE,
    W_COLUMN,
    W_EVEN,
    W_LOW,
    W_ODD,
)
from codecmeta.codecs.hevc.tables import table
from codecmeta.codecs.syntax.jit import F32P, F64, I32P, I64, I64P, U8P, VOID, constant, kernel, leading_zeros

F32 = types.float32
LEVEL_SCALE = constant(table("levelScale"), "int64")
MATRIX = constant(table("transMatrix"), "float32").reshape(-1)
FACTORS = constant([F_4, F_8, F_16, F_32], "int64")


@kernel(VOID(F32P, I64, I64, F32, I64))
def add_column(w, to, row, factor, count):
    """w[to ...] += factor * MATRIX[row ...]; `count` is a variable so that the compiler makes a vector loop of it."""
    for i in range(count):
        w[to + i] += factor * MATRIX[row + i]


@kernel(VOID(F32P, I64, I64, F32, I64))
def add_scaled(w, to, source, factor, count):
    """w[to ...] += factor * w[source ...]."""
    for i in range(count):
        w[to + i] += factor * w[source + i]


@kernel(VOID(F32P, I64, I64, I64))
def add_squares(w, low, high, count):
    """Squares of the samples of two columns that lie as mirror images: even + odd part, even - odd part."""
    for i in range(count):
        one = w[W_EVEN + i] + w[W_ODD + i]
        w[low + i] += one * one
    for i in range(count):
        one = w[W_EVEN + i] - w[W_ODD + i]
        w[high + i] += one * one


@kernel(VOID(F32P, I64, I64))
def clear(w, at, count):
    for i in range(count):
        w[at + i] = F32(0)


@kernel(VOID(F32P, F32P, I64, I64, I64, I64, I64, I64, F64))
def spread_columns(w, e, first, stride, log2, log2_cell, used, step, weight):
    """The second transform: energy of each cell of the block into e. `used`: which columns W_COLUMN holds, as bits."""
    size = I64(1) << log2
    cells = size >> log2_cell
    clear(w, W_LOW, 32 * cells)
    for x in range(size >> 1):
        clear(w, W_EVEN, size)
        clear(w, W_ODD, size)
        rest = used
        while rest:
            column = 63 - leading_zeros(rest & -rest)
            rest &= rest - 1
            factor = MATRIX[(column << step) * 32 + x]
            add_scaled(w, W_ODD if column & 1 else W_EVEN, W_COLUMN + 32 * column, factor, size)
        add_squares(w, W_LOW + 32 * (x >> log2_cell), W_LOW + 32 * ((size - 1 - x) >> log2_cell), size)
    fours = I64(1) << (log2_cell - 2)  # 4x4 blocks along a cell
    for cell_y in range(cells):
        for cell_x in range(cells):
            total = 0.0
            source = W_LOW + 32 * cell_x + (cell_y << log2_cell)
            for y in range(1 << log2_cell):
                total += F64(w[source + y])
            total *= weight
            if fours == 2:
                to = first + 2 * cell_y * stride + 2 * cell_x
                total *= 0.25
                e[to] += F32(total)
                e[to + 1] += F32(total)
                e[to + stride] += F32(total)
                e[to + stride + 1] += F32(total)
            else:
                e[first + cell_y * stride + cell_x] += F32(total)


@kernel(VOID(I64P, I32P, U8P, I32P, F32P, F32P, I64, I64, I64, I64, I64))
def add_energy(s, k, f, b, w, e, x0, y0, log2, cIdx, qP):
    """The energy of the levels at b[B_LEVELS] into e; x0, y0: of the block, in samples of its component."""
    count = s[LEVEL_COUNT]
    stride = I64(k[K_WIDTH]) >> (3 if cIdx else 2)
    plane = I64(0)
    if cIdx:
        plane = (I64(k[K_WIDTH]) >> 2) * (k[K_HEIGHT] >> 2)
        plane += (cIdx - 1) * stride * (k[K_HEIGHT] >> 3)
    first = plane + (y0 >> 2) * stride + (x0 >> 2)
    if s[BYPASS]:
        for i in range(count):
            at, level = I64(b[B_LEVELS + 2 * i]), F64(b[B_LEVELS + 2 * i + 1])
            e[first + (at >> 7) * stride + ((at & 31) >> 2)] += F32(level * level)
        return
    depth = I64(k[K_BIT_DEPTH + I64(cIdx > 0)])
    shift = depth + log2 - 5
    scale = LEVEL_SCALE[qP % 6] << (qP // 6)
    rounding = I64(1) << (shift - 1)
    inter = s[PRED_MODE] != MODE_INTRA
    factors = FACTORS[log2 - 2]
    if log2 == 5:
        factors += 1024 if inter else 0
    else:
        factors += (cIdx + (3 if inter else 0)) << (2 * log2)
    log2_cell = I64(2) if cIdx else I64(3)
    small = log2 <= log2_cell or (count == 1 and b[B_LEVELS] == 0)
    step = 5 - log2
    used, squares = I64(0), 0.0
    for i in range(count):
        at, level = I64(b[B_LEVELS + 2 * i]), I64(b[B_LEVELS + 2 * i + 1])
        y, x = at >> 5, at & 31
        value = (level * f[factors + (y << log2) + x] * scale + rounding) >> shift
        value = min(max(value, I64(-32768)), I64(32767))
        if small:
            squares += F64(value * value)
            continue
        if not (used >> x) & 1:
            used |= I64(1) << x
            clear(w, W_COLUMN + 32 * x, I64(1) << log2)
        add_column(w, W_COLUMN + 32 * x, (y << step) * 32, F32(value), I64(1) << log2)
    if not small:
        spread_columns(w, e, first, stride, log2, log2_cell, used, step, 2.0 ** (2 * (depth - 27)))
        return
    blocks = I64(1) << (log2 - 2)
    energy = F32(squares * 2.0 ** (2 * depth - 30) * 16.0)  # N^2 over (N / 4)^2 blocks
    for y in range(blocks):
        for x in range(blocks):
            e[first + y * stride + x] += energy
