"""Clauses 7.3.5.3.3 and 9.3.3.1.3: residual_block_cabac(), the levels of one block in CABAC."""

from __future__ import annotations

from codecmeta.codecs.h264.state import BAD_SYNTAX, FIELD, N_POSITIONS, STATUS, TOTAL_COEFF
from codecmeta.codecs.h264.tables import table
from codecmeta.codecs.syntax.arithmetic import (
    BYTE_END,
    BYTE_POSITION,
    COD_I_OFFSET,
    COD_I_RANGE,
    SHIFT,
    SPARE_BITS,
    bypass,
    decode_bin,
    decode_decision,
    refill,
)
from codecmeta.codecs.syntax.jit import F32P, F64, I32P, I64, I64P, U8P, constant, kernel

CODED_BLOCK_FLAG = constant(table("ctxIdx_coded_block_flag"), "int64")
# [field coded][ctxBlockCat]
SIGNIFICANT = constant(table("ctxIdx_significant_coeff_flag") + table("ctxIdx_significant_coeff_flag_field"), "int64")
LAST = constant(
    table("ctxIdx_last_significant_coeff_flag") + table("ctxIdx_last_significant_coeff_flag_field"), "int64"
)
ABS_LEVEL = constant(table("ctxIdx_coeff_abs_level_minus1"), "int64")
# ctxIdxInc by levelListIdx: in 8x8 blocks of frames, of fields, and in the chroma DC blocks of 4:2:2, where it is
# Min(levelListIdx / NumC8x8, 2); in all others it is the index itself
_CHROMA_DC_422_INC = [min(i // 2, 2) for i in range(64)]
SIGNIFICANT_INC = constant(
    [*table("ctxIdxInc_significant_coeff_flag_8x8"), 0, *table("ctxIdxInc_significant_coeff_flag_8x8_field"), 0]
    + _CHROMA_DC_422_INC,
    "uint8",
)
LAST_INC = constant([*table("ctxIdxInc_last_significant_coeff_flag_8x8"), 0] * 2 + _CHROMA_DC_422_INC, "uint8")

# ctxBlockCat (Table 9-42); in 4:4:4 those of Cb are 6 to 9 and those of Cr 10 to 13: DC, AC, 4x4, 8x8
LUMA_DC, LUMA_AC, LUMA_4X4, CHROMA_DC, CHROMA_AC, LUMA_8X8 = range(6)
CATEGORIES = 14


@kernel(I64(I64P, U8P))
def exp_golomb_0(s, d):
    """The suffix of UEGk with k = 0 (9.3.2.3)."""
    value, k = I64(0), I64(0)
    while bypass(s, d):
        value += I64(1) << k
        k += 1
        if k > 20:
            s[STATUS] = BAD_SYNTAX
            break
    while k:
        k -= 1
        value += bypass(s, d) << k
    return value


@kernel(F64(I64P, I64P, U8P, U8P, I32P, F32P, I64, I64, I64, I64))
def residual_block_cabac(s, c, d, n, t, w, ctxBlockCat, maxNumCoeff, weights, flags):
    """residual_block_cabac() of 7.3.5.3.3 -> energy; TOTAL_COEFF in `s`.

    flags: ctxIdxInc of the coded_block_flag, -1 where it is not sent. weights: where the weights of the block start in
    `w`; below 0 its levels go to t[~weights + position] instead, and the energy is 0. The engine stays in registers,
    and is filled up once for each pair of bins: those with 16 bits to spare need no second look.
    """
    codIRange, codIOffset, spare, position = s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION]
    end = s[BYTE_END]
    total = I64(0)
    if flags >= 0:
        binVal, codIRange, codIOffset, spare, position = decode_decision(
            c, d, CODED_BLOCK_FLAG[ctxBlockCat] + flags, codIRange, codIOffset, spare, position, end
        )
        if not binVal:
            s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION] = codIRange, codIOffset, spare, position
            s[TOTAL_COEFF] = 0
            return 0.0
    table_row = CATEGORIES * s[FIELD] + ctxBlockCat
    significant, last = SIGNIFICANT[table_row], LAST[table_row]
    increments = I64(-1)  # where they stand in the tables of ctxIdxInc; -1: the index itself
    if maxNumCoeff == 64:
        increments = 64 * s[FIELD]
    elif maxNumCoeff == 8:
        increments = I64(128)
    i = I64(0)
    while i < maxNumCoeff - 1:
        if spare < 16:
            codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
        inc = I64(SIGNIFICANT_INC[increments + i]) if increments >= 0 else i
        binVal, codIRange, codIOffset, spare = decode_bin(c, significant + inc, codIRange, codIOffset, spare)
        if binVal:
            n[N_POSITIONS + total] = i
            total += 1
            inc = I64(LAST_INC[increments + i]) if increments >= 0 else i
            binVal, codIRange, codIOffset, spare = decode_bin(c, last + inc, codIRange, codIOffset, spare)
            if binVal:
                break
        i += 1
    if i == maxNumCoeff - 1:  # no last_significant_coeff_flag: the last position is significant
        n[N_POSITIONS + total] = i
        total += 1
    first = ABS_LEVEL[ctxBlockCat]
    most = I64(3 if ctxBlockCat == CHROMA_DC else 4)
    equal_1, greater_1 = I64(0), I64(0)  # numDecodAbsLevelEq1, numDecodAbsLevelGt1 of 9.3.3.1.3
    energy = 0.0
    for k in range(total):
        at = I64(n[N_POSITIONS + total - 1 - k])
        ctxIdx = first if greater_1 else first + min(4, 1 + equal_1)
        level = I64(1)
        if spare < 16:
            codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
        binVal, codIRange, codIOffset, spare = decode_bin(c, ctxIdx, codIRange, codIOffset, spare)
        if binVal:
            ctxIdx = first + 5 + min(most, greater_1)
            greater_1 += 1
            level = I64(2)
            while level < 15:
                if spare < 16:
                    codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
                binVal, codIRange, codIOffset, spare = decode_bin(c, ctxIdx, codIRange, codIOffset, spare)
                if not binVal:
                    break
                level += 1
            if level == 15:  # coeff_abs_level_minus1 has its suffix: UEG0, uCoff 14
                s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION] = (
                    codIRange,
                    codIOffset,
                    spare,
                    position,
                )
                level += exp_golomb_0(s, d)
                codIOffset, spare, position = s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION]
        else:
            equal_1 += 1
        codIOffset <<= 1  # DecodeBypass of 9.3.3.2.3: coeff_sign_flag
        spare -= 1
        negative = I64(codIOffset >= codIRange << SHIFT)
        codIOffset -= (codIRange << SHIFT) * negative
        if weights < 0:
            t[~weights + at] = -level if negative else level
        else:
            energy += float(level * level) * w[weights + at]
    if spare < 8:
        codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
    s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION] = codIRange, codIOffset, spare, position
    s[TOTAL_COEFF] = total
    return energy
