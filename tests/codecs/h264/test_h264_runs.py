"""Pictures by the batch are those that `PictureSequence` parses one by one, which other tests hold against FFmpeg."""

from __future__ import annotations

import numpy as np
import pytest

from codecmeta.codecs.h264 import runs
from codecmeta.codecs.h264.nal import units_of_extradata
from codecmeta.codecs.h264.sequence import PictureSequence
from codecmeta.codecs.h264.stream import H264Parser, H264Picture
from codecmeta.codecs.syntax.nal import START_CODE
from tests.support.h264_encodes import encode, ffmpeg
from tests.support.h264_writer import I, P, Stream, memory_management

ENCODES = {
    "spatial": dict(options="x264-params=bframes=3:b-adapt=0:ref=4:weightp=2:weightb=1"),
    "temporal": dict(options="x264-params=direct=temporal:bframes=3:b-adapt=0:ref=4:slices=3"),
    "CAVLC": dict(options="x264-params=cabac=0:bframes=2:b-adapt=0:direct=temporal:slice-max-mbs=7"),
    "operations": dict(options="x264-params=bframes=3:b-adapt=0:b-pyramid=strict:ref=3", gop=12),
    "open GoPs": dict(options="x264-params=open-gop=1:bframes=3:b-adapt=0:keyint=8:min-keyint=8:scenecut=0", gop=8),
    "in decoding order": dict(options="profile=baseline tune=zerolatency"),
    "strong residual": dict(options="qp=1 x264-params=bframes=2:psy=0", noise=True),
    "10 bit": dict(options="x264-params=bframes=2", pixel_format="yuv420p10le"),
    "4:2:2": dict(options="x264-params=bframes=2", pixel_format="yuv422p"),
    "grey": dict(options="x264-params=bframes=2", pixel_format="gray"),
    "interlaced": dict(options="x264-params=interlaced=1:bframes=2", woven=True),
}


def one_by_one(extradata, packets, rows):
    """(picture, lost) of each packet."""
    sequence, row_of = PictureSequence(extradata), {}
    for index, packet in enumerate(packets):
        picture = sequence.parse(packet)
        if picture is not None and rows[index] >= 0:
            row_of[picture.identity] = int(rows[index])
        yield (None if picture is None else H264Picture(picture)), sequence.buffer.lost, dict(row_of)


def check(extradata, packets, rows=None, wanted=None):
    """Everything that is said of every packet, bit by bit -> how many were parsed in runs."""
    rows = np.arange(len(packets)) if rows is None else rows
    wanted = np.ones(len(packets), bool) if wanted is None else wanted
    parser, in_runs = H264Parser(PictureSequence(extradata)), 0
    found = parser.pictures(enumerate(packets), rows, wanted)
    for index, (theirs, lost, row_of) in enumerate(one_by_one(extradata, packets, rows)):
        at, ours = next(found)
        in_runs += isinstance(ours, runs.FrameOfBatch)
        assert at == index and (ours is None) == (theirs is None)
        if isinstance(ours, runs.FrameOfBatch):
            assert not lost
        else:
            assert parser.lost == lost
        if ours is None:
            continue
        for name in ("picture_type", "identity", "complete", "vectors_exact", "coded", "half", "second"):
            assert getattr(ours, name) == getattr(theirs, name), (index, name)
        if wanted[index]:
            row = int(rows[index])
            pairs = [*zip(ours.vectors(row, row_of), theirs.vectors(row, row_of), strict=True)]
            pairs += [
                *zip(ours.rms(), theirs.rms(), strict=True),
                (ours.qp(), theirs.qp()),
                (ours.bits(), theirs.bits()),
            ]
            for one, other in pairs:
                assert one.dtype == other.dtype and one.tobytes() == other.tobytes(), index
    assert next(found, None) is None
    return in_runs


@pytest.mark.parametrize("name", ENCODES)
def test_a_run_says_what_pictures_say_one_by_one(name):
    extradata, packets, _ = ffmpeg(encode(frames=40, **ENCODES[name]))
    assert check(extradata, packets) == (0 if name == "interlaced" else len(packets) - 1)  # the first begins the run


def test_distances_go_by_the_rows_that_show_the_packets_and_signals_are_made_of_wanted_ones():
    extradata, packets, _ = ffmpeg(encode(frames=40, **ENCODES["temporal"]))
    random = np.random.default_rng(0)
    rows = random.permutation(len(packets))
    rows[::5] = -1
    wanted = random.random(len(packets)) < 0.5
    assert check(extradata, packets, rows, wanted & (rows >= 0)) == len(packets) - 1


def test_the_distance_of_a_picture_that_is_shown_twice_is_counted_from_where_it_is_shown():
    extradata, packets, _ = ffmpeg(encode(frames=4, options="x264-params=bframes=0"))
    rows = np.array([0, 2, 4, 6])
    *_, (_, last) = H264Parser(PictureSequence(extradata)).pictures(enumerate(packets), rows, rows >= 0)
    _, first_time = last.vectors(6, {})
    _, second_time = last.vectors(7, {})
    assert set(first_time[first_time != 0]) >= {-2} and np.array_equal(second_time, first_time - (first_time != 0))


def test_pictures_too_large_for_a_whole_batch_are_parsed_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(runs, "_MOST_MACROBLOCKS", 3 * 99)
    extradata, packets, _ = ffmpeg(encode(frames=40, **ENCODES["spatial"]))
    assert check(extradata, packets) == len(packets) - 1


def test_what_memory_management_leaves_is_the_same():
    packets = memory_management()
    assert check(None, packets) == len(packets) - 2  # but for the first one, and the one that counts anew


def test_parameter_sets_on_the_way_are_taken_in():
    extradata, packets, _ = ffmpeg(encode(frames=40, gop=10, options="x264-params=bframes=2:scenecut=0"))
    sets = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units_of_extradata(extradata))
    packets = [sets + packet if number % 10 == 0 else packet for number, packet in enumerate(packets)]
    assert check(extradata, packets) == 36


@pytest.mark.parametrize("name", ["spatial", "temporal", "CAVLC", "operations"])
def test_what_breaks_off_is_left_to_the_sequence(name):
    """Bits turned over, ends cut off and packets gone: each breaks off a run at most, and the next one goes on."""
    extradata, packets, _ = ffmpeg(encode(frames=40, **ENCODES[name]))
    in_runs = 0
    for seed in range(12):
        random, damaged = np.random.default_rng(seed), []
        for number, packet in enumerate(packets):
            kind = random.integers(12) if number else -1
            data = bytearray(packet)
            if kind == 0:
                data[random.integers(len(data))] ^= 1 << random.integers(8)
            elif kind == 1 and seed % 3 == 0:
                del data[random.integers(1, len(data)) :]
            if kind != 2 or seed % 2:
                damaged.append(bytes(data))
        in_runs += check(extradata, damaged)
    assert in_runs > 60


def test_a_slice_behind_a_whole_picture_is_none_of_a_run():
    """it claims to begin where the picture ends: there is no macroblock for it, and it is not read"""
    writer = Stream(width=6, height=5)
    packets = [writer.parameter_sets() + writer.picture(I, 0, 0, idr=True)]
    packets += [writer.picture(P, number, 4 * number) for number in range(1, 6)]
    packets[3] += writer.picture(P, 3, 12, first_mb=6 * 5)
    assert check(None, packets) == len(packets) - 2


def test_start_codes_delimit_as_lengths_do():
    extradata, packets, _ = ffmpeg(encode(frames=20, options="x264-params=bframes=2:slices=2", container="h264"))
    assert packets[1].count(START_CODE) == 2
    assert check(extradata, packets) == len(packets) - 1
