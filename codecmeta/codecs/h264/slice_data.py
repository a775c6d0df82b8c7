"""Clause 7.3.4: slice_data(), from the first macroblock of a slice to its stop bit."""

from __future__ import annotations

from codecmeta.codecs.h264.cabac import initialise_context_variables
from codecmeta.codecs.h264.cavlc import ue
from codecmeta.codecs.h264.coefficients import residual, set_totals
from codecmeta.codecs.h264.inter_prediction import (
    assign_macroblock,
    direct_macroblock,
    origin_of,
    p_skip_vector,
)
from codecmeta.codecs.h264.macroblock import bits_consumed, macroblock_layer
from codecmeta.codecs.h264.slice_header import B, I, P
from codecmeta.codecs.h264.state import (
    BAD_SYNTAX,
    BEGIN,
    BIT_POSITION,
    CABAC,
    DIRECT_SHAPE,
    FIRST_MB,
    LAST_QP_DELTA,
    LEFT_WORD,
    LIST_STRIDE,
    M_DIRECT,
    M_L0,
    M_SKIP,
    MB_ADDR,
    MB_X,
    MB_Y,
    MBS_PARSED,
    N_COLUMN,
    N_LEFT,
    N_TOP,
    NO_STOP_BIT,
    NOT_AVAILABLE,
    OVERRUN,
    PIC_MBS,
    PIC_WIDTH,
    QP,
    SKIP_RUN,
    SLICE_NUMBER,
    SLICE_QP,
    SLICE_TYPE,
    STATUS,
    STOP_BIT,
    STRIDE,
    T_TOP,
    TOP_WORD,
    W_AVAILABLE,
    W_DIRECT,
    W_NOTHING,
    W_RESIDUAL,
    W_SKIP,
)
from codecmeta.codecs.syntax.arithmetic import BYTE_POSITION, decision, initialise_decoding_engine, terminate
from codecmeta.codecs.syntax.jit import F32P, I8P, I32P, I64, I64P, U8P, U16P, VOID, kernel

FLUSHED_BITS = 8
"""How many bits an encoder may have left behind the bit that ends a CABAC slice: x264 fills the byte with ones and
zeros, others write the seven bits that their arithmetic coder still holds (codILow has ten, 9.3.4.5), then a stop bit
of their own. A decoder that obeys the standard has ended before."""


@kernel(VOID(I64P, U8P), inline=True)
def start_row(s, n):
    """Nothing is available to the left."""
    s[LEFT_WORD] = W_NOTHING
    for i in range(N_COLUMN):
        n[N_LEFT + i] = NOT_AVAILABLE


@kernel(VOID(I64P, I8P, U16P, I64, I64))
def clear_rows(s, g, q, row, rows):
    """Rows of 4x4 blocks (row 0 lies above the picture) that are not decoded: references -2, no mvd."""
    for list_ in range(2 if s[SLICE_TYPE] == B else 1):
        first = list_ * s[LIST_STRIDE] + row * s[STRIDE]
        for i in range(first, first + rows * s[STRIDE]):
            g[i] = -2
            q[i] = 0


@kernel(VOID(I64P, U8P, I32P, I8P, U16P))
def start_slice(s, n, t, g, q):
    """Nothing is available yet: neither the row above nor anything to the left."""
    s[MB_ADDR] = s[FIRST_MB]
    s[MB_X], s[MB_Y] = s[FIRST_MB] % s[PIC_WIDTH], s[FIRST_MB] // s[PIC_WIDTH]
    for x in range(s[PIC_WIDTH]):
        t[T_TOP + x] = W_NOTHING
    for i in range(N_COLUMN * s[PIC_WIDTH]):
        n[N_TOP + i] = NOT_AVAILABLE
    clear_rows(s, g, q, 4 * s[MB_Y], 5)
    start_row(s, n)


@kernel(VOID(I64P, U8P, I32P, I8P, U16P, I64), inline=True)
def next_macroblock(s, n, t, g, q, word):
    """Leave `word` for the neighbours and go on in raster order."""
    s[LEFT_WORD] = word
    t[T_TOP + s[MB_X]] = word
    s[MB_ADDR] += 1
    s[MB_X] += 1
    if s[MB_X] == s[PIC_WIDTH]:
        s[MB_X] = 0
        s[MB_Y] += 1
        if s[MB_ADDR] < s[PIC_MBS]:
            start_row(s, n)
            if s[SLICE_TYPE] != I:
                clear_rows(s, g, q, 4 * s[MB_Y] + 1, 4)


@kernel(I64(I64P, I64P, U8P, I32P), inline=True)
def mb_skip_flag(s, c, d, t):
    """mb_skip_flag, ctxIdx 11 (P) or 24 (B): one for each neighbour that is there and not skipped."""
    inc = I64((s[LEFT_WORD] & (W_AVAILABLE | W_SKIP)) == W_AVAILABLE)
    inc += I64((t[T_TOP + s[MB_X]] & (W_AVAILABLE | W_SKIP)) == W_AVAILABLE)
    return decision(s, c, d, (11 if s[SLICE_TYPE] == P else 24) + inc)


@kernel(I64(I64P, U8P, I32P, I32P, I32P, I8P, I8P, I32P, I8P, I32P, I32P))
def skip_macroblock(s, n, t, m, v, g, r, kv, kr, km, k):
    """P_Skip or B_Skip: everything inferred (7.4.4, 8.4.1) -> the word for its neighbours."""
    mb = s[MB_ADDR]
    s[LAST_QP_DELTA] = 0
    set_totals(s, n, 0)
    m[2 * s[PIC_MBS] + mb] = s[QP]
    if s[SLICE_TYPE] == P:
        assign_macroblock(s, v, g, origin_of(s), p_skip_vector(s, v, g), 0)
        for i8 in range(4):
            r[4 * mb + i8] = 0
            r[4 * (s[PIC_MBS] + mb) + i8] = -1
        m[mb] = M_SKIP | M_L0
        return I64(W_AVAILABLE | W_SKIP)
    direct_macroblock(s, v, g, t, r, kv, kr, km, k)
    m[mb] = M_SKIP | M_DIRECT | s[DIRECT_SHAPE]
    return I64(W_AVAILABLE | W_SKIP | W_DIRECT)


@kernel(VOID(I64P, I64P, U8P, U8P, I32P, I8P, U16P))
def begin_slice(s, c, d, n, t, g, q):
    """Contexts, engine, predictors and neighbours at the start of slice_data(), at BIT_POSITION."""
    s[STATUS] = 0
    s[MBS_PARSED] = 0
    s[QP] = s[SLICE_QP]
    s[LAST_QP_DELTA] = 0
    s[SKIP_RUN] = -1
    s[BEGIN] = s[BIT_POSITION]
    if s[CABAC]:
        s[BEGIN] = (s[BEGIN] + 7) & ~7  # cabac_alignment_one_bit
        s[BYTE_POSITION] = s[BEGIN] >> 3
        initialise_context_variables(s, c)
        initialise_decoding_engine(s, d)
    start_slice(s, n, t, g, q)


@kernel(I64(I64P, I64P, U8P, I32P), inline=True)
def is_skipped(s, c, d, t):
    """mb_skip_flag, or what mb_skip_run says."""
    if s[SLICE_TYPE] == I:
        return I64(0)
    if s[CABAC]:
        return mb_skip_flag(s, c, d, t)
    if s[SKIP_RUN] < 0:
        s[SKIP_RUN] = ue(s, d)
        if s[SKIP_RUN] > s[PIC_MBS] - s[MB_ADDR]:
            s[STATUS] = BAD_SYNTAX
    return I64(s[SKIP_RUN] > 0)


@kernel(I64(I64P, U8P, I32P), inline=True)
def end_of_macroblock(s, d, m):
    """Bits and slice number of a macroblock, unless its data ran out -> whether it was the last one of its slice."""
    position = bits_consumed(s)
    if position > (s[STOP_BIT] | 7) + 1:
        s[STATUS] = OVERRUN
        return I64(1)
    if s[CABAC]:
        ended = terminate(s, d)
        position = bits_consumed(s) - 1  # the engine is ahead by the bit that ends up as the stop bit
        if ended:  # the last one of the payload may stand behind it (see FLUSHED_BITS)
            behind = s[STOP_BIT] - position
            if behind < 0 or behind > FLUSHED_BITS or not d[position >> 3] >> (7 - (position & 7)) & 1:
                s[STATUS] = NO_STOP_BIT
    else:
        s[SKIP_RUN] -= 1
        ended = I64(0)
        if s[SKIP_RUN] <= 0:  # a run that has just ended, or a coded macroblock: more_rbsp_data()
            ended = I64(position >= s[STOP_BIT])
            if position > s[STOP_BIT]:
                s[STATUS] = NO_STOP_BIT
    mb = s[MB_ADDR]
    m[s[PIC_MBS] + mb] = position - s[BEGIN]
    m[3 * s[PIC_MBS] + mb] = s[SLICE_NUMBER]
    s[BEGIN] = position
    s[MBS_PARSED] += 1
    return ended


@kernel(I64(I64P, I64P, U8P, U8P, I32P, F32P, I32P, F32P, I32P, I8P, U16P, I8P, I32P, I8P, I32P, I32P))
def slice_data(s, c, d, n, t, w, m, e, v, g, q, r, kv, kr, km, k):
    """Parse a slice from BIT_POSITION -> STATUS; MBS_PARSED macroblocks are complete, whatever the status.

    In `m` the bits of a macroblock include its mb_skip_flag and the end_of_slice_flag behind it; those of an
    mb_skip_run count for the first macroblock of the run. They sum up to the slice data, stop bit not included.
    """
    begin_slice(s, c, d, n, t, g, q)
    while True:
        skipped = is_skipped(s, c, d, t)
        if s[STATUS]:
            break
        s[TOP_WORD] = t[T_TOP + s[MB_X]]
        if skipped:
            word = skip_macroblock(s, n, t, m, v, g, r, kv, kr, km, k)
        else:
            word = macroblock_layer(s, c, d, n, t, m, v, g, q, r, kv, kr, km, k)
            if word & W_RESIDUAL and s[STATUS] == 0:
                word |= residual(s, c, d, n, t, w, word, e)
        if s[STATUS] or end_of_macroblock(s, d, m):
            break
        next_macroblock(s, n, t, g, q, word)
        if s[MB_ADDR] >= s[PIC_MBS]:
            s[STATUS] = NO_STOP_BIT
            break
    return s[STATUS]
