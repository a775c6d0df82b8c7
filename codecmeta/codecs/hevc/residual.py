"""Clauses 7.3.8.11, 9.3.4.2.5 to 9.3.4.2.7 and 8.6.4: the levels of a transform block, and the energy of its residual.

A level becomes a coefficient with the standard's own rounding (8.6.4.2). Rows of the transform matrices have squared
norm 4096 N, within 0.13 %, so the energy of a small block is the sum of its squared coefficients times one weight.
Larger blocks are transformed, to find how their energy lies over the picture's 8x8 blocks: the first transform goes by
columns that hold anything, the second uses that a row of the matrix is symmetric or antisymmetric. All that is linear;
what is left out is the rounding of residual samples to integers.
"""

from __future__ import annotations

from numba import types

from codecmeta.codecs.hevc.shared import (
    BYTE_END,
    BYTE_POSITION,
    COD_I_OFFSET,
    COD_I_RANGE,
    F32P,
    F64,
    I32P,
    I64,
    I64P,
    SHIFT,
    SPARE_BITS,
    U8P,
    VOID,
    constant,
    decode_bin,
    kernel,
    leading_zeros,
    refill,
)
from codecmeta.codecs.hevc.state import (
    A_CSBF,
    A_POSITIONS,
    B_LEVELS,
    BAD_SYNTAX,
    BYPASS,
    F_4,
    F_8,
    F_16,
    F_32,
    K_BIT_DEPTH,
    K_HEIGHT,
    K_SIGN_HIDING,
    K_TRANSFORM_SKIP,
    K_WIDTH,
    LEVEL_COUNT,
    MODE_INTRA,
    PRED_MODE,
    STATUS,
    W_COLUMN,
    W_EVEN,
    W_LOW,
    W_ODD,
)
from codecmeta.codecs.hevc.tables import table

F32, U64 = types.float32, types.uint64
TRANSFORM_SKIP, LAST_X, LAST_Y, CODED_SUB_BLOCK, SIGNIFICANT, GREATER_1, GREATER_2 = (
    table("first_context")[name]
    for name in (
        "transform_skip_flag",
        "last_sig_coeff_x_prefix",
        "last_sig_coeff_y_prefix",
        "coded_sub_block_flag",
        "sig_coeff_flag",
        "coeff_abs_level_greater1_flag",
        "coeff_abs_level_greater2_flag",
    )
)
DIAGONAL, HORIZONTAL, VERTICAL = range(3)  # scanIdx
_SCANS_4X4 = [table("diagonal_4x4"), table("horizontal_4x4"), table("vertical_4x4")]


def _sub_block_scans() -> tuple[list[int], list[int]]:
    """[scanIdx][log2 - 2][position]: sub-block y << 3 | x, and the inverse."""
    scans: list[int] = []
    inverse: list[int] = []
    for direction in ("diagonal", "horizontal", "vertical"):
        for side in (1, 2, 4, 8):
            name = f"{direction}_{side}x{side}" if side == 2 else f"diagonal_{side}x{side}"
            order = [0] if side == 1 else table(name)
            places = [position // side << 3 | position % side for position in order]
            back = [0] * 64
            for i, place in enumerate(places):
                back[place] = i
            scans += places + [0] * (64 - len(places))
            inverse += back
    return scans, inverse


def _significance() -> list[int]:
    """sigCtx by [prevCsbf, or 4 for a 4x4 block][scanIdx][scan position] before its offsets (9.3.4.2.5)."""
    by_position = [*table("sigCtx"), table("ctxIdxMap")]
    return [values[scan[n]] for values in by_position for scan in _SCANS_4X4 for n in range(16)]


SUB_SCAN, SUB_INVERSE = (constant(values, "int64") for values in _sub_block_scans())
SCAN_X = constant([[p & 3 for p in scan] for scan in _SCANS_4X4], "int64").reshape(-1)
SCAN_Y = constant([[p >> 2 for p in scan] for scan in _SCANS_4X4], "int64").reshape(-1)
INVERSE_4X4 = constant([[scan.index(p) for p in range(16)] for scan in _SCANS_4X4], "int64").reshape(-1)
SIG_CTX = constant(_significance(), "int64")
LEVEL_SCALE = constant(table("levelScale"), "int64")
MATRIX = constant(table("transMatrix"), "float32").reshape(-1)
FACTORS = constant([F_4, F_8, F_16, F_32], "int64")


@kernel(types.UniTuple(I64, 5)(U8P, I64, I64, I64, I64, I64, I64), inline=True)
def bypass_bits(d, count, codIRange, codIOffset, spare, position, end):
    """`count` bypass bins at once, at most 16 -> value, offset, spare, position: one division in place of a loop."""
    if spare < 16:
        codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
    value = I64(U64(codIOffset >> (SHIFT - count)) // U64(codIRange))
    codIOffset = (codIOffset - (value * codIRange << (SHIFT - count))) << count
    spare -= count
    if spare < 8:
        codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
    return value, codIOffset, spare, position, I64(0)


@kernel(types.UniTuple(I64, 5)(U8P, I64, I64, I64, I64, I64, I64), inline=True)
def coeff_abs_level_remaining(d, rice, codIRange, codIOffset, spare, position, end):
    """9.3.3.11 -> value (-1: the prefix is longer than 32), offset, spare, position."""
    if spare < 16:
        codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
    bits = I64(U64(codIOffset >> (SHIFT - 16)) // U64(codIRange))  # the next sixteen bins
    prefix = leading_zeros(((~bits) & 0xFFFF) << 1 | 1) - 47
    extra = rice if prefix <= 3 else prefix - 3 + rice
    used = prefix + 1 + extra
    if used <= 16:
        base = prefix << rice if prefix <= 3 else ((I64(1) << (prefix - 3)) + 2) << rice
        value = base + ((bits >> (16 - used)) & ((I64(1) << extra) - 1))
        bits >>= 16 - used
        codIOffset = (codIOffset - (bits * codIRange << (SHIFT - used))) << used
        spare -= used
        if spare < 8:
            codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
        return value, codIOffset, spare, position, I64(0)
    prefix = I64(0)
    while prefix < 33:
        bits, codIOffset, spare, position, _ = bypass_bits(d, 1, codIRange, codIOffset, spare, position, end)
        if not bits:
            break
        prefix += 1
    if prefix > 32:
        return I64(-1), codIOffset, spare, position, I64(0)
    extra = rice if prefix <= 3 else prefix - 3 + rice
    value = I64(0)
    while extra > 0:
        count = min(extra, I64(16))
        bits, codIOffset, spare, position, _ = bypass_bits(d, count, codIRange, codIOffset, spare, position, end)
        value = value << count | bits
        extra -= count
    base = prefix << rice if prefix <= 3 else ((I64(1) << (prefix - 3)) + 2) << rice
    return base + value, codIOffset, spare, position, I64(0)


@kernel(types.UniTuple(I64, 5)(I64P, U8P, I64, I64, I64, I64, I64, I64), inline=True)
def context_bin(c, d, ctxIdx, codIRange, codIOffset, spare, position, end):
    """One context-coded bin; eight bits to spare before and after it."""
    binVal, codIRange, codIOffset, spare = decode_bin(c, ctxIdx, codIRange, codIOffset, spare)
    if spare < 8:
        codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
    return binVal, codIRange, codIOffset, spare, position


@kernel(types.UniTuple(I64, 5)(I64P, U8P, I64, I64, I64, I64, I64, I64, I64, I64))
def last_prefix(c, d, ctxIdx, shift, most, codIRange, codIOffset, spare, position, end):
    """last_sig_coeff_x_prefix or y: truncated unary."""
    prefix = I64(0)
    while prefix < most:
        binVal, codIRange, codIOffset, spare, position = context_bin(
            c, d, ctxIdx + (prefix >> shift), codIRange, codIOffset, spare, position, end
        )
        if not binVal:
            break
        prefix += 1
    return prefix, codIRange, codIOffset, spare, position


@kernel(I64(I64P, I64P, U8P, I32P, U8P, I32P, I64, I64, I64))
def residual_coding(s, c, d, k, a, b, log2, cIdx, scanIdx):
    """residual_coding() -> transform_skip_flag; LEVEL_COUNT pairs of position (y << 5 | x) and level at b[B_LEVELS].

    The arithmetic decoder stays in registers.
    """
    codIRange, codIOffset, spare, position = s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION]
    end = s[BYTE_END]
    chroma = I64(cIdx > 0)
    transform_skip_flag = I64(0)
    if log2 == 2 and k[K_TRANSFORM_SKIP] and not s[BYPASS]:
        transform_skip_flag, codIRange, codIOffset, spare, position = context_bin(
            c, d, TRANSFORM_SKIP + chroma, codIRange, codIOffset, spare, position, end
        )
    if chroma:
        offset, shift = I64(15), log2 - 2
    else:
        offset, shift = 3 * (log2 - 2) + ((log2 - 1) >> 2), (log2 + 1) >> 2
    most = 2 * log2 - 1
    last_x, codIRange, codIOffset, spare, position = last_prefix(
        c, d, LAST_X + offset, shift, most, codIRange, codIOffset, spare, position, end
    )
    last_y, codIRange, codIOffset, spare, position = last_prefix(
        c, d, LAST_Y + offset, shift, most, codIRange, codIOffset, spare, position, end
    )
    if last_x > 3:
        count = (last_x >> 1) - 1
        bits, codIOffset, spare, position, _ = bypass_bits(d, count, codIRange, codIOffset, spare, position, end)
        last_x = ((2 + (last_x & 1)) << count) + bits
    if last_y > 3:
        count = (last_y >> 1) - 1
        bits, codIOffset, spare, position, _ = bypass_bits(d, count, codIRange, codIOffset, spare, position, end)
        last_y = ((2 + (last_y & 1)) << count) + bits
    if scanIdx == VERTICAL:
        last_x, last_y = last_y, last_x
    subs = (scanIdx * 4 + log2 - 2) * 64
    last_sub = SUB_INVERSE[subs + ((last_y >> 2) << 3 | last_x >> 2)]
    n = INVERSE_4X4[scanIdx * 16 + ((last_y & 3) << 2 | (last_x & 3))]
    side = I64(1) << (log2 - 2)
    if log2 > 2:
        for y in range(side + 1):
            for x in range(side + 1):
                a[A_CSBF + 9 * y + x] = 0
    hiding = I64(k[K_SIGN_HIDING]) & ~s[BYPASS]
    greater1Ctx = I64(1)
    at = I64(B_LEVELS)
    sig_chroma = SIGNIFICANT + 27 * chroma
    if log2 == 2:
        sig_size = I64(0)
    elif chroma:
        sig_size = I64(9) if log2 == 3 else I64(12)
    elif log2 == 3:
        sig_size = I64(9) if scanIdx == DIAGONAL else I64(15)
    else:
        sig_size = I64(21)
    i = last_sub
    while i >= 0:
        place = SUB_SCAN[subs + i]
        x_sub, y_sub = place & 7, place >> 3
        csbf = A_CSBF + 9 * y_sub + x_sub
        right, below = I64(a[csbf + 1]), I64(a[csbf + 9])
        coded, inferred = I64(1), I64(0)
        if i < last_sub and i > 0:
            coded, codIRange, codIOffset, spare, position = context_bin(
                c, d, CODED_SUB_BLOCK + (right | below) + 2 * chroma, codIRange, codIOffset, spare, position, end
            )
            inferred = I64(1)
        if not coded:
            i -= 1
            continue
        a[csbf] = 1
        total = I64(0)
        if i == last_sub:
            a[A_POSITIONS] = n
            total = I64(1)
            n -= 1
            inferred = I64(0)
        else:
            n = I64(15)
        kind = I64(4) if log2 == 2 else right + 2 * below
        by_position = (kind * 3 + scanIdx) * 16
        base = sig_chroma + sig_size
        if log2 > 2 and not chroma and i > 0:
            base += 3
        while n > 0:
            if spare < 16:
                codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
            binVal, codIRange, codIOffset, spare = decode_bin(
                c, base + SIG_CTX[by_position + n], codIRange, codIOffset, spare
            )
            a[A_POSITIONS + total] = n
            total += binVal
            n -= 1
        if n == 0:
            if inferred and total == 0:
                a[A_POSITIONS] = 0
                total = I64(1)
            else:
                ctxIdx = sig_chroma if i == 0 else base + SIG_CTX[by_position]
                binVal, codIRange, codIOffset, spare, position = context_bin(
                    c, d, ctxIdx, codIRange, codIOffset, spare, position, end
                )
                a[A_POSITIONS + total] = 0
                total += binVal
        if spare < 8:
            codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
        if total == 0:
            i -= 1
            continue
        ctxSet = I64(0) if i == 0 or chroma else I64(2)
        if i != last_sub and greater1Ctx == 0:
            ctxSet += 1
        greater1Ctx = I64(1)
        first_greater = I64(-1)
        first_8 = min(total, I64(8))
        context = GREATER_1 + 4 * ctxSet + 16 * chroma
        greater = I64(0)  # flags as bits
        for j in range(first_8):
            binVal, codIRange, codIOffset, spare, position = context_bin(
                c, d, context + greater1Ctx, codIRange, codIOffset, spare, position, end
            )
            greater |= binVal << j
            if binVal:
                greater1Ctx = I64(0)
                if first_greater < 0:
                    first_greater = I64(j)
            elif greater1Ctx > 0 and greater1Ctx < 3:
                greater1Ctx += 1
        greater2 = I64(0)
        if first_greater >= 0:
            greater2, codIRange, codIOffset, spare, position = context_bin(
                c, d, GREATER_2 + ctxSet + 4 * chroma, codIRange, codIOffset, spare, position, end
            )
        hidden = I64(0)
        if hiding and I64(a[A_POSITIONS]) - a[A_POSITIONS + total - 1] > 3:
            hidden = I64(1)
        signs, codIOffset, spare, position, _ = bypass_bits(
            d, total - hidden, codIRange, codIOffset, spare, position, end
        )
        signs <<= 16 - total + hidden
        rice, parity = I64(0), I64(0)
        for j in range(total):
            level = 1 + ((greater >> j) & 1)
            if j == first_greater:
                level += greater2
                escape = level == 3
            else:
                escape = level == 2 or j >= 8
            if escape:
                rest, codIOffset, spare, position, _ = coeff_abs_level_remaining(
                    d, rice, codIRange, codIOffset, spare, position, end
                )
                if rest < 0:
                    s[STATUS] = BAD_SYNTAX
                    i = I64(0)
                    break
                level += rest
                if level > 3 << rice and rice < 4:
                    rice += 1
            parity += level
            if (signs >> (15 - j)) & 1:
                level = -level
            where = scanIdx * 16 + I64(a[A_POSITIONS + j])
            b[at] = (4 * y_sub + SCAN_Y[where]) << 5 | (4 * x_sub + SCAN_X[where])
            b[at + 1] = min(max(level, I64(-0x7FFFFFFF)), I64(0x7FFFFFFF))
            at += 2
        if hidden and parity & 1:
            b[at - 1] = -b[at - 1]
        i -= 1
    s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION] = codIRange, codIOffset, spare, position
    s[LEVEL_COUNT] = (at - B_LEVELS) >> 1
    return transform_skip_flag


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
