"""Clauses 7.3.8.6 and 7.3.8.9: prediction units, from their syntax to their vectors, and part_mode of inter blocks."""

from __future__ import annotations

from codecmeta.codecs.hevc.motion import merge_motion, mv_x, mv_y, packed_mv, predicted_mv, set_motion
from codecmeta.codecs.hevc.state import (
    BAD_SYNTAX,
    CU_SIZE,
    CU_X0,
    CU_Y0,
    H_MAX_MERGE,
    H_MVD_L1_ZERO,
    H_NUM_REF_0,
    H_TYPE,
    K_AMP,
    K_MIN_CB,
    MERGE_FLAG,
    MODE_SKIP,
    NUM_PU,
    PART_2NX2N,
    PART_2NXN,
    PART_2NXND,
    PART_2NXNU,
    PART_MODE,
    PART_NLX2N,
    PART_NRX2N,
    PART_NX2N,
    PART_NXN,
    PRED_MODE,
    PU_COLUMNS,
    PU_H,
    PU_MERGE,
    PU_MV0,
    PU_MV1,
    PU_REF0,
    PU_REF1,
    PU_SEGMENT,
    PU_W,
    PU_X,
    PU_Y,
    S_MV,
    SEGMENT,
    STATUS,
    B,
)
from codecmeta.codecs.hevc.tables import table
from codecmeta.codecs.syntax.arithmetic import (
    bypass,
    decision,
)
from codecmeta.codecs.syntax.jit import I8P, I32P, I64, I64P, U8P, VOID, kernel

(
    PART_MODE_BINS,
    MERGE,
    MERGE_IDX,
    INTER_PRED_IDC,
    REF_IDX,
    MVP,
    MVD_GREATER_0,
    MVD_GREATER_1,
) = (
    table("first_context")[name]
    for name in (
        "part_mode",
        "merge_flag",
        "merge_idx",
        "inter_pred_idc",
        "ref_idx",
        "mvp_flag",
        "abs_mvd_greater0_flag",
        "abs_mvd_greater1_flag",
    )
)


@kernel(I64(I64P, I64P, U8P, I32P))
def merge_index(s, c, d, h):
    """merge_idx: truncated rice, the first bin with a context."""
    most = h[H_MAX_MERGE] - 1
    value = I64(0)
    if most > 0 and decision(s, c, d, MERGE_IDX):
        value = I64(1)
        while value < most and bypass(s, d):
            value += 1
    return value


@kernel(I64(I64P, I64P, U8P, I64))
def reference_index(s, c, d, count):
    """ref_idx_l0 or l1: truncated rice, two bins with contexts."""
    value = I64(0)
    while value < count - 1:
        binVal = decision(s, c, d, REF_IDX + value) if value < 2 else bypass(s, d)
        if not binVal:
            break
        value += 1
    return value


@kernel(I64(I64P, U8P))
def abs_mvd_minus2(s, d):
    """Exp-Golomb of order 1."""
    value, order = I64(0), I64(1)
    while bypass(s, d):
        value += I64(1) << order
        order += 1
        if order > 20:
            s[STATUS] = BAD_SYNTAX
            return I64(0)
    while order:
        order -= 1
        value += bypass(s, d) << order
    return value


@kernel(I64(I64P, I64P, U8P))
def mvd_coding(s, c, d):
    """mvd_coding() -> both components, packed."""
    greater_x = decision(s, c, d, MVD_GREATER_0)
    greater_y = decision(s, c, d, MVD_GREATER_0)
    more_x = decision(s, c, d, MVD_GREATER_1) if greater_x else I64(0)
    more_y = decision(s, c, d, MVD_GREATER_1) if greater_y else I64(0)
    x, y = greater_x, greater_y
    if greater_x:
        if more_x:
            x = 2 + abs_mvd_minus2(s, d)
        if bypass(s, d):
            x = -x
    if greater_y:
        if more_y:
            y = 2 + abs_mvd_minus2(s, d)
        if bypass(s, d):
            y = -y
    return packed_mv(x, y)


@kernel(VOID(I64P, I64P, U8P, I32P, I32P, I32P, I8P, I32P, I32P, I64, I64, I64, I64, I64, I64))
def inter_vectors(s, c, d, h, b, k, g, v, o, x, y, width, height, part, depth):
    """prediction_unit() without merge_flag: directions, references, vector differences -> S_MV."""
    inter_pred_idc = I64(0)  # 0 list 0, 1 list 1, 2 both
    if h[H_TYPE] == B:
        if width + height != 12 and decision(s, c, d, INTER_PRED_IDC + depth):
            inter_pred_idc = I64(2)
        else:
            inter_pred_idc = decision(s, c, d, INTER_PRED_IDC + 4)
    for list_ in range(2):
        if inter_pred_idc == 1 - list_:
            s[S_MV + list_], s[S_MV + 2 + list_] = 0, -1
            continue
        count = I64(h[H_NUM_REF_0 + list_])
        ref_idx = reference_index(s, c, d, count) if count > 1 else I64(0)
        mvd = I64(0)
        if not (list_ == 1 and h[H_MVD_L1_ZERO] and inter_pred_idc == 2):
            mvd = mvd_coding(s, c, d)
        mvp_flag = decision(s, c, d, MVP)
        if s[STATUS]:
            return
        mvp = predicted_mv(s, h, g, v, o, x, y, width, height, list_, ref_idx, mvp_flag)
        s[S_MV + list_] = packed_mv(mv_x(mvp) + mv_x(mvd), mv_y(mvp) + mv_y(mvd))
        s[S_MV + 2 + list_] = ref_idx


@kernel(
    VOID(I64P, I64P, U8P, I32P, I32P, I32P, I8P, I32P, I32P, I32P, I32P, I64, I64, I64, I64, I64, I64)
)  # fmt: skip
def prediction_unit(s, c, d, k, h, b, g, v, r, o, pu, x, y, width, height, part, depth):
    """prediction_unit(), from its syntax to its vectors."""
    merge = I64(1)
    if s[PRED_MODE] != MODE_SKIP:
        merge = decision(s, c, d, MERGE)
    s[MERGE_FLAG] = merge
    merge_idx = I64(-1)
    if merge:
        merge_idx = merge_index(s, c, d, h)
        merge_motion(s, k, h, b, g, v, o, x, y, width, height, part, merge_idx)
    else:
        inter_vectors(s, c, d, h, b, k, g, v, o, x, y, width, height, part, depth)
        if s[STATUS]:
            return
    set_motion(s, h, g, v, r, x, y, width, height)
    row = PU_COLUMNS * s[NUM_PU]
    pu[row + PU_X], pu[row + PU_Y], pu[row + PU_W], pu[row + PU_H] = x, y, width, height
    pu[row + PU_MV0], pu[row + PU_MV1] = s[S_MV], s[S_MV + 1]
    pu[row + PU_REF0], pu[row + PU_REF1] = s[S_MV + 2], s[S_MV + 3]
    pu[row + PU_MERGE], pu[row + PU_SEGMENT] = merge_idx, s[SEGMENT]
    s[NUM_PU] += 1


@kernel(VOID(I64P, I64P, U8P, I32P, I32P, I32P, I8P, I32P, I32P, I32P, I32P, I64))
def prediction_units(s, c, d, k, h, b, g, v, r, o, pu, depth):
    """All prediction units of an inter coding unit."""
    x, y, size, mode = s[CU_X0], s[CU_Y0], s[CU_SIZE], s[PART_MODE]
    if mode == PART_2NX2N:
        prediction_unit(s, c, d, k, h, b, g, v, r, o, pu, x, y, size, size, 0, depth)
        return
    if mode == PART_NXN:
        half = size >> 1
        for part in range(4):
            x_part, y_part = x + half * (part & 1), y + half * (part >> 1)
            prediction_unit(s, c, d, k, h, b, g, v, r, o, pu, x_part, y_part, half, half, part, depth)
            if s[STATUS]:
                return
        return
    first = size >> 1
    if mode == PART_2NXNU or mode == PART_NLX2N:
        first = size >> 2
    elif mode == PART_2NXND or mode == PART_NRX2N:
        first = size - (size >> 2)
    if mode == PART_2NXN or mode == PART_2NXNU or mode == PART_2NXND:
        prediction_unit(s, c, d, k, h, b, g, v, r, o, pu, x, y, size, first, 0, depth)
        if not s[STATUS]:
            prediction_unit(s, c, d, k, h, b, g, v, r, o, pu, x, y + first, size, size - first, 1, depth)
    else:
        prediction_unit(s, c, d, k, h, b, g, v, r, o, pu, x, y, first, size, 0, depth)
        if not s[STATUS]:
            prediction_unit(s, c, d, k, h, b, g, v, r, o, pu, x + first, y, size - first, size, 1, depth)


@kernel(I64(I64P, I64P, U8P, I32P, I64))
def part_mode_inter(s, c, d, k, log2):
    """part_mode of an inter coding unit (9.3.3.7)."""
    if decision(s, c, d, PART_MODE_BINS):
        return I64(PART_2NX2N)
    horizontal = decision(s, c, d, PART_MODE_BINS + 1)
    if log2 == k[K_MIN_CB]:
        if horizontal:
            return I64(PART_2NXN)
        if log2 == 3 or decision(s, c, d, PART_MODE_BINS + 2):
            return I64(PART_NX2N)
        return I64(PART_NXN)
    if not k[K_AMP] or decision(s, c, d, PART_MODE_BINS + 3):
        return I64(PART_2NXN if horizontal else PART_NX2N)
    second = bypass(s, d)
    return (I64(PART_2NXNU) if horizontal else I64(PART_NLX2N)) + second
