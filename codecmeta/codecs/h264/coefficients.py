"""Clauses 7.3.5.3 and 8.5: residual data, as energy instead of samples.

The inverse transforms are orthogonal, so the energy of a block's residual is the sum over its levels of level squared
times a weight that depends on scaling list, qP and scan position: no transform is carried out, except the small ones
of the DC levels of Intra_16x16 luma and of chroma, which spread one level over several blocks.
"""

from __future__ import annotations

from codecmeta.codecs.h264.cabac_residual import (
    CHROMA_AC,
    CHROMA_DC,
    LUMA_4X4,
    LUMA_8X8,
    LUMA_AC,
    LUMA_DC,
    residual_block_cabac,
)
from codecmeta.codecs.h264.cavlc import residual_block_cavlc
from codecmeta.codecs.h264.energy_weights import QP_COUNT, WEIGHTS_8X8, WEIGHTS_FIELD
from codecmeta.codecs.h264.state import (
    CABAC,
    CB_OFFSET,
    CHROMA,
    CR_OFFSET,
    FIELD,
    LEFT_WORD,
    MB_X,
    MB_Y,
    N_CB,
    N_COLUMN,
    N_CR,
    N_LEFT,
    N_LUMA,
    N_PLANE,
    N_TOP,
    PIC_HEIGHT,
    PIC_MBS,
    PIC_WIDTH,
    PLANES,
    QP,
    QP_BD_OFFSET,
    QP_BD_OFFSET_C,
    T_LEVELS,
    TOP_WORD,
    TOTAL_COEFF,
    W_AVAILABLE,
    W_CBP_CHROMA,
    W_CBP_LUMA,
    W_DC,
    W_I_NXN,
    W_INTRA,
    W_T8X8,
)
from codecmeta.codecs.h264.tables import table
from codecmeta.codecs.syntax.jit import F32P, F64, I32P, I64, I64P, U8P, VOID, constant, kernel
from codecmeta.codecs.syntax.rms import RMS, rms_of_blocks

QPC = constant(table("QPc"), "int64")
SCAN = constant([table("zigzag_4x4"), table("field_4x4")], "int64").reshape(-1)
CHROMA_DC_422 = constant(table("chroma_DC_422"), "int64")


@kernel(I64(I64P, U8P, I64, I64), inline=True)
def neighbouring_flags(s, n, at, intra):
    """ctxIdxInc of coded_block_flag at grid position `at` (9.3.3.1.1.9): outside the slice counts as coded if intra."""
    left, top = I64(n[at - 1]), I64(n[at - 8])
    if not intra:
        left, top = left & 63, top & 63
    return (left != 0) + 2 * (top != 0)


@kernel(I64(U8P, I64), inline=True)
def predicted_total(n, at):
    """nC of 9.2.1: the mean of nA and nB where both are available, the other one where one is, else 0."""
    both = I64(n[at - 1]) + n[at - 8]
    return (both + 1) >> 1 if both < 64 else both & 31


@kernel(F64(I64P, I64P, U8P, U8P, I32P, F32P, I64, I64, I64, I64, I64))
def residual_block(s, c, d, n, t, w, ctxBlockCat, maxNumCoeff, at, intra, weights):
    """One 4x4 block (not of DC levels) at grid position `at` of `n` -> energy; total_coeff goes into the grid."""
    if s[CABAC]:
        flags = neighbouring_flags(s, n, at, intra)
        energy = residual_block_cabac(s, c, d, n, t, w, ctxBlockCat, maxNumCoeff, weights, flags)
    else:
        energy = residual_block_cavlc(s, d, n, t, w, predicted_total(n, at), maxNumCoeff, weights, 1)
    n[at] = s[TOTAL_COEFF]
    return energy


@kernel(VOID(I64P, U8P))
def load_neighbours(s, n):
    """The totals left of and above the macroblock into the grid, zeros into the macroblock."""
    top = N_TOP + N_COLUMN * s[MB_X]
    for i in range(4):
        n[N_LUMA - 8 + i] = n[top + i]
        n[N_LUMA - 1 + 8 * i] = n[N_LEFT + i]
        for j in range(4):
            n[N_LUMA + 8 * i + j] = 0
    for i in range(2):
        n[N_CB - 8 + i], n[N_CR - 8 + i] = n[top + 4 + i], n[top + 6 + i]
        n[N_CB - 1 + 8 * i], n[N_CR - 1 + 8 * i] = n[N_LEFT + 4 + i], n[N_LEFT + 6 + i]
        for j in range(2):
            n[N_CB + 8 * i + j] = 0
            n[N_CR + 8 * i + j] = 0
    if s[CHROMA] == 2:
        for i in range(2):
            n[N_CB + 15 + 8 * i], n[N_CR + 15 + 8 * i] = n[N_LEFT + 8 + i], n[N_LEFT + 10 + i]
            for j in range(2):
                n[N_CB + 16 + 8 * i + j] = 0
                n[N_CR + 16 + 8 * i + j] = 0


@kernel(VOID(I64P, U8P))
def store_totals(s, n):
    """The totals of the macroblock's last row and column, for the macroblocks below and to the right."""
    top = N_TOP + N_COLUMN * s[MB_X]
    for i in range(4):
        n[top + i] = n[N_LUMA + 24 + i]
        n[N_LEFT + i] = n[N_LUMA + 8 * i + 3]
    for i in range(2):
        n[top + 4 + i], n[top + 6 + i] = n[N_CB + 8 + i], n[N_CR + 8 + i]
        n[N_LEFT + 4 + i], n[N_LEFT + 6 + i] = n[N_CB + 8 * i + 1], n[N_CR + 8 * i + 1]
    if s[CHROMA] == 2:
        for i in range(2):
            n[top + 4 + i], n[top + 6 + i] = n[N_CB + 24 + i], n[N_CR + 24 + i]
            n[N_LEFT + 8 + i], n[N_LEFT + 10 + i] = n[N_CB + 17 + 8 * i], n[N_CR + 17 + 8 * i]


@kernel(VOID(I64P, U8P, I64), inline=True)
def set_totals(s, n, value):
    """The same total for every block of the macroblock: 0 where nothing is coded, 16 for I_PCM."""
    top = N_TOP + N_COLUMN * s[MB_X]
    for i in range(N_COLUMN):
        n[top + i] = value
    for i in range(N_COLUMN):
        n[N_LEFT + i] = value


@kernel(F64(I64P, I64P, U8P, U8P, I32P, F32P, I64, I64, I64, I64))
def residual_8x8(s, c, d, n, t, w, ctxBlockCat, at, intra, weights):
    """An 8x8 block: one CABAC block, or four interleaved CAVLC blocks (7.3.5.3.2).

    Its coded_block_flag is sent in 4:4:4 alone. weights below 0 as in `residual_block_cabac`.
    """
    if s[CABAC]:
        flags = neighbouring_flags(s, n, at, intra) if s[PLANES] == 3 else I64(-1)
        energy = residual_block_cabac(s, c, d, n, t, w, ctxBlockCat, 64, weights, flags)
        for i4 in range(4):
            n[at + 8 * (i4 >> 1) + (i4 & 1)] = min(s[TOTAL_COEFF], 16)
        return energy
    energy = 0.0
    for i4 in range(4):
        block = at + 8 * (i4 >> 1) + (i4 & 1)
        first = weights + i4 if weights >= 0 else weights - i4
        energy += residual_block_cavlc(s, d, n, t, w, predicted_total(n, block), 16, first, 4)
        n[block] = s[TOTAL_COEFF]
    return energy


@kernel(I64(I64, I64), inline=True)
def category(of_luma, plane):
    """ctxBlockCat of a plane that is coded as luma is (LUMA_DC, LUMA_AC, LUMA_4X4 or LUMA_8X8)."""
    if plane == 0:
        return of_luma
    return 2 + 4 * plane + (3 if of_luma == LUMA_8X8 else of_luma)


@kernel(I64(I64, I64), inline=True)
def hadamard(row, column):
    """The matrix of (8-328): rows ++++, ++--, +--+, +-+-."""
    return 1 - 2 * ((0b1010_0110_1100_0000 >> (4 * row + column)) & 1)


@kernel(I64(I64P, I64, I64), inline=True)
def dc_flags(s, bit, intra):
    """ctxIdxInc of the coded_block_flag of a DC block, by the neighbours' words; outside the slice as `intra`."""
    left = s[LEFT_WORD] >> bit & 1 if s[LEFT_WORD] & W_AVAILABLE else intra
    top = s[TOP_WORD] >> bit & 1 if s[TOP_WORD] & W_AVAILABLE else intra
    return left + 2 * top


@kernel(I64(I64P, I64P, U8P, U8P, I32P, F32P, I64))
def intra_16x16_dc_levels(s, c, d, n, t, w, plane):
    """Intra16x16DCLevel (CbIntra16x16DCLevel, CrIntra16x16DCLevel) into T_LEVELS -> coded_block_flag."""
    for i in range(16):
        t[T_LEVELS + i] = 0
    if s[CABAC]:
        residual_block_cabac(s, c, d, n, t, w, category(LUMA_DC, plane), 16, ~T_LEVELS, dc_flags(s, W_DC + plane, 1))
    else:
        nC = predicted_total(n, N_LUMA + N_PLANE * plane)
        residual_block_cavlc(s, d, n, t, w, nC, 16, ~T_LEVELS, 1)
    return I64(s[TOTAL_COEFF] != 0)


@kernel(I64(I64P, I64P, U8P, U8P, I32P, F32P, I64, F32P, I64, I64, I64))
def intra_16x16_dc(s, c, d, n, t, w, weights, e, origin, stride, plane):
    """DC levels of Intra_16x16 and their transform (8.5.10) -> coded_block_flag; each DC's energy goes to its block.

    A transformed DC is scaled by LevelScale(0, 0) * 2^(qP / 6) / 64, a sixteenth in energy of a plain 4x4 block's.
    """
    if not intra_16x16_dc_levels(s, c, d, n, t, w, plane):
        return I64(0)
    scale = w[weights] / 16.0
    for row in range(4):  # 8.5.10: f = H c H, one output at a time; rows of H are sign patterns
        for column in range(4):
            value = I64(0)
            for i in range(16):
                level = I64(t[T_LEVELS + i])
                if level:
                    raster = SCAN[16 * s[FIELD] + i]
                    value += hadamard(row, raster >> 2) * hadamard(raster & 3, column) * level
            e[origin + row * stride + column] += float(value * value) * scale
    return I64(1)


@kernel(I64(I64P, I64), inline=True)
def chroma_qp(s, offset):
    """QP'c of 8.5.8: qPI = Clip3(-QpBdOffsetC, 51, QPY + offset) through Table 8-15."""
    qPI = min(max(s[QP] + offset, -s[QP_BD_OFFSET_C]), 51)
    return (QPC[qPI] if qPI >= 0 else qPI) + s[QP_BD_OFFSET_C]


@kernel(I64(I64P, I64, I64))
def chroma_weights(s, iCbCr, intra):
    """Where the weights of a chroma block start in `w`: scaling list 1, 2 (intra) or 4, 5 (inter) at QP'c."""
    qp = chroma_qp(s, s[CR_OFFSET] if iCbCr else s[CB_OFFSET])
    return (((0 if intra else 3) + 1 + iCbCr) * QP_COUNT + qp) * 16 + s[FIELD] * WEIGHTS_FIELD


@kernel(VOID(I32P, F32P, F64, I64, I64))
def chroma_dc_energy(t, e, scale, out, stride):
    """The transform of the four DC levels of a 4:2:0 block (8.5.11.1), each output squared into its block."""
    a, b = I64(t[T_LEVELS]), I64(t[T_LEVELS + 1])
    k, m = I64(t[T_LEVELS + 2]), I64(t[T_LEVELS + 3])
    e[out] = float((a + b + k + m) ** 2) * scale
    e[out + 1] = float((a - b + k - m) ** 2) * scale
    e[out + stride] = float((a + b - k - m) ** 2) * scale
    e[out + stride + 1] = float((a - b - k + m) ** 2) * scale


@kernel(VOID(I32P, F32P, F64, I64, I64))
def chroma_dc_energy_422(t, e, scale, out, stride):
    """The same of the eight levels of a 4:2:2 block, four rows of two (8.5.4, 8.5.11.1)."""
    for row in range(4):
        for column in range(2):
            value = I64(0)
            for i in range(8):
                raster = CHROMA_DC_422[i]
                sign = -1 if column & raster & 1 else 1
                value += sign * hadamard(row, raster >> 1) * I64(t[T_LEVELS + i])
            e[out + row * stride + column] = float(value * value) * scale


@kernel(VOID(I64P, I64P, U8P, U8P, I32P, F32P, I64, I64), inline=True)
def chroma_dc_levels(s, c, d, n, t, w, iCbCr, intra):
    """ChromaDCLevel of 4:2:0 or 4:2:2 into T_LEVELS; TOTAL_COEFF in `s`."""
    count = 8 if s[CHROMA] == 2 else 4
    for i in range(count):
        t[T_LEVELS + i] = 0
    if s[CABAC]:
        flags = dc_flags(s, W_DC + 1 + iCbCr, intra)
        residual_block_cabac(s, c, d, n, t, w, CHROMA_DC, count, ~T_LEVELS, flags)
    else:
        residual_block_cavlc(s, d, n, t, w, -2 if s[CHROMA] == 2 else -1, count, ~T_LEVELS, 1)


@kernel(I64(I64P, I64P, U8P, U8P, I32P, F32P, I64, I64, F32P))
def residual_chroma(s, c, d, n, t, w, coded_block_pattern, intra, e):
    """Chroma DC and AC of 4:2:0 and 4:2:2 (7.3.5.3) -> coded_block_flag of the Cb and Cr DC blocks at their word bits.

    A transformed chroma DC of 4:2:0 is scaled by LevelScale(0, 0) * 2^(qP / 6) / 32: a quarter of a plain block's
    energy. In 4:2:2 (8.5.11.2) qP is 3 more and the divisor 64: a sixteenth.
    """
    flags = I64(0)
    stride = 2 * s[PIC_WIDTH]
    tall = s[CHROMA] == 2
    rows = 4 if tall else 2
    plane = rows * s[PIC_HEIGHT] * stride
    origin = 8 * s[PIC_HEIGHT] * stride + rows * s[MB_Y] * stride + 2 * s[MB_X]
    for iCbCr in range(2):
        chroma_dc_levels(s, c, d, n, t, w, iCbCr, intra)
        if s[TOTAL_COEFF]:
            flags |= I64(1) << (W_DC + 1 + iCbCr)
            weights, out = chroma_weights(s, iCbCr, intra), origin + iCbCr * plane
            if tall:
                chroma_dc_energy_422(t, e, w[weights + 3 * 16] / 16.0, out, stride)
            else:
                chroma_dc_energy(t, e, w[weights] / 4.0, out, stride)
    if coded_block_pattern >> 5:
        for iCbCr in range(2):
            weights = chroma_weights(s, iCbCr, intra) + 1
            first = I64(N_CR if iCbCr else N_CB)
            out = origin + iCbCr * plane
            for i4 in range(2 * rows):
                column, row = i4 & 1, i4 >> 1
                energy = residual_block(s, c, d, n, t, w, CHROMA_AC, 15, first + 8 * row + column, intra, weights)
                e[out + row * stride + column] += energy
    return flags


@kernel(I64(I64P, I64P, U8P, U8P, I32P, F32P, I64, F32P, I64), inline=True)
def residual_luma(s, c, d, n, t, w, word, e, plane):
    """residual_luma() of 7.3.5.3, also of Cb (plane 1) and Cr (2) in 4:4:4 -> coded_block_flag of its DC << W_DC."""
    flags = I64(0)
    intra = I64(word & W_INTRA != 0)
    intra_16x16 = I64(word & (W_INTRA | W_I_NXN) == W_INTRA)
    qp = chroma_qp(s, s[CB_OFFSET + plane - 1]) if plane else s[QP] + s[QP_BD_OFFSET]
    stride = 4 * s[PIC_WIDTH]
    origin = 16 * plane * s[PIC_MBS] + 4 * s[MB_Y] * stride + 4 * s[MB_X]
    scan = s[FIELD] * WEIGHTS_FIELD
    weights = (((0 if intra else 3) + plane) * QP_COUNT + qp) * 16 + scan
    weights_8x8 = WEIGHTS_8X8 + ((2 * plane + (0 if intra else 1)) * QP_COUNT + qp) * 64 + scan
    if intra_16x16:
        flags = intra_16x16_dc(s, c, d, n, t, w, weights, e, origin, stride, plane) << (W_DC + plane)
    for i8 in range(4):
        if not word >> i8 & 1:
            continue
        x, y = 2 * (i8 & 1), 2 * (i8 >> 1)
        at = N_LUMA + N_PLANE * plane + 8 * y + x
        out = origin + y * stride + x
        if word & W_T8X8:
            energy = 0.25 * residual_8x8(s, c, d, n, t, w, category(LUMA_8X8, plane), at, intra, weights_8x8)
            e[out] = energy
            e[out + 1] = energy
            e[out + stride] = energy
            e[out + stride + 1] = energy
        else:
            for i4 in range(4):
                column, row = i4 & 1, i4 >> 1
                block = at + 8 * row + column
                if intra_16x16:
                    kind = category(LUMA_AC, plane)
                    energy = residual_block(s, c, d, n, t, w, kind, 15, block, intra, weights + 1)
                else:
                    kind = category(LUMA_4X4, plane)
                    energy = residual_block(s, c, d, n, t, w, kind, 16, block, intra, weights)
                e[out + row * stride + column] += energy
    return flags


@kernel(I64(I64P, I64P, U8P, U8P, I32P, F32P, I64, F32P))
def residual(s, c, d, n, t, w, word, e):
    """residual() of 7.3.5.3 but for 4:4:4, luma then chroma, energies into `e` -> coded_block_flag of the three DC
    blocks << W_DC. word: of the macroblock, from `macroblock_layer`."""
    load_neighbours(s, n)
    flags = residual_luma(s, c, d, n, t, w, word, e, 0)
    if word & W_CBP_CHROMA:
        flags |= residual_chroma(s, c, d, n, t, w, word & (W_CBP_LUMA | W_CBP_CHROMA), I64(word & W_INTRA != 0), e)
    store_totals(s, n)
    return flags


@kernel(RMS, entry=True)
def block_rms(energy, luma_scale, chroma_scale, largest, luma, chroma):
    """`Picture.energy` as root mean squares, see `rms_of_blocks`."""
    rms_of_blocks(energy, luma_scale, chroma_scale, largest, luma, chroma)
