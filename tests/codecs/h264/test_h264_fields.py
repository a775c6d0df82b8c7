"""Field pictures (PAFF), which no encoder at hand makes: written streams against FFmpeg."""

from __future__ import annotations

import numpy as np
import pytest

from codecmeta.codecs.h264 import state
from codecmeta.codecs.h264.motion_vectors import DST_Y, HEIGHT, MOTION_Y, WIDTH, motion_rows
from codecmeta.codecs.h264.sequence import PictureSequence
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


@pytest.mark.parametrize("spatial", [True, False], ids=["spatial", "temporal"])
@pytest.mark.parametrize("seed", range(3))
def test_fields_and_frames_by_turns(spatial, seed):
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
    check(packets)
