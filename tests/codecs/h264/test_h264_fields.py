"""Field pictures (PAFF), which no encoder at hand makes: written streams against FFmpeg."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from io import BytesIO

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.codecs.h264.motion_vectors import DST_Y, HEIGHT, MOTION_Y, WIDTH, motion_rows
from codecmeta.codecs.h264.sequence import PictureSequence
from codecmeta.codecs.h264.stream import H264Picture
from tests.codecs.h264.test_h264_energy import check_intra_16x16, check_intra_chroma, check_intra_nxn
from tests.codecs.h264.test_h264_written import decode
from tests.support.h264_energy import TOLERANCE, inter_differences
from tests.support.h264_writer import B, I, P, Stream


def exported_rows(frame):
    """Vectors as FFmpeg exports them: macroblock row k of the top field stands in row 2k, of the bottom field in row
    2k + 1; vertical components of fields are doubled in 16x8 and 8x16 partitions and in no others."""
    if not hasattr(frame, "fields"):
        return motion_rows(frame)[:, :7]
    both = []
    for field in frame.fields:
        rows = motion_rows(field)[:, :7]
        rows[:, DST_Y] += (rows[:, DST_Y] // 16 + field.parity) * 16
        rows[:, MOTION_Y] <<= rows[:, WIDTH] != rows[:, HEIGHT]
        both.append(rows)
    rows = np.concatenate(both)
    return rows[np.argsort(rows[:, DST_Y] // 16, kind="stable")]


def check(packets):
    """Vectors and QP of all frames -> the frames and FFmpeg's planes."""
    exported = decode(None, packets)
    sequence = PictureSequence()
    frames = [sequence.parse(packet) for packet in packets]
    for i, frame in enumerate(frames):
        assert frame.complete, (i, frame.errors)
        assert frame.vectors_exact, i
        np.testing.assert_array_equal(exported_rows(frame), exported[i].vectors, err_msg=f"frame {i}")
        if exported[i].qp is not None:
            np.testing.assert_array_equal(frame.qp.ravel(), exported[i].qp)
    return frames, [exported[i].planes for i in range(len(packets))]


def pair(stream, kinds, frame_num, order, *, bottom_first=False, idr=False, **more):
    """Both fields of a frame in one packet: slice types in the order in which they are sent."""
    parities = (1, 0) if bottom_first else (0, 1)
    data = b""
    for at, (kind, parity) in enumerate(zip(kinds, parities, strict=True)):
        data += stream.picture(
            kind, frame_num, order + at, idr=idr and at == 0, parity=parity, **(more if kind != I else {})
        )
    return data


def by_turns(spatial, seed):
    """A stream of frames and pairs of fields: a packet for each frame."""
    stream = Stream(interlaced=True, seed=seed, num_ref_frames=3)
    packets = [stream.parameter_sets() + pair(stream, (I, P), 0, 0, idr=True)]
    random = np.random.default_rng(seed)
    more = dict(spatial=spatial)
    for turn in range(1, 7):  # what a co-located picture refers to has to be in the lists of the one that uses it
        number, order, frames = 2 * turn - 1, 16 * turn, min(turn + 1, 3)
        if random.random() < 0.5:
            packets.append(pair(stream, (P, P), number, order, active=(min(2 * turn, 3), 0)))
        else:
            packets.append(stream.picture(P, number, order, active=(min(turn, 2), 0)))
        if random.random() < 0.5:
            packets.append(pair(stream, (B, B), number + 1, order - 8, active=(2 * frames, 3), **more))
        else:
            packets.append(stream.picture(B, number + 1, order - 8, active=(frames, 2), **more))
        packets.append(pair(stream, (B, B), number + 2, order - 12, active=(6, 3), reference=False, **more))
        packets.append(stream.picture(B, number + 2, order - 4, active=(3, 2), reference=False, **more))
    return packets


@pytest.mark.parametrize("spatial", [True, False], ids=["spatial", "temporal"])
@pytest.mark.parametrize("seed", range(2))
def test_fields_and_frames_by_turns(spatial, seed):
    check(by_turns(spatial, seed))


def check_references(frames, planes, least):
    """Whole-sample predictions of fields are copies out of the fields that the lists name (luma: chroma vectors between
    parities are shifted)."""
    fields, samples = [], []
    for frame, of in zip(frames, planes, strict=True):
        for field in frame.fields:
            lists = [
                tuple(tuple(2 * i + parity for i, parity in zip(*one, strict=True)) for one in zip(*both, strict=True))
                for both in zip(field.lists, field.parities, strict=True)
            ]
            fields.append(replace(field, lists=lists))
            samples.append([plane[field.parity :: 2] for plane in of])
    found, _ = inter_differences(fields, samples)
    luma = found["luma 4x4"] + found["luma 8x8"]
    assert len(luma) >= least
    assert max(luma) <= TOLERANCE


@pytest.mark.parametrize("bottom_first", [False, True])
def test_operations_1_to_6_and_modifications_of_fields_lead_to_the_right_fields(bottom_first):
    """Every field brings content of its own (I_PCM), so that a wrong entry in a list would be wrong samples."""
    stream = Stream(interlaced=True, num_ref_frames=4, seed=7, height=8)

    def both(frame_num, *fields):
        return b"".join(
            stream.picture(P, frame_num, 4 * frame_num + at, parity=at ^ bottom_first, pcm=0.3, **more)
            for at, more in enumerate(fields)
        )

    packets = [
        stream.parameter_sets() + pair(stream, (I, P), 0, 0, idr=True, bottom_first=bottom_first, pcm=0.3),
        both(1, dict(active=(2, 0)), dict(active=(3, 0))),
        both(2, dict(active=(4, 0)), dict(active=(5, 0), modification=((0, 2), (1, 0)))),
        # picNum of the same parity is 2 * frame_num + 1: each field takes out that of its own parity of frame 1
        both(3, dict(active=(6, 0), operations=((1, 3),)), dict(active=(6, 0), operations=((1, 3),))),
        # both fields of frame 0 become long-term 1, one by one
        both(4, dict(active=(6, 0), operations=((4, 3), (3, 7, 1))), dict(active=(6, 0), operations=((3, 7, 1),))),
        both(5, dict(active=(7, 0)), dict(active=(7, 0), modification=((2, 3), (2, 2), (0, 0)))),
        # one of them goes, and frame 3
        both(6, dict(active=(7, 0), operations=((2, 2), (1, 5), (1, 6))), dict(active=(6, 0), modification=((2, 2),))),
        # this frame is long-term 0 itself, and frame 4 goes
        both(7, dict(active=(6, 0), operations=((1, 5), (1, 6), (6, 0))), dict(active=(6, 0), operations=((6, 0),))),
        # FFmpeg forgets the first field of frame 7 now, so nothing refers to it
        both(8, dict(active=(4, 0)), dict(active=(3, 0))),
        both(9, dict(active=(4, 0), operations=((4, 1),)), dict(active=(4, 0))),
        both(10, dict(active=(4, 0)), dict(active=(4, 0))),
    ]
    frames, planes = check(packets)
    check_references(frames, planes, 300)
    done = {one[0] for frame in frames for h in frame.headers for one in h.memory_management_control_operations or ()}
    assert done == {1, 2, 3, 4, 6}


@pytest.mark.parametrize("fields", [False, True], ids=["frames", "fields"])
def test_cabac_residuals_of_fields_have_scans_and_contexts_of_their_own(fields):
    """Random levels in every kind of block; energy by scan position, against FFmpeg's pixels."""
    stream = Stream(width=6, height=8, interlaced=True, cabac=True, seed=3)
    packets = []
    for number in range(2):
        if fields:
            data = pair(stream, (I, I), number % 2, 0, idr=number == 0)
        else:
            data = stream.picture(I, number % 2, 2 * number, idr=number == 0)
        packets.append((stream.parameter_sets() if number == 0 else b"") + data)
    frames, planes = check(packets)
    pictures = [one for frame in frames for one in (frame.fields if fields else [frame])]
    samples = [[plane[at :: 1 + fields] for plane in of] for of in planes for at in range(1 + fields)]
    check_intra_nxn(pictures, samples)
    check_intra_16x16(pictures, samples)
    check_intra_chroma(pictures, samples)
    for frame, of in zip(frames, planes, strict=True):
        assert frame.energy.sum() == pytest.approx(
            sum(one.energy.sum() for one in (frame.fields if fields else [frame])), rel=1e-5
        )
        assert frame.luma_energy.shape == (of[0].shape[0] // 4, of[0].shape[1] // 4)


ORDER = [0] + [16 * turn + at for turn in range(1, 7) for at in (0, -8, -12, -4)]  # of the packets of `by_turns`


def written(path, packets):
    """A file of these packets, whose time stamps say in which order they are displayed."""
    with av.open(BytesIO(b"".join(packets)), format="h264") as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for i, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), i == 0
            packet.pts, packet.dts = sorted(ORDER).index(ORDER[i]) + 3, i
            output.mux(packet)
    return path


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
def test_frames_of_fields_are_read_whether_their_fields_come_in_one_packet_or_in_two(suffix, tmp_path):
    packets = by_turns(False, 1)
    sequence = PictureSequence()
    frames = [sequence.parse(packet) for packet in packets]
    path = written(tmp_path / f"fields.{suffix}", packets)
    with av.open(str(path)) as container:
        count = sum(packet.size > 0 for packet in container.demux(video=0))
    assert (count > len(packets)) == (suffix == "ts")
    meta = codecmeta.extract(path)
    assert meta.capability["residual"]["level"] == "exact" and len(meta.residual.frame) == len(packets)
    row_of = {frames[i].identity: row for row, i in enumerate(np.argsort(ORDER))}
    for row, i in enumerate(np.argsort(ORDER)):
        vectors, distance = H264Picture(frames[i]).vectors(row, row_of)
        np.testing.assert_array_equal(meta.motion.of(row), vectors)
        np.testing.assert_array_equal(meta.motion.distance_of(row), distance)
        np.testing.assert_array_equal(meta.bits.of(row), frames[i].bits)
    alone = codecmeta.extract(path, frames=5)
    for row in alone.residual.frame:
        np.testing.assert_array_equal(alone.residual.of(row), meta.residual.of(row))
        np.testing.assert_array_equal(alone.qp.of(row), meta.qp.of(row))
