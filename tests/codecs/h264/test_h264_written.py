"""Streams that no encoder at hand makes, against FFmpeg: direct prediction without direct_8x8_inference_flag, and every
memory management control operation."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from codecmeta.codecs.h264 import state
from codecmeta.codecs.h264.motion_vectors import motion_rows
from codecmeta.codecs.h264.nal import nal_units, rbsp_of
from codecmeta.codecs.h264.parameter_sets import parse_sps
from codecmeta.codecs.h264.sequence import PictureSequence
from tests.support.bits import escaped
from tests.support.h264_encodes import Exported, _exported, encode, ffmpeg
from tests.support.h264_energy import TOLERANCE, inter_differences
from tests.support.h264_writer import B, I, P, Stream, memory_management


def decode(extradata: bytes | None, packets: list[bytes]) -> dict[int, Exported]:
    """What one FFmpeg decoder thread makes of packets, by their numbers."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = extradata
    decoder.thread_type, decoder.thread_count = "NONE", 1
    decoder.options = {"flags2": "+export_mvs", "export_side_data": "venc_params", "skip_loop_filter": "all"}
    found: dict[int, Exported] = {}
    for i, data in enumerate([*packets, None]):
        packet = None
        if data is not None:
            packet = av.Packet(data)
            packet.pts = packet.dts = i
        for frame in decoder.decode(packet):
            assert not frame.is_corrupt
            found[frame.pts] = _exported(frame, True)
    return found


def check(extradata, packets):
    """Vectors, QP, and by pixels the references, of all pictures -> the pictures and FFmpeg's planes."""
    exported = decode(extradata, packets)
    sequence = PictureSequence(extradata)
    pictures = [sequence.parse(packet) for packet in packets]
    for i, picture in enumerate(pictures):
        assert picture.complete, (i, picture.errors)
        assert picture.vectors_exact
        np.testing.assert_array_equal(motion_rows(picture)[:, :7], exported[i].vectors, err_msg=f"picture {i}")
        np.testing.assert_array_equal(picture.qp.ravel(), exported[i].qp)
    return pictures, [exported[i].planes for i in range(len(packets))]


def check_references(pictures, planes, least):
    found, _ = inter_differences(pictures, planes)
    assert len(found["luma 4x4"]) + len(found["luma 8x8"]) >= least
    assert max(map(max, (values for values in found.values() if values))) <= TOLERANCE


@pytest.mark.parametrize("spatial", [True, False], ids=["spatial", "temporal"])
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("transform_8x8", [False, True])
def test_written_b_pictures_with_and_without_direct_8x8_inference(spatial, inference, transform_8x8):
    """I P B b b P ...: every macroblock type and sub-macroblock type of P and B, two references per list."""
    stream = Stream(direct_8x8_inference=inference, transform_8x8_mode=transform_8x8, seed=transform_8x8)
    packets = [stream.parameter_sets() + stream.picture(I, 0, 0, idr=True)]
    packets.append(stream.picture(P, 1, 16))
    for turn in range(1, 5):
        first = 2 * turn - 1
        packets.append(stream.picture(P, first + 1, 16 * turn + 16, active=(2, 0)))
        packets.append(stream.picture(B, first + 2, 16 * turn + 8, active=(2, 2), spatial=spatial))
        for order in (4, 12):
            packets.append(
                stream.picture(B, first + 3, 16 * turn + order, active=(2, 2), spatial=spatial, reference=False)
            )
    pictures, planes = check(None, packets)
    check_references(pictures, planes, 200)
    flags = np.concatenate([one.macroblocks[0] for one in pictures])
    assert (flags & state.M_DIRECT).any() and (flags & state.M_SUB_DIRECT).any() and (flags & state.M_SKIP).any()
    assert bool((flags & state.M_T8X8).any()) == transform_8x8


MAIN = "profile=main qp=10 x264-params=bframes=3:b-adapt=0:ref=3:weightp=0:partitions=all:me=esa:subme=9"
ENCODES = {
    "spatial, CABAC": f"{MAIN}:direct=spatial",
    "temporal, CABAC": f"{MAIN}:direct=temporal",
    "spatial, CAVLC": f"{MAIN}:direct=spatial:cabac=0",
    "temporal, CAVLC": f"{MAIN}:direct=temporal:cabac=0",
}


@pytest.mark.parametrize("name", ENCODES)
def test_encodes_whose_direct_8x8_inference_flag_is_turned_over(name):
    """Without the 8x8 transform the flag changes no syntax, only derivation: FFmpeg finds other vectors then."""
    extradata, packets, exported = ffmpeg(encode(ENCODES[name]))
    length = int.from_bytes(extradata[6:8], "big")
    (unit,) = nal_units(extradata[6 : 8 + length], 2)
    turned = extradata[:6] + _without_inference(unit) + extradata[8 + length :]
    pictures, planes = check(turned, packets)
    check_references(pictures, planes, 200)
    sequence = PictureSequence(extradata)
    inferred = [sequence.parse(packet) for packet in packets]
    differing = sum((_used_vectors(a) != _used_vectors(b)).sum() for a, b in zip(pictures, inferred, strict=True))
    assert differing > 20 or "spatial" in name  # where hardly anything rests there


def _used_vectors(picture) -> np.ndarray:
    """The vectors of all 4x4 blocks, zero where the list is not used."""
    used = picture.references.reshape(2, picture.rows, picture.columns, 2, 2) >= 0
    blocks = np.kron(used.transpose(0, 1, 3, 2, 4).reshape(2, 2 * picture.rows, -1), np.ones((1, 2, 2), bool))
    return np.where(blocks, picture.vectors[:, 1:, 1 : 4 * picture.columns + 1], 0)


def _without_inference(unit: bytes) -> bytes:
    """The SPS with the one bit turned over that is direct_8x8_inference_flag, behind its length."""
    rbsp = rbsp_of(unit)
    wanted = replace(parse_sps(rbsp), direct_8x8_inference_flag=False)
    for bit in range(24, 8 * len(rbsp)):
        turned = bytearray(rbsp)
        turned[bit // 8] ^= 128 >> bit % 8
        try:
            if parse_sps(bytes(turned)) == wanted:
                break
        except ValueError:
            continue
    result = unit[:1] + escaped(bytes(turned))
    return len(result).to_bytes(2, "big") + result


def test_memory_management_control_operations_1_to_6_lead_to_the_right_pictures():
    """Every picture brings content of its own (I_PCM), so that a wrong entry in a list would be wrong samples."""
    pictures, planes = check(None, memory_management())
    check_references(pictures, planes, 300)
    done = {one[0] for picture in pictures for one in picture.headers[0].memory_management_control_operations or ()}
    assert done == {1, 2, 3, 4, 5, 6}
    used = {
        identity
        for picture in pictures
        for list_ in (0, 1)
        for identity in np.array((*picture.lists[0][list_], -1))[picture.references[list_]].ravel()
    }
    assert {0, 3, 7, 12, 18} <= used  # those that were long-term, the one that counts anew


def test_after_operation_5_the_picture_counts_as_the_first_of_all():
    """8.2.1: its order count is zero from then on, whatever it was, and so it is the past of a picture at 4."""
    stream = Stream()
    packets = [
        stream.parameter_sets() + stream.picture(I, 0, 0, idr=True),
        stream.picture(P, 1, 90, operations=((5,),)),
        stream.picture(P, 1, 8),
        stream.picture(B, 2, 4, active=(2, 2), reference=False),
    ]
    sequence = PictureSequence()
    *_, last = (sequence.parse(packet) for packet in packets)
    assert last.complete and last.lists == [((1, 2), (2, 1))]
