"""Clause 7.3.4 for 4:4:4 and for lossless coding: slice_data() with another residual()."""

from __future__ import annotations

from codecmeta.codecs.h264.high444.intra_modes import derive_intra_modes
from codecmeta.codecs.h264.high444.residual import residual_of_high_444
from codecmeta.codecs.h264.macroblock import macroblock_layer
from codecmeta.codecs.h264.slice_data import (
    begin_slice,
    end_of_macroblock,
    is_skipped,
    next_macroblock,
    skip_macroblock,
)
from codecmeta.codecs.h264.state import (
    LOSSLESS,
    MB_ADDR,
    MB_X,
    NO_STOP_BIT,
    PIC_MBS,
    STATUS,
    T_TOP,
    TOP_WORD,
    W_I_NXN,
    W_RESIDUAL,
)
from codecmeta.codecs.syntax.jit import F32A, I8A, I32A, I64, I64A, U8A, U16A, kernel, pointer


@kernel(I64(I64A, I64A, U8A, U8A, I32A, F32A, I32A, F32A, I32A, I8A, U16A, I8A, I32A, I8A, I32A, I32A), entry=True)
def slice_data_of_high_444(s, c, d, n, t, w, m, e, v, g, q, r, kv, kr, km, k):
    """As `slice_data.slice_data`; in 4:4:4 `e` has three planes like luma's."""
    s, c, d, n, t, w = pointer(s), pointer(c), pointer(d), pointer(n), pointer(t), pointer(w)
    m, e, v, g, q, r = pointer(m), pointer(e), pointer(v), pointer(g), pointer(q), pointer(r)
    kv, kr, km, k = pointer(kv), pointer(kr), pointer(km), pointer(k)
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
            if s[LOSSLESS] and word & W_I_NXN:
                derive_intra_modes(s, t, word)
            if word & W_RESIDUAL and s[STATUS] == 0:
                word |= residual_of_high_444(s, c, d, n, t, w, word, e)
        if s[STATUS] or end_of_macroblock(s, d, m):
            break
        next_macroblock(s, n, t, g, q, word)
        if s[MB_ADDR] >= s[PIC_MBS]:
            s[STATUS] = NO_STOP_BIT
            break
    return s[STATUS]
