"""Clause 8.5.3.2: the vectors and references of a prediction unit: merging, vector prediction, temporal candidates.

Only the last row and column of 4x4 blocks of a prediction unit are written to g and v: no neighbour that the standard
looks at lies elsewhere; intra blocks are what nobody wrote to since the picture began. For later pictures each 16x16
block keeps the motion at its top left corner (8.5.3.2.9).
"""

from __future__ import annotations

from numba import types

from codecmeta.codecs.hevc.state import (
    AVAILABLE_LEFT,
    AVAILABLE_UP,
    AVAILABLE_UP_LEFT,
    AVAILABLE_UP_RIGHT,
    B_CANDIDATES,
    CELL,
    CELLS_WIDE,
    CTB_LOG2,
    CTB_X,
    CTB_Y,
    CU_SIZE,
    CU_X0,
    CU_Y0,
    H_COLLOCATED_L0,
    H_MAX_MERGE,
    H_NUM_REF_0,
    H_NUM_REF_1,
    H_REF_LONG,
    H_REF_POC,
    H_TEMPORAL_MVP,
    H_TYPE,
    HAVE_COLLOCATED,
    K_PARALLEL,
    NO_BACKWARD_PRED,
    PART_2NXN,
    PART_2NXND,
    PART_2NXNU,
    PART_MODE,
    PART_NLX2N,
    PART_NRX2N,
    PART_NX2N,
    PLANE,
    R_MV_0,
    R_REF_0,
    R_REF_1,
    S_MV,
    STRIDE,
    B,
)
from codecmeta.codecs.hevc.state import HEIGHT as PIC_HEIGHT
from codecmeta.codecs.hevc.state import WIDTH as PIC_WIDTH
from codecmeta.codecs.hevc.tables import table
from codecmeta.codecs.syntax.jit import I8P, I32P, I64, I64P, VOID, constant, kernel

L0_CAND = constant(table("l0CandIdx"), "int64")
L1_CAND = constant(table("l1CandIdx"), "int64")


@kernel(I64(I64), inline=True)
def mv_x(packed):
    """The horizontal component, in quarter samples."""
    return ((packed & 0xFFFF) ^ 0x8000) - 0x8000


@kernel(I64(I64), inline=True)
def mv_y(packed):
    """The vertical component."""
    return packed >> 16


@kernel(I64(I64, I64), inline=True)
def packed_mv(x, y):
    """Both components, each wrapped to 16 bits (8-94 to 8-97)."""
    return (((y & 0xFFFF) ^ 0x8000) - 0x8000) << 16 | (x & 0xFFFF)


@kernel(I64(I64P, I8P, I64, I64))
def neighbour(s, g, x, y):
    """Where the block that covers luma sample (x, y) lies in g and v; -1: not available, or intra (6.4.2)."""
    dx = (x >> s[CTB_LOG2]) - s[CTB_X]
    dy = (y >> s[CTB_LOG2]) - s[CTB_Y]
    if dy > 0 or dx > 1 or x < 0 or y < 0:
        return I64(-1)
    if dy == 0:
        if dx < 0 and not s[AVAILABLE_LEFT]:
            return I64(-1)
    else:
        if dx == 0:
            if not s[AVAILABLE_UP]:
                return I64(-1)
        elif dx < 0:
            if not s[AVAILABLE_UP_LEFT]:
                return I64(-1)
        elif not s[AVAILABLE_UP_RIGHT]:
            return I64(-1)
    at = ((y >> 2) + 1) * s[STRIDE] + (x >> 2) + 1
    if g[at] >= 0 or g[at + s[PLANE]] >= 0:
        return at
    return I64(-1)


@kernel(I64(I64P, I8P, I32P, I64, I64), inline=True)
def same_motion(s, g, v, one, other):
    """Whether two blocks have the same vectors and references; False where `other` is not available."""
    if other < 0:
        return I64(0)
    for list_ in range(2):
        i, j = one + list_ * s[PLANE], other + list_ * s[PLANE]
        if g[i] != g[j] or (g[i] >= 0 and v[i] != v[j]):
            return I64(0)
    return I64(1)


@kernel(VOID(I64P, I8P, I32P, I32P, I64, I64), inline=True)
def take_candidate(s, g, v, b, n, at):
    """The motion of a neighbour as merging candidate n."""
    to = B_CANDIDATES + 4 * n
    b[to], b[to + 1] = v[at], v[at + s[PLANE]]
    b[to + 2], b[to + 3] = g[at], g[at + s[PLANE]]


@kernel(I64(I64, I64, I64))
def scaled_mv(packed, td, tb):
    """(8-179) to (8-183): a vector over td pictures for tb pictures."""
    td = min(max(td, I64(-128)), I64(127))
    tb = min(max(tb, I64(-128)), I64(127))
    size = abs(td)
    tx = (16384 + (size >> 1)) // size
    if td < 0:
        tx = -tx
    factor = min(max((tb * tx + 32) >> 6, I64(-4096)), I64(4095))
    x, y = factor * mv_x(packed), factor * mv_y(packed)
    x = (abs(x) + 127) >> 8 if x >= 0 else -((abs(x) + 127) >> 8)
    y = (abs(y) + 127) >> 8 if y >= 0 else -((abs(y) + 127) >> 8)
    x, y = min(max(x, I64(-32768)), I64(32767)), min(max(y, I64(-32768)), I64(32767))
    return packed_mv(x, y)


@kernel(types.UniTuple(I64, 2)(I64P, I32P, I32P, I64, I64, I64, I64))
def collocated_mv(s, h, o, x, y, list_, ref_idx):
    """8.5.3.2.9 for the block of the co-located picture at (x, y) -> available, vector."""
    cell = ((y >> 4) * s[CELLS_WIDE] + (x >> 4)) * CELL
    ref_0, ref_1 = I64(o[cell + R_REF_0]), I64(o[cell + R_REF_1])
    if not ref_0 and not ref_1:
        return I64(0), I64(0)
    if not ref_0:
        of = I64(1)
    elif not ref_1:
        of = I64(0)
    elif s[NO_BACKWARD_PRED]:
        of = list_
    else:
        of = I64(h[H_COLLOCATED_L0])
    ref = ref_1 if of else ref_0
    long_term = I64(h[H_REF_LONG + 16 * list_ + ref_idx])
    if long_term != (ref >> 1) & 1:
        return I64(0), I64(0)
    packed = I64(o[cell + R_MV_0 + of])
    td = ref >> 2
    tb = -I64(h[H_REF_POC + 16 * list_ + ref_idx])
    if long_term or td == tb or td == 0:
        return I64(1), packed
    return I64(1), scaled_mv(packed, td, tb)


@kernel(types.UniTuple(I64, 2)(I64P, I32P, I32P, I64, I64, I64, I64, I64, I64))
def temporal_mv(s, h, o, x, y, width, height, list_, ref_idx):
    """8.5.3.2.8 -> available, vector."""
    if not h[H_TEMPORAL_MVP] or not s[HAVE_COLLOCATED]:
        return I64(0), I64(0)
    right, bottom = x + width, y + height
    if y >> s[CTB_LOG2] == bottom >> s[CTB_LOG2] and bottom < s[PIC_HEIGHT] and right < s[PIC_WIDTH]:
        found, packed = collocated_mv(s, h, o, right, bottom, list_, ref_idx)
        if found:
            return found, packed
    return collocated_mv(s, h, o, x + (width >> 1), y + (height >> 1), list_, ref_idx)


@kernel(I64(I64, I64, I64, I64, I64), inline=True)
def same_region(level, x, y, x_other, y_other):
    """Whether both samples lie in one parallel merge region, whose blocks do not see each other (8.5.3.2.3)."""
    return I64(x >> level == x_other >> level and y >> level == y_other >> level)


@kernel(I64(I64P, I32P, I32P, I8P, I32P, I64, I64, I64, I64, I64, I64))
def spatial_candidates(s, k, b, g, v, x, y, width, height, part, merge_idx):
    """8.5.3.2.3: merging candidates from neighbours -> how many; no more than merge_idx + 1 are looked for."""
    level = I64(k[K_PARALLEL])
    mode = s[PART_MODE]
    n = I64(0)
    x_n, y_n = x - 1, y + height - 1
    a1 = I64(-1)
    if not (part == 1 and (mode == PART_NX2N or mode == PART_NLX2N or mode == PART_NRX2N)):
        if not same_region(level, x, y, x_n, y_n):
            a1 = neighbour(s, g, x_n, y_n)
    if a1 >= 0:
        take_candidate(s, g, v, b, n, a1)
        n += 1
        if n > merge_idx:
            return n
    x_n, y_n = x + width - 1, y - 1
    b1 = I64(-1)
    if not (part == 1 and (mode == PART_2NXN or mode == PART_2NXNU or mode == PART_2NXND)):
        if not same_region(level, x, y, x_n, y_n):
            b1 = neighbour(s, g, x_n, y_n)
    if b1 >= 0 and not same_motion(s, g, v, b1, a1):
        take_candidate(s, g, v, b, n, b1)
        n += 1
        if n > merge_idx:
            return n
    x_n, y_n = x + width, y - 1
    at = I64(-1) if same_region(level, x, y, x_n, y_n) else neighbour(s, g, x_n, y_n)
    if at >= 0 and not same_motion(s, g, v, at, b1):
        take_candidate(s, g, v, b, n, at)
        n += 1
        if n > merge_idx:
            return n
    x_n, y_n = x - 1, y + height
    at = I64(-1) if same_region(level, x, y, x_n, y_n) else neighbour(s, g, x_n, y_n)
    if at >= 0 and not same_motion(s, g, v, at, a1):
        take_candidate(s, g, v, b, n, at)
        n += 1
        if n > merge_idx:
            return n
    if n < 4:
        x_n, y_n = x - 1, y - 1
        at = I64(-1) if same_region(level, x, y, x_n, y_n) else neighbour(s, g, x_n, y_n)
        if at >= 0 and not same_motion(s, g, v, at, a1) and not same_motion(s, g, v, at, b1):
            take_candidate(s, g, v, b, n, at)
            n += 1
    return n


@kernel(I64(I32P, I32P, I64, I64), inline=True)
def combined_candidates(h, b, n, merge_idx):
    """8.5.3.2.4 -> how many candidates there are now."""
    most = I64(h[H_MAX_MERGE])
    original = n
    for i in range(original * (original - 1)):
        one, other = B_CANDIDATES + 4 * L0_CAND[i], B_CANDIDATES + 4 * L1_CAND[i]
        ref_0, ref_1 = I64(b[one + 2]), I64(b[other + 3])
        if ref_0 < 0 or ref_1 < 0:
            continue
        if h[H_REF_POC + ref_0] == h[H_REF_POC + 16 + ref_1] and b[one] == b[other + 1]:
            continue
        to = B_CANDIDATES + 4 * n
        b[to], b[to + 1], b[to + 2], b[to + 3] = b[one], b[other + 1], ref_0, ref_1
        n += 1
        if n == most or n > merge_idx:
            break
    return n


@kernel(VOID(I64P, I32P, I32P, I32P, I8P, I32P, I32P, I64, I64, I64, I64, I64, I64))
def merge_motion(s, k, h, b, g, v, o, x, y, width, height, part, merge_idx):
    """8.5.3.2.2: the motion of a prediction unit in merge mode -> S_MV."""
    narrow = width + height == 12
    if k[K_PARALLEL] > 2 and s[CU_SIZE] == 8:
        x, y, width, height, part = s[CU_X0], s[CU_Y0], I64(8), I64(8), I64(0)
    n = spatial_candidates(s, k, b, g, v, x, y, width, height, part, merge_idx)
    bi = h[H_TYPE] == B
    if n <= merge_idx:
        found_0, mv_0 = temporal_mv(s, h, o, x, y, width, height, 0, 0)
        found_1, mv_1 = I64(0), I64(0)
        if bi:
            found_1, mv_1 = temporal_mv(s, h, o, x, y, width, height, 1, 0)
        if found_0 or found_1:
            to = B_CANDIDATES + 4 * n
            b[to], b[to + 1] = mv_0, mv_1
            b[to + 2], b[to + 3] = found_0 - 1, found_1 - 1
            n += 1
        if bi and n > 1 and n <= merge_idx:
            n = combined_candidates(h, b, n, merge_idx)
        refs = I64(h[H_NUM_REF_0])
        if bi:
            refs = min(refs, I64(h[H_NUM_REF_1]))
        zero = I64(0)
        while n <= merge_idx:  # 8.5.3.2.5
            to = B_CANDIDATES + 4 * n
            ref = zero if zero < refs else I64(0)
            b[to], b[to + 1] = 0, 0
            b[to + 2], b[to + 3] = ref, (ref if bi else I64(-1))
            zero += 1
            n += 1
    at = B_CANDIDATES + 4 * merge_idx
    s[S_MV], s[S_MV + 1], s[S_MV + 2], s[S_MV + 3] = b[at], b[at + 1], b[at + 2], b[at + 3]
    if narrow and s[S_MV + 2] >= 0 and s[S_MV + 3] >= 0:
        s[S_MV + 3] = -1


@kernel(types.UniTuple(I64, 2)(I64P, I32P, I8P, I32P, I64, I64, I64), inline=True)
def unscaled(s, h, g, v, at, list_, poc):
    """A neighbour's vector to the very picture at POC difference `poc` -> found, vector."""
    one = at + list_ * s[PLANE]
    if g[one] >= 0 and h[H_REF_POC + 16 * list_ + g[one]] == poc:
        return I64(1), I64(v[one])
    one = at + (1 - list_) * s[PLANE]
    if g[one] >= 0 and h[H_REF_POC + 16 * (1 - list_) + g[one]] == poc:
        return I64(1), I64(v[one])
    return I64(0), I64(0)


@kernel(types.UniTuple(I64, 2)(I64P, I32P, I8P, I32P, I64, I64, I64, I64), inline=True)
def scaled(s, h, g, v, at, list_, poc, long_term):
    """A neighbour's vector to any picture, scaled if both are short-term references -> found, vector."""
    for turn in range(2):
        of = list_ if turn == 0 else 1 - list_
        one = at + of * s[PLANE]
        if g[one] >= 0 and h[H_REF_LONG + 16 * of + g[one]] == long_term:
            packed = I64(v[one])
            td = -I64(h[H_REF_POC + 16 * of + g[one]])
            if long_term or td == 0:
                return I64(1), packed
            return I64(1), scaled_mv(packed, td, -poc)
    return I64(0), I64(0)


@kernel(I64(I64P, I32P, I8P, I32P, I32P, I64, I64, I64, I64, I64, I64, I64))
def predicted_mv(s, h, g, v, o, x, y, width, height, list_, ref_idx, mvp_flag):
    """8.5.3.2.6 and 8.5.3.2.7: mvpLX[mvp_flag]."""
    poc = I64(h[H_REF_POC + 16 * list_ + ref_idx])
    long_term = I64(h[H_REF_LONG + 16 * list_ + ref_idx])
    a0 = neighbour(s, g, x - 1, y + height)
    a1 = neighbour(s, g, x - 1, y + height - 1)
    found_a, mv_a = I64(0), I64(0)
    if a0 >= 0:
        found_a, mv_a = unscaled(s, h, g, v, a0, list_, poc)
    if not found_a and a1 >= 0:
        found_a, mv_a = unscaled(s, h, g, v, a1, list_, poc)
    if not found_a and a0 >= 0:
        found_a, mv_a = scaled(s, h, g, v, a0, list_, poc, long_term)
    if not found_a and a1 >= 0:
        found_a, mv_a = scaled(s, h, g, v, a1, list_, poc, long_term)
    is_scaled = a0 >= 0 or a1 >= 0
    if found_a and is_scaled and mvp_flag == 0:
        return mv_a
    b0 = neighbour(s, g, x + width, y - 1)
    b1 = neighbour(s, g, x + width - 1, y - 1)
    b2 = neighbour(s, g, x - 1, y - 1)
    found_b, mv_b = I64(0), I64(0)
    if b0 >= 0:
        found_b, mv_b = unscaled(s, h, g, v, b0, list_, poc)
    if not found_b and b1 >= 0:
        found_b, mv_b = unscaled(s, h, g, v, b1, list_, poc)
    if not found_b and b2 >= 0:
        found_b, mv_b = unscaled(s, h, g, v, b2, list_, poc)
    if not is_scaled:
        if found_b:
            found_a, mv_a = I64(1), mv_b
        found_b = I64(0)
        if b0 >= 0:
            found_b, mv_b = scaled(s, h, g, v, b0, list_, poc, long_term)
        if not found_b and b1 >= 0:
            found_b, mv_b = scaled(s, h, g, v, b1, list_, poc, long_term)
        if not found_b and b2 >= 0:
            found_b, mv_b = scaled(s, h, g, v, b2, list_, poc, long_term)
    if found_a and found_b and mv_a == mv_b:
        found_b = I64(0)
    if found_a:
        if mvp_flag == 0:
            return mv_a
        if found_b:
            return mv_b
    elif found_b and mvp_flag == 0:
        return mv_b
    found, packed = temporal_mv(s, h, o, x, y, width, height, list_, ref_idx)
    if found and (found_a or found_b or mvp_flag == 0):
        return packed
    return I64(0)


@kernel(VOID(I64P, I32P, I8P, I32P, I32P, I64, I64, I64, I64))
def set_motion(s, h, g, v, r, x, y, width, height):
    """S_MV along the last row and column of a prediction unit, and into the 16x16 blocks whose corner it covers."""
    mv_0, mv_1, ref_0, ref_1 = s[S_MV], s[S_MV + 1], s[S_MV + 2], s[S_MV + 3]
    plane = s[PLANE]
    last = ((y + height) >> 2) * s[STRIDE] + (x >> 2) + 1
    for i in range(last, last + (width >> 2)):
        g[i], g[i + plane] = ref_0, ref_1
        v[i], v[i + plane] = mv_0, mv_1
    right = ((y >> 2) + 1) * s[STRIDE] + ((x + width) >> 2)
    for _ in range(height >> 2):
        g[right], g[right + plane] = ref_0, ref_1
        v[right], v[right + plane] = mv_0, mv_1
        right += s[STRIDE]
    word_0, word_1 = I64(0), I64(0)
    if ref_0 >= 0:
        word_0 = 1 | I64(h[H_REF_LONG + ref_0]) << 1 | -I64(h[H_REF_POC + ref_0]) << 2
    if ref_1 >= 0:
        word_1 = 1 | I64(h[H_REF_LONG + 16 + ref_1]) << 1 | -I64(h[H_REF_POC + 16 + ref_1]) << 2
    for cell_y in range((y + 15) >> 4, (y + height + 15) >> 4):
        for cell_x in range((x + 15) >> 4, (x + width + 15) >> 4):
            cell = (cell_y * s[CELLS_WIDE] + cell_x) * CELL
            r[cell], r[cell + 1], r[cell + 2], r[cell + 3] = mv_0, mv_1, word_0, word_1
