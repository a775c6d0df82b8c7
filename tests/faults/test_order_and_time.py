"""F4 to F8, F11, F17: which frames there are, in which order, at what time; against a plain decode from the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.container.tables import _longest_rise
from codecmeta.decoding.pictures import read_pictures
from tests.support.clips import needs_configurations, pan, single_thread_export, write_clip
from tests.support.fault_files import fault_file


def sizes_as_decoded(path: Path) -> list[int]:
    """The size of the packet that each frame of a plain decode came from."""
    sizes: list[int] = []
    order: list[int] = []
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        context = video.codec_context
        context.thread_type, context.thread_count, context.copy_opaque = "NONE", 1, True
        for packet in container.demux(video):
            if packet.size:
                packet.opaque = (len(sizes),)
                sizes.append(packet.size)
            order += [frame.opaque[0] for frame in packet.decode()]
    return [sizes[one] for one in order]


def with_one_wrong_time(source: Path, target: Path, frame: int) -> Path:
    """A copy in which one packet's pts is hours late."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        video = before.streams.video[0]
        copy = after.add_stream_from_template(video)
        packets = [one for one in before.demux(video) if one.size]
        late = sorted(packets, key=lambda one: one.pts)[frame]
        for packet in packets:
            if packet is late:
                packet.pts += int(10_000 / packet.time_base)
            packet.stream = copy
            after.mux(packet)
    return target


PICTURES = pan(40, (96, 64), (3, 1))


@pytest.fixture(scope="module")
def reordered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("order")
    options = {"x264-params": "keyint=12:bframes=3:b-adapt=0:scenecut=0"}
    good = write_clip(root / "good.mkv", PICTURES, options=options)
    return {
        "H.264 in AVI": write_clip(root / "h264.avi", PICTURES, options=options),
        "MPEG-4 in AVI": write_clip(root / "mpeg4.avi", PICTURES, "mpeg4", {"g": "12"}, b_frames=2),
        "MPEG-4 in MP4": write_clip(root / "mpeg4.mp4", PICTURES, "mpeg4", {"g": "12"}, b_frames=2),
        "WMV in ASF": write_clip(root / "wmv.asf", PICTURES, "wmv2", {"g": "12"}),
        "one wrong time": with_one_wrong_time(good, root / "jump.mkv", 20),
        "no times": write_clip(root / "raw.h264", PICTURES, options=options),
        "good": good,
    }


@pytest.mark.parametrize(
    "name", ["H.264 in AVI", "MPEG-4 in AVI", "MPEG-4 in MP4", "WMV in ASF", "one wrong time", "no times", "good"]
)
def test_rows_are_the_frames_of_a_decoder(name: str, reordered: dict[str, Path]) -> None:
    path = reordered[name]
    expected, sizes = single_thread_export(path), sizes_as_decoded(path)
    for frames in ("all", 8, "keyframes"):
        for jobs in (1, 2):
            meta = codecmeta.extract(path, frames=frames, jobs=jobs)
            assert meta.frames.packet_bytes.tolist() == sizes
            assert [chr(one) for one in meta.frames.picture_type] == [one["type"] for one in expected]
            assert (np.diff(meta.frames.time) > 0).all()
            assert meta.motion is not None
            for row in meta.motion.frame:
                theirs = expected[row]["vectors"]
                mine = meta.motion.of(row)
                if frames == "all" and theirs is not None:
                    assert sorted(mine["motion_x"].tolist()) == sorted(theirs["motion_x"].tolist())
    meta, rows, pictures = codecmeta.read(path, 8)
    again = read_pictures(path, meta, rows)
    assert len(rows) == 8
    for row, picture, other in zip(rows, pictures, again, strict=True):
        assert np.array_equal(picture, expected[row]["rgb"]) and np.array_equal(other, picture)
    found = codecmeta.probe(path)
    if found.capability["packets"]["level"] == "exact":
        assert found.frames.packet_bytes.tolist() == sizes


def test_a_wrong_time_moves_no_frame(reordered: dict[str, Path]) -> None:
    """It gives way to the time between its neighbours."""
    wrong, right = codecmeta.extract(reordered["one wrong time"]), codecmeta.extract(reordered["good"])
    assert np.allclose(wrong.frames.time, right.frames.time, atol=0.0011)
    assert "contradict" in codecmeta.probe(reordered["one wrong time"]).capability["packets"]["why"]


def test_times_that_say_when_to_decode_are_taken_in_order(reordered: dict[str, Path]) -> None:
    time = codecmeta.extract(reordered["H.264 in AVI"]).frames.time
    assert np.allclose(np.diff(time), 0.04)


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_rise(seed: int) -> None:
    """Against all subsequences."""
    values = np.random.default_rng(seed).integers(0, 9, 9)
    rises = [
        chosen
        for mask in range(1, 1 << 9)
        for chosen in [[values[i] for i in range(9) if mask >> i & 1]]
        if all(a < b for a, b in zip(chosen, chosen[1:], strict=False))
    ]
    found = values[_longest_rise(values)]
    assert (np.diff(found) > 0).all() and len(found) == max(map(len, rises))


def all_keyframes(path: Path, target: Path) -> Path:
    """A copy in which the container calls every packet a keyframe, as files without that table do."""
    with av.open(str(path)) as before, av.open(str(target), "w") as after:
        video = before.streams.video[0]
        copy = after.add_stream_from_template(video)
        for packet in before.demux(video):
            if packet.size:
                packet.stream, packet.is_keyframe = copy, True
                after.mux(packet)
    return target


@pytest.mark.parametrize(("codec", "suffix", "size"), [("h263", "3gp", (176, 144)), ("mpeg4", "mp4", (96, 64))])
def test_random_access_only_where_the_stream_says_so(codec: str, suffix: str, size: Any, tmp_path: Path) -> None:
    """Decoders of H.263 start on a P picture without complaint; its pictures are wrong then."""
    clip = write_clip(tmp_path / f"good.{suffix}", pan(30, size, (3, 1)), codec, {"g": "100"})
    path = all_keyframes(clip, tmp_path / f"flagged.{suffix}")
    expected = single_thread_export(path)
    meta, rows, pictures = codecmeta.read(path, 6, jobs=2)
    for row, picture in zip(rows, pictures, strict=True):
        assert np.array_equal(picture, expected[row]["rgb"])
    assert [chr(one) for one in meta.frames.picture_type] == [one["type"] for one in expected]


@needs_configurations
@pytest.mark.parametrize("name", ["flvcat_b.flv", "stsd2.mp4"])
def test_the_configuration_may_change(name: str) -> None:
    """FFmpeg takes the new one from beside the packet and finds nothing damaged."""
    path = fault_file(name)
    expected = single_thread_export(path)
    assert not any(one["corrupt"] for one in expected)
    meta = codecmeta.extract(path)
    assert not meta.frames.corrupt.any() and meta.motion is not None
    for row, one in enumerate(expected):
        count = 0 if one["vectors"] is None else len(one["vectors"]["w"])
        assert len(meta.motion.of(row)) == count


def test_frames_closer_than_the_clock_ticks(tmp_path: Path) -> None:
    """2,000 frames a second in a container that counts milliseconds: pairs of frames with one time stamp."""
    path = write_clip(tmp_path / "x.webm", pan(40, (64, 64), (1, 0)), "libvpx-vp9", {"deadline": "realtime"}, rate=2000)
    count = len(single_thread_export(path))
    with av.open(str(path)) as container:
        stamps = [one.pts for one in container.demux(video=0) if one.size]
    assert len(set(stamps)) < len(stamps) == count == 40
    for meta in (codecmeta.probe(path), codecmeta.extract(path), codecmeta.extract(path, frames=8)):
        assert len(meta.frames) == count and (np.diff(meta.frames.time) > 0).all()


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9", "libsvtav1"])
def test_hidden_frames_are_no_rows(codec: str, tmp_path: Path) -> None:
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"} if "vpx" in codec else {"preset": "12"}
    path = write_clip(tmp_path / "x.webm", pan(60, (96, 64), (2, 1)), codec, options)
    count = len(single_thread_export(path))
    found = codecmeta.probe(path)
    assert len(found.frames) == count and found.capability["packets"]["level"] == "exact"


@pytest.mark.parametrize("name", ["trunc.mp4", "sample_with_invalid_nalu.mp4", "roadtrip-vp92-10bit.webm"])
def test_a_file_with_packets_that_give_no_frame(name: str, tmp_path: Path) -> None:
    """Every way of reading has the frames of the decoder; the probe says that it cannot know where it cannot."""
    path = fault_file(name)
    expected = single_thread_export(path)
    found = codecmeta.probe(path)
    assert len(found.frames) == len(expected) or found.capability["packets"]["level"] == "estimated"
    for frames in ("all", 8, "keyframes"):
        assert len(codecmeta.extract(path, frames=frames).frames) == len(expected)
    codecmeta.extract_to_file(path, tmp_path / "x.h5", frames=8)
    with codecmeta.load(tmp_path / "x.h5") as meta:
        assert meta.residual is not None
        for row, picture in zip(meta.residual.frame, read_pictures(path, meta, meta.residual.frame), strict=True):
            assert np.array_equal(picture, expected[row]["rgb"])
