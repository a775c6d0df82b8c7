"""Parameter sets and slice segment headers say what FFmpeg's `trace_headers` reads in the same packets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from codecmeta.codecs.hevc.sequence import PictureSequence
from tests.support.hevc_encodes import SETTINGS, encode

CLIPS = (
    "medium", "8 references", "B pyramid", "open GoP", "temporal layers", "weighted", "10 bit, weighted", "slices",
    "no WPP", "scaling lists", "chroma offsets", "one merge candidate", "start codes", "min CU 32", "monochrome",
)  # fmt: skip
SAME = (
    "first_slice_segment_in_pic_flag", "no_output_of_prior_pics_flag", "dependent_slice_segment_flag",
    "slice_segment_address", "slice_type", "pic_output_flag", "slice_pic_order_cnt_lsb",
    "short_term_ref_pic_set_sps_flag", "slice_temporal_mvp_enabled_flag", "slice_sao_luma_flag",
    "slice_sao_chroma_flag", "mvd_l1_zero_flag", "cabac_init_flag", "collocated_from_l0_flag", "collocated_ref_idx",
    "slice_cb_qp_offset", "slice_cr_qp_offset", "slice_loop_filter_across_slices_enabled_flag",
    "num_entry_point_offsets",
)  # fmt: skip
SPS_NAMES = {
    "general_profile_idc": "general_profile_idc",
    "pic_width_in_luma_samples": "width",
    "pic_height_in_luma_samples": "height",
    "amp_enabled_flag": "amp_enabled_flag",
    "sample_adaptive_offset_enabled_flag": "sample_adaptive_offset_enabled_flag",
    "pcm_enabled_flag": "pcm_enabled_flag",
    "sps_temporal_mvp_enabled_flag": "temporal_mvp_enabled_flag",
    "scaling_list_enabled_flag": "scaling_list_enabled_flag",
    "max_transform_hierarchy_depth_inter": "max_transform_hierarchy_depth_inter",
    "max_transform_hierarchy_depth_intra": "max_transform_hierarchy_depth_intra",
    "strong_intra_smoothing_enabled_flag": "strong_intra_smoothing_enabled_flag",
    "long_term_ref_pics_present_flag": "long_term_ref_pics_present_flag",
}
PPS_NAMES = {
    "sign_data_hiding_enabled_flag": "sign_data_hiding_enabled_flag",
    "cu_qp_delta_enabled_flag": "cu_qp_delta_enabled_flag",
    "diff_cu_qp_delta_depth": "diff_cu_qp_delta_depth",
    "pps_cb_qp_offset": "cb_qp_offset",
    "pps_cr_qp_offset": "cr_qp_offset",
    "weighted_pred_flag": "weighted_pred_flag",
    "weighted_bipred_flag": "weighted_bipred_flag",
    "transform_skip_enabled_flag": "transform_skip_enabled_flag",
    "transquant_bypass_enabled_flag": "transquant_bypass_enabled_flag",
    "entropy_coding_sync_enabled_flag": "entropy_coding_sync_enabled_flag",
    "constrained_intra_pred_flag": "constrained_intra_pred_flag",
}
_LINE = re.compile(r"(\d+) +(\S+) +[01]* = (-?\d+)")
_HEADINGS = {"Slice Segment Header", "Sequence Parameter Set", "Picture Parameter Set"}

Unit = tuple[str, dict[str, int], int]  # heading, elements, bits of the header


def traced(data: bytes) -> Iterator[tuple[bytes, list[Unit]]]:
    """Each packet, and what FFmpeg reads in it."""
    level = av.logging.get_level()
    av.logging.set_level(56)
    av.logging.set_skip_repeated(False)
    try:
        with av.open(BytesIO(data)) as container:
            stream = container.streams.video[0]
            trace = BitStreamFilterContext("trace_headers", stream)
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                content = bytes(packet)
                with av.logging.Capture() as logs:
                    trace.filter(packet)
                yield content, _units(text for _, name, text in logs if name == "trace_headers")
    finally:
        av.logging.set_level(level)


def _units(lines: Iterator[str]) -> list[Unit]:
    units: list[Unit] = []
    for line in lines:
        text = line.strip()
        if found := _LINE.match(text):
            if units:
                position, name, value = found.groups()
                heading, elements, _ = units[-1]
                elements[name] = int(value)
                units[-1] = heading, elements, int(position) + 1
        elif text and not text.startswith(("Packet", "nal_unit_type", "Extradata")):
            units.append((text, {}, 0))
    return [unit for unit in units if unit[0] in _HEADINGS]


def parsed(data: bytes) -> tuple[PictureSequence, Iterator[tuple[bytes, list[Unit]]]]:
    with av.open(BytesIO(data)) as container:
        extradata = container.streams.video[0].codec_context.extradata
    return PictureSequence(extradata, trace=True), traced(data)


@pytest.mark.parametrize("name", CLIPS)
def test_slice_headers_are_those_that_ffmpeg_reads(name):
    sequence, packets = parsed(encode(**SETTINGS[name]))
    seen = set()
    for packet, units in packets:
        picture = sequence.parse(packet)
        slices = [(elements, bits) for heading, elements, bits in units if heading == "Slice Segment Header"]
        assert len(picture.headers) == len(slices) > 0
        for header, (elements, bits) in zip(picture.headers, slices, strict=True):
            seen |= set(elements)
            ours = {one: getattr(header, one) for one in SAME if one in elements}
            assert ours == {one: elements[one] for one in ours}
            assert header.data_byte == bits // 8 - 2  # theirs counts the NAL unit header
            entries = tuple(
                elements[f"entry_point_offset_minus1[{i}]"] + 1 for i in range(elements["num_entry_point_offsets"])
            ) if "num_entry_point_offsets" in elements else ()  # fmt: skip
            assert header.entry_points == entries
            if "slice_qp_delta" in elements:
                assert header.slice_qp == picture.pps.init_qp + elements["slice_qp_delta"]
            if "five_minus_max_num_merge_cand" in elements:
                assert header.max_num_merge_cand == 5 - elements["five_minus_max_num_merge_cand"]
            if elements.get("num_ref_idx_active_override_flag"):
                assert header.num_ref_idx_active[0] == elements["num_ref_idx_l0_active_minus1"] + 1
            _same_reference_set(header, elements)
            _same_weights(header, elements)
    assert {"slice_type", "slice_qp_delta", "slice_pic_order_cnt_lsb"} <= seen


def _same_reference_set(header, elements) -> None:
    """An explicit set without prediction: deltas add up."""
    if elements.get("inter_ref_pic_set_prediction_flag") or "num_negative_pics" not in elements:
        return
    expected = []
    for sign, side, count in (
        (-1, "s0", elements["num_negative_pics"]),
        (1, "s1", elements["num_positive_pics"]),
    ):
        steps = [elements[f"delta_poc_{side}_minus1[{i}]"] + 1 for i in range(count)]
        used = [bool(elements[f"used_by_curr_pic_{side}_flag[{i}]"]) for i in range(count)]
        expected += list(zip((sign * np.cumsum(steps)).tolist(), used, strict=True))
    assert list(header.short_term) == expected


def _same_weights(header, elements) -> None:
    assert (header.weights is not None) == ("luma_log2_weight_denom" in elements)
    if header.weights is None:
        return
    denominator = header.weights["luma_log2_weight_denom"]
    assert denominator == elements["luma_log2_weight_denom"]
    for list_ in range(2):
        for i, pair in enumerate(header.weights["luma"][list_]):
            expected = 1 << denominator, 0
            if elements[f"luma_weight_l{list_}_flag[{i}]"]:
                expected = (
                    (1 << denominator) + elements[f"delta_luma_weight_l{list_}[{i}]"],
                    elements[f"luma_offset_l{list_}[{i}]"],
                )
            assert pair == expected


@pytest.mark.parametrize("name", [*CLIPS, "AMP, rect", "lossless", "CU lossless", "transform skip", "odd size"])
def test_parameter_sets_are_those_that_ffmpeg_reads(name):
    sequence, packets = parsed(encode(**(SETTINGS[name] | {"container": "hevc"}), frames=2) if name != "start codes"
                               else encode(**SETTINGS[name]))  # fmt: skip
    found = 0
    for packet, units in packets:
        picture = sequence.parse(packet)
        for heading, elements, _ in units:
            names, ours = (SPS_NAMES, picture.sps) if heading == "Sequence Parameter Set" else (PPS_NAMES, picture.pps)
            if heading == "Slice Segment Header":
                continue
            found += 1
            for theirs, mine in names.items():
                assert theirs not in elements or int(getattr(ours, mine)) == elements[theirs], theirs
            if heading == "Sequence Parameter Set":
                smallest = elements["log2_min_luma_coding_block_size_minus3"] + 3
                assert picture.sps.min_cb_log2_size_y == smallest
                step = elements["log2_diff_max_min_luma_coding_block_size"]
                assert picture.sps.ctb_log2_size_y == smallest + step
                window = [elements.get(f"conf_win_{side}_offset", 0) for side in ("left", "right", "top", "bottom")]
                unit = 1 if picture.sps.chroma_format_idc == 0 else 2
                crop = ("crop_left", "crop_right", "crop_top", "crop_bottom")
                assert [getattr(picture.sps, one) for one in crop] == [unit * one for one in window]
    assert found >= 2


def test_an_inter_predicted_reference_set_is_derived_as_the_standard_says():
    """(7-61), (7-62) by hand: the set {-1, -3, +2} (all used), delta_rps -2 at -1, +2: every member kept."""
    from codecmeta.codecs.hevc.sps import ShortTermRPS, st_ref_pic_set
    from codecmeta.codecs.syntax.bits import BitReader

    known = [ShortTermRPS(((-1, True), (-3, True)), ((2, True),))]
    bits = "1" + "1" + "010" + "1111"  # predicted; sign: negative; abs_delta_rps_minus1 = 1; four used flags
    reader = BitReader(int(bits.ljust(16, "0"), 2).to_bytes(2, "big"))
    derived = st_ref_pic_set(reader, 1, known)
    # -1 - 2, -3 - 2, 2 - 2 = 0 (the picture itself: left out), and -2 for the picture the set belongs to
    assert derived == ShortTermRPS(((-2, True), (-3, True), (-5, True)), ())
