"""What a random HEVC stream is made of: settings, kinds of pictures, order counts, reference picture sets."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.support.hevc_chances import Chances
from tests.support.hevc_headers import (
    BLA_N_LP,
    CRA,
    IDR_N_LP,
    IDR_W_RADL,
    RADL_N,
    RADL_R,
    RASL_N,
    RASL_R,
    TRAIL_N,
    TRAIL_R,
    Picture,
    Pps,
    Sps,
)
from tests.support.hevc_syntax import B, I, P


def _scaling_lists(rng: random.Random) -> list:
    """[sizeId][matrixId] -> ("default",), ("copy", delta) or ("coded", 16 or 64 values, DC)."""
    lists = []
    for size in range(4):
        row = []
        for matrix in range(0, 6, 3 if size == 3 else 1):
            kind = rng.choice(("default", "copy", "coded", "coded"))
            step = 3 if size == 3 else 1
            if kind == "copy" and matrix:
                row.append(("copy", rng.randint(1, matrix // step)))
            elif kind == "coded":
                low, high = rng.choice(((1, 255), (8, 40), (16, 16)))
                values = [rng.randint(low, high) for _ in range(16 if size == 0 else 64)]
                row.append(("coded", values, rng.randint(1, 255)))
            else:
                row.append(("default",))
        lists.append(row)
    return lists


def draw_sps(rng: random.Random) -> Sps:
    sps = Sps()
    sps.ctb = rng.choice((4, 4, 5, 5, 6))
    sps.min_cb = rng.choice([v for v in (3, 3, 3, 4, 5, 6) if v <= sps.ctb])
    sps.min_tb = rng.choice([v for v in (2, 2, 3, 4, 5) if v < sps.min_cb])
    sps.max_tb = rng.randint(sps.min_tb, min(sps.ctb, 5))
    most = {4: 6, 5: 4, 6: 3}[sps.ctb] << sps.ctb
    step = 1 << sps.min_cb
    sps.width, sps.height = (max(step, 16, rng.randint(1, most // step) * step) for _ in range(2))
    if rng.random() < 0.15:
        sps.width = 1 << max(4, sps.min_cb)  # one CTB wide
    sps.width, sps.height = (-(-one // step) * step for one in (sps.width, sps.height))
    sps.monochrome = rng.random() < 0.1
    sps.bit_depth = rng.choice((8, 8, 10))
    sps.lsb_bits = rng.choice((4, 5, 8, 16))
    depth = sps.ctb - sps.min_tb
    sps.depth_inter, sps.depth_intra = rng.randint(0, depth), rng.randint(0, depth)
    sps.scaling = rng.choice(("", "", "default", "sps", "pps", "both"))
    if sps.scaling in ("sps", "both"):
        sps.lists = _scaling_lists(rng)
    sps.amp, sps.sao, sps.pcm = (rng.random() < 0.5 for _ in range(3))
    if sps.pcm:
        sps.pcm_depth_luma, sps.pcm_depth_chroma = (rng.randint(1, sps.bit_depth) for _ in range(2))
        sps.pcm_min = rng.randint(min(sps.min_cb, 5), min(sps.ctb, 5))
        sps.pcm_max = rng.randint(sps.pcm_min, min(sps.ctb, 5))
    sps.long_term = rng.random() < 0.5
    sps.temporal_mvp, sps.strong_intra = rng.random() < 0.7, rng.random() < 0.5
    sps.sub_layers = rng.choice((1, 1, 2, 3))
    sps.vui = rng.random() < 0.3
    return sps


def _bounds(count: int, most: int, rng: random.Random, uniform: bool) -> list[int]:
    tiles = rng.randint(1, min(most, count))
    if uniform:
        return [i * count // tiles for i in range(tiles + 1)]
    return [0, *sorted(rng.sample(range(1, count), tiles - 1)), count]


def draw_pps(sps: Sps, rng: random.Random) -> Pps:
    pps = Pps()
    for name in ("dependent_slices", "sign_data_hiding", "cabac_init_present", "transform_skip", "cu_qp_delta_enabled"):
        setattr(pps, name, rng.random() < 0.6)
    for name in ("slice_chroma_offsets", "weighted_pred", "weighted_bipred", "transquant_bypass", "lists_modification"):
        setattr(pps, name, rng.random() < 0.4)
    for name in ("loop_across_slices", "deblocking_control", "deblocking_override", "deblocking_disabled"):
        setattr(pps, name, rng.random() < 0.5)
    pps.deblocking_override &= pps.deblocking_control
    pps.output_flag_present, pps.header_extension = rng.random() < 0.2, rng.random() < 0.2
    pps.extra_bits = rng.choice((0, 0, 0, 1, 2))
    pps.num_ref_idx = rng.randint(1, 4), rng.randint(1, 4)
    pps.init_qp = rng.randint(-6 * (sps.bit_depth - 8), 51)
    if pps.cu_qp_delta_enabled:
        pps.diff_cu_qp_delta_depth = rng.randint(0, sps.ctb - sps.min_cb)
    pps.chroma_offsets = rng.randint(-12, 12), rng.randint(-12, 12)
    pps.merge_level = rng.randint(2, sps.ctb)
    columns, rows = -(-sps.width >> sps.ctb), -(-sps.height >> sps.ctb)
    kind = rng.choice(("", "tiles", "wpp"))
    pps.column_bounds, pps.row_bounds = [0, columns], [0, rows]
    if kind == "tiles" and columns * rows > 1:
        pps.uniform = rng.random() < 0.3
        while len(pps.column_bounds) + len(pps.row_bounds) == 4:
            pps.column_bounds = _bounds(columns, 4, rng, pps.uniform)
            pps.row_bounds = _bounds(rows, 4, rng, pps.uniform)
        pps.tiles = True
    pps.wpp = kind == "wpp"
    if sps.scaling in ("pps", "both"):
        pps.lists = _scaling_lists(rng)
    return pps


def draw_chances(rng: random.Random) -> Chances:
    chances = Chances()
    chances.split = rng.choice((0.2, 0.5, 0.7))
    chances.skip = rng.choice((0.1, 0.3, 0.6))
    chances.intra = rng.choice((0.1, 0.3, 0.7))
    chances.coded = rng.choice((0.2, 0.5, 0.8))
    chances.density = rng.choice((0.3, 0.6, 0.85))
    chances.large = rng.choice((0.0, 0.02, 0.1))
    chances.far = rng.choice((0.0, 0.05))
    chances.merge = rng.choice((0.2, 0.5, 0.8))
    chances.delta_qp = rng.choice((1, 6, 20))
    return chances


@dataclass
class Plan:
    """Kinds, order counts and reference picture sets of all pictures (8.3.1, 8.3.2), drawn one after another."""

    sps: Sps
    rng: random.Random
    features: set[str]
    pictures: list[Picture] = field(default_factory=list)
    held: dict[int, bool] = field(default_factory=dict)  # POC of a reference picture -> long-term
    waiting: list[int] = field(default_factory=list)  # trailing pictures to come
    leading: list[tuple[int, int]] = field(default_factory=list)  # kind and POC of those after a CRA
    base: int = 0  # largest POC of the sequence so far
    anchor: int = 0  # prevTid0Pic
    irap: int = 0  # POC of the last one

    def draw(self, count: int) -> list[Picture]:
        while len(self.pictures) < count:
            if self.leading:
                self._leading_picture()
            elif not self.pictures or self.rng.random() < 0.1:
                self._intra_random_access_point()
            else:
                self._trailing_picture()
        return self.pictures

    def _intra_random_access_point(self) -> None:
        rng, number, largest = self.rng, len(self.pictures), 1 << self.sps.lsb_bits
        kind, poc = rng.choice((IDR_W_RADL, IDR_N_LP, CRA) if number == 0 else (IDR_N_LP, CRA, CRA, BLA_N_LP)), 0
        ended = number > 0 and rng.random() < 0.3
        self.waiting = []
        if kind == CRA and number and not ended:
            gap = rng.randint(0, 2)
            poc = self.base + 1 + gap
            kinds = rng.choice(((RASL_N, RASL_R), (RADL_N, RADL_R)))
            self.leading = [(rng.choice(kinds), self.base + 1 + i) for i in range(gap)]
            rng.shuffle(self.leading)
        elif kind in (CRA, BLA_N_LP):  # FFmpeg takes a count that occurred before for the same picture
            above = max((one.poc for one in self.pictures), default=0) + 1
            if above < largest:
                poc = rng.randrange(above, largest)
            else:
                kind = IDR_N_LP
        self.features.add({CRA: "CRA", BLA_N_LP: "BLA"}.get(kind, "IDR"))
        picture = Picture(number, kind, poc, I, ended=ended)
        if self.leading:  # the leading pictures' references; none is this picture's own
            picture.short = [(one, 0) for one, long in self.held.items() if not long]
            picture.long = [(one, 0) for one, long in self.held.items() if long]
            if any(one // largest > poc // largest for one, _ in picture.long):
                picture.short, picture.long, self.held, self.leading = [], [], {}, []
        else:
            self.held = {}
        self.base = self.anchor = self.irap = poc
        self._append(picture, True)

    def _leading_picture(self) -> None:
        kind, poc = self.leading.pop()
        picture = Picture(len(self.pictures), kind, poc, self.rng.choice((B, B, P)))
        self.features.add("RASL" if kind in (RASL_N, RASL_R) else "RADL")
        before = {one.poc for one in self.pictures if one.kind not in (RADL_N, RADL_R) and one.poc != self.irap}
        _draw_references(picture, self.sps, self.held, self.rng, self.features)
        if kind in (RADL_N, RADL_R):  # may refer to nothing that comes before the IRAP picture
            picture.short = [(one, used * (one not in before)) for one, used in picture.short]
            picture.long = [(one, used * (one not in before)) for one, used in picture.long]
        self._append(picture, kind in (RASL_R, RADL_R))
        if not self.leading:
            self.held = {self.irap: self.held[self.irap]} if self.irap in self.held else {}

    def _trailing_picture(self) -> None:
        rng = self.rng
        if not self.waiting:
            group = rng.choice((1, 1, 3, 4))
            self.waiting = [self.base + 1 + i for i in range(group)]
            rng.shuffle(self.waiting)
        poc = self.waiting.pop()
        if poc < self.base:
            self.features.add("reordered")
        self.base = max(self.base, poc)
        kinds = (B, B, P, I) if rng.random() < 0.9 else (I,)
        picture = Picture(len(self.pictures), TRAIL_R, poc, rng.choice(kinds))
        _draw_references(picture, self.sps, self.held, rng, self.features)
        far = abs(poc - self.anchor) + 5 > 1 << (self.sps.lsb_bits - 1)  # the next one must reach the anchor
        disposable = rng.random() < 0.25 and not far
        if disposable:
            picture.kind = TRAIL_N
            picture.temporal_id = rng.randrange(self.sps.sub_layers)
            self.features.add("disposable")
        else:
            self.anchor = poc
        self._append(picture, not disposable)

    def _append(self, picture: Picture, reference: bool) -> None:
        if not any(used for _, used in picture.short + picture.long):
            picture.slice_type = I
        if reference:
            self.held[picture.poc] = False
        self.pictures.append(picture)


def _draw_references(picture: Picture, sps: Sps, held: dict[int, bool], rng: random.Random, features: set[str]) -> None:
    """Which of the held pictures stay, as what; changes `held`."""
    largest = 1 << sps.lsb_bits
    for poc in sorted(held):
        if (rng.random() < 0.15 or len(held) > 4) and len(held) > 1:
            del held[poc]
            continue
        turns = sps.long_term and rng.random() < 0.25 and sum(held.values()) < 3
        # without delta_poc_msb_cycle_lt, which cannot be negative, the lsb alone must name the picture
        if turns and (poc < picture.poc or all((poc - other) % largest for other in held if other != poc)):
            held[poc] = True
    lsbs = [poc % largest for poc in held]
    for poc in sorted(held, reverse=True):
        used = int(rng.random() < 0.8)
        if held[poc]:
            if poc // largest > picture.poc // largest and lsbs.count(poc % largest) > 1:
                del held[poc]
                continue
            picture.long.append((poc, used))
            features.add("long-term")
        else:
            picture.short.append((poc, used))


def ordered(short: list[tuple[int, int]], poc: int) -> list[tuple[int, int]]:
    """(delta, used): S0 from near to far, then S1."""
    deltas = [(one - poc, used) for one, used in short]
    return sorted((d for d in deltas if d[0] < 0), reverse=True) + sorted(d for d in deltas if d[0] > 0)


def candidates(picture: Picture) -> tuple[list[int], list[int], list[int]]:
    """PocStCurrBefore, PocStCurrAfter, PocLtCurr."""
    deltas = ordered(picture.short, picture.poc)
    before = [picture.poc + delta for delta, used in deltas if used and delta < 0]
    after = [picture.poc + delta for delta, used in deltas if used and delta > 0]
    return before, after, [poc for poc, used in picture.long if used]
