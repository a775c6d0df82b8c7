"""Clauses 7.3.5.3 and 8.5 for 4:4:4 and for lossless macroblocks: residual data as energy.

In 4:4:4 Cb and Cr are coded as luma is, with its coded_block_pattern, its transform and its prediction, at QP'c.

In a lossless macroblock (TransformBypassModeFlag: QP'Y is 0 where the sequence allows it) levels are samples. Where
intra prediction is horizontal or vertical each is the difference to the one before it, and 8.5.15 adds them up. The
residual is what is added to the prediction, as everywhere: the sums. Each 4x4 block has its own energy, also where it
is a part of an 8x8 block.
"""

from __future__ import annotations

from codecmeta.codecs.h264.cabac_residual import CHROMA_AC, LUMA_4X4, LUMA_8X8, LUMA_AC
from codecmeta.codecs.h264.coefficients import (
    CHROMA_DC_422,
    SCAN,
    category,
    chroma_dc_levels,
    intra_16x16_dc_levels,
    load_neighbours,
    residual,
    residual_8x8,
    residual_block,
    residual_luma,
    store_totals,
)
from codecmeta.codecs.h264.high444.intra_modes import FIRST_MODE, HORIZONTAL, VERTICAL
from codecmeta.codecs.h264.state import (
    CABAC,
    CHROMA,
    FIELD,
    INTRA_CHROMA_MODE,
    INTRA_MODES,
    LEFT_WORD,
    LOSSLESS,
    MB_X,
    MB_Y,
    N_CB,
    N_COLUMN,
    N_CR,
    N_LEFT,
    N_LUMA,
    N_PLANE,
    N_TOP,
    NOT_AVAILABLE,
    OLD_X264,
    PIC_HEIGHT,
    PIC_MBS,
    PIC_WIDTH,
    PLANES,
    QP,
    QP_BD_OFFSET,
    T_LEVELS,
    T_SAMPLES,
    T_SCAN,
    TOP_WORD,
    TOTAL_COEFF,
    W_AVAILABLE,
    W_CBP_CHROMA,
    W_DC,
    W_I_NXN,
    W_INTRA,
    W_PCM,
    W_T8X8,
)
from codecmeta.codecs.h264.tables import table
from codecmeta.codecs.syntax.jit import F32P, I32P, I64, I64P, U8P, VOID, constant, kernel

SCAN_8X8 = constant([table("zigzag_8x8"), table("field_8x8")], "int64").reshape(-1)


@kernel(VOID(I64P, U8P, I64, I64))
def load_plane(s, n, word, plane):
    """`load_neighbours` of one plane of 4:4:4.

    The coded_block_flag of an 8x8 block sees a neighbour only where that is in 8x8 blocks too (9.3.3.1.1.9); others
    count as not coded, and I_PCM as coded. x264 before build 151 (December 2017) took others for not available.
    """
    first, top, left = N_LUMA + N_PLANE * plane, N_TOP + N_COLUMN * s[MB_X] + 4 * plane, N_LEFT + 4 * plane
    other = W_AVAILABLE if s[CABAC] and word & W_T8X8 else -1
    kind = W_AVAILABLE | W_T8X8 | (0 if s[OLD_X264] else W_PCM)
    otherwise = NOT_AVAILABLE if s[OLD_X264] else 0
    for i in range(4):
        n[first - 8 + i] = n[top + i] if s[TOP_WORD] & kind != other else otherwise
        n[first - 1 + 8 * i] = n[left + i] if s[LEFT_WORD] & kind != other else otherwise
        for j in range(4):
            n[first + 8 * i + j] = 0


@kernel(VOID(I64P, U8P, I64))
def store_plane(s, n, plane):
    """`store_totals` of one plane of 4:4:4."""
    first, top, left = N_LUMA + N_PLANE * plane, N_TOP + N_COLUMN * s[MB_X] + 4 * plane, N_LEFT + 4 * plane
    for i in range(4):
        n[top + i] = n[first + 24 + i]
        n[left + i] = n[first + 8 * i + 3]


@kernel(VOID(I32P, I64, I64), inline=True)
def clear(t, first, count):
    """Zeros."""
    for i in range(count):
        t[first + i] = 0


@kernel(VOID(I64P, I32P, I64, I64))
def place(s, t, at, size):
    """The levels of a block in T_SCAN, size x size, to their samples, the first one of them t[at]."""
    for i in range(size * size):
        level = t[T_SCAN + i]
        if level:
            raster = SCAN_8X8[64 * s[FIELD] + i] if size == 8 else SCAN[16 * s[FIELD] + i]
            t[at + 16 * (raster // size) + raster % size] = level


@kernel(VOID(I32P, I64, I64, I64, I64))
def accumulate(t, at, width, height, mode):
    """The intra residual transform-bypass decoding process of 8.5.15, where the mode is one of two that have it."""
    if mode == VERTICAL:
        for y in range(1, height):
            for x in range(width):
                t[at + 16 * y + x] += t[at + 16 * y - 16 + x]
    elif mode == HORIZONTAL:
        for y in range(height):
            for x in range(1, width):
                t[at + 16 * y + x] += t[at + 16 * y + x - 1]


@kernel(VOID(I32P, F32P, I64, I64, I64, I64, I64))
def add_up(t, e, at, width, height, out, stride):
    """The energy of each 4x4 block of width x height samples from t[at] on, the first one's into e[out]."""
    for y in range(0, height, 4):
        for x in range(0, width, 4):
            energy = 0.0
            for i in range(16):
                sample = float(t[at + 16 * (y + (i >> 2)) + x + (i & 3)])
                energy += sample * sample
            e[out + (y >> 2) * stride + (x >> 2)] = energy


@kernel(I64(I64P, I64P, U8P, U8P, I32P, F32P, I64, F32P, I64))
def lossless_luma(s, c, d, n, t, w, word, e, plane):
    """`residual_luma` of a lossless macroblock."""
    flags = I64(0)
    intra = I64(word & W_INTRA != 0)
    intra_16x16 = I64(word & (W_INTRA | W_I_NXN) == W_INTRA)
    clear(t, T_SAMPLES, 256)
    if intra_16x16 and intra_16x16_dc_levels(s, c, d, n, t, w, plane):
        flags = I64(1) << (W_DC + plane)
        for i in range(16):
            raster = SCAN[16 * s[FIELD] + i]
            t[T_SAMPLES + 64 * (raster >> 2) + 4 * (raster & 3)] = t[T_LEVELS + i]
    for i8 in range(4):
        if not word >> i8 & 1:
            continue
        x, y = 2 * (i8 & 1), 2 * (i8 >> 1)
        at = N_LUMA + N_PLANE * plane + 8 * y + x
        sample = T_SAMPLES + 64 * y + 4 * x
        if word & W_T8X8:
            clear(t, T_SCAN, 64)
            residual_8x8(s, c, d, n, t, w, category(LUMA_8X8, plane), at, intra, ~T_SCAN)
            place(s, t, sample, 8)
            continue
        for i4 in range(4):
            column, row = i4 & 1, i4 >> 1
            block = at + 8 * row + column
            clear(t, T_SCAN, 16)
            if intra_16x16:
                residual_block(s, c, d, n, t, w, category(LUMA_AC, plane), 15, block, intra, ~(T_SCAN + 1))
            else:
                residual_block(s, c, d, n, t, w, category(LUMA_4X4, plane), 16, block, intra, ~T_SCAN)
            place(s, t, sample + 64 * row + 4 * column, 4)
    if intra_16x16:
        accumulate(t, T_SAMPLES, 16, 16, s[INTRA_MODES])
    elif intra:
        size = I64(8 if word & W_T8X8 else 4)
        for y in range(0, 16, size):
            for x in range(0, 16, size):
                accumulate(t, T_SAMPLES + 16 * y + x, size, size, I64(t[FIRST_MODE + 2 * y + (x >> 2)]))
    stride = 4 * s[PIC_WIDTH]
    add_up(t, e, T_SAMPLES, 16, 16, 16 * plane * s[PIC_MBS] + 4 * s[MB_Y] * stride + 4 * s[MB_X], stride)
    return flags


@kernel(I64(I64P, I64P, U8P, U8P, I32P, F32P, I64, F32P))
def lossless_chroma(s, c, d, n, t, w, word, e):
    """`residual_chroma` of a lossless macroblock: Cb in the first eight columns of T_SAMPLES, Cr in the others."""
    flags = I64(0)
    intra = I64(word & W_INTRA != 0)
    rows = 4 if s[CHROMA] == 2 else 2
    clear(t, T_SAMPLES, 256)
    for iCbCr in range(2):
        chroma_dc_levels(s, c, d, n, t, w, iCbCr, intra)
        if s[TOTAL_COEFF]:
            flags |= I64(1) << (W_DC + 1 + iCbCr)
            for i in range(2 * rows):
                raster = CHROMA_DC_422[i] if rows == 4 else i
                t[T_SAMPLES + 8 * iCbCr + 64 * (raster >> 1) + 4 * (raster & 1)] = t[T_LEVELS + i]
    if word & 2 << 4:
        for iCbCr in range(2):
            first = I64(N_CR if iCbCr else N_CB)
            for i4 in range(2 * rows):
                column, row = i4 & 1, i4 >> 1
                clear(t, T_SCAN, 16)
                residual_block(s, c, d, n, t, w, CHROMA_AC, 15, first + 8 * row + column, intra, ~(T_SCAN + 1))
                place(s, t, T_SAMPLES + 8 * iCbCr + 64 * row + 4 * column, 4)
    stride = 2 * s[PIC_WIDTH]
    origin = 8 * s[PIC_HEIGHT] * stride + rows * s[MB_Y] * stride + 2 * s[MB_X]
    for iCbCr in range(2):
        at = T_SAMPLES + 8 * iCbCr
        if intra:  # Table 8-5: 1 horizontal, 2 vertical
            mode = s[INTRA_CHROMA_MODE]
            accumulate(t, at, 8, 4 * rows, VERTICAL if mode == 2 else (HORIZONTAL if mode == 1 else -1))
        add_up(t, e, at, 8, 4 * rows, origin + iCbCr * rows * s[PIC_HEIGHT] * stride, stride)
    return flags


@kernel(I64(I64P, I64P, U8P, U8P, I32P, F32P, I64, F32P))
def residual_of_high_444(s, c, d, n, t, w, word, e):
    """residual() of 7.3.5.3 as `coefficients.residual`, of any ChromaArrayType, lossless or not."""
    lossless = s[LOSSLESS] and s[QP] == -s[QP_BD_OFFSET]
    if s[PLANES] == 1 and not lossless:
        return residual(s, c, d, n, t, w, word, e)
    flags = I64(0)
    if s[PLANES] == 1:
        load_neighbours(s, n)
        flags |= lossless_luma(s, c, d, n, t, w, word, e, 0)
        if word & W_CBP_CHROMA:
            flags |= lossless_chroma(s, c, d, n, t, w, word, e)
        store_totals(s, n)
        return flags
    for plane in range(3):
        load_plane(s, n, word, plane)
        if lossless:
            flags |= lossless_luma(s, c, d, n, t, w, word, e, plane)
        else:
            flags |= residual_luma(s, c, d, n, t, w, word, e, plane)
        store_plane(s, n, plane)
    return flags
