"""The signals of a picture as the product keeps them: residual per 8x8 block, QP and bits per 16x16, vectors."""

from __future__ import annotations

import numpy as np
from numba import from_dtype, int16, int32, types

from codecmeta.codecs.hevc.picture import Picture
from codecmeta.codecs.hevc.state import (
    CU_BITS,
    CU_LOG2,
    CU_QP,
    CU_X,
    CU_Y,
    PU_H,
    PU_MV0,
    PU_REF0,
    PU_SEGMENT,
    PU_W,
    PU_X,
    PU_Y,
)
from codecmeta.codecs.syntax.jit import I64, VOID, kernel
from codecmeta.codecs.syntax.rms import RMS, rms_of_blocks
from codecmeta.record.metadata import VECTOR

BLOCK = 16  # side of the blocks of QP and bits
_KINDS = 512  # of vectors: side, height and width in units of four samples


@kernel(RMS, entry=True)
def block_rms(energy, luma_scale, chroma_scale, largest, luma, chroma):
    """`Picture.energy` as root mean squares, see `rms_of_blocks`."""
    rms_of_blocks(energy, luma_scale, chroma_scale, largest, luma, chroma)


@kernel(VOID(int32[:, ::1], I64, int16[:, ::1], types.float32[:, ::1]), entry=True)
def block_maps(cu, offset, qp, bits):
    """QP (the mean over a block's area, rounded, with `offset` on top; -1: nothing known) and bits (by area) of the
    coding units, per 16x16 block. Both arrays are filled here."""
    rows, columns = qp.shape
    known = np.zeros((rows, columns), np.int32)  # 8x8 blocks
    total = np.zeros((rows, columns), np.int32)
    bits[:, :] = 0
    for i in range(cu.shape[0]):
        x, y, log2 = cu[i, CU_X] >> 4, cu[i, CU_Y] >> 4, cu[i, CU_LOG2]
        value = cu[i, CU_QP] + offset
        if log2 == 3:
            known[y, x] += 1
            total[y, x] += value
            bits[y, x] += cu[i, CU_BITS]
            continue
        side = 1 << (log2 - 4)
        share = np.float32(cu[i, CU_BITS]) / np.float32(side * side)
        for row in range(y, y + side):
            for column in range(x, x + side):
                known[row, column] = 4
                total[row, column] = 4 * value
                bits[row, column] = share
    for y in range(rows):
        for x in range(columns):
            n = known[y, x]
            qp[y, x] = (2 * total[y, x] + n) // (2 * n) if n else -1


@kernel(VOID(int32[:, ::1], int32[:, :, ::1], int16[:, :, ::1], from_dtype(VECTOR)[::1], int16[::1]), entry=True)
def write_vectors(pu, differences, distances, vectors, distance):
    """The vectors of prediction units in the order of `metadata.vector_order`, by a counting sort.

    differences, distances: [slice segment][list][refIdx], POC differences and what goes into `distance`.
    """
    starts = np.zeros(_KINDS + 1, np.int64)
    for turn in range(2):
        for i in range(pu.shape[0]):
            for list_ in range(2):
                ref = pu[i, PU_REF0 + list_]
                if ref < 0:
                    continue
                later = differences[pu[i, PU_SEGMENT], list_, ref] > 0
                kind = (256 if later else 0) + 16 * ((pu[i, PU_H] >> 2) - 1) + (pu[i, PU_W] >> 2) - 1
                if turn == 0:
                    starts[kind + 1] += 1
                    continue
                at = starts[kind]
                starts[kind] += 1
                packed = np.int64(pu[i, PU_MV0 + list_])
                vector = vectors[at]
                vector.source = 1 if later else -1
                vector.w, vector.h = pu[i, PU_W], pu[i, PU_H]
                vector.dst_x = pu[i, PU_X] + (pu[i, PU_W] >> 1)
                vector.dst_y = pu[i, PU_Y] + (pu[i, PU_H] >> 1)
                vector.motion_x = ((packed & 0xFFFF) ^ 0x8000) - 0x8000
                vector.motion_y = packed >> 16
                vector.scale = 4
                distance[at] = distances[pu[i, PU_SEGMENT], list_, ref]
        if turn == 0:
            for kind in range(_KINDS):
                starts[kind + 1] += starts[kind]


def rms_maps(picture: Picture, largest: float) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square residual in 8-bit grey levels, float32 (height / 8, width / 8): of luma, of both chromas."""
    sps = picture.sps
    luma, chroma = np.empty((2, sps.height >> 3, sps.width >> 3), np.float32)
    block_rms(picture.energy, 1 << (sps.bit_depth_luma - 8), 1 << (sps.bit_depth_chroma - 8), largest, luma, chroma)
    return luma, chroma


def qp_and_bits(picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """int16 and float32 (rows, columns of 16x16 blocks): QP'Y (-1 where nothing was parsed) and bits."""
    sps = picture.sps
    shape = sps.height + 15 >> 4, sps.width + 15 >> 4
    qp, bits = np.empty(shape, np.int16), np.empty(shape, np.float32)
    block_maps(picture.cu, 6 * (sps.bit_depth_luma - 8), qp, bits)
    return qp, bits


def motion_vectors(picture: Picture, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the coded picture, dtype VECTOR in the order of `metadata.vector_order`, and a distance for each.

    distances: int16 (slice segments, 2, 16), by list and refIdx; returned int16, of the same rows.
    """
    differences = np.zeros(distances.shape, np.int32)
    for number, lists in enumerate(picture.lists):
        for list_, entries in enumerate(lists):
            for i, (_, poc, _) in enumerate(entries):
                differences[number, list_, i] = poc - picture.reference_poc
    count = int((picture.pu[:, PU_REF0 : PU_REF0 + 2] >= 0).sum())
    vectors, distance = np.empty(count, VECTOR), np.empty(count, np.int16)
    write_vectors(picture.pu, differences, distances, vectors, distance)
    return vectors, distance
