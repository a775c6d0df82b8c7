"""Clause 8.4.1: derivation of motion vectors and reference indices, direct prediction among them.

Vectors stand in `v`, reference indices in `g`, at the same index: (row + 1) * STRIDE + column + 1 of the 4x4 block,
list 1 LIST_STRIDE behind list 0. Neighbours are differences of that index: A -1, B -STRIDE, C -STRIDE + width,
D -STRIDE - 1.
What is outside the slice or not decoded yet has refIdx -2 in `g`, so availability needs no table.
"""

from __future__ import annotations

from numba import types

from codecmeta.codecs.h264.state import (
    COLOCATED_LONG_TERM,
    DIAGONAL,
    DIAGONAL_MASK,
    DIRECT_8X8_INFERENCE,
    DIRECT_REF_L0,
    DIRECT_SHAPE,
    DIRECT_SPATIAL,
    DIRECT_UNIFORM,
    HAVE_COLOCATED,
    K_MAP,
    K_SCALE,
    LIST_STRIDE,
    M_INTRA,
    M_L0,
    M_L1,
    M_SHAPE,
    MB_ADDR,
    MB_X,
    MB_Y,
    PIC_MBS,
    STRIDE,
    T_DIRECT,
    T_DIRECT_REF,
)
from codecmeta.codecs.syntax.jit import I8P, I32P, I64, I64P, VOID, kernel


@kernel(I64(I64), inline=True)
def mv_x(packed):
    """The horizontal component of a packed vector, quarter luma samples."""
    return ((packed & 0xFFFF) ^ 0x8000) - 0x8000


@kernel(I64(I64), inline=True)
def mv_y(packed):
    """The vertical component of a packed vector, quarter luma samples."""
    return packed >> 16


@kernel(I64(I64, I64), inline=True)
def pack(x, y):
    """A vector in one number; components wrap at 16 bits."""
    return ((((y & 0xFFFF) ^ 0x8000) - 0x8000) << 16) | (x & 0xFFFF)


@kernel(I64(I64, I64, I64), inline=True)
def median(a, b, c):
    """Median of three (8-212)."""
    return max(min(a, b), min(max(a, b), c))


@kernel(I64(I64P), inline=True)
def origin_of(s):
    """Index of the macroblock's first 4x4 block in `v` and `g`."""
    return (4 * s[MB_Y] + 1) * s[STRIDE] + 4 * s[MB_X] + 1


@kernel(types.UniTuple(I64, 6)(I64P, I32P, I8P, I64, I64))
def neighbours(s, v, g, at, width):
    """refIdxA, B, C and mvA, B, C of 8.4.1.3.2; D stands in for C where C is not available; no vector counts as 0."""
    a, b, diagonal = at - 1, at - s[STRIDE], at - s[STRIDE] + width
    if g[diagonal] == -2:
        diagonal = at + s[DIAGONAL + (at & s[DIAGONAL_MASK])]
    refA, refB, refC = I64(g[a]), I64(g[b]), I64(g[diagonal])
    mvA = I64(v[a]) if refA >= 0 else I64(0)
    mvB = I64(v[b]) if refB >= 0 else I64(0)
    mvC = I64(v[diagonal]) if refC >= 0 else I64(0)
    return refA, refB, refC, mvA, mvB, mvC


@kernel(I64(I64, I64, I64, I64, I64, I64, I64))
def median_prediction(refIdx, refA, refB, refC, mvA, mvB, mvC):
    """8.4.1.3.1: the one neighbour with this reference, else the median; A alone where B and C are not available."""
    same_a, same_b, same_c = I64(refA == refIdx), I64(refB == refIdx), I64(refC == refIdx)
    if same_a + same_b + same_c == 1:
        if same_a:
            return mvA
        return mvB if same_b else mvC
    if refB == -2 and refC == -2 and refA != -2:
        return mvA
    return pack(median(mv_x(mvA), mv_x(mvB), mv_x(mvC)), median(mv_y(mvA), mv_y(mvB), mv_y(mvC)))


@kernel(I64(I64P, I32P, I8P, I64, I64, I64, I64, I64))
def mvp(s, v, g, at, width, refIdx, shape, mbPartIdx):
    """mvpLX of 8.4.1.3 for the partition whose first 4x4 block is `at`, `width` blocks wide.

    shape 1 (16x8) and 2 (8x16) of a macroblock have their directional rules; any other shape is the median.
    """
    refA, refB, refC, mvA, mvB, mvC = neighbours(s, v, g, at, width)
    if shape == 1:
        if mbPartIdx == 0 and refB == refIdx:
            return mvB
        if mbPartIdx == 1 and refA == refIdx:
            return mvA
    elif shape == 2:
        if mbPartIdx == 0 and refA == refIdx:
            return mvA
        if mbPartIdx == 1 and refC == refIdx:
            return mvC
    return median_prediction(refIdx, refA, refB, refC, mvA, mvB, mvC)


@kernel(VOID(I64P, I32P, I8P, I64, I64, I64, I64, I64))
def assign(s, v, g, at, width, height, mv, refIdx):
    """One vector and reference index to a partition of width x height 4x4 blocks."""
    stride = s[STRIDE]
    for _ in range(height):
        v[at] = mv
        g[at] = refIdx
        if width > 1:
            v[at + 1] = mv
            g[at + 1] = refIdx
        if width > 2:
            v[at + 2] = mv
            g[at + 2] = refIdx
            v[at + 3] = mv
            g[at + 3] = refIdx
        at += stride


@kernel(VOID(I64P, I32P, I8P, I64, I64, I64), inline=True)
def assign_macroblock(s, v, g, at, mv, refIdx):
    """One vector and reference index to a whole macroblock."""
    stride = s[STRIDE]
    for _ in range(4):
        v[at], v[at + 1], v[at + 2], v[at + 3] = mv, mv, mv, mv
        g[at], g[at + 1], g[at + 2], g[at + 3] = refIdx, refIdx, refIdx, refIdx
        at += stride


@kernel(I64(I64P, I32P, I8P))
def p_skip_vector(s, v, g):
    """8.4.1.1: zero at the slice's border or beside a resting neighbour with refIdx 0, else the 16x16 prediction."""
    at = origin_of(s)
    a, b = at - 1, at - s[STRIDE]
    refA, refB = I64(g[a]), I64(g[b])
    if refA == -2 or refB == -2:
        return I64(0)
    if (refA == 0 and v[a] == 0) or (refB == 0 and v[b] == 0):
        return I64(0)
    refA, refB, refC, mvA, mvB, mvC = neighbours(s, v, g, at, 4)
    return median_prediction(0, refA, refB, refC, mvA, mvB, mvC)


@kernel(I64(I64P, I32P, I64))
def colocated_shape(s, km, whole):
    """The partition of a direct macroblock as FFmpeg exports it, by the co-located one."""
    if not whole:
        return I64(3)
    if not s[HAVE_COLOCATED]:
        return I64(0)
    colocated = I64(km[s[MB_ADDR]])
    return I64(0) if colocated & M_INTRA else (colocated >> M_SHAPE) & 3


@kernel(types.UniTuple(I64, 3)(I64P, I32P, I8P, I64, I64), inline=True)
def colocated_block(s, kv, kr, i8, i4):
    """mvCol, refIdxCol and its list for a 4x4 block: the corner of its 8x8 block under direct_8x8_inference_flag.

    The co-located macroblock is not intra; list 1 counts where list 0 is not used (8.4.1.2.1).
    """
    list_ = I64(0)
    refIdxCol = I64(kr[4 * s[MB_ADDR] + i8])
    if refIdxCol < 0:
        list_ = I64(1)
        refIdxCol = I64(kr[4 * (s[PIC_MBS] + s[MB_ADDR]) + i8])
    if s[DIRECT_8X8_INFERENCE]:
        x, y = 3 * (i8 & 1), 3 * (i8 >> 1)
    else:
        x, y = 2 * (i8 & 1) + (i4 & 1), 2 * (i8 >> 1) + (i4 >> 1)
    return I64(kv[list_ * s[LIST_STRIDE] + origin_of(s) + y * s[STRIDE] + x]), refIdxCol, list_


@kernel(I64(I64, I64), inline=True)
def min_positive(x, y):
    """MinPositive (8-190)."""
    return min(x, y) if x >= 0 and y >= 0 else max(x, y)


@kernel(I64(I64P, I32P, I8P, I64, I64))
def colocated_rests(s, kv, kr, i8, i4):
    """The condition of colZeroFlag on the co-located block: refIdxCol 0 and no component beyond a quarter sample."""
    mvCol, refIdxCol, _ = colocated_block(s, kv, kr, i8, i4)
    return I64(refIdxCol == 0 and abs(mv_x(mvCol)) <= 1 and abs(mv_y(mvCol)) <= 1)


@kernel(VOID(I64P, I32P, I8P, I32P, I32P, I8P, I32P, I64))
def direct_spatial(s, v, g, t, kv, kr, km, whole):
    """8.4.1.2.2: a reference and vector per list from A, B, C; zero where the co-located block rests (colZeroFlag)."""
    at = origin_of(s)
    lists = I64(0)
    for list_ in range(2):
        refA, refB, refC, mvA, mvB, mvC = neighbours(s, v, g, at + list_ * s[LIST_STRIDE], 4)
        refIdx = min_positive(refA, min_positive(refB, refC))
        mv = I64(0)
        if refIdx >= 0:
            mv = median_prediction(refIdx, refA, refB, refC, mvA, mvB, mvC)
            lists |= M_L1 if list_ else M_L0
        else:
            refIdx = I64(-1)
        s[DIRECT_REF_L0 + list_] = refIdx
        t[T_DIRECT + 16 * list_] = mv
    if lists == 0:
        s[DIRECT_REF_L0], s[DIRECT_REF_L0 + 1] = 0, 0
        lists = I64(M_L0 | M_L1)
    refIdxL0, refIdxL1 = s[DIRECT_REF_L0], s[DIRECT_REF_L0 + 1]
    for i8 in range(4):
        t[T_DIRECT_REF + i8] = refIdxL0
        t[T_DIRECT_REF + 4 + i8] = refIdxL1
    colocated = I64(km[s[MB_ADDR]])
    may_rest = s[HAVE_COLOCATED] and not s[COLOCATED_LONG_TERM] and not colocated & M_INTRA
    s[DIRECT_UNIFORM] = whole
    if whole and (colocated >> M_SHAPE & 3 == 0 or not may_rest or (t[T_DIRECT] == 0 and t[T_DIRECT + 16] == 0)):
        if may_rest and colocated_rests(s, kv, kr, 0, 0):
            for list_ in range(2):
                if s[DIRECT_REF_L0 + list_] == 0:
                    t[T_DIRECT + 16 * list_] = 0
        s[DIRECT_SHAPE] = lists
        return
    s[DIRECT_UNIFORM] = 0
    for i in range(1, 16):
        t[T_DIRECT + i] = t[T_DIRECT]
        t[T_DIRECT + 16 + i] = t[T_DIRECT + 16]
    shape = colocated_shape(s, km, whole)
    resting = I64(0)
    if may_rest:
        for i8 in range(4):
            rests = I64(0)
            for i4 in range(4):
                if i4 == 0 or not s[DIRECT_8X8_INFERENCE]:
                    rests = colocated_rests(s, kv, kr, i8, i4)
                if rests:
                    resting += 1
                    i = 8 * (i8 >> 1) + 2 * (i8 & 1) + 4 * (i4 >> 1) + (i4 & 1)
                    if refIdxL0 == 0:
                        t[T_DIRECT + i] = 0
                    if refIdxL1 == 0:
                        t[T_DIRECT + 16 + i] = 0
    if whole and resting & 15 == 0:  # all four 8x8 blocks alike
        shape = I64(0)
    s[DIRECT_SHAPE] = lists | shape << M_SHAPE


@kernel(VOID(I64P, I32P, I32P, I8P, I32P, I32P, I64))
def direct_temporal(s, t, kv, kr, km, k, whole):
    """8.4.1.2.3: the co-located block's vector, scaled to the two references by picture order count."""
    s[DIRECT_SHAPE] = M_L0 | M_L1 | colocated_shape(s, km, whole) << M_SHAPE
    s[DIRECT_UNIFORM] = 0
    for i in range(32):
        t[T_DIRECT + i] = 0
    for i in range(8):
        t[T_DIRECT_REF + i] = 0
    if not s[HAVE_COLOCATED] or km[s[MB_ADDR]] & M_INTRA:
        return
    slice_number = I64(km[3 * s[PIC_MBS] + s[MB_ADDR]])
    for i8 in range(4):
        for i4 in range(4):
            mvCol, refIdxCol, list_ = colocated_block(s, kv, kr, i8, i4)
            if refIdxCol < 0 or slice_number < 0:
                continue  # a damaged co-located picture
            refIdxL0 = I64(k[K_MAP + 64 * slice_number + 32 * list_ + refIdxCol])
            scale = I64(k[K_SCALE + refIdxL0])
            x, y = (scale * mv_x(mvCol) + 128) >> 8, (scale * mv_y(mvCol) + 128) >> 8
            i = 8 * (i8 >> 1) + 2 * (i8 & 1) + 4 * (i4 >> 1) + (i4 & 1)
            t[T_DIRECT_REF + i8] = refIdxL0
            t[T_DIRECT + i] = pack(x, y)
            t[T_DIRECT + 16 + i] = pack(x - mv_x(mvCol), y - mv_y(mvCol))


@kernel(VOID(I64P, I32P, I8P, I32P, I32P, I8P, I32P, I32P, I64))
def direct(s, v, g, t, kv, kr, km, k, whole):
    """8.4.1.2 of the current macroblock: vectors into T_DIRECT, references into T_DIRECT_REF, shape and lists.

    `whole`: B_Skip or B_Direct_16x16, otherwise some 8x8 blocks of B_8x8 (the vectors of all four are derived alike).
    DIRECT_SHAPE gets the flags of `m`. Its partition is the one that FFmpeg exports: 16x16 where the co-located
    macroblock is 16x16 or intra, its two halves where that has halves, else 8x8. DIRECT_UNIFORM is set where the first
    vector of each list is that of the whole macroblock: only the first stands in T_DIRECT then.
    Without the co-located picture (random access) it is taken for a moving one: an estimate.
    """
    if s[DIRECT_SPATIAL]:
        direct_spatial(s, v, g, t, kv, kr, km, whole)
    else:
        direct_temporal(s, t, kv, kr, km, k, whole)


@kernel(VOID(I64P, I32P, I8P, I32P, I64, I64))
def assign_direct(s, v, g, t, list_, i8):
    """The derived vectors and reference of one 8x8 block and list into the picture."""
    at = origin_of(s) + list_ * s[LIST_STRIDE] + 2 * (i8 >> 1) * s[STRIDE] + 2 * (i8 & 1)
    first = T_DIRECT + 16 * list_ + 8 * (i8 >> 1) + 2 * (i8 & 1)
    refIdx = t[T_DIRECT_REF + 4 * list_ + i8]
    for y in range(2):
        for x in range(2):
            v[at + y * s[STRIDE] + x] = t[first + 4 * y + x] if refIdx >= 0 else 0
            g[at + y * s[STRIDE] + x] = refIdx


@kernel(VOID(I64P, I32P, I8P, I32P, I8P, I32P, I8P, I32P, I32P))
def direct_macroblock(s, v, g, t, r, kv, kr, km, k):
    """A whole direct macroblock (B_Skip, B_Direct_16x16): derived, assigned, its references kept for later pictures."""
    direct(s, v, g, t, kv, kr, km, k, 1)
    of_macroblock, of_list = 4 * s[MB_ADDR], 4 * s[PIC_MBS]
    if s[DIRECT_UNIFORM]:
        at, list_stride = origin_of(s), s[LIST_STRIDE]
        for list_ in range(2):
            refIdx = I64(t[T_DIRECT_REF + 4 * list_])
            mv = I64(t[T_DIRECT + 16 * list_]) if refIdx >= 0 else I64(0)
            assign_macroblock(s, v, g, at + list_ * list_stride, mv, refIdx)
            to = of_macroblock + of_list * list_
            r[to], r[to + 1], r[to + 2], r[to + 3] = refIdx, refIdx, refIdx, refIdx
        return
    for list_ in range(2):
        for i8 in range(4):
            assign_direct(s, v, g, t, list_, i8)
            r[of_macroblock + of_list * list_ + i8] = t[T_DIRECT_REF + 4 * list_ + i8]
