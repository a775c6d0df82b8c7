"""libde265 as the second judge: QpY of every block, skipped ones too; samples under constrained intra prediction."""

from __future__ import annotations

import numpy as np
import pytest

from codecmeta.codecs.hevc import state
from codecmeta.codecs.hevc.nal import nal_length_size_of, nal_units, units_of_extradata
from codecmeta.codecs.hevc.sequence import Sequence
from tests.support.hevc_encodes import SETTINGS, encode
from tests.support.hevc_ffmpeg import decode_file, decode_packets
from tests.support.hevc_libde265 import decode
from tests.support.hevc_parsed import coded_of
from tests.support.hevc_pixels import reconstruct
from tests.support.hevc_writer import write

ENCODES = ["medium", "slower", "AQ, quantization groups of 8", "AQ, quantization groups of 16", "slices", "CTB 16"]
ENCODES += ["10 bit", "intra refresh", "odd size"]


def _qp_map(picture) -> np.ndarray:
    """QpY per 8x8 block."""
    result = np.zeros((picture.sps.height >> 3, picture.sps.width >> 3), int)
    columns = [state.CU_X, state.CU_Y, state.CU_LOG2, state.CU_QP]
    for x, y, log2, qp in picture.cu[:, columns].tolist():
        result[y >> 3 : (y + (1 << log2)) >> 3, x >> 3 : (x + (1 << log2)) >> 3] = qp
    return result


@pytest.mark.parametrize("name", ENCODES)
def test_the_quantiser_of_every_block_is_libde265s(name):
    extradata, packets, _ = decode_file(encode(**SETTINGS[name]))
    size = nal_length_size_of(extradata)
    units = [list(nal_units(packet, size)) for packet in packets]
    units[0] = [*units_of_extradata(extradata), *units[0]]
    theirs = decode(units)
    assert len(theirs) == len(packets)
    sequence, skipped, values = Sequence(extradata), 0, set()
    for number, packet in enumerate(packets):
        picture = sequence.parse(packet)
        shown = theirs[number].qp
        ours = _qp_map(picture)[: shown.shape[0], : shown.shape[1]]  # libde265 crops
        np.testing.assert_array_equal(np.clip(ours, 20, 40), shown, err_msg=f"picture {number}")
        skipped += int((picture.cu[:, state.CU_MODE] == state.MODE_SKIP).sum())
        values |= set(ours.ravel().tolist()) & set(range(21, 40))
    assert len(values) > 2 and (skipped > 50 or name == "intra refresh")


def test_samples_under_constrained_intra_prediction_are_those_of_a_decoder():
    """Random pictures of mixed intra and inter blocks. Where FFmpeg differs from the standard, libde265 decides."""
    by_ffmpeg = by_libde265 = neither = 0
    for seed in range(3000, 3080):
        stream = write(seed, constrained_intra=True)
        packets = [picture.packet for picture in stream.pictures]
        ffmpeg, second = decode_packets(packets), decode([list(nal_units(packet, None)) for packet in packets])
        sequence, planes = Sequence(None, annex_b=True, trace=True), {}
        for planned in stream.pictures:
            picture = sequence.parse(planned.packet)
            planes[picture.identity], _ = ours, _ = reconstruct(coded_of(picture, planes))
            answers = []
            for theirs in (ffmpeg.get(planned.number), getattr(second.get(planned.number), "planes", None)):
                answers.append(theirs and all((a == b).all() for a, b in zip(ours, theirs, strict=True)))
            if answers[0] or answers[1]:
                by_ffmpeg += bool(answers[0])
                by_libde265 += bool(answers[1])
            elif answers != [None, None]:
                neither += 1
                break  # what refers to it is not judged
    assert by_ffmpeg > 200 and by_libde265 > 200
    assert neither <= 4, (by_ffmpeg, by_libde265, neither)
