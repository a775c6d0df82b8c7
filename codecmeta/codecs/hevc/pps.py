"""Clause 7.3.2.3: picture parameter sets."""

from __future__ import annotations

from dataclasses import dataclass

from codecmeta.codecs.hevc.scaling_lists import ScalingLists, require, scaling_list_data
from codecmeta.codecs.syntax.bits import BitReader


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


def parse_pps(rbsp: bytes) -> PPS:
    """pic_parameter_set_rbsp(). Raises EndOfData where it is damaged."""
    r = BitReader(rbsp)
    pps_id, sps_id = r.ue(), r.ue()
    require(pps_id <= 63 and sps_id <= 15, "parameter set id")
    dependent, output_flag_present = r.flag(), r.flag()
    extra_bits = r.u(3)
    sign_hiding, cabac_init_present = r.flag(), r.flag()
    defaults = 1 + r.ue(), 1 + r.ue()
    require(max(defaults) <= 15, "num_ref_idx_default_active")
    init_qp = 26 + r.se()
    require(-26 - 48 <= init_qp - 26 <= 25, "init_qp_minus26")
    constrained, transform_skip, cu_qp_delta = r.flag(), r.flag(), r.flag()
    diff_cu_qp_delta_depth = r.ue() if cu_qp_delta else 0
    require(diff_cu_qp_delta_depth <= 3, "diff_cu_qp_delta_depth")
    cb, cr = r.se(), r.se()
    require(max(abs(cb), abs(cr)) <= 12, "chroma QP offset")
    slice_chroma, weighted, bi, bypass, tiles, sync = (r.flag() for _ in range(6))
    columns, rows, uniform = 1, 1, True
    widths: tuple[int, ...] = ()
    heights: tuple[int, ...] = ()
    if tiles:
        columns, rows = 1 + r.ue(), 1 + r.ue()
        require(columns <= 1056 and rows <= 1056, "tile grid")
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
    scaling_lists = scaling_list_data(r) if r.flag() else None
    modification = r.flag()
    parallel = 2 + r.ue()
    require(parallel <= 6, "log2_parallel_merge_level")
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
