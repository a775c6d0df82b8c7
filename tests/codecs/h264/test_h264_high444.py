"""4:4:4 and lossless streams against FFmpeg's export and pixels.

A lossless block's residual is exactly what its samples differ from their prediction by: no tolerance but the root's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import codecmeta
from codecmeta.codecs.h264 import state
from codecmeta.codecs.h264.motion_vectors import motion_rows
from codecmeta.codecs.h264.picture import PictureParser
from codecmeta.codecs.h264.sequence import PictureSequence
from codecmeta.codecs.h264.stream import H264Picture
from tests.codecs.h264.test_h264_energy import check_intra_16x16, check_intra_chroma, check_intra_nxn
from tests.codecs.h264.test_h264_exact import check_against_ffmpeg
from tests.codecs.h264.test_h264_fields import I, Stream, check, pair
from tests.support.encodes import depth_of
from tests.support.h264_cabac import Coding
from tests.support.h264_encodes import encode, ffmpeg, pictures
from tests.support.h264_energy import TOLERANCE, inter_differences

B3 = "bframes=3:b-adapt=0:partitions=all"
CHROMA_444, LOSSLESS = dict(pixel_format="yuv444p"), "qp=0 "
ENCODES = {
    "4:4:4, 8x8": dict(options=f"x264-params=8x8dct=1:{B3}", **CHROMA_444),
    "4:4:4, no 8x8": dict(options=f"x264-params=8x8dct=0:{B3}", **CHROMA_444),
    "4:4:4, CAVLC, 8x8": dict(options=f"x264-params=8x8dct=1:cabac=0:{B3}", **CHROMA_444),
    "4:4:4, CAVLC, no 8x8": dict(options=f"x264-params=8x8dct=0:cabac=0:{B3}", **CHROMA_444),
    "4:4:4, slices": dict(options="x264-params=slice-max-size=400:bframes=2", size=(200, 150), **CHROMA_444),
    "4:4:4, I_PCM": dict(options="qp=1 x264-params=bframes=2:psy=0", noise=True, **CHROMA_444),
    "4:4:4, I_PCM, CAVLC": dict(options="qp=1 x264-params=bframes=2:psy=0:cabac=0", noise=True, **CHROMA_444),
    "4:4:4, temporal direct": dict(options=f"x264-params=direct=temporal:{B3}:ref=4", **CHROMA_444),
    "4:4:4, all intra": dict(options="crf=30", gop=1, **CHROMA_444),
    "4:4:4, fastest": dict(options="preset=ultrafast crf=24", **CHROMA_444),
    "4:4:4, slower": dict(options="preset=slower", **CHROMA_444),
    "4:4:4, 10 bit": dict(options="x264-params=bframes=2", pixel_format="yuv444p10le"),
    "4:4:4, 10 bit, CAVLC": dict(options="crf=10 x264-params=cabac=0", pixel_format="yuv444p10le"),
    "lossless, 8x8": dict(options=f"{LOSSLESS}x264-params=8x8dct=1:{B3}"),
    "lossless, no 8x8": dict(options=f"{LOSSLESS}x264-params=8x8dct=0:{B3}"),
    "lossless, CAVLC, 8x8": dict(options=f"{LOSSLESS}x264-params=8x8dct=1:cabac=0:{B3}"),
    "lossless, CAVLC, no 8x8": dict(options=f"{LOSSLESS}x264-params=8x8dct=0:cabac=0:{B3}"),
    "lossless, slices": dict(options=f"{LOSSLESS}x264-params=slice-max-size=1500:bframes=2", size=(200, 150)),
    "lossless, constrained intra": dict(options=f"{LOSSLESS}x264-params=constrained-intra=1", noise=True),
    "lossless, fastest": dict(options=f"{LOSSLESS}preset=ultrafast"),
    "lossless, all intra": dict(options=LOSSLESS, gop=1),
    "lossless, 4:2:2": dict(options=f"{LOSSLESS}x264-params={B3}", pixel_format="yuv422p"),
    "lossless, 4:2:2, CAVLC": dict(options=f"{LOSSLESS}x264-params=cabac=0:{B3}", pixel_format="yuv422p"),
    "lossless, monochrome": dict(options=f"{LOSSLESS}x264-params={B3}", pixel_format="gray"),
    "lossless, 10 bit": dict(options=f"{LOSSLESS}x264-params={B3}", pixel_format="yuv420p10le"),
    "lossless, 4:4:4, 8x8": dict(options=f"{LOSSLESS}x264-params=8x8dct=1:{B3}", **CHROMA_444),
    "lossless, 4:4:4, no 8x8": dict(options=f"{LOSSLESS}x264-params=8x8dct=0:{B3}", **CHROMA_444),
    "lossless, 4:4:4, CAVLC, 8x8": dict(options=f"{LOSSLESS}x264-params=8x8dct=1:cabac=0:{B3}", **CHROMA_444),
    "lossless, 4:4:4, CAVLC, no 8x8": dict(options=f"{LOSSLESS}x264-params=8x8dct=0:cabac=0:{B3}", **CHROMA_444),
    "lossless, 4:4:4, 10 bit": dict(options=f"{LOSSLESS}x264-params={B3}", pixel_format="yuv444p10le"),
    "lossless, 4:4:4, all intra": dict(options=LOSSLESS, gop=1, **CHROMA_444),
}
P2 = "x264-params=weightp=0:bframes=2"
LOSSY_ENERGY = {
    "8x8": (f"crf=20 {P2}", "yuv444p"),
    "CAVLC, 10 bit": (f"crf=20 {P2}:cabac=0", "yuv444p10le"),
    "CAVLC, no 8x8": (f"crf=26 {P2}:cabac=0:8x8dct=0", "yuv444p"),
    "matrices, 10 bit": (f"crf=22 {P2}:cqm=jvt", "yuv444p10le"),
    "matrices, chroma offset": (f"crf=22 {P2}:cqm=jvt:chroma-qp-offset=-9", "yuv444p"),
}
LOSSLESS_ENERGY = [("yuv420p", 0), ("yuv420p", 1), ("yuv422p", 0), ("yuv444p", 0), ("yuv444p", 1)]
LOSSLESS_ENERGY += [("yuv420p10le", 1), ("yuv444p10le", 0)]
EXACTLY = 1e-4  # the squares are whole numbers, their roots are not


@pytest.mark.parametrize("name", ENCODES)
def test_everything_equals_the_single_thread_export(name):
    compared, macroblocks, vectors = check_against_ffmpeg(encode(**ENCODES[name]))
    assert compared == 30 and macroblocks == 30 * (13 * 10 if "slices" in name else 99)
    assert vectors > 1000 or "all intra" in name


def test_the_encodes_contain_what_they_are_there_for():
    for name, kwargs in ENCODES.items():
        extradata, packets, _ = ffmpeg(encode(**kwargs))
        parsed = [PictureParser(extradata).parse(packet) for packet in packets]
        flags = np.concatenate([picture.macroblocks[0] for picture in parsed])
        header, sps = parsed[0].headers[0], parsed[0].sps
        assert ("4:4:4" in name) == (sps.chroma_format_idc == 3), name
        assert ("lossless" in name) == sps.qpprime_y_zero_transform_bypass_flag, name
        assert ("10 bit" in name) == (sps.bit_depth_luma == 10), name
        assert ("CAVLC" in name or "fastest" in name) != header.pps.entropy_coding_mode_flag, name
        eight = (flags & state.M_T8X8 != 0)[flags & (state.M_INTRA | state.M_SKIP) == state.M_I_NXN]
        assert (", 8x8" in name) <= (eight.any() and not eight.all()), name  # both transforms side by side
        assert ("I_PCM" in name) <= bool((flags & state.M_I_PCM).any()), name
        assert ("slices" in name) <= any(one.first_mb_in_slice % parsed[0].columns for one in parsed[1].headers), name
        assert ("constrained" in name) == header.pps.constrained_intra_pred_flag, name
        if "lossless" in name:
            qp = np.concatenate([picture.macroblocks[2] for picture in parsed])
            assert (qp == -6 * (sps.bit_depth_luma - 8)).all(), name


@pytest.mark.parametrize("name", ["4:4:4, 8x8", "4:4:4, slices", "lossless, 8x8", "lossless, 4:4:4, CAVLC, 8x8"])
def test_random_access_equals_the_sequence_wherever_no_colocated_picture_counts(name):
    extradata, packets, _ = ffmpeg(encode(**ENCODES[name]))
    sequence, single = PictureSequence(extradata), PictureParser(extradata)
    ahead = [sequence.parse(packet) for packet in packets]
    for i in reversed(range(len(packets))):
        alone, full = single.parse(packets[i]), ahead[i]
        for of in ("qp", "bits", "energy"):
            np.testing.assert_array_equal(getattr(alone, of), getattr(full, of))
        if full.slice_type != "B":
            np.testing.assert_array_equal(motion_rows(alone), motion_rows(full))


@cache
def parsed(options, pixel_format, gop=250, slow=False):
    kwargs = dict(frames=12, pixel_format=pixel_format, gop=gop, slow=slow)
    extradata, packets, exported = ffmpeg(encode(options, **kwargs), planes=True)
    sequence = PictureSequence(extradata)
    return [sequence.parse(packet) for packet in packets], [exported[i].planes for i in range(len(packets))]


def of_plane(found, plane):
    """One plane of 4:4:4 pictures, as pictures that have no other."""
    alone = []
    for picture in found[0]:
        energy = (picture.luma_energy, *picture.chroma_energy)[plane].reshape(-1)
        energy = np.concatenate([energy, np.zeros(len(energy) // 2, np.float32)])
        alone.append(replace(picture, sps=replace(picture.sps, chroma_format_idc=0), energy=energy))
    return alone, [[planes[plane]] for planes in found[1]]


def in_blocks_of_4x4(found):
    """With macroblocks that do not say that they have 8x8 blocks: each quarter of those is looked at by itself."""
    alone = []
    for picture in found[0]:
        macroblocks = picture.macroblocks.copy()
        macroblocks[0] &= ~state.M_T8X8
        alone.append(replace(picture, macroblocks=macroblocks))
    return alone, found[1]


def check_inter(found, tolerance, kinds):
    values, zero = inter_differences(*found)
    for kind in kinds:
        assert len(values[kind]) > 100 and len(values[kind]) - zero[kind] > 20, kind  # blocks that carry a residual
        assert max(values[kind]) <= tolerance, kind


@pytest.mark.parametrize("name", LOSSY_ENERGY)
def test_inter_energy_of_every_plane_is_the_squared_difference_to_the_prediction(name):
    found = parsed(*LOSSY_ENERGY[name])
    for plane in range(3):
        kinds = ["luma 4x4"] if "no 8x8" in name else ["luma 4x4", "luma 8x8"]
        check_inter(of_plane(found, plane), TOLERANCE, kinds)


@pytest.mark.parametrize("options", ["crf=30", "crf=30 x264-params=cabac=0", "crf=24 x264-params=cqm=jvt"])
def test_intra_energy_of_every_plane_is_the_squared_difference_to_one_of_the_predictions(options):
    """Cb and Cr are predicted as luma is."""
    found = parsed(options, "yuv444p", gop=1)
    smooth = parsed(f"{options} preset=ultrafast", "yuv444p", gop=1, slow=True)
    for plane in range(3):
        check_intra_nxn(*of_plane(found, plane))
        check_intra_16x16(*of_plane(smooth, plane))


@pytest.mark.parametrize("pixel_format, cabac", LOSSLESS_ENERGY)
def test_a_lossless_stream_gives_back_what_was_encoded_and_its_inter_energy_is_exact(pixel_format, cabac):
    found = parsed(f"{LOSSLESS}{P2}:cabac={cabac}", pixel_format)
    source = pictures(12, 176, 144, depth=depth_of(pixel_format))
    for picture, (luma, *_) in zip(*found, strict=True):
        np.testing.assert_array_equal(luma, source[picture.order // 2])
    assert any((picture.flags & state.M_T8X8).any() for picture in found[0])
    if "444" not in pixel_format:
        check_inter(in_blocks_of_4x4(found), EXACTLY, ["luma 4x4", "chroma"])
        return
    for plane in range(3):
        check_inter(in_blocks_of_4x4(of_plane(found, plane)), EXACTLY, ["luma 4x4"])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("options", ["", "x264-params=cabac=0", "x264-params=8x8dct=0", "preset=ultrafast"])
def test_lossless_intra_energy_is_exactly_the_squared_difference_to_one_of_the_predictions(options, pixel_format):
    """Levels of horizontal and vertical prediction are differences of differences, which 8.5.15 adds up."""
    found = parsed(f"{LOSSLESS}{options}", pixel_format, gop=1, slow="ultrafast" in options)
    check = check_intra_16x16 if "ultrafast" in options else check_intra_nxn
    for plane in range(3 if pixel_format == "yuv444p" else 1):
        check(*of_plane(found, plane) if pixel_format == "yuv444p" else found, EXACTLY)
    if pixel_format == "yuv420p":
        check_intra_chroma(*found, EXACTLY)


@pytest.mark.parametrize("constrained", [0, 1])
def test_lossless_intra_energy_is_exact_beside_inter_macroblocks(constrained):
    """Which give DC as a neighbouring mode; under constrained_intra_pred_flag they count as not available."""
    refresh = "intra-refresh=1:keyint=6:bframes=0"  # a column of intra macroblocks that moves across
    found = parsed(f"{LOSSLESS}x264-params={refresh}:constrained-intra={constrained}", "yuv420p")
    alone = [picture for picture in found[0] if picture.slice_type != "I"]
    planes = [of for picture, of in zip(*found, strict=True) if picture.slice_type != "I"]
    assert any(0 < (picture.flags & state.M_INTRA != 0).sum() < picture.flags.size for picture in alone)
    check_intra_nxn(alone, planes, EXACTLY, inside=bool(constrained))


def written(coding, fields):
    """Random intra pictures -> frames or fields, and their planes."""
    stream, packets = Stream(width=6, height=8, interlaced=True, cabac=True, seed=3, coding=coding), []
    for number in range(2):
        more = dict(idr=number == 0)
        data = pair(stream, (I, I), number, 0, **more) if fields else stream.picture(I, number, 2 * number, **more)
        packets.append((stream.parameter_sets() if number == 0 else b"") + data)
    frames, planes = check(packets)
    alone = [one for frame in frames for one in (frame.fields if fields else [frame])]
    return alone, [[plane[at :: 1 + fields] for plane in of] for of in planes for at in range(1 + fields)]


def those_at(found, qp, above=False):
    """With nothing but the macroblocks whose QPY is this one, or above it."""
    alone = []
    for picture in found[0]:
        macroblocks = picture.macroblocks.copy()
        macroblocks[0, (macroblocks[2] > qp) != above] = 0
        alone.append(replace(picture, macroblocks=macroblocks))
    return alone, found[1]


@pytest.mark.parametrize("fields", [False, True], ids=["frames", "fields"])
@pytest.mark.parametrize("chroma_444", [False, True], ids=["4:2:0", "4:4:4"])
@pytest.mark.parametrize("lossless", [False, True], ids=["lossy", "lossless and lossy"])
def test_written_residuals_have_the_energy_of_ffmpegs_pixels(chroma_444, lossless, fields):
    """Every intra mode, every kind of block beside every other, in the scans and contexts of frames and of fields."""
    found = written(Coding(chroma_444=chroma_444, lossless=lossless), fields)
    for some, tolerance in ((those_at(found, 0), EXACTLY), (those_at(found, 0, above=True), TOLERANCE)):
        if not lossless and tolerance == EXACTLY:
            continue
        for plane in range(3 if chroma_444 else 1):
            one = of_plane(some, plane) if chroma_444 else some
            check_intra_nxn(*one, tolerance)
            check_intra_16x16(*one, tolerance)
        if not chroma_444:
            check_intra_chroma(*some, tolerance)


@pytest.mark.parametrize("fields", [False, True], ids=["frames", "fields"])
def test_streams_of_an_x264_before_build_151_are_read_by_its_own_rule(fields):
    """FFmpeg knows by an SEI message; this parser sees that a slice does not end by the standard's."""
    found = written(Coding(chroma_444=True, old_x264=True), fields)
    for plane in range(3):
        check_intra_nxn(*of_plane(found, plane))
        check_intra_16x16(*of_plane(found, plane))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_root_mean_squares_of_8x8_blocks_keep_the_energy_of_both_chroma_planes(pixel_format):
    for picture in parsed(f"{LOSSLESS}{P2}", pixel_format)[0]:
        _, chroma = H264Picture(picture).rms()
        samples = 128 if pixel_format == "yuv444p" else 32  # of both planes beside an 8x8 luma block
        energy = (chroma.astype(float) ** 2).sum() * samples
        assert energy == pytest.approx(picture.chroma_energy.sum(dtype=float), rel=1e-3)


@pytest.mark.parametrize("name", ["4:4:4, temporal direct", "lossless, 4:4:4, 8x8", "lossless, CAVLC, 8x8"])
def test_all_signals_of_a_file_are_exact_and_those_of_sampled_frames_the_same(name, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode(**ENCODES[name]))
    whole, some = codecmeta.extract(path, jobs=2), codecmeta.extract(path, frames=9)
    assert {whole.capability[signal]["level"] for signal in ("motion", "qp", "residual", "bits")} == {"exact"}
    for row in some.residual.frame:
        for signal in ("residual", "residual_chroma", "qp", "bits"):
            np.testing.assert_array_equal(getattr(some, signal).of(row), getattr(whole, signal).of(row))
    assert not whole.frames.corrupt.any() and whole.residual.values.any() and whole.residual_chroma.values.any()
