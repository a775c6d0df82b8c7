"""Clause 6.4.12.2: what stands around a macroblock of an MBAFF frame, in the units of that macroblock.

One letter is an array of the picture of one macroblock, laid out as `state` says; with p before it, of the frame:

    pm, pe, pv, pr   as m, e, v and r; macroblock 2 * i of a pair stands in its upper row, whatever its lines are
    pw   int32    per macroblock: its word; behind all of them which reference indices are above 1 (bits as the word's)
    pn   uint8    per macroblock: TOTALS of the last row and column, as N_TOP and N_LEFT have them
    px   int32    vectors of the edge of a macroblock: [macroblock][list][right column 4, last row 4]
    pq   uint16   |mvd| of the same blocks
"""

from __future__ import annotations

from codecmeta.codecs.h264.inter_prediction import mv_x, mv_y, pack
from codecmeta.codecs.h264.slice_header import B
from codecmeta.codecs.h264.state import (
    BOTTOM,
    CHROMA,
    EDGE_D,
    FIELD,
    FIELD_A,
    FRAME_HEIGHT,
    FRAME_WIDTH,
    LEFT_WORD,
    M_FIELD,
    MB_A,
    MB_B,
    MB_C,
    MB_D,
    N_LEFT,
    N_TOP,
    NOT_AVAILABLE,
    PAIR,
    PAIR_X,
    PAIR_Y,
    SLICE_NUMBER,
    SLICE_TYPE,
    T_TOP,
    TOP_WORD,
    W_NOTHING,
    W_REF,
)
from codecmeta.codecs.syntax.jit import I8P, I32P, I64, I64P, U8P, U16P, VOID, kernel

STRIDE_OF_ONE, LIST_STRIDE_OF_ONE = 8, 64  # v, g and q of a picture of one macroblock
LEFT_DIAGONALS = 48  # where D stands in it for the blocks of the left column, but the first
TOTALS = 20
EDGE = 8
_LEFT_BITS = 0b1010 | 0b10101010 << W_REF  # of a word: what its right column of 8x8 blocks says


@kernel(I64(I64P), inline=True)
def macroblocks_of(s):
    """Macroblocks of the frame."""
    return s[FRAME_WIDTH] * s[FRAME_HEIGHT]


@kernel(I64(I32P, I64), inline=True)
def is_field(pm, mb):
    """1 for a field macroblock."""
    return I64(pm[mb]) >> M_FIELD & 1


@kernel(I64(I64P, I32P, I64, I64))
def pair_at(s, pm, x, y):
    """The upper macroblock of a pair, -1 where it is not available: outside the slice (6.4.9)."""
    if x < 0 or x >= s[FRAME_WIDTH] or y < 0:
        return I64(-1)
    mb = 2 * y * s[FRAME_WIDTH] + x
    return mb if pm[3 * macroblocks_of(s) + mb] == s[SLICE_NUMBER] else I64(-1)


@kernel(I64(I64P, I32P, I64), inline=True)
def above(s, pm, pair):
    """The macroblock of a pair in the row above that a macroblock of the current pair has as a neighbour; -1 stays."""
    if pair < 0 or (s[FIELD] and not s[BOTTOM] and is_field(pm, pair)):
        return pair
    return pair + s[FRAME_WIDTH]


@kernel(VOID(I64P, I32P))
def find_neighbours(s, pm):
    """Table 6-4 for the current macroblock, by FIELD and BOTTOM."""
    x, y = s[PAIR_X], s[PAIR_Y]
    s[MB_A] = pair_at(s, pm, x - 1, y)
    s[FIELD_A] = is_field(pm, s[MB_A]) if s[MB_A] >= 0 else I64(0)
    s[EDGE_D] = 7
    if s[BOTTOM] and not s[FIELD]:
        s[MB_B], s[MB_C], s[MB_D] = s[PAIR], -1, s[MB_A]
        if s[MB_A] >= 0 and s[FIELD_A]:  # line 15 of the pair is line 7 of a field
            s[MB_D], s[EDGE_D] = s[MB_A] + s[FRAME_WIDTH], 1
        return
    s[MB_B] = above(s, pm, pair_at(s, pm, x, y - 1))
    s[MB_C] = above(s, pm, pair_at(s, pm, x + 1, y - 1))
    s[MB_D] = above(s, pm, pair_at(s, pm, x - 1, y - 1))


@kernel(I64(I64P, I64), inline=True)
def left_block(s, y):
    """Neighbour A of row y of 4x4 blocks: 4 * macroblock + row of its right column."""
    if s[FIELD] == s[FIELD_A]:
        return 4 * (s[MB_A] + s[BOTTOM] * s[FRAME_WIDTH]) + y
    if s[FIELD]:
        return 4 * (s[MB_A] + (y >> 1) * s[FRAME_WIDTH]) + (2 * y & 3)
    return 4 * s[MB_A] + 2 * s[BOTTOM] + (y >> 1)


@kernel(I64(I64P, I64), inline=True)
def left_diagonal(s, y):
    """Neighbour D of row y of 4x4 blocks, from 1 on: where the line above its first one is in the pair to the left."""
    if s[FIELD] == s[FIELD_A]:
        return 4 * (s[MB_A] + s[BOTTOM] * s[FRAME_WIDTH]) + y - 1
    if s[FIELD]:
        return 4 * (s[MB_A] + (y == 3) * s[FRAME_WIDTH]) + (2 * y - 1 & 3)
    return 4 * (s[MB_A] + s[FRAME_WIDTH]) + 2 * s[BOTTOM] + (y == 3)


@kernel(I64(I64P, I32P, I32P, I64), inline=True)
def word_of(s, pm, pw, mb):
    """The word of a neighbour. To a frame macroblock, field reference indices 0 and 1 are one frame (9.3.3.1.1.6)."""
    word = I64(pw[mb])
    if s[FIELD] or not is_field(pm, mb):
        return word
    return (word & ~(255 << W_REF)) | I64(pw[macroblocks_of(s) + mb])


@kernel(VOID(I64P, I32P, I32P, I32P))
def load_words(s, t, pm, pw):
    """LEFT_WORD and TOP_WORD. The 8x8 blocks to the left may lie in two macroblocks; all else is of the first."""
    s[TOP_WORD] = word_of(s, pm, pw, s[MB_B]) if s[MB_B] >= 0 else W_NOTHING
    t[T_TOP] = s[TOP_WORD]
    s[LEFT_WORD] = W_NOTHING
    if s[MB_A] < 0:
        return
    word = word_of(s, pm, pw, left_block(s, 0) >> 2) & ~_LEFT_BITS
    for k in range(2):
        block = left_block(s, 2 * k)
        of = word_of(s, pm, pw, block >> 2) >> (1 + (block & 2))
        word |= (of & 1 | (of >> W_REF & 17) << W_REF) << (1 + 2 * k)
    s[LEFT_WORD] = word


@kernel(VOID(I64P, U8P, U8P))
def load_totals(s, n, pn):
    """N_TOP and N_LEFT."""
    for i in range(8):
        n[N_TOP + i] = pn[TOTALS * s[MB_B] + i] if s[MB_B] >= 0 else NOT_AVAILABLE
    if s[MB_A] < 0:
        for i in range(12):
            n[N_LEFT + i] = NOT_AVAILABLE
        return
    for y in range(4):
        block = left_block(s, y)
        n[N_LEFT + y] = pn[TOTALS * (block >> 2) + 8 + (block & 3)]
    for y in range(4 if s[CHROMA] == 2 else 2):
        block = left_block(s, y)
        if s[CHROMA] != 2 and s[FIELD] != s[FIELD_A]:  # four lines of eight: the half of them
            block = 4 * (s[MB_A] + y * s[FRAME_WIDTH]) if s[FIELD] else 4 * s[MB_A] + s[BOTTOM]
        row = block & 3
        for iCbCr in range(2):
            of = TOTALS * (block >> 2) + 12 + 2 * iCbCr + (row & 1) + 4 * (row >> 1)
            n[N_LEFT + 4 + 2 * iCbCr + (y & 1) + 4 * (y >> 1)] = pn[of]


@kernel(VOID(I64P, I32P, I8P, I32P, I8P, I32P, I64, I64, I64, I64))
def load_vector(s, v, g, pm, pr, px, at, mb, edge, list_):
    """One edge block of a macroblock, to `at`; scaled between frame and field macroblocks (8.4.1.3.2)."""
    i8 = 2 + (edge - 4 >> 1) if edge >= 4 else 2 * (edge >> 1) + 1
    refIdx = I64(pr[4 * (list_ * macroblocks_of(s) + mb) + i8])
    mv = I64(px[EDGE * (2 * mb + list_) + edge])
    if refIdx >= 0 and s[FIELD] != is_field(pm, mb):
        y = mv_y(mv)
        if s[FIELD]:
            refIdx, y = refIdx << 1, (y + (y < 0)) >> 1  # the standard's / truncates towards zero
        else:
            refIdx, y = refIdx >> 1, y << 1
        mv = pack(mv_x(mv), y)
    v[at] = mv
    g[at] = refIdx


@kernel(VOID(I64P, U16P, I32P, U16P, I64, I64, I64, I64))
def load_mvd(s, q, pm, pq, at, mb, edge, list_):
    """|mvd| of one edge block of a macroblock, to `at`; scaled as 9.3.3.1.1.7 says."""
    value = I64(pq[EDGE * (2 * mb + list_) + edge])
    if s[FIELD] != is_field(pm, mb):
        y = value >> 8
        value = value & 255 | (y >> 1 if s[FIELD] else y << 1) << 8
    q[at] = value


@kernel(VOID(I64P, I32P, I8P, U16P, I32P, I8P, I32P, U16P))
def load_vectors(s, v, g, q, pm, pr, px, pq):
    """v, g and q around the macroblock; inside, nothing is decoded yet."""
    for list_ in range(2 if s[SLICE_TYPE] == B else 1):
        base = LIST_STRIDE_OF_ONE * list_
        for i in range(base, base + LIST_STRIDE_OF_ONE):
            g[i] = -2
            q[i] = 0
        if s[MB_B] >= 0:
            for x in range(4):
                load_vector(s, v, g, pm, pr, px, base + 1 + x, s[MB_B], 4 + x, list_)
                load_mvd(s, q, pm, pq, base + 1 + x, s[MB_B], 4 + x, list_)
        if s[MB_C] >= 0:
            load_vector(s, v, g, pm, pr, px, base + 5, s[MB_C], 4, list_)
        if s[MB_D] >= 0:
            load_vector(s, v, g, pm, pr, px, base, s[MB_D], s[EDGE_D], list_)
        if s[MB_A] < 0:
            continue
        for y in range(4):
            block = left_block(s, y)
            at = base + STRIDE_OF_ONE * (y + 1)
            load_vector(s, v, g, pm, pr, px, at, block >> 2, block & 3, list_)
            load_mvd(s, q, pm, pq, at, block >> 2, block & 3, list_)
            if y:
                block = left_diagonal(s, y)
                load_vector(s, v, g, pm, pr, px, base + LEFT_DIAGONALS + y, block >> 2, block & 3, list_)
