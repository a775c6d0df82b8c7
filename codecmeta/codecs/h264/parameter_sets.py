"""Clauses 7.3.2.1, 7.3.2.2 and Annex E: sequence and picture parameter sets.

sets = parameter_sets_of(stream.codec_context.extradata)
sets.sps[0].width, sets.sps[0].crop_top
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from codecmeta.codecs.h264.nal import PICTURE_PARAMETER_SET, SEQUENCE_PARAMETER_SET, rbsp_of, units_of_extradata
from codecmeta.codecs.h264.tables import table
from codecmeta.codecs.syntax.bits import BitReader, EndOfData

PROFILES_WITH_CHROMA_FORMAT = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}

# One scaling list, in zig-zag order as coded; the twelve of a set: six 4x4 (intra Y Cb Cr, inter Y Cb Cr), then
# 8x8 intra Y, inter Y and, in 4:4:4 alone, intra Cb, inter Cb, intra Cr, inter Cr.
ScalingList = tuple[int, ...]
ScalingLists = tuple[ScalingList, ...]

MAX_FS = 139264  # macroblocks of a frame at level 6.2 (Table A-1)
FLAT: ScalingLists = ((16,) * 16,) * 6 + ((16,) * 64,) * 6


@dataclass(frozen=True)
class SPS:
    """A sequence parameter set, elements named as in 7.3.2.1.1; sizes and crops in luma pixels of a frame."""

    seq_parameter_set_id: int
    profile_idc: int
    constraint_set_flags: int
    level_idc: int
    chroma_format_idc: int
    separate_colour_plane_flag: bool
    bit_depth_luma: int
    bit_depth_chroma: int
    qpprime_y_zero_transform_bypass_flag: bool
    seq_scaling_matrix_present_flag: bool
    scaling_lists: ScalingLists
    log2_max_frame_num: int
    pic_order_cnt_type: int
    log2_max_pic_order_cnt_lsb: int
    delta_pic_order_always_zero_flag: bool
    offset_for_non_ref_pic: int
    offset_for_top_to_bottom_field: int
    offset_for_ref_frame: tuple[int, ...]
    max_num_ref_frames: int
    gaps_in_frame_num_value_allowed_flag: bool
    pic_width_in_mbs: int
    pic_height_in_map_units: int
    frame_mbs_only_flag: bool
    mb_adaptive_frame_field_flag: bool
    direct_8x8_inference_flag: bool
    crop_left: int
    crop_right: int
    crop_top: int
    crop_bottom: int
    max_num_reorder_frames: int | None
    max_dec_frame_buffering: int | None

    @property
    def width(self) -> int:
        """Coded width in luma pixels, crop not taken off."""
        return 16 * self.pic_width_in_mbs

    @property
    def frame_height_in_mbs(self) -> int:
        """FrameHeightInMbs (7-18)."""
        return self.pic_height_in_map_units * (1 if self.frame_mbs_only_flag else 2)

    @property
    def height(self) -> int:
        """Coded height of a frame in luma pixels, crop not taken off."""
        return 16 * self.frame_height_in_mbs

    @property
    def displayed_width(self) -> int:
        """Width of the frame cropping rectangle."""
        return self.width - self.crop_left - self.crop_right

    @property
    def displayed_height(self) -> int:
        """Height of the frame cropping rectangle."""
        return self.height - self.crop_top - self.crop_bottom

    @property
    def chroma_array_type(self) -> int:
        """ChromaArrayType: 0 monochrome or separate planes, 1 4:2:0, 2 4:2:2, 3 4:4:4."""
        return 0 if self.separate_colour_plane_flag else self.chroma_format_idc


@dataclass(frozen=True)
class PPS:
    """A picture parameter set, elements named as in 7.3.2.2; its scaling lists after the fall-back rules."""

    pic_parameter_set_id: int
    seq_parameter_set_id: int
    entropy_coding_mode_flag: bool
    bottom_field_pic_order_in_frame_present_flag: bool
    num_slice_groups: int
    num_ref_idx_l0_default_active: int
    num_ref_idx_l1_default_active: int
    weighted_pred_flag: bool
    weighted_bipred_idc: int
    pic_init_qp: int
    chroma_qp_index_offset: int
    second_chroma_qp_index_offset: int
    deblocking_filter_control_present_flag: bool
    constrained_intra_pred_flag: bool
    redundant_pic_cnt_present_flag: bool
    transform_8x8_mode_flag: bool
    scaling_lists: ScalingLists


@dataclass
class ParameterSets:
    """The parameter sets in force, by their ids; a stream may replace them on the way."""

    sps: dict[int, SPS] = field(default_factory=dict)
    pps: dict[int, PPS] = field(default_factory=dict)

    def add(self, unit: bytes) -> None:
        """Take in one NAL unit if it is a parameter set. A damaged one, or a PPS without its SPS, is left out."""
        nal_unit_type = unit[0] & 31
        try:
            if nal_unit_type == SEQUENCE_PARAMETER_SET:
                sps = parse_sps(rbsp_of(unit))
                self.sps[sps.seq_parameter_set_id] = sps
            elif nal_unit_type == PICTURE_PARAMETER_SET:
                pps = parse_pps(rbsp_of(unit), self.sps)
                self.pps[pps.pic_parameter_set_id] = pps
        except (EndOfData, KeyError):
            pass


def parameter_sets_of(extradata: bytes | None) -> ParameterSets:
    """The parameter sets a container stores beside its packets; empty where they travel inside the packets."""
    return parameter_sets_in(units_of_extradata(extradata))


def parameter_sets_in(units: Iterable[bytes]) -> ParameterSets:
    """The parameter sets among `units`."""
    sets = ParameterSets()
    for unit in units:
        sets.add(unit)
    return sets


def parse_sps(rbsp: bytes) -> SPS:
    """seq_parameter_set_data() of 7.3.2.1.1. Raises EndOfData (a ValueError) where the payload is damaged."""
    r = BitReader(rbsp)
    profile_idc, constraint_set_flags, level_idc = r.u(8), r.u(8), r.u(8)
    seq_parameter_set_id = _bounded(r.ue(), 31, "seq_parameter_set_id")
    chroma_format_idc, separate_colour_plane_flag = 1, False
    bit_depth_luma = bit_depth_chroma = 8
    bypass = scaling_present = False
    scaling_lists = FLAT
    if profile_idc in PROFILES_WITH_CHROMA_FORMAT:
        chroma_format_idc = _bounded(r.ue(), 3, "chroma_format_idc")
        separate_colour_plane_flag = chroma_format_idc == 3 and r.flag()
        bit_depth_luma = 8 + _bounded(r.ue(), 6, "bit_depth_luma_minus8")
        bit_depth_chroma = 8 + _bounded(r.ue(), 6, "bit_depth_chroma_minus8")
        bypass = r.flag()
        scaling_present = r.flag()
        if scaling_present:
            scaling_lists = _scaling_lists(r, 12 if chroma_format_idc == 3 else 8, _DEFAULT)
    log2_max_frame_num = 4 + _bounded(r.ue(), 12, "log2_max_frame_num_minus4")
    pic_order_cnt_type = _bounded(r.ue(), 2, "pic_order_cnt_type")
    log2_max_pic_order_cnt_lsb = 0
    always_zero, non_ref, top_to_bottom = False, 0, 0
    ref_frame: tuple[int, ...] = ()
    if pic_order_cnt_type == 0:
        log2_max_pic_order_cnt_lsb = 4 + _bounded(r.ue(), 12, "log2_max_pic_order_cnt_lsb_minus4")
    elif pic_order_cnt_type == 1:
        always_zero = r.flag()
        non_ref, top_to_bottom = r.se(), r.se()
        ref_frame = tuple(r.se() for _ in range(_bounded(r.ue(), 255, "num_ref_frames_in_pic_order_cnt_cycle")))
    max_num_ref_frames = _bounded(r.ue(), 16, "max_num_ref_frames")
    gaps = r.flag()
    pic_width_in_mbs = 1 + _bounded(r.ue(), 1023, "pic_width_in_mbs_minus1")
    pic_height_in_map_units = 1 + _bounded(r.ue(), 1023, "pic_height_in_map_units_minus1")
    if pic_width_in_mbs * pic_height_in_map_units > MAX_FS:
        raise EndOfData(f"{pic_width_in_mbs} x {pic_height_in_map_units} macroblocks are more than any level allows")
    frame_mbs_only_flag = r.flag()
    mb_adaptive_frame_field_flag = not frame_mbs_only_flag and r.flag()
    direct_8x8_inference_flag = r.flag()
    left = right = top = bottom = 0
    if r.flag():  # frame_cropping_flag; units by (7-19) to (7-22)
        left, right, top, bottom = r.ue(), r.ue(), r.ue(), r.ue()
        subsampled = not separate_colour_plane_flag and chroma_format_idc
        unit_x = 2 if subsampled in (1, 2) else 1
        unit_y = (2 if subsampled == 1 else 1) * (1 if frame_mbs_only_flag else 2)
        left, right, top, bottom = left * unit_x, right * unit_x, top * unit_y, bottom * unit_y
        if left + right >= 16 * pic_width_in_mbs or top + bottom >= 32 * pic_height_in_map_units:
            raise EndOfData("the frame cropping rectangle is empty")
    reorder, buffering = _vui(r) if r.flag() else (None, None)
    return SPS(
        seq_parameter_set_id=seq_parameter_set_id,
        profile_idc=profile_idc,
        constraint_set_flags=constraint_set_flags,
        level_idc=level_idc,
        chroma_format_idc=chroma_format_idc,
        separate_colour_plane_flag=separate_colour_plane_flag,
        bit_depth_luma=bit_depth_luma,
        bit_depth_chroma=bit_depth_chroma,
        qpprime_y_zero_transform_bypass_flag=bypass,
        seq_scaling_matrix_present_flag=scaling_present,
        scaling_lists=scaling_lists,
        log2_max_frame_num=log2_max_frame_num,
        pic_order_cnt_type=pic_order_cnt_type,
        log2_max_pic_order_cnt_lsb=log2_max_pic_order_cnt_lsb,
        delta_pic_order_always_zero_flag=always_zero,
        offset_for_non_ref_pic=non_ref,
        offset_for_top_to_bottom_field=top_to_bottom,
        offset_for_ref_frame=ref_frame,
        max_num_ref_frames=max_num_ref_frames,
        gaps_in_frame_num_value_allowed_flag=gaps,
        pic_width_in_mbs=pic_width_in_mbs,
        pic_height_in_map_units=pic_height_in_map_units,
        frame_mbs_only_flag=frame_mbs_only_flag,
        mb_adaptive_frame_field_flag=mb_adaptive_frame_field_flag,
        direct_8x8_inference_flag=direct_8x8_inference_flag,
        crop_left=left,
        crop_right=right,
        crop_top=top,
        crop_bottom=bottom,
        max_num_reorder_frames=reorder,
        max_dec_frame_buffering=buffering,
    )


def parse_pps(rbsp: bytes, sps_by_id: dict[int, SPS]) -> PPS:
    """pic_parameter_set_rbsp() of 7.3.2.2. KeyError: its SPS is not known; EndOfData: the payload is damaged."""
    r = BitReader(rbsp)
    pic_parameter_set_id = _bounded(r.ue(), 255, "pic_parameter_set_id")
    sps = sps_by_id[r.ue()]
    entropy_coding_mode_flag = r.flag()
    bottom_field_present = r.flag()
    num_slice_groups = 1 + _bounded(r.ue(), 7, "num_slice_groups_minus1")
    if num_slice_groups > 1:
        _slice_groups(r, num_slice_groups)
    l0 = 1 + _bounded(r.ue(), 31, "num_ref_idx_l0_default_active_minus1")
    l1 = 1 + _bounded(r.ue(), 31, "num_ref_idx_l1_default_active_minus1")
    weighted_pred_flag = r.flag()
    weighted_bipred_idc = r.u(2)
    pic_init_qp = 26 + r.se()
    r.se()  # pic_init_qs_minus26
    chroma_qp_index_offset = r.se()
    deblocking_filter_control_present_flag = r.flag()
    constrained_intra_pred_flag, redundant_pic_cnt_present_flag = r.flag(), r.flag()
    transform_8x8_mode_flag, second_offset, scaling_lists = False, chroma_qp_index_offset, sps.scaling_lists
    if r.more_rbsp_data():
        transform_8x8_mode_flag = r.flag()
        if r.flag():  # pic_scaling_matrix_present_flag; fall-back rule set B only if the SPS has matrices (Table 7-2)
            fallback = sps.scaling_lists if sps.seq_scaling_matrix_present_flag else _DEFAULT
            per_8x8 = 6 if sps.chroma_format_idc == 3 else 2
            scaling_lists = _scaling_lists(r, 6 + per_8x8 * transform_8x8_mode_flag, fallback)
        second_offset = r.se()
    for offset in (chroma_qp_index_offset, second_offset):
        if not -12 <= offset <= 12:
            raise EndOfData(f"chroma_qp_index_offset {offset} is outside -12..12")
    return PPS(
        pic_parameter_set_id=pic_parameter_set_id,
        seq_parameter_set_id=sps.seq_parameter_set_id,
        entropy_coding_mode_flag=entropy_coding_mode_flag,
        bottom_field_pic_order_in_frame_present_flag=bottom_field_present,
        num_slice_groups=num_slice_groups,
        num_ref_idx_l0_default_active=l0,
        num_ref_idx_l1_default_active=l1,
        weighted_pred_flag=weighted_pred_flag,
        weighted_bipred_idc=weighted_bipred_idc,
        pic_init_qp=pic_init_qp,
        chroma_qp_index_offset=chroma_qp_index_offset,
        second_chroma_qp_index_offset=second_offset,
        deblocking_filter_control_present_flag=deblocking_filter_control_present_flag,
        constrained_intra_pred_flag=constrained_intra_pred_flag,
        redundant_pic_cnt_present_flag=redundant_pic_cnt_present_flag,
        transform_8x8_mode_flag=transform_8x8_mode_flag,
        scaling_lists=scaling_lists,
    )


def _bounded(value: int, largest: int, name: str) -> int:
    if value > largest:
        raise EndOfData(f"{name} {value} is above {largest}")
    return value


# Fall-back rule set A (Table 7-2) names the defaults of Tables 7-3 and 7-4 for the first list of each kind.
_DEFAULT: ScalingLists = (
    (tuple(table("Default_4x4_Intra")),) * 3
    + (tuple(table("Default_4x4_Inter")),) * 3
    + (tuple(table("Default_8x8_Intra")), tuple(table("Default_8x8_Inter"))) * 3
)


def _scaling_lists(r: BitReader, count: int, fallback: ScalingLists) -> ScalingLists:
    """seq_scaling_list_present_flag[i] and its lists; an absent list is the one before it of its kind (Table 7-2)."""
    lists: list[ScalingList] = []
    for i in range(12):
        first_of_kind = i in (0, 3, 6, 7)
        predecessor = fallback[i] if first_of_kind else lists[i - 1 if i < 6 else i - 2]
        if i < count and r.flag():
            lists.append(_scaling_list(r, 16 if i < 6 else 64) or _DEFAULT[i])
        else:
            lists.append(predecessor)
    return tuple(lists)


def _scaling_list(r: BitReader, size: int) -> ScalingList:
    """scaling_list() of 7.3.2.1.1.1, in zig-zag order; empty: useDefaultScalingMatrixFlag."""
    values: list[int] = []
    last_scale = next_scale = 8
    for j in range(size):
        if next_scale:
            next_scale = (last_scale + r.se()) % 256
            if j == 0 and next_scale == 0:
                return ()
        last_scale = next_scale or last_scale
        values.append(last_scale)
    return tuple(values)


def _slice_groups(r: BitReader, num_slice_groups: int) -> None:
    """The slice group map of 7.3.2.2: read over, since FMO is refused."""
    slice_group_map_type = r.ue()
    if slice_group_map_type == 0:
        for _ in range(num_slice_groups):
            r.ue()
    elif slice_group_map_type == 2:
        for _ in range(2 * (num_slice_groups - 1)):
            r.ue()
    elif slice_group_map_type in (3, 4, 5):
        r.flag()
        r.ue()
    elif slice_group_map_type == 6:
        for _ in range(r.ue() + 1):
            r.u((num_slice_groups - 1).bit_length())


def _vui(r: BitReader) -> tuple[int | None, int | None]:
    """vui_parameters() of E.1.1 -> max_num_reorder_frames, max_dec_frame_buffering; None where not said."""
    try:
        if r.flag() and r.u(8) == 255:  # aspect_ratio_idc == Extended_SAR
            r.u(32)
        if r.flag():  # overscan_info_present_flag
            r.flag()
        if r.flag():  # video_signal_type_present_flag
            r.u(4)
            if r.flag():
                r.u(24)
        if r.flag():  # chroma_loc_info_present_flag
            r.ue()
            r.ue()
        if r.flag():  # timing_info_present_flag
            r.u(65)
        nal_hrd = r.flag()
        if nal_hrd:
            _hrd(r)
        vcl_hrd = r.flag()
        if vcl_hrd:
            _hrd(r)
        if nal_hrd or vcl_hrd:
            r.flag()  # low_delay_hrd_flag
        r.flag()  # pic_struct_present_flag
        if not r.flag():  # bitstream_restriction_flag
            return None, None
        r.flag()
        for _ in range(4):
            r.ue()
        return r.ue(), r.ue()
    except EndOfData:  # encoders are known to cut the VUI short; nothing before it depends on it
        return None, None


def _hrd(r: BitReader) -> None:
    """hrd_parameters() of E.1.2: read over."""
    cpb_count = 1 + r.ue()
    r.u(8)
    for _ in range(min(cpb_count, 32)):
        r.ue()
        r.ue()
        r.flag()
    r.u(20)
