"""The bitstream source inside `codecmeta.extract`, against the FFmpeg path of the same function on the same files."""

from __future__ import annotations

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.codecs.h264 import stream
from codecmeta.container import fetch
from codecmeta.container.probe import probe_with_packets
from codecmeta.extraction import by_parser
from codecmeta.record.metadata import B, I, P
from tests.support.h264_encodes import clip, encode

FILES = {
    "B-frames": dict(options="x264-params=bframes=3:b-adapt=0"),
    "odd size": dict(options="x264-params=bframes=2", size=(174, 138)),
    "open GoP": dict(options="x264-params=open-gop=1:bframes=3:b-adapt=0:keyint=8:min-keyint=8:scenecut=0", gop=8),
    "closed GoPs": dict(options="x264-params=bframes=3:keyint=7:min-keyint=7:scenecut=0", gop=7),
    "10 bit": dict(options="x264-params=bframes=3", pixel_format="yuv420p10le"),
    "intra refresh": dict(options="x264-params=intra-refresh=1:keyint=10"),
    "transport stream": dict(options="x264-params=bframes=2:keyint=11:scenecut=0", container="mpegts", gop=11),
    "no time stamps": dict(options="x264-params=bframes=3:keyint=11:scenecut=0", container="h264", gop=11),
    "matroska": dict(options="x264-params=bframes=2:keyint=11:scenecut=0", container="matroska", gop=11),
}


@pytest.fixture
def written(writer):
    return writer(encode, FILES)


def check_same_signals(ours, theirs):
    """Every vector and quantiser that FFmpeg exports, row by row and in the same places."""
    assert ours.capability["residual"]["level"] == "exact" and theirs.capability["residual"]["level"] == "estimated"
    assert ours.capability["motion"]["level"] == "exact" and theirs.capability["motion"]["level"] == "exported"
    for name in ("pts", "picture_type", "keyframe", "packet_bytes", "gop", "corrupt"):
        np.testing.assert_array_equal(getattr(ours.frames, name), getattr(theirs.frames, name), err_msg=name)
    np.testing.assert_array_equal(ours.motion.frame, theirs.motion.frame)
    np.testing.assert_array_equal(ours.motion.indptr, theirs.motion.indptr)
    np.testing.assert_array_equal(ours.motion.vectors, theirs.motion.vectors)
    np.testing.assert_array_equal(ours.qp.values, theirs.qp.values)
    assert (ours.qp.block, ours.qp.origin_x, ours.qp.origin_y) == (
        theirs.qp.block,
        theirs.qp.origin_x,
        theirs.qp.origin_y,
    )
    assert len(ours.motion.vectors) > 0 and ours.bits.values.shape == ours.qp.values.shape


@pytest.mark.parametrize("name", FILES)
def test_vectors_and_qp_are_those_of_the_ffmpeg_path(name, written, by_ffmpeg):
    path = written(name)
    check_same_signals(codecmeta.extract(path, jobs=2), by_ffmpeg(path))


REAL = ["vali_rotated_90.mp4", "torchcodec_nasa.mp4", "cvr_h264_bframes.mp4", "openh264_cabac_bframes.264"]


@pytest.mark.parametrize("name", [*REAL, "openh264_MR1_BT_A.264"])
def test_vectors_and_qp_of_real_clips_are_those_of_the_ffmpeg_path(name, by_ffmpeg):
    check_same_signals(codecmeta.extract(clip(name)), by_ffmpeg(clip(name)))


@pytest.mark.parametrize("frames", ["all", "keyframes", 5])
def test_no_picture_is_decoded_and_no_other_packet_parsed(frames, written, monkeypatch):
    path = written("closed GoPs")
    parsed = []
    original, several = stream.H264Parser.parse, stream.H264Parser.pictures
    counting = lambda parser, data: parsed.append(len(data)) or original(parser, data)  # noqa: E731
    counted = lambda packets: (parsed.append(len(one[1])) or one for one in packets)  # noqa: E731
    monkeypatch.setattr(stream.H264Parser, "parse", counting)
    monkeypatch.setattr(stream.H264Parser, "pictures", lambda parser, some, *how: several(parser, counted(some), *how))
    monkeypatch.setattr(by_parser, "decode_segment", None)
    meta = codecmeta.extract(path, frames=frames)
    assert len(parsed) == {"all": 30, "keyframes": 5, 5: 5}[frames] == len(meta.residual.frame)
    np.testing.assert_array_equal(np.array(parsed)[np.argsort(meta.frames.pts[meta.residual.frame])].sum(), sum(parsed))


@pytest.mark.parametrize("name", ["B-frames", "matroska", "transport stream"])
def test_sampled_frames_are_those_of_the_whole_but_for_estimated_vectors(name, written):
    path = written(name)
    whole, some = codecmeta.extract(path), codecmeta.extract(path, frames=9)
    assert some.capability["motion"]["level"] == "estimated" and "B-frames" in some.capability["motion"]["why"]
    for row in some.residual.frame:
        for name in ("residual", "residual_chroma", "qp", "bits"):
            np.testing.assert_array_equal(getattr(some, name).of(row), getattr(whole, name).of(row))
        if whole.frames.picture_type[row] != B:
            np.testing.assert_array_equal(some.motion.of(row), whole.motion.of(row))


def test_the_distance_to_the_reference_is_counted_in_displayed_frames(written):
    """One reference per list: P refers to the I or P before it, B to its neighbours of those types."""
    path = written(options="x264-params=bframes=3:b-adapt=0:b-pyramid=none:ref=1:weightp=0:scenecut=0")
    meta = codecmeta.extract(path)
    types = meta.frames.picture_type
    anchors = np.flatnonzero(types != B)
    for at, row in enumerate(meta.motion.frame):
        part = slice(meta.motion.indptr[at], meta.motion.indptr[at + 1])
        used = meta.motion.distance[part] != 0
        past = anchors[anchors < row].max(initial=-1)
        assert types[row] == I or used.any()
        source, distance = meta.motion.vectors[part]["source"], meta.motion.distance[part]
        assert (distance[used & (source == -1)] == past - row).all()
        if types[row] == B:
            assert (distance[used & (source == 1)] == anchors[anchors > row].min() - row).all()
        if types[row] == P:
            assert used.all()


def test_the_bits_of_a_frame_are_nearly_its_packet_and_the_residual_is_where_the_bits_are(written):
    meta = codecmeta.extract(written("B-frames"))
    for row in meta.bits.frame:
        total = meta.bits.of(row).sum()  # what else is in a packet: headers, lengths, in the first one x264's settings
        assert 0 <= 8 * meta.frames.packet_bytes[row] - total <= (40 if row else 1000) * 8
    assert meta.residual.values.dtype == np.float16 and meta.residual_chroma.values.shape == meta.residual.values.shape


def test_pictures_come_with_the_residual_of_their_own_packets(written):
    path = written("closed GoPs")
    whole = codecmeta.extract(path)
    meta, rows, images = codecmeta.read(path, 6)
    assert meta.residual.frame.tolist() == rows.tolist() and len(images) == 6
    for row in rows:
        assert meta.residual.source_of(row) == "bitstream"
        np.testing.assert_array_equal(meta.residual.of(row), whole.residual.of(row))


def test_what_is_refused_is_served_by_ffmpeg_and_the_report_says_why(written):
    meta = codecmeta.extract(written(options="qp=0 x264-params=interlaced=1"))
    assert meta.capability["residual"]["level"] == "estimated" and "lossless" in meta.capability["residual"]["why"]
    assert meta.capability["bits"]["level"] == "none" and "lossless" in meta.capability["bits"]["why"]
    assert meta.capability["motion"]["level"] == "exported" and len(meta.residual.frame) == 30


def test_the_cache_keeps_bits_chroma_and_distances(written, tmp_path):
    meta = codecmeta.extract(written("odd size"))
    meta.save(tmp_path / "clip.h5")
    with codecmeta.load(tmp_path / "clip.h5") as loaded:
        np.testing.assert_array_equal(loaded.motion.distance[:], meta.motion.distance)
        np.testing.assert_array_equal(loaded.residual_chroma.values[:], meta.residual_chroma.values)
        np.testing.assert_array_equal(loaded.bits.values[:], meta.bits.values)


def test_packets_of_mp4_lie_in_the_file_where_the_table_says_and_need_no_demuxer(written, monkeypatch):
    path = written("B-frames")
    data, (_, table) = path.read_bytes(), probe_with_packets(path)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    places = zip(table.position.tolist(), table.size.tolist(), strict=True)
    assert [data[position : position + size] for position, size in places] == packets
    monkeypatch.setattr(fetch, "open_video", None)
    assert len(codecmeta.extract(path, frames=6).residual.frame) == 6
