"""Clause 7.3.3 once more, for the pictures of a run: slice headers as words, parsed without Python.

`slice_header.py` is the parser that says what is wrong. This one takes on what most headers are, frames with all that
is well in them, and leaves the others to it.
"""

from __future__ import annotations

from codecmeta.codecs.h264.cavlc import se, u, ue
from codecmeta.codecs.h264.nal import SLICE_IDR
from codecmeta.codecs.h264.run_state import (
    H_BOTTOM,
    H_CABAC_INIT,
    H_FIRST_MB,
    H_FRAME_NUM,
    H_IDR,
    H_IDR_PIC_ID,
    H_LONG_TERM,
    H_LSB,
    H_OPERATION,
    H_OPERATIONS,
    H_QP,
    H_REFERENCE,
    H_REFS_L0,
    H_SPATIAL,
    H_STEP,
    H_STEPS_L0,
    H_TYPE,
    LOG2_FRAME_NUM,
    LOG2_ORDER_LSB,
    ORDER_TYPE,
    P_BIPRED,
    P_BOTTOM_ORDER,
    P_CABAC,
    P_DEBLOCKING,
    P_KNOWN,
    P_QP,
    P_REDUNDANT,
    P_REFS_L0,
    P_SIZE,
    P_WEIGHTED,
)
from codecmeta.codecs.h264.slice_header import HEADER_BYTES, B, I, P
from codecmeta.codecs.h264.state import BIT_POSITION, CHROMA, QP_BD_OFFSET, STATUS
from codecmeta.codecs.syntax.arithmetic import BYTE_END
from codecmeta.codecs.syntax.jit import I64, I64P, U8P, kernel

_MOST_STEPS = 66


@kernel(I64(I64P, U8P, I64P, I64P, I64))
def num_ref_idx_active(s, d, h, y, own):
    """Of both lists, 0 where the slice has none -> whether they are allowed. own: its picture parameter set in `y`."""
    slice_type = h[H_TYPE]
    h[H_REFS_L0], h[H_REFS_L0 + 1] = 0, 0
    if slice_type == I:
        return I64(1)
    first, second = y[own + P_REFS_L0], y[own + P_REFS_L0 + 1]
    if u(s, d, 1):
        first = 1 + ue(s, d)
        if slice_type == B:
            second = 1 + ue(s, d)
    h[H_REFS_L0] = first
    if slice_type == B:
        h[H_REFS_L0 + 1] = second
    return I64(max(first, second) <= 16)


@kernel(I64(I64P, U8P, I64P))
def ref_pic_list_modification(s, d, h):
    """7.3.3.1 -> whether it is in order."""
    h[H_STEPS_L0], h[H_STEPS_L0 + 1] = 0, 0
    for list_ in range((1, 2, 0)[h[H_TYPE]]):
        if not u(s, d, 1):
            continue
        while s[STATUS] == 0:
            idc = ue(s, d)
            if idc == 3:
                break
            steps = h[H_STEPS_L0 + list_]
            if idc > 3 or steps >= _MOST_STEPS:
                return I64(0)
            at = H_STEP + 2 * (_MOST_STEPS * list_ + steps)
            h[at], h[at + 1] = idc, ue(s, d)
            h[H_STEPS_L0 + list_] = steps + 1
    return I64(s[STATUS] == 0)


@kernel(I64(I64P, U8P, I64P))
def pred_weight_table(s, d, h):
    """7.3.3.2, read over -> whether it is in order."""
    if ue(s, d) > 7 or (s[CHROMA] and ue(s, d) > 7):
        return I64(0)
    for _ in range(h[H_REFS_L0] + h[H_REFS_L0 + 1]):
        codes = 2 * u(s, d, 1)
        for _ in range(codes):
            ue(s, d)
        if s[CHROMA] and u(s, d, 1):
            for _ in range(4):
                ue(s, d)
    return I64(1)


@kernel(I64(I64P, U8P, I64P))
def dec_ref_pic_marking(s, d, h):
    """7.3.3.3 -> whether it is in order, and leaves the order counts as they are."""
    h[H_OPERATIONS], h[H_LONG_TERM] = -1, 0
    if not h[H_REFERENCE]:
        return I64(1)
    if h[H_IDR]:
        u(s, d, 1)
        h[H_LONG_TERM] = u(s, d, 1)
        return I64(1)
    if not u(s, d, 1):
        return I64(1)
    h[H_OPERATIONS] = 0
    while s[STATUS] == 0:
        operation = ue(s, d)
        if operation == 0:
            break
        at = H_OPERATION + 3 * h[H_OPERATIONS]
        if operation > 6 or operation == 5 or h[H_OPERATIONS] >= _MOST_STEPS:
            return I64(0)
        h[at], h[at + 1], h[at + 2] = operation, ue(s, d), 0
        if operation == 3:
            h[at + 2] = ue(s, d)
        h[H_OPERATIONS] += 1
    return I64(s[STATUS] == 0)


@kernel(I64(I64P, U8P, I64P, I64P, I64P, I64))
def slice_header(s, d, b, y, h, nal):
    """slice_header() of the slice whose payload is `d`, from BIT_POSITION 0 on, into `h` -> place of its picture
    parameter set in `y`; -1: it is not one for a run. nal: the byte before it. CHROMA and QP_BD_OFFSET are known."""
    s[STATUS], s[BIT_POSITION] = 0, 0
    h[H_IDR], h[H_REFERENCE] = I64(nal & 31 == SLICE_IDR), I64(nal >> 5 & 3 != 0)
    h[H_FIRST_MB], slice_type, pps = ue(s, d), ue(s, d), ue(s, d)
    if slice_type > 9 or slice_type % 5 > I or pps > 255:
        return I64(-1)
    slice_type %= 5
    h[H_TYPE] = slice_type
    own = pps * P_SIZE
    if not y[own + P_KNOWN] or (h[H_IDR] and (slice_type != I or not h[H_REFERENCE])):
        return I64(-1)
    h[H_FRAME_NUM] = u(s, d, b[LOG2_FRAME_NUM])
    h[H_IDR_PIC_ID] = ue(s, d) if h[H_IDR] else 0
    h[H_LSB], h[H_BOTTOM] = 0, 0
    if b[ORDER_TYPE] == 0:
        h[H_LSB] = u(s, d, b[LOG2_ORDER_LSB])
        if y[own + P_BOTTOM_ORDER]:
            h[H_BOTTOM] = se(s, d)
    if y[own + P_REDUNDANT] and ue(s, d):
        return I64(-1)
    h[H_SPATIAL] = u(s, d, 1) if slice_type == B else 0
    if not num_ref_idx_active(s, d, h, y, own):
        return I64(-1)
    if not ref_pic_list_modification(s, d, h):
        return I64(-1)
    weighted = (y[own + P_WEIGHTED] and slice_type == P) or (y[own + P_BIPRED] == 1 and slice_type == B)
    if weighted and not pred_weight_table(s, d, h):
        return I64(-1)
    if not dec_ref_pic_marking(s, d, h):
        return I64(-1)
    h[H_CABAC_INIT] = ue(s, d) if y[own + P_CABAC] and slice_type != I else 0
    h[H_QP] = y[own + P_QP] + se(s, d)
    if h[H_CABAC_INIT] > 2 or h[H_QP] < -s[QP_BD_OFFSET] or h[H_QP] > 51:
        return I64(-1)
    if y[own + P_DEBLOCKING]:
        idc = ue(s, d)
        if idc > 2 or (idc != 1 and (abs(se(s, d)) > 6 or abs(se(s, d)) > 6)):
            return I64(-1)
    whole = s[STATUS] == 0 and s[BIT_POSITION] <= 8 * min(s[BYTE_END], HEADER_BYTES[1])
    return own if whole else I64(-1)
