"""Clauses 7.3.8.1 to 7.3.8.3 and 9.3.1: slice_segment_data(), from its first CTB to its stop bit."""

from __future__ import annotations

from numba import types

from codecmeta.codecs.hevc.coding_unit import bits_consumed, coding_quadtree
from codecmeta.codecs.hevc.state import (
    AVAILABLE_LEFT,
    AVAILABLE_UP,
    AVAILABLE_UP_LEFT,
    AVAILABLE_UP_RIGHT,
    BAD_ADDRESS,
    BAD_ENTRY,
    BAD_SYNTAX,
    BEGIN,
    C_SEGMENT,
    C_WPP,
    CHROMA,
    CTB_COLUMNS,
    CTB_LOG2,
    CTB_MASK,
    CTB_X,
    CTB_Y,
    CU_BITS,
    CU_COLUMNS,
    H_ADDRESS,
    H_CABAC_INIT,
    H_DATA_BYTE,
    H_DEPENDENT,
    H_ENTRIES,
    H_NUM_ENTRIES,
    H_QP,
    H_SAO_CHROMA,
    H_SAO_LUMA,
    H_SLICE_ADDRESS,
    H_TYPE,
    HEIGHT,
    K_BIT_DEPTH,
    K_BIT_DEPTH_C,
    K_CHROMA,
    K_CTB,
    K_CTB_COLUMNS,
    K_CTB_ROWS,
    K_HEIGHT,
    K_TILES,
    K_WIDTH,
    K_WPP,
    LAST_QP,
    NO_STOP_BIT,
    NUM_CU,
    NUM_EMULATION,
    NUM_LEVELS,
    NUM_PU,
    NUM_TU,
    OK,
    OVERRUN,
    PREVIOUS_TS,
    QP,
    QP_OFFSET,
    SEGMENT,
    SLICE_QP,
    SLICE_TYPE,
    STATUS,
    STOP_BIT,
    SUBSTREAM,
    T_RS_TO_TS,
    T_TILE_ID,
    T_TILE_X,
    T_TS_TO_RS,
    WIDTH,
    B,
    I,
)
from codecmeta.codecs.hevc.tables import table
from codecmeta.codecs.hevc.transform import set_chroma_qp
from codecmeta.codecs.syntax.arithmetic import (
    BYTE_END,
    BYTE_POSITION,
    STATES,
    bypass,
    decision,
    initialise_decoding_engine,
    terminate,
)
from codecmeta.codecs.syntax.jit import (
    F32A,
    F32P,
    I8A,
    I32A,
    I32P,
    I64,
    I64A,
    I64P,
    U8A,
    U8P,
    VOID,
    constant,
    kernel,
    pointer,
)

INIT_VALUES = constant(table("initValue"), "int64").reshape(-1)
NUM_CONTEXTS = 154
SAO_MERGE, SAO_TYPE = (table("first_context")[name] for name in ("sao_merge_flag", "sao_type_idx"))


@kernel(VOID(I64P, I64P, I32P))
def initialise_contexts(s, c, h):
    """9.3.2.2: by initType and SliceQpY clipped to 0..51."""
    init_type = I64(0)
    if h[H_TYPE] != I:
        init_type = I64(2 if h[H_TYPE] == B else 1)
        if h[H_CABAC_INIT]:
            init_type = 3 - init_type
    qp = min(max(s[SLICE_QP], I64(0)), I64(51))
    for i in range(NUM_CONTEXTS):
        value = INIT_VALUES[NUM_CONTEXTS * init_type + i]
        m, n = (value >> 4) * 5 - 45, ((value & 15) << 3) - 16
        state = min(max(((m * qp) >> 4) + n, I64(1)), I64(126))
        c[i] = STATES[(63 - state) << 1] if state <= 63 else STATES[(state - 64) << 1 | 1]


@kernel(VOID(I64P, I64, I64))
def copy_contexts(c, to, source):
    """One set of context variables over another (9.3.2.3, 9.3.2.4)."""
    for i in range(NUM_CONTEXTS):
        c[to + i] = c[source + i]


@kernel(VOID(I64P, I64P, U8P, I32P, I32P))
def sao(s, c, d, k, h):
    """sao(): walked through; no loop filter is run here."""
    if s[AVAILABLE_LEFT] and decision(s, c, d, SAO_MERGE):
        return
    if s[AVAILABLE_UP] and decision(s, c, d, SAO_MERGE):
        return
    kind = I64(0)
    for cIdx in range(3 if s[CHROMA] else 1):
        if not (h[H_SAO_CHROMA] if cIdx else h[H_SAO_LUMA]):
            continue
        if cIdx < 2:
            kind = I64(0)
            if decision(s, c, d, SAO_TYPE):
                kind = 1 + bypass(s, d)
        if not kind:
            continue
        most = (I64(1) << (min(I64(k[K_BIT_DEPTH_C] if cIdx else k[K_BIT_DEPTH]), I64(10)) - 5)) - 1
        not_zero = I64(0)
        for _ in range(4):
            offset = I64(0)
            while offset < most and bypass(s, d):
                offset += 1
            not_zero += I64(offset > 0)
        bits = I64(0)
        if kind == 1:
            bits = not_zero + 5
        elif cIdx < 2:
            bits = I64(2)
        for _ in range(bits):
            bypass(s, d)


@kernel(I64(I64P, I32P, I32P, I32P, I64, I64), inline=True)
def available(s, t, h, m, here, there):
    """Whether CTB `there` belongs to this slice and this tile, and has been parsed (6.4.1); both by CtbAddrRs."""
    ctbs = s[CTB_COLUMNS]
    tile = T_TILE_ID * ctbs
    return I64(m[there] >= 0 and m[ctbs + there] == h[H_SLICE_ADDRESS] and t[tile + here] == t[tile + there])


@kernel(VOID(I64P, I32P, I32P, I32P, I32P, I64))
def start_ctb(s, k, t, h, m, here):
    """Position and neighbours of a CTB."""
    columns = I64(k[K_CTB_COLUMNS])
    x, y = here % columns, here // columns
    s[CTB_X], s[CTB_Y] = x, y
    s[AVAILABLE_LEFT] = available(s, t, h, m, here, here - 1) if x > 0 else I64(0)
    s[AVAILABLE_UP] = available(s, t, h, m, here, here - columns) if y > 0 else I64(0)
    s[AVAILABLE_UP_LEFT] = available(s, t, h, m, here, here - columns - 1) if x > 0 and y > 0 else I64(0)
    s[AVAILABLE_UP_RIGHT] = available(s, t, h, m, here, here - columns + 1) if x < columns - 1 and y > 0 else I64(0)


@kernel(VOID(I64P, I64P, I32P, I32P, I32P, I64, I64))
def start_contexts(s, c, k, t, h, here, first):
    """Context variables at the start of a CTB, and qPY_PREV (9.3.1, 8.6.1). first: of the slice segment."""
    ctbs = s[CTB_COLUMNS]
    ts = I64(t[T_RS_TO_TS * ctbs + here])
    tile = T_TILE_ID * ctbs
    new_tile = ts == 0 or t[tile + here] != t[tile + t[T_TS_TO_RS * ctbs + ts - 1]]
    new_row = k[K_WPP] and s[CTB_X] == t[T_TILE_X * ctbs + here]
    if new_tile:
        initialise_contexts(s, c, h)
        s[LAST_QP] = s[SLICE_QP]
    elif new_row:
        if s[AVAILABLE_UP_RIGHT]:
            copy_contexts(c, 0, C_WPP)
        else:
            initialise_contexts(s, c, h)
        s[LAST_QP] = s[SLICE_QP]
    elif first:
        if h[H_DEPENDENT]:
            copy_contexts(c, 0, C_SEGMENT)
        else:
            initialise_contexts(s, c, h)


@kernel(VOID(I64P, F32P))
def forget_ctb(s, e):
    """Take back the energy of the CTB at CTB_X, CTB_Y: it was not read to its end."""
    stride = s[WIDTH] >> 2
    rows = s[HEIGHT] >> 2
    side = (s[CTB_MASK] + 1) >> 2
    for y in range(s[CTB_Y] * side, min((s[CTB_Y] + 1) * side, rows)):
        for x in range(s[CTB_X] * side, min((s[CTB_X] + 1) * side, stride)):
            e[y * stride + x] = 0
    plane = stride * rows
    for _ in range(2):
        for y in range(s[CTB_Y] * (side >> 1), min((s[CTB_Y] + 1) * (side >> 1), rows >> 1)):
            for x in range(s[CTB_X] * (side >> 1), min((s[CTB_X] + 1) * (side >> 1), stride >> 1)):
                e[plane + y * (stride >> 1) + x] = 0
        plane += (stride >> 1) * (rows >> 1)


@kernel(I64(I64P, U8P, I32P, I32P, I64))
def substream(s, d, h, em, before):
    """Past the alignment to the next substream, which must start where the header says -> STATUS.

    before: where the last one started, in bytes of the NAL unit.
    """
    position = bits_consumed(s) + 9
    byte = (position + 7) >> 3
    if byte >= s[BYTE_END] or not (d[(position - 1) >> 3] >> (7 - ((position - 1) & 7))) & 1:
        return I64(OVERRUN)
    s[SUBSTREAM] += 1
    if s[SUBSTREAM] > h[H_NUM_ENTRIES]:
        return I64(BAD_ENTRY)
    escaped = byte
    for i in range(s[NUM_EMULATION]):
        if em[i] <= byte:
            escaped += 1
    if escaped != before + h[H_ENTRIES + s[SUBSTREAM] - 1]:
        return I64(BAD_ENTRY)
    s[BYTE_POSITION] = byte
    initialise_decoding_engine(s, d)
    return I64(OK)


@kernel(
    types.int64(
        I64A, I64A, U8A, I32A, I32A, U8A, I32A, U8A, I32A, F32A, F32A, I8A, I32A, I32A, I32A, I32A, I32A, I32A, I32A,
        I32A, I32A,
    ),
    entry=True,
)  # fmt: skip
def slice_segment_data(s, c, d, k, t, f, h, a, b, w, e, g, v, m, r, o, cu, pu, tu, lv, em):
    """Parse a slice segment whose header is in `h` -> STATUS; what is complete stays, whatever the status.

    em: where emulation prevention bytes were taken out of the RBSP. In `cu` the bits of coding units add up to the
    slice segment data, its last byte included. Here the arrays, which the caller keeps alive, become pointers.
    """
    s, c, d, k, t, f = pointer(s), pointer(c), pointer(d), pointer(k), pointer(t), pointer(f)
    h, a, b, w, e, g = pointer(h), pointer(a), pointer(b), pointer(w), pointer(e), pointer(g)
    v, m, r, o, cu, pu = pointer(v), pointer(m), pointer(r), pointer(o), pointer(cu), pointer(pu)
    tu, lv, em = pointer(tu), pointer(lv), pointer(em)
    s[STATUS] = OK
    s[WIDTH], s[HEIGHT] = k[K_WIDTH], k[K_HEIGHT]
    s[CTB_LOG2], s[CTB_MASK] = k[K_CTB], (I64(1) << k[K_CTB]) - 1
    s[CHROMA] = k[K_CHROMA]
    s[QP_OFFSET] = 6 * (I64(k[K_BIT_DEPTH]) - 8)
    ctbs = I64(k[K_CTB_COLUMNS]) * k[K_CTB_ROWS]
    s[CTB_COLUMNS] = ctbs
    s[SLICE_TYPE], s[SLICE_QP] = h[H_TYPE], h[H_QP]
    here = I64(h[H_ADDRESS])
    ts = I64(t[T_RS_TO_TS * ctbs + here])
    if m[here] >= 0 or (h[H_DEPENDENT] and s[PREVIOUS_TS] != ts):
        s[STATUS] = BAD_ADDRESS
        return s[STATUS]
    if not h[H_DEPENDENT]:
        s[LAST_QP] = s[QP] = s[SLICE_QP]
    set_chroma_qp(s, k, h)
    s[BYTE_POSITION] = h[H_DATA_BYTE]
    s[SUBSTREAM] = 0
    first = I64(1)
    entry = s[BYTE_POSITION]
    for i in range(s[NUM_EMULATION]):
        if em[i] <= s[BYTE_POSITION]:
            entry += 1
    initialise_decoding_engine(s, d)
    s[BEGIN] = bits_consumed(s)
    while True:
        start_ctb(s, k, t, h, m, here)
        start_contexts(s, c, k, t, h, here, first)
        first = I64(0)
        cus, pus, tus, levels = s[NUM_CU], s[NUM_PU], s[NUM_TU], s[NUM_LEVELS]
        if h[H_SAO_LUMA] or h[H_SAO_CHROMA]:
            sao(s, c, d, k, h)
        x, y = s[CTB_X] << s[CTB_LOG2], s[CTB_Y] << s[CTB_LOG2]
        coding_quadtree(s, c, d, k, h, a, b, f, w, e, g, v, r, o, cu, pu, tu, lv, x, y)
        if not s[STATUS] and bits_consumed(s) > (s[STOP_BIT] | 7) + 1:
            s[STATUS] = OVERRUN
        if s[STATUS]:
            s[NUM_CU], s[NUM_PU], s[NUM_TU], s[NUM_LEVELS] = cus, pus, tus, levels
            forget_ctb(s, e)
            break
        m[here], m[ctbs + here] = s[SEGMENT], h[H_SLICE_ADDRESS]
        if k[K_WPP] and s[CTB_X] == t[T_TILE_X * ctbs + here] + 1:
            copy_contexts(c, C_WPP, 0)
        ended = terminate(s, d)
        ts += 1
        last = CU_COLUMNS * (s[NUM_CU] - 1) + CU_BITS
        if ended:
            position = bits_consumed(s) + 9  # the last bit read is the stop bit
            cu[last] += (position + 7 & ~7) - s[BEGIN]
            if position - 1 != s[STOP_BIT]:
                s[STATUS] = NO_STOP_BIT
            elif s[SUBSTREAM] != h[H_NUM_ENTRIES]:
                s[STATUS] = BAD_ENTRY
            copy_contexts(c, C_SEGMENT, 0)
            s[PREVIOUS_TS] = ts
            break
        if ts >= ctbs:
            s[STATUS] = NO_STOP_BIT
            break
        after = I64(t[T_TS_TO_RS * ctbs + ts])
        if m[after] >= 0:
            s[STATUS] = BAD_ADDRESS
            break
        tile = T_TILE_ID * ctbs
        new_tile = k[K_TILES] and t[tile + after] != t[tile + here]
        if new_tile or (k[K_WPP] and after % k[K_CTB_COLUMNS] == t[T_TILE_X * ctbs + after]):
            if not terminate(s, d):  # end_of_subset_one_bit
                s[STATUS] = BAD_SYNTAX
                break
            end = bits_consumed(s) + 16 & ~7
            cu[last] += end - s[BEGIN]
            s[BEGIN] = end
            s[STATUS] = substream(s, d, h, em, entry)
            if s[STATUS]:
                break
            entry += h[H_ENTRIES + s[SUBSTREAM] - 1]
        here = after
    return s[STATUS]
