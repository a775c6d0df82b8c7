"""Clauses 7.3.8.4, 7.3.8.5 and 7.3.8.7: coding quadtrees, coding units and PCM samples."""

from __future__ import annotations

from codecmeta.codecs.hevc.intra_modes import DC, intra_modes, set_modes
from codecmeta.codecs.hevc.prediction_unit import part_mode_inter, prediction_unit, prediction_units
from codecmeta.codecs.hevc.state import (
    A_LEFT,
    A_QP,
    A_UP,
    AVAILABLE_LEFT,
    AVAILABLE_UP,
    BEGIN,
    BYPASS,
    CHROMA,
    CHROMA_MODE,
    CTB_LOG2,
    CTB_MASK,
    CU_BITS,
    CU_CHROMA,
    CU_COLUMNS,
    CU_FLAGS,
    CU_LOG2,
    CU_MODE,
    CU_PART,
    CU_QP,
    CU_SEGMENT,
    CU_SIZE,
    CU_X,
    CU_X0,
    CU_Y,
    CU_Y0,
    FLAG_BYPASS,
    FLAG_PCM,
    HEIGHT,
    IS_QP_CODED,
    K_BYPASS,
    K_DEPTH_INTER,
    K_DEPTH_INTRA,
    K_MIN_CB,
    K_MIN_QG,
    K_PCM,
    K_PCM_DEPTH,
    K_PCM_DEPTH_C,
    K_PCM_MAX,
    K_PCM_MIN,
    K_QP_DELTA,
    LAST_QP,
    MAX_TRAFO_DEPTH,
    MERGE_FLAG,
    MODE_INTER,
    MODE_INTRA,
    MODE_SKIP,
    NUM_CU,
    NUM_LEVELS,
    NUM_TU,
    OVERRUN,
    PART_2NX2N,
    PART_MODE,
    PART_NXN,
    PRED_MODE,
    QP,
    QP_DELTA,
    QP_PRED,
    S_STACK,
    SEGMENT,
    SLICE_TYPE,
    STATUS,
    TRACE,
    TU_CBF,
    TU_CHROMA_MODE,
    TU_COLUMNS,
    TU_COUNT_CB,
    TU_COUNT_CR,
    TU_COUNT_Y,
    TU_CU,
    TU_FIRST,
    TU_LOG2,
    TU_LUMA_MODE,
    TU_QP,
    TU_X,
    TU_Y,
    WIDTH,
    I,
)
from codecmeta.codecs.hevc.tables import table
from codecmeta.codecs.hevc.transform import set_chroma_qp, transform_tree
from codecmeta.codecs.syntax.arithmetic import (
    BYTE_END,
    BYTE_POSITION,
    SPARE_BITS,
    decision,
    initialise_decoding_engine,
    terminate,
)
from codecmeta.codecs.syntax.jit import F32P, I8P, I32P, I64, I64P, U8P, VOID, kernel

(
    SPLIT_CU,
    TRANSQUANT_BYPASS,
    CU_SKIP,
    PRED_MODE_FLAG,
    PART_MODE_BINS,
    RQT_ROOT_CBF,
) = (
    table("first_context")[name]
    for name in (
        "split_cu_flag",
        "cu_transquant_bypass_flag",
        "cu_skip_flag",
        "pred_mode_flag",
        "part_mode",
        "rqt_root_cbf",
    )
)


@kernel(I64(I64P), inline=True)
def bits_consumed(s):
    """Bits of the RBSP that belong to the syntax so far: the engine is nine bits ahead."""
    return 8 * s[BYTE_POSITION] - s[SPARE_BITS] - 9


@kernel(I64(U8P, I64, I64))
def read_bits(d, position, count):
    """`count` bits, at most 16, at bit `position`."""
    at = position >> 3
    word = I64(d[at]) << 16 | I64(d[at + 1]) << 8 | d[at + 2]
    return word >> (24 - (position & 7) - count) & ((I64(1) << count) - 1)


@kernel(VOID(I64P, I64P, U8P, I32P, I32P, I32P, I64))
def pcm_sample(s, c, d, k, tu, lv, log2):
    """pcm_sample(): skipped over, or kept as the levels of one row of the trace."""
    position = ((bits_consumed(s) + 9) + 7) & ~7
    luma = I64(1) << (2 * log2)
    chroma = luma >> 2 if s[CHROMA] else I64(0)
    bits = luma * k[K_PCM_DEPTH] + 2 * chroma * k[K_PCM_DEPTH_C]
    if position + bits > 8 * s[BYTE_END]:
        s[STATUS] = OVERRUN
        return
    if s[TRACE]:
        row = TU_COLUMNS * s[NUM_TU]
        for i in range(TU_COLUMNS):
            tu[row + i] = 0
        tu[row + TU_X], tu[row + TU_Y], tu[row + TU_LOG2] = s[CU_X0], s[CU_Y0], log2
        tu[row + TU_CBF], tu[row + TU_QP], tu[row + TU_CU] = 0, s[QP], s[NUM_CU]
        tu[row + TU_LUMA_MODE], tu[row + TU_CHROMA_MODE] = DC, DC
        tu[row + TU_FIRST] = s[NUM_LEVELS]
        tu[row + TU_COUNT_Y], tu[row + TU_COUNT_CB], tu[row + TU_COUNT_CR] = luma, chroma, chroma
        s[NUM_TU] += 1
        for cIdx in range(3):
            side = log2 if cIdx == 0 else log2 - 1
            depth = I64(k[K_PCM_DEPTH] if cIdx == 0 else k[K_PCM_DEPTH_C])
            for i in range(luma if cIdx == 0 else chroma):
                to = 2 * s[NUM_LEVELS]
                lv[to] = (i >> side) << 5 | (i & ((I64(1) << side) - 1))
                lv[to + 1] = read_bits(d, position, depth)
                position += depth
                s[NUM_LEVELS] += 1
    else:
        position += bits
    s[BYTE_POSITION] = (position + 7) >> 3
    initialise_decoding_engine(s, d)


@kernel(
    VOID(
        I64P, I64P, U8P, I32P, I32P, U8P, I32P, U8P, F32P, F32P, I8P, I32P, I32P, I32P, I32P, I32P, I32P, I64, I64
    )
)  # fmt: skip
def coded_unit(s, c, d, k, h, a, b, f, w, e, g, v, r, o, pu, tu, lv, log2, depth):
    """What a coding unit that is not skipped has behind its cu_skip_flag."""
    s[PRED_MODE] = MODE_INTRA
    if s[SLICE_TYPE] != I and not decision(s, c, d, PRED_MODE_FLAG):
        s[PRED_MODE] = MODE_INTER
    s[PART_MODE] = PART_2NX2N
    intra = s[PRED_MODE] == MODE_INTRA
    coded = I64(1)
    if intra:
        if log2 == k[K_MIN_CB] and not decision(s, c, d, PART_MODE_BINS):
            s[PART_MODE] = PART_NXN
        if s[PART_MODE] == PART_2NX2N and k[K_PCM] and log2 >= k[K_PCM_MIN] and log2 <= k[K_PCM_MAX]:
            if terminate(s, d):
                s[CHROMA_MODE] = DC
                set_modes(s, a, s[CU_X0], s[CU_Y0], s[CU_SIZE], DC)
                s[PRED_MODE] = MODE_INTRA | FLAG_PCM << 4
                pcm_sample(s, c, d, k, tu, lv, log2)
                return
        intra_modes(s, c, d, a)
        s[MAX_TRAFO_DEPTH] = k[K_DEPTH_INTRA] + I64(s[PART_MODE] == PART_NXN)
    else:
        s[PART_MODE] = part_mode_inter(s, c, d, k, log2)
        prediction_units(s, c, d, k, h, b, g, v, r, o, pu, depth)
        if s[STATUS]:
            return
        set_modes(s, a, s[CU_X0], s[CU_Y0], s[CU_SIZE], DC)
        s[MAX_TRAFO_DEPTH] = k[K_DEPTH_INTER]
        if not (s[PART_MODE] == PART_2NX2N and s[MERGE_FLAG]):
            coded = decision(s, c, d, RQT_ROOT_CBF)
    if coded:
        transform_tree(s, c, d, k, f, h, a, b, w, e, tu, lv, log2)


@kernel(
    VOID(
        I64P, I64P, U8P, I32P, I32P, U8P, I32P, U8P, F32P, F32P, I8P, I32P, I32P, I32P, I32P, I32P, I32P, I32P, I64, I64
    )
)  # fmt: skip
def coding_unit(s, c, d, k, h, a, b, f, w, e, g, v, r, o, cu, pu, tu, lv, log2, depth):
    """coding_unit() at CU_X0, CU_Y0."""
    x, y = s[CU_X0], s[CU_Y0]
    size = I64(1) << log2
    s[CU_SIZE] = size
    s[BYPASS] = decision(s, c, d, TRANSQUANT_BYPASS) if k[K_BYPASS] else I64(0)
    up, left = A_UP + (x >> 3), A_LEFT + ((y & s[CTB_MASK]) >> 3)
    s[CHROMA_MODE] = -1
    skipped = I64(0)
    if s[SLICE_TYPE] != I:
        inc = I64(0)
        if x & s[CTB_MASK] or s[AVAILABLE_LEFT]:
            inc = I64(a[left] >> 3)
        if y & s[CTB_MASK] or s[AVAILABLE_UP]:
            inc += I64(a[up] >> 3)
        skipped = decision(s, c, d, CU_SKIP + inc)
    for i in range(size >> 3):
        a[up + i] = depth | skipped << 3
        a[left + i] = depth | skipped << 3
    if skipped:
        s[PRED_MODE], s[PART_MODE] = MODE_SKIP, PART_2NX2N
        prediction_unit(s, c, d, k, h, b, g, v, r, o, pu, x, y, size, size, 0, depth)
        set_modes(s, a, x, y, size, DC)
    else:
        coded_unit(s, c, d, k, h, a, b, f, w, e, g, v, r, o, pu, tu, lv, log2, depth)
    if s[STATUS]:
        return
    cells = A_QP + (y & s[CTB_MASK]) + ((x & s[CTB_MASK]) >> 3)
    for i in range(size >> 3):
        for j in range(size >> 3):
            a[cells + 8 * i + j] = s[QP] + 64
    s[LAST_QP] = s[QP]
    position = bits_consumed(s)
    row = CU_COLUMNS * s[NUM_CU]
    cu[row + CU_X], cu[row + CU_Y], cu[row + CU_LOG2] = x, y, log2
    cu[row + CU_MODE], cu[row + CU_PART] = s[PRED_MODE] & 15, s[PART_MODE]
    cu[row + CU_FLAGS] = s[BYPASS] * FLAG_BYPASS | s[PRED_MODE] >> 4
    cu[row + CU_QP], cu[row + CU_BITS] = s[QP], position - s[BEGIN]
    cu[row + CU_SEGMENT], cu[row + CU_CHROMA] = s[SEGMENT], s[CHROMA_MODE]
    s[BEGIN] = position
    s[NUM_CU] += 1


@kernel(VOID(I64P, U8P, I32P, I32P, I64, I64), inline=True)
def start_quantization_group(s, a, k, h, x, y):
    """qPY_PRED of 8.6.1, from the groups left and above in this CTB, or the coding unit before."""
    x_in, y_in = x & s[CTB_MASK], y & s[CTB_MASK]
    cell = A_QP + y_in + (x_in >> 3)
    left = I64(a[cell - 1]) - 64 if x_in else s[LAST_QP]
    up = I64(a[cell - 8]) - 64 if y_in else s[LAST_QP]
    s[IS_QP_CODED], s[QP_DELTA] = 0, 0
    s[QP_PRED] = (left + up + 1) >> 1
    if s[QP] != s[QP_PRED]:
        s[QP] = s[QP_PRED]
        set_chroma_qp(s, k, h)


@kernel(
    VOID(
        I64P, I64P, U8P, I32P, I32P, U8P, I32P, U8P, F32P, F32P, I8P, I32P, I32P, I32P, I32P, I32P, I32P, I32P, I64, I64
    )
)  # fmt: skip
def coding_quadtree(s, c, d, k, h, a, b, f, w, e, g, v, r, o, cu, pu, tu, lv, x0, y0):
    """coding_quadtree() of a CTB, its nodes in order on a stack: x 16 bits, y 16, log2 8, depth 8."""
    top = I64(0)
    s[S_STACK] = x0 | y0 << 16 | s[CTB_LOG2] << 32
    while top >= 0:
        node = s[S_STACK + top]
        top -= 1
        x, y, log2, depth = node & 0xFFFF, node >> 16 & 0xFFFF, node >> 32 & 0xFF, node >> 40
        size = I64(1) << log2
        if x + size <= s[WIDTH] and y + size <= s[HEIGHT]:
            split = I64(0)
            if log2 > k[K_MIN_CB]:
                inc = I64(0)
                if x & s[CTB_MASK] or s[AVAILABLE_LEFT]:
                    inc = I64((a[A_LEFT + ((y & s[CTB_MASK]) >> 3)] & 7) > depth)
                if y & s[CTB_MASK] or s[AVAILABLE_UP]:
                    inc += I64((a[A_UP + (x >> 3)] & 7) > depth)
                split = decision(s, c, d, SPLIT_CU + inc)
        else:
            split = I64(log2 > k[K_MIN_CB])
        if k[K_QP_DELTA] and log2 >= k[K_MIN_QG]:
            start_quantization_group(s, a, k, h, x, y)
        if not split:
            s[CU_X0], s[CU_Y0] = x, y
            coding_unit(s, c, d, k, h, a, b, f, w, e, g, v, r, o, cu, pu, tu, lv, log2, depth)
            if s[STATUS]:
                return
            if s[BYTE_POSITION] > s[BYTE_END] + 16:
                s[STATUS] = OVERRUN
                return
            continue
        half = size >> 1
        for i in range(4):
            x_sub, y_sub = x + half * (1 - (i & 1)), y + half * (1 - (i >> 1))
            if x_sub < s[WIDTH] and y_sub < s[HEIGHT]:
                top += 1
                s[S_STACK + top] = x_sub | y_sub << 16 | (log2 - 1) << 32 | (depth + 1) << 40
