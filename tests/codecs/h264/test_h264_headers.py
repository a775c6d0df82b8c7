"""Parameter sets and slice headers against what FFmpeg's decoder reports of the same bytes."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import av
import pytest

from codecmeta.codecs.h264.nal import nal_length_size_of, nal_units, rbsp_of
from codecmeta.codecs.h264.parameter_sets import parameter_sets_of, parse_sps
from codecmeta.codecs.h264.slice_header import parse_slice_header, refusal_of
from codecmeta.codecs.h264.stream import headers_of
from tests.support.h264_encodes import clip, encode

SIZES = [(176, 144), (200, 152), (174, 142), (66, 34)]


def _sets(source):
    with av.open(source) as container:
        stream = container.streams.video[0]
        extradata = stream.codec_context.extradata
        size = stream.codec_context.width, stream.codec_context.height
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
    sets, nal_length_size = parameter_sets_of(extradata), nal_length_size_of(extradata)
    for packet in packets:
        for unit in nal_units(packet, nal_length_size):
            sets.add(unit)
    return sets, nal_length_size, packets, size


@pytest.mark.parametrize("container", ["mp4", "h264"])
@pytest.mark.parametrize("size", SIZES)
def test_the_cropping_rectangle_is_the_size_that_ffmpeg_shows(size, container):
    sets, _, _, shown = _sets(BytesIO(encode(size=size, frames=3, container=container)))
    (sps,) = sets.sps.values()
    assert (sps.displayed_width, sps.displayed_height) == shown == size
    assert sps.width == -(-size[0] // 16) * 16 and sps.height == -(-size[1] // 16) * 16


@pytest.mark.parametrize("container", ["mp4", "h264"])
def test_the_type_of_each_slice_is_the_picture_type_of_ffmpeg(container):
    data = encode("bf=3 b_strategy=0", frames=20, container=container, gop=9)
    sets, nal_length_size, packets, _ = _sets(BytesIO(data))
    with av.open(BytesIO(data)) as source:
        types, extradata = {}, source.streams.video[0].codec_context.extradata
        decoder = source.streams.video[0].codec_context
        decoder.thread_type, decoder.thread_count, decoder.copy_opaque = "NONE", 1, True
        number = 0
        for packet in source.demux(video=0):
            packet.opaque, number = number, number + 1
            for frame in packet.decode():
                types[frame.opaque] = "?IPB"[int(frame.pict_type)]
    headers = headers_of(extradata)
    assert [chr(headers.look(packet).picture_type) for packet in packets] == [types[i] for i in range(len(packets))]
    assert set(types.values()) == {"I", "P", "B"}
    for packet, letter in zip(packets, (types[i] for i in range(len(packets))), strict=True):
        for unit in nal_units(packet, nal_length_size):
            if unit[0] & 31 in (1, 5):
                assert "PBI"[parse_slice_header(unit, rbsp_of(unit), sets).slice_type] == letter


@pytest.mark.parametrize(
    "options, pixel_format, reason",
    [
        ("x264-params=interlaced=1", "yuv444p", "4:4:4 chroma in MBAFF"),
        ("qp=0 x264-params=interlaced=1", "yuv420p", "lossless transform bypass in MBAFF"),
    ],
)
def test_what_is_not_read_is_refused_by_name(options, pixel_format, reason):
    sets, *_ = _sets(BytesIO(encode(options, frames=3, pixel_format=pixel_format)))
    (sps,) = sets.sps.values()
    assert reason in (refusal_of(sps) or "")


@pytest.mark.parametrize(
    "reason, elements",
    [
        ("separate colour planes", dict(chroma_format_idc=3, separate_colour_plane_flag=True)),
        ("14 bits", dict(bit_depth_chroma=14)),
    ],
)
def test_what_no_encoder_here_writes_is_refused_by_name(reason, elements):
    sets, *_ = _sets(BytesIO(encode(frames=3)))
    (sps,) = sets.sps.values()
    assert refusal_of(sps) is None and reason in refusal_of(replace(sps, **elements))


def test_real_streams_have_the_size_that_ffmpeg_shows():
    for name in ("cvr_h264_bframes.mp4", "torchcodec_nasa.mp4", "torchcodec_h264_10bit.mp4", "openh264_MR1_BT_A.264"):
        sets, _, _, shown = _sets(str(clip(name)))
        assert sets.sps, name
        for sps in sets.sps.values():
            assert (sps.displayed_width, sps.displayed_height) == shown


def test_a_cut_parameter_set_is_an_error_not_a_guess():
    sets, *_ = _sets(BytesIO(encode(frames=2)))
    (sps,) = sets.sps.values()
    with pytest.raises(ValueError):
        parse_sps(b"\x64\x00\x0a")
    assert refusal_of(sps) is None
