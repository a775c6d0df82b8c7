"""Pictures by the batch: what `run_kernel.parse` takes on in one call, the rest by `PictureSequence`, one by one.

Both keep the same state, the decoded picture buffer and the pictures in it, the one in words and arrays, the other in
objects; it is handed over whenever the other one goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.h264 import run_state as w
from codecmeta.codecs.h264 import state
from codecmeta.codecs.h264.fields import FieldPair
from codecmeta.codecs.h264.parameter_sets import PPS, SPS
from codecmeta.codecs.h264.parsed_picture import Picture, coded_of
from codecmeta.codecs.h264.picture import NO_PICTURE
from codecmeta.codecs.h264.references import FRAME, Reference
from codecmeta.codecs.h264.run_kernel import PADDING, parse
from codecmeta.codecs.h264.sequence import PictureSequence
from codecmeta.codecs.h264.slice_header import refusal_of
from codecmeta.codecs.protocol import Coded
from codecmeta.record.metadata import VECTOR

_MOST_PACKETS = 32
_MOST_MACROBLOCKS = 1 << 17  # of a batch: its arrays take 8 MB, and 14 more for the most vectors there can be
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Batch:
    """Signals of some frames in decoding order: maps (frames, rows, columns), and all of their vectors."""

    luma: NDArray[np.float16]
    chroma: NDArray[np.float16]
    qp: NDArray[np.int16]
    bits: NDArray[np.float32]
    vectors: NDArray[np.void]
    distance: NDArray[np.int16]


class FrameOfBatch:
    """A whole frame in the words of `protocol.Picture`. at: its place among the maps of its batch, -1 where it was not
    wanted. row: in the frame table, which distances are counted from."""

    __slots__ = ("coded", "identity", "picture_type", "vectors_exact", "_at", "_batch", "_row", "_vectors")
    complete, half, second = True, False, False

    def __init__(self, coded: Coded, batch: Batch, words: list[int]) -> None:
        self.coded, self._batch = coded, batch
        _, _, self._row, _, self.picture_type, exact, self._at, first, count, self.identity = words
        self.vectors_exact, self._vectors = exact != 0, slice(first, first + count)

    def vectors(self, row: int, row_of: Mapping[int, int]) -> tuple[NDArray[np.void], NDArray[np.int16]]:
        """With the rows that the run was told."""
        vectors, distance = self._batch.vectors[self._vectors], self._batch.distance[self._vectors]
        if row != self._row:  # shown once more
            distance = np.where(distance != 0, distance + np.int16(self._row - row), distance)
        return vectors, distance

    def rms(self) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        return self._batch.luma[self._at], self._batch.chroma[self._at]

    def qp(self) -> NDArray[np.int16]:
        return self._batch.qp[self._at]

    def bits(self) -> NDArray[np.float32]:
        return self._batch.bits[self._at]


class PictureRuns:
    """Parses every picture of a stream from an IDR picture on, as `sequence` would."""

    def __init__(self, sequence: PictureSequence) -> None:
        self.sequence = sequence
        self._row_of: dict[int, int] = {}  # of references that the sequence has parsed
        self._words: _Words | None = None  # they hold the state, where it is not the sequence's

    def pictures(
        self, packets: Iterable[tuple[int, bytes]], rows: NDArray[np.int64], wanted: NDArray[np.bool_]
    ) -> Iterator[tuple[int, FrameOfBatch | Picture | FieldPair | None]]:
        """Packets with their indices, in decoding order -> these and their pictures, as `PictureSequence.parse`. rows,
        wanted: by index, the row of the frame table, -1 for none, and whether signals are asked for."""
        packets = iter(packets)
        spare: _Words | None = None
        while batch := list(islice(packets, spare.packets if spare is not None else _MOST_PACKETS)):
            given = _Given.of(batch, rows, wanted)
            done = 0
            while done < len(batch):
                self._words = words = self._words or self._taken_over(spare)
                if words is not None:
                    spare = words
                    until = min(done + words.packets, len(batch))
                    for frame in words.run(given, done, until):
                        yield batch[done][0], frame
                        done += 1
                    if done == until:
                        continue
                    self._hand_back(words)
                index, data = batch[done]
                picture = self.sequence.parse(data)
                if picture is not None:
                    self._remember(picture.identity, int(rows[index]))
                yield index, picture
                done += 1

    def _remember(self, identity: int, row: int) -> None:
        used = {reference.identity for reference in self.sequence.buffer.references}
        self._row_of[identity] = row
        self._row_of = {one: row for one, row in self._row_of.items() if one in used}

    def _taken_over(self, spare: _Words | None) -> _Words | None:
        """The state in words; None where it is one that runs do not know. spare: words that are not needed any more."""
        sequence = self.sequence
        buffer = sequence.buffer
        if buffer.previous is None or buffer.lost or sequence.waits_for_a_field:
            return None
        sps = buffer.previous.sps
        references = buffer.references
        if (
            not sps.frame_mbs_only_flag
            or sps.pic_order_cnt_type == 1
            or sps.chroma_array_type == 3
            or sps.qpprime_y_zero_transform_bypass_flag
            or any({r.short, r.long} != {0, FRAME} for r in references)
        ):
            return None
        words = spare if spare is not None and spare.fits(sps) else _Words(sps, sequence)
        if len(references) >= min(len(words.pv), w.MOST_REFERENCES):
            return None
        return words if words.take_over(sps, self._row_of) else None

    def _hand_back(self, words: _Words) -> None:
        self._words = None
        self._row_of = words.hand_back()


@dataclass(frozen=True)
class _Given:
    """Packets, one behind another, and what is asked of each (run_state.F_*)."""

    data: NDArray[np.uint8]
    asked: NDArray[np.int64]

    @classmethod
    def of(cls, batch: list[tuple[int, bytes]], rows: NDArray[np.int64], wanted: NDArray[np.bool_]) -> _Given:
        asked = np.zeros((len(batch), w.F_SIZE), np.int64)
        indices = [index for index, _ in batch]
        asked[:, w.F_END] = np.cumsum([len(data) for _, data in batch])
        asked[1:, w.F_BEGIN] = asked[:-1, w.F_END]
        asked[:, w.F_ROW], asked[:, w.F_WANTED] = rows[indices], wanted[indices]
        return cls(np.frombuffer(bytearray().join([data for _, data in batch]), np.uint8), asked)


@dataclass
class _Words:
    """The state and the work areas of `run_kernel.parse`, named as there, for pictures of the size of `sps`."""

    sps: SPS
    sequence: PictureSequence
    d: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(PADDING, np.uint8))
    lent: dict[int, int] = field(default_factory=dict)  # rows of pictures that the sequence has, by identity

    def __post_init__(self) -> None:
        width, height = self.sps.pic_width_in_mbs, self.sps.frame_height_in_mbs
        self.mbs = width * height
        self.packets = min(max(_MOST_MACROBLOCKS // self.mbs, 2), _MOST_PACKETS)
        slots = min(max(self.sps.max_num_ref_frames, 1), 16) + 2
        self.b, self.h = np.zeros(w.B_SIZE, np.int64), np.zeros(w.H_SIZE, np.int64)
        self.y = np.zeros(256 * w.P_SIZE, np.int64)
        self.w = np.zeros((1, 1), np.float32)
        self.k = np.zeros(state.K_MAP + 64 * w.MOST_SLICES, np.int32)
        self.e = np.zeros((32 if self.sps.chroma_array_type == 2 else 24) * self.mbs, np.float32)
        self.pv = np.empty((slots, 2 * (4 * height + 1) * (4 * width + 4)), np.int32)
        self.pr = np.empty((slots, 8 * self.mbs), np.int8)
        self.pm = np.empty((slots, 4 * self.mbs), np.int32)
        self.names = np.empty((slots, 1 + w.NAMES), np.int32)
        self.distances = np.zeros(66 * w.MOST_SLICES, np.int16)
        most = 8 * self.mbs * self.packets  # four partitions of a macroblock in two lists
        self.vectors, self.distance = np.empty(most * VECTOR.itemsize // 4, np.int32), np.empty(most, np.int16)

    def fits(self, sps: SPS) -> bool:
        """Whether the arrays are large enough for another sequence parameter set of the stream."""
        mine = self.sps
        return (mine.pic_width_in_mbs, mine.frame_height_in_mbs, mine.chroma_array_type, mine.max_num_ref_frames) == (
            *(sps.pic_width_in_mbs, sps.frame_height_in_mbs, sps.chroma_array_type, sps.max_num_ref_frames),
        )

    def run(self, given: _Given, first: int, until: int) -> list[FrameOfBatch]:
        """The frames of as many of the packets [first, until) as are for a run, `packets` at most."""
        asked = given.asked[first:until]
        if len(self.d) < (asked[:, w.F_END] - asked[:, w.F_BEGIN]).max() + PADDING:
            self.d = np.zeros(len(given.data) + PADDING, np.uint8)
        parser, (width, height) = self.sequence.parser, (self.sps.pic_width_in_mbs, self.sps.frame_height_in_mbs)
        maps = min(int(asked[:, w.F_WANTED].sum()) + 1, len(asked))  # what is not wanted goes to the next free one
        luma, chroma = np.empty((2, maps, 4 * self.mbs), np.uint16)
        qp, bits = np.empty((maps, self.mbs), np.int16), np.empty((maps, self.mbs), np.float32)
        done = parse(
            *(parser.s, parser.c, self.d, parser.n, parser.t, self.e, parser.g, parser.q, self.k),
            *NO_PICTURE,
            *(self.w, given.data, self.b, self.y, self.h, asked, self.distances),
            *(self.pv, self.pr, self.pm, self.names),
            *(_LARGEST, luma, chroma, qp, bits, self.vectors, self.distance),
        )
        ends = asked[:done, w.F_VECTORS] + asked[:done, w.F_COUNT]
        count = int(ends.max(initial=0))
        batch = Batch(
            luma.view(np.float16).reshape(maps, 2 * height, 2 * width),
            chroma.view(np.float16).reshape(maps, 2 * height, 2 * width),
            qp.reshape(maps, height, width),
            bits.reshape(maps, height, width),
            self.vectors[: count * VECTOR.itemsize // 4].copy().view(VECTOR),
            self.distance[:count].copy(),
        )
        coded = coded_of(self.sps)
        return [FrameOfBatch(coded, batch, words) for words in asked[:done].tolist()]

    def take_over(self, sps: SPS, row_of: dict[int, int]) -> bool:
        """The state of the sequence into words -> whether that can be."""
        buffer, pictures, b = self.sequence.buffer, self.sequence.pictures, self.b
        self.sps = sps
        self._prepare()
        b[w.IDENTITY], b[w.COUNT] = buffer.identity, len(buffer.references)
        b[w.PREVIOUS_MSB : w.PREVIOUS_REFERENCE + 1] = buffer.counters
        used = {reference.identity for reference in buffer.references}
        kept = {identity: slot for identity, slot in self.lent.items() if identity in used}
        free = [slot for slot in range(len(self.pv)) if slot not in kept.values()]
        for at, reference in enumerate(buffer.references):
            words = b[w.REFERENCES + w.R_SIZE * at :][: w.R_SIZE]
            words[w.R_IDENTITY], words[w.R_FRAME_NUM], words[w.R_ORDER] = (
                reference.identity,
                reference.frame_num,
                reference.order,
            )
            words[w.R_TOP], words[w.R_BOTTOM] = reference.orders
            words[w.R_USE] = w.LONG if reference.long else w.SHORT
            words[w.R_LONG_INDEX], words[w.R_WRAP] = reference.long_term_frame_idx, reference.frame_num_wrap
            words[w.R_SLOT], words[w.R_SOUND] = -1, 0
            words[w.R_ROW] = row_of.get(reference.identity, -1)
            for picture in pictures.get(reference.identity, ()):
                if picture.parity is not None or picture.mbaff or len(picture.lists) > w.MOST_SLICES:
                    return False
                if (picture.sps.width, picture.sps.height) == (sps.width, sps.height):
                    words[w.R_SOUND] = picture.vectors_exact and picture.complete
                    if (slot := kept.get(reference.identity, -1)) < 0:
                        self._store(picture, slot := free.pop())
                    words[w.R_SLOT] = slot
        return True

    def _store(self, picture: Picture, slot: int) -> None:
        """A picture that was parsed by itself as a row of the arrays."""
        for rows, values in ((self.pv, picture.vectors), (self.pr, picture.references), (self.pm, picture.macroblocks)):
            rows[slot] = values.reshape(-1)
        names = self.names[slot]
        names[0] = len(picture.lists)
        lists = names[1:].reshape(-1, 2, 32)
        lists[: len(picture.lists)] = w.NO_ENTRY
        for number, pair in enumerate(picture.lists):
            for list_, identities in enumerate(pair):
                lists[number, list_, : len(identities)] = identities

    def _prepare(self) -> None:
        """Parameter sets as words, and what the macroblocks ask of them."""
        parser, sps, b, s = self.sequence.parser, self.sps, self.b, self.sequence.parser.s
        parser.fit(sps.pic_width_in_mbs, sps.frame_height_in_mbs)
        b[w.LOG2_FRAME_NUM], b[w.ORDER_TYPE] = sps.log2_max_frame_num, sps.pic_order_cnt_type
        b[w.LOG2_ORDER_LSB], b[w.MAX_REFERENCES] = sps.log2_max_pic_order_cnt_lsb, sps.max_num_ref_frames
        b[w.LENGTH_SIZE] = parser.nal_length_size or 0
        self.y[:] = 0
        weights: list[NDArray[np.float32]] = []
        for number, pps in parser.sets.pps.items():
            of = parser.sets.sps.get(pps.seq_parameter_set_id)
            if of is sps and refusal_of(sps, pps) is None:
                self.y[w.P_SIZE * number :][: w.P_SIZE] = _words_of(pps, len(weights))
                weights.append(parser.weights_of(pps))
                parser.prepare_sets(sps, pps)
        self.w = np.stack(weights) if weights else np.zeros((1, 1), np.float32)
        s[state.FIELD] = 0

    def hand_back(self) -> dict[int, int]:
        """The state to the sequence, whose pictures are rows of the arrays until it is taken over again -> the rows of
        the frame table that show them."""
        buffer, b = self.sequence.buffer, self.b.tolist()
        references, pictures, row_of = [], {}, {}
        self.lent = {}
        for at in range(b[w.COUNT]):
            words = b[w.REFERENCES + w.R_SIZE * at :][: w.R_SIZE]
            long = words[w.R_USE] == w.LONG
            reference = Reference(
                words[w.R_IDENTITY],
                words[w.R_FRAME_NUM],
                words[w.R_ORDER],
                [words[w.R_TOP], words[w.R_BOTTOM]],
                0 if long else FRAME,
                FRAME if long else 0,
                words[w.R_LONG_INDEX],
                words[w.R_WRAP],
            )
            references.append(reference)
            if words[w.R_SLOT] >= 0:
                pictures[reference.identity] = [self._picture(words)]
                self.lent[reference.identity] = words[w.R_SLOT]
            row_of[reference.identity] = words[w.R_ROW]
        buffer.references, buffer.identity = references, b[w.IDENTITY]
        buffer.counters = b[w.PREVIOUS_MSB : w.PREVIOUS_REFERENCE + 1]
        self.sequence.pictures = pictures
        self.sequence.parser.forget_sets()
        self.e[:] = 0  # what broke off may have left its energy
        return row_of

    def _picture(self, words: list[int]) -> Picture:
        slot = words[w.R_SLOT]
        names = self.names[slot]
        lists = names[1:].reshape(-1, 2, 32)[: names[0]].tolist()
        stride = 4 * self.sps.pic_width_in_mbs + 4
        return Picture(
            self.sps,
            [],
            self.pm[slot].reshape(4, -1),
            self.e,
            self.pv[slot].reshape(2, -1, stride),
            self.pr[slot].reshape(2, -1, 4),
            identity=words[w.R_IDENTITY],
            order=words[w.R_ORDER],
            lists=[(_entries(pair[0]), _entries(pair[1])) for pair in lists],
            vectors_exact=bool(words[w.R_SOUND]),
        )


def _entries(names: list[int]) -> tuple[int, ...]:
    return tuple(one for one in names if one != w.NO_ENTRY)


def _words_of(pps: PPS, weights: int) -> list[int]:
    words = [0] * w.P_SIZE
    words[w.P_KNOWN], words[w.P_WEIGHTS] = 1, weights
    words[w.P_CABAC] = pps.entropy_coding_mode_flag
    words[w.P_BOTTOM_ORDER] = pps.bottom_field_pic_order_in_frame_present_flag
    words[w.P_REFS_L0], words[w.P_REFS_L1] = pps.num_ref_idx_l0_default_active, pps.num_ref_idx_l1_default_active
    words[w.P_WEIGHTED], words[w.P_BIPRED] = pps.weighted_pred_flag, pps.weighted_bipred_idc
    words[w.P_QP] = pps.pic_init_qp
    words[w.P_CB_OFFSET], words[w.P_CR_OFFSET] = pps.chroma_qp_index_offset, pps.second_chroma_qp_index_offset
    words[w.P_DEBLOCKING] = pps.deblocking_filter_control_present_flag
    words[w.P_REDUNDANT] = pps.redundant_pic_cnt_present_flag
    words[w.P_TRANSFORM_8X8] = pps.transform_8x8_mode_flag
    return words
