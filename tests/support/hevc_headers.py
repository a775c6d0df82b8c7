"""HEVC parameter sets and what a slice header holds, as plain data; the bits of parameter sets (7.3.1, 7.3.2)."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.support.bits import Bits, unit
from tests.support.hevc_pixels import Coded
from tests.support.hevc_syntax import I, P, Written

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


def nal_unit(kind: int, rbsp: bytes, temporal_id: int = 0) -> bytes:
    """With the header of 7.3.1.2."""
    return unit(bytes([kind << 1, temporal_id + 1]), rbsp)


def write_vps(sps: Sps, rng: random.Random) -> bytes:
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
    return nal_unit(VPS, bits.rbsp())


def write_short_term(bits: Bits, sets: list, index: int, wanted: list[tuple[int, int]], rng: random.Random) -> None:
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


def write_sps(sps: Sps, rng: random.Random) -> bytes:
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
        write_short_term(bits, sps.rps[:index] + [None], index, wanted, rng)
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
    return nal_unit(SPS, bits.rbsp())


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


def write_pps(pps: Pps, sps: Sps, rng: random.Random) -> bytes:
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
    return nal_unit(PPS, bits.rbsp())


def init_type(header: Header) -> int:
    """(9-7)."""
    if header.slice_type == I:
        return 0
    return (2 if header.cabac_init else 1) if header.slice_type == P else (1 if header.cabac_init else 2)


def explicit_weights(table: dict, one: int, ref_idx: int, depth: int) -> list[tuple[int, int, int]]:
    """Log2 denominator, weight and offset of the three planes (7.4.7.3)."""
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
