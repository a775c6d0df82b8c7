"""Clause 7.3.4 for MBAFF frames: slice_data() pair by pair, each macroblock in a picture of its own."""

from __future__ import annotations

from codecmeta.codecs.h264.cabac import initialise_context_variables
from codecmeta.codecs.h264.cavlc import u, ue
from codecmeta.codecs.h264.coefficients import residual
from codecmeta.codecs.h264.macroblock import bits_consumed, macroblock_layer
from codecmeta.codecs.h264.mbaff.colocated import load_colocated, load_scales
from codecmeta.codecs.h264.mbaff.neighbours import (
    EDGE,
    LEFT_DIAGONALS,
    LIST_STRIDE_OF_ONE,
    STRIDE_OF_ONE,
    TOTALS,
    find_neighbours,
    is_field,
    load_totals,
    load_vectors,
    load_words,
    macroblocks_of,
    pair_at,
)
from codecmeta.codecs.h264.slice_data import FLUSHED_BITS, mb_skip_flag, skip_macroblock
from codecmeta.codecs.h264.slice_header import B, I
from codecmeta.codecs.h264.state import (
    BAD_SYNTAX,
    BEGIN,
    BIT_POSITION,
    BOTTOM,
    CABAC,
    CHROMA,
    DIAGONAL,
    DIAGONAL_MASK,
    DIRECT_SPATIAL,
    FIELD,
    FIRST_MB,
    FRAME_HEIGHT,
    FRAME_LIST_STRIDE,
    FRAME_REFS_L0,
    FRAME_REFS_L1,
    FRAME_STRIDE,
    FRAME_WIDTH,
    LAST_QP_DELTA,
    LIST_STRIDE,
    M_FIELD,
    MB_ADDR,
    MB_X,
    MB_Y,
    MBS_PARSED,
    N_LEFT,
    N_TOP,
    NO_STOP_BIT,
    NUM_REF_L0,
    NUM_REF_L1,
    OVERRUN,
    PAIR,
    PAIR_X,
    PAIR_Y,
    PIC_HEIGHT,
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
    W_AVAILABLE,
    W_REF,
    W_RESIDUAL,
    W_SKIP,
)
from codecmeta.codecs.syntax.arithmetic import BYTE_POSITION, decision, initialise_decoding_engine, terminate
from codecmeta.codecs.syntax.jit import (
    F32A,
    F32P,
    I8A,
    I8P,
    I32A,
    I32P,
    I64,
    I64A,
    I64P,
    U8A,
    U8P,
    U16A,
    U16P,
    VOID,
    kernel,
    pointer,
)


@kernel(VOID(I64P))
def enter_picture_of_one(s):
    """The geometry of a picture of one macroblock; that of the frame is kept."""
    s[FRAME_WIDTH], s[FRAME_HEIGHT] = s[PIC_WIDTH], s[PIC_HEIGHT]
    s[FRAME_STRIDE], s[FRAME_LIST_STRIDE] = s[STRIDE], s[LIST_STRIDE]
    s[FRAME_REFS_L0], s[FRAME_REFS_L1] = s[NUM_REF_L0], s[NUM_REF_L1]
    s[PIC_WIDTH], s[PIC_HEIGHT], s[PIC_MBS] = 1, 1, 1
    s[STRIDE], s[LIST_STRIDE] = STRIDE_OF_ONE, LIST_STRIDE_OF_ONE
    s[MB_ADDR], s[MB_X], s[MB_Y] = 0, 0, 0
    s[DIAGONAL_MASK] = LIST_STRIDE_OF_ONE - 1
    for i in range(LIST_STRIDE_OF_ONE):
        s[DIAGONAL + i] = -STRIDE_OF_ONE - 1
    for y in range(1, 4):
        at = (y + 1) * STRIDE_OF_ONE + 1
        s[DIAGONAL + at] = LEFT_DIAGONALS + y - at


@kernel(VOID(I64P))
def leave_picture_of_one(s):
    """The geometry of the frame again, MB_ADDR in raster order."""
    s[MB_ADDR] = s[PAIR] + s[BOTTOM] * s[FRAME_WIDTH]
    s[PIC_WIDTH], s[PIC_HEIGHT], s[PIC_MBS] = s[FRAME_WIDTH], s[FRAME_HEIGHT], macroblocks_of(s)
    s[STRIDE], s[LIST_STRIDE] = s[FRAME_STRIDE], s[FRAME_LIST_STRIDE]
    s[DIAGONAL_MASK] = 0
    s[DIAGONAL] = -s[STRIDE] - 1


@kernel(VOID(I64P, I64), inline=True)
def enter_pair(s, number):
    """The pair with this number, in raster order of pairs."""
    s[PAIR_X], s[PAIR_Y] = number % s[FRAME_WIDTH], number // s[FRAME_WIDTH]
    s[PAIR] = 2 * s[PAIR_Y] * s[FRAME_WIDTH] + s[PAIR_X]


@kernel(I64(I64P, I32P))
def inferred_field(s, pm):
    """mb_field_decoding_flag of a pair that has none (7.4.4): as to the left, else as above, else 0."""
    pair = pair_at(s, pm, s[PAIR_X] - 1, s[PAIR_Y])
    if pair < 0:
        pair = pair_at(s, pm, s[PAIR_X], s[PAIR_Y] - 1)
    return is_field(pm, pair) if pair >= 0 else I64(0)


@kernel(I64(I64P, I64P, U8P, I32P))
def mb_field_decoding_flag(s, c, d, pm):
    """mb_field_decoding_flag, ctxIdx 70: one for each pair of field macroblocks to the left and above."""
    if not s[CABAC]:
        return u(s, d, 1)
    inc = I64(0)
    for up in range(2):
        pair = pair_at(s, pm, s[PAIR_X] - 1 + up, s[PAIR_Y] - up)
        if pair >= 0:
            inc += is_field(pm, pair)
    return decision(s, c, d, 70 + inc)


@kernel(I64(I64P, I64P, U8P, I32P, I32P, I32P, I64))
def is_skipped(s, c, d, t, pm, pw, bottom):
    """mb_skip_flag, or what mb_skip_run says."""
    if s[CABAC]:
        s[BOTTOM] = bottom
        find_neighbours(s, pm)
        load_words(s, t, pm, pw)
        return mb_skip_flag(s, c, d, t)
    if s[SKIP_RUN] < 0:
        s[SKIP_RUN] = ue(s, d)
        if s[SKIP_RUN] > macroblocks_of(s):
            s[STATUS] = BAD_SYNTAX
            return I64(0)
    s[SKIP_RUN] -= 1
    return I64(s[SKIP_RUN] >= 0)


@kernel(VOID(I64P, U8P, I32P, I32P, F32P, I32P, U16P, I8P, I32P, F32P, I32P, I8P, I32P, U8P, I32P, U16P, I64))
def store(s, n, t, m, e, v, q, r, pm, pe, pv, pr, pw, pn, px, pq, word):
    """What the macroblock says, into the frame and for its neighbours."""
    mbs = macroblocks_of(s)
    mb = s[PAIR] + s[BOTTOM] * s[FRAME_WIDTH]
    pm[mb] = m[0] | s[FIELD] << M_FIELD
    pm[2 * mbs + mb] = m[2]
    pm[3 * mbs + mb] = s[SLICE_NUMBER]
    for i in range(8):
        pn[TOTALS * mb + i] = n[N_TOP + i]
    for i in range(12):
        pn[TOTALS * mb + 8 + i] = n[N_LEFT + i]
    pw[mb] = word
    above_1 = I64(0)
    if s[SLICE_TYPE] != I:
        for list_ in range(2):
            for i8 in range(4):
                pr[4 * (list_ * mbs + mb) + i8] = r[4 * list_ + i8]
                above_1 |= I64(r[4 * list_ + i8] > 1) << (W_REF + 4 * list_ + i8)
        row = 4 * (2 * s[PAIR_Y] + s[BOTTOM]) + 1
        for list_ in range(2 if s[SLICE_TYPE] == B else 1):
            first = LIST_STRIDE_OF_ONE * list_ + STRIDE_OF_ONE + 1
            out = list_ * s[FRAME_LIST_STRIDE] + row * s[FRAME_STRIDE] + 4 * s[PAIR_X] + 1
            for y in range(4):
                for x in range(4):
                    pv[out + y * s[FRAME_STRIDE] + x] = v[first + y * STRIDE_OF_ONE + x]
            edge = EDGE * (2 * mb + list_)
            for i in range(4):
                right, last = first + i * STRIDE_OF_ONE + 3, first + 3 * STRIDE_OF_ONE + i
                px[edge + i], px[edge + 4 + i] = v[right], v[last]
                pq[edge + i], pq[edge + 4 + i] = q[right], q[last]
    pw[mbs + mb] = word & above_1
    store_energy(s, e, pe)
    s[MBS_PARSED] += 1


@kernel(VOID(I64P, F32P, F32P))
def store_energy(s, e, pe):
    """Energies into the rows of the frame; a block of a field covers two of them, and half of it goes to each."""
    at = I64(0)
    luma = 16 * macroblocks_of(s)
    tall = 4 if s[CHROMA] == 2 else 2
    for plane in range(3 if s[CHROMA] else 1):
        across, down = (2, tall) if plane else (4, 4)
        stride = across * s[FRAME_WIDTH]
        first = luma + (plane - 1) * 2 * tall * macroblocks_of(s) if plane else I64(0)
        first += 2 * down * s[PAIR_Y] * stride + across * s[PAIR_X]
        for y in range(down):
            for x in range(across):
                energy = e[at]
                at += 1
                if s[FIELD]:
                    out = first + 2 * y * stride + x
                    pe[out] += 0.5 * energy
                    pe[out + stride] += 0.5 * energy
                else:
                    pe[first + (down * s[BOTTOM] + y) * stride + x] = energy


@kernel(VOID(I64P, I32P), inline=True)
def end_of_macroblock(s, pm):
    """Its bits, whether it ran beyond the data or not."""
    position = bits_consumed(s) - I64(s[CABAC] != 0)  # the engine is ahead by the bit that may be the stop bit
    pm[macroblocks_of(s) + s[PAIR] + s[BOTTOM] * s[FRAME_WIDTH]] = position - s[BEGIN]
    s[BEGIN] = position


@kernel(I64(I64P, U8P), inline=True)
def end_of_slice(s, d):
    """end_of_slice_flag or more_rbsp_data() behind a pair -> whether the slice ends; NO_STOP_BIT where it may not."""
    if not s[CABAC]:
        if s[SKIP_RUN] > 0:
            return I64(0)
        if s[BIT_POSITION] > s[STOP_BIT]:
            s[STATUS] = NO_STOP_BIT
        return I64(s[BIT_POSITION] >= s[STOP_BIT])
    ended = terminate(s, d)
    if ended:
        position = bits_consumed(s) - 1
        behind = s[STOP_BIT] - position
        if behind < 0 or behind > FLUSHED_BITS or not d[position >> 3] >> (7 - (position & 7)) & 1:
            s[STATUS] = NO_STOP_BIT
    return ended


@kernel(VOID(I64P, I64P, U8P, I64), inline=True)
def begin_slice(s, c, d, number):
    """Contexts, engine and predictors at the start of slice_data(), whose first pair has this number."""
    s[STATUS], s[MBS_PARSED] = 0, 0
    s[QP] = s[SLICE_QP]
    s[LAST_QP_DELTA] = 0
    s[SKIP_RUN] = -1
    s[BEGIN] = s[BIT_POSITION]
    if s[CABAC]:
        s[BEGIN] = (s[BEGIN] + 7) & ~7  # cabac_alignment_one_bit
        s[BYTE_POSITION] = s[BEGIN] >> 3
        initialise_context_variables(s, c)
        initialise_decoding_engine(s, d)
    enter_pair(s, number)


# s, c, d, w; the picture of one macroblock; the frame; the co-located frame
_POINTERS = (
    *(I64P, I64P, U8P, F32P),
    *(U8P, I32P, I32P, F32P, I32P, I8P, U16P, I8P, I32P, I8P, I32P, I32P),
    *(I32P, F32P, I32P, I8P, I32P, U8P, I32P, U16P),
    *(I32P, I8P, I32P, I32P),
)
_ARRAYS = (
    *(I64A, I64A, U8A, F32A),
    *(U8A, I32A, I32A, F32A, I32A, I8A, U16A, I8A, I32A, I8A, I32A, I32A),
    *(I32A, F32A, I32A, I8A, I32A, U8A, I32A, U16A),
    *(I32A, I8A, I32A, I32A),
)


@kernel(VOID(*_POINTERS, I64, I64))
def one_macroblock(
    s, c, d, w, n, t, m, e, v, g, q, r, kv, kr, km, k, pm, pe, pv, pr, pw, pn, px, pq, cv, cr, cm, ck, bottom, skipped
):  # fmt: skip
    """Parse one macroblock of the pair, of the kind that FIELD says, and store it unless STATUS says otherwise."""
    s[BOTTOM] = bottom
    for list_ in range(2):
        s[NUM_REF_L0 + list_] = s[FRAME_REFS_L0 + list_] << s[FIELD]
    find_neighbours(s, pm)
    load_words(s, t, pm, pw)
    load_totals(s, n, pn)
    if s[SLICE_TYPE] != I:
        load_vectors(s, v, g, q, pm, pr, px, pq)
    if s[SLICE_TYPE] == B:
        load_colocated(s, kv, kr, km, cv, cr, cm, ck)
        if not s[DIRECT_SPATIAL]:
            load_scales(s, k, ck)
    for i in range(32):
        e[i] = 0.0
    if skipped:
        word = skip_macroblock(s, n, t, m, v, g, r, kv, kr, km, k)
    else:
        word = macroblock_layer(s, c, d, n, t, m, v, g, q, r, kv, kr, km, k)
        if word & W_RESIDUAL and s[STATUS] == 0:
            word |= residual(s, c, d, n, t, w, word, e)
    if s[STATUS] == 0:
        if bits_consumed(s) > (s[STOP_BIT] | 7) + 1:
            s[STATUS] = OVERRUN
        else:
            store(s, n, t, m, e, v, q, r, pm, pe, pv, pr, pw, pn, px, pq, word)


@kernel(VOID(*_ARRAYS), entry=True)
def slice_data_of_pairs(
    s, c, d, w, n, t, m, e, v, g, q, r, kv, kr, km, k, pm, pe, pv, pr, pw, pn, px, pq, cv, cr, cm, ck
):  # fmt: skip
    """Parse a slice of an MBAFF frame from BIT_POSITION, as `slice_data.slice_data` does; FIRST_MB counts pairs.

    The skip flag of a lower macroblock, and the flag of the pair, may stand before an upper macroblock that is skipped:
    they count among its bits.
    """
    s, c, d, w = pointer(s), pointer(c), pointer(d), pointer(w)
    n, t, m, e, v, g = pointer(n), pointer(t), pointer(m), pointer(e), pointer(v), pointer(g)
    q, r, kv, kr, km, k = pointer(q), pointer(r), pointer(kv), pointer(kr), pointer(km), pointer(k)
    pm, pe, pv, pr, pw = pointer(pm), pointer(pe), pointer(pv), pointer(pr), pointer(pw)
    pn, px, pq, cv, cr = pointer(pn), pointer(px), pointer(pq), pointer(cv), pointer(cr)
    cm, ck = pointer(cm), pointer(ck)
    enter_picture_of_one(s)
    number, pairs = s[FIRST_MB], macroblocks_of(s) >> 1
    begin_slice(s, c, d, number)
    inter = s[SLICE_TYPE] != I
    while True:
        s[FIELD] = inferred_field(s, pm)
        upper, lower = I64(0), I64(0)
        if inter:
            upper = is_skipped(s, c, d, t, pm, pw, 0)
            if upper:
                pw[s[PAIR]] = W_AVAILABLE | W_SKIP
                lower = is_skipped(s, c, d, t, pm, pw, 1)
        if not (upper and lower):
            s[FIELD] = mb_field_decoding_flag(s, c, d, pm)
        for bottom in range(2):
            if s[STATUS]:
                break
            if bottom and inter and not upper:
                lower = is_skipped(s, c, d, t, pm, pw, 1)
            one_macroblock(
                s, c, d, w, n, t, m, e, v, g, q, r, kv, kr, km, k,
                pm, pe, pv, pr, pw, pn, px, pq, cv, cr, cm, ck, bottom, lower if bottom else upper,
            )  # fmt: skip
            if s[STATUS] == 0:
                if bottom and end_of_slice(s, d):
                    pairs = I64(0)
                end_of_macroblock(s, pm)
        if s[STATUS] or not pairs:
            break
        number += 1
        if number >= pairs:
            s[STATUS] = NO_STOP_BIT
            break
        enter_pair(s, number)
    leave_picture_of_one(s)
