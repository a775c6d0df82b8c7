"""Clauses 7.3.5, 7.3.5.1 and 7.3.5.2: macroblock_layer(), mb_pred() and sub_mb_pred(), in either entropy coder."""

from __future__ import annotations

from codecmeta.codecs.h264.cabac import (
    coded_block_pattern_cabac,
    mb_qp_delta_cabac,
    mb_type_b_cabac,
    mb_type_intra,
    mb_type_p_cabac,
    mvd_cabac,
    ref_idx_cabac,
    sub_mb_type_b_cabac,
    sub_mb_type_p_cabac,
)
from codecmeta.codecs.h264.cavlc import se, te, u, ue
from codecmeta.codecs.h264.coefficients import set_totals
from codecmeta.codecs.h264.inter_prediction import (
    assign,
    assign_direct,
    assign_macroblock,
    direct,
    direct_macroblock,
    mv_x,
    mv_y,
    mvp,
    origin_of,
    pack,
)
from codecmeta.codecs.h264.slice_header import B, I, P
from codecmeta.codecs.h264.state import (
    BAD_SYNTAX,
    BIT_POSITION,
    CABAC,
    CHROMA,
    DIRECT_8X8_INFERENCE,
    DIRECT_SHAPE,
    INTRA_CHROMA_MODE,
    INTRA_MODES,
    LAST_QP_DELTA,
    LEFT_WORD,
    LIST_STRIDE,
    M_CBP,
    M_DIRECT,
    M_I_16X16,
    M_I_NXN,
    M_I_PCM,
    M_L0,
    M_L1,
    M_SHAPE,
    M_SUB_DIRECT,
    M_T8X8,
    MB_ADDR,
    NO_SUB_LESS_THAN_8X8,
    NUM_REF_L0,
    OVERRUN,
    PCM_BITS,
    PIC_MBS,
    QP,
    QP_BD_OFFSET,
    REF_BITS,
    SLICE_TYPE,
    STATUS,
    STRIDE,
    T_DIRECT_REF,
    T_REF,
    T_SUB,
    TOP_WORD,
    TRANSFORM_8X8_MODE,
    W_AVAILABLE,
    W_CBP_CHROMA,
    W_CBP_LUMA,
    W_CHROMA_MODE,
    W_DC,
    W_DIRECT,
    W_I_NXN,
    W_INTRA,
    W_PCM,
    W_REF,
    W_RESIDUAL,
    W_T8X8,
)
from codecmeta.codecs.h264.tables import table
from codecmeta.codecs.syntax.arithmetic import BYTE_END, BYTE_POSITION, SPARE_BITS, decision, initialise_decoding_engine
from codecmeta.codecs.syntax.jit import I8P, I32P, I64, I64P, U8P, U16P, VOID, constant, kernel

# coded_block_pattern of me(v) (Table 9-4): [ChromaArrayType != 0][inter][codeNum]
CODED_BLOCK_PATTERN = constant(
    [
        (table(f"coded_block_pattern_{chroma}_{kind}") + [0] * 48)[:48]
        for chroma in ("400", "420")
        for kind in ("intra", "inter")
    ],
    "int64",
).reshape(-1)
CODE_NUMS = constant([16, 48], "int64")

# Table 7-14, mb_type 0..22 of B slices: shape, and the lists of the two partitions (1 L0, 2 L1, 3 both)
B_SHAPE = constant([0, 0, 0, 0, *(1 + i % 2 for i in range(18)), 3], "int64")
B_LISTS = constant(
    [[0, 0], [1, 1], [2, 2], [3, 3]]
    + [lists for lists in ([1, 1], [2, 2], [1, 2], [2, 1], [1, 3], [2, 3], [3, 1], [3, 2], [3, 3]) for _ in range(2)]
    + [[0, 0]],
    "int64",
).reshape(-1)
# Table 7-18, sub_mb_type 0..12 of B slices: shape (0 8x8, 1 8x4, 2 4x8, 3 4x4) and lists
B_SUB_SHAPE = constant([3, 0, 0, 0, 1, 2, 1, 2, 1, 2, 3, 3, 3], "int64")
B_SUB_LISTS = constant([0, 1, 2, 3, 1, 1, 2, 2, 3, 3, 1, 2, 3], "int64")
SUB_DIRECT = 16  # marks a direct 8x8 block in T_SUB, which holds shape << 2 | lists


@kernel(I64(I64P), inline=True)
def bits_consumed(s):
    """The position in the RBSP, in bits: what the arithmetic decoder has read, or BIT_POSITION."""
    return 8 * s[BYTE_POSITION] - s[SPARE_BITS] if s[CABAC] else s[BIT_POSITION]


@kernel(I64(I64P, I64P, U8P))
def mb_type_of(s, c, d):
    """mb_type -> 0..22 inter as Tables 7-13 and 7-14, 32 + intra (0..25) as Table 7-11."""
    slice_type = s[SLICE_TYPE]
    if slice_type == I:
        if s[CABAC]:
            inc = I64((s[LEFT_WORD] & (W_AVAILABLE | W_I_NXN)) == W_AVAILABLE)
            inc += I64((s[TOP_WORD] & (W_AVAILABLE | W_I_NXN)) == W_AVAILABLE)
            return 32 + mb_type_intra(s, c, d, 3, inc)
        mb_type, first_intra = ue(s, d), I64(0)
    elif slice_type == P:
        mb_type, first_intra = mb_type_p_cabac(s, c, d) if s[CABAC] else ue(s, d), I64(5)
    else:
        if s[CABAC]:
            inc = I64((s[LEFT_WORD] & (W_AVAILABLE | W_DIRECT)) == W_AVAILABLE)
            inc += I64((s[TOP_WORD] & (W_AVAILABLE | W_DIRECT)) == W_AVAILABLE)
            mb_type = mb_type_b_cabac(s, c, d, inc)
        else:
            mb_type = ue(s, d)
        first_intra = I64(23)
    if mb_type < first_intra:
        return mb_type
    if mb_type - first_intra > 25:
        s[STATUS] = BAD_SYNTAX
        return I64(32)
    return 32 + mb_type - first_intra


@kernel(I64(I64P, I64P, U8P))
def transform_size_8x8_flag(s, c, d):
    """transform_size_8x8_flag, ctxIdx 399."""
    if s[CABAC]:
        return decision(s, c, d, 399 + ((s[LEFT_WORD] & W_T8X8) != 0) + ((s[TOP_WORD] & W_T8X8) != 0))
    return u(s, d, 1)


@kernel(I64(I64P, I64P, U8P, I64))
def coded_block_pattern_of(s, c, d, intra):
    """coded_block_pattern: luma in bits 0..3, chroma (0, 1 DC, 2 DC and AC) in bits 4, 5."""
    if s[CABAC]:
        cbp = W_CBP_LUMA | W_CBP_CHROMA
        return coded_block_pattern_cabac(s, c, d, s[LEFT_WORD] & cbp, s[TOP_WORD] & cbp, s[CHROMA])
    codeNum = ue(s, d)
    chroma = I64(s[CHROMA] != 0)
    if codeNum >= CODE_NUMS[chroma]:
        s[STATUS] = BAD_SYNTAX
        return I64(0)
    return CODED_BLOCK_PATTERN[96 * chroma + (0 if intra else 48) + codeNum]


@kernel(VOID(I64P, I64P, U8P))
def mb_qp_delta(s, c, d):
    """mb_qp_delta and QPY (7-37)."""
    delta = mb_qp_delta_cabac(s, c, d, I64(s[LAST_QP_DELTA] != 0)) if s[CABAC] else se(s, d)
    offset = s[QP_BD_OFFSET]
    if delta < -(26 + offset // 2) or delta > 25 + offset // 2:
        s[STATUS] = BAD_SYNTAX
        return
    s[LAST_QP_DELTA] = delta
    s[QP] = (s[QP] + delta + 52 + 2 * offset) % (52 + offset) - offset


@kernel(VOID(I64P, I32P, I8P, I8P))
def assign_intra(s, v, g, r):
    """An intra macroblock refers to nothing, and is there for its neighbours."""
    at = origin_of(s)
    for list_ in range((1, 2, 0)[s[SLICE_TYPE]]):
        assign_macroblock(s, v, g, at + list_ * s[LIST_STRIDE], 0, -1)
    for list_ in range(2):
        for i8 in range(4):
            r[4 * (list_ * s[PIC_MBS] + s[MB_ADDR]) + i8] = -1


@kernel(I64(I64P, I64P, U8P, I64, I64))
def intra_mb_pred(s, c, d, intra_16x16, transform_8x8):
    """The intra part of mb_pred(), modes as they are coded -> W_CHROMA_MODE if intra_chroma_pred_mode is not 0."""
    if not intra_16x16:
        modes = I64(0)
        for _ in range(4 if transform_8x8 else 16):
            mode = I64(8)
            if s[CABAC]:
                if not decision(s, c, d, 68):
                    mode = decision(s, c, d, 69)
                    mode |= decision(s, c, d, 69) << 1
                    mode |= decision(s, c, d, 69) << 2
            elif not u(s, d, 1):
                mode = u(s, d, 3)
            modes = modes << 4 | mode
        s[INTRA_MODES] = modes
    s[INTRA_CHROMA_MODE] = 0
    if not s[CHROMA]:
        return I64(0)
    if s[CABAC]:
        inc = I64((s[LEFT_WORD] & W_CHROMA_MODE) != 0) + I64((s[TOP_WORD] & W_CHROMA_MODE) != 0)
        if not decision(s, c, d, 64 + inc):
            return I64(0)
        s[INTRA_CHROMA_MODE] = 1
        if decision(s, c, d, 67):
            s[INTRA_CHROMA_MODE] = 2 + decision(s, c, d, 67)
        return I64(W_CHROMA_MODE)
    intra_chroma_pred_mode = ue(s, d)
    if intra_chroma_pred_mode > 3:
        s[STATUS] = BAD_SYNTAX
    s[INTRA_CHROMA_MODE] = intra_chroma_pred_mode
    return I64(W_CHROMA_MODE if intra_chroma_pred_mode else 0)


@kernel(I64(I64P, U8P, U8P, I32P))
def i_pcm(s, d, n, m):
    """I_PCM: samples read over; QPY counts as 0 (-QpBdOffset) and stays the predictor of what follows."""
    position = (bits_consumed(s) + 7) & ~7
    position += s[PCM_BITS]
    if position > 8 * s[BYTE_END]:
        s[STATUS] = OVERRUN
        position = 8 * s[BYTE_END]
    if s[CABAC]:
        s[BYTE_POSITION] = position >> 3
        initialise_decoding_engine(s, d)
    else:
        s[BIT_POSITION] = position
    set_totals(s, n, 16)
    s[LAST_QP_DELTA] = 0
    pattern = I64(W_CBP_LUMA | (32 if s[CHROMA] else 0))
    m[s[MB_ADDR]] = M_I_PCM | pattern << M_CBP
    m[2 * s[PIC_MBS] + s[MB_ADDR]] = -s[QP_BD_OFFSET]
    return W_AVAILABLE | W_INTRA | W_PCM | pattern | 7 << W_DC


@kernel(I64(I64P, I64P, U8P, I64, I64))
def ref_idx(s, c, d, list_, i8):
    """ref_idx_l0 or ref_idx_l1 of the partition that starts at the 8x8 block i8; 0 where only one is active."""
    active = s[NUM_REF_L0 + list_]
    if active < 2:
        return I64(0)
    if s[CABAC]:
        own = s[REF_BITS] >> (4 * list_)
        left = own >> (i8 - 1) if i8 & 1 else s[LEFT_WORD] >> (W_REF + 4 * list_ + i8 + 1)
        top = own >> (i8 - 2) if i8 & 2 else s[TOP_WORD] >> (W_REF + 4 * list_ + i8 + 2)
        value = ref_idx_cabac(s, c, d, (left & 1) + 2 * (top & 1))
    else:
        value = te(s, d, active - 1)
    if value >= active:
        s[STATUS] = BAD_SYNTAX
        return I64(0)
    return value


@kernel(I64(I64P, I64P, U8P, U16P, I64, I64))
def mvd(s, c, d, q, at, mvp):
    """mvd_l0 or mvd_l1 of the partition at `at` -> its vector; |mvd|, clipped, in q[at] for the partition to copy."""
    if not s[CABAC]:
        x = se(s, d)
        return pack(mv_x(mvp) + x, mv_y(mvp) + se(s, d))
    left, top = I64(q[at - 1]), I64(q[at - s[STRIDE]])
    x = mvd_cabac(s, c, d, 40, (left & 255) + (top & 255))
    y = mvd_cabac(s, c, d, 47, (left >> 8) + (top >> 8))
    q[at] = min(abs(x), 70) | min(abs(y), 70) << 8
    return pack(mv_x(mvp) + x, mv_y(mvp) + y)


@kernel(VOID(I64P, U16P, I64, I64, I64))
def spread_mvd(s, q, at, width, height):
    """|mvd| of a partition from its first 4x4 block to all of them."""
    value = q[at]
    stride = s[STRIDE]
    for _ in range(height):
        q[at] = value
        if width > 1:
            q[at + 1] = value
        if width > 2:
            q[at + 2] = value
            q[at + 3] = value
        at += stride


@kernel(I64(I64P, I64P, U8P, I32P, I32P, I8P, U16P, I8P, I64))
def mb_pred(s, c, d, t, v, g, q, r, mb_type):
    """The inter part of mb_pred(): one or two partitions -> the flags of `m`."""
    bi = s[SLICE_TYPE] == B
    shape = B_SHAPE[mb_type] if bi else mb_type
    parts = 1 if shape == 0 else 2
    width, height = 2 if shape == 2 else 4, 2 if shape == 1 else 4
    flags = shape << M_SHAPE
    for list_ in range(2 if bi else 1):
        for part in range(parts):
            lists = B_LISTS[2 * mb_type + part] if bi else I64(1)
            i8 = part << (2 - shape)  # the second partition starts at 8x8 block 2 (16x8) or 1 (8x16)
            value = I64(-1)
            if lists >> list_ & 1:
                flags |= M_L1 if list_ else M_L0
                value = ref_idx(s, c, d, list_, i8)
                if value > 0:
                    covered = I64(15) if shape == 0 else (I64(3) if shape == 1 else I64(5))
                    s[REF_BITS] |= covered << (i8 + 4 * list_)
            t[T_REF + 4 * list_ + part] = value
    base = origin_of(s)
    for list_ in range(2 if bi else 1):
        for part in range(parts):
            value = I64(t[T_REF + 4 * list_ + part])
            at = base + list_ * s[LIST_STRIDE]
            if part:
                at += 2 * s[STRIDE] if shape == 1 else 2
            mv = I64(0)
            if value >= 0:
                mv = mvd(s, c, d, q, at, mvp(s, v, g, at, width, value, shape, part))
                if s[CABAC]:
                    spread_mvd(s, q, at, width, height)
            assign(s, v, g, at, width, height, mv, value)
    for list_ in range(2):
        for i8 in range(4):
            part = 0 if shape == 0 else (i8 >> 1 if shape == 1 else i8 & 1)
            value = t[T_REF + 4 * list_ + part] if bi or list_ == 0 else -1
            r[4 * (list_ * s[PIC_MBS] + s[MB_ADDR]) + i8] = value
    return flags


@kernel(I64(I64P, I64P, U8P))
def sub_mb_type(s, c, d):
    """sub_mb_type -> shape << 2 | lists, SUB_DIRECT for B_Direct_8x8."""
    if s[SLICE_TYPE] == P:
        value = sub_mb_type_p_cabac(s, c, d) if s[CABAC] else ue(s, d)
        if value > 3:
            s[STATUS] = BAD_SYNTAX
            return I64(1)
        return value << 2 | 1
    value = sub_mb_type_b_cabac(s, c, d) if s[CABAC] else ue(s, d)
    if value > 12:
        s[STATUS] = BAD_SYNTAX
        return I64(1)
    return B_SUB_SHAPE[value] << 2 | B_SUB_LISTS[value] if value else I64(SUB_DIRECT)


@kernel(VOID(I64P, I64P, U8P, I32P, I32P, I8P, U16P, I64, I64))
def sub_macroblock_vectors(s, c, d, t, v, g, q, list_, i8):
    """The vectors of one 8x8 block's sub-macroblock partitions, in one list."""
    at = origin_of(s) + list_ * s[LIST_STRIDE] + 2 * (i8 >> 1) * s[STRIDE] + 2 * (i8 & 1)
    value = I64(t[T_REF + 4 * list_ + i8])
    if value < 0:
        assign(s, v, g, at, 2, 2, 0, -1)
        return
    shape = t[T_SUB + i8] >> 2
    width, height = 2 - (shape >> 1), 2 - (shape & 1)
    for y in range(0, 2, height):
        for x in range(0, 2, width):
            part = at + y * s[STRIDE] + x
            mv = mvd(s, c, d, q, part, mvp(s, v, g, part, width, value, 3, 0))
            if s[CABAC]:
                spread_mvd(s, q, part, width, height)
            assign(s, v, g, part, width, height, mv, value)


@kernel(I64(I64P, I64P, U8P, I32P, I32P, I8P, U16P, I8P, I32P, I8P, I32P, I32P, I64))
def sub_mb_pred(s, c, d, t, v, g, q, r, kv, kr, km, k, ref_idx_0):
    """sub_mb_pred(): four 8x8 blocks -> the flags of `m`; `ref_idx_0`: P_8x8ref0, whose ref_idx are not sent."""
    bi = s[SLICE_TYPE] == B
    flags = I64(3 << M_SHAPE | M_L0 | (M_L1 if bi else 0))
    for i8 in range(4):
        sub = sub_mb_type(s, c, d)
        t[T_SUB + i8] = sub
        if sub == SUB_DIRECT:
            flags |= M_SUB_DIRECT
            if not s[DIRECT_8X8_INFERENCE]:
                s[NO_SUB_LESS_THAN_8X8] = 0
        elif sub >> 2:
            s[NO_SUB_LESS_THAN_8X8] = 0
    if flags & M_SUB_DIRECT:
        direct(s, v, g, t, kv, kr, km, k, 0)
    for list_ in range(2 if bi else 1):
        for i8 in range(4):
            sub = I64(t[T_SUB + i8])
            value = I64(-1)
            if sub == SUB_DIRECT:
                value = I64(t[T_DIRECT_REF + 4 * list_ + i8])
            elif sub >> list_ & 1:
                value = I64(0) if ref_idx_0 else ref_idx(s, c, d, list_, i8)
                if value > 0:
                    s[REF_BITS] |= 1 << (i8 + 4 * list_)
            t[T_REF + 4 * list_ + i8] = value
    for list_ in range(2 if bi else 1):
        for i8 in range(4):
            if t[T_SUB + i8] == SUB_DIRECT:
                assign_direct(s, v, g, t, list_, i8)
            else:
                sub_macroblock_vectors(s, c, d, t, v, g, q, list_, i8)
    for list_ in range(2):
        for i8 in range(4):
            value = t[T_REF + 4 * list_ + i8] if bi or list_ == 0 else -1
            r[4 * (list_ * s[PIC_MBS] + s[MB_ADDR]) + i8] = value
    return flags


@kernel(I64(I64P, I64P, U8P, U8P, I32P, I32P, I32P, I8P, U16P, I8P, I32P, I8P, I32P, I32P))
def macroblock_layer(s, c, d, n, t, m, v, g, q, r, kv, kr, km, k):
    """macroblock_layer() of the macroblock at MB_ADDR, up to residual() -> the word for its neighbours; `m`, `v` and
    `r` are filled. W_RESIDUAL in it: residual() follows, which adds W_DC."""
    mb_type = mb_type_of(s, c, d)
    mb_type_flags, word = I64(0), I64(W_AVAILABLE)
    coded_block_pattern, transform_8x8 = I64(0), I64(0)
    intra, intra_16x16 = I64(mb_type >= 32), I64(mb_type > 32)
    s[NO_SUB_LESS_THAN_8X8] = 1
    s[REF_BITS] = 0
    if mb_type == 32 + 25:
        assign_intra(s, v, g, r)
        return i_pcm(s, d, n, m)
    if intra:
        word |= W_INTRA
        assign_intra(s, v, g, r)
        if intra_16x16:
            mb_type_flags |= M_I_16X16
            coded_block_pattern = (15 if mb_type >= 32 + 13 else 0) | ((mb_type - 33) // 4 % 3) << 4
            s[INTRA_MODES] = (mb_type - 33) & 3
        else:
            mb_type_flags |= M_I_NXN
            word |= W_I_NXN
            if s[TRANSFORM_8X8_MODE]:
                transform_8x8 = transform_size_8x8_flag(s, c, d)
        word |= intra_mb_pred(s, c, d, intra_16x16, transform_8x8)
    elif s[SLICE_TYPE] == B and mb_type == 0:
        direct_macroblock(s, v, g, t, r, kv, kr, km, k)
        mb_type_flags |= M_DIRECT | s[DIRECT_SHAPE]
        word |= W_DIRECT
        s[NO_SUB_LESS_THAN_8X8] = s[DIRECT_8X8_INFERENCE]
    elif (s[SLICE_TYPE] == B and mb_type == 22) or (s[SLICE_TYPE] == P and mb_type >= 3):
        mb_type_flags |= sub_mb_pred(s, c, d, t, v, g, q, r, kv, kr, km, k, I64(s[SLICE_TYPE] == P and mb_type == 4))
    else:
        mb_type_flags |= mb_pred(s, c, d, t, v, g, q, r, mb_type)
    if not intra_16x16:
        coded_block_pattern = coded_block_pattern_of(s, c, d, intra)
        if coded_block_pattern & 15 and s[TRANSFORM_8X8_MODE] and not intra and s[NO_SUB_LESS_THAN_8X8]:
            transform_8x8 = transform_size_8x8_flag(s, c, d)
    word |= coded_block_pattern | s[REF_BITS] << W_REF
    if transform_8x8:
        word |= W_T8X8
        mb_type_flags |= M_T8X8
    if coded_block_pattern or intra_16x16:
        mb_qp_delta(s, c, d)
        word |= W_RESIDUAL
    else:
        s[LAST_QP_DELTA] = 0
        set_totals(s, n, 0)
    m[s[MB_ADDR]] = mb_type_flags | coded_block_pattern << M_CBP
    m[2 * s[PIC_MBS] + s[MB_ADDR]] = s[QP]
    return word
