"""Clauses 7.3.8.11 and 9.3.4.2.4 to 9.3.4.2.7: residual_coding(), the levels of a transform block."""

from __future__ import annotations

from numba import types

from codecmeta.codecs.hevc.state import (
    A_CSBF,
    A_POSITIONS,
    B_LEVELS,
    BAD_SYNTAX,
    BYPASS,
    K_SIGN_HIDING,
    K_TRANSFORM_SKIP,
    LEVEL_COUNT,
    STATUS,
)
from codecmeta.codecs.hevc.tables import table
from codecmeta.codecs.syntax.arithmetic import (
    BYTE_END,
    BYTE_POSITION,
    COD_I_OFFSET,
    COD_I_RANGE,
    SHIFT,
    SPARE_BITS,
    decode_bin,
    refill,
)
from codecmeta.codecs.syntax.jit import I32P, I64, I64P, U8P, constant, kernel, leading_zeros

U64 = types.uint64
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
