"""The decoding layer: what it extracts against FFmpeg's own export from a plain single-thread decode."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.codecs.h264.picture import PictureParser
from codecmeta.codecs.protocol import with_configuration
from codecmeta.codecs.table import codec_of
from codecmeta.container.packets import open_video
from codecmeta.container.probe import probe_with_packets
from codecmeta.container.segments import Damage, linear_segment, plan_segments
from codecmeta.decoding.decoder import Decoded, decode_segment
from tests.support.clips import (
    REAL_NAMES,
    filter_packets,
    pan,
    real_clip,
    rotated_copy,
    single_thread_export,
    write_clip,
)
from tests.support.records import arrays

NAMES = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "scale")


def decode(path: Path) -> list[Any]:
    """Every frame through the segments, or linearly where a segment says that it is damaged."""
    found, packets = probe_with_packets(path)
    stream = found.stream.stream_index
    try:
        return [
            one
            for part in plan_segments(packets, found.stream.codec)
            for one in decode_segment(path, stream, packets, part)
        ]
    except Damage:
        return list(decode_segment(path, stream, packets, linear_segment(packets)))


def assert_equals_export(path: Path) -> None:
    found = codecmeta.probe(path)
    expected = single_thread_export(path, found.stream.stream_index)
    decoded = decode(path)
    assert [chr(one.picture_type) for one in decoded] == [one["type"] for one in expected]
    for mine, theirs in zip(decoded, expected, strict=True):
        assert (mine.vectors is None) == (theirs["vectors"] is None)
        if theirs["vectors"] is not None:
            for name in NAMES:
                column = theirs["vectors"]["motion_scale" if name == "scale" else name]
                assert np.array_equal(mine.vectors[name], column), name


@pytest.mark.parametrize("name", REAL_NAMES or ["none"])
def test_real_clips_equal_ffmpegs_own_export(name: str) -> None:
    assert_equals_export(real_clip(name))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("pyramid.mp4", "libx264", {"x264-params": "bframes=5:b-pyramid=normal:keyint=14:ref=4"}),
        ("open.mp4", "libx264", {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal:keyint=10:scenecut=0"}),
        ("open.ts", "libx264", {"x264-params": "open-gop=1:bframes=3:keyint=10:scenecut=0"}),
        ("refresh.mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=15:bframes=0"}),
        ("intra.mp4", "libx264", {"x264-params": "keyint=1"}),
        ("mbaff.mp4", "libx264", {"x264-params": "interlaced=1:bframes=2:keyint=12"}),
        ("two.mpg", "mpeg2video", {"bf": "2", "g": "9"}),
        ("four.avi", "mpeg4", {"bf": "2", "g": "9"}),
        ("four.mp4", "mpeg4", {"g": "9"}),
        ("flash.flv", "flv1", {"g": "9"}),
        ("raw.264", "libx264", {"x264-params": "bframes=3:keyint=12"}),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else None,
)
def test_segments_equal_a_plain_decode(made: Path, name: str, codec: str, options: dict[str, str]) -> None:
    path = made / name
    write_clip(path, pan(40, (96, 80), (3, 1)), codec, options, b_frames=int(options.get("bf", 0)) or None)
    assert_equals_export(path)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("two.mpg", "mpeg2video", {"bf": "2", "g": "9"}),
        ("four.avi", "mpeg4", {"bf": "2", "g": "9"}),
        ("flash.flv", "flv1", {"g": "9"}),
        ("open.mkv", "libx265", {"x265-params": "open-gop=1:bframes=3:keyint=9:log-level=none"}),
        ("nine.webm", "libvpx-vp9", {"g": "9", "deadline": "realtime", "cpu-used": "8"}),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else None,
)
def test_a_file_opened_once_gives_what_it_gives_when_opened_anew(
    made: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    """Segments in order, then backwards, each left after its second frame: nothing of one is seen in the next."""
    path = made / f"once-{name}"
    write_clip(path, pan(40, (96, 80), (3, 1)), codec, options, b_frames=int(options.get("bf", 0)) or None)
    found, packets = probe_with_packets(path)
    stream = found.stream.stream_index
    segments = plan_segments(packets, found.stream.codec)
    assert len(segments) >= 4
    fresh = [[seen(one) for one in decode_segment(path, stream, packets, part)] for part in segments]
    with open_video(path, stream) as opened:
        for part, expected in zip(segments, fresh, strict=True):
            assert [seen(one) for one in decode_segment(path, stream, packets, part, opened=opened)] == expected
        for part, expected in zip(segments[:0:-1], fresh[:0:-1], strict=True):
            frames = decode_segment(path, stream, packets, part, opened=opened)
            assert [seen(one) for one in islice(frames, 2)] == expected[:2]
            frames.close()


def seen(one: Decoded) -> tuple[Any, ...]:
    """All that a decoded frame says, in bytes."""
    tables = [None if table is None else table.tobytes() for table in (one.vectors, one.qp and one.qp.blocks)]
    return one.row, one.packet, one.picture_type, one.corrupt, *tables, one.frame.to_ndarray().tobytes()


@pytest.mark.parametrize("name", REAL_NAMES or ["none"])
def test_any_number_of_workers_gives_the_same_bytes(name: str) -> None:
    path = real_clip(name)
    one, two = (codecmeta.extract(path, jobs=jobs) for jobs in (1, 2))
    assert two.capability == one.capability
    for key, value in arrays(one).items():
        assert value.tobytes() == arrays(two)[key].tobytes(), key


@pytest.mark.parametrize("name", REAL_NAMES or ["none"])
def test_sampled_frames_carry_what_a_full_extraction_says_of_them(name: str) -> None:
    path = real_clip(name)
    full, some = codecmeta.extract(path), codecmeta.extract(path, frames=5, jobs=2)
    assert np.array_equal(some.frames.pts, full.frames.pts)
    for row in some.residual.frame:
        assert np.array_equal(some.residual.of(row), full.residual.of(row))
        assert some.residual.source_of(row) == full.residual.source_of(row)
        if full.qp is not None:
            assert np.array_equal(some.qp.of(row), full.qp.of(row))
        borrowed = codec_of(full.stream.codec).borrowed[0]  # "B-frames", say: whose vectors need other pictures
        exact = some.capability["motion"]["level"] != "estimated" or chr(full.frames.picture_type[row]) not in borrowed
        if full.motion is not None and full.motion.of(row) is not None and exact:
            assert np.array_equal(some.motion.of(row), full.motion.of(row))


@pytest.mark.parametrize(
    ("name", "codec", "options", "assumed"),
    [
        (
            "pan3.mp4",
            "libx264",
            {"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:weightp=0:ref=4:keyint=60"},
            False,
        ),
        ("pan3.mpg", "mpeg2video", {"bf": "3", "g": "40", "qmin": "2", "qmax": "2"}, True),
    ],
    ids=["distance-known", "distance-assumed"],
)
def test_pan_vectors_say_three_pixels_per_frame(
    made: Path, name: str, codec: str, options: dict, assumed: bool
) -> None:
    """Content moves right by 3 pixels per frame: normalised motion is (3, 0) whatever the distance to the reference."""
    path = write_clip(made / name, pan(40, (160, 96), (3, 0)), codec, options, b_frames=3)
    meta = codecmeta.extract(path)
    raw = {}
    for kind in "PB":
        rows = np.flatnonzero(meta.frames.picture_type == ord(kind))[1:-1]
        field = codecmeta.motion_grid(meta, rows)
        inner = field.motion[:, 1:-1, 2:-2][field.coverage[:, 1:-1, 2:-2] > 0.9]
        assert np.abs(np.median(inner, axis=0) - (3, 0)).max() < 0.1, kind
        assert (np.abs(inner - (3, 0)).max(axis=1) < 0.5).mean() > 0.9, kind
        assert (field.assumed == assumed).all()
        vectors = np.concatenate([meta.motion.of(row) for row in rows])
        raw[kind] = set(np.abs(vectors["motion_x"] // vectors["scale"]).tolist())
    assert 12 in raw["P"] and {3, 6, 9} & raw["B"]  # the raw vectors do differ, so the division did something


def test_intra_blocks_have_no_coverage(made: Path) -> None:
    """A hard cut inside a P picture: nothing before it predicts the new scene, so vectors cover little of it."""
    pictures = pan(10, (160, 96), (1, 0), seed=1) + pan(10, (160, 96), (1, 0), seed=9)
    path = write_clip(made / "cut.mp4", pictures, options={"x264-params": "scenecut=0:keyint=60:bframes=0:subme=7"})
    meta = codecmeta.extract(path)
    coverage = codecmeta.motion_grid(meta, np.arange(20)).coverage.mean((1, 2))
    assert coverage[0] == 0 and coverage[10] < 0.5 and coverage[12:].min() > 0.9


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_turns_vectors_and_maps_with_the_picture(made: Path, rotation: int) -> None:
    plain = write_clip(made / "plain.mp4", pan(12, (160, 96), (3, 1)), options={"x264-params": "bframes=2"})
    turned = rotated_copy(plain, made / f"turned{rotation}.mp4", rotation)
    before, _, pictures = codecmeta.read(plain, 12)
    after, _, shown = codecmeta.read(turned, 12)
    quarter = rotation // 90
    assert np.array_equal(shown, np.rot90(pictures, quarter, axes=(1, 2)))
    assert np.array_equal(after.residual.values, np.rot90(before.residual.values, quarter, axes=(1, 2)))
    assert np.array_equal(after.qp.values, np.rot90(before.qp.values, quarter, axes=(1, 2)))
    moved = codecmeta.motion_grid(after, np.arange(1, 12)).motion
    still = np.rot90(codecmeta.motion_grid(before, np.arange(1, 12)).motion, quarter, axes=(1, 2))
    turn = {90: [[0, 1], [-1, 0]], 180: [[-1, 0], [0, -1]], 270: [[0, -1], [1, 0]]}[
        rotation
    ]  # counter-clockwise, y down
    assert np.allclose(moved, still @ np.array(turn).T, atol=1e-5)
    assert np.abs(moved).max() > 2


def test_crop_moves_vectors_and_maps_to_the_displayed_picture(made: Path) -> None:
    """The same stream with a crop rectangle: centres move by it, blocks that do not show are gone."""
    whole = write_clip(made / "whole.mp4", pan(12, (192, 128), (2, 0)), options={"x264-params": "bframes=0"})
    cropped = filter_packets(
        whole, made / "cropped.mp4", "h264_metadata=crop_top=32:crop_left=64:crop_right=0:crop_bottom=16"
    )
    before, after = codecmeta.extract(whole), codecmeta.extract(cropped)
    assert (after.stream.width, after.stream.height) == (128, 80)
    for row in range(1, 12):
        mine, theirs = after.motion.of(row), before.motion.of(row)
        assert np.array_equal(mine["dst_x"], theirs["dst_x"] - 64) and np.array_equal(
            mine["dst_y"], theirs["dst_y"] - 32
        )
        assert np.array_equal(after.qp.of(row)[2:7, 4:12], before.qp.of(row)[2:7, 4:12])
    assert (after.qp.origin_x, after.qp.origin_y, after.qp.values.shape[1:]) == (-64, -32, (7, 12))
    _, _, pictures = codecmeta.read(whole, 12)
    _, _, shown = codecmeta.read(cropped, 12)
    assert np.array_equal(shown, pictures[:, 32:112, 64:])


def test_odd_left_crop_follows_the_picture_ffmpeg_shows(made: Path) -> None:
    """FFmpeg rounds a left crop down to keep lines aligned; vectors must fit the picture that it really gives."""
    whole = write_clip(made / "whole2.mp4", pan(8, (192, 128), (2, 0)), options={"x264-params": "bframes=0"})
    cropped = filter_packets(whole, made / "odd.mp4", "h264_metadata=crop_left=10:crop_right=6")
    before, after = codecmeta.extract(whole), codecmeta.extract(cropped)
    _, _, pictures = codecmeta.read(whole, 8)
    _, _, shown = codecmeta.read(cropped, 8)
    left = 192 - 6 - shown.shape[2]
    assert np.array_equal(shown, pictures[:, :, left:-6])
    assert np.array_equal(after.motion.of(3)["dst_x"], before.motion.of(3)["dst_x"] - left)


def test_qp_maps_have_the_quantiser_that_was_asked_for(made: Path) -> None:
    for qp in (10, 40):
        path = write_clip(
            made / f"qp{qp}.mp4",
            pan(6, (96, 80), (2, 0)),
            options={"qp": str(qp), "x264-params": "ipratio=1:pbratio=1:aq-mode=0"},
        )
        meta = codecmeta.extract(path)
        assert meta.qp.values.shape == (6, 5, 6)
        assert (meta.qp.values == qp).all()
    path = write_clip(made / "q5.mp4", pan(6, (96, 80), (2, 0)), "mpeg4", {"qmin": "5", "qmax": "5", "g": "6"})
    meta = codecmeta.extract(path)
    assert (meta.qp.values == 2 * 5).all()  # on the scale of MPEG-2's non-linear quantisers, as FFmpeg exports it
    assert "twice" in meta.capability["qp"]["why"]


def test_mbaff_has_a_qp_map_of_the_displayed_size(made: Path) -> None:
    path = write_clip(made / "mbaff2.mp4", pan(6, (96, 80), (2, 0)), options={"x264-params": "interlaced=1"})
    assert codecmeta.extract(path).qp.values.shape == (6, 5, 6)  # coded height is 96, padded to pairs of macroblocks


def test_vp9_quantisers_above_127_survive(made: Path, tmp_path: Path) -> None:
    path = write_clip(
        made / "q.webm",
        pan(6, (64, 64), (2, 0)),
        "libvpx-vp9",
        {"deadline": "realtime", "qmin": "63", "qmax": "63", "crf": "63", "b": "0"},
    )
    meta = codecmeta.extract(path)
    assert (meta.qp.values == 255).all()  # quantizer 63 of the encoder is index 255 (libvpx, quantizer_to_qindex)
    meta.save(tmp_path / "q.h5")
    with codecmeta.load(tmp_path / "q.h5") as loaded:
        assert np.array_equal(loaded.qp.values[:], meta.qp.values)


def test_capability_says_what_is_missing_and_why(made: Path) -> None:
    report = codecmeta.extract(write_clip(made / "cap.webm", pan(6, (64, 64), (2, 0)), "libvpx", {})).capability
    assert report["motion"]["level"] == report["qp"]["level"] == "none"
    assert "vp8" in report["motion"]["why"] and report["packets"]["level"] == "exact"
    old = write_clip(made / "b.mp4", pan(24, (64, 64), (2, 0)), "mpeg4", {"bf": "2", "g": "12"}, b_frames=2)
    meta = codecmeta.extract(old)
    assert "B-frames not available" in meta.capability["motion"]["why"]
    assert not set(np.flatnonzero(meta.frames.picture_type == ord("B"))) & set(meta.motion.frame)
    known = codecmeta.motion_grid(meta, np.arange(24)).known
    assert np.array_equal(known, np.isin(np.arange(24), meta.motion.frame))


def test_resolution_change_is_mapped_to_the_displayed_size(tmp_path: Path) -> None:
    """Two sizes in one raw stream: the second half is shown at the size of the first."""
    small = write_clip(tmp_path / "a.264", pan(8, (96, 64), (2, 0)), options={"x264-params": "bframes=0"})
    large = write_clip(tmp_path / "b.264", pan(8, (192, 128), (4, 0)), options={"x264-params": "bframes=0"})
    both = tmp_path / "both.264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    meta, _, pictures = codecmeta.read(both, 16)
    assert (
        pictures.shape == (16, 64, 96, 3)
        and meta.residual.values.shape == (16, 8, 12)
        and meta.qp.values.shape == (16, 4, 6)
    )
    inner = codecmeta.motion_grid(meta, np.arange(10, 15)).motion[:, 1:-1, 1:-1]
    assert np.abs(np.median(inner, axis=(0, 1, 2)) - (2, 0)).max() < 0.2  # 4 pixels of the large picture are 2 here


def test_a_stream_that_loses_packets_keeps_every_frame_that_can_be_had(made: Path) -> None:
    path = write_clip(made / "fine.ts", pan(60, (160, 96), (2, 1)), options={"x264-params": "bframes=2:keyint=20"})
    broken = made / "broken.ts"
    data = bytearray(path.read_bytes())
    for at in np.random.default_rng(3).integers(4000, len(data), 40):
        data[at] ^= 0x55
    broken.write_bytes(bytes(data[: int(len(data) * 0.9)]))
    expected = single_thread_export(broken)
    meta = codecmeta.extract(broken)
    assert "".join(map(chr, meta.frames.picture_type)) == "".join(one["type"] for one in expected)
    theirs = np.array([one["corrupt"] for one in expected])
    assert theirs.any() and (meta.frames.corrupt >= theirs).all()
    # x264's bytes differ once in a hundred runs, and with them what the damage hits: a slice that goes wrong and still
    # fills its picture is seen by its stop bit alone, which FFmpeg does not look at
    parser, of_pts = PictureParser(None), {}
    with av.open(str(broken)) as container:
        for packet in container.demux(video=0):
            if packet.size and (picture := parser.parse(bytes(packet))) is not None:
                of_pts[packet.pts] = picture.errors
    for row in np.flatnonzero(meta.frames.corrupt & ~theirs):
        assert any("no stop bit" in error for error in of_pts[int(meta.frames.pts[row])])


def test_a_decoder_used_again_starts_with_the_parameter_sets_of_the_stream(made: Path) -> None:
    """A GoP of another encoder brings its own; the next one means those that the container holds."""
    ours, other = (
        write_clip(made / name, pan(16, (96, 64), (1, 0)), options={"x264-params": f"keyint=8:cabac={cabac}"})
        for name, cabac in (("ours.mp4", 1), ("other.mp4", 0))
    )
    path = made / "mixed.mp4"
    with av.open(str(ours)) as one, av.open(str(other)) as two, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(one.streams.video[0])
        known, new = (file.streams.video[0].codec_context.extradata for file in (one, two))
        first = [packet for packet in one.demux(video=0) if packet.size]
        second = [packet for packet in two.demux(video=0) if packet.size]
        for index, packet in enumerate([*first[:8], *second[:8], *first[8:]]):
            data = with_configuration("h264", bytes(packet), known, new if index == 8 else None)
            fresh = av.Packet(data)
            shift = 8 * packet.duration if index >= 8 else 0
            fresh.pts, fresh.dts, fresh.duration = packet.pts + shift, packet.dts + shift, packet.duration
            fresh.time_base, fresh.is_keyframe, fresh.stream = packet.time_base, packet.is_keyframe, copy
            target.mux(fresh)
    probe, packets = probe_with_packets(path)
    segments = plan_segments(packets, "h264")
    assert [one.first for one in segments] == [0, 8, 16]
    expected = single_thread_export(ours)[8:]
    with open_video(path) as opened:
        for segment in segments[1:]:
            found = list(decode_segment(path, 0, packets, segment, side_data=False, opened=opened))
    assert len(found) == 8
    for one, theirs in zip(found, expected, strict=True):
        assert np.array_equal(one.frame.to_ndarray(format="rgb24"), theirs["rgb"])


def test_read_gives_the_pictures_of_a_plain_decode(made: Path) -> None:
    path = write_clip(made / "pictures.mp4", pan(50, (96, 64), (1, 0)), options={"x264-params": "bframes=3:keyint=12"})
    expected = single_thread_export(path)
    meta, rows, pictures = codecmeta.read(path, 7, jobs=2)
    assert rows.tolist() == [round(one) for one in np.linspace(0, 49, 7)]
    assert meta.residual.frame.tolist() == rows.tolist()
    for row, picture in zip(rows, pictures, strict=True):
        assert np.array_equal(picture, expected[row]["rgb"])
    _, chosen, some = codecmeta.read(path, times=[1.0, 0.121, 1.99, 0.12])  # 25 frames per second
    assert chosen.tolist() == [3, 25, 49] and np.array_equal(some[1], expected[25]["rgb"])
    for given in ([5, 0, 5], np.array([5, 0, 5], np.int32), (np.int64(5), 0, 5)):
        meta, chosen, some = codecmeta.read(path, rows=given)
        assert chosen.tolist() == [5, 0, 5] and meta.residual.frame.tolist() == [0, 5]
        assert all(np.array_equal(picture, expected[row]["rgb"]) for picture, row in zip(some, [5, 0, 5], strict=True))
    assert meta.settings["frames"] == {"rows": [0, 5]}
    assert codecmeta.read(path, np.int64(2))[1].tolist() == [0, 49]
    _, _, sums = codecmeta.read(path, 7, transform=lambda picture: int(picture.sum()))
    assert sums == [int(picture.sum()) for picture in pictures]


@pytest.mark.parametrize(("frames", "jobs"), [(0, 1), ("some", 1), (True, 1), (4, 0), ((), 1), ((float("nan"),), 1)])
def test_senseless_arguments_are_refused(frames: Any, jobs: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        codecmeta.extract("whatever.mp4", frames=frames, jobs=jobs)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"frames": (0, 2, 5)}, r"pass rows=\[...\] for frames by their index, times=\[...\] for seconds"),
        ({"frames": np.array([0, 2])}, "rows="),
        ({"rows": [0.0, 2.0]}, "seconds go into times"),
        ({"rows": [-1]}, "counted from 0"),
        ({"rows": []}, "counted from 0"),
        ({"times": [[0.0]]}, "expected seconds"),
        ({"times": ["a"]}, "expected seconds"),
        ({"rows": [0], "times": [0.0]}, "pass one of them"),
        ({"frames": 4, "rows": [0]}, "pass one of them"),
        ({"rows": [0, 10]}, "row 10: the video has 10 frames, rows 0 to 9"),
        ({"times": [0.0, 0.6]}, "time 0.6 s: the video shows frames from 0 to 0.4 s"),
        ({"times": [-1]}, "time -1 s"),
    ],
)
def test_rows_are_not_taken_for_times_and_nothing_is_clamped(made: Path, arguments: dict[str, Any], said: str) -> None:
    path = made / "ten.mp4"
    if not path.exists():
        write_clip(path, pan(10, (64, 64), (1, 0)))
    for function in (codecmeta.extract, codecmeta.read):
        with pytest.raises(ValueError, match=said):
            function(path, **arguments)
