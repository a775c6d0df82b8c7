"""HEVC through the protocol of parsers: refusals, picture types, display order, vectors, and damaged packets."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from codecmeta.codecs.hevc.parameter_sets import parameter_sets_of, refusal_of
from codecmeta.codecs.hevc.sequence import PictureSequence
from codecmeta.codecs.hevc.state import PU_REF0
from codecmeta.codecs.hevc.stream import headers_of, open_stream
from codecmeta.codecs.protocol import NOT_PARSED_QP, Lost, Refused
from codecmeta.record.metadata import vector_order
from tests.support.hevc_encodes import SETTINGS, clip, encode


def demuxed(data: bytes) -> tuple[list[bytes], list[int], bytes]:
    with av.open(BytesIO(data)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        pts = [packet.pts for packet in packets]
        return [bytes(packet) for packet in packets], pts, stream.codec_context.extradata or b""


@pytest.mark.parametrize(
    ("pixel_format", "reason"), [("yuv422p", "4:2:2"), ("yuv444p", "4:4:4"), ("yuv420p12le", "12 bits")]
)
def test_what_is_not_read_is_refused_with_its_reason(pixel_format, reason):
    with av.open(sink := BytesIO(), "w", format="mp4") as output:
        stream = output.add_stream("libx265", rate=25, options={"x265-params": "log-level=none:pools=1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixel_format
        try:
            for t in range(2):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90 * t, np.uint8), format="rgb24")
                frame = frame.reformat(format=pixel_format)
                frame.pts = t
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        except av.FFmpegError as error:
            pytest.skip(f"this x265 does not write {pixel_format}: {error}")
    _, _, extradata = demuxed(sink.getvalue())
    with pytest.raises(Refused, match=reason):
        open_stream(extradata)


@pytest.mark.parametrize(
    ("element", "value", "reason"),
    [
        ("chroma_format_idc", 2, "4:2:2"),
        ("separate_colour_plane_flag", True, "separate colour planes"),
        ("bit_depth_chroma", 12, "12 bits"),
        ("field_seq_flag", True, "interlaced"),
        ("extensions", ("explicit_rdpcm",), "explicit_rdpcm"),
    ],
)
def test_each_reason_is_told_by_the_parameter_set(element, value, reason):
    _, _, extradata = demuxed(encode(**SETTINGS["medium"]))
    sps = parameter_sets_of(extradata).sps[0]
    assert refusal_of(sps) is None
    assert reason in (refusal_of(replace(sps, **{element: value})) or "")


@pytest.mark.parametrize("name", ["medium", "B pyramid", "open GoP", "start codes", "no B", "slices"])
def test_picture_types_are_those_of_the_decoded_frames(name):
    data = encode(**SETTINGS[name])
    packets, _, extradata = demuxed(data)
    headers, parser = headers_of(extradata), open_stream(extradata).sequence()
    with av.open(BytesIO(data)) as container:
        expected = [PictureType(frame.pict_type).name for frame in container.decode(video=0)]
    keys = open_stream(extradata).order(packets)
    parsed = [parser.parse(packet) for packet in packets]
    shown = sorted(range(len(packets)), key=keys.__getitem__)
    assert [chr(parsed[i].picture_type) for i in shown] == expected
    assert [chr(headers.look(packets[i]).picture_type) for i in shown] == expected


@pytest.mark.parametrize("name", ["medium", "B pyramid", "open GoP", "closed GoP", "temporal layers"])
def test_headers_tell_the_display_order(name):
    packets, pts, extradata = demuxed(encode(**SETTINGS[name]))
    keys = open_stream(extradata).order(packets)
    assert sorted(range(len(packets)), key=keys.__getitem__) == np.argsort(pts).tolist()


def test_order_is_lost_where_a_packet_is_missing():
    packets, _, extradata = demuxed(encode(**SETTINGS["no B"]))
    with pytest.raises(Lost):
        open_stream(extradata).order(packets[:3] + packets[4:])
    with pytest.raises(Lost):
        open_stream(extradata).order([packets[0], b"", *packets[1:]])


@pytest.mark.parametrize("name", ["B pyramid", "AMP, rect"])
def test_vectors_cover_the_prediction_units_and_know_their_distance(name):
    packets, pts, extradata = demuxed(encode(**SETTINGS[name]))
    row_of_packet = np.argsort(np.argsort(pts))
    parser, sequence, row_of = open_stream(extradata).sequence(), PictureSequence(extradata), {}
    for number, packet in enumerate(packets):
        picture, plain = parser.parse(packet), sequence.parse(packet)
        row = int(row_of_packet[number])
        row_of[picture.identity] = row
        vectors, distance = picture.vectors(row, row_of)
        assert len(vectors) == (plain.pu[:, PU_REF0 : PU_REF0 + 2] >= 0).sum()
        assert (np.sign(distance) == vectors["source"]).all() and (vectors["scale"] == 4).all()
        assert (vector_order(vectors) == np.arange(len(vectors))).all()
        covered = np.zeros((plain.sps.height, plain.sps.width), bool)
        for one in vectors:
            x, y = one["dst_x"] - one["w"] // 2, one["dst_y"] - one["h"] // 2
            covered[y : y + one["h"], x : x + one["w"]] = True
        inter = np.zeros_like(covered)
        for x, y, log2, mode in plain.cu[:, :4]:
            inter[y : y + (1 << log2), x : x + (1 << log2)] = mode != 1
        np.testing.assert_array_equal(covered, inter)
        differences = {poc - plain.poc for lists in plain.lists for one in lists for _, poc, _ in one}
        assert set(distance.tolist()) <= differences  # x265 counts pictures


def test_the_vectors_of_a_pan_are_the_pan():
    rng = np.random.default_rng(5)
    world = rng.integers(40, 216, (60, 120)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    with av.open(sink := BytesIO(), "w", format="mp4") as output:
        stream = output.add_stream("libx265", rate=25, options={"x265-params": "log-level=none:bframes=0:keyint=30"})
        stream.width, stream.height, stream.pix_fmt = 192, 128, "gray"
        for t in range(6):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(world[:128, 3 * t : 3 * t + 192]), format="gray")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    packets, _, extradata = demuxed(sink.getvalue())
    parser = open_stream(extradata).sequence()
    pictures = [parser.parse(packet) for packet in packets]
    for number, picture in enumerate(pictures[1:], 1):
        vectors, distance = picture.vectors(number, {i: i for i in range(number)})
        area = (vectors["w"].astype(int) * vectors["h"])[
            (vectors["motion_x"] == -12 * distance) & (vectors["motion_y"] == 0)
        ]
        assert area.sum() > 0.8 * 192 * 128  # the world moves 3 pixels to the left: its past lies 3 to the right


def test_a_damaged_packet_keeps_what_stands_before_the_damage():
    packets, _, extradata = demuxed(encode(**SETTINGS["no WPP"], size=(320, 256)))
    whole = PictureSequence(extradata)
    reference = [whole.parse(packet) for packet in packets]
    first = bytearray(packets[0])
    first = bytes(first[: len(first) * 2 // 3])
    parser = open_stream(extradata).sequence()
    picture = parser.parse(first)
    plain = PictureSequence(extradata).parse(first)
    assert not picture.complete and plain.errors
    count = len(plain.cu)
    assert 0 < count < len(reference[0].cu)
    np.testing.assert_array_equal(plain.cu[:-1, :8], reference[0].cu[: count - 1, :8])
    ctb = plain.sps.ctb_log2_size_y
    known = plain.parsed.repeat(1 << ctb - 4, 0).repeat(1 << ctb - 4, 1)[: -(-plain.sps.height // 16), :]
    known = known[:, : -(-plain.sps.width // 16)]
    qp = picture.qp()
    assert (qp[~known] == NOT_PARSED_QP).all() and (qp[known] >= 0).all() and (~known).any()
    assert picture.bits()[~known].sum() == 0
    fine = known.repeat(2, 0).repeat(2, 1)[: picture.rms()[0].shape[0], : picture.rms()[0].shape[1]]
    assert (picture.rms()[0][~fine] == 0).all() and picture.rms()[0][fine].max() > 0
    later = [parser.parse(packet) for packet in packets[1:]]
    assert all(one.complete for one in later) and not any(one.vectors_exact for one in later)


def test_a_packet_may_be_cut_anywhere():
    packets, _, extradata = demuxed(encode(**SETTINGS["medium"]))
    for length in (*range(16), len(packets[1]) // 2, len(packets[1]) - 1):
        parser = open_stream(extradata).sequence()
        assert parser.parse(packets[0]).complete
        picture = parser.parse(packets[1][:length])
        assert picture is None or not picture.complete
        assert headers_of(extradata).look(packets[1][:length]).picture_type in (0, ord("P"), ord("B"))


def test_other_slices_stand_where_the_first_is_missing():
    packets, _, extradata = demuxed(encode(**SETTINGS["slices"]))
    reference, sequence = PictureSequence(extradata), PictureSequence(extradata)
    for number, packet in enumerate(packets):
        whole = reference.parse(packet)
        if number == 1:
            first = int.from_bytes(packet[:4], "big")
            packet = packet[4 + first :]
        picture = sequence.parse(packet)
        assert picture.poc == whole.poc and picture.complete == (number != 1)
        if number == 1:
            kept = whole.cu[whole.cu[:, 8] > 0]
            assert 0 < len(kept) == len(picture.cu) < len(whole.cu)
            np.testing.assert_array_equal(picture.cu[:, :8], kept[:, :8])
            assert not picture.parsed[0].any() and picture.parsed[-1].all()


@pytest.mark.parametrize("open_gop", [0, 1])
def test_a_missing_picture_is_noticed_and_the_next_keyframe_heals_it(open_gop):
    params = f"bframes=0:keyint=6:min-keyint=6:open-gop={open_gop}"
    packets, _, extradata = demuxed(encode(params=params, frames=16))
    parser = open_stream(extradata).sequence()
    lost = []
    for number, packet in enumerate(packets):
        if number != 2:
            parser.parse(packet)
        lost.append(parser.lost)
    assert not any(lost[:3]) and all(lost[3:6]) and not any(lost[6:])


@pytest.mark.parametrize("name", ["torchcodec_hevc.mp4", "vpng_hevc.mp4", "hevcjs_qcif_10bit.265"])
def test_real_clips_end_on_their_stop_bits_and_entry_points(name):
    packets, _, extradata = demuxed(clip(name).read_bytes())
    parser = open_stream(extradata).sequence()
    assert all(parser.parse(packet).complete for packet in packets) and not parser.lost
