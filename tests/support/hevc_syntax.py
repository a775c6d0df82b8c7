"""Random slice data of HEVC (7.3.8), legal syntax without any encoder's habits, and a record of what was written.

One function for each syntax structure down to the transform unit; below it is hevc_residual. `Slices` writes the CTUs
of one picture; what it knows is what a parser must find: coding units, prediction units, transform blocks and levels,
in decoding order.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from tests.support.hevc_chances import Chances
from tests.support.hevc_pixels import PCM, decoding_order
from tests.support.hevc_residual import Residuals
from tests.support.hevc_symbols import Symbols

B, P, I = range(3)  # noqa: E741  slice_type
INTER, INTRA, SKIPPED = range(3)
PART_2Nx2N, PART_2NxN, PART_Nx2N, PART_NxN, PART_2NxnU, PART_2NxnD, PART_nLx2N, PART_nRx2N = range(8)

CHROMA_QP = {30: 29, 31: 30, 32: 31, 33: 32, 34: 33, 35: 33, 36: 34, 37: 34, 38: 35, 39: 35, 40: 36, 41: 36, 42: 37}


def chroma_qp(qp: int, offset: int, bit_offset: int) -> int:
    """(8-287) Qp'Cb, Qp'Cr for 4:2:0."""
    index = min(max(qp + offset, -bit_offset), 57)
    return (index if index < 30 else CHROMA_QP.get(index, index - 6)) + bit_offset


def partitions(part: int, x: int, y: int, n: int) -> list[tuple[int, int, int, int]]:
    """x, y, width and height of the prediction blocks."""
    h, q = n // 2, n // 4
    return {
        PART_2Nx2N: [(x, y, n, n)],
        PART_2NxN: [(x, y, n, h), (x, y + h, n, h)],
        PART_Nx2N: [(x, y, h, n), (x + h, y, h, n)],
        PART_NxN: [(x, y, h, h), (x + h, y, h, h), (x, y + h, h, h), (x + h, y + h, h, h)],
        PART_2NxnU: [(x, y, n, q), (x, y + q, n, n - q)],
        PART_2NxnD: [(x, y, n, n - q), (x, y + n - q, n, q)],
        PART_nLx2N: [(x, y, q, n), (x + q, y, n - q, n)],
        PART_nRx2N: [(x, y, n - q, n), (x + n - q, y, q, n)],
    }[part]


@dataclass
class Written:
    """The record of one picture."""

    units: list[tuple] = field(default_factory=list)  # x, y, log2, INTER/INTRA/SKIPPED, part, bypass, pcm, QpY
    parts: list[tuple] = field(default_factory=list)  # x, y, w, h, merge_idx or -1, then per list ref_idx, mvd x, y
    blocks: list[tuple] = field(default_factory=list)  # rows as hevc_pixels.Coded.blocks
    levels: list[tuple] = field(default_factory=list)


class Slices:
    """Writes CTUs of one picture into `symbols`; the caller begins and ends slice segments and substreams."""

    def __init__(self, sps, pps, chances: Chances, rng: random.Random) -> None:
        self.sps, self.pps, self.chances, self.rng = sps, pps, chances, rng
        self.symbols = Symbols()
        self.residuals = Residuals(self.symbols, pps, chances, rng)
        self.written = Written()
        address, _ = decoding_order(sps.width, sps.height, sps.ctb, pps.column_bounds, pps.row_bounds, [0])
        self.address = address.tolist()
        rows, columns = address.shape
        self.region = np.full((rows, columns), -1, np.int32)  # slice and tile; -1: not yet coded
        self.depth = np.zeros((rows, columns), np.int8)
        self.mode = np.zeros((rows, columns), np.int8)  # INTER, INTRA, SKIPPED
        self.luma_mode = np.ones((rows, columns), np.int8)  # for candModeList: DC where nothing better
        self.qp = np.zeros((rows, columns), np.int8)

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    # neighbours

    def available(self, x: int, y: int, nx: int, ny: int) -> bool:
        """6.4.1."""
        if nx < 0 or ny < 0 or nx >= self.sps.width or ny >= self.sps.height:
            return False
        if self.address[ny >> 2][nx >> 2] > self.address[y >> 2][x >> 2]:
            return False
        return self.region[ny >> 2, nx >> 2] == self.current

    def area(self, x: int, y: int, w: int, h: int) -> tuple[slice, slice]:
        return slice(y >> 2, (y + h) >> 2), slice(x >> 2, (x + w) >> 2)

    # coding tree unit

    def begin_slice(self, header) -> None:
        """A slice (not a dependent slice segment)."""
        self.header = header
        self.last_qp = header.slice_qp

    def begin_ctu(self, x: int, y: int, region: int) -> None:
        self.current = region
        size = 1 << self.sps.ctb
        self.region[self.area(x, y, size, size)] = region

    def coding_tree_unit(self, x: int, y: int) -> None:
        if self.header.sao_luma or self.header.sao_chroma:
            self.sao(x, y)
        self.quadtree(x, y, self.sps.ctb, 0)

    def sao(self, x: int, y: int) -> None:
        size = 1 << self.sps.ctb
        if self.available(x, y, x - size, y):
            merge = self.chance(0.3)
            self.symbols.bin("sao_merge", merge)
            if merge:
                return
        if self.available(x, y, x, y - size):
            merge = self.chance(0.3)
            self.symbols.bin("sao_merge", merge)
            if merge:
                return
        kind = 0
        for c in range(1 if self.sps.monochrome else 3):
            if not (self.header.sao_chroma if c else self.header.sao_luma):
                continue
            if c < 2:
                kind = self.rng.choice((1, 2)) if self.chance(self.chances.sao) else 0
                self.symbols.bin("sao_type_idx", kind)
                if kind:
                    self.symbols.bypass(kind - 1)
            if not kind:
                continue
            largest = (1 << (min(self.sps.bit_depth, 10) - 5)) - 1
            offsets = [self.rng.randint(0, largest) for _ in range(4)]
            for offset in offsets:
                self.symbols.unary(offset, largest)
            if kind == 1:  # band
                for offset in offsets:
                    if offset:
                        self.symbols.bypass(self.rng.getrandbits(1))
                self.symbols.bypass(self.rng.getrandbits(5), 5)
            elif c < 2:
                self.symbols.bypass(self.rng.getrandbits(2), 2)

    def quadtree(self, x: int, y: int, log2: int, depth: int) -> None:
        sps, size = self.sps, 1 << log2
        if x + size <= sps.width and y + size <= sps.height:
            split = log2 > sps.min_cb and self.chance(self.chances.split)
            if log2 > sps.min_cb:
                increment = sum(
                    self.available(x, y, nx, ny) and self.depth[ny >> 2, nx >> 2] > depth
                    for nx, ny in ((x - 1, y), (x, y - 1))
                )
                self.symbols.bin("split_cu_flag", split, increment)
        else:
            split = log2 > sps.min_cb
        if log2 >= sps.ctb - self.pps.diff_cu_qp_delta_depth:
            self.quantization_group(x, y)
        if not split:
            self.coding_unit(x, y, log2, depth)
            return
        half = size >> 1
        for dx, dy in ((0, 0), (half, 0), (0, half), (half, half)):
            if x + dx < sps.width and y + dy < sps.height:
                self.quadtree(x + dx, y + dy, log2 - 1, depth + 1)

    def quantization_group(self, x: int, y: int) -> None:
        """8.6.1: qPY_PRED; last_qp is qPY_PREV, set to SliceQpY by whoever begins a slice, a tile, a row of WPP."""
        ctb = self.sps.ctb
        around = []
        for nx, ny in ((x - 1, y), (x, y - 1)):
            same_ctb = nx >= 0 and ny >= 0 and nx >> ctb == x >> ctb and ny >> ctb == y >> ctb
            around.append(int(self.qp[ny >> 2, nx >> 2]) if same_ctb else self.last_qp)
        self.predicted_qp = self.current_qp = (sum(around) + 1) >> 1
        self.delta_coded = False

    def qp_delta(self) -> None:
        if not self.pps.cu_qp_delta_enabled or self.delta_coded:
            return
        offset = 6 * (self.sps.bit_depth - 8)
        low, high = -(26 + offset // 2), 25 + offset // 2
        value = self.rng.randint(-self.chances.delta_qp, self.chances.delta_qp)
        if self.chance(0.03):
            value = self.rng.randint(low, high)
        value = min(max(value, low), high)
        self.symbols.cu_qp_delta(value)
        self.delta_coded = True
        self.current_qp = (self.predicted_qp + value + 52 + 2 * offset) % (52 + offset) - offset

    # coding unit

    def coding_unit(self, x: int, y: int, log2: int, depth: int) -> None:
        n = 1 << log2
        where = self.area(x, y, n, n)
        self.bypassed = False
        if self.pps.transquant_bypass:
            self.bypassed = self.chance(self.chances.bypass)
            self.symbols.bin("cu_transquant_bypass_flag", self.bypassed)
        skip = False
        if self.header.slice_type != I:
            skip = self.chance(self.chances.skip)
            increment = sum(
                self.available(x, y, nx, ny) and self.mode[ny >> 2, nx >> 2] == SKIPPED
                for nx, ny in ((x - 1, y), (x, y - 1))
            )
            self.symbols.bin("cu_skip_flag", skip, increment)
        self.depth[where] = depth
        self.luma_mode[where] = 1
        part, pcm = PART_2Nx2N, False
        if skip:
            self.mode[where] = SKIPPED
            self.written.parts.append((x, y, n, n, self.merge_idx(), -1, 0, 0, -1, 0, 0))
        else:
            part, pcm = self.coded_unit(x, y, log2, depth)
        self.qp[where] = self.last_qp = self.current_qp
        kind = int(self.mode[y >> 2, x >> 2])
        self.written.units.append((x, y, log2, kind, part, int(self.bypassed), int(pcm), self.current_qp))

    def coded_unit(self, x: int, y: int, log2: int, depth: int) -> tuple[int, bool]:
        """What follows cu_skip_flag = 0; the partition, and whether it is PCM."""
        sps, n = self.sps, 1 << log2
        intra = self.header.slice_type == I or self.chance(self.chances.intra)
        if self.header.slice_type != I:
            self.symbols.bin("pred_mode_flag", intra)
        self.mode[self.area(x, y, n, n)] = INTRA if intra else INTER
        part = self.part_mode(log2, intra)
        merged = False
        if intra:
            if sps.pcm and part == PART_2Nx2N and sps.pcm_min <= log2 <= sps.pcm_max:
                pcm = self.chance(self.chances.pcm)
                self.symbols.terminate(pcm)
                if pcm:
                    self.pcm_sample(x, y, n)
                    return part, True
            self.intra_modes(x, y, log2, part)
        else:
            for block in partitions(part, x, y, n):
                merged = self.prediction_unit(*block, n, depth)
        coded = True
        if not intra and not (part == PART_2Nx2N and merged):
            coded = self.chance(self.chances.coded)
            self.symbols.bin("rqt_root_cbf", coded)
        if coded:
            self.max_depth = sps.depth_intra + (part == PART_NxN) if intra else sps.depth_inter
            self.inter_split = sps.depth_inter == 0 and not intra and part != PART_2Nx2N
            self.intra, self.part = intra, part
            self.transform_tree(x, y, x, y, log2, 0, 0, not sps.monochrome, not sps.monochrome)
        return part, False

    def part_mode(self, log2: int, intra: bool) -> int:
        sps = self.sps
        if intra:
            if log2 > sps.min_cb:
                return PART_2Nx2N
            part = self.rng.choice((PART_2Nx2N, PART_NxN))
            self.symbols.bin("part_mode", part == PART_2Nx2N)
            return part
        smallest = log2 == sps.min_cb
        choices = [PART_2Nx2N, PART_2NxN, PART_Nx2N]
        if smallest and log2 > 3:
            choices.append(PART_NxN)
        if not smallest and sps.amp:
            choices += [PART_2NxnU, PART_2NxnD, PART_nLx2N, PART_nRx2N]
        part = PART_2Nx2N if self.chances.all_2nx2n else self.rng.choice(choices)
        self.symbols.bin("part_mode", part == PART_2Nx2N)
        if part == PART_2Nx2N:
            return part
        flat = part in (PART_2NxN, PART_2NxnU, PART_2NxnD)
        self.symbols.bin("part_mode", flat, 1)
        if smallest and log2 > 3 and not flat:
            self.symbols.bin("part_mode", part == PART_Nx2N, 2)
        if not smallest and sps.amp:
            symmetric = part in (PART_2NxN, PART_Nx2N)
            self.symbols.bin("part_mode", symmetric, 3)
            if not symmetric:
                self.symbols.bypass(part in (PART_2NxnD, PART_nRx2N))
        return part

    def pcm_sample(self, x: int, y: int, n: int) -> None:
        sps, levels = self.sps, self.written.levels
        for c in range(1 if sps.monochrome else 3):
            bits = sps.pcm_depth_chroma if c else sps.pcm_depth_luma
            size, start = n >> (c > 0), len(levels)
            for j in range(size):
                for i in range(size):
                    value = self.rng.getrandbits(bits)
                    levels.append((i, j, value << (sps.bit_depth - bits)))
                    self.symbols.raw(value, bits)
            row = (c, x >> (c > 0), y >> (c > 0), size.bit_length() - 1, 1, PCM, 0, 0, start, size * size)
            self.written.blocks.append(row)
        self.symbols.restart()

    def intra_modes(self, x: int, y: int, log2: int, part: int) -> None:
        """8.4.2: the mode is drawn, the syntax follows from the candidates."""
        blocks = partitions(part, x, y, 1 << log2)
        coded = []
        for bx, by, w, h in blocks:
            left = above = 1
            if self.available(bx, by, bx - 1, by) and self.mode[by >> 2, (bx - 1) >> 2] == INTRA:
                left = int(self.luma_mode[by >> 2, (bx - 1) >> 2])
            if by & ((1 << self.sps.ctb) - 1) and self.available(bx, by, bx, by - 1):
                if self.mode[(by - 1) >> 2, bx >> 2] == INTRA:
                    above = int(self.luma_mode[(by - 1) >> 2, bx >> 2])
            if left == above:
                if left < 2:
                    candidates = [0, 1, 26]
                else:
                    candidates = [left, 2 + (left + 29) % 32, 2 + (left - 2 + 1) % 32]
            else:
                third = 0 if 0 not in (left, above) else 1 if 1 not in (left, above) else 26
                candidates = [left, above, third]
            mode = self.rng.choice(candidates) if self.chance(0.3) else self.rng.randrange(35)
            self.luma_mode[self.area(bx, by, w, h)] = mode
            coded.append((mode, candidates))
        for mode, candidates in coded:
            self.symbols.bin("prev_intra_luma_pred_flag", mode in candidates)
        for mode, candidates in coded:
            if mode in candidates:
                self.symbols.unary(candidates.index(mode), 2)
            else:
                self.symbols.bypass(mode - sum(candidate < mode for candidate in candidates), 5)
        self.chroma_mode = 1
        if not self.sps.monochrome:
            choice, luma = self.rng.randrange(5), coded[0][0]
            self.symbols.bin("intra_chroma_pred_mode", choice != 4)
            if choice != 4:
                self.symbols.bypass(choice, 2)
            self.chroma_mode = luma if choice == 4 else (0, 26, 10, 1)[choice]
            if choice != 4 and self.chroma_mode == luma:
                self.chroma_mode = 34

    # prediction unit

    def merge_idx(self) -> int:
        largest = self.header.max_num_merge_cand - 1
        value = self.rng.randint(0, largest)
        if largest:
            self.symbols.bin("merge_idx", value > 0)
            if value:
                self.symbols.unary(value - 1, largest - 1)
        return value

    def prediction_unit(self, x: int, y: int, w: int, h: int, n: int, depth: int) -> bool:
        merge = self.chance(self.chances.merge)
        self.symbols.bin("merge_flag", merge)
        if merge:
            self.written.parts.append((x, y, w, h, self.merge_idx(), -1, 0, 0, -1, 0, 0))
            return True
        lists = 1
        if self.header.slice_type == B:
            lists = self.rng.choice((1, 2) if w + h == 12 else (1, 2, 3))
            if w + h != 12:
                self.symbols.bin("inter_pred_idc", lists == 3, depth)
            if lists != 3:
                self.symbols.bin("inter_pred_idc", lists == 2, 4)
        row = [x, y, w, h, -1]
        for one in range(2):
            if not lists >> one & 1:
                row += [-1, 0, 0]
                continue
            count = self.header.num_ref_idx[one]
            ref_idx = self.rng.randrange(count)
            self.symbols.ref_idx(ref_idx, count)
            vector = [0, 0]
            if not (one == 1 and self.header.mvd_l1_zero and lists == 3):
                vector = self.mvd()
            self.symbols.bin("mvp_flag", self.rng.getrandbits(1))
            row += [ref_idx, *vector]
        self.written.parts.append(tuple(row))
        return False

    def mvd(self) -> list[int]:
        reach = self.rng.choice((1, 4, 30, 200))
        if self.chance(self.chances.far):
            reach = self.rng.choice((1000, 32767))
        vector = [self.rng.randint(-reach, reach) if self.chance(0.8) else 0 for _ in range(2)]
        self.symbols.mvd(vector)
        return vector

    # transform tree

    def transform_tree(self, x, y, base_x, base_y, log2, depth, index, parent_cb, parent_cr) -> None:
        sps = self.sps
        forced = self.intra and self.part == PART_NxN and depth == 0
        if sps.min_tb < log2 <= sps.max_tb and depth < self.max_depth and not forced:
            split = self.chance(self.chances.tu_split)
            self.symbols.bin("split_transform_flag", split, 5 - log2)
        else:
            split = log2 > sps.max_tb or forced or (self.inter_split and depth == 0)
        cb, cr = parent_cb, parent_cr
        if log2 > 2:
            if parent_cb:
                cb = self.chance(self.chances.coded)
                self.symbols.bin("cbf_chroma", cb, depth)
            if parent_cr:
                cr = self.chance(self.chances.coded)
                self.symbols.bin("cbf_chroma", cr, depth)
        if split:
            half = 1 << (log2 - 1)
            for i in range(4):
                at = x + half * (i & 1), y + half * (i >> 1)
                self.transform_tree(*at, x, y, log2 - 1, depth + 1, i, cb, cr)
            return
        luma = True
        if self.intra or depth or cb or cr:
            luma = self.chance(self.chances.coded)
            self.symbols.bin("cbf_luma", luma, int(depth == 0))
        self.transform_unit(x, y, base_x, base_y, log2, depth, index, luma, cb, cr)

    def transform_unit(self, x, y, base_x, base_y, log2, depth, index, luma, cb, cr) -> None:
        if luma or cb or cr:
            self.qp_delta()
        self.block(0, x, y, log2, luma)
        if self.sps.monochrome:
            return
        if log2 > 2:
            self.block(1, x // 2, y // 2, log2 - 1, cb)
            self.block(2, x // 2, y // 2, log2 - 1, cr)
        elif index == 3:
            self.block(1, base_x // 2, base_y // 2, 2, cb)
            self.block(2, base_x // 2, base_y // 2, 2, cr)

    def block(self, c: int, x: int, y: int, log2: int, coded: bool) -> None:
        sps, pps = self.sps, self.pps
        mode = -1
        if self.intra:
            mode = self.chroma_mode if c else int(self.luma_mode[y >> 2, x >> 2])
        start, kind, qp, matrix = len(self.written.levels), 0, 0, 0
        if coded:
            kind, levels = self.residuals.residual_coding(c, log2, mode, self.intra, self.bypassed)
            self.written.levels += levels
            bit_offset = 6 * (sps.bit_depth - 8)
            qp = self.current_qp + bit_offset
            if c:
                offset = pps.chroma_offsets[c - 1] + self.header.chroma_offsets[c - 1]
                qp = chroma_qp(self.current_qp, offset, bit_offset)
            matrix = (0 if self.intra else 3) + c
        count = len(self.written.levels) - start
        if coded or self.intra:
            self.written.blocks.append((c, x, y, log2, mode, kind, qp, matrix, start if coded else 0, count))
