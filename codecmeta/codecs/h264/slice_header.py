"""Clause 7.3.3: slice headers, and which pictures the parser takes on.

A header says everything about a slice that other slices need: what it refers to, how it orders pictures, how the
decoded picture buffer changes after it. The macroblocks behind it are `slice_data.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from codecmeta.codecs.h264.nal import SLICE_IDR, SLICE_NON_IDR, SLICE_PARTITION_A
from codecmeta.codecs.h264.parameter_sets import PPS, SPS, ParameterSets
from codecmeta.codecs.protocol import Refused
from codecmeta.codecs.syntax.bits import BitReader, EndOfData

P, B, I, SP, SI = range(5)  # noqa: E741  slice_type % 5 (Table 7-6)
EXTENDED = 88  # profile_idc of the only profile with data partitioning, SP and SI slices (A.2.3)

HEADER_BYTES = (48, 2000)  # enough for most headers; for all: 2 x 32 weights of 6 Exp-Golomb codes are the longest part


@dataclass(slots=True)
class SliceHeader:
    """slice_header() of 7.3.3, elements named as there; `slice_data_bit` is where slice_data() starts in the RBSP."""

    nal_unit_type: int
    nal_ref_idc: int
    first_mb_in_slice: int
    slice_type: int
    sps: SPS
    pps: PPS
    frame_num: int
    field_pic_flag: bool
    bottom_field_flag: bool
    idr_pic_id: int
    pic_order_cnt_lsb: int
    delta_pic_order_cnt_bottom: int
    delta_pic_order_cnt: tuple[int, int]
    redundant_pic_cnt: int
    direct_spatial_mv_pred_flag: bool
    num_ref_idx_active: tuple[int, int]
    ref_pic_list_modification: tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]
    no_output_of_prior_pics_flag: bool
    long_term_reference_flag: bool
    memory_management_control_operations: tuple[tuple[int, int, int], ...] | None
    cabac_init_idc: int
    slice_qp: int
    slice_data_bit: int

    @property
    def idr(self) -> bool:
        """IdrPicFlag."""
        return self.nal_unit_type == SLICE_IDR

    @property
    def parity(self) -> int | None:
        """0 a top field, 1 a bottom field, None a frame."""
        return int(self.bottom_field_flag) if self.field_pic_flag else None

    def completes(self, first: SliceHeader) -> bool:
        """Whether this field and the one before it, which has a slice with the header `first`, are one frame
        (3.30 complementary field pairs); a reference field with one that is not is none that this parser puts
        together."""
        return (
            self.field_pic_flag
            and first.field_pic_flag
            and self.bottom_field_flag != first.bottom_field_flag
            and self.sps is first.sps
            and self.frame_num == first.frame_num
            and (self.nal_ref_idc == 0) == (first.nal_ref_idc == 0)
            and (first.idr or not self.idr)
        )

    def same_picture(self, other: SliceHeader) -> bool:
        """Whether two slices can belong to one primary coded picture (7.4.1.2.4)."""
        return (
            self.sps is other.sps
            and self.idr == other.idr
            and (self.nal_ref_idc == 0) == (other.nal_ref_idc == 0)
            and (self.frame_num, self.idr_pic_id, self.field_pic_flag, self.bottom_field_flag)
            == (other.frame_num, other.idr_pic_id, other.field_pic_flag, other.bottom_field_flag)
            and (self.pic_order_cnt_lsb, self.delta_pic_order_cnt_bottom, self.delta_pic_order_cnt)
            == (other.pic_order_cnt_lsb, other.delta_pic_order_cnt_bottom, other.delta_pic_order_cnt)
        )


def refusal_of(sps: SPS, pps: PPS | None = None) -> str | None:
    """Why streams with these parameter sets are not parsed; None: they are."""
    if sps.separate_colour_plane_flag:
        return "H.264 4:4:4 with separate colour planes"
    if max(sps.bit_depth_luma, sps.bit_depth_chroma) > 10:
        return f"H.264 with {max(sps.bit_depth_luma, sps.bit_depth_chroma)} bits per sample"
    if sps.mb_adaptive_frame_field_flag:
        if sps.chroma_format_idc == 3:
            return "H.264 4:4:4 chroma in MBAFF frames"
        if sps.qpprime_y_zero_transform_bypass_flag:
            return "H.264 with lossless transform bypass in MBAFF frames"
    if pps is not None and pps.num_slice_groups > 1:
        return "H.264 with slice groups (FMO)"
    return None


def parse_slice_header(unit: bytes, rbsp: bytes, sets: ParameterSets) -> SliceHeader:
    """The header of the slice NAL unit `unit`, whose payload is `rbsp`.

    Raises Refused (unsupported coding tool), KeyError (unknown parameter set), EndOfData (damaged: an element has a
    value that the standard forbids, or a tool of another profile).
    """
    try:
        return _slice_header(unit, BitReader(rbsp, HEADER_BYTES[0]), sets)
    except EndOfData:
        return _slice_header(unit, BitReader(rbsp, HEADER_BYTES[1]), sets)


def _slice_header(unit: bytes, r: BitReader, sets: ParameterSets) -> SliceHeader:
    nal_ref_idc, nal_unit_type = unit[0] >> 5 & 3, unit[0] & 31
    extended = any(sps.profile_idc == EXTENDED for sps in sets.sps.values())
    if nal_unit_type not in (SLICE_NON_IDR, SLICE_IDR):
        if SLICE_PARTITION_A <= nal_unit_type < SLICE_IDR and extended:
            raise Refused("H.264 with data partitioning")
        raise EndOfData(f"NAL unit type {nal_unit_type}")
    idr = nal_unit_type == SLICE_IDR
    first_mb_in_slice, slice_type = r.ue(), r.ue()
    if slice_type > 9:
        raise EndOfData(f"slice_type {slice_type}")
    slice_type %= 5
    if slice_type in (SP, SI) and not extended:
        raise EndOfData("an SP or SI slice outside the Extended profile")
    if slice_type in (SP, SI):
        raise Refused("H.264 with SP or SI slices")
    pps = sets.pps[r.ue()]
    sps = sets.sps[pps.seq_parameter_set_id]
    refusal = refusal_of(sps, pps)
    if refusal:
        raise Refused(refusal)
    frame_num = r.u(sps.log2_max_frame_num)
    field = not sps.frame_mbs_only_flag and r.flag()
    bottom_field = field and r.flag()
    of_two = field or sps.mb_adaptive_frame_field_flag  # the fields of a frame, the macroblocks of a pair
    if first_mb_in_slice >= sps.pic_width_in_mbs * sps.frame_height_in_mbs >> of_two:
        raise EndOfData(f"first_mb_in_slice {first_mb_in_slice} lies outside the picture")
    idr_pic_id = _at_most(65535, r.ue(), "idr_pic_id") if idr else 0
    lsb = bottom = delta0 = delta1 = 0
    if sps.pic_order_cnt_type == 0:
        lsb = r.u(sps.log2_max_pic_order_cnt_lsb)
        if pps.bottom_field_pic_order_in_frame_present_flag and not field:
            bottom = r.se()
    elif sps.pic_order_cnt_type == 1 and not sps.delta_pic_order_always_zero_flag:
        delta0 = r.se()
        if pps.bottom_field_pic_order_in_frame_present_flag and not field:
            delta1 = r.se()
    redundant_pic_cnt = r.ue() if pps.redundant_pic_cnt_present_flag else 0
    spatial = slice_type == B and r.flag()
    active = _num_ref_idx_active(r, slice_type, pps, field)
    modification = _ref_pic_list_modification(r, slice_type)
    if (pps.weighted_pred_flag and slice_type == P) or (pps.weighted_bipred_idc == 1 and slice_type == B):
        _pred_weight_table(r, sps, active)
    no_output = long_term = False
    operations: tuple[tuple[int, int, int], ...] | None = None
    if nal_ref_idc:  # dec_ref_pic_marking()
        if idr:
            no_output, long_term = r.flag(), r.flag()
        elif r.flag():
            operations = _memory_management_control_operations(r)
    cabac_init_idc = r.ue() if pps.entropy_coding_mode_flag and slice_type != I else 0
    slice_qp = pps.pic_init_qp + r.se()
    if cabac_init_idc > 2 or not -6 * (sps.bit_depth_luma - 8) <= slice_qp <= 51:
        raise EndOfData(f"cabac_init_idc {cabac_init_idc}, SliceQPY {slice_qp}")
    if pps.deblocking_filter_control_present_flag and _at_most(2, r.ue(), "disable_deblocking_filter_idc") != 1:
        _at_most(6, abs(r.se()), "slice_alpha_c0_offset_div2")
        _at_most(6, abs(r.se()), "slice_beta_offset_div2")
    return SliceHeader(
        nal_unit_type=nal_unit_type,
        nal_ref_idc=nal_ref_idc,
        first_mb_in_slice=first_mb_in_slice,
        slice_type=slice_type,
        sps=sps,
        pps=pps,
        frame_num=frame_num,
        field_pic_flag=field,
        bottom_field_flag=bottom_field,
        idr_pic_id=idr_pic_id,
        pic_order_cnt_lsb=lsb,
        delta_pic_order_cnt_bottom=bottom,
        delta_pic_order_cnt=(delta0, delta1),
        redundant_pic_cnt=redundant_pic_cnt,
        direct_spatial_mv_pred_flag=spatial,
        num_ref_idx_active=active,
        ref_pic_list_modification=modification,
        no_output_of_prior_pics_flag=no_output,
        long_term_reference_flag=long_term,
        memory_management_control_operations=operations,
        cabac_init_idc=cabac_init_idc,
        slice_qp=slice_qp,
        slice_data_bit=r.position,
    )


def _at_most(limit: int, value: int, what: str) -> int:
    if value > limit:
        raise EndOfData(f"{what} {value}, at most {limit} is allowed")
    return value


def _num_ref_idx_active(r: BitReader, slice_type: int, pps: PPS, field: bool) -> tuple[int, int]:
    """num_ref_idx_l0_active_minus1 + 1 and its list 1 sibling; 0 where the slice has no such list."""
    if slice_type == I:
        return 0, 0
    l0, l1 = pps.num_ref_idx_l0_default_active, pps.num_ref_idx_l1_default_active
    if r.flag():  # num_ref_idx_active_override_flag
        l0 = 1 + r.ue()
        if slice_type == B:
            l1 = 1 + r.ue()
    _at_most(32 if field else 16, max(l0, l1), "num_ref_idx_active of a field" if field else "num_ref_idx_active")
    return l0, l1 if slice_type == B else 0


def _ref_pic_list_modification(
    r: BitReader, slice_type: int
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """7.3.3.1: per list the pairs (modification_of_pic_nums_idc, its operand)."""
    lists: list[tuple[tuple[int, int], ...]] = []
    for _ in range((1, 2, 0)[slice_type]):
        steps: list[tuple[int, int]] = []
        if r.flag():
            while (idc := r.ue()) != 3:
                if idc > 3 or len(steps) >= 66:
                    raise EndOfData(f"modification_of_pic_nums_idc {idc}")
                steps.append((idc, r.ue()))
        lists.append(tuple(steps))
    lists += [()] * (2 - len(lists))
    return lists[0], lists[1]


def _pred_weight_table(r: BitReader, sps: SPS, active: tuple[int, int]) -> None:
    """7.3.3.2: read over; weights change pixels, not what this parser reports."""
    _at_most(7, r.ue(), "luma_log2_weight_denom")
    if sps.chroma_array_type:
        _at_most(7, r.ue(), "chroma_log2_weight_denom")
    for count in active:
        for _ in range(count):
            if r.flag():
                r.se()
                r.se()
            if sps.chroma_array_type and r.flag():
                for _ in range(4):
                    r.se()


def _memory_management_control_operations(r: BitReader) -> tuple[tuple[int, int, int], ...]:
    """7.3.3.3: (memory_management_control_operation, first operand, second operand), 0 where there is none."""
    operations: list[tuple[int, int, int]] = []
    while operation := r.ue():
        if operation > 6 or len(operations) >= 66:
            raise EndOfData(f"memory_management_control_operation {operation}")
        first = r.ue() if operation in (1, 2, 3, 4, 6) else 0
        second = r.ue() if operation == 3 else 0
        operations.append((operation, first, second))
    return tuple(operations)


def type_in_first_byte(unit: bytes) -> tuple[int, int]:
    """(slice_type, bits up to its end) of a slice's first bytes, where first_mb_in_slice is 0 and both are in one byte;
    bits 0 elsewhere."""
    return _IN_FIRST_BYTE[unit[1]] if len(unit) > 1 else (0, 0)


def _in_first_byte(byte: int) -> tuple[int, int]:
    r = BitReader(bytes([byte]))
    try:
        return (r.ue(), r.position) if r.flag() else (0, 0)
    except EndOfData:
        return 0, 0


_IN_FIRST_BYTE = [_in_first_byte(byte) for byte in range(256)]
