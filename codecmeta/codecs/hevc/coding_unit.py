"""Clauses 7.3.8.4 to 7.3.8.7: coding quadtrees, coding units and prediction units."""

from __future__ import annotations

from codecmeta.codecs.hevc.motion import merge_motion, mv_x, mv_y, packed_mv, predicted_mv, set_motion
from codecmeta.codecs.hevc.shared import (
    BYTE_END,
    BYTE_POSITION,
    F32P,
    I8P,
    I32P,
    I64,
    I64P,
    SPARE_BITS,
    U8P,
    VOID,
    bypass,
    decision,
    initialise_decoding_engine,
    kernel,
    terminate,
)
from codecmeta.codecs.hevc.state import (
    A_LEFT,
    A_MODE_LEFT,
    A_MODE_UP,
    A_QP,
    A_UP,
    AVAILABLE_LEFT,
    AVAILABLE_UP,
    BAD_SYNTAX,
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
    H_MAX_MERGE,
    H_MVD_L1_ZERO,
    H_NUM_REF_0,
    H_TYPE,
    HEIGHT,
    IS_QP_CODED,
    K_AMP,
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
    LUMA_MODE_0,
    MAX_TRAFO_DEPTH,
    MERGE_FLAG,
    MODE_INTER,
    MODE_INTRA,
    MODE_SKIP,
    NUM_CU,
    NUM_LEVELS,
    NUM_PU,
    NUM_TU,
    OVERRUN,
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
    QP,
    QP_DELTA,
    QP_PRED,
    S_MODES,
    S_MV,
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
    B,
    I,
)
from codecmeta.codecs.hevc.tables import table
from codecmeta.codecs.hevc.transform import set_chroma_qp, transform_tree

(
    SPLIT_CU,
    TRANSQUANT_BYPASS,
    CU_SKIP,
    PRED_MODE_FLAG,
    PART_MODE_BINS,
    PREV_INTRA,
    INTRA_CHROMA,
    RQT_ROOT_CBF,
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
        "split_cu_flag",
        "cu_transquant_bypass_flag",
        "cu_skip_flag",
        "pred_mode_flag",
        "part_mode",
        "prev_intra_luma_pred_flag",
        "intra_chroma_pred_mode",
        "rqt_root_cbf",
        "merge_flag",
        "merge_idx",
        "inter_pred_idc",
        "ref_idx",
        "mvp_flag",
        "abs_mvd_greater0_flag",
        "abs_mvd_greater1_flag",
    )
)
PLANAR, DC, HORIZONTAL_MODE, VERTICAL_MODE = 0, 1, 10, 26


@kernel(I64(I64P), inline=True)
def bits_consumed(s):
    """Bits of the RBSP that belong to the syntax so far: the engine is nine bits ahead."""
    return 8 * s[BYTE_POSITION] - s[SPARE_BITS] - 9


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


@kernel(I64(I64P, U8P, I64, I64, I64), inline=True)
def most_probable_mode(s, a, x, y, which):
    """candModeList[which] of 8.4.2 for the prediction block at (x, y)."""
    column, row = (x & s[CTB_MASK]) >> 2, (y & s[CTB_MASK]) >> 2
    left, up = I64(DC), I64(DC)
    if column or s[AVAILABLE_LEFT]:
        left = I64(a[A_MODE_LEFT + row])
    if row:
        up = I64(a[A_MODE_UP + column])
    if left == up:
        if left < 2:
            return I64(PLANAR) if which == 0 else (I64(DC) if which == 1 else I64(VERTICAL_MODE))
        if which == 0:
            return left
        return 2 + ((left + 29) & 31) if which == 1 else 2 + ((left - 1) & 31)
    if which == 0:
        return left
    if which == 1:
        return up
    if left != PLANAR and up != PLANAR:
        return I64(PLANAR)
    if left != DC and up != DC:
        return I64(DC)
    return I64(VERTICAL_MODE)


@kernel(VOID(I64P, U8P, I64, I64, I64, I64), inline=True)
def set_modes(s, a, x, y, size, mode):
    """The luma mode of a block for its neighbours; DC where it is not predicted by a mode."""
    column, row = A_MODE_UP + ((x & s[CTB_MASK]) >> 2), A_MODE_LEFT + ((y & s[CTB_MASK]) >> 2)
    for i in range(size >> 2):
        a[column + i] = mode
        a[row + i] = mode


@kernel(VOID(I64P, I64P, U8P, U8P))
def intra_modes(s, c, d, a):
    """The luma modes of one or four blocks (8.4.2) and the chroma mode (8.4.3)."""
    parts = I64(4 if s[PART_MODE] == PART_NXN else 1)
    size = s[CU_SIZE] >> 1 if parts == 4 else s[CU_SIZE]
    for i in range(parts):
        s[S_MODES + i] = decision(s, c, d, PREV_INTRA)
    for i in range(parts):
        x, y = s[CU_X0] + size * (i & 1), s[CU_Y0] + size * (i >> 1)
        if s[S_MODES + i]:
            which = I64(0)
            if bypass(s, d):
                which = 1 + bypass(s, d)
            mode = most_probable_mode(s, a, x, y, which)
        else:
            mode = I64(0)
            for _ in range(5):
                mode = mode << 1 | bypass(s, d)
            one = most_probable_mode(s, a, x, y, 0)
            two = most_probable_mode(s, a, x, y, 1)
            three = most_probable_mode(s, a, x, y, 2)
            if one > two:
                one, two = two, one
            if one > three:
                one, three = three, one
            if two > three:
                two, three = three, two
            if mode >= one:
                mode += 1
            if mode >= two:
                mode += 1
            if mode >= three:
                mode += 1
        s[LUMA_MODE_0 + i] = mode
        set_modes(s, a, x, y, size, mode)
    if not s[CHROMA]:
        s[CHROMA_MODE] = -1
        return
    luma = s[LUMA_MODE_0]
    if not decision(s, c, d, INTRA_CHROMA):
        s[CHROMA_MODE] = luma
        return
    chosen = bypass(s, d) << 1
    chosen |= bypass(s, d)
    mode = I64(PLANAR)
    if chosen == 1:
        mode = I64(VERTICAL_MODE)
    elif chosen == 2:
        mode = I64(HORIZONTAL_MODE)
    elif chosen == 3:
        mode = I64(DC)
    s[CHROMA_MODE] = I64(34) if mode == luma else mode


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
