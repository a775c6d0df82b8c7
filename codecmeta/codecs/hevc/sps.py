"""Clauses 7.3.2.2, 7.3.3, 7.3.7 and Annex E: sequence parameter sets."""

from __future__ import annotations

from dataclasses import dataclass

from codecmeta.codecs.hevc.scaling_lists import ScalingLists, require, scaling_list_data
from codecmeta.codecs.syntax.bits import BitReader

MAX_SIZE = 16888  # of either side: sqrt(8 * MaxLumaPs) at level 6.2, rounded up to 8 (A.4.1)
MAX_LUMA_PS = 35651584  # at level 6.2 (Table A.8)
RANGE_EXTENSION_FLAGS = (
    "transform_skip_rotation",
    "transform_skip_context",
    "implicit_rdpcm",
    "explicit_rdpcm",
    "extended_precision",
    "intra_smoothing_disabled",
    "high_precision_offsets",
    "persistent_rice_adaptation",
    "cabac_bypass_alignment",
)


@dataclass(frozen=True)
class ShortTermRPS:
    """st_ref_pic_set() of 7.3.7 as derived in 7.4.8: (delta POC, used by the current picture), nearest first."""

    negative: tuple[tuple[int, bool], ...]
    positive: tuple[tuple[int, bool], ...]


@dataclass(frozen=True)
class SPS:
    """A sequence parameter set, elements named as in 7.3.2.2; sizes and crops in luma samples."""

    general_profile_idc: int
    sps_id: int
    chroma_format_idc: int
    separate_colour_plane_flag: bool
    width: int
    height: int
    crop_left: int
    crop_right: int
    crop_top: int
    crop_bottom: int
    bit_depth_luma: int
    bit_depth_chroma: int
    log2_max_poc_lsb: int
    max_dec_pic_buffering: int
    max_num_reorder_pics: int
    min_cb_log2_size_y: int
    ctb_log2_size_y: int
    min_tb_log2_size_y: int
    max_tb_log2_size_y: int
    max_transform_hierarchy_depth_inter: int
    max_transform_hierarchy_depth_intra: int
    scaling_list_enabled_flag: bool
    scaling_lists: ScalingLists | None
    amp_enabled_flag: bool
    sample_adaptive_offset_enabled_flag: bool
    pcm_enabled_flag: bool
    pcm_bit_depth_luma: int
    pcm_bit_depth_chroma: int
    log2_min_pcm_cb_size: int
    log2_max_pcm_cb_size: int
    pcm_loop_filter_disabled_flag: bool
    short_term_ref_pic_sets: tuple[ShortTermRPS, ...]
    long_term_ref_pics_present_flag: bool
    lt_ref_pics: tuple[tuple[int, bool], ...]  # lt_ref_pic_poc_lsb_sps, used_by_curr_pic_lt_sps_flag
    temporal_mvp_enabled_flag: bool
    strong_intra_smoothing_enabled_flag: bool
    field_seq_flag: bool
    extensions: tuple[str, ...]  # names of the tools of later versions that are switched on

    @property
    def pic_width_in_luma_samples(self) -> int:
        """Coded width."""
        return self.width

    @property
    def pic_height_in_luma_samples(self) -> int:
        """Coded height."""
        return self.height

    @property
    def displayed_width(self) -> int:
        """Width of the conformance window."""
        return self.width - self.crop_left - self.crop_right

    @property
    def displayed_height(self) -> int:
        """Height of the conformance window."""
        return self.height - self.crop_top - self.crop_bottom

    @property
    def ctb_columns(self) -> int:
        """PicWidthInCtbsY."""
        return -(-self.width >> self.ctb_log2_size_y)

    @property
    def ctb_rows(self) -> int:
        """PicHeightInCtbsY."""
        return -(-self.height >> self.ctb_log2_size_y)


def _profile_tier_level(r: BitReader, max_sub_layers_minus1: int) -> int:
    """7.3.3 -> general_profile_idc."""
    general_profile_idc = r.u(8) & 31
    r.u(80)
    r.u(8)
    present = [(r.flag(), r.flag()) for _ in range(max_sub_layers_minus1)]
    if max_sub_layers_minus1:
        r.u(2 * (8 - max_sub_layers_minus1))
    for profile, level in present:
        r.u(88 * profile + 8 * level)
    return general_profile_idc


def parse_sps(rbsp: bytes) -> SPS:
    """seq_parameter_set_rbsp(). Raises EndOfData where it is damaged."""
    r = BitReader(rbsp)
    r.u(4)
    max_sub_layers_minus1 = r.u(3)
    require(max_sub_layers_minus1 <= 6, "sps_max_sub_layers_minus1 above 6")
    r.u(1)
    general_profile_idc = _profile_tier_level(r, max_sub_layers_minus1)
    sps_id = r.ue()
    require(sps_id <= 15, f"sps_seq_parameter_set_id {sps_id}")
    chroma_format_idc = r.ue()
    require(chroma_format_idc <= 3, f"chroma_format_idc {chroma_format_idc}")
    separate = r.flag() if chroma_format_idc == 3 else False
    width, height = r.ue(), r.ue()
    require(0 < width <= MAX_SIZE and 0 < height <= MAX_SIZE and width * height <= MAX_LUMA_PS, "picture size")
    crop = [r.ue() for _ in range(4)] if r.flag() else [0] * 4
    unit_x, unit_y = (2 if chroma_format_idc in (1, 2) else 1), (2 if chroma_format_idc == 1 else 1)
    crop_left, crop_right, crop_top, crop_bottom = (
        v * u for v, u in zip(crop, (unit_x, unit_x, unit_y, unit_y), strict=True)
    )
    require(crop_left + crop_right < width and crop_top + crop_bottom < height, "conformance window")
    bit_depth_luma, bit_depth_chroma = 8 + r.ue(), 8 + r.ue()
    require(max(bit_depth_luma, bit_depth_chroma) <= 16, "bit depth")
    log2_max_poc_lsb = 4 + r.ue()
    require(log2_max_poc_lsb <= 16, "log2_max_pic_order_cnt_lsb")
    ordering = (0, 0, 0)
    for _ in range(0 if r.flag() else max_sub_layers_minus1, max_sub_layers_minus1 + 1):
        ordering = r.ue(), r.ue(), r.ue()
    min_cb = 3 + r.ue()
    ctb = min_cb + r.ue()
    min_tb = 2 + r.ue()
    max_tb = min_tb + r.ue()
    require(min_cb <= ctb and 4 <= ctb <= 6 and min_tb < min_cb and max_tb <= min(ctb, 5), "block sizes")
    require(width % (1 << min_cb) == 0 and height % (1 << min_cb) == 0, "picture size is no multiple of MinCbSizeY")
    depth_inter, depth_intra = r.ue(), r.ue()
    require(max(depth_inter, depth_intra) <= ctb - min_tb, "max_transform_hierarchy_depth")
    scaling_list_enabled_flag = r.flag()
    scaling_lists = scaling_list_data(r) if scaling_list_enabled_flag and r.flag() else None
    amp, sao = r.flag(), r.flag()
    pcm = r.flag()
    pcm_luma = pcm_chroma = pcm_min = pcm_max = 0
    pcm_loop_filter_disabled = False
    if pcm:
        pcm_luma, pcm_chroma = 1 + r.u(4), 1 + r.u(4)
        pcm_min = 3 + r.ue()
        pcm_max = pcm_min + r.ue()
        pcm_loop_filter_disabled = r.flag()
        require(pcm_luma <= bit_depth_luma and pcm_chroma <= bit_depth_chroma, "PCM bit depth")
        require(min(min_cb, 5) <= pcm_min and pcm_max <= min(ctb, 5), "PCM block sizes")  # 7.4.3.2.1
    count = r.ue()
    require(count <= 64, f"num_short_term_ref_pic_sets {count}")
    st: list[ShortTermRPS] = []
    for index in range(count):
        st.append(st_ref_pic_set(r, index, st))
    long_term = r.flag()
    lt_ref_pics: tuple[tuple[int, bool], ...] = ()
    if long_term:
        count = r.ue()
        require(count <= 32, f"num_long_term_ref_pics_sps {count}")
        lt_ref_pics = tuple((r.u(log2_max_poc_lsb), r.flag()) for _ in range(count))
    temporal_mvp, strong = r.flag(), r.flag()
    field_seq = _vui(r, max_sub_layers_minus1) if r.flag() else False
    return SPS(
        general_profile_idc=general_profile_idc,
        sps_id=sps_id,
        chroma_format_idc=chroma_format_idc,
        separate_colour_plane_flag=separate,
        width=width,
        height=height,
        crop_left=crop_left,
        crop_right=crop_right,
        crop_top=crop_top,
        crop_bottom=crop_bottom,
        bit_depth_luma=bit_depth_luma,
        bit_depth_chroma=bit_depth_chroma,
        log2_max_poc_lsb=log2_max_poc_lsb,
        max_dec_pic_buffering=1 + ordering[0],
        max_num_reorder_pics=ordering[1],
        min_cb_log2_size_y=min_cb,
        ctb_log2_size_y=ctb,
        min_tb_log2_size_y=min_tb,
        max_tb_log2_size_y=max_tb,
        max_transform_hierarchy_depth_inter=depth_inter,
        max_transform_hierarchy_depth_intra=depth_intra,
        scaling_list_enabled_flag=scaling_list_enabled_flag,
        scaling_lists=scaling_lists,
        amp_enabled_flag=amp,
        sample_adaptive_offset_enabled_flag=sao,
        pcm_enabled_flag=pcm,
        pcm_bit_depth_luma=pcm_luma,
        pcm_bit_depth_chroma=pcm_chroma,
        log2_min_pcm_cb_size=pcm_min,
        log2_max_pcm_cb_size=pcm_max,
        pcm_loop_filter_disabled_flag=pcm_loop_filter_disabled,
        short_term_ref_pic_sets=tuple(st),
        long_term_ref_pics_present_flag=long_term,
        lt_ref_pics=lt_ref_pics,
        temporal_mvp_enabled_flag=temporal_mvp,
        strong_intra_smoothing_enabled_flag=strong,
        field_seq_flag=field_seq,
        extensions=_sps_extensions(r),
    )


def _sps_extensions(r: BitReader) -> tuple[str, ...]:
    """The tools that the extension flags of an SPS switch on; the multilayer extension does not concern layer 0."""
    if not r.flag():
        return ()
    range_, multilayer, three_d, screen = r.flag(), r.flag(), r.flag(), r.flag()
    r.u(4)
    found = []
    if range_:
        found += [name for name in RANGE_EXTENSION_FLAGS if r.flag() and name != "intra_smoothing_disabled"]
    if multilayer:
        r.flag()
    if three_d:
        found.append("the 3D extension")
    if screen:
        found.append("screen content coding")
    return tuple(found)


def st_ref_pic_set(r: BitReader, index: int, known: list[ShortTermRPS]) -> ShortTermRPS:
    """st_ref_pic_set() inside an SPS, (7-61) to (7-66)."""
    if index and r.flag():
        backward = r.flag()
        delta_rps = (1 + r.ue()) * (-1 if backward else 1)
        reference = known[index - 1]
        before = len(reference.negative)
        deltas = [*reference.negative, *reference.positive]
        keep: list[tuple[bool, bool]] = []  # used_by_curr_pic_flag, use_delta_flag
        for _ in range(len(deltas) + 1):
            used = r.flag()
            keep.append((used, True if used else r.flag()))
        shifted = [(delta + delta_rps, *keep[j]) for j, (delta, _) in enumerate(deltas)]
        itself = (delta_rps, *keep[-1])
        s0, s1 = shifted[:before], shifted[before:]
        order_0 = [*reversed(s1), itself, *s0]
        order_1 = [*reversed(s0), itself, *s1]
        negative = tuple((delta, used) for delta, used, use in order_0 if delta < 0 and use)
        positive = tuple((delta, used) for delta, used, use in order_1 if delta > 0 and use)
        require(len(negative) + len(positive) <= 16, "more than 16 short-term pictures")
        return ShortTermRPS(negative, positive)
    counts = r.ue(), r.ue()
    require(sum(counts) <= 16, "more than 16 short-term pictures")
    lists: list[tuple[tuple[int, bool], ...]] = []
    for count, sign in zip(counts, (-1, 1), strict=True):
        delta = 0
        entries: list[tuple[int, bool]] = []
        for _ in range(count):
            delta += sign * (1 + r.ue())
            require(abs(delta) <= 1 << 15, "delta_poc")
            entries.append((delta, r.flag()))
        lists.append(tuple(entries))
    return ShortTermRPS(lists[0], lists[1])


def _vui(r: BitReader, max_sub_layers_minus1: int) -> bool:
    """vui_parameters() of E.2.1 -> field_seq_flag."""
    if r.flag() and r.u(8) == 255:  # aspect_ratio_idc: extended
        r.u(32)
    if r.flag():  # overscan_info_present_flag
        r.flag()
    if r.flag():  # video_signal_type_present_flag
        r.u(4)
        if r.flag():
            r.u(24)
    if r.flag():  # chroma_loc_info_present_flag
        r.ue(), r.ue()
    r.flag()  # neutral_chroma_indication_flag
    field_seq_flag = r.flag()
    r.flag()
    if r.flag():  # default_display_window_flag
        r.ue(), r.ue(), r.ue(), r.ue()
    if r.flag():  # vui_timing_info_present_flag
        r.u(64)
        if r.flag():
            r.ue()
        if r.flag():
            _hrd(r, max_sub_layers_minus1)
    if r.flag():  # bitstream_restriction_flag
        r.u(3)
        for _ in range(5):
            r.ue()
    return field_seq_flag


def _hrd(r: BitReader, max_sub_layers_minus1: int) -> None:
    """hrd_parameters() of E.2.2."""
    nal, vcl = r.flag(), r.flag()
    sub_pic = False
    if nal or vcl:
        sub_pic = r.flag()
        if sub_pic:
            r.u(19)
        r.u(8)
        if sub_pic:
            r.u(4)
        r.u(15)
    for _ in range(max_sub_layers_minus1 + 1):
        fixed = r.flag() or r.flag()  # general, else within_cvs
        low_delay, count = False, 1
        if fixed:
            r.ue()
        else:
            low_delay = r.flag()
        if not low_delay:
            count = 1 + r.ue()
        require(count <= 32, "cpb_cnt")
        for _ in range((nal + vcl) * count):
            for _ in range(4 if sub_pic else 2):
                r.ue()
            r.flag()
