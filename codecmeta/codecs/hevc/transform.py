"""Clauses 7.3.8.8 to 7.3.8.10 and 8.6.1: transform trees, quantiser steps, and the traces of both."""

from __future__ import annotations

from codecmeta.codecs.hevc.energy import add_energy
from codecmeta.codecs.hevc.residual import DIAGONAL, HORIZONTAL, VERTICAL, residual_coding
from codecmeta.codecs.hevc.state import (
    B_LEVELS,
    BAD_SYNTAX,
    CHROMA,
    CHROMA_MODE,
    CU_SIZE,
    CU_X0,
    CU_Y0,
    H_CB_OFFSET,
    IS_QP_CODED,
    K_BIT_DEPTH_C,
    K_CB_OFFSET,
    K_DEPTH_INTER,
    K_MAX_TB,
    K_MIN_TB,
    K_QP_DELTA,
    LEVEL_COUNT,
    LUMA_MODE_0,
    MAX_TRAFO_DEPTH,
    MODE_INTRA,
    NUM_CU,
    NUM_LEVELS,
    NUM_TU,
    PART_2NX2N,
    PART_MODE,
    PART_NXN,
    PRED_MODE,
    QP,
    QP_DELTA,
    QP_OFFSET,
    QP_PRED,
    QPC_CB,
    S_TREE,
    STATUS,
    TRACE,
    TU_BLKIDX,
    TU_CBF,
    TU_CHROMA_MODE,
    TU_COLUMNS,
    TU_COUNT_Y,
    TU_CU,
    TU_FIRST,
    TU_LOG2,
    TU_LUMA_MODE,
    TU_QP,
    TU_QP_CB,
    TU_QP_CR,
    TU_SKIP,
    TU_X,
    TU_Y,
)
from codecmeta.codecs.hevc.tables import table
from codecmeta.codecs.syntax.arithmetic import bypass, decision
from codecmeta.codecs.syntax.jit import F32P, I32P, I64, I64P, U8P, VOID, constant, kernel

QPC = constant(table("QpC"), "int64")
SPLIT_TRANSFORM, CBF_LUMA, CBF_CHROMA, CU_QP_DELTA_ABS = (
    table("first_context")[name] for name in ("split_transform_flag", "cbf_luma", "cbf_chroma", "cu_qp_delta_abs")
)


@kernel(VOID(I64P, I32P, I32P))
def set_chroma_qp(s, k, h):
    """Qp'Cb and Qp'Cr of QpY (8.6.1)."""
    offset = 6 * (I64(k[K_BIT_DEPTH_C]) - 8)
    for i in range(2):
        qPi = s[QP] + k[K_CB_OFFSET + i] + h[H_CB_OFFSET + i]
        qPi = min(max(qPi, -offset), I64(57))
        s[QPC_CB + i] = (qPi if qPi < 0 else QPC[qPi]) + offset


@kernel(VOID(I64P, I64P, U8P, I32P, I32P))
def cu_qp_delta(s, c, d, k, h):
    """cu_qp_delta_abs and its sign (9.3.3.10) -> QpY and what follows from it."""
    value = I64(0)
    while value < 5 and decision(s, c, d, CU_QP_DELTA_ABS + (1 if value else 0)):
        value += 1
    if value == 5:
        order = I64(0)
        while bypass(s, d):
            value += I64(1) << order
            order += 1
            if order > 10:
                s[STATUS] = BAD_SYNTAX
                return
        while order:
            order -= 1
            value += bypass(s, d) << order
    if value and bypass(s, d):
        value = -value
    offset = s[QP_OFFSET]
    if value < -(26 + offset // 2) or value > 25 + offset // 2:
        s[STATUS] = BAD_SYNTAX
        return
    s[IS_QP_CODED] = 1
    s[QP_DELTA] = value
    s[QP] = (s[QP_PRED] + value + 52 + 2 * offset) % (52 + offset) - offset
    set_chroma_qp(s, k, h)


@kernel(I64(I64), inline=True)
def scan_of_mode(mode):
    """scanIdx of a small intra block (7.4.9.11)."""
    if mode >= 6 and mode <= 14:
        return I64(VERTICAL)
    if mode >= 22 and mode <= 30:
        return I64(HORIZONTAL)
    return I64(DIAGONAL)


@kernel(VOID(I64P, I64P, U8P, I32P, U8P, U8P, I32P, F32P, F32P, I32P, I32P, I64, I64, I64, I64, I64, I64))
def residual_block(s, c, d, k, f, a, b, w, e, tu, lv, x, y, log2, cIdx, scanIdx, qP):
    """The levels of one transform block, their energy and, where asked for, their trace."""
    skip = residual_coding(s, c, d, k, a, b, log2, cIdx, scanIdx)
    if s[STATUS]:
        return
    add_energy(s, k, f, b, w, e, x, y, log2, cIdx, qP)
    if s[TRACE]:
        count, first = s[LEVEL_COUNT], s[NUM_LEVELS]
        for i in range(2 * count):
            lv[2 * first + i] = b[B_LEVELS + i]
        row = TU_COLUMNS * s[NUM_TU]
        tu[row + TU_COUNT_Y + cIdx] = count
        tu[row + TU_SKIP] |= skip << cIdx
        s[NUM_LEVELS] += count


@kernel(
    VOID(
        I64P, I64P, U8P, I32P, U8P, I32P, U8P, I32P, F32P, F32P, I32P, I32P, I64, I64, I64, I64, I64, I64, I64
    )
)  # fmt: skip
def transform_unit(s, c, d, k, f, h, a, b, w, e, tu, lv, x, y, log2, blkIdx, cbf_luma, cbf_chroma, mode):
    """transform_unit(); cbf_chroma: bit 0 Cb, bit 1 Cr, of the parent in 4x4 blocks; mode: luma intra mode."""
    coded = cbf_chroma if log2 > 2 or blkIdx == 3 else I64(0)
    row = TU_COLUMNS * s[NUM_TU]
    if s[TRACE]:
        for i in range(TU_COLUMNS):
            tu[row + i] = 0
        tu[row + TU_X], tu[row + TU_Y], tu[row + TU_LOG2] = x, y, log2
        tu[row + TU_CBF] = cbf_luma | coded << 1
        tu[row + TU_BLKIDX] = blkIdx
        tu[row + TU_FIRST], tu[row + TU_CU] = s[NUM_LEVELS], s[NUM_CU]
        tu[row + TU_LUMA_MODE], tu[row + TU_CHROMA_MODE] = -1, -1
        if s[PRED_MODE] == MODE_INTRA:
            tu[row + TU_LUMA_MODE], tu[row + TU_CHROMA_MODE] = mode, s[CHROMA_MODE]
    if cbf_luma or cbf_chroma:
        if k[K_QP_DELTA] and not s[IS_QP_CODED]:
            cu_qp_delta(s, c, d, k, h)
            if s[STATUS]:
                return
        intra = s[PRED_MODE] == MODE_INTRA
        if cbf_luma:
            scan = scan_of_mode(mode) if intra and log2 <= 3 else I64(DIAGONAL)
            qP = s[QP] + s[QP_OFFSET]
            residual_block(s, c, d, k, f, a, b, w, e, tu, lv, x, y, log2, 0, scan, qP)
        if coded and not s[STATUS]:
            size = max(log2 - 1, I64(2))
            x_chroma, y_chroma = (x >> 3 << 2, y >> 3 << 2) if log2 == 2 else (x >> 1, y >> 1)
            scan = scan_of_mode(s[CHROMA_MODE]) if intra and size == 2 else I64(DIAGONAL)
            for i in range(2):
                if coded >> i & 1 and not s[STATUS]:
                    residual_block(
                        s, c, d, k, f, a, b, w, e, tu, lv, x_chroma, y_chroma, size, 1 + i, scan, s[QPC_CB + i]
                    )
    if s[TRACE]:
        tu[row + TU_QP], tu[row + TU_QP_CB], tu[row + TU_QP_CR] = s[QP], s[QPC_CB], s[QPC_CB + 1]
        s[NUM_TU] += 1


@kernel(VOID(I64P, I64P, U8P, I32P, U8P, I32P, U8P, I32P, F32P, F32P, I32P, I32P, I64))
def transform_tree(s, c, d, k, f, h, a, b, w, e, tu, lv, log2_cb):
    """transform_tree() of the coding unit, its nodes in order on a stack.

    A node: x 15 bits, y 15, log2 3, depth 3, blkIdx 2, the parent's chroma flags 2.
    """
    intra_split = s[PRED_MODE] == MODE_INTRA and s[PART_MODE] == PART_NXN
    inter_split = s[PRED_MODE] != MODE_INTRA and k[K_DEPTH_INTER] == 0 and s[PART_MODE] != PART_2NX2N
    top = I64(0)
    s[S_TREE] = s[CU_X0] | s[CU_Y0] << 15 | log2_cb << 30 | (I64(3) if s[CHROMA] else I64(0)) << 38
    while top >= 0:
        node = s[S_TREE + top]
        top -= 1
        x, y = node & 0x7FFF, node >> 15 & 0x7FFF
        log2, depth, blkIdx = node >> 30 & 7, node >> 33 & 7, node >> 36 & 3
        parent = node >> 38 & 3
        first_split = intra_split and depth == 0
        if log2 <= k[K_MAX_TB] and log2 > k[K_MIN_TB] and depth < s[MAX_TRAFO_DEPTH] and not first_split:
            split = decision(s, c, d, SPLIT_TRANSFORM + 5 - log2)
        else:
            split = I64(log2 > k[K_MAX_TB] or first_split or (inter_split and depth == 0))
        chroma = parent
        if log2 > 2 and parent:
            chroma = I64(0)
            if parent & 1:
                chroma = decision(s, c, d, CBF_CHROMA + depth)
            if parent & 2:
                chroma |= decision(s, c, d, CBF_CHROMA + depth) << 1
        if split:
            half = I64(1) << (log2 - 1)
            below = (log2 - 1) << 30 | (depth + 1) << 33 | chroma << 38
            for i in range(4):
                blk = I64(3 - i)
                top += 1
                s[S_TREE + top] = (x + half * (blk & 1)) | (y + half * (blk >> 1)) << 15 | below | blk << 36
            continue
        luma = I64(1)
        if s[PRED_MODE] == MODE_INTRA or depth or chroma:
            luma = decision(s, c, d, CBF_LUMA + (0 if depth else 1))
        part = I64(0)
        if intra_split:
            half = s[CU_SIZE] >> 1
            part = I64(x - s[CU_X0] >= half) + 2 * I64(y - s[CU_Y0] >= half)
        mode = s[LUMA_MODE_0 + part]
        transform_unit(s, c, d, k, f, h, a, b, w, e, tu, lv, x, y, log2, blkIdx, luma, chroma, mode)
        if s[STATUS]:
            return
