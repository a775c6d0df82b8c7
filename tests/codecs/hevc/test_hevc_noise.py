"""Random bits behind random parameter sets: every element takes values that no encoder and no writer would choose.

The end of such a slice is wherever chance has put it: only pictures in which every CTB was read before it are compared,
by their samples, with FFmpeg's, and what refers to another is not.
"""

from __future__ import annotations

from codecmeta.codecs.hevc import state
from codecmeta.codecs.hevc.sequence import Sequence
from tests.support.hevc_compare import assert_same_samples
from tests.support.hevc_ffmpeg import decode_packets
from tests.support.hevc_parsed import coded_of
from tests.support.hevc_pixels import reconstruct
from tests.support.hevc_writer import write


def _overflows(picture) -> bool:
    """Lossless levels beyond 16 bits: nobody promises the sum."""
    bypass = picture.cu[picture.tu[:, state.TU_CU], state.CU_FLAGS] & state.FLAG_BYPASS
    return bool(bypass.any()) and abs(picture.levels[:, 1]).max(initial=0) > 32767


def test_samples_of_random_bits_equal_ffmpegs():
    compared = inter = 0
    for seed in range(5000, 5150):
        stream = write(seed, pictures=3, noise=True)
        shown = decode_packets([picture.packet for picture in stream.pictures])
        sequence, planes = Sequence(None, annex_b=True, trace=True), {}
        for planned in stream.pictures:
            picture = sequence.parse(planned.packet)
            if picture is None or not picture.parsed.all() or planned.number not in shown or _overflows(picture):
                break
            planes[picture.identity], _ = reconstruct(coded_of(picture, planes))
            where = f"seed {seed}, picture {planned.number}"
            assert_same_samples(planes[picture.identity], shown[planned.number], where)
            compared += 1
            inter += picture.picture_type != "I"
    assert compared > 150 and inter > 60, (compared, inter)
