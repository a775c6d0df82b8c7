"""Writes H.264 that no encoder at hand makes: CAVLC pictures of random macroblocks, by the syntax of clause 7.3.

Residuals are present but zero, so a decoded block is its prediction; I_PCM macroblocks bring the picture content.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from codecmeta.codecs.h264.tables import table
from tests.support.bits import Bits, unit
from tests.support.h264_cabac import Coding, IntraSlice

P, B, I = range(3)  # noqa: E741  slice_type
INTER_CODE_NUM = {pattern: code for code, pattern in enumerate(table("coded_block_pattern_420_inter"))}
# Table 7-14: shape (0 16x16, 1 16x8, 2 8x16) and the lists of each partition of mb_type 1..21
B_LISTS = [(1,), (2,), (3,)] + [
    lists
    for lists in ((1, 1), (2, 2), (1, 2), (2, 1), (1, 3), (2, 3), (3, 1), (3, 2), (3, 3))
    for _ in ("16x8", "8x16")
]
B_SUB_LISTS = (0, 1, 2, 3, 1, 1, 2, 2, 3, 3, 1, 2, 3)  # Table 7-18; 0: direct
B_SUB_PARTS = (4, 1, 1, 1, 2, 2, 2, 2, 2, 2, 4, 4, 4)


@dataclass
class Stream:
    """Parameter sets of a stream of `width` x `height` macroblocks."""

    width: int = 5
    height: int = 4
    num_ref_frames: int = 4
    direct_8x8_inference: bool = False
    transform_8x8_mode: bool = True
    interlaced: bool = False  # pictures may be fields; `height` macroblocks of a frame, an even number
    mbaff: bool = False  # and frames have pairs of macroblocks (of CAVLC)
    cabac: bool = False
    coding: Coding = field(default_factory=Coding)  # of slices in CABAC
    seed: int = 0
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def parameter_sets(self) -> bytes:
        sps = Bits()
        whole, lossless = self.coding.chroma_444, self.coding.lossless
        for value in (244 if whole or lossless else 100, 0, 40):  # High 4:4:4 Predictive, High; level 4
            sps.u(8, value)
        for value in (0, 3 if whole else 1):  # id, 4:4:4 or 4:2:0
            sps.ue(value)
        if whole:
            sps.flag(0)  # separate_colour_plane_flag
        for value in (0, 0):  # 8 bits
            sps.ue(value)
        sps.flag(lossless)
        sps.flag(0)  # no scaling matrices
        for value in (0, 0, 4, self.num_ref_frames):  # frame_num of 4 bits, pic_order_cnt_type 0, lsb of 8 bits
            sps.ue(value)
        sps.u(1, 0)
        sps.ue(self.width - 1)
        sps.ue((self.height >> self.interlaced) - 1)
        sps.flag(not self.interlaced)  # frame_mbs_only_flag
        if self.interlaced:
            sps.flag(self.mbaff)
        for flag in (self.direct_8x8_inference or self.interlaced, 0, 1):  # no cropping
            sps.flag(flag)
        sps.u(8, 0)  # VUI: nothing,
        sps.u(2, 0b11)  # but bitstream_restriction_flag: how many pictures FFmpeg waits for before it shows one
        for value in (0, 0, 16, 16, 2, self.num_ref_frames):
            sps.ue(value)
        pps = Bits()
        pps.ue(0)
        pps.ue(0)
        pps.flag(self.cabac)
        pps.flag(0)
        for value in (0, 0, 0):  # one slice group, one reference per list by default
            pps.ue(value)
        pps.u(3, 0)  # no weighted prediction
        for _ in range(3):
            pps.se(0)
        pps.u(3, 0b100)  # deblocking_filter_control_present_flag
        pps.u(1, int(self.transform_8x8_mode))
        pps.u(1, 0)
        pps.se(0)
        settings = b""
        if self.coding.old_x264:  # user_data_unregistered SEI (D.1.6): by it FFmpeg knows
            text = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef") + b"x264 - core 148 r0\0"
            settings = unit(b"\x06", bytes([5, len(text)]) + text + b"\x80")
        return unit(b"\x67", sps.rbsp()) + unit(b"\x68", pps.rbsp()) + settings

    def picture(
        self,
        slice_type: int,
        frame_num: int,
        order: int,
        *,
        idr: bool = False,
        reference: bool = True,
        active: tuple[int, int] = (1, 1),
        spatial: bool = True,
        modification: tuple[tuple[int, int], ...] = (),
        operations: tuple[tuple[int, ...], ...] = (),
        pcm: float = 0.0,
        parity: int | None = None,
        first_mb: int = 0,
    ) -> bytes:
        """One slice, a whole picture. order: pic_order_cnt_lsb. modification: of list 0, pairs as in 7.3.3.1.
        operations: memory management control operations with their operands. pcm: share of I_PCM macroblocks; without
        any residual otherwise, because a total_coeff of 16 beside it would choose other tables. parity: of a field.
        first_mb: where the slice says that it begins."""
        bits = Bits()
        for value in (first_mb, slice_type, 0):
            bits.ue(value)
        bits.u(4, frame_num % 16)
        if self.interlaced:
            bits.flag(parity is not None)
            if parity is not None:
                bits.flag(parity)
        if idr:
            bits.ue(0)
        bits.u(8, order % 256)
        if slice_type == B:
            bits.u(1, int(spatial))
        if slice_type != I:
            bits.u(1, 1)
            bits.ue(active[0] - 1)
            if slice_type == B:
                bits.ue(active[1] - 1)
            bits.u(1, int(bool(modification)))
            for step in modification:
                bits.ue(step[0])
                bits.ue(step[1])
            if modification:
                bits.ue(3)
            if slice_type == B:
                bits.u(1, 0)
        if reference and idr:
            bits.u(2, 0)
        elif reference:
            bits.u(1, int(bool(operations)))
            for operation in operations:
                for value in operation:
                    bits.ue(value)
            if operations:
                bits.ue(0)
        bits.se(-26 if self.coding.lossless else 0)  # slice_qp_delta
        bits.ue(1)  # no deblocking
        header = bytes([(0x60 if reference else 0) | (5 if idr else 1)])
        if self.cabac:  # I slices alone
            digits = "".join(bits.digits)
            digits += "1" * (-len(digits) % 8)  # cabac_alignment_one_bit
            coding = replace(self.coding, field=parity is not None)
            data = IntraSlice(self.random, self.width, self.height >> coding.field, coding).e.data()
            return unit(header, int(digits, 2).to_bytes(len(digits) // 8, "big") + data)
        pairs = self.mbaff and parity is None
        self._macroblocks(bits, slice_type, active, pcm, self.width * self.height >> (parity is not None), pairs)
        return unit(header, bits.rbsp())

    def _macroblocks(
        self, bits: Bits, slice_type: int, frame_active: tuple[int, int], pcm: float, count: int, pairs: bool
    ) -> None:
        skipped, active, said = 0, frame_active, False
        for number in range(count):
            if pairs and number % 2 == 0:
                field, said = int(self.random.integers(2)), False
                active = frame_active[0] << field, frame_active[1] << field
            if slice_type != I and self.random.random() < 0.3:
                skipped += 1
                continue
            if slice_type != I:
                bits.ue(skipped)
                skipped = 0
            if pairs and not said:
                bits.u(1, field)  # mb_field_decoding_flag
                said = True
            if slice_type == I or self.random.random() < pcm:
                bits.ue((5, 23, 0)[slice_type] + 25)
                bits.align()
                for value in self.random.integers(1, 255, 384):
                    bits.u(8, int(value))
            else:
                self._inter(bits, slice_type, active, residual=not pcm)
        if skipped:
            bits.ue(skipped)

    def _inter(self, bits: Bits, slice_type: int, active: tuple[int, int], residual: bool) -> None:
        may_be_8x8 = True
        if slice_type == B:
            mb_type = int(self.random.choice([0, 22, self.random.integers(1, 22)]))
        else:
            mb_type = int(self.random.integers(0, 4))
        bits.ue(mb_type)
        if slice_type == B and mb_type == 0:
            may_be_8x8 = self.direct_8x8_inference or self.interlaced
        elif mb_type == (22 if slice_type == B else 3):
            may_be_8x8 = self._sub_macroblocks(bits, slice_type, active)
        else:
            lists = B_LISTS[mb_type - 1] if slice_type == B else (1,) * min(mb_type + 1, 2)
            self._references_and_vectors(bits, lists, (1,) * len(lists), active)
        pattern = int(self.random.integers(0, 48)) if residual else 0
        bits.ue(INTER_CODE_NUM[pattern])
        if pattern & 15 and self.transform_8x8_mode and may_be_8x8:
            bits.u(1, int(self.random.integers(2)))
        if pattern:
            bits.se(int(self.random.integers(-1, 2)))
            blocks = 4 * bin(pattern & 15).count("1")
            bits.digits.append("1" * blocks)  # coeff_token: nothing, nC 0
            if pattern >> 4:
                bits.digits.append("0101" + "1" * (8 * (pattern >> 5)))

    def _sub_macroblocks(self, bits: Bits, slice_type: int, active: tuple[int, int]) -> bool:
        types = [int(one) for one in self.random.integers(0, 13 if slice_type == B else 4, 4)]
        if slice_type == B:
            types = [0 if self.random.random() < 0.4 else one for one in types]
        for one in types:
            bits.ue(one)
        if slice_type == B:
            lists, parts = [B_SUB_LISTS[one] for one in types], [B_SUB_PARTS[one] for one in types]
            inference = self.direct_8x8_inference or self.interlaced
            may_be_8x8 = all(inference if one == 0 else one < 4 for one in types)
        else:
            lists, parts = [1] * 4, [(1, 2, 2, 4)[one] for one in types]
            may_be_8x8 = not any(types)
        self._references_and_vectors(bits, tuple(lists), tuple(parts), active)
        return may_be_8x8

    def _references_and_vectors(
        self, bits: Bits, lists: tuple[int, ...], parts: tuple[int, ...], active: tuple[int, int]
    ) -> None:
        for list_ in range(2):
            for one in lists:
                if one >> list_ & 1 and active[list_] > 1:
                    bits.te(active[list_] - 1, int(self.random.integers(0, active[list_])))
        for list_ in range(2):
            for one, count in zip(lists, parts, strict=True):
                for _ in range(2 * count if one >> list_ & 1 else 0):
                    bits.se(int(self.random.choice([0, 0, 0, 1, -1, 4, -4, 8, -8])))


def memory_management() -> list[bytes]:
    """Packets of start codes whose pictures do all that 8.2.5.4 has operations for."""
    stream = Stream(num_ref_frames=4, seed=5)
    kept = dict(pcm=0.3)
    return [
        stream.parameter_sets() + stream.picture(I, 0, 0, idr=True),
        stream.picture(P, 1, 2, **kept),
        stream.picture(P, 2, 4, active=(2, 0), operations=((4, 3), (3, 1, 0)), **kept),  # picture 0 is long-term 0
        stream.picture(P, 3, 6, active=(3, 0), operations=((6, 2),), **kept),  # this one is long-term 2
        stream.picture(P, 4, 8, active=(4, 0), modification=((2, 2), (0, 1)), **kept),
        stream.picture(P, 5, 10, active=(4, 0), operations=((2, 0),), **kept),  # long-term 0 is no more
        stream.picture(P, 6, 12, active=(4, 0), operations=((1, 0),), **kept),  # nor is short-term 5
        stream.picture(P, 7, 14, active=(3, 0), modification=((2, 2),), **kept),
        stream.picture(P, 8, 16, active=(4, 0), operations=((3, 0, 2),), **kept),  # 7 takes the place of long-term 2
        stream.picture(P, 9, 18, active=(3, 0), **kept),
        stream.picture(P, 10, 20, active=(4, 0), operations=((4, 0),), **kept),  # no long-term pictures any more
        stream.picture(P, 11, 22, active=(3, 0), **kept),
        stream.picture(P, 12, 24, active=(3, 0), operations=((5,),), **kept),  # counts anew: frame_num 0, order 0
        # FFmpeg leaves the order count of picture 12 where it was, so no B picture before it has gone
        *(stream.picture(P, 1 + i, 4 + 2 * i, active=(min(1 + i, 4), 0), **kept) for i in range(4)),
        # what a co-located picture refers to has to be in the lists of the one that uses it: hence two, and three
        stream.picture(P, 5, 20, active=(2, 0), **kept),
        stream.picture(B, 6, 16, active=(2, 2), spatial=False, operations=((4, 1), (1, 3), (6, 0)), **kept),
        stream.picture(P, 7, 28, active=(3, 0), modification=((2, 0),), **kept),
        stream.picture(B, 8, 24, active=(4, 2), reference=False, spatial=False, **kept),
        stream.picture(B, 8, 26, active=(3, 3), reference=False, **kept),
    ]
