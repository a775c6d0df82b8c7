"""Damaged streams: the frames are those that an independent decode displays, undamaged ones keep their exact data."""

from __future__ import annotations

from io import BytesIO

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.codecs.h264.nal import nal_units
from codecmeta.codecs.h264.picture import PictureParser
from codecmeta.codecs.protocol import NOT_PARSED_QP
from codecmeta.codecs.syntax.nal import has_wrong_lengths
from codecmeta.record.metadata import VECTOR, B, vector_order
from tests.support.clips import single_thread_export
from tests.support.h264_encodes import clip, encode, ffmpeg

SPATIAL = dict(options="x264-params=bframes=2:b-adapt=0:b-pyramid=none:weightp=0:slices=2:keyint=12:scenecut=0", gop=12)
TEMPORAL = dict(options="x264-params=bframes=2:b-adapt=0:b-pyramid=none:weightp=0:direct=temporal")
COUNT = 24


def packets_of(data: bytes) -> list[bytes]:
    with av.open(BytesIO(data)) as source:
        return [bytes(packet) for packet in source.demux(video=0) if packet.size]


def remux(data: bytes, path, edit):
    """The stream of `data` with packet i replaced by edit(i, bytes), left out where that is None."""
    with av.open(BytesIO(data)) as source, av.open(str(path), "w") as sink:
        video = source.streams.video[0]
        copy = sink.add_stream_from_template(video)
        packets = [packet for packet in source.demux(video) if packet.size]
        for i, packet in enumerate(packets):
            if (edited := edit(i, bytes(packet))) is not None:
                one = av.Packet(edited)
                one.pts, one.dts, one.time_base = packet.pts, packet.dts, packet.time_base
                one.is_keyframe, one.stream = packet.is_keyframe, copy
                sink.mux(one)
    return path


def rows_by_pts(meta) -> dict[int, int]:
    return {int(pts): row for row, pts in enumerate(meta.frames.pts)}


def check_frames_are_those_displayed(meta, path):
    displayed = single_thread_export(path)
    assert "".join(map(chr, meta.frames.picture_type)) == "".join(one["type"] for one in displayed)
    assert all(meta.frames.corrupt >= [one["corrupt"] for one in displayed])


def check_same_but_for(meta, whole, *, besides: set[int], vectors_besides: set[int]):
    """Every map of every frame is that of the undamaged file, found by its time stamp."""
    where, compared = rows_by_pts(whole), 0
    for row, pts in enumerate(meta.frames.pts.tolist()):
        if row in besides:
            continue
        for name in ("residual", "residual_chroma", "qp", "bits"):
            np.testing.assert_array_equal(getattr(meta, name).of(row), getattr(whole, name).of(where[pts]))
        if row not in vectors_besides:
            np.testing.assert_array_equal(meta.motion.of(row), whole.motion.of(where[pts]))
            compared += len(meta.motion.of(row))
    assert compared > 100


@pytest.mark.parametrize("kwargs", [SPATIAL, TEMPORAL], ids=["spatial", "temporal"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_bits_turned_over_in_a_p_picture_cost_that_picture_and_what_is_copied_from_it(kwargs, jobs, tmp_path):
    data = encode(frames=COUNT, **kwargs)
    (tmp_path / "whole.mp4").write_bytes(data)
    whole = codecmeta.extract(tmp_path / "whole.mp4")
    packets = packets_of(data)
    packet = packets[4]  # I, P, b, b, P, b, b in decoding order
    half = len(packet) // 3  # inside the first slice
    broken = bytearray(packet)
    for i in range(half, half + 6):
        broken[i] ^= 0xFF
    path = tmp_path / "broken.mp4"
    path.write_bytes(data.replace(packet, bytes(broken)))
    meta = codecmeta.extract(path, jobs=jobs)
    check_frames_are_those_displayed(meta, path)
    (row,) = np.flatnonzero(meta.frames.corrupt)
    assert chr(meta.frames.picture_type[row]) == "P" and len(meta.frames) == COUNT
    assert "1 damaged frames are marked corrupt" in meta.capability["residual"]["why"]
    assert meta.capability["residual"]["level"] == meta.capability["qp"]["level"] == "exact"
    # its b-frames, and no others, take vectors from it
    leaning = {row - 1, row - 2}
    assert all(meta.frames.picture_type[one] == B for one in leaning)
    assert meta.capability["motion"]["level"] == "estimated"
    assert "2 of 24 frames are B-frames that depend on a damaged" in meta.capability["motion"]["why"]
    check_same_but_for(meta, whole, besides={int(row)}, vectors_besides=leaning)
    # before the damage everything is there, behind it there is nothing
    bits = whole.bits.of(row).ravel()
    before = int(np.searchsorted(np.cumsum(bits), 8 * (half - 60)))
    assert before > 10
    for name in ("qp", "bits"):
        ours, theirs = getattr(meta, name).of(row).ravel(), getattr(whole, name).of(row).ravel()
        np.testing.assert_array_equal(ours[:before], theirs[:before])
    unknown = meta.qp.of(row) == NOT_PARSED_QP
    assert unknown.any() == (meta.bits.of(row) == 0).any()
    assert (meta.bits.of(row)[unknown] == 0).all()
    assert (meta.residual.of(row).astype(float)[np.kron(unknown, np.ones((2, 2), bool))] == 0).all()
    if kwargs is SPATIAL:  # the second slice starts anew
        rows = whole.bits.of(row).shape[0]
        np.testing.assert_array_equal(meta.bits.of(row)[rows // 2 + 1 :], whole.bits.of(row)[rows // 2 + 1 :])


def test_a_packet_cut_short_keeps_its_beginning(tmp_path):
    data = encode(frames=COUNT, options="x264-params=bframes=0:keyint=12:scenecut=0", gop=12)
    (tmp_path / "whole.mp4").write_bytes(data)
    whole = codecmeta.extract(tmp_path / "whole.mp4")
    path = remux(data, tmp_path / "cut.mp4", lambda i, packet: packet[: len(packet) // 2] if i == 5 else packet)
    assert has_wrong_lengths(packets_of(path.read_bytes())[5], 4) and not has_wrong_lengths(packets_of(data)[5], 4)
    meta = codecmeta.extract(path)
    check_frames_are_those_displayed(meta, path)
    damaged = np.flatnonzero(meta.frames.corrupt).tolist()
    check_same_but_for(meta, whole, besides=set(damaged), vectors_besides=set())
    for row in damaged:
        known = meta.qp.of(row) != NOT_PARSED_QP
        inside = int(known.sum() * 0.9)
        assert 10 < known.sum() < known.size
        at = rows_by_pts(whole)[int(meta.frames.pts[row])]
        np.testing.assert_array_equal(meta.bits.of(row).ravel()[:inside], whole.bits.of(at).ravel()[:inside])


def test_a_dropped_reference_leaves_the_other_frames_exact_and_direct_vectors_estimated(tmp_path):
    data = encode(frames=COUNT, **SPATIAL)
    (tmp_path / "whole.mp4").write_bytes(data)
    whole = codecmeta.extract(tmp_path / "whole.mp4")
    path = remux(data, tmp_path / "dropped.mp4", lambda i, packet: None if i == 4 else packet)
    meta = codecmeta.extract(path)
    check_frames_are_those_displayed(meta, path)
    assert len(meta.frames) == COUNT - 1
    b_frames = np.flatnonzero(meta.frames.picture_type == B)
    behind = [row for row in b_frames.tolist() if 3 < row < 11]  # up to the next keyframe: whose references are unknown
    check_same_but_for(meta, whole, besides=set(), vectors_besides=set(behind))
    assert meta.capability["motion"]["level"] == "estimated"
    assert f"{len(behind)} of {COUNT - 1} frames" in meta.capability["motion"]["why"]
    assert all(not meta.motion.distance_of(row).any() for row in behind)
    in_second_gop = [row for row in range(11, COUNT - 1) if len(meta.motion.of(row))]
    assert all(meta.motion.distance_of(row).any() for row in in_second_gop)


def test_a_lost_slice_and_a_lost_header_are_damage(tmp_path):
    data = encode(frames=COUNT, **SPATIAL)
    (tmp_path / "whole.mp4").write_bytes(data)
    whole = codecmeta.extract(tmp_path / "whole.mp4")

    def edit(i, packet):
        units = [unit for unit in nal_units(packet, 4)]
        if i == 3:  # the first of two slices is missing
            units = units[1:]
        if i == 9:  # its header names a parameter set that does not exist
            units = [unit[:1] + b"\x88\x0f\xff" + unit[4:] for unit in units]
        return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)

    path = remux(data, tmp_path / "headers.mp4", edit)
    meta = codecmeta.extract(path)
    check_frames_are_those_displayed(meta, path)
    assert meta.frames.corrupt.any()
    row = int(np.flatnonzero(meta.frames.corrupt)[0])
    half = meta.qp.of(row).shape[0] // 2
    assert (meta.qp.of(row)[: half - 1] == NOT_PARSED_QP).all() and (meta.qp.of(row)[half + 1 :] != NOT_PARSED_QP).all()
    check_same_but_for(
        meta,
        whole,
        besides=set(np.flatnonzero(meta.frames.corrupt).tolist()),
        vectors_besides=set(np.flatnonzero(meta.frames.picture_type == B).tolist()),
    )


def damage_of_packets(random, case):
    """Three packets: left out, bits turned over, or those and cut in half."""
    chosen = set(random.integers(0, COUNT, 3).tolist())

    def edit(i, packet):
        if i not in chosen:
            return packet
        if case % 3 == 0:
            return None
        broken = bytearray(packet)
        for at in random.integers(6, len(packet), 4):
            broken[at] ^= 1 << int(random.integers(8))
        return bytes(broken[: None if case % 3 == 1 else max(len(broken) // 2, 7)])

    return edit


def damage_of_bytes(random, path):
    """Some bytes overwritten anywhere behind the first picture's headers, and a stretch taken out."""
    data = bytearray(path.read_bytes())
    for at in random.integers(2000, len(data), 5):
        data[at] ^= 0x55
    at = int(random.integers(2000, len(data)))
    del data[at : at + 188]
    path.write_bytes(data)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "264"])
def test_frames_stay_those_displayed_whatever_is_damaged(ending, tmp_path):
    random = np.random.default_rng(len(ending))
    damaged = 0
    for case in range(6):
        data = encode(frames=COUNT, size=(96, 80), **(SPATIAL if case % 2 else TEMPORAL))
        path = tmp_path / f"{case}.{ending}"
        if ending in ("ts", "264"):
            damage_of_bytes(random, remux(data, path, lambda i, packet: packet))
        else:
            remux(data, path, damage_of_packets(random, case))
        meta = codecmeta.extract(path)
        check_frames_are_those_displayed(meta, path)
        assert meta.capability["residual"]["level"] == "exact"
        assert set(meta.residual.frame) == set(range(len(meta.frames)))
        damaged += bool(meta.frames.corrupt.any())
    assert damaged


@pytest.mark.parametrize("name", ["vali_bad_packets.mkv", "openh264_idr_lost.264", "openh264_error_i_p.264"])
def test_damaged_clips_show_the_frames_of_a_decode_and_exact_data_where_nothing_is_damaged(name):
    meta = codecmeta.extract(clip(name))
    check_frames_are_those_displayed(meta, clip(name))
    assert meta.capability["residual"]["level"] == "exact"
    assert ("corrupt" in meta.capability["residual"]["why"]) == meta.frames.corrupt.any()
    fields = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y")
    for row, one in enumerate(single_thread_export(clip(name))):
        ours = meta.motion.of(row)
        if not meta.frames.corrupt[row]:
            theirs = np.zeros(0 if one["vectors"] is None else len(one["vectors"]["w"]), VECTOR)
            for field in fields if len(theirs) else ():
                theirs[field] = one["vectors"][field]
            theirs = theirs[vector_order(theirs)]
            for field in fields:
                np.testing.assert_array_equal(ours[field], theirs[field])


def test_pictures_of_a_damaged_file_come_with_the_data_of_their_packets(tmp_path):
    data = encode(frames=COUNT, **SPATIAL)
    path = remux(data, tmp_path / "cut.mp4", lambda i, packet: packet[: len(packet) // 2] if i == 4 else packet)
    whole = codecmeta.extract(path)
    meta, rows, images = codecmeta.read(path, 9)
    displayed = single_thread_export(path)
    assert len(images) == len(rows) >= 8 and meta.frames.corrupt.tolist() == whole.frames.corrupt.tolist()
    for row, image in zip(rows, images, strict=True):
        np.testing.assert_array_equal(image, displayed[row]["rgb"])
        np.testing.assert_array_equal(meta.residual.of(row), whole.residual.of(row))


def test_without_parameter_sets_the_stream_is_left_to_the_decoder(tmp_path, monkeypatch):
    """Broken sets only in our copy of the extradata: FFmpeg still decodes, and serves."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode(frames=8))
    from codecmeta.codecs.h264.parameter_sets import ParameterSets

    monkeypatch.setattr(ParameterSets, "add", lambda self, unit: None)
    meta = codecmeta.extract(path)
    assert len(meta.frames) == 8 and meta.capability["residual"]["level"] == "estimated"
    assert "parameter set" in meta.capability["residual"]["why"]


@pytest.mark.parametrize("cabac", [0, 1])
def test_wherever_a_packet_ends_the_macroblocks_before_are_exact_and_the_rest_is_empty(cabac):
    extradata, packets, _ = ffmpeg(encode(f"crf=18 x264-params=cabac={cabac}:bframes=0", frames=4, size=(96, 80)))
    parser = PictureParser(extradata)
    for packet in packets[:3]:
        whole = parser.parse(packet)
        ends = np.cumsum(whole.bits.ravel())
        for cut in range(40, len(packet) - 1, 5):
            picture = parser.parse(packet[:cut])
            if picture is None:  # nothing but x264's settings is left of the first packet
                continue
            known = picture.parsed.ravel()
            sent = int((ends < 8 * (cut - len(packet)) + ends[-1] - 64).sum())  # wholly before the cut
            assert picture.errors and not known.all() and known[:sent].all()
            for plane in (0, 1, 2):
                np.testing.assert_array_equal(picture.macroblocks[plane, :sent], whole.macroblocks[plane, :sent])
                assert not picture.macroblocks[plane, ~known].any()
            luma, theirs = (
                one.luma_energy.reshape(one.rows, 4, one.columns, 4).transpose(0, 2, 1, 3).reshape(-1, 16)
                for one in (picture, whole)
            )
            np.testing.assert_array_equal(luma[:sent], theirs[:sent])
            assert not luma[~known].any()
