"""Clauses 8.3.1.1 and 8.3.2.1: Intra4x4PredMode and Intra8x8PredMode, which a lossless residual depends on."""

from __future__ import annotations

from codecmeta.codecs.h264.state import (
    CONSTRAINED_INTRA,
    INTRA_MODES,
    LEFT_MODES,
    LEFT_WORD,
    MB_X,
    PIC_WIDTH,
    T_PRED_MODES,
    T_TOP,
    TOP_WORD,
    W_AVAILABLE,
    W_I_NXN,
    W_INTRA,
    W_T8X8,
)
from codecmeta.codecs.syntax.jit import I32P, I64, I64P, VOID, kernel

VERTICAL, HORIZONTAL, DC = range(3)  # the first modes of Tables 8-2 and 8-3; of Table 8-4 too
FIRST_MODE = T_PRED_MODES + 9  # in the grid, row 1 and column 1


@kernel(I64(I64P, I64, I64, I64), inline=True)
def mode_of_neighbour(s, word, modes, i):
    """intraMxMPredModeN of block i of the edge that `modes` has; -1: dcPredModePredictedFlag."""
    if word & W_I_NXN:
        return modes >> (4 * i) & 15
    if not word & W_AVAILABLE or (s[CONSTRAINED_INTRA] and not word & W_INTRA):
        return I64(-1)
    return I64(DC)


@kernel(VOID(I64P, I32P, I64))
def derive_intra_modes(s, t, word):
    """INTRA_MODES of an I_NxN macroblock -> its prediction modes, one for each 4x4 block, into the grid at FIRST_MODE;
    those of its last row and column are left to the macroblocks below and to the right."""
    t_modes = T_TOP + s[PIC_WIDTH] + s[MB_X]
    top = I64(t[t_modes])
    for i in range(4):
        t[FIRST_MODE - 8 + i] = mode_of_neighbour(s, s[TOP_WORD], top, i)
        t[FIRST_MODE - 1 + 8 * i] = mode_of_neighbour(s, s[LEFT_WORD], s[LEFT_MODES], i)
    count = I64(4 if word & W_T8X8 else 16)
    for i in range(count):
        coded = s[INTRA_MODES] >> (4 * (count - 1 - i)) & 15
        if count == 4:
            at = FIRST_MODE + 16 * (i >> 1) + 2 * (i & 1)
        else:
            at = FIRST_MODE + 8 * (2 * (i >> 3) + (i >> 1 & 1)) + 2 * (i >> 2 & 1) + (i & 1)
        mode = min(I64(t[at - 1]), I64(t[at - 8]))
        if mode < 0:
            mode = I64(DC)
        if coded < 8:
            mode = coded + I64(coded >= mode)
        t[at] = mode
        if count == 4:
            t[at + 1] = mode
            t[at + 8] = mode
            t[at + 9] = mode
    bottom, right = I64(0), I64(0)
    for i in range(4):
        bottom |= I64(t[FIRST_MODE + 24 + i]) << (4 * i)
        right |= I64(t[FIRST_MODE + 8 * i + 3]) << (4 * i)
    t[t_modes] = bottom
    s[LEFT_MODES] = right
