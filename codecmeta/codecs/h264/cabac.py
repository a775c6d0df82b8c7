"""Clause 9.3: CABAC, from the context variables to the binarizations of the macroblock layer."""

from __future__ import annotations

from codecmeta.codecs.h264.state import BAD_SYNTAX, CABAC_INIT_IDC, SLICE_QP, STATUS
from codecmeta.codecs.h264.tables import table
from codecmeta.codecs.syntax.arithmetic import STATES, bypass, decision, terminate
from codecmeta.codecs.syntax.jit import I64, I64P, U8P, VOID, constant, kernel

CABAC_M = constant(table("cabac_m"), "int8").reshape(-1)
CABAC_N = constant(table("cabac_n"), "int8").reshape(-1)


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
