"""Clause 8.4.1.2.1: the co-located picture, seen from the picture that predicts from it.

The kernels know co-located pictures of their own kind only. A frame that is seen from a field, or a field from a frame,
becomes arrays of the other kind here, with the blocks in the places where Table 8-6 finds them and, for temporal
direct prediction, vectors in the units of the current picture (8.4.1.2.3). Both exist only in streams that may have
fields, which all have direct_8x8_inference_flag: corner blocks are all that is looked at.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.h264.picture import Picture
from codecmeta.codecs.h264.references import Entry, Field, Reference
from codecmeta.codecs.h264.state import K_MAP, K_SCALE, M_FIELD, M_INTRA, M_SHAPE

_SHAPE = 3 << M_SHAPE
_MOST = 32  # entries of a list


@dataclass
class Colocated:
    """What `PictureParser.parse_slice` wants of it. keys: [slice][list][refIdx], what its references are called in the
    lists of the current picture (`key_of`). sound: nothing in it is damaged or estimated."""

    vectors: NDArray[np.int32]
    references: NDArray[np.int8]
    macroblocks: NDArray[np.int32]
    keys: Sequence[tuple[Sequence[Hashable], Sequence[Hashable]]]
    sound: bool
    parity: int = 0  # of an MBAFF frame: of the field macroblock that a frame macroblock sees


def key_of(identity: int, parity: int | None) -> Hashable:
    """What a frame, or a field of it, is called."""
    return identity if parity is None else (identity, parity)


def colocated_of(
    picture: Picture, order: int, entry: Entry, found: Sequence[Picture], orders: Sequence[int], temporal: bool
) -> Colocated | None:
    """Of RefPicList1[0], `entry`, whose frame was coded as the pictures `found` (one frame, or fields) with the picture
    order counts `orders` of top and bottom field; `order`: of the current picture."""
    if entry is None or not found:
        return None
    frame = found[0].parity is None
    by_parity = {one.parity: one for one in found}
    if picture.parity is None:
        nearer = 0 if abs(orders[0] - order) < abs(orders[1] - order) else 1
        if frame:
            return _as_it_is(found[0], nearer)
        if picture.mbaff:
            return _fields_for_pairs(by_parity[0], by_parity[1], temporal, nearer) if len(by_parity) == 2 else None
        wanted: int | None = nearer
    elif frame:
        return _frame_for_a_field(found[0], picture.parity, temporal)
    else:
        wanted = entry.parity
    of_parity = by_parity.get(wanted)
    if of_parity is None:
        return None
    return _field_for_a_frame(of_parity, temporal) if picture.parity is None else _as_it_is(of_parity)


def _sound(picture: Picture) -> bool:
    return picture.vectors_exact and picture.complete


def _as_it_is(picture: Picture, nearer: int = 0) -> Colocated:
    keys: Sequence[tuple[Sequence[Hashable], Sequence[Hashable]]] = picture.lists
    if picture.parity is not None:
        keys = [
            (list(zip(lists[0], parities[0], strict=True)), list(zip(lists[1], parities[1], strict=True)))
            for lists, parities in zip(picture.lists, picture.parities, strict=True)
        ]
    return Colocated(picture.vectors, picture.references, picture.macroblocks, keys, _sound(picture), nearer)


def _scaled(vectors: NDArray[np.int32], y: NDArray[np.int32]) -> NDArray[np.int32]:
    """Packed vectors with other vertical components."""
    return (y << 16) | (vectors & 0xFFFF)


def _field_for_a_frame(field: Picture, temporal: bool) -> Colocated:
    """FRM and FLD of Table 8-6: two frame macroblocks over each field macroblock, of which each sees one half."""
    lists, _, stride = field.vectors.shape
    vectors = np.empty((lists, 8 * field.rows + 1, stride), np.int32)
    vectors[:, 0] = 0
    vectors[:, 1:] = np.repeat(field.vectors[:, 1:], 2, axis=1)
    if temporal:
        vectors = _scaled(vectors, (vectors >> 16) * 2)
    halves = field.references.reshape(2, field.rows, field.columns, 2, 2)  # rows and columns of 8x8 blocks
    seen = np.repeat(halves.transpose(0, 1, 3, 2, 4)[..., None, :], 2, axis=-2)
    macroblocks = np.zeros((4, 2 * field.rows, field.columns), np.int32)
    macroblocks[0] = np.repeat(field.flags & _SHAPE, 2, axis=0)
    macroblocks[3] = np.repeat(field.macroblocks[3].reshape(field.rows, -1), 2, axis=0)
    references = np.ascontiguousarray(seen).reshape(2, -1, 4)
    return Colocated(vectors, references, macroblocks.reshape(4, -1), field.lists, _sound(field))


def _frame_for_a_field(frame: Picture, parity: int, temporal: bool) -> Colocated:
    """FLD and FRM of Table 8-6: the upper blocks out of the upper macroblock of a pair, the lower out of the lower. FLD
    and AFRM: of a pair of field macroblocks the one of the current parity, as it is."""
    rows = frame.rows // 2
    of_fields = frame.field_macroblocks[::2]
    lists, _, stride = frame.vectors.shape
    pairs = frame.vectors[:, 1:].reshape(lists, rows, 8, stride)
    seen = np.repeat(pairs[:, :, [0, 6]], 2, axis=2)
    if temporal:
        y = seen >> 16
        seen = _scaled(seen, (y + (y < 0)) >> 1)  # the standard's / truncates towards zero
    columns = np.zeros((rows, 1, stride), bool)
    columns[:, 0, 1 : 4 * frame.columns + 1] = np.repeat(of_fields, 4, axis=1)
    vectors = np.zeros((lists, 4 * rows + 1, stride), np.int32)
    fields = pairs[:, :, 4 * parity : 4 * parity + 4]
    vectors[:, 1:] = np.where(columns, fields, seen).reshape(lists, 4 * rows, stride)
    both = frame.references.reshape(2, rows, 2, frame.columns, 4)
    numbers = frame.macroblocks[3].reshape(rows, 2, frame.columns)
    named, keys = _named(frame, both, numbers, parity) if temporal else (both, [])
    references = np.concatenate([named[:, :, 0, :, :2], named[:, :, 1, :, 2:]], axis=-1)
    references = np.where(of_fields[..., None], named[:, :, parity], references)
    macroblocks = np.zeros((4, rows, frame.columns), np.int32)
    flags = frame.flags.reshape(rows, 2, frame.columns)
    whole = ((flags & M_INTRA != 0) | (flags & _SHAPE == 0)).all(1)
    shape = np.where(whole, 1 << M_SHAPE, _SHAPE)  # as FFmpeg exports direct macroblocks over such pairs
    macroblocks[0] = np.where(of_fields, flags[:, parity] & _SHAPE, shape)
    macroblocks[3] = np.where((numbers >= 0).all(1), 0, -1)
    return Colocated(vectors, references.reshape(2, -1, 4), macroblocks.reshape(4, -1), keys, _sound(frame))


def _named(
    frame: Picture, references: NDArray[np.int8], numbers: NDArray[np.int32], parity: int
) -> tuple[NDArray[np.int8], list[tuple[list[Hashable], list[Hashable]]]]:
    """Reference indices by one table for the whole picture, since both macroblocks of a pair may lie in different
    slices; the table has the fields of `parity` of the frames that were referred to, and the fields that field
    macroblocks of that parity referred to. Spatial direct prediction asks for the indices as they were."""
    keys: dict[Hashable, int] = {}
    named = np.full((2, max(len(frame.lists), 1), 2, _MOST + 1), -1, np.int8)  # the last one for refIdx -1
    named[..., :_MOST] = 0
    for number, pair in enumerate(frame.lists):
        for list_, identities in enumerate(pair):
            for i, identity in enumerate(identities):
                named[0, number, list_, i] = _name(keys, key_of(identity, parity))
                if frame.mbaff and 2 * i < _MOST:
                    for opposite in (0, 1):
                        key = key_of(identity, parity ^ opposite)
                        named[1, number, list_, 2 * i + opposite] = _name(keys, key)
    of_fields = frame.field_macroblocks.reshape(numbers.shape)[..., None].astype(int)
    own = np.maximum(numbers[..., None], 0)
    table = [named[of_fields, own, list_, references[list_]] for list_ in range(2)]
    names = list(keys)[:_MOST]
    return np.stack(table), [(names, names)]


def _name(keys: dict[Hashable, int], key: Hashable) -> int:
    return min(keys.setdefault(key, len(keys)), _MOST - 1)


def _fields_for_pairs(top: Picture, bottom: Picture, temporal: bool, nearer: int) -> Colocated:
    """AFRM and FLD of Table 8-6: pairs of field macroblocks. For temporal direct prediction their reference indices are
    twice the index of a frame in one table, and one more for its field of the other parity."""
    fields, rows = (top, bottom), top.rows
    lists, _, stride = top.vectors.shape
    vectors = np.zeros((lists, 8 * rows + 1, stride), np.int32)
    in_rows = [one.vectors[:, 1:].reshape(lists, rows, 4, stride) for one in fields]
    vectors[:, 1:] = np.stack(in_rows, 2).reshape(lists, 8 * rows, stride)
    keys: dict[Hashable, int] = {}
    references = []
    for parity, field in enumerate(fields):
        named = np.full((max(len(field.lists), 1), 2, _MOST + 1), -1, np.int8)  # the last one for refIdx -1
        named[:, :, :_MOST] = 0
        for number, (identities, parities) in enumerate(zip(field.lists, field.parities, strict=True)):
            for list_ in range(2):
                for i, (identity, of) in enumerate(zip(identities[list_], parities[list_], strict=True)):
                    named[number, list_, i] = 2 * _name(keys, key_of(identity, None)) + (of != parity)
        own = np.maximum(field.macroblocks[3], 0)[:, None]
        table = [named[own, list_, field.references[list_]] for list_ in range(2)]
        references.append((np.stack(table) if temporal else field.references).reshape(2, rows, -1, 4))
    macroblocks = np.zeros((4, rows, 2, top.columns), np.int32)
    macroblocks[0] = np.stack([one.flags | 1 << M_FIELD for one in fields], 1)
    macroblocks[3] = np.stack([np.where(one.parsed, 0, -1) for one in fields], 1)
    return Colocated(
        vectors,
        np.stack(references, 2).reshape(2, -1, 4),
        macroblocks.reshape(4, -1),
        [(list(keys), list(keys))],
        _sound(top) and _sound(bottom),
        nearer,
    )


def temporal_direct(
    order: int, lists: tuple[Sequence[Entry], Sequence[Entry]], colocated: Colocated
) -> NDArray[np.int32]:
    """DistScaleFactor by refIdxL0 and MapColToList0 by slice, list and refIdxCol of the co-located picture (8.4.1.2.3).

    int32, as state.K_SCALE and state.K_MAP lay it out. A picture is found by what it is, not by its order count: the
    lowest refIdxL0 that refers to the picture the co-located block referred to. order: of the current picture.
    """
    k = np.zeros(K_MAP + 64 * max(len(colocated.keys), 1), np.int32)
    list_0, list_1 = lists
    k[K_SCALE : K_SCALE + len(list_0)] = _scales(order, list_0, list_1[0])
    index: dict[Hashable, int] = {}
    for i, reference in enumerate(list_0):
        if reference is not None:
            index.setdefault(key_of(reference.identity, reference.parity), i)
    for slice_number, pair in enumerate(colocated.keys):
        for list_, names in enumerate(pair):
            for i, name in enumerate(names):
                k[K_MAP + 64 * slice_number + 32 * list_ + i] = index.get(name, 0)
    return k


def temporal_direct_of_pairs(
    orders: Sequence[int], lists: tuple[Sequence[Entry], Sequence[Entry]], colocated: Colocated
) -> NDArray[np.int32]:
    """`temporal_direct` of an MBAFF frame, as mbaff/colocated.py lays it out. orders: TopFieldOrderCnt and
    BottomFieldOrderCnt of the current frame. Field macroblocks refer to the fields of the lists by turns, from their
    own parity on (8.4.2.1)."""
    of_frames = temporal_direct(min(orders), lists, colocated)
    k = np.zeros(3 * _MOST + len(of_frames) - K_MAP, np.int32)
    k[:_MOST] = of_frames[:_MOST]
    k[3 * _MOST :] = of_frames[K_MAP:]
    for parity in range(2):
        fields = [
            Field(r, parity ^ opposite) if isinstance(r, Reference) else None for r in lists[0] for opposite in (0, 1)
        ]
        first = lists[1][0]
        last = Field(first, parity) if isinstance(first, Reference) else None
        k[_MOST * (1 + parity) :][: len(fields)] = _scales(orders[parity], fields, last)
    return k


def _scales(order: int, references: Sequence[Entry], last: Entry) -> list[int]:
    """DistScaleFactor of each, 0 for a missing one."""
    scales = []
    for reference in references:
        scale = 0 if reference is None else 256
        if reference and not reference.long_term and last is not None and last.order != reference.order:
            tb = min(max(order - reference.order, -128), 127)
            td = min(max(last.order - reference.order, -128), 127)
            tx = int((16384 + abs(int(td / 2))) / td)  # the standard's / truncates towards zero
            scale = min(max((tb * tx + 32) >> 6, -1024), 1023)
        scales.append(scale)
    return scales
