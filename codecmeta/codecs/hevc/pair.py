"""An SPS and a PPS as the kernels have them: words, scaling factors by position, tile scan (6.5.1)."""

from __future__ import annotations

import numpy as np

from codecmeta.codecs.hevc import state
from codecmeta.codecs.hevc.parameter_sets import ParameterSets, refusal_of
from codecmeta.codecs.hevc.pps import PPS
from codecmeta.codecs.hevc.scaling_lists import default_scaling_lists
from codecmeta.codecs.hevc.sps import SPS
from codecmeta.codecs.hevc.tables import table


def pair_words(sets: ParameterSets) -> np.ndarray:
    """int32 (64, K_SIZE): the words of every PPS with its SPS; K_VALID 0: one is missing, 2: refused."""
    pairs = np.zeros((64, state.K_SIZE), np.int32)
    for pps_id, pps in sets.pps.items():
        sps = sets.sps.get(pps.sps_id)
        if sps is None or not fits(sps, pps):
            continue
        if refusal_of(sps, pps):
            pairs[pps_id, state.K_VALID] = 2
            continue
        pairs[pps_id] = _words(sps, pps)
    return pairs


def fits(sps: SPS, pps: PPS) -> bool:
    """Whether what the PPS says is possible in pictures of this SPS."""
    widths, heights = tile_sizes(sps, pps)
    return (
        min(*widths, *heights) > 0
        and pps.diff_cu_qp_delta_depth <= sps.ctb_log2_size_y - sps.min_cb_log2_size_y
        and pps.init_qp >= -6 * (sps.bit_depth_luma - 8)
        and pps.log2_parallel_merge_level <= sps.ctb_log2_size_y
    )


def _words(sps: SPS, pps: PPS) -> np.ndarray:
    k = np.zeros(state.K_SIZE, np.int32)
    rows, columns = sps.ctb_rows, sps.ctb_columns
    entries = pps.num_tile_columns * (rows if pps.entropy_coding_sync_enabled_flag else pps.num_tile_rows) - 1
    k[: state.K_MAX_ENTRIES + 1] = (
        1,
        sps.width,
        sps.height,
        columns,
        rows,
        sps.chroma_format_idc,
        sps.bit_depth_luma,
        sps.bit_depth_chroma,
        sps.log2_max_poc_lsb,
        sps.min_cb_log2_size_y,
        sps.ctb_log2_size_y,
        sps.min_tb_log2_size_y,
        sps.max_tb_log2_size_y,
        sps.max_transform_hierarchy_depth_inter,
        sps.max_transform_hierarchy_depth_intra,
        sps.scaling_list_enabled_flag,
        sps.amp_enabled_flag,
        sps.sample_adaptive_offset_enabled_flag,
        sps.pcm_enabled_flag,
        sps.pcm_bit_depth_luma,
        sps.pcm_bit_depth_chroma,
        sps.log2_min_pcm_cb_size,
        sps.log2_max_pcm_cb_size,
        len(sps.short_term_ref_pic_sets),
        sps.long_term_ref_pics_present_flag,
        len(sps.lt_ref_pics),
        sps.temporal_mvp_enabled_flag,
        pps.dependent_slice_segments_enabled_flag,
        pps.output_flag_present_flag,
        pps.num_extra_slice_header_bits,
        pps.sign_data_hiding_enabled_flag,
        pps.cabac_init_present_flag,
        *pps.num_ref_idx_default_active,
        pps.init_qp,
        pps.transform_skip_enabled_flag,
        pps.cu_qp_delta_enabled_flag,
        sps.ctb_log2_size_y - pps.diff_cu_qp_delta_depth,
        pps.cb_qp_offset,
        pps.cr_qp_offset,
        pps.slice_chroma_qp_offsets_present_flag,
        pps.weighted_pred_flag,
        pps.weighted_bipred_flag,
        pps.transquant_bypass_enabled_flag,
        pps.tiles_enabled_flag,
        pps.entropy_coding_sync_enabled_flag,
        pps.loop_filter_across_slices_enabled_flag,
        pps.deblocking_filter_override_enabled_flag,
        pps.deblocking_filter_disabled_flag,
        pps.lists_modification_present_flag,
        pps.log2_parallel_merge_level,
        pps.slice_segment_header_extension_present_flag,
        min(entries, state.MAX_ENTRIES),
    )
    for i, (lsb, used) in enumerate(sps.lt_ref_pics):
        k[state.K_LT_LSB + i], k[state.K_LT_USED + i] = lsb, used
    for i, one in enumerate(sps.short_term_ref_pic_sets):
        at = state.K_ST + state.ST_SIZE * i
        k[at], k[at + 1] = len(one.negative), len(one.positive)
        for j, (delta, used) in enumerate((*one.negative, *one.positive)):
            k[at + 2 + j], k[at + 18 + j] = delta, used
    return k


def scaling_factors(sps: SPS, pps: PPS) -> np.ndarray:
    """uint8, flat: ScalingFactor of 7.4.5 by size, list and raster position (state.F_*); 16 without scaling lists."""
    if not sps.scaling_list_enabled_flag:
        return np.full(state.F_SIZE, 16, np.uint8)
    lists = pps.scaling_lists or sps.scaling_lists or default_scaling_lists()
    parts = []
    for size_id, side in enumerate((4, 8, 16, 32)):
        coded = min(side, 8)
        scan = np.array(table(f"diagonal_{coded}x{coded}"))
        for matrix_id in range(0, 6, 3 if size_id == 3 else 1):
            small = np.zeros(coded * coded, np.uint8)
            small[scan] = lists.lists[size_id][matrix_id]
            factors = small.reshape(coded, coded).repeat(side // coded, 0).repeat(side // coded, 1)
            if size_id > 1:
                factors[0, 0] = lists.dc[size_id - 2][matrix_id]
            parts.append(factors.reshape(-1))
    return np.concatenate(parts)


def tile_sizes(sps: SPS, pps: PPS) -> tuple[list[int], list[int]]:
    """colWidth and rowHeight of 6.5.1, in CTBs."""
    sizes = []
    for total, count, coded in (
        (sps.ctb_columns, pps.num_tile_columns, pps.column_widths),
        (sps.ctb_rows, pps.num_tile_rows, pps.row_heights),
    ):
        if pps.uniform_spacing_flag:
            sizes.append([(i + 1) * total // count - i * total // count for i in range(count)])
        else:
            sizes.append([*coded, total - sum(coded)])
    return sizes[0], sizes[1]


def tile_tables(sps: SPS, pps: PPS) -> np.ndarray:
    """int32, four planes of CTBs (state.T_*): CtbAddrRsToTs, CtbAddrTsToRs, TileId by CtbAddrRs, first column of the
    tile by CtbAddrRs."""
    widths, heights = tile_sizes(sps, pps)
    rows, columns = sps.ctb_rows, sps.ctb_columns
    address = np.arange(rows * columns).reshape(rows, columns)
    tables = np.zeros((4, rows * columns), np.int32)
    order = []
    y = 0
    for tile_row, height in enumerate(heights):
        x = 0
        for tile_column, width in enumerate(widths):
            inside = address[y : y + height, x : x + width].reshape(-1)
            order.append(inside)
            tables[state.T_TILE_ID, inside] = tile_row * len(widths) + tile_column
            tables[state.T_TILE_X, inside] = x
            x += width
        y += height
    tables[state.T_TS_TO_RS] = np.concatenate(order)
    tables[state.T_RS_TO_TS, tables[state.T_TS_TO_RS]] = np.arange(rows * columns)
    return tables.reshape(-1)
