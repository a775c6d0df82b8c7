"""Clauses 8.4.2 and 8.4.3: intra prediction modes; they choose the scans of small transform blocks."""

from __future__ import annotations

from codecmeta.codecs.hevc.state import (
    A_MODE_LEFT,
    A_MODE_UP,
    AVAILABLE_LEFT,
    CHROMA,
    CHROMA_MODE,
    CTB_MASK,
    CU_SIZE,
    CU_X0,
    CU_Y0,
    LUMA_MODE_0,
    PART_MODE,
    PART_NXN,
    S_MODES,
)
from codecmeta.codecs.hevc.tables import table
from codecmeta.codecs.syntax.arithmetic import (
    bypass,
    decision,
)
from codecmeta.codecs.syntax.jit import I64, I64P, U8P, VOID, kernel

PREV_INTRA, INTRA_CHROMA = (
    table("first_context")[name]
    for name in (
        "prev_intra_luma_pred_flag",
        "intra_chroma_pred_mode",
    )
)


PLANAR, DC, HORIZONTAL_MODE, VERTICAL_MODE = 0, 1, 10, 26


@kernel(I64(I64P, U8P, I64, I64, I64), inline=True)
def most_probable_mode(s, a, x, y, which):
    """candModeList[which] of 8.4.2 for the prediction block at (x, y)."""
    column, row = (x & s[CTB_MASK]) >> 2, (y & s[CTB_MASK]) >> 2
    left, up = I64(DC), I64(DC)
    if column or s[AVAILABLE_LEFT]:
        left = I64(a[A_MODE_LEFT + row])
    if row:
        up = I64(a[A_MODE_UP + column])
    if left == up:
        if left < 2:
            return I64(PLANAR) if which == 0 else (I64(DC) if which == 1 else I64(VERTICAL_MODE))
        if which == 0:
            return left
        return 2 + ((left + 29) & 31) if which == 1 else 2 + ((left - 1) & 31)
    if which == 0:
        return left
    if which == 1:
        return up
    if left != PLANAR and up != PLANAR:
        return I64(PLANAR)
    if left != DC and up != DC:
        return I64(DC)
    return I64(VERTICAL_MODE)


@kernel(VOID(I64P, U8P, I64, I64, I64, I64), inline=True)
def set_modes(s, a, x, y, size, mode):
    """The luma mode of a block for its neighbours; DC where it is not predicted by a mode."""
    column, row = A_MODE_UP + ((x & s[CTB_MASK]) >> 2), A_MODE_LEFT + ((y & s[CTB_MASK]) >> 2)
    for i in range(size >> 2):
        a[column + i] = mode
        a[row + i] = mode


@kernel(VOID(I64P, I64P, U8P, U8P))
def intra_modes(s, c, d, a):
    """The luma modes of one or four blocks (8.4.2) and the chroma mode (8.4.3)."""
    parts = I64(4 if s[PART_MODE] == PART_NXN else 1)
    size = s[CU_SIZE] >> 1 if parts == 4 else s[CU_SIZE]
    for i in range(parts):
        s[S_MODES + i] = decision(s, c, d, PREV_INTRA)
    for i in range(parts):
        x, y = s[CU_X0] + size * (i & 1), s[CU_Y0] + size * (i >> 1)
        if s[S_MODES + i]:
            which = I64(0)
            if bypass(s, d):
                which = 1 + bypass(s, d)
            mode = most_probable_mode(s, a, x, y, which)
        else:
            mode = I64(0)
            for _ in range(5):
                mode = mode << 1 | bypass(s, d)
            one = most_probable_mode(s, a, x, y, 0)
            two = most_probable_mode(s, a, x, y, 1)
            three = most_probable_mode(s, a, x, y, 2)
            if one > two:
                one, two = two, one
            if one > three:
                one, three = three, one
            if two > three:
                two, three = three, two
            if mode >= one:
                mode += 1
            if mode >= two:
                mode += 1
            if mode >= three:
                mode += 1
        s[LUMA_MODE_0 + i] = mode
        set_modes(s, a, x, y, size, mode)
    if not s[CHROMA]:
        s[CHROMA_MODE] = -1
        return
    luma = s[LUMA_MODE_0]
    if not decision(s, c, d, INTRA_CHROMA):
        s[CHROMA_MODE] = luma
        return
    chosen = bypass(s, d) << 1
    chosen |= bypass(s, d)
    mode = I64(PLANAR)
    if chosen == 1:
        mode = I64(VERTICAL_MODE)
    elif chosen == 2:
        mode = I64(HORIZONTAL_MODE)
    elif chosen == 3:
        mode = I64(DC)
    s[CHROMA_MODE] = I64(34) if mode == luma else mode
