"""Random HEVC streams that no encoder at hand makes, and the record of what is in them.

`write(seed)`: parameter sets, reference picture sets, slice segments, tiles, WPP and headers here; the slice data are
hevc_syntax's. Every stream is legal apart from limits of profiles and levels. In `plain` streams each CTU is a slice
with one vector predictor, zero, so that vectors are the written differences: inter prediction is then testable without
anybody's derivation of motion.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from tests.support.hevc_cabac import Bits, encode, escaped, initial_contexts, unit
from tests.support.hevc_pixels import PART_FIELDS, Coded, decoding_order, default_scaling_list, scaling_factors
from tests.support.hevc_syntax import INTRA, B, Chances, I, P, Slices, Written

# nal_unit_type
TRAIL_N, TRAIL_R, RADL_N, RADL_R, RASL_N, RASL_R = 0, 1, 6, 7, 8, 9
BLA_N_LP, IDR_W_RADL, IDR_N_LP, CRA, VPS, SPS, PPS, EOS = 18, 19, 20, 21, 32, 33, 34, 36


@dataclass
class Sps:
    width: int = 64
    height: int = 64
    monochrome: bool = False
    bit_depth: int = 8
    lsb_bits: int = 8
    min_cb: int = 3
    ctb: int = 4
    min_tb: int = 2
    max_tb: int = 4
    depth_inter: int = 2
    depth_intra: int = 2
    scaling: str = ""  # "", "default", "sps", "pps", "both"
    amp: bool = True
    sao: bool = False
    pcm: bool = False
    pcm_depth_luma: int = 8
    pcm_depth_chroma: int = 8
    pcm_min: int = 3
    pcm_max: int = 3
    long_term: bool = False
    long_term_lsbs: list[tuple[int, int]] = field(default_factory=list)  # lt_ref_pic_poc_lsb_sps, used flag
    temporal_mvp: bool = True
    strong_intra: bool = False
    sub_layers: int = 1
    rps: list[list[tuple[int, int]]] = field(default_factory=list)  # (delta POC, used), in coded order
    lists: list | None = None
    vui: bool = False


@dataclass
class Pps:
    dependent_slices: bool = False
    output_flag_present: bool = False
    extra_bits: int = 0
    sign_data_hiding: bool = False
    cabac_init_present: bool = False
    num_ref_idx: tuple[int, int] = (1, 1)
    init_qp: int = 26
    constrained_intra: bool = False
    transform_skip: bool = False
    cu_qp_delta_enabled: bool = False
    diff_cu_qp_delta_depth: int = 0
    chroma_offsets: tuple[int, int] = (0, 0)
    slice_chroma_offsets: bool = False
    weighted_pred: bool = False
    weighted_bipred: bool = False
    transquant_bypass: bool = False
    tiles: bool = False
    uniform: bool = False
    column_bounds: list[int] = field(default_factory=list)
    row_bounds: list[int] = field(default_factory=list)
    wpp: bool = False
    loop_across_slices: bool = False
    deblocking_control: bool = False
    deblocking_override: bool = False
    deblocking_disabled: bool = False
    lists_modification: bool = False
    merge_level: int = 2
    header_extension: bool = False
    lists: list | None = None


@dataclass
class Header:
    """One slice; dependent segments share it."""

    slice_type: int
    slice_qp: int
    address: int
    num_ref_idx: tuple[int, int] = (0, 0)
    max_num_merge_cand: int = 5
    sao_luma: bool = False
    sao_chroma: bool = False
    mvd_l1_zero: bool = False
    cabac_init: bool = False
    chroma_offsets: tuple[int, int] = (0, 0)
    temporal_mvp: bool = False
    collocated: tuple[bool, int] = (True, 0)  # collocated_from_l0_flag, collocated_ref_idx
    entries: tuple = (None, None)  # list_entry_lX
    weights: dict | None = None
    lists: tuple = ((), ())  # POC of each entry


@dataclass
class Picture:
    """A planned picture, later with its record."""

    number: int
    kind: int  # nal_unit_type
    poc: int
    slice_type: int
    short: list[tuple[int, int]] = field(default_factory=list)  # (POC, used by this picture)
    long: list[tuple[int, int]] = field(default_factory=list)
    temporal_id: int = 0
    ended: bool = False  # behind an end of sequence NAL unit
    output: bool = True
    packet: bytes = b""
    headers: list[Header] = field(default_factory=list)
    segments: list[tuple] = field(default_factory=list)  # address, dependent, entry points (bytes)
    coded: Coded | None = None
    written: Written | None = None


@dataclass
class Stream:
    seed: int
    sps: Sps
    pps: Pps
    pictures: list[Picture]
    features: set[str]


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


def _resolved(lists: list) -> tuple[list, list]:
    """Values and DC of every list: 7.3.4 and 7.4.5; as `scaling_factors` takes them."""
    values, dc = [], []
    for size, row in enumerate(lists):
        values.append([None] * 6)
        dc.append([16] * 6)
        step = 3 if size == 3 else 1
        for i, one in enumerate(row):
            matrix = i * step
            if one[0] == "default":
                values[size][matrix], dc[size][matrix] = default_scaling_list(size, matrix), 16
            elif one[0] == "copy":
                reference = matrix - one[1] * step
                values[size][matrix], dc[size][matrix] = values[size][reference], dc[size][reference]
            else:
                values[size][matrix], dc[size][matrix] = one[1], one[2]
    return values, dc


def _write_scaling_lists(bits: Bits, lists: list) -> None:
    for size, row in enumerate(lists):
        for one in row:
            bits.flag(one[0] == "coded")
            if one[0] == "default":
                bits.ue(0)
            elif one[0] == "copy":
                bits.ue(one[1])
            else:
                last = 8
                if size > 1:
                    bits.se(one[2] - 8)
                    last = one[2]
                for value in one[1]:
                    delta = value - last
                    bits.se(delta - 256 if delta > 127 else delta + 256 if delta < -128 else delta)
                    last = value


def _profile_tier_level(bits: Bits, sps: Sps, rng: random.Random) -> None:
    profile = 1 if sps.bit_depth == 8 else 2
    bits.u(8, profile)
    bits.u(32, 3 << 29 if profile == 1 else 1 << 29)
    bits.u(4, 0b1001)
    bits.u(32, 0)
    bits.u(12, 0)
    bits.u(8, 186)
    flags = [(rng.getrandbits(1), rng.getrandbits(1)) for _ in range(sps.sub_layers - 1)]
    for profile_present, level_present in flags:
        bits.flag(profile_present)
        bits.flag(level_present)
    if sps.sub_layers > 1:
        bits.u(2 * (9 - sps.sub_layers), 0)
    for profile_present, level_present in flags:
        if profile_present:
            bits.u(8, profile)
            bits.u(32, 3 << 29)
            bits.u(32, 0b1001 << 28)
            bits.u(16, 0)
        if level_present:
            bits.u(8, 150)


def _ordering(bits: Bits, sps: Sps, rng: random.Random) -> None:
    every = rng.getrandbits(1)
    bits.flag(every)
    for _ in range(sps.sub_layers if every else 1):
        bits.ue(6)
        bits.ue(5)
        bits.ue(0)


def _vps(sps: Sps, rng: random.Random) -> bytes:
    bits = Bits()
    bits.u(4, 0)
    bits.u(2, 3)
    bits.u(6, 0)
    bits.u(3, sps.sub_layers - 1)
    bits.flag(sps.sub_layers == 1)
    bits.u(16, 0xFFFF)
    _profile_tier_level(bits, sps, rng)
    _ordering(bits, sps, rng)
    bits.u(6, 0)
    bits.ue(0)
    bits.flag(0)
    bits.flag(0)
    return unit(VPS, bits.rbsp())


def _short_term(bits: Bits, sets: list, index: int, wanted: list[tuple[int, int]], rng: random.Random) -> None:
    """7.3.7; `wanted`: (delta POC, used) of S0, then S1, each from near to far. index == len(sets): slice header."""
    choices = []
    in_header = index == len(sets)
    for reference in range(index) if in_header else ([index - 1] if index else []):
        deltas = [delta for delta, _ in sets[reference]] + [0]
        for shift in {a - b for a, _ in wanted for b in deltas} | {-1, 1}:
            reached = [delta + shift for delta in deltas]
            if shift and {a for a, _ in wanted} <= set(reached):
                choices.append((reference, shift, reached))
    predict = bool(choices) and rng.random() < 0.6
    if index:
        bits.flag(predict)
    if not predict:
        negative, positive = [w for w in wanted if w[0] < 0], [w for w in wanted if w[0] > 0]
        bits.ue(len(negative))
        bits.ue(len(positive))
        for group, sign in ((negative, -1), (positive, 1)):
            last = 0
            for delta, used in group:
                bits.ue((delta - last) * sign - 1)
                bits.flag(used)
                last = delta
        return
    reference, shift, reached = rng.choice(choices)
    if in_header:
        bits.ue(index - reference - 1)
    bits.flag(shift < 0)
    bits.ue(abs(shift) - 1)
    known = dict(wanted)
    for delta in reached:
        bits.flag(known.get(delta, 0))
        if not known.get(delta, 0):
            bits.flag(delta in known)


def _write_sps(sps: Sps, rng: random.Random) -> bytes:
    bits = Bits()
    bits.u(4, 0)
    bits.u(3, sps.sub_layers - 1)
    bits.flag(sps.sub_layers == 1)
    _profile_tier_level(bits, sps, rng)
    bits.ue(0)
    bits.ue(0 if sps.monochrome else 1)
    bits.ue(sps.width)
    bits.ue(sps.height)
    bits.flag(0)  # no conformance window: FFmpeg then shows what is coded
    bits.ue(sps.bit_depth - 8)
    bits.ue(sps.bit_depth - 8)
    bits.ue(sps.lsb_bits - 4)
    _ordering(bits, sps, rng)
    bits.ue(sps.min_cb - 3)
    bits.ue(sps.ctb - sps.min_cb)
    bits.ue(sps.min_tb - 2)
    bits.ue(sps.max_tb - sps.min_tb)
    bits.ue(sps.depth_inter)
    bits.ue(sps.depth_intra)
    bits.flag(sps.scaling)
    if sps.scaling:
        bits.flag(sps.scaling in ("sps", "both"))
        if sps.scaling in ("sps", "both"):
            _write_scaling_lists(bits, sps.lists)
    bits.flag(sps.amp)
    bits.flag(sps.sao)
    bits.flag(sps.pcm)
    if sps.pcm:
        bits.u(4, sps.pcm_depth_luma - 1)
        bits.u(4, sps.pcm_depth_chroma - 1)
        bits.ue(sps.pcm_min - 3)
        bits.ue(sps.pcm_max - sps.pcm_min)
        bits.flag(rng.getrandbits(1))
    bits.ue(len(sps.rps))
    for index, wanted in enumerate(sps.rps):
        _short_term(bits, sps.rps[:index] + [None], index, wanted, rng)
    bits.flag(sps.long_term)
    if sps.long_term:
        bits.ue(len(sps.long_term_lsbs))
        for lsb, used in sps.long_term_lsbs:
            bits.u(sps.lsb_bits, lsb)
            bits.flag(used)
    bits.flag(sps.temporal_mvp)
    bits.flag(sps.strong_intra)
    bits.flag(sps.vui)
    if sps.vui:
        _write_vui(bits, sps, rng)
    bits.flag(0)
    return unit(SPS, bits.rbsp())


def _write_vui(bits: Bits, sps: Sps, rng: random.Random) -> None:
    """Annex E, with what lies on the way to the last flag."""
    bits.flag(1)  # aspect_ratio_info_present_flag
    bits.u(8, 255)
    bits.u(16, 3)
    bits.u(16, 2)
    bits.flag(0)
    bits.flag(1)  # video_signal_type_present_flag
    bits.u(3, 5)
    bits.flag(0)
    bits.flag(1)
    bits.u(24, 0x010101)
    bits.flag(1)  # chroma_loc_info_present_flag
    bits.ue(1)
    bits.ue(1)
    bits.u(4, 0)  # neutral_chroma, field_seq, frame_field_info_present, default_display_window
    bits.flag(1)  # vui_timing_info_present_flag
    bits.u(32, 1001)
    bits.u(32, 30000)
    bits.flag(1)
    bits.ue(0)
    hrd = rng.getrandbits(1)
    bits.flag(hrd)
    if hrd:
        bits.flag(1)  # nal_hrd_parameters_present_flag
        bits.flag(0)
        sub_pictures = rng.getrandbits(1)
        bits.flag(sub_pictures)
        if sub_pictures:
            bits.u(8, 3)
            bits.u(5, 4)
            bits.flag(1)
            bits.u(5, 6)
        bits.u(8, 0x22)  # bit_rate_scale, cpb_size_scale
        if sub_pictures:
            bits.u(4, 1)
        for _ in range(3):
            bits.u(5, 20)
        for _ in range(sps.sub_layers):
            bits.flag(0)  # fixed_pic_rate_general_flag
            within = rng.getrandbits(1)
            bits.flag(within)
            low_delay = False
            if within:
                bits.ue(2)
            else:
                low_delay = rng.getrandbits(1)
                bits.flag(low_delay)
            cpbs = 1
            if not low_delay:
                cpbs = 2
                bits.ue(1)
            for _ in range(cpbs):
                bits.ue(700)
                bits.ue(900)
                if sub_pictures:
                    bits.ue(300)
                    bits.ue(200)
                bits.flag(0)
    bits.flag(1)  # bitstream_restriction_flag
    bits.u(3, 2)
    for value in (0, 2, 1, 15, 15):
        bits.ue(value)


def _write_pps(pps: Pps, sps: Sps, rng: random.Random) -> bytes:
    bits = Bits()
    bits.ue(0)
    bits.ue(0)
    bits.flag(pps.dependent_slices)
    bits.flag(pps.output_flag_present)
    bits.u(3, pps.extra_bits)
    bits.flag(pps.sign_data_hiding)
    bits.flag(pps.cabac_init_present)
    bits.ue(pps.num_ref_idx[0] - 1)
    bits.ue(pps.num_ref_idx[1] - 1)
    bits.se(pps.init_qp - 26)
    bits.flag(pps.constrained_intra)
    bits.flag(pps.transform_skip)
    bits.flag(pps.cu_qp_delta_enabled)
    if pps.cu_qp_delta_enabled:
        bits.ue(pps.diff_cu_qp_delta_depth)
    bits.se(pps.chroma_offsets[0])
    bits.se(pps.chroma_offsets[1])
    bits.flag(pps.slice_chroma_offsets)
    bits.flag(pps.weighted_pred)
    bits.flag(pps.weighted_bipred)
    bits.flag(pps.transquant_bypass)
    bits.flag(pps.tiles)
    bits.flag(pps.wpp)
    if pps.tiles:
        bits.ue(len(pps.column_bounds) - 2)
        bits.ue(len(pps.row_bounds) - 2)
        bits.flag(pps.uniform)
        if not pps.uniform:
            for bounds in (pps.column_bounds, pps.row_bounds):
                for i in range(len(bounds) - 2):
                    bits.ue(bounds[i + 1] - bounds[i] - 1)
        bits.flag(rng.getrandbits(1))
    bits.flag(pps.loop_across_slices)
    bits.flag(pps.deblocking_control)
    if pps.deblocking_control:
        bits.flag(pps.deblocking_override)
        bits.flag(pps.deblocking_disabled)
        if not pps.deblocking_disabled:
            bits.se(rng.randint(-6, 6))
            bits.se(rng.randint(-6, 6))
    bits.flag(sps.scaling in ("pps", "both"))
    if sps.scaling in ("pps", "both"):
        _write_scaling_lists(bits, pps.lists)
    bits.flag(pps.lists_modification)
    bits.ue(pps.merge_level - 2)
    bits.flag(pps.header_extension)
    bits.flag(0)
    return unit(PPS, bits.rbsp())


def _draw_sps(rng: random.Random) -> Sps:
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


def _draw_pps(sps: Sps, rng: random.Random) -> Pps:
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


def _draw_chances(rng: random.Random) -> Chances:
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
class _Plan:
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


def _ordered(short: list[tuple[int, int]], poc: int) -> list[tuple[int, int]]:
    """(delta, used): S0 from near to far, then S1."""
    deltas = [(one - poc, used) for one, used in short]
    return sorted((d for d in deltas if d[0] < 0), reverse=True) + sorted(d for d in deltas if d[0] > 0)


def _candidates(picture: Picture) -> tuple[list[int], list[int], list[int]]:
    """PocStCurrBefore, PocStCurrAfter, PocLtCurr."""
    ordered = _ordered(picture.short, picture.poc)
    before = [picture.poc + delta for delta, used in ordered if used and delta < 0]
    after = [picture.poc + delta for delta, used in ordered if used and delta > 0]
    return before, after, [poc for poc, used in picture.long if used]


class _PictureWriter:
    """Writes one planned picture: slices, segments, substreams."""

    def __init__(self, stream: Stream, picture: Picture, chances: Chances, rng: random.Random, plain: bool) -> None:
        self.sps, self.pps, self.picture, self.rng, self.plain = stream.sps, stream.pps, picture, rng, plain
        self.features = stream.features
        self.columns = -(-self.sps.width >> self.sps.ctb)
        self.rows = -(-self.sps.height >> self.sps.ctb)
        bounds = [(x, y) for y in range(len(self.pps.row_bounds) - 1) for x in range(len(self.pps.column_bounds) - 1)]
        self.order, self.tile = [], {}
        for number, (tx, ty) in enumerate(bounds):
            for y in range(self.pps.row_bounds[ty], self.pps.row_bounds[ty + 1]):
                for x in range(self.pps.column_bounds[tx], self.pps.column_bounds[tx + 1]):
                    self.tile[y * self.columns + x] = number
                    self.order.append(y * self.columns + x)
        self.slices = Slices(self.sps, self.pps, chances, rng)
        self.temporal_mvp = self.sps.temporal_mvp and picture.kind not in (IDR_W_RADL, IDR_N_LP) and rng.random() < 0.8
        if plain:
            self.temporal_mvp = False
        self.before, self.after, self.longs = _candidates(picture)
        self.total = len(self.before) + len(self.after) + len(self.longs)
        self.shared = self._lists() if picture.slice_type != I else None

    def _lists(self) -> dict:
        """Reference lists of the picture's slices; all alike, so that all can name one co-located picture."""
        rng, pps = self.rng, self.pps
        counts = (rng.randint(1, 5), rng.randint(1, 5)) if rng.random() < 0.5 else pps.num_ref_idx
        entries, lists = [None, None], []
        for one, first in enumerate((self.before + self.after + self.longs, self.after + self.before + self.longs)):
            count = max(counts[one], self.total)
            full = (first * count)[:count]
            if pps.lists_modification and self.total > 1 and rng.random() < 0.6:
                entries[one] = [rng.randrange(self.total) for _ in range(counts[one])]
                lists.append([full[entry] for entry in entries[one]])
            else:
                lists.append(full[: counts[one]])
        return {"num_ref_idx": counts, "entries": tuple(entries), "lists": tuple(lists)}

    def _header(self, address: int) -> Header:
        rng, sps, pps = self.rng, self.sps, self.pps
        kind = self.picture.slice_type
        if kind == B and rng.random() < 0.2:
            kind = P
        if kind != I and rng.random() < 0.1:
            kind = I
        low = -6 * (sps.bit_depth - 8)
        header = Header(kind, min(max(pps.init_qp + rng.randint(-10, 10), low), 51), address)
        if sps.sao:
            header.sao_luma = rng.random() < 0.6
            header.sao_chroma = not sps.monochrome and rng.random() < 0.6
        if pps.slice_chroma_offsets:
            header.chroma_offsets = tuple(
                min(max(rng.randint(-12, 12), -12 - offset), 12 - offset) for offset in pps.chroma_offsets
            )
        if kind == I:
            return header
        shared = self.shared
        header.num_ref_idx, header.entries, header.lists = shared["num_ref_idx"], shared["entries"], shared["lists"]
        if kind == P:
            header.num_ref_idx = (header.num_ref_idx[0], 0)
        header.max_num_merge_cand = rng.randint(1, 5)
        header.cabac_init = pps.cabac_init_present and rng.random() < 0.5
        header.mvd_l1_zero = kind == B and rng.random() < 0.3
        header.temporal_mvp = self.temporal_mvp
        if self.temporal_mvp:
            shared.setdefault("collocated", rng.choice(header.lists[0]))
            from_l0 = kind == P or shared["collocated"] not in header.lists[1] or rng.random() < 0.5
            places = [i for i, poc in enumerate(header.lists[not from_l0]) if poc == shared["collocated"]]
            header.collocated = (from_l0, rng.choice(places))
        if pps.weighted_pred if kind == P else pps.weighted_bipred:
            header.weights = self._weights(header)
            self.features.add("weighted")
        return header

    def _weights(self, header: Header) -> dict:
        rng = self.rng
        table = {"luma_denom": rng.randint(0, 7), "chroma_denom": rng.randint(0, 7), "lists": []}
        for one in range(2 if header.slice_type == B else 1):
            rows = []
            for _ in range(header.num_ref_idx[one]):
                luma = (rng.randint(-30, 30), rng.randint(-128, 127)) if rng.random() < 0.5 else None
                chroma = None
                if not self.sps.monochrome and rng.random() < 0.5:
                    chroma = [(rng.randint(-30, 30), rng.randint(-512, 511)) for _ in range(2)]
                rows.append((luma, chroma))
            table["lists"].append(rows)
        return table

    def _segment_ends(self) -> list[tuple[int, bool]]:
        """For each position in tile scan: None, or whether a dependent (True) or a new slice (False) starts there."""
        rng, count = self.rng, len(self.order)
        starts = {0: False}
        if self.plain:
            return {i: False for i in range(count)}
        rate = rng.choice((0.0, 0.03, 0.15, 0.5))
        whole_tiles = rng.random() < 0.5  # slices of whole tiles, or tiles of whole slices
        slice_in_row = False  # WPP: a slice that began in mid-row must end in it
        segment_in_row = False
        for i in range(1, count):
            address = self.order[i]
            new_tile = self.tile[address] != self.tile[self.order[i - 1]]
            if self.pps.tiles:
                if whole_tiles:
                    if new_tile and rng.random() < max(rate, 0.3):
                        starts[i] = self.pps.dependent_slices and rng.random() < 0.5
                elif new_tile or rng.random() < rate:
                    starts[i] = not new_tile and self.pps.dependent_slices and rng.random() < 0.5
                continue
            row_start = self.pps.wpp and address % self.columns == 0
            if row_start and slice_in_row:
                starts[i] = False
            elif row_start and segment_in_row:
                starts[i] = self.pps.dependent_slices and rng.random() < 0.7
            elif rng.random() < rate:
                starts[i] = self.pps.dependent_slices and rng.random() < 0.6
            if i in starts and self.pps.wpp:
                segment_in_row = not row_start
                if not starts[i]:
                    slice_in_row = not row_start
        return starts

    def write(self) -> bytes:
        starts = self._segment_ends()
        region = 0
        out = []
        if self.picture.ended:
            out.append(b"\0\0\0\1" + bytes([EOS << 1, 1]))
        segments = sorted(starts)
        slices, pps, columns, ctb = self.slices, self.pps, self.columns, self.sps.ctb
        wpp_store, segment_store = np.zeros(154, np.int64), np.zeros(154, np.int64)
        header = None
        addresses = []
        for k, first in enumerate(segments):
            end = segments[k + 1] if k + 1 < len(segments) else len(self.order)
            dependent = starts[first]
            if not dependent:
                header = self._header(self.order[first])
                self.picture.headers.append(header)
                addresses.append(self.order[first])
                slices.begin_slice(header)
                region += 1
            else:
                self.features.add("dependent segment")
            substreams, contexts = [], None
            for i in range(first, end):
                address = self.order[i]
                x, y = address % columns, address // columns
                new_tile = i == 0 or self.tile[address] != self.tile[self.order[i - 1]]
                row_start = pps.wpp and x == 0
                slices.begin_ctu(x << ctb, y << ctb, region * 1000 + self.tile[address])
                if new_tile or row_start or i == first:
                    if i > first:
                        slices.end_of_substream()
                        substreams.append(encode(slices.symbols, contexts, wpp_store))
                    slices.symbols.clear()
                    if new_tile or row_start:
                        slices.last_qp = header.slice_qp
                    contexts = initial_contexts(_init_type(header), header.slice_qp)
                    if not new_tile:
                        if row_start:
                            if slices.available(x << ctb, y << ctb, (x + 1) << ctb, (y - 1) << ctb):
                                contexts = wpp_store.copy()
                        elif dependent:
                            contexts = segment_store.copy()
                slices.coding_tree_unit(x << ctb, y << ctb)
                if pps.wpp and x == 1:
                    slices.store_contexts()
                slices.end_of_slice_segment_flag(i + 1 == end)
            substreams.append(encode(slices.symbols, contexts, wpp_store))
            segment_store[:] = contexts
            slices.symbols.clear()
            out.append(self._segment(header, first, dependent, substreams))
        self.picture.written = slices.written
        self.picture.coded = self._coded(addresses)
        return b"".join(out)

    def _segment(self, header: Header, first: int, dependent: bool, substreams: list[bytes]) -> bytes:
        rng, pps, picture = self.rng, self.pps, self.picture
        bits = Bits()
        bits.flag(first == 0)
        if 16 <= picture.kind <= 23:
            bits.flag(0)
        bits.ue(0)
        if first:
            if pps.dependent_slices:
                bits.flag(dependent)
            bits.u((len(self.order) - 1).bit_length(), self.order[first])
        if not dependent:
            self._independent(bits, header)
        sizes = [len(escaped(one)) for one in substreams]  # no emulation crosses: each ends in a byte with a one
        if pps.tiles or pps.wpp:
            bits.ue(len(sizes) - 1)
            if len(sizes) > 1:
                length = max(max(size - 1 for size in sizes[:-1]).bit_length(), 1) + rng.choice((0, 0, 5))
                bits.ue(length - 1)
                for size in sizes[:-1]:
                    bits.u(length, size - 1)
                self.features.add("entry points")
        if pps.header_extension:
            extension = [rng.getrandbits(8) for _ in range(rng.randint(0, 3))]
            bits.ue(len(extension))
            for byte in extension:
                bits.u(8, byte)
        picture.segments.append((self.order[first], dependent, sizes))
        data = unit(picture.kind, bits.rbsp() + b"".join(substreams), picture.temporal_id)
        return data + (b"\0\0\3\0\0\3" if rng.random() < 0.03 else b"")  # cabac_zero_words

    def _independent(self, bits: Bits, header: Header) -> None:
        rng, sps, pps, picture = self.rng, self.sps, self.pps, self.picture
        bits.u(pps.extra_bits, rng.getrandbits(pps.extra_bits) if pps.extra_bits else 0)
        bits.ue(header.slice_type)
        if pps.output_flag_present:
            bits.flag(picture.output)
        if picture.kind not in (IDR_W_RADL, IDR_N_LP):
            self._reference_sets(bits, header)
        if sps.sao:
            bits.flag(header.sao_luma)
            if not sps.monochrome:
                bits.flag(header.sao_chroma)
        if header.slice_type != I:
            counts = header.num_ref_idx
            lists = 2 if header.slice_type == B else 1
            override = any(counts[one] != pps.num_ref_idx[one] for one in range(lists)) or rng.random() < 0.2
            bits.flag(override)
            if override:
                for one in range(lists):
                    bits.ue(counts[one] - 1)
            if pps.lists_modification and self.total > 1:
                for one in range(lists):
                    bits.flag(header.entries[one])
                    for entry in header.entries[one] or ():
                        bits.u((self.total - 1).bit_length(), entry)
            if header.slice_type == B:
                bits.flag(header.mvd_l1_zero)
            if pps.cabac_init_present:
                bits.flag(header.cabac_init)
            if header.temporal_mvp:
                if header.slice_type == B:
                    bits.flag(header.collocated[0])
                if counts[not header.collocated[0]] > 1:
                    bits.ue(header.collocated[1])
            if header.weights:
                self._pred_weight_table(bits, header)
            bits.ue(5 - header.max_num_merge_cand)
        bits.se(header.slice_qp - pps.init_qp)
        if pps.slice_chroma_offsets:
            bits.se(header.chroma_offsets[0])
            bits.se(header.chroma_offsets[1])
        disabled = pps.deblocking_disabled and pps.deblocking_control
        if pps.deblocking_override:
            override = rng.getrandbits(1)
            bits.flag(override)
            if override:
                disabled = rng.getrandbits(1)
                bits.flag(disabled)
                if not disabled:
                    bits.se(rng.randint(-6, 6))
                    bits.se(rng.randint(-6, 6))
        if pps.loop_across_slices and (header.sao_luma or header.sao_chroma or not disabled):
            bits.flag(rng.getrandbits(1))

    def _reference_sets(self, bits: Bits, header: Header) -> None:
        rng, sps, picture = self.rng, self.sps, self.picture
        largest = 1 << sps.lsb_bits
        bits.u(sps.lsb_bits, picture.poc % largest)
        wanted = _ordered(picture.short, picture.poc)
        in_sps = wanted in sps.rps and rng.random() < 0.8
        bits.flag(in_sps)
        if in_sps:
            bits.u((len(sps.rps) - 1).bit_length(), sps.rps.index(wanted))
        else:
            _short_term(bits, sps.rps, len(sps.rps), wanted, rng)
        if sps.long_term:
            known = sps.long_term_lsbs
            from_sps = [one for one in picture.long if (one[0] % largest, one[1]) in known]
            explicit = [one for one in picture.long if one not in from_sps]
            assert from_sps + explicit == picture.long or {*from_sps, *explicit} == {*picture.long}
            if known:
                bits.ue(len(from_sps))
            bits.ue(len(explicit))
            for group in (from_sps, explicit):
                last = 0
                for poc, used in group:
                    if group is from_sps:
                        if len(known) > 1:
                            bits.u((len(known) - 1).bit_length(), known.index((poc % largest, used)))
                    else:
                        bits.u(sps.lsb_bits, poc % largest)
                        bits.flag(used)
                    cycle = picture.poc // largest - poc // largest
                    present = cycle >= last
                    bits.flag(present)
                    if present:
                        bits.ue(cycle - last)
                        last = cycle
        if sps.temporal_mvp:
            bits.flag(self.temporal_mvp)

    def _pred_weight_table(self, bits: Bits, header: Header) -> None:
        table = header.weights
        bits.ue(table["luma_denom"])
        if not self.sps.monochrome:
            bits.se(table["chroma_denom"] - table["luma_denom"])
        for rows in table["lists"]:
            for luma, _ in rows:
                bits.flag(luma is not None)
            if not self.sps.monochrome:
                for _, chroma in rows:
                    bits.flag(chroma is not None)
            for luma, chroma in rows:
                if luma:
                    bits.se(luma[0])
                    bits.se(luma[1])
                for weight, delta in chroma or ():
                    bits.se(weight)
                    bits.se(delta)

    def _coded(self, addresses: list[int]) -> Coded:
        sps, pps, written = self.sps, self.pps, self.slices.written
        address, region = decoding_order(sps.width, sps.height, sps.ctb, pps.column_bounds, pps.row_bounds, addresses)
        coded = Coded(
            sps.width,
            sps.height,
            sps.ctb,
            (sps.bit_depth, sps.bit_depth),
            sps.monochrome,
            sps.strong_intra,
            pps.constrained_intra,
            address,
            region,
            self.slices.mode == INTRA,
            np.array(written.blocks, np.int32).reshape(-1, 10),
            np.array(written.levels, np.int32).reshape(-1, 3),
        )
        if sps.scaling:
            lists = {"default": None, "sps": sps.lists, "pps": pps.lists, "both": pps.lists}[sps.scaling]
            coded.scaling = scaling_factors(*(_resolved(lists) if lists else (None, None)))
        if self.plain and self.picture.slice_type != I:
            self._plain_parts(coded, address, region)
        return coded

    def _plain_parts(self, coded: Coded, address: np.ndarray, region: np.ndarray) -> None:
        """Vectors equal the written differences; `references` are filled with order counts, by list entry."""
        by_slice = {header.address: header for header in self.picture.headers}
        pocs = sorted({poc for header in self.picture.headers for one in header.lists for poc in one})
        coded.references = pocs  # replaced by planes where they are known
        rows, weights = [], []
        for x, y, w, h, merge, *lists in self.slices.written.parts:
            assert merge < 0
            header = by_slice[(y >> self.sps.ctb) * self.columns + (x >> self.sps.ctb)]
            row = [x, y, w, h]
            for one in range(2):
                ref_idx, mx, my = lists[3 * one : 3 * one + 3]
                if ref_idx < 0:
                    row += [0, 0, -1, -1]
                    continue
                weight = -1
                if header.weights:
                    weight = len(weights)
                    weights.append(_explicit_weights(header.weights, one, ref_idx, self.sps.bit_depth))
                row += [mx, my, pocs.index(header.lists[one][ref_idx]), weight]
            rows.append(row)
        coded.parts = np.array(rows, np.int32).reshape(-1, PART_FIELDS)
        coded.weights = np.array(weights, np.int32).reshape(-1, 3, 3)


def _init_type(header: Header) -> int:
    """(9-7)."""
    if header.slice_type == I:
        return 0
    return (2 if header.cabac_init else 1) if header.slice_type == P else (1 if header.cabac_init else 2)


def _explicit_weights(table: dict, one: int, ref_idx: int, depth: int) -> list[tuple[int, int, int]]:
    """(8-xxx) log2 denominator, weight and offset of the three planes: 7.4.7.3."""
    luma, chroma = table["lists"][one][ref_idx]
    denom = table["luma_denom"]
    result = [(denom, (1 << denom) + (luma[0] if luma else 0), (luma[1] if luma else 0) << (depth - 8))]
    denom = table["chroma_denom"]
    for c in range(2):
        weight, offset = 1 << denom, 0
        if chroma:
            weight += chroma[c][0]
            offset = min(max(128 + chroma[c][1] - ((128 * weight) >> denom), -128), 127)
        result.append((denom, weight, offset << (depth - 8)))
    return result


def write(seed: int, *, pictures: int = 4, plain: bool = False, constrained_intra: bool = False) -> Stream:
    """A stream of `pictures` packets, all from `seed`; parameter sets stand in the first packet."""
    rng = random.Random(seed)
    sps = _draw_sps(rng)
    pps = _draw_pps(sps, rng)
    chances = _draw_chances(rng)
    pps.constrained_intra = constrained_intra
    if plain:
        pps.tiles, pps.wpp, pps.dependent_slices = False, False, False
        sps.min_cb = sps.ctb
        step = 1 << sps.ctb
        sps.width, sps.height = max(sps.width // step, 1) * step, max(sps.height // step, 1) * step
        pps.column_bounds, pps.row_bounds = [0, sps.width // step], [0, sps.height // step]
        pps.diff_cu_qp_delta_depth = 0
        sps.pcm_min = sps.pcm_max = min(sps.ctb, 5)
        chances.skip = chances.merge = 0
        chances.all_2nx2n = True
    features = {name for name in ("amp", "sao", "pcm", "monochrome", "vui") if getattr(sps, name)}
    features |= {name for name in ("tiles", "wpp", "transform_skip", "sign_data_hiding") if getattr(pps, name)}
    features |= {name for name in ("transquant_bypass", "cu_qp_delta_enabled") if getattr(pps, name)}
    features |= {f"scaling {sps.scaling}"} if sps.scaling else set()
    features |= {f"CTB {1 << sps.ctb}", f"{sps.bit_depth} bit"}
    planned = _Plan(sps, rng, features).draw(pictures)
    for picture in planned:
        picture.output = not pps.output_flag_present or rng.random() < 0.8
    sets = []
    for picture in planned:
        wanted = _ordered(picture.short, picture.poc)
        if rng.random() < 0.5 and wanted not in sets:
            sets.append(wanted)
    sps.rps = sets
    if sps.long_term and rng.random() < 0.5:
        largest = 1 << sps.lsb_bits
        sps.long_term_lsbs = sorted({(poc % largest, used) for one in planned for poc, used in one.long})[:32]
    for picture in planned:
        picture.long.sort(key=lambda one: -one[0])  # cycles accumulate: they may not fall
    stream = Stream(seed, sps, pps, planned, features)
    for picture in planned:
        picture.packet = _PictureWriter(stream, picture, chances, rng, plain).write()
    sets_of_parameters = _vps(sps, rng) + _write_sps(sps, rng) + _write_pps(pps, sps, rng)
    planned[0].packet = sets_of_parameters + planned[0].packet
    return stream
