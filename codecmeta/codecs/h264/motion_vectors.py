"""The vectors of a picture as rows: the blocks, order and meaning of FFmpeg's AVMotionVector export, plus the distance.

FFmpeg exports one vector per 16x16, 16x8, 8x16 or 8x8 block and list; a split 8x8 block shows its first 4x4 block; a
B macroblock that uses a list anywhere has a row of that list for every partition, zero where it is not used.
"""

from __future__ import annotations

import numpy as np
from numba import from_dtype, int8, int16, int32, int64

from codecmeta.codecs.h264.fields import FieldPair
from codecmeta.codecs.h264.inter_prediction import mv_x, mv_y
from codecmeta.codecs.h264.picture import Picture
from codecmeta.codecs.h264.state import M_INTRA, M_L0, M_L1, M_SHAPE
from codecmeta.codecs.syntax.jit import VOID, kernel
from codecmeta.record.metadata import VECTOR

# columns of a row
SOURCE, WIDTH, HEIGHT, DST_X, DST_Y, MOTION_X, MOTION_Y, REF_IDX, SLICE = range(9)


@kernel(int64(int32[:, ::1], int32[:, ::1]), entry=True)
def count_rows(flags, macroblocks):
    """How many rows the picture has; `flags` int32 (rows, columns), `macroblocks` int32 (4, rows * columns)."""
    count = 0
    for y in range(flags.shape[0]):
        for x in range(flags.shape[1]):
            flag = flags[y, x]
            if flag & M_INTRA == 0 and macroblocks[3, y * flags.shape[1] + x] >= 0:
                shape = flag >> M_SHAPE & 3
                blocks = 1 if shape == 0 else (4 if shape == 3 else 2)
                count += blocks * (int(flag & M_L0 != 0) + int(flag & M_L1 != 0))
    return count


@kernel(int64(int32[:, ::1], int32[:, ::1], int32[:, :, ::1], int8[:, :, ::1], int32[:, ::1]), entry=True)
def write_rows(flags, macroblocks, vectors, references, rows):
    """Fill `rows` int32 (count, 9): source, w, h, dst_x, dst_y, motion_x, motion_y, refIdx, slice -> count."""
    at = 0
    columns = flags.shape[1]
    for y in range(flags.shape[0]):
        for x in range(columns):
            flag = flags[y, x]
            slice_number = macroblocks[3, y * columns + x]
            if flag & M_INTRA or slice_number < 0:
                continue
            shape = flag >> M_SHAPE & 3
            across, down = 1 + (shape >> 1), 1 + (shape & 1)
            width, height = 16 // across, 16 // down
            for list_ in range(2):
                if not flag & (M_L1 if list_ else M_L0):
                    continue
                for i in range(down):
                    for j in range(across):
                        packed = int64(vectors[list_, 4 * y + 1 + i * (4 // down), 4 * x + 1 + j * (4 // across)])
                        row = rows[at]
                        row[SOURCE] = 1 if list_ else -1
                        row[WIDTH], row[HEIGHT] = width, height
                        row[DST_X] = 16 * x + j * width + width // 2
                        row[DST_Y] = 16 * y + i * height + height // 2
                        row[MOTION_X], row[MOTION_Y] = mv_x(packed), mv_y(packed)
                        block = 2 * (i * (2 // down)) + j * (2 // across)
                        row[REF_IDX] = references[list_, y * columns + x, block]
                        row[SLICE] = slice_number
                        at += 1
    return at


@kernel(VOID(int32[:, ::1], int16[:, :, ::1], from_dtype(VECTOR)[::1], int16[::1]), entry=True)
def write_vectors(rows, distances, vectors, distance):
    """The rows as `vectors` in the order of `metadata.vector_order`, and beside them `distances` [slice][list][refIdx].

    The order has eight kinds: past and future, heights 8 and 16, widths 8 and 16; a counting sort keeps it stable.
    """
    starts = np.zeros(9, np.int64)
    for i in range(rows.shape[0]):
        starts[1 + 4 * (rows[i, SOURCE] > 0) + 2 * (rows[i, HEIGHT] > 8) + (rows[i, WIDTH] > 8)] += 1
    for kind in range(8):
        starts[kind + 1] += starts[kind]
    for i in range(rows.shape[0]):
        row = rows[i]
        kind = 4 * (row[SOURCE] > 0) + 2 * (row[HEIGHT] > 8) + (row[WIDTH] > 8)
        at = starts[kind]
        starts[kind] += 1
        vector = vectors[at]
        vector.source, vector.w, vector.h = row[SOURCE], row[WIDTH], row[HEIGHT]
        vector.dst_x, vector.dst_y = row[DST_X], row[DST_Y]
        vector.motion_x, vector.motion_y, vector.scale = row[MOTION_X], row[MOTION_Y], 4
        distance[at] = distances[row[SLICE], int(row[SOURCE] > 0), row[REF_IDX] + 1]


def motion_rows(picture: Picture | FieldPair) -> np.ndarray:
    """int32 (count, 9): columns SOURCE .. SLICE of this file; coded pixels, block centres, quarter pixels.

    REF_IDX is -1 in the rows of a list that the block does not use (zero vectors that FFmpeg exports too).
    """
    if isinstance(picture, FieldPair):
        return np.concatenate([_rows_of_field(picture, parity) for parity in (0, 1)])
    rows = picture_rows(picture)
    return _rows_of_pairs(picture, rows) if picture.mbaff else rows


def picture_rows(picture: Picture) -> np.ndarray:
    """`motion_rows` of a field, in its own lines; of an MBAFF frame as if there were frame macroblocks alone."""
    flags = picture.flags
    rows = np.empty((count_rows(flags, picture.macroblocks), 9), np.int32)
    write_rows(flags, picture.macroblocks, picture.vectors, picture.references, rows)
    return rows


def _rows_of_pairs(frame: Picture, rows: np.ndarray) -> np.ndarray:
    """The field macroblocks of an MBAFF frame refer to the fields of the lists by turns, from their own parity on
    (8.4.2.1). REF_IDX becomes that of the frame."""
    mb_y = rows[:, DST_Y] // 16
    of_fields = frame.field_macroblocks[mb_y, rows[:, DST_X] // 16]
    fields, parity = rows[of_fields], mb_y[of_fields] % 2
    top = 16 * (mb_y[of_fields] - parity)
    fields[:, DST_Y] -= top + 16 * parity
    opposite = np.where(fields[:, REF_IDX] >= 0, fields[:, REF_IDX] & 1, 0)
    fields[:, REF_IDX] >>= 1
    fields, repeats = _in_the_frame(fields, opposite * (1 - 2 * parity))
    fields[:, DST_Y] += top[repeats]
    at = np.concatenate([np.flatnonzero(~of_fields), np.flatnonzero(of_fields)[repeats]])
    return np.concatenate([rows[~of_fields], fields])[np.argsort(at, kind="stable")]


def _rows_of_field(pair: FieldPair, parity: int) -> np.ndarray:
    """The rows of one field in lines of the frame. Where it is not known which field a reference is, as in random
    access, even indices refer to fields of the same parity, as in lists that nobody modified (8.2.4.2.5)."""
    field = pair.fields[parity]
    rows = picture_rows(field)
    of = np.tile(np.arange(33) % 2 ^ parity, (max(len(field.headers), 1), 2, 1))
    for number, lists in enumerate(field.parities):
        for list_, parities in enumerate(lists):
            of[number, list_, : len(parities)] = parities
    offset = of[rows[:, SLICE], (rows[:, SOURCE] > 0).astype(int), rows[:, REF_IDX]] - parity
    rows[:, SLICE] += len(pair.fields[0].headers) * parity
    return _in_the_frame(rows, offset)[0]


def _in_the_frame(rows: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of fields in lines of the frame: blocks twice as high, those of 16 lines as two; vectors from a place in the
    frame to another one, which takes the parity of the reference. offset: that parity less their own. Beside them: of
    which row each is."""
    rows[:, MOTION_Y] = np.where(rows[:, REF_IDX] >= 0, 2 * rows[:, MOTION_Y] + 4 * offset, 0)
    tall = rows[:, HEIGHT] == 16
    rows[:, DST_Y] *= 2
    rows[:, HEIGHT] = 16
    at = np.repeat(np.arange(len(rows)), 1 + tall)
    lower = np.diff(at, prepend=-1) == 0
    result = rows[at]
    result[:, DST_Y] += np.where(lower, 8, np.where(tall[at], -8, 0))
    return result, at


def motion_vectors(picture: Picture | FieldPair, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the coded picture, dtype VECTOR in the order of `metadata.vector_order`, and a distance for each.

    distances: int16 (slices, 2, 33), by slice, list and refIdx + 1; returned int16, of the same rows.
    """
    rows = motion_rows(picture)
    vectors, distance = np.empty(len(rows), VECTOR), np.empty(len(rows), np.int16)
    write_vectors(rows, distances, vectors, distance)
    return vectors, distance
