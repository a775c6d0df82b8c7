"""From what the parser exports of a picture to what the reconstruction takes: `Coded` of hevc_pixels."""

from __future__ import annotations

import numpy as np
from numba import njit

from codecmeta.codecs.hevc import state
from tests.support.hevc_pixels import (
    BLOCK_FIELDS,
    BYPASS,
    DST,
    PART_FIELDS,
    PCM,
    SKIP,
    Coded,
    decoding_order,
    scaling_factors,
)


def bounds_of(sps, pps) -> tuple[list[int], list[int]]:
    """Tile boundaries in CTBs, by columns and rows (6.5.1)."""
    result = []
    for count, total, sizes in (
        (pps.num_tile_columns, sps.ctb_columns, pps.column_widths),
        (pps.num_tile_rows, sps.ctb_rows, pps.row_heights),
    ):
        if not pps.tiles_enabled_flag:
            result.append([0, total])
        elif pps.uniform_spacing_flag:
            result.append([i * total // count for i in range(count + 1)])
        else:
            result.append([0, *np.cumsum(sizes).tolist(), total])
    return result[0], result[1]


@njit(cache=True, nogil=True)
def _blocks(cu, tu, levels, monochrome, depths, pcm_shifts, blocks, out):
    """Rows of transform units to rows of transform blocks; their number."""
    count = 0
    for i in range(len(tu)):
        row = tu[i]
        unit = cu[row[state.TU_CU]]
        pcm = unit[state.CU_FLAGS] & state.FLAG_PCM
        bypass = unit[state.CU_FLAGS] & state.FLAG_BYPASS
        intra = unit[state.CU_MODE] == state.MODE_INTRA
        start = row[state.TU_FIRST]
        for c in range(1 if monochrome else 3):
            levels_here = row[state.TU_COUNT_Y + c]
            x, y, log2 = row[state.TU_X], row[state.TU_Y], row[state.TU_LOG2]
            if c:
                if log2 == 2 and not pcm:
                    if row[state.TU_BLKIDX] != 3:
                        continue
                    x, y = x & ~7, y & ~7
                else:
                    log2 -= 1
                x, y = x >> 1, y >> 1
            mode = -1
            if intra:
                mode = row[state.TU_CHROMA_MODE] if c else row[state.TU_LUMA_MODE]
            kind, qp, matrix = 0, 0, 0
            if pcm:
                kind, mode = PCM, 1
            elif levels_here:
                if bypass:
                    kind = BYPASS
                elif row[state.TU_SKIP] >> c & 1:
                    kind = SKIP
                elif intra and c == 0 and log2 == 2:
                    kind = DST
                qp = row[state.TU_QP] + 6 * (depths[0] - 8)
                if c:
                    qp = row[state.TU_QP_CB + c - 1]
                matrix = c + (0 if intra else 3)
            if not intra and not levels_here:
                continue
            for k in range(start, start + levels_here):
                out[k, 0], out[k, 1] = levels[k, 0] & 31, levels[k, 0] >> 5
                out[k, 2] = levels[k, 1] << pcm_shifts[min(c, 1)] if pcm else levels[k, 1]
            first = start if levels_here else 0
            blocks[count] = (c, x, y, log2, mode, kind, qp, matrix, first, levels_here)
            start += levels_here
            count += 1
    return count


def coded_of(picture, planes: dict[int, list[np.ndarray]] | None = None) -> Coded:
    """`planes`: samples of earlier pictures by identity; without them the prediction blocks are left out."""
    sps, pps = picture.sps, picture.pps
    columns, rows = bounds_of(sps, pps)
    width, height = sps.pic_width_in_luma_samples, sps.pic_height_in_luma_samples
    address, region = decoding_order(
        width, height, sps.ctb_log2_size_y, columns, rows, [header.slice_addr for header in picture.headers]
    )
    cu, tu = np.asarray(picture.cu, np.int64), np.asarray(picture.tu, np.int64)
    intra = np.zeros(address.shape, bool)
    for x, y, log2 in cu[cu[:, state.CU_MODE] == state.MODE_INTRA][:, :3]:
        intra[y >> 2 : (y + (1 << log2)) >> 2, x >> 2 : (x + (1 << log2)) >> 2] = True
    monochrome = sps.chroma_format_idc == 0
    blocks = np.zeros((3 * len(tu) + 1, BLOCK_FIELDS), np.int32)
    levels = np.zeros((len(picture.levels), 3), np.int32)
    depths = (sps.bit_depth_luma, sps.bit_depth_chroma)
    shifts = (depths[0] - sps.pcm_bit_depth_luma, depths[1] - sps.pcm_bit_depth_chroma)
    count = _blocks(cu, tu, np.asarray(picture.levels, np.int64), monochrome, depths, shifts, blocks, levels)
    coded = Coded(
        width,
        height,
        sps.ctb_log2_size_y,
        depths,
        monochrome,
        sps.strong_intra_smoothing_enabled_flag,
        pps.constrained_intra_pred_flag,
        address,
        region,
        intra,
        blocks[:count],
        levels,
    )
    if sps.scaling_list_enabled_flag:
        lists = pps.scaling_lists or sps.scaling_lists
        dc = None if lists is None else [None, None, *lists.dc]
        coded.scaling = scaling_factors(None if lists is None else lists.lists, dc)
    if planes is not None:
        _add_parts(coded, picture, planes)
    return coded


def _add_parts(coded: Coded, picture, planes: dict[int, list[np.ndarray]]) -> None:
    """Prediction blocks with their reference planes and explicit weights (7.4.7.3)."""
    pu = np.asarray(picture.pu)
    if not len(pu):
        return
    identities = sorted({entry[0] for lists in picture.lists for one in lists for entry in one})
    known = [identity for identity in identities if identity in planes]
    assert known == identities, f"missing references {set(identities) - set(known)}"
    coded.references = [planes[identity] for identity in identities]
    place = np.full((len(picture.headers), 2, 16), -1, np.int32)
    weight = np.full((len(picture.headers), 2, 16), -1, np.int32)
    table = []
    for segment, (header, lists) in enumerate(zip(picture.headers, picture.lists, strict=True)):
        for one in range(2):
            for i, entry in enumerate(lists[one]):
                place[segment, one, i] = identities.index(entry[0])
                if header.weights:
                    weight[segment, one, i] = len(table)
                    denoms = [header.weights[f"{kind}_log2_weight_denom"] for kind in ("luma", "chroma", "chroma")]
                    values = [header.weights["luma"][one][i], *header.weights["chroma"][one][i]]
                    shifts = [depth - 8 for depth in (coded.bit_depth[0], coded.bit_depth[1], coded.bit_depth[1])]
                    table.append([(d, w, o << s) for d, (w, o), s in zip(denoms, values, shifts, strict=True)])
    parts = np.full((len(pu), PART_FIELDS), -1, np.int32)
    parts[:, :4] = pu[:, : state.PU_H + 1]
    segment = pu[:, state.PU_SEGMENT]
    for one in range(2):
        packed, ref_idx = pu[:, state.PU_MV0 + one], pu[:, state.PU_REF0 + one]
        parts[:, 4 + 4 * one] = (packed & 0xFFFF ^ 0x8000) - 0x8000
        parts[:, 5 + 4 * one] = packed >> 16
        parts[:, 6 + 4 * one] = np.where(ref_idx < 0, -1, place[segment, one, ref_idx])
        parts[:, 7 + 4 * one] = np.where(ref_idx < 0, -1, weight[segment, one, ref_idx])
    assert (parts[:, 6] >= 0).any() or (parts[:, 10] >= 0).any()
    coded.parts = parts
    coded.weights = np.array(table, np.int32).reshape(-1, 3, 3)
