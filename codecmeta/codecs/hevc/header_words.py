"""The words of a slice segment header (state.H_*) by the names of 7.3.6.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from codecmeta.codecs.hevc.pps import PPS
from codecmeta.codecs.hevc.sps import SPS
from codecmeta.codecs.hevc.state import (
    H_ACROSS_SLICES,
    H_ADDRESS,
    H_CABAC_INIT,
    H_CB_OFFSET,
    H_CHROMA_DENOM,
    H_CHROMA_WEIGHTS,
    H_COLLOCATED_L0,
    H_COLLOCATED_REF,
    H_CR_OFFSET,
    H_DATA_BYTE,
    H_DEBLOCKING_DISABLED,
    H_DELTA,
    H_DEPENDENT,
    H_ENTRIES,
    H_ENTRY_0,
    H_FIRST,
    H_LT_CYCLE,
    H_LT_MSB,
    H_LT_POC,
    H_LT_USED,
    H_LUMA_DENOM,
    H_LUMA_WEIGHTS,
    H_MAX_MERGE,
    H_MODIFIED_0,
    H_MVD_L1_ZERO,
    H_NO_OUTPUT,
    H_NUM_ENTRIES,
    H_NUM_LT,
    H_NUM_NEGATIVE,
    H_NUM_POSITIVE,
    H_NUM_REF_0,
    H_NUM_REF_1,
    H_OUTPUT,
    H_POC_LSB,
    H_PPS,
    H_QP,
    H_SAO_CHROMA,
    H_SAO_LUMA,
    H_SLICE_ADDRESS,
    H_ST_INDEX,
    H_ST_SPS_FLAG,
    H_TEMPORAL_MVP,
    H_TYPE,
    H_USED,
    H_WEIGHTS,
)


@dataclass(frozen=True)
class SliceHeader:
    """The header of one slice segment, elements named as in 7.3.6.1; a dependent one has those of its slice too."""

    nal_unit_type: int
    temporal_id: int
    sps: SPS
    pps: PPS
    words: np.ndarray  # int32, state.H_*

    def __getattr__(self, name: str) -> Any:
        """An element of the header by its name."""
        if name not in _WORDS:
            raise AttributeError(name)
        return int(self.words[_WORDS[name]])

    @property
    def num_ref_idx_active(self) -> tuple[int, int]:
        """Of both lists; 0 where a slice type has none."""
        return int(self.words[H_NUM_REF_0]), int(self.words[H_NUM_REF_1])

    @property
    def entry_points(self) -> tuple[int, ...]:
        """entry_point_offset_minus1 + 1, in bytes of the NAL unit."""
        count = int(self.words[H_NUM_ENTRIES])
        return tuple(self.words[H_ENTRIES : H_ENTRIES + count].tolist())

    @property
    def short_term(self) -> tuple[tuple[int, bool], ...]:
        """(delta POC, used by the current picture) of the short-term pictures, those before it first."""
        count = int(self.words[H_NUM_NEGATIVE] + self.words[H_NUM_POSITIVE])
        words = self.words
        return tuple((int(words[H_DELTA + i]), bool(words[H_USED + i])) for i in range(count))

    @property
    def long_term(self) -> tuple[tuple[int, bool, bool, int], ...]:
        """(POC lsb, used by the current picture, delta_poc_msb_present_flag, DeltaPocMsbCycleLt)."""
        words = self.words
        return tuple(
            (
                int(words[H_LT_POC + i]),
                bool(words[H_LT_USED + i]),
                bool(words[H_LT_MSB + i]),
                int(words[H_LT_CYCLE + i]),
            )
            for i in range(int(words[H_NUM_LT]))
        )

    @property
    def list_entries(self) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
        """list_entry_l0 and l1; None where the list is not modified."""
        result: list[tuple[int, ...] | None] = []
        for list_ in range(2):
            at, count = H_ENTRY_0 + 16 * list_, int(self.words[H_NUM_REF_0 + list_])
            modified = self.words[H_MODIFIED_0 + list_]
            result.append(tuple(self.words[at : at + count].tolist()) if modified else None)
        return result[0], result[1]

    @property
    def weights(self) -> dict[str, Any] | None:
        """pred_weight_table() as derived in 7.4.7.3; None where the header has none."""
        words = self.words
        if not words[H_WEIGHTS]:
            return None
        luma: list[list[tuple[int, ...]]] = []
        chroma: list[list[tuple[tuple[int, ...], ...]]] = []
        for list_ in range(2):
            count = int(words[H_NUM_REF_0 + list_])
            at, to = H_LUMA_WEIGHTS + 32 * list_, H_CHROMA_WEIGHTS + 64 * list_
            luma.append([tuple(words[at + 2 * i : at + 2 * i + 2].tolist()) for i in range(count)])
            pairs = words[to : to + 4 * count].reshape(count, 2, 2).tolist()
            chroma.append([tuple(tuple(one) for one in pair) for pair in pairs])
        return {
            "luma_log2_weight_denom": int(words[H_LUMA_DENOM]),
            "chroma_log2_weight_denom": int(words[H_CHROMA_DENOM]),
            "luma": luma,
            "chroma": chroma,
        }


_WORDS = {
    "first_slice_segment_in_pic_flag": H_FIRST,
    "no_output_of_prior_pics_flag": H_NO_OUTPUT,
    "slice_pic_parameter_set_id": H_PPS,
    "dependent_slice_segment_flag": H_DEPENDENT,
    "slice_segment_address": H_ADDRESS,
    "slice_addr": H_SLICE_ADDRESS,
    "slice_type": H_TYPE,
    "pic_output_flag": H_OUTPUT,
    "slice_pic_order_cnt_lsb": H_POC_LSB,
    "short_term_ref_pic_set_sps_flag": H_ST_SPS_FLAG,
    "short_term_ref_pic_set_idx": H_ST_INDEX,
    "slice_temporal_mvp_enabled_flag": H_TEMPORAL_MVP,
    "slice_sao_luma_flag": H_SAO_LUMA,
    "slice_sao_chroma_flag": H_SAO_CHROMA,
    "mvd_l1_zero_flag": H_MVD_L1_ZERO,
    "cabac_init_flag": H_CABAC_INIT,
    "collocated_from_l0_flag": H_COLLOCATED_L0,
    "collocated_ref_idx": H_COLLOCATED_REF,
    "max_num_merge_cand": H_MAX_MERGE,
    "slice_qp": H_QP,
    "slice_cb_qp_offset": H_CB_OFFSET,
    "slice_cr_qp_offset": H_CR_OFFSET,
    "slice_deblocking_filter_disabled_flag": H_DEBLOCKING_DISABLED,
    "slice_loop_filter_across_slices_enabled_flag": H_ACROSS_SLICES,
    "num_entry_point_offsets": H_NUM_ENTRIES,
    "data_byte": H_DATA_BYTE,
}
