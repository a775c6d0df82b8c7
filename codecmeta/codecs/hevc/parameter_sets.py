"""Clauses 7.3.2.2, 7.3.2.3 and Annex E: sequence and picture parameter sets, and which streams the parser takes on.

sets = parameter_sets_of(stream.codec_context.extradata)
sets.sps[0].width, sets.sps[0].crop_top

Nothing of a video parameter set is needed to read layer 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from codecmeta.codecs.hevc.nal import PPS as PPS_NUT
from codecmeta.codecs.hevc.nal import SPS as SPS_NUT
from codecmeta.codecs.hevc.nal import layer_of, rbsp_of, type_of, units_of_extradata
from codecmeta.codecs.hevc.shared import BitReader, EndOfData
from codecmeta.codecs.hevc.tables import table

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
class ScalingLists:
    """scaling_list_data() of 7.3.4: `lists[sizeId][matrixId]`, 16 or 64 values in coded (diagonal) order, and
    `dc[sizeId - 2][matrixId]`. Of sizeId 3 only matrixId 0 and 3 are coded; the others stand at their defaults."""

    lists: tuple[tuple[tuple[int, ...], ...], ...]
    dc: tuple[tuple[int, ...], ...]


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


@dataclass(frozen=True)
class PPS:
    """A picture parameter set, elements named as in 7.3.2.3."""

    pps_id: int
    sps_id: int
    dependent_slice_segments_enabled_flag: bool
    output_flag_present_flag: bool
    num_extra_slice_header_bits: int
    sign_data_hiding_enabled_flag: bool
    cabac_init_present_flag: bool
    num_ref_idx_default_active: tuple[int, int]
    init_qp: int
    constrained_intra_pred_flag: bool
    transform_skip_enabled_flag: bool
    cu_qp_delta_enabled_flag: bool
    diff_cu_qp_delta_depth: int
    cb_qp_offset: int
    cr_qp_offset: int
    slice_chroma_qp_offsets_present_flag: bool
    weighted_pred_flag: bool
    weighted_bipred_flag: bool
    transquant_bypass_enabled_flag: bool
    tiles_enabled_flag: bool
    entropy_coding_sync_enabled_flag: bool
    num_tile_columns: int
    num_tile_rows: int
    uniform_spacing_flag: bool
    column_widths: tuple[int, ...]  # in CTBs, all but the last; empty where the spacing is uniform
    row_heights: tuple[int, ...]
    loop_filter_across_slices_enabled_flag: bool
    deblocking_filter_override_enabled_flag: bool
    deblocking_filter_disabled_flag: bool
    scaling_lists: ScalingLists | None
    lists_modification_present_flag: bool
    log2_parallel_merge_level: int
    slice_segment_header_extension_present_flag: bool
    extensions: tuple[str, ...]


@dataclass
class ParameterSets:
    """The parameter sets of a stream so far, by id. `version` counts up whenever one becomes another."""

    sps: dict[int, SPS] = field(default_factory=dict)
    pps: dict[int, PPS] = field(default_factory=dict)
    version: int = 0
    _units: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def add(self, unit: bytes) -> None:
        """Take in a NAL unit; one that is no parameter set of layer 0, or a broken one, changes nothing."""
        kind = type_of(unit)
        if kind not in (SPS_NUT, PPS_NUT) or layer_of(unit):
            return
        key = kind, unit[2] >> 1 if kind == PPS_NUT else unit[2]
        if self._units.get(key) == unit:
            return
        try:
            if kind == SPS_NUT:
                sps = parse_sps(rbsp_of(unit))
                changed = self.sps.get(sps.sps_id) != sps
                self.sps[sps.sps_id] = sps
            else:
                pps = parse_pps(rbsp_of(unit))
                changed = self.pps.get(pps.pps_id) != pps
                self.pps[pps.pps_id] = pps
        except EndOfData:
            return
        self._units = {k: v for k, v in self._units.items() if k != key}
        self._units[key] = unit
        self.version += changed


def parameter_sets_of(extradata: bytes | None) -> ParameterSets:
    """The parameter sets that a container stores beside the packets; empty where it stores none."""
    return collect(units_of_extradata(extradata))


def collect(units: Iterable[bytes]) -> ParameterSets:
    """The parameter sets among some NAL units."""
    sets = ParameterSets()
    for unit in units:
        sets.add(unit)
    return sets


def refusal_of(sps: SPS, pps: PPS | None = None) -> str | None:
    """Why streams with these parameter sets are not parsed; None: they are."""
    if sps.separate_colour_plane_flag:
        return "HEVC with separate colour planes"
    if sps.chroma_format_idc > 1:
        return f"HEVC {('', '', '4:2:2', '4:4:4')[sps.chroma_format_idc]} chroma"
    depth = max(sps.bit_depth_luma, sps.bit_depth_chroma)
    if depth > 10:
        return f"HEVC with {depth} bits per sample"
    for extensions in (sps.extensions, pps.extensions if pps is not None else ()):
        if extensions:
            return f"HEVC with {', '.join(extensions)}"
    if sps.field_seq_flag:
        return "interlaced HEVC (each field a picture of its own)"
    return None


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise EndOfData(what)


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
    _require(max_sub_layers_minus1 <= 6, "sps_max_sub_layers_minus1 above 6")
    r.u(1)
    general_profile_idc = _profile_tier_level(r, max_sub_layers_minus1)
    sps_id = r.ue()
    _require(sps_id <= 15, f"sps_seq_parameter_set_id {sps_id}")
    chroma_format_idc = r.ue()
    _require(chroma_format_idc <= 3, f"chroma_format_idc {chroma_format_idc}")
    separate = r.flag() if chroma_format_idc == 3 else False
    width, height = r.ue(), r.ue()
    _require(0 < width <= MAX_SIZE and 0 < height <= MAX_SIZE and width * height <= MAX_LUMA_PS, "picture size")
    crop = [r.ue() for _ in range(4)] if r.flag() else [0] * 4
    unit_x, unit_y = (2 if chroma_format_idc in (1, 2) else 1), (2 if chroma_format_idc == 1 else 1)
    crop_left, crop_right, crop_top, crop_bottom = (
        v * u for v, u in zip(crop, (unit_x, unit_x, unit_y, unit_y), strict=True)
    )
    _require(crop_left + crop_right < width and crop_top + crop_bottom < height, "conformance window")
    bit_depth_luma, bit_depth_chroma = 8 + r.ue(), 8 + r.ue()
    _require(max(bit_depth_luma, bit_depth_chroma) <= 16, "bit depth")
    log2_max_poc_lsb = 4 + r.ue()
    _require(log2_max_poc_lsb <= 16, "log2_max_pic_order_cnt_lsb")
    ordering = (0, 0, 0)
    for _ in range(0 if r.flag() else max_sub_layers_minus1, max_sub_layers_minus1 + 1):
        ordering = r.ue(), r.ue(), r.ue()
    min_cb = 3 + r.ue()
    ctb = min_cb + r.ue()
    min_tb = 2 + r.ue()
    max_tb = min_tb + r.ue()
    _require(min_cb <= ctb and 4 <= ctb <= 6 and min_tb < min_cb and max_tb <= min(ctb, 5), "block sizes")
    _require(width % (1 << min_cb) == 0 and height % (1 << min_cb) == 0, "picture size is no multiple of MinCbSizeY")
    depth_inter, depth_intra = r.ue(), r.ue()
    _require(max(depth_inter, depth_intra) <= ctb - min_tb, "max_transform_hierarchy_depth")
    scaling_list_enabled_flag = r.flag()
    scaling_lists = _scaling_list_data(r) if scaling_list_enabled_flag and r.flag() else None
    amp, sao = r.flag(), r.flag()
    pcm = r.flag()
    pcm_luma = pcm_chroma = pcm_min = pcm_max = 0
    pcm_loop_filter_disabled = False
    if pcm:
        pcm_luma, pcm_chroma = 1 + r.u(4), 1 + r.u(4)
        pcm_min = 3 + r.ue()
        pcm_max = pcm_min + r.ue()
        pcm_loop_filter_disabled = r.flag()
        _require(pcm_luma <= bit_depth_luma and pcm_chroma <= bit_depth_chroma, "PCM bit depth")
        _require(min(min_cb, 5) <= pcm_min and pcm_max <= min(ctb, 5), "PCM block sizes")  # 7.4.3.2.1
    count = r.ue()
    _require(count <= 64, f"num_short_term_ref_pic_sets {count}")
    st: list[ShortTermRPS] = []
    for index in range(count):
        st.append(_st_ref_pic_set(r, index, st))
    long_term = r.flag()
    lt_ref_pics: tuple[tuple[int, bool], ...] = ()
    if long_term:
        count = r.ue()
        _require(count <= 32, f"num_long_term_ref_pics_sps {count}")
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


def _st_ref_pic_set(r: BitReader, index: int, known: list[ShortTermRPS]) -> ShortTermRPS:
    """st_ref_pic_set() inside an SPS, (7-61) to (7-66)."""
    if index and r.flag():
        sign = r.flag()
        delta_rps = (1 + r.ue()) * (-1 if sign else 1)
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
        _require(len(negative) + len(positive) <= 16, "more than 16 short-term pictures")
        return ShortTermRPS(negative, positive)
    counts = r.ue(), r.ue()
    _require(sum(counts) <= 16, "more than 16 short-term pictures")
    lists = []
    for count, sign in zip(counts, (-1, 1), strict=True):
        delta, entries = 0, []
        for _ in range(count):
            delta += sign * (1 + r.ue())
            _require(abs(delta) <= 1 << 15, "delta_poc")
            entries.append((delta, r.flag()))
        lists.append(tuple(entries))
    return ShortTermRPS(lists[0], lists[1])


def default_scaling_lists() -> ScalingLists:
    """Tables 7-5 and 7-6."""
    intra, inter = tuple(table("scaling_intra_8x8")), tuple(table("scaling_inter_8x8"))
    eight = (intra,) * 3 + (inter,) * 3
    return ScalingLists((((16,) * 16,) * 6, eight, eight, eight), ((16,) * 6,) * 2)


def _scaling_list_data(r: BitReader) -> ScalingLists:
    """7.3.4, with what 7.4.5 infers."""
    default = default_scaling_lists()
    lists = [list(one) for one in default.lists]
    dc = [list(one) for one in default.dc]
    for size_id in range(4):
        step = 3 if size_id == 3 else 1
        for matrix_id in range(0, 6, step):
            if not r.flag():  # scaling_list_pred_mode_flag
                delta = r.ue() * step
                _require(delta <= matrix_id, "scaling_list_pred_matrix_id_delta")
                if delta:
                    lists[size_id][matrix_id] = lists[size_id][matrix_id - delta]
                else:
                    lists[size_id][matrix_id] = default.lists[size_id][matrix_id]
                if size_id > 1:
                    dc[size_id - 2][matrix_id] = dc[size_id - 2][matrix_id - delta] if delta else 16
                continue
            coefficient, values = 8, []
            if size_id > 1:
                coefficient = 8 + r.se()
                _require(1 <= coefficient <= 255, "scaling_list_dc_coef")
                dc[size_id - 2][matrix_id] = coefficient
            for _ in range(64 if size_id else 16):
                coefficient = (coefficient + r.se()) % 256
                values.append(coefficient)
            lists[size_id][matrix_id] = tuple(values)
    return ScalingLists(tuple(tuple(one) for one in lists), tuple(tuple(one) for one in dc))


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
        _require(count <= 32, "cpb_cnt")
        for _ in range((nal + vcl) * count):
            for _ in range(4 if sub_pic else 2):
                r.ue()
            r.flag()


def parse_pps(rbsp: bytes) -> PPS:
    """pic_parameter_set_rbsp(). Raises EndOfData where it is damaged."""
    r = BitReader(rbsp)
    pps_id, sps_id = r.ue(), r.ue()
    _require(pps_id <= 63 and sps_id <= 15, "parameter set id")
    dependent, output_flag_present = r.flag(), r.flag()
    extra_bits = r.u(3)
    sign_hiding, cabac_init_present = r.flag(), r.flag()
    defaults = 1 + r.ue(), 1 + r.ue()
    _require(max(defaults) <= 15, "num_ref_idx_default_active")
    init_qp = 26 + r.se()
    _require(-26 - 48 <= init_qp - 26 <= 25, "init_qp_minus26")
    constrained, transform_skip, cu_qp_delta = r.flag(), r.flag(), r.flag()
    diff_cu_qp_delta_depth = r.ue() if cu_qp_delta else 0
    _require(diff_cu_qp_delta_depth <= 3, "diff_cu_qp_delta_depth")
    cb, cr = r.se(), r.se()
    _require(max(abs(cb), abs(cr)) <= 12, "chroma QP offset")
    slice_chroma, weighted, bi, bypass, tiles, sync = (r.flag() for _ in range(6))
    columns, rows, uniform, widths, heights = 1, 1, True, (), ()
    if tiles:
        columns, rows = 1 + r.ue(), 1 + r.ue()
        _require(columns <= 1056 and rows <= 1056, "tile grid")
        uniform = r.flag()
        if not uniform:
            widths = tuple(1 + r.ue() for _ in range(columns - 1))
            heights = tuple(1 + r.ue() for _ in range(rows - 1))
        r.flag()  # loop_filter_across_tiles_enabled_flag
    across = r.flag()
    override, disabled = False, False
    if r.flag():  # deblocking_filter_control_present_flag
        override, disabled = r.flag(), r.flag()
        if not disabled:
            r.se(), r.se()
    scaling_lists = _scaling_list_data(r) if r.flag() else None
    modification = r.flag()
    parallel = 2 + r.ue()
    _require(parallel <= 6, "log2_parallel_merge_level")
    header_extension = r.flag()
    return PPS(
        pps_id=pps_id,
        sps_id=sps_id,
        dependent_slice_segments_enabled_flag=dependent,
        output_flag_present_flag=output_flag_present,
        num_extra_slice_header_bits=extra_bits,
        sign_data_hiding_enabled_flag=sign_hiding,
        cabac_init_present_flag=cabac_init_present,
        num_ref_idx_default_active=defaults,
        init_qp=init_qp,
        constrained_intra_pred_flag=constrained,
        transform_skip_enabled_flag=transform_skip,
        cu_qp_delta_enabled_flag=cu_qp_delta,
        diff_cu_qp_delta_depth=diff_cu_qp_delta_depth,
        cb_qp_offset=cb,
        cr_qp_offset=cr,
        slice_chroma_qp_offsets_present_flag=slice_chroma,
        weighted_pred_flag=weighted,
        weighted_bipred_flag=bi,
        transquant_bypass_enabled_flag=bypass,
        tiles_enabled_flag=tiles,
        entropy_coding_sync_enabled_flag=sync,
        num_tile_columns=columns,
        num_tile_rows=rows,
        uniform_spacing_flag=uniform,
        column_widths=widths,
        row_heights=heights,
        loop_filter_across_slices_enabled_flag=across,
        deblocking_filter_override_enabled_flag=override,
        deblocking_filter_disabled_flag=disabled,
        scaling_lists=scaling_lists,
        lists_modification_present_flag=modification,
        log2_parallel_merge_level=parallel,
        slice_segment_header_extension_present_flag=header_extension,
        extensions=_pps_extensions(r, transform_skip),
    )


def _pps_extensions(r: BitReader, transform_skip: bool) -> tuple[str, ...]:
    """The tools that the extension flags of a PPS switch on."""
    if not r.flag():
        return ()
    range_, _, three_d, screen = r.flag(), r.flag(), r.flag(), r.flag()
    r.u(4)
    found = []
    if range_:
        if transform_skip and r.ue() > 0:
            found.append("transform skip of blocks larger than 4x4")
        if r.flag():
            found.append("cross-component prediction")
        if r.flag():
            found.append("chroma QP offset lists")
    if three_d:
        found.append("the 3D extension")
    if screen:
        found.append("screen content coding")
    return tuple(found)
