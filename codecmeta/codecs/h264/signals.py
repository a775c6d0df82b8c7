"""The signals of a frame as they leave the parser: vectors in their order, maps in the dtypes of records.

Out of the arrays per macroblock and 4x4 block, in one pass over each. `motion_vectors.py` makes the same vectors of
fields and of frames with pairs of macroblocks, by way of rows that say where each comes from.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from codecmeta.codecs.h264.inter_prediction import mv_x, mv_y
from codecmeta.codecs.h264.state import (
    CHROMA,
    LIST_STRIDE,
    M_CBP,
    M_I_16X16,
    M_INTRA,
    M_L0,
    M_L1,
    M_SHAPE,
    PIC_HEIGHT,
    PIC_MBS,
    PIC_WIDTH,
    QP_BD_OFFSET,
    QP_BD_OFFSET_C,
    STRIDE,
)
from codecmeta.codecs.syntax.jit import (
    F32,
    F32P,
    F64,
    I8P,
    I16P,
    I32P,
    I64,
    I64P,
    U16P,
    VOID,
    bits_of_float,
    constant,
    kernel,
)

VECTOR_WORDS = 3
"""int32 words of a record of `record.metadata.VECTOR`, which are written as words, the lowest byte first."""

if sys.byteorder != "little":
    raise ImportError("codecmeta parses H.264 on little-endian machines alone")

KIND = constant([3, 1, 2, 0], "int64")
"""Of a partition of 16x16, 16x8, 8x16 and 8x8: its height above 8 in bit 1, its width above 8 in bit 0."""


@kernel(I64(F64), inline=True)
def half_precision(value):
    """A number from 0 to 65504 as the bits of a float16, by way of float32: to nearest, ties to even."""
    bits = I64(bits_of_float(F32(value)))
    if bits < 0x38800000:  # below 2^-14: where 1 / 2 is added the last bit is worth as much as the last one of float16
        return I64(bits_of_float(F32(value) + F32(0.5))) - 0x3F000000
    return (bits + 0xFFF + (bits >> 13 & 1) - (112 << 23)) >> 13


@kernel(F32(F32P, I64, I64), inline=True)
def taken(e, at, stride):
    """The energy of an 8x8 block whose first 4x4 block stands at `at`; zero is left there."""
    total = (e[at] + e[at + stride]) + (e[at + 1] + e[at + stride + 1])
    e[at], e[at + 1], e[at + stride], e[at + stride + 1] = F32(0), F32(0), F32(0), F32(0)
    return total


@kernel(F32(F32P, I64, I64, I64), inline=True)
def taken_chroma(e, at, stride, tall):
    """The energy of a 4x4 chroma block; tall: the mean of two, one below the other, stands for it, as in 4:2:2."""
    value = e[at]
    e[at] = F32(0)
    if tall:
        value = (value + e[at + stride]) / F32(2)
        e[at + stride] = F32(0)
    return value


@kernel(VOID(I64P, I32P, F32P, F64, U16P, U16P))
def write_rms(s, m, e, largest, luma, chroma):
    """Root mean squares per 8x8 luma block as float16, see `rms_of_blocks`; `e` is zero behind it, for the next one."""
    width, height, mbs, tall = s[PIC_WIDTH], s[PIC_HEIGHT], s[PIC_MBS], I64(s[CHROMA] == 2)
    luma_scale, chroma_scale = F64(1 << s[QP_BD_OFFSET] // 6), F64(1 << s[QP_BD_OFFSET_C] // 6)
    blue = 16 * mbs
    plane = (8 if tall else 4) * mbs
    for y in range(height):
        for x in range(width):
            flags = I64(m[y * width + x])
            first = 4 * y * width + 2 * x
            if flags >> M_CBP & 63 == 0 and flags & M_I_16X16 == 0:
                for row in range(2):
                    to = first + 2 * width * row
                    luma[to], luma[to + 1] = 0, 0
                    chroma[to], chroma[to + 1] = 0, 0
                continue
            for i in range(4):
                row, column = 2 * y + (i >> 1), 2 * x + (i & 1)
                value, both = I64(0), I64(0)
                total = taken(e, 8 * row * width + 2 * column, 4 * width)
                if total > 0:
                    value = half_precision(min(math.sqrt(total / 64) / luma_scale, largest))
                at = blue + 2 * (row << tall) * width + column
                total = taken_chroma(e, at, 2 * width, tall) + taken_chroma(e, at + plane, 2 * width, tall)
                if total > 0:
                    both = half_precision(min(math.sqrt(total / 32) / chroma_scale, largest))
                to = first + 2 * width * (i >> 1) + (i & 1)
                luma[to], chroma[to] = value, both


@kernel(VOID(I64P, I32P, I16P, F32P))
def write_qp_and_bits(s, m, qp, bits):
    """QP'Y, as FFmpeg exports it, and bits per macroblock."""
    mbs, offset = s[PIC_MBS], s[QP_BD_OFFSET]
    for mb in range(mbs):
        qp[mb] = m[2 * mbs + mb] + offset
        bits[mb] = m[mbs + mb]


@kernel(I64(I64P, I32P, I32P, I8P, I16P, I32P, I16P, I64))
def write_signal_vectors(s, m, v, r, distances, vectors, distance, first):
    """The vectors of a frame in the order of `metadata.vector_order` from `first` on -> how many. distances: what is
    written beside each, [slice][list][refIdx + 1].

    The order has eight kinds: past and future, heights 8 and 16, widths 8 and 16; a counting sort keeps it stable.
    """
    width, mbs, stride, list_stride = s[PIC_WIDTH], s[PIC_MBS], s[STRIDE], s[LIST_STRIDE]
    height = s[PIC_HEIGHT]
    starts = np.zeros(9, np.int64)
    for mb in range(mbs):
        flags = I64(m[mb])
        if not flags & M_INTRA:
            shape = flags >> M_SHAPE & 3
            kind, count = KIND[shape], (1 + (shape >> 1)) * (1 + (shape & 1))
            starts[1 + kind] += count * I64(flags & M_L0 != 0)
            starts[5 + kind] += count * I64(flags & M_L1 != 0)
    starts[0] = first
    for kind in range(8):
        starts[kind + 1] += starts[kind]
    end = starts[8]
    for y in range(height):
        for x in range(width):
            mb = y * width + x
            flags = I64(m[mb])
            if flags & M_INTRA:
                continue
            shape = flags >> M_SHAPE & 3
            across, down = 1 + (shape >> 1), 1 + (shape & 1)
            w, h = 16 >> (shape >> 1), 16 >> (shape & 1)
            for list_ in range(2):
                if not flags & (M_L1 if list_ else M_L0):
                    continue
                at = starts[4 * list_ + KIND[shape]]
                starts[4 * list_ + KIND[shape]] += across * down
                names = 33 * (2 * I64(m[3 * mbs + mb]) + list_) + 1
                block = list_ * list_stride + (4 * y + 1) * stride + 4 * x + 1
                for i in range(down):
                    for j in range(across):
                        packed = I64(v[block + 2 * i * stride + 2 * j])
                        to_x, to_y = 16 * x + j * w + (w >> 1), 16 * y + i * h + (h >> 1)
                        motion_x, motion_y = mv_x(packed), mv_y(packed)
                        word = VECTOR_WORDS * at
                        vectors[word] = (2 * list_ - 1) & 255 | w << 8 | h << 16 | to_x << 24
                        vectors[word + 1] = to_x >> 8 & 255 | (to_y & 0xFFFF) << 8 | motion_x << 24
                        vectors[word + 2] = motion_x >> 8 & 255 | (motion_y & 0xFFFF) << 8 | 4 << 24
                        distance[at] = distances[names + r[4 * (list_ * mbs + mb) + 2 * i + j]]
                        at += 1
    return end - first
