"""Clause 8.4.1.2: direct prediction in MBAFF frames. The co-located picture is one of pairs as well.

cm, cv and cr are m, v and r of the co-located frame. ck int32: DistScaleFactor by refIdxL0 of frame macroblocks, of
macroblocks of the top and of the bottom field, 32 each, then MapColToList0 in frames as state.K_MAP lays it out.
"""

from __future__ import annotations

from codecmeta.codecs.h264.inter_prediction import mv_x, mv_y, pack
from codecmeta.codecs.h264.mbaff.neighbours import (
    LIST_STRIDE_OF_ONE,
    STRIDE_OF_ONE,
    is_field,
    macroblocks_of,
)
from codecmeta.codecs.h264.state import (
    BOTTOM,
    COLOCATED_PARITY,
    DIRECT_SPATIAL,
    FIELD,
    FRAME_LIST_STRIDE,
    FRAME_STRIDE,
    FRAME_WIDTH,
    HAVE_COLOCATED,
    K_MAP,
    K_SCALE,
    M_INTRA,
    M_SHAPE,
    PAIR,
    PAIR_X,
    PAIR_Y,
)
from codecmeta.codecs.syntax.jit import I8P, I32P, I64, I64P, VOID, kernel

SCALES = 96
"""How many DistScaleFactors stand before the map."""


@kernel(I64(I64P, I32P, I32P, I64, I64, I64, I64))
def reference_of_colocated(s, cm, ck, mb, list_, refIdxCol, of_field):
    """refIdxL0 of 8.4.1.2.3: the frame that was referred to, or its field of the parity that Table 8-6 and the
    co-located reference index mean."""
    slice_number = I64(cm[3 * macroblocks_of(s) + mb])
    if refIdxCol < 0 or slice_number < 0:
        return I64(-1)
    refIdxL0 = I64(ck[SCALES + 64 * slice_number + 32 * list_ + (refIdxCol >> of_field)])
    if not s[FIELD]:
        return refIdxL0
    return refIdxL0 << 1 | (refIdxCol & of_field)


@kernel(VOID(I64P, I32P, I8P, I32P, I32P, I8P, I32P, I32P))
def load_colocated(s, kv, kr, km, cv, cr, cm, ck):
    """The co-located blocks of the current macroblock (Table 8-6 and 8.4.1.2.1), as a macroblock of its own kind. Only
    the corners: direct_8x8_inference_flag is 1 in streams with fields."""
    km[0], km[3] = 0, 0
    if not s[HAVE_COLOCATED]:
        return
    pair, width, bottom = s[PAIR], s[FRAME_WIDTH], s[BOTTOM]
    of_field = is_field(cm, pair + bottom * width)
    for i8 in range(4):
        x, y = i8 & 1, i8 >> 1
        if of_field == s[FIELD]:
            lower, row = bottom, 3 * y
        elif of_field:
            lower, row = s[COLOCATED_PARITY], 2 * bottom + y
        else:
            lower, row = y, 2 * y
        mb = pair + lower * width
        for list_ in range(2):
            at = list_ * s[FRAME_LIST_STRIDE] + (4 * (2 * s[PAIR_Y] + lower) + row + 1) * s[FRAME_STRIDE]
            mv = I64(cv[at + 4 * s[PAIR_X] + 3 * x + 1])
            refIdxCol = I64(cr[4 * (list_ * macroblocks_of(s) + mb) + 2 * (row >> 1) + x])
            if not s[DIRECT_SPATIAL]:
                refIdxCol = reference_of_colocated(s, cm, ck, mb, list_, refIdxCol, of_field)
                dy = mv_y(mv)
                if of_field != s[FIELD]:
                    dy = dy << 1 if of_field else (dy + (dy < 0)) >> 1  # the standard's / truncates towards zero
                mv = pack(mv_x(mv), dy)
            kr[4 * list_ + i8] = refIdxCol
            kv[LIST_STRIDE_OF_ONE * list_ + (3 * y + 1) * STRIDE_OF_ONE + 3 * x + 1] = mv
    km[0] = shape_of_colocated(s, cm, of_field)


@kernel(I64(I64P, I32P, I64))
def shape_of_colocated(s, cm, of_field):
    """Flags of the co-located macroblock; of two frame macroblocks the partition that FFmpeg exports."""
    pair, width = s[PAIR], s[FRAME_WIDTH]
    if of_field == s[FIELD]:
        return I64(cm[pair + s[BOTTOM] * width])
    if of_field:
        return I64(cm[pair + s[COLOCATED_PARITY] * width])
    for lower in range(2):
        flags = I64(cm[pair + lower * width])
        if not flags & M_INTRA and flags >> M_SHAPE & 3:
            return I64(3 << M_SHAPE)
    return I64(1 << M_SHAPE)


@kernel(VOID(I64P, I32P, I32P))
def load_scales(s, k, ck):
    """DistScaleFactor of the current macroblock's kind; refIdxL0 is in `kr` already."""
    first = 32 * (1 + s[BOTTOM]) if s[FIELD] else I64(0)
    for i in range(32):
        k[K_SCALE + i] = ck[first + i]
        k[K_MAP + i] = i
        k[K_MAP + 32 + i] = i
