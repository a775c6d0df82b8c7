"""Clause 9.3: CABAC, from the context variables to the binarizations of the macroblock layer.

codIOffset is kept shifted up by 53 bits, with the bits that follow it in the stream below: renormalisation is a
shift, and four bytes are fetched once every 32 bits. SPARE_BITS counts the bits below; before each bin there are at
least eight. The bits consumed, in the sense of the standard, are 8 * BYTE_POSITION - SPARE_BITS.
"""

from __future__ import annotations

from numba import types

from codecmeta.codecs.h264.state import (
    BAD_SYNTAX,
    BYTE_END,
    BYTE_POSITION,
    CABAC_INIT_IDC,
    COD_I_OFFSET,
    COD_I_RANGE,
    SLICE_QP,
    SPARE_BITS,
    STATUS,
)
from codecmeta.codecs.h264.tables import table
from codecmeta.codecs.syntax.jit import I64, I64P, U8P, VOID, constant, kernel, leading_zeros

SHIFT = 53  # codIOffset stands above so many bits


def _states() -> list[int]:
    """Tables 9-44 and 9-45 by pStateIdx << 1 | valMPS, all in one word: a context variable is that word itself.

    Four bytes codIRangeLPS by qCodIRangeIdx, the next state after an MPS, after an LPS (valMPS turns over in state 0),
    valMPS. After a mispredicted branch, which every other bin costs, nothing counts but the loads before the next one.
    """
    words = []
    for i, row in enumerate(table("rangeTabLPS")):
        for v in range(2):
            after_mps, after_lps = table("transIdxMPS")[i] << 1 | v, table("transIdxLPS")[i] << 1 | (v ^ (i == 0))
            words.append(sum(row[q] << 8 * q for q in range(4)) | after_mps << 32 | after_lps << 40 | v << 48)
    return words


STATES = constant(_states(), "int64")
CABAC_M = constant(table("cabac_m"), "int8").reshape(-1)
CABAC_N = constant(table("cabac_n"), "int8").reshape(-1)


@kernel(types.UniTuple(I64, 3)(U8P, I64, I64, I64, I64), inline=True)
def refill(d, codIOffset, spare, position, end):
    """Another 32 bits below codIOffset; zeros after the end of the data."""
    if position <= end:
        word = (I64(d[position]) << 24) | (I64(d[position + 1]) << 16) | (I64(d[position + 2]) << 8) | d[position + 3]
        codIOffset |= word << (SHIFT - 32 - spare)
    return codIOffset, spare + 32, position + 4


@kernel(types.UniTuple(I64, 4)(I64P, I64, I64, I64, I64), inline=True)
def decode_bin(c, ctxIdx, codIRange, codIOffset, spare):
    """DecodeDecision of 9.3.3.2.1, taking at most 7 of the spare bits -> binVal, codIRange, codIOffset, spare."""
    word = c[ctxIdx]
    codIRangeLPS = (word >> ((codIRange >> 3) & 24)) & 255
    codIRange -= codIRangeLPS
    scaled = codIRange << SHIFT
    binVal = word >> 48
    if codIOffset < scaled:
        c[ctxIdx] = STATES[(word >> 32) & 127]
        shift = (codIRange >> 8) ^ 1
        codIRange <<= shift
        codIOffset <<= shift
    else:
        c[ctxIdx] = STATES[(word >> 40) & 127]
        binVal ^= 1
        shift = leading_zeros(codIRangeLPS) - 55
        codIRange = codIRangeLPS << shift
        codIOffset = (codIOffset - scaled) << shift
    return binVal, codIRange, codIOffset, spare - shift


@kernel(types.UniTuple(I64, 5)(I64P, U8P, I64, I64, I64, I64, I64, I64), inline=True)
def decode_decision(c, d, ctxIdx, codIRange, codIOffset, spare, position, end):
    """DecodeDecision -> binVal and the engine (range, offset, spare, position) after it, with eight bits to spare."""
    binVal, codIRange, codIOffset, spare = decode_bin(c, ctxIdx, codIRange, codIOffset, spare)
    if spare < 8:
        codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
    return binVal, codIRange, codIOffset, spare, position


@kernel(types.UniTuple(I64, 4)(U8P, I64, I64, I64, I64, I64), inline=True)
def decode_bypass(d, codIRange, codIOffset, spare, position, end):
    """DecodeBypass of 9.3.3.2.3 -> binVal, offset, spare, position."""
    codIOffset <<= 1
    spare -= 1
    binVal = I64(0)
    if codIOffset >= codIRange << SHIFT:
        codIOffset -= codIRange << SHIFT
        binVal = I64(1)
    if spare < 8:
        codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
    return binVal, codIOffset, spare, position


@kernel(I64(I64P, I64P, U8P, I64))
def decision(s, c, d, ctxIdx):
    """One context-coded bin, the engine kept in `s`."""
    binVal, s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION] = decode_decision(
        c, d, ctxIdx, s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION], s[BYTE_END]
    )
    return binVal


@kernel(I64(I64P, U8P))
def bypass(s, d):
    """One bypass bin, the engine kept in `s`."""
    binVal, s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION] = decode_bypass(
        d, s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION], s[BYTE_END]
    )
    return binVal


@kernel(I64(I64P, U8P))
def terminate(s, d):
    """DecodeTerminate of 9.3.3.2.2.3; after a 1 the last bit consumed is the stop bit (or ends the I_PCM mb_type)."""
    s[COD_I_RANGE] -= 2
    if s[COD_I_OFFSET] >= s[COD_I_RANGE] << SHIFT:
        return I64(1)
    if s[COD_I_RANGE] < 256:
        s[COD_I_RANGE] <<= 1
        s[COD_I_OFFSET] <<= 1
        s[SPARE_BITS] -= 1
        if s[SPARE_BITS] < 8:
            s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION] = refill(
                d, s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION], s[BYTE_END]
            )
    return I64(0)


@kernel(VOID(I64P, U8P))
def initialise_decoding_engine(s, d):
    """9.3.1.2, at BYTE_POSITION."""
    s[COD_I_RANGE] = 510
    codIOffset = I64(0)
    for _ in range(5):
        codIOffset <<= 8
        if s[BYTE_POSITION] < s[BYTE_END]:
            codIOffset |= d[s[BYTE_POSITION]]
        s[BYTE_POSITION] += 1
    s[COD_I_OFFSET] = codIOffset << (SHIFT + 9 - 40)
    s[SPARE_BITS] = 40 - 9


@kernel(VOID(I64P, I64P))
def initialise_context_variables(s, c):
    """9.3.1.1 (9-5): by SliceQPY clipped to 0..51, whatever the bit depth."""
    qp = min(max(s[SLICE_QP], 0), 51)
    base = s[CABAC_INIT_IDC] * 1024
    for ctxIdx in range(1024):
        preCtxState = min(max(((CABAC_M[base + ctxIdx] * qp) >> 4) + CABAC_N[base + ctxIdx], 1), 126)
        if preCtxState <= 63:
            c[ctxIdx] = STATES[(63 - preCtxState) << 1]
        else:
            c[ctxIdx] = STATES[(preCtxState - 64) << 1 | 1]


@kernel(I64(I64P, I64P, U8P, I64, I64))
def mb_type_intra(s, c, d, ctxIdx, ctxIdxInc):
    """Table 9-36 -> 0 I_NxN, 1..24 I_16x16, 25 I_PCM.

    ctxIdx 3 with its ctxIdxInc in I slices; 17 (P) and 32 (B) for the suffix, which shares contexts: ctxIdxInc -1.
    """
    own = ctxIdxInc >= 0
    first = ctxIdx + ctxIdxInc if own else ctxIdx
    if not decision(s, c, d, first):
        return I64(0)
    if terminate(s, d):
        return I64(25)
    base = ctxIdx + 2 if own else ctxIdx
    more = I64(1) if own else I64(0)
    mb_type = 1 + 12 * decision(s, c, d, base + 1)
    if decision(s, c, d, base + 2):
        mb_type += 4 + 4 * decision(s, c, d, base + 2 + more)
    mb_type += 2 * decision(s, c, d, base + 3 + more)
    mb_type += decision(s, c, d, base + 3 + 2 * more)
    return mb_type


@kernel(I64(I64P, I64P, U8P))
def mb_type_p_cabac(s, c, d):
    """Table 9-37 a -> 0..3 as Table 7-13, 5 + intra mb_type."""
    if decision(s, c, d, 14):
        return 5 + mb_type_intra(s, c, d, 17, -1)
    if not decision(s, c, d, 15):
        return 3 * decision(s, c, d, 16)
    return 2 - decision(s, c, d, 17)


@kernel(I64(I64P, I64P, U8P, I64))
def mb_type_b_cabac(s, c, d, ctxIdxInc):
    """Table 9-37 b -> 0..22 as Table 7-14, 23 + intra mb_type."""
    if not decision(s, c, d, 27 + ctxIdxInc):
        return I64(0)
    if not decision(s, c, d, 30):
        return 1 + decision(s, c, d, 32)
    bits = decision(s, c, d, 31) << 3
    bits |= decision(s, c, d, 32) << 2
    bits |= decision(s, c, d, 32) << 1
    bits |= decision(s, c, d, 32)
    if bits < 8:
        return bits + 3
    if bits == 13:
        return 23 + mb_type_intra(s, c, d, 32, -1)
    if bits == 14:
        return I64(11)
    if bits == 15:
        return I64(22)
    return (bits << 1 | decision(s, c, d, 32)) - 4


@kernel(I64(I64P, I64P, U8P))
def sub_mb_type_p_cabac(s, c, d):
    """Table 9-38 a -> 0 8x8, 1 8x4, 2 4x8, 3 4x4."""
    if decision(s, c, d, 21):
        return I64(0)
    if not decision(s, c, d, 22):
        return I64(1)
    return 3 - decision(s, c, d, 23)


@kernel(I64(I64P, I64P, U8P))
def sub_mb_type_b_cabac(s, c, d):
    """Table 9-38 b -> 0..12 as Table 7-18."""
    if not decision(s, c, d, 36):
        return I64(0)
    if not decision(s, c, d, 37):
        return 1 + decision(s, c, d, 39)
    sub_mb_type = I64(3)
    if decision(s, c, d, 38):
        if decision(s, c, d, 39):
            return 11 + decision(s, c, d, 39)
        sub_mb_type += 4
    sub_mb_type += 2 * decision(s, c, d, 39)
    return sub_mb_type + decision(s, c, d, 39)


@kernel(I64(I64P, I64P, U8P, I64))
def ref_idx_cabac(s, c, d, ctxIdxInc):
    """Unary, ctxIdx 54: ctxIdxInc of the first bin, then 4, then 5 (9.3.3.1.1.6)."""
    ref_idx = I64(0)
    while decision(s, c, d, 54 + ctxIdxInc):
        ref_idx += 1
        ctxIdxInc = (ctxIdxInc >> 2) + 4
        if ref_idx >= 32:
            s[STATUS] = BAD_SYNTAX
            break
    return ref_idx


@kernel(I64(I64P, I64P, U8P, I64, I64))
def mvd_cabac(s, c, d, ctxIdx, absMvdComp):
    """UEG3, uCoff 9 (9.3.2.3), ctxIdx 40 or 47; absMvdComp: the sum over the neighbours (9.3.3.1.1.7)."""
    ctxIdxInc = I64(0)
    if absMvdComp > 32:
        ctxIdxInc = I64(2)
    elif absMvdComp > 2:
        ctxIdxInc = I64(1)
    if not decision(s, c, d, ctxIdx + ctxIdxInc):
        return I64(0)
    mvd = I64(1)
    ctxIdxInc = I64(3)
    while mvd < 9 and decision(s, c, d, ctxIdx + ctxIdxInc):
        if mvd < 4:
            ctxIdxInc += 1
        mvd += 1
    if mvd == 9:
        k = I64(3)
        while bypass(s, d):
            mvd += I64(1) << k
            k += 1
            if k > 24:
                s[STATUS] = BAD_SYNTAX
                break
        while k:
            k -= 1
            mvd += bypass(s, d) << k
    return -mvd if bypass(s, d) else mvd


@kernel(I64(I64P, I64P, U8P, I64, I64, I64))
def coded_block_pattern_cabac(s, c, d, left, top, chroma):
    """Prefix and suffix of 9.3.2.6, ctxIdx 73 and 77; left, top: coded_block_pattern of the neighbours."""
    b0 = decision(s, c, d, 73 + (1 - (left >> 1 & 1)) + 2 * (1 - (top >> 2 & 1)))
    b1 = decision(s, c, d, 73 + (1 - b0) + 2 * (1 - (top >> 3 & 1)))
    b2 = decision(s, c, d, 73 + (1 - (left >> 3 & 1)) + 2 * (1 - b0))
    b3 = decision(s, c, d, 73 + (1 - b2) + 2 * (1 - b1))
    pattern = b0 | b1 << 1 | b2 << 2 | b3 << 3
    if chroma:
        left, top = left >> 4, top >> 4
        if decision(s, c, d, 77 + (left > 0) + 2 * (top > 0)):
            pattern |= (1 + decision(s, c, d, 81 + (left == 2) + 2 * (top == 2))) << 4
    return pattern


@kernel(I64(I64P, I64P, U8P, I64))
def mb_qp_delta_cabac(s, c, d, ctxIdxInc):
    """Unary of the mapped value (9.3.2.7), ctxIdx 60."""
    value = I64(0)
    while decision(s, c, d, 60 + ctxIdxInc):
        ctxIdxInc = 2 + (ctxIdxInc >> 1)
        value += 1
        if value > 180:
            s[STATUS] = BAD_SYNTAX
            break
    return (value + 1) >> 1 if value & 1 else -(value >> 1)
