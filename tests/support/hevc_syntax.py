"""Random slice data of HEVC (7.3.8), legal syntax without any encoder's habits, and a record of what was written.

One function for each syntax structure. `Slices` writes the CTUs of one picture; what it knows is what a parser must
find: coding units, prediction units, transform blocks and levels, in decoding order.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from tests.support.hevc_cabac import BYPASS, FIRST, RAW, RESTART, STORE, TERMINATE
from tests.support.hevc_pixels import BYPASS as LOSSLESS
from tests.support.hevc_pixels import DST, PCM, SKIP, decoding_order

B, P, I = range(3)  # noqa: E741  slice_type
INTER, INTRA, SKIPPED = range(3)
PART_2Nx2N, PART_2NxN, PART_Nx2N, PART_NxN, PART_2NxnU, PART_2NxnD, PART_nLx2N, PART_nRx2N = range(8)

SIG_CTX_4x4 = (0, 1, 4, 5, 2, 3, 4, 5, 6, 6, 8, 8, 7, 7, 8)  # Table 9-50
CHROMA_QP = {30: 29, 31: 30, 32: 31, 33: 32, 34: 33, 35: 33, 36: 34, 37: 34, 38: 35, 39: 35, 40: 36, 41: 36, 42: 37}


@dataclass
class Chances:
    """How often what is chosen, drawn anew for each stream."""

    split: float = 0.5
    skip: float = 0.3
    intra: float = 0.3
    coded: float = 0.5  # a coded block flag
    tu_split: float = 0.4
    merge: float = 0.5
    bypass: float = 0.2
    pcm: float = 0.2
    delta_qp: int = 6
    density: float = 0.5  # of coefficients
    large: float = 0.03  # levels
    far: float = 0.05  # vectors
    sao: float = 0.3
    all_2nx2n: bool = False


@cache
def scan(size: int, kind: int) -> tuple[tuple[int, int], ...]:
    """6.5.3 up-right diagonal, 6.5.4 horizontal, 6.5.5 vertical: (x, y) by position."""
    if kind == 1:
        return tuple((x, y) for y in range(size) for x in range(size))
    if kind == 2:
        return tuple((x, y) for x in range(size) for y in range(size))
    places = [(x, y) for x in range(size) for y in range(size)]
    return tuple(sorted(places, key=lambda at: (at[0] + at[1], at[0])))


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
        self.symbols: list[int] = []
        self.written = Written()
        address, _ = decoding_order(sps.width, sps.height, sps.ctb, pps.column_bounds, pps.row_bounds, [0])
        self.address = address.tolist()
        rows, columns = address.shape
        self.region = np.full((rows, columns), -1, np.int32)  # slice and tile; -1: not yet coded
        self.depth = np.zeros((rows, columns), np.int8)
        self.mode = np.zeros((rows, columns), np.int8)  # INTER, INTRA, SKIPPED
        self.luma_mode = np.ones((rows, columns), np.int8)  # for candModeList: DC where nothing better
        self.qp = np.zeros((rows, columns), np.int8)

    # bins

    def bin(self, name: str, value: object, increment: int = 0) -> None:
        self.symbols.append((FIRST[name] + increment) << 1 | (1 if value else 0))

    def bypass(self, value: int, count: int = 1) -> None:
        for i in range(count - 1, -1, -1):
            self.symbols.append(BYPASS | (value >> i & 1))

    def unary(self, value: int, largest: int) -> None:
        """Truncated, all bypass."""
        self.bypass((1 << value) - 1, value)
        if value < largest:
            self.bypass(0)

    def exp_golomb(self, k: int, value: int) -> None:
        """EGk of 9.3.3.5, bypass."""
        while value >= 1 << k:
            self.bypass(1)
            value -= 1 << k
            k += 1
        self.bypass(0)
        self.bypass(value, k)

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
            self.bin("sao_merge", merge)
            if merge:
                return
        if self.available(x, y, x, y - size):
            merge = self.chance(0.3)
            self.bin("sao_merge", merge)
            if merge:
                return
        kind = 0
        for c in range(1 if self.sps.monochrome else 3):
            if not (self.header.sao_chroma if c else self.header.sao_luma):
                continue
            if c < 2:
                kind = self.rng.choice((1, 2)) if self.chance(self.chances.sao) else 0
                self.bin("sao_type_idx", kind)
                if kind:
                    self.bypass(kind - 1)
            if not kind:
                continue
            largest = (1 << (min(self.sps.bit_depth, 10) - 5)) - 1
            offsets = [self.rng.randint(0, largest) for _ in range(4)]
            for offset in offsets:
                self.unary(offset, largest)
            if kind == 1:  # band
                for offset in offsets:
                    if offset:
                        self.bypass(self.rng.getrandbits(1))
                self.bypass(self.rng.getrandbits(5), 5)
            elif c < 2:
                self.bypass(self.rng.getrandbits(2), 2)

    def quadtree(self, x: int, y: int, log2: int, depth: int) -> None:
        sps, size = self.sps, 1 << log2
        if x + size <= sps.width and y + size <= sps.height:
            split = log2 > sps.min_cb and self.chance(self.chances.split)
            if log2 > sps.min_cb:
                increment = sum(
                    self.available(x, y, nx, ny) and self.depth[ny >> 2, nx >> 2] > depth
                    for nx, ny in ((x - 1, y), (x, y - 1))
                )
                self.bin("split_cu_flag", split, increment)
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
        for i in range(min(abs(value), 5)):
            self.bin("cu_qp_delta_abs", 1, min(i, 1))
        if abs(value) < 5:
            self.bin("cu_qp_delta_abs", 0, min(abs(value), 1))
        else:
            self.exp_golomb(0, abs(value) - 5)
        if value:
            self.bypass(value < 0)
        self.delta_coded = True
        self.current_qp = (self.predicted_qp + value + 52 + 2 * offset) % (52 + offset) - offset

    # coding unit

    def coding_unit(self, x: int, y: int, log2: int, depth: int) -> None:
        n = 1 << log2
        where = self.area(x, y, n, n)
        self.bypassed = False
        if self.pps.transquant_bypass:
            self.bypassed = self.chance(self.chances.bypass)
            self.bin("cu_transquant_bypass_flag", self.bypassed)
        skip = False
        if self.header.slice_type != I:
            skip = self.chance(self.chances.skip)
            increment = sum(
                self.available(x, y, nx, ny) and self.mode[ny >> 2, nx >> 2] == SKIPPED
                for nx, ny in ((x - 1, y), (x, y - 1))
            )
            self.bin("cu_skip_flag", skip, increment)
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
            self.bin("pred_mode_flag", intra)
        self.mode[self.area(x, y, n, n)] = INTRA if intra else INTER
        part = self.part_mode(log2, intra)
        merged = False
        if intra:
            if sps.pcm and part == PART_2Nx2N and sps.pcm_min <= log2 <= sps.pcm_max:
                pcm = self.chance(self.chances.pcm)
                self.symbols.append(TERMINATE | int(pcm))
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
            self.bin("rqt_root_cbf", coded)
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
            self.bin("part_mode", part == PART_2Nx2N)
            return part
        smallest = log2 == sps.min_cb
        choices = [PART_2Nx2N, PART_2NxN, PART_Nx2N]
        if smallest and log2 > 3:
            choices.append(PART_NxN)
        if not smallest and sps.amp:
            choices += [PART_2NxnU, PART_2NxnD, PART_nLx2N, PART_nRx2N]
        part = PART_2Nx2N if self.chances.all_2nx2n else self.rng.choice(choices)
        self.bin("part_mode", part == PART_2Nx2N)
        if part == PART_2Nx2N:
            return part
        flat = part in (PART_2NxN, PART_2NxnU, PART_2NxnD)
        self.bin("part_mode", flat, 1)
        if smallest and log2 > 3 and not flat:
            self.bin("part_mode", part == PART_Nx2N, 2)
        if not smallest and sps.amp:
            symmetric = part in (PART_2NxN, PART_Nx2N)
            self.bin("part_mode", symmetric, 3)
            if not symmetric:
                self.bypass(part in (PART_2NxnD, PART_nRx2N))
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
                    self.symbols += [RAW | (value >> k & 1) for k in range(bits - 1, -1, -1)]
            row = (c, x >> (c > 0), y >> (c > 0), size.bit_length() - 1, 1, PCM, 0, 0, start, size * size)
            self.written.blocks.append(row)
        self.symbols.append(RESTART)

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
            self.bin("prev_intra_luma_pred_flag", mode in candidates)
        for mode, candidates in coded:
            if mode in candidates:
                self.unary(candidates.index(mode), 2)
            else:
                self.bypass(mode - sum(candidate < mode for candidate in candidates), 5)
        self.chroma_mode = 1
        if not self.sps.monochrome:
            choice, luma = self.rng.randrange(5), coded[0][0]
            self.bin("intra_chroma_pred_mode", choice != 4)
            if choice != 4:
                self.bypass(choice, 2)
            self.chroma_mode = luma if choice == 4 else (0, 26, 10, 1)[choice]
            if choice != 4 and self.chroma_mode == luma:
                self.chroma_mode = 34

    # prediction unit

    def merge_idx(self) -> int:
        largest = self.header.max_num_merge_cand - 1
        value = self.rng.randint(0, largest)
        if largest:
            self.bin("merge_idx", value > 0)
            if value:
                self.unary(value - 1, largest - 1)
        return value

    def prediction_unit(self, x: int, y: int, w: int, h: int, n: int, depth: int) -> bool:
        merge = self.chance(self.chances.merge)
        self.bin("merge_flag", merge)
        if merge:
            self.written.parts.append((x, y, w, h, self.merge_idx(), -1, 0, 0, -1, 0, 0))
            return True
        lists = 1
        if self.header.slice_type == B:
            lists = self.rng.choice((1, 2) if w + h == 12 else (1, 2, 3))
            if w + h != 12:
                self.bin("inter_pred_idc", lists == 3, depth)
            if lists != 3:
                self.bin("inter_pred_idc", lists == 2, 4)
        row = [x, y, w, h, -1]
        for one in range(2):
            if not lists >> one & 1:
                row += [-1, 0, 0]
                continue
            count = self.header.num_ref_idx[one]
            ref_idx = self.rng.randrange(count)
            if count > 1:
                for i in range(ref_idx):
                    self.ref_idx_bin(1, i)
                if ref_idx < count - 1:
                    self.ref_idx_bin(0, ref_idx)
            vector = [0, 0]
            if not (one == 1 and self.header.mvd_l1_zero and lists == 3):
                vector = self.mvd()
            self.bin("mvp_flag", self.rng.getrandbits(1))
            row += [ref_idx, *vector]
        self.written.parts.append(tuple(row))
        return False

    def ref_idx_bin(self, value: int, index: int) -> None:
        if index < 2:
            self.bin("ref_idx", value, index)
        else:
            self.bypass(value)

    def mvd(self) -> list[int]:
        reach = self.rng.choice((1, 4, 30, 200))
        if self.chance(self.chances.far):
            reach = self.rng.choice((1000, 32767))
        vector = [self.rng.randint(-reach, reach) if self.chance(0.8) else 0 for _ in range(2)]
        for value in vector:
            self.bin("abs_mvd_greater0_flag", value)
        for value in vector:
            if value:
                self.bin("abs_mvd_greater1_flag", abs(value) > 1)
        for value in vector:
            if abs(value) > 1:
                self.exp_golomb(1, abs(value) - 2)
            if value:
                self.bypass(value < 0)
        return vector

    # transform tree

    def transform_tree(self, x, y, base_x, base_y, log2, depth, index, parent_cb, parent_cr) -> None:
        sps = self.sps
        forced = self.intra and self.part == PART_NxN and depth == 0
        if sps.min_tb < log2 <= sps.max_tb and depth < self.max_depth and not forced:
            split = self.chance(self.chances.tu_split)
            self.bin("split_transform_flag", split, 5 - log2)
        else:
            split = log2 > sps.max_tb or forced or (self.inter_split and depth == 0)
        cb, cr = parent_cb, parent_cr
        if log2 > 2:
            if parent_cb:
                cb = self.chance(self.chances.coded)
                self.bin("cbf_chroma", cb, depth)
            if parent_cr:
                cr = self.chance(self.chances.coded)
                self.bin("cbf_chroma", cr, depth)
        if split:
            half = 1 << (log2 - 1)
            for i in range(4):
                at = x + half * (i & 1), y + half * (i >> 1)
                self.transform_tree(*at, x, y, log2 - 1, depth + 1, i, cb, cr)
            return
        luma = True
        if self.intra or depth or cb or cr:
            luma = self.chance(self.chances.coded)
            self.bin("cbf_luma", luma, int(depth == 0))
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
            kind = self.residual_coding(c, log2, mode)
            bit_offset = 6 * (sps.bit_depth - 8)
            qp = self.current_qp + bit_offset
            if c:
                offset = pps.chroma_offsets[c - 1] + self.header.chroma_offsets[c - 1]
                qp = chroma_qp(self.current_qp, offset, bit_offset)
            matrix = (0 if self.intra else 3) + c
        count = len(self.written.levels) - start
        if coded or self.intra:
            self.written.blocks.append((c, x, y, log2, mode, kind, qp, matrix, start if coded else 0, count))

    # residual coding

    def random_levels(self, log2: int) -> dict[tuple[int, int], int]:
        """Positions and values of at least one coefficient."""
        size = 1 << log2
        reach = self.rng.choice((1, 2, 4, size, size))
        reach = min(reach, size)
        wanted = 1
        while self.chance(self.chances.density) and wanted < reach * reach:
            wanted += self.rng.choice((1, 1, 2, 5))
        if self.chance(0.02):
            wanted = reach * reach
        result = {}
        for _ in range(wanted):
            value = self.rng.choice((1, 1, 1, 1, 2, 2, 3, 4, 7, 15))
            if self.chance(self.chances.large):
                value = self.rng.choice((30, 200, 3000, 32767))
                value = self.rng.randint(1, value)
            at = self.rng.randrange(reach), self.rng.randrange(reach)
            result[at] = value if self.rng.getrandbits(1) else -value
        return result

    def residual_coding(self, c: int, log2: int, mode: int) -> int:
        """7.3.8.11; the KIND of the block."""
        levels = self.random_levels(log2)
        kind = LOSSLESS if self.bypassed else 0
        if self.bypassed:  # sums beyond 16 bits are nobody's promise
            levels = {at: min(max(value, -255), 255) for at, value in levels.items()}
        if self.pps.transform_skip and not self.bypassed and log2 == 2:
            skip = self.chance(0.4)
            self.bin("transform_skip_flag", skip, int(c > 0))
            kind |= SKIP * skip
        if self.intra and c == 0 and log2 == 2 and not kind:
            kind = DST
        scan_idx = 0
        if mode >= 0 and (log2 == 2 or (log2 == 3 and c == 0)):
            scan_idx = 2 if 6 <= mode <= 14 else 1 if 22 <= mode <= 30 else 0
        subs, inner = scan(1 << (log2 - 2), scan_idx), scan(4, scan_idx)
        by_sub: dict[int, dict[int, int]] = {}
        for (px, py), value in levels.items():
            by_sub.setdefault(subs.index((px >> 2, py >> 2)), {})[inner.index((px & 3, py & 3))] = value
        last_sub = max(by_sub)
        last = max(by_sub[last_sub])
        last_x = subs[last_sub][0] * 4 + inner[last][0]
        last_y = subs[last_sub][1] * 4 + inner[last][1]
        self.last_position(c, log2, *((last_y, last_x) if scan_idx == 2 else (last_x, last_y)))
        state = {"previous": None}
        for i in range(last_sub, -1, -1):
            self.sub_block(c, log2, scan_idx, subs, inner, by_sub, i, last_sub, last, state)
        start = len(self.written.levels)
        for i in sorted(by_sub):
            for n in sorted(by_sub[i]):
                at = subs[i][0] * 4 + inner[n][0], subs[i][1] * 4 + inner[n][1]
                self.written.levels.append((*at, by_sub[i][n]))
        assert len(self.written.levels) > start
        return kind

    def last_position(self, c: int, log2: int, x: int, y: int) -> None:
        offset, shift = (15, log2 - 2) if c else (3 * (log2 - 2) + ((log2 - 1) >> 2), (log2 + 1) >> 2)
        largest = (log2 << 1) - 1
        suffixes = []
        for name, value in (("last_x_prefix", x), ("last_y_prefix", y)):
            prefix, count = value, 0
            if value > 3:
                count = value.bit_length() - 2
                prefix = 2 * (count + 1) + (value >> count & 1)
            for i in range(prefix):
                self.bin(name, 1, offset + (i >> shift))
            if prefix < largest:
                self.bin(name, 0, offset + (prefix >> shift))
            suffixes.append((value & ((1 << count) - 1), count))
        for value, count in suffixes:
            self.bypass(value, count)

    def sub_block(self, c, log2, scan_idx, subs, inner, by_sub, i, last_sub, last, state) -> None:
        sx, sy = subs[i]
        right = (sx + 1, sy) in subs and subs.index((sx + 1, sy)) in by_sub
        below = (sx, sy + 1) in subs and subs.index((sx, sy + 1)) in by_sub
        values = by_sub.get(i, {})
        coded = bool(values)
        inferable = False
        if 0 < i < last_sub:
            self.bin("coded_sub_block_flag", coded, min(right + below, 1) + 2 * (c > 0))
            inferable = True
        elif i == 0:
            coded = True  # inferred, even if nothing is in it
        if not coded:
            return
        for n in range(last - 1 if i == last_sub else 15, -1, -1):
            if n == 0 and inferable:
                break  # all others were zero: this one is inferred
            present = n in values
            self.bin("sig_coeff_flag", present, self.sig_ctx(c, log2, scan_idx, sx, sy, *inner[n], right + 2 * below))
            if present:
                inferable = False
        if not values:
            return
        order = sorted(values, reverse=True)
        ctx_set = 0 if i == 0 or c else 2
        if state["previous"] is not None and state["previous"] == 0:
            ctx_set += 1
        greater1, greater2_at = 1, None
        for n in order[:8]:
            large = abs(values[n]) > 1
            self.bin("greater1_flag", large, ctx_set * 4 + min(3, greater1) + (16 if c else 0))
            if large:
                greater1 = 0
                if greater2_at is None:
                    greater2_at = n
            elif greater1:
                greater1 += 1
        state["previous"] = greater1
        if greater2_at is not None:
            self.bin("greater2_flag", abs(values[greater2_at]) > 2, ctx_set + (4 if c else 0))
        hidden = self.pps.sign_data_hiding and not self.bypassed and order[0] - order[-1] > 3
        if hidden:  # the first coefficient's sign follows from the sum
            n = order[-1]
            odd = sum(abs(value) for value in values.values()) & 1
            values[n] = -abs(values[n]) if odd else abs(values[n])
        for n in order[:-1] if hidden else order:
            self.bypass(values[n] < 0)
        rice = 0
        for k, n in enumerate(order):
            base = 1
            if k < 8:
                base = 2 if greater2_at is not None and k > order.index(greater2_at) else 3 if n == greater2_at else 2
            size = abs(values[n])
            if size >= base:
                self.remaining(size - base, rice)
                if size > 3 << rice:
                    rice = min(rice + 1, 4)

    def remaining(self, value: int, rice: int) -> None:
        """9.3.3.11 coeff_abs_level_remaining."""
        if value >> rice < 4:
            self.bypass((1 << (value >> rice)) - 1, value >> rice)
            self.bypass(0)
            self.bypass(value & ((1 << rice) - 1), rice)
            return
        self.bypass(15, 4)
        self.exp_golomb(rice + 1, value - (4 << rice))

    def sig_ctx(self, c, log2, scan_idx, sx, sy, px, py, neighbours) -> int:
        """9.3.4.2.5."""
        if log2 == 2:
            ctx = SIG_CTX_4x4[py * 4 + px]
        elif sx == sy == px == py == 0:
            ctx = 0
        else:
            if neighbours == 0:
                ctx = 2 if px + py == 0 else 1 if px + py < 3 else 0
            elif neighbours == 1:
                ctx = 2 if py == 0 else 1 if py == 1 else 0
            elif neighbours == 2:
                ctx = 2 if px == 0 else 1 if px == 1 else 0
            else:
                ctx = 2
            if c:
                ctx += 9 if log2 == 3 else 12
            else:
                if sx or sy:
                    ctx += 3
                ctx += (9 if scan_idx == 0 else 15) if log2 == 3 else 21
        return ctx if c == 0 else 27 + ctx

    def end_of_substream(self) -> None:
        self.symbols.append(TERMINATE | 1)

    def end_of_slice_segment_flag(self, value: bool) -> None:
        self.symbols.append(TERMINATE | int(value))

    def store_contexts(self) -> None:
        self.symbols.append(STORE)
