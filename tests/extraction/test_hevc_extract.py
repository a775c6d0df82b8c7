"""HEVC inside `codecmeta.extract`: the signals of a plain sequential parse, in whatever way frames are asked for."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.codecs.hevc.stream import open_stream
from tests.support.hevc_encodes import clip, encode

FILES = {
    "B-frames": dict(params="bframes=3:b-adapt=0"),
    "odd size": dict(params="bframes=2", size=(178, 138)),
    "open GoP": dict(params="bframes=3:b-adapt=0:keyint=8:min-keyint=8:scenecut=0:open-gop=1"),
    "closed GoPs": dict(params="bframes=3:keyint=7:min-keyint=7:scenecut=0:open-gop=0"),
    "10 bit": dict(params="bframes=3", pixel_format="yuv420p10le"),
    "transport stream": dict(params="bframes=2:keyint=11:scenecut=0", container="mpegts"),
    "no time stamps": dict(params="bframes=3:keyint=11:scenecut=0:repeat-headers=1", container="hevc"),
    "matroska": dict(params="bframes=2:keyint=11:scenecut=0", container="matroska"),
}


@pytest.fixture
def written(writer):
    return writer(encode, FILES)


def plain(path: Path) -> list:
    """The parsed pictures in display order, by the parser alone."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        packets = [bytes(packet) for packet in container.demux(video) if packet.size]
        stream = open_stream(video.codec_context.extradata or b"")
    keys, parser = stream.order(packets), stream.sequence()
    pictures = [parser.parse(packet) for packet in packets]
    return [pictures[i] for i in sorted(range(len(packets)), key=keys.__getitem__)]


@pytest.mark.parametrize("name", FILES)
def test_every_frame_has_the_signals_of_its_packet(name, written, by_ffmpeg):
    path = written(name)
    meta, theirs = codecmeta.extract(path, jobs=2), by_ffmpeg(path)
    for one in ("motion", "residual", "qp", "bits"):
        assert meta.capability[one]["level"] == "exact", meta.capability[one]
    for column in ("pts", "picture_type", "keyframe", "packet_bytes", "gop", "corrupt"):
        np.testing.assert_array_equal(getattr(meta.frames, column), getattr(theirs.frames, column), err_msg=column)
    assert meta.residual.values.shape == theirs.residual.values.shape
    pictures = plain(path)
    assert len(pictures) == len(meta.frames.pts) == 30
    for row, picture in enumerate(pictures):
        assert picture.picture_type == meta.frames.picture_type[row]
        rows, columns = meta.qp.values.shape[1:]
        np.testing.assert_array_equal(meta.qp.of(row), picture.qp()[:rows, :columns])
        rows, columns = meta.residual.values.shape[1:]
        np.testing.assert_array_equal(meta.residual.of(row), picture.rms()[0][:rows, :columns])
        if name != "odd size":  # vectors of blocks outside the displayed picture are cropped
            vectors, _ = picture.vectors(row, {})
            found = meta.motion.of(row)
            assert len(vectors) == (0 if found is None else len(found))


@pytest.mark.parametrize("name", ["B-frames", "open GoP", "matroska", "transport stream"])
def test_sampled_frames_are_those_of_the_whole_vectors_included(name, written):
    path = written(name)
    whole, some = codecmeta.extract(path), codecmeta.extract(path, frames=9)
    assert len(some.residual.frame) == 9
    exact = some.capability["motion"]["level"] == "exact"
    assert exact or name == "open GoP"
    for row in some.residual.frame:
        for one in ("residual", "residual_chroma", "qp", "bits"):
            np.testing.assert_array_equal(getattr(some, one).of(row), getattr(whole, one).of(row))
        if exact:
            np.testing.assert_array_equal(some.motion.of(row), whole.motion.of(row))


@pytest.mark.parametrize("name", ["open GoP", "closed GoPs"])
def test_workers_change_nothing(name, written, monkeypatch):
    path = written(name)
    one = codecmeta.extract(path, jobs=1)
    monkeypatch.setattr(
        "codecmeta.extraction.reader.runs", lambda segments, *_: [range(i, i + 1) for i in range(len(segments))]
    )
    two = codecmeta.extract(path, jobs=2)
    np.testing.assert_array_equal(one.motion.vectors, two.motion.vectors)
    np.testing.assert_array_equal(one.motion.distance, two.motion.distance)
    np.testing.assert_array_equal(one.residual.values, two.residual.values)
    assert one.capability == two.capability


def test_distances_are_counted_in_displayed_frames(written):
    """x265 without a pyramid: a B-frame's references are the anchors around it."""
    path = written(params="bframes=3:b-adapt=0:b-pyramid=0:ref=1:weightp=0:scenecut=0:keyint=40")
    meta = codecmeta.extract(path)
    types = meta.frames.picture_type
    anchors = np.flatnonzero(types != ord("B"))
    seen = set()
    for at, row in enumerate(meta.motion.frame):
        part = slice(meta.motion.indptr[at], meta.motion.indptr[at + 1])
        distance, source = meta.motion.distance[part], meta.motion.vectors[part]["source"]
        past, future = anchors[anchors < row], anchors[anchors > row]
        if types[row] == ord("B") and len(past) and len(future):
            assert set((row + distance[source == -1]).tolist()) <= {past.max()}
            assert set((row + distance[source == 1]).tolist()) <= {future.min()}
            seen.add("B")
    assert seen


def test_a_refused_stream_is_served_by_the_decoder_and_says_why(tmp_path):
    path = tmp_path / "444.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx265", rate=25, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        for t in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * t, np.uint8), format="rgb24")
            output.mux(stream.encode(frame.reformat(format="yuv444p")))
        output.mux(stream.encode())
    meta = codecmeta.extract(path)
    assert meta.capability["residual"]["level"] == "estimated" and len(meta.frames.pts) == 4
    assert "HEVC 4:4:4 chroma" in meta.capability["residual"]["why"]


def test_of_a_file_that_lost_a_packet_come_the_frames_that_the_decoder_shows(tmp_path):
    path = tmp_path / "lost.hevc"
    data = encode(frames=30, params="bframes=0:keyint=10:min-keyint=10:open-gop=0:repeat-headers=1", container="hevc")
    with av.open(BytesIO(data)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    path.write_bytes(b"".join(packets[:14] + packets[15:]))
    with av.open(str(path)) as container:
        shown = sum(1 for _ in container.decode(video=0))
    meta = codecmeta.extract(path)
    assert len(meta.frames.pts) == shown and shown >= 24  # FFmpeg leaves out what refers to the lost one
    assert meta.capability["residual"]["level"] == "exact"
    whole = tmp_path / "whole.hevc"
    whole.write_bytes(data)
    reference = codecmeta.extract(whole)
    for row in (0, 13):
        np.testing.assert_array_equal(meta.residual.of(row), reference.residual.of(row))
    np.testing.assert_array_equal(meta.residual.of(shown - 1), reference.residual.of(29))
    np.testing.assert_array_equal(meta.motion.of(shown - 1), reference.motion.of(29))


def test_real_clips_are_exact():
    for name in ("vpng_hevc.mp4", "torchcodec_hevc.mp4"):
        meta = codecmeta.extract(clip(name))
        assert {meta.capability[one]["level"] for one in ("motion", "residual", "qp", "bits")} == {"exact"}
        assert not meta.frames.corrupt.any()
