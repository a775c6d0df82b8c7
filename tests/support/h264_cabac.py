"""Writes intra slices in CABAC (9.3) with random residuals, in frames or fields, which no encoder at hand makes.

A plain encoder, bin by bin: every ctxBlockCat of 4:2:0 and 4:4:4, every intra mode where its neighbours are there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codecmeta.codecs.h264.tables import table
from tests.support.hevc_cabac import AFTER_LPS, RANGE_LPS

DC, AC, LUMA, CHROMA_DC, CHROMA_AC, LUMA_8X8 = range(6)  # ctxBlockCat; of Cb from 6, of Cr from 10 on
COUNT = (16, 15, 16, 4, 15, 64) + 2 * (16, 15, 16, 64)


@dataclass(frozen=True)
class Coding:
    """Of a slice. chroma_444: three planes like luma. lossless: QP'Y is 0 here and 1 there. old_x264: coded_block_flags
    of 8x8 blocks as x264 wrote them before build 151."""

    field: bool = False
    chroma_444: bool = False
    lossless: bool = False
    old_x264: bool = False


class Encoder:
    """The arithmetic encoder of 9.3.4.2 and the contexts of an I slice."""

    def __init__(self, slice_qp: int) -> None:
        m, n = np.array(table("cabac_m")[0]), np.array(table("cabac_n")[0])
        state = np.clip(((m * slice_qp) >> 4) + n, 1, 126)
        self.mps = (state > 63).astype(int)
        self.state = np.where(state > 63, state - 64, 63 - state)
        self.bits: list[int] = []
        self.low, self.range, self.first, self.outstanding = 0, 510, True, 0

    def decision(self, ctx: int, value: int) -> None:
        state = self.state[ctx]
        lps = int(RANGE_LPS[state, (self.range >> 6) & 3])
        self.range -= lps
        if value != self.mps[ctx]:
            self.low += self.range
            self.range = lps
            self.mps[ctx] ^= state == 0
            self.state[ctx] = AFTER_LPS[state]
        else:
            self.state[ctx] = min(state + 1, 62)
        self._renormalise()

    def bypass(self, value: int) -> None:
        self.low = 2 * self.low + (self.range if value else 0)
        self._out(1024, 512)

    def terminate(self, value: int) -> None:
        self.range -= 2
        if value:
            self.low += self.range
            self.range = 2
        self._renormalise()
        if value:
            self._put(self.low >> 9 & 1)
            self.bits += [self.low >> 8 & 1, 1]

    def _renormalise(self) -> None:
        while self.range < 256:
            self._out(512, 256)
            self.range <<= 1
            self.low <<= 1

    def _out(self, one: int, zero: int) -> None:
        if self.low < zero:
            self._put(0)
        elif self.low >= one:
            self.low -= one
            self._put(1)
        else:
            self.low -= zero
            self.outstanding += 1

    def _put(self, bit: int) -> None:
        if not self.first:
            self.bits.append(bit)
        self.first = False
        self.bits += [1 - bit] * self.outstanding
        self.outstanding = 0

    def data(self) -> bytes:
        return np.packbits(self.bits).tobytes()


class IntraSlice:
    """One slice of `width` x `height` macroblocks, I_NxN with either transform and I_16x16."""

    def __init__(self, random: np.random.Generator, width: int, height: int, coding: Coding) -> None:
        self.random, self.width, self.coding = random, width, coding
        self.qp = 0 if coding.lossless else 26
        self.e, self.last_delta = Encoder(self.qp), 0
        kind = "_field" if coding.field else ""
        self.significant = table(f"ctxIdx_significant_coeff_flag{kind}")
        self.last = table(f"ctxIdx_last_significant_coeff_flag{kind}")
        self.significant_8x8 = table(f"ctxIdxInc_significant_coeff_flag_8x8{kind}")
        self.macroblocks: dict[tuple[int, int], dict] = {}
        self.coded: dict[tuple[int, int, int], int] = {}  # (plane, column, row) of 4x4 blocks -> coded_block_flag
        self.modes: dict[tuple[int, int], int] = {}  # (column, row) of 4x4 blocks -> Intra4x4PredMode
        for at in range(width * height):
            self._macroblock(at % width, at // width)
            self.e.terminate(at == width * height - 1)

    def _macroblock(self, x: int, y: int) -> None:
        e, random = self.e, self.random
        left, top = self.macroblocks.get((x - 1, y)), self.macroblocks.get((x, y - 1))
        both = (left, top)
        large = random.random() < 0.3
        luma = int(random.choice([0, 15])) if large else int(random.integers(0, 16))
        chroma = 0 if self.coding.chroma_444 else int(random.integers(0, 3))
        eight = not large and random.random() < 0.5
        mode = int(random.integers(0, 4)) if x and y else 0  # intra_chroma_pred_mode
        mine = dict(large=large, luma=luma, chroma=chroma, eight=eight, dc=[0, 0, 0], mode=mode)
        e.decision(3 + sum(one is not None and one["large"] for one in both), int(large))
        if large:
            e.terminate(0)
            e.decision(6, int(luma != 0))
            e.decision(7, int(chroma != 0))
            if chroma:
                e.decision(8, chroma - 1)
            mode_16x16 = int(random.integers(0, 4)) if x and y else 2
            e.decision(9, mode_16x16 >> 1)
            e.decision(10, mode_16x16 & 1)
            self.modes |= {(4 * x + i % 4, 4 * y + i // 4): 2 for i in range(16)}
        else:
            e.decision(399 + sum(one is not None and one["eight"] for one in both), int(eight))
            self._modes(x, y, 2 if eight else 1)
        if not self.coding.chroma_444:
            e.decision(64 + sum(one is not None and one["mode"] != 0 for one in both), int(mode > 0))
            for i in range(1, min(mode + 1, 3)):
                e.decision(67, int(mode > i))
        if not large:
            self._pattern(luma, chroma, left, top)
        if large or luma or chroma:
            self._qp_delta(int(random.integers(0, 2)) - self.qp if self.coding.lossless else 0)
        else:
            self.last_delta = 0
        self.macroblocks[x, y] = mine
        self._residual(x, y, mine, both)

    def _modes(self, x: int, y: int, size: int) -> None:
        """Modes of blocks of `size` x `size` 4x4 blocks (8.3.1.1, 8.3.2.1), DC at the edges of the picture."""
        for i in range(16 // size**2):
            column, row = (i & 1, i >> 1) if size == 2 else ((i >> 1 & 2) | (i & 1), (i >> 2 & 2) | (i >> 1 & 1))
            column, row = 4 * x + size * column, 4 * y + size * row
            mode = int(self.random.integers(0, 9)) if column and row else 2
            predicted = 2
            if column and row:
                predicted = min(self.modes[column - 1, row], self.modes[column, row - 1])
            self.e.decision(68, int(mode == predicted))
            if mode != predicted:
                for bit in range(3):
                    self.e.decision(69, (mode - (mode > predicted)) >> bit & 1)
            self.modes |= {(column + j % size, row + j // size): mode for j in range(size**2)}

    def _qp_delta(self, delta: int) -> None:
        ctx = 60 + (self.last_delta != 0)
        for _ in range(2 * delta - 1 if delta > 0 else -2 * delta):
            self.e.decision(ctx, 1)
            ctx = 62 + (ctx >= 62)
        self.e.decision(ctx, 0)
        self.last_delta, self.qp = delta, self.qp + delta

    def _pattern(self, luma: int, chroma: int, left: dict | None, top: dict | None) -> None:
        for b8 in range(4):
            a = luma >> (b8 - 1) if b8 & 1 else (15 if left is None else left["luma"]) >> (b8 + 1)
            b = luma >> (b8 - 2) if b8 & 2 else (15 if top is None else top["luma"]) >> (b8 + 2)
            self.e.decision(73 + (not a & 1) + 2 * (not b & 1), luma >> b8 & 1)
        if self.coding.chroma_444:
            return
        a, b = (0 if one is None else one["chroma"] for one in (left, top))
        self.e.decision(77 + (a > 0) + 2 * (b > 0), int(chroma > 0))
        if chroma:
            self.e.decision(81 + (a == 2) + 2 * (b == 2), chroma - 1)

    def _residual(self, x: int, y: int, mine: dict, both: tuple) -> None:
        self._like_luma(x, y, mine, both, 0)
        if self.coding.chroma_444:
            for plane in (1, 2):
                self._like_luma(x, y, mine, both, plane)
            return
        for plane in (1, 2):
            if mine["chroma"]:
                mine["dc"][plane] = self._block(CHROMA_DC, self._dc_flags(both, plane))
        for plane in (1, 2):
            for b4 in range(4):
                place = (plane, 2 * x + (b4 & 1), 2 * y + (b4 >> 1))
                self.coded[place] = self._block(CHROMA_AC, self._flags(place)) if mine["chroma"] == 2 else 0

    def _like_luma(self, x: int, y: int, mine: dict, both: tuple, plane: int) -> None:
        first = 2 + 4 * plane if plane else 0
        if mine["large"]:
            mine["dc"][plane] = self._block(first + DC, self._dc_flags(both, plane))
        for b4 in range(16):
            b8, i, j = b4 >> 2, (b4 >> 1 & 2) | (b4 & 1), (b4 >> 2 & 2) | (b4 >> 1 & 1)
            place = (plane, 4 * x + i, 4 * y + j)
            if not mine["luma"] >> b8 & 1:
                self.coded[place] = 0
            elif mine["eight"]:
                if b4 & 3 == 0:
                    flags = self._flags_8x8(place, i, j, both) if self.coding.chroma_444 else None
                    coded = self._block(first + 3 if plane else LUMA_8X8, flags)
                self.coded[place] = coded
            else:
                self.coded[place] = self._block(first + (AC if mine["large"] else LUMA), self._flags(place))

    def _flags_8x8(self, place: tuple[int, int, int], i: int, j: int, both: tuple) -> int:
        """A macroblock in other blocks has none that this one could see."""
        flags = self._flags(place)
        for bit, (inside, one) in enumerate(zip((i, j), both, strict=True)):
            if not inside and one is not None and not one["eight"]:
                flags = flags & ~(1 << bit) | self.coding.old_x264 << bit
        return flags

    def _dc_flags(self, both: tuple, plane: int) -> int:
        return sum((1 if one is None else one["dc"][plane]) << i for i, one in enumerate(both))

    def _flags(self, place: tuple[int, int, int]) -> int:
        plane, x, y = place
        return self.coded.get((plane, x - 1, y), 1) + 2 * self.coded.get((plane, x, y - 1), 1)

    def _block(self, category: int, flags: int | None) -> int:
        """residual_block_cabac() of random levels -> coded_block_flag; `flags`: its ctxIdxInc, None where not sent."""
        e, random, count = self.e, self.random, COUNT[category]
        levels = np.where(random.random(count) < 0.2, random.integers(1, 4, count), 0)
        levels *= random.choice([-1, 1], count)
        if flags is None and not levels.any():
            levels[random.integers(count)] = 1
        if random.random() < 0.05:
            levels[random.integers(count)] = 17  # a suffix
        if flags is not None:
            e.decision(table("ctxIdx_coded_block_flag")[category] + flags, int(levels.any()))
            if not levels.any():
                return 0
        last = int(np.flatnonzero(levels)[-1])
        for i in range(min(last + 1, count - 1)):
            inc = self.significant_8x8[i] if count == 64 else i
            e.decision(self.significant[category] + inc, int(levels[i] != 0))
            if levels[i]:
                inc = table("ctxIdxInc_last_significant_coeff_flag_8x8")[i] if count == 64 else i
                e.decision(self.last[category] + inc, int(i == last))
        first, ones, more = table("ctxIdx_coeff_abs_level_minus1")[category], 0, 0
        for level in levels[levels != 0][::-1].tolist():
            value = abs(level) - 1
            e.decision(first + (0 if more else min(4, 1 + ones)), int(value > 0))
            if value:
                inc = 5 + min(4 - (category == CHROMA_DC), more)
                for _ in range(min(value, 14) - 1):
                    e.decision(first + inc, 1)
                if value < 14:
                    e.decision(first + inc, 0)
                else:
                    self._exp_golomb(value - 14)
                more += 1
            else:
                ones += 1
            e.bypass(int(level < 0))
        return 1

    def _exp_golomb(self, value: int) -> None:
        k = 0
        while value >= 1 << k:
            self.e.bypass(1)
            value -= 1 << k
            k += 1
        self.e.bypass(0)
        for i in reversed(range(k)):
            self.e.bypass(value >> i & 1)
