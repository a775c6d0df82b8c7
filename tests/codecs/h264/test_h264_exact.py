"""Every picture of every kind of stream against FFmpeg's single-thread export, and against itself."""

from __future__ import annotations

import numpy as np
import pytest

from codecmeta.codecs.h264 import state
from codecmeta.codecs.h264.motion_vectors import motion_rows
from codecmeta.codecs.h264.nal import nal_units, rbsp_of
from codecmeta.codecs.h264.picture import PictureParser
from codecmeta.codecs.h264.sequence import PictureSequence
from tests.support.h264_encodes import clip, encode, ffmpeg

B3 = "bframes=3:b-adapt=0"
ENCODES = {
    "baseline": dict(options="profile=baseline"),
    "CAVLC, B, 8x8": dict(options=f"x264-params=cabac=0:8x8dct=1:{B3}:partitions=all"),
    "CABAC, B, 8x8": dict(options=f"x264-params=8x8dct=1:{B3}:partitions=all"),
    "qp 1": dict(options="qp=1"),
    "qp 1, CAVLC": dict(options="qp=1 x264-params=cabac=0"),
    "qp 4, CAVLC": dict(options="qp=4 x264-params=cabac=0"),
    "qp 51": dict(options="qp=51"),
    "slices": dict(options="x264-params=slices=4:bframes=2", size=(174, 142)),
    "slices ending mid-row": dict(options="x264-params=slice-max-size=300:bframes=2", size=(200, 150)),
    "slices ending mid-row, CAVLC": dict(options="x264-params=slice-max-mbs=7:cabac=0:bframes=2", size=(202, 150)),
    "scaling matrices": dict(options="x264-params=cqm=jvt:8x8dct=1"),
    "scaling matrices, CAVLC": dict(options="x264-params=cqm=jvt:8x8dct=1:cabac=0"),
    "I_PCM": dict(options="qp=1 x264-params=bframes=2:psy=0", noise=True),
    "I_PCM, CAVLC": dict(options="qp=1 x264-params=bframes=2:cabac=0:psy=0", noise=True),
    "constrained intra": dict(options="x264-params=constrained-intra=1"),
    "temporal direct": dict(options=f"x264-params=direct=temporal:{B3}:ref=4"),
    "temporal direct, CAVLC": dict(options=f"x264-params=direct=temporal:{B3}:ref=4:cabac=0"),
    "temporal direct, slices": dict(options=f"x264-params=direct=temporal:{B3}:ref=4:slices=3"),
    "spatial direct, slow": dict(options=f"x264-params=direct=spatial:{B3}:ref=1", slow=True),
    "spatial direct": dict(options=f"x264-params=direct=spatial:{B3}:ref=4"),
    "pyramid": dict(options="x264-params=direct=auto:bframes=7:b-adapt=0:b-pyramid=strict:ref=8"),
    "pyramid, normal": dict(options="x264-params=direct=auto:bframes=7:b-adapt=0:b-pyramid=normal:ref=6"),
    "8 references": dict(options="x264-params=ref=8:bframes=0:mixed-refs=1:me=esa"),
    "weighted": dict(options="x264-params=weightp=2:weightb=1:bframes=3"),
    "all intra": dict(gop=1),
    "10 bit": dict(options="x264-params=bframes=3", pixel_format="yuv420p10le"),
    "10 bit, CAVLC": dict(options="x264-params=cabac=0:bframes=2", pixel_format="yuv420p10le"),
    "10 bit, I_PCM": dict(options="qp=1 x264-params=bframes=2:psy=0", pixel_format="yuv420p10le", noise=True),
    "4:2:2": dict(options=f"x264-params=8x8dct=1:{B3}:chroma-qp-offset=12", pixel_format="yuv422p"),
    "4:2:2, I_PCM, CAVLC": dict(options="qp=1 x264-params=bframes=2:psy=0:cabac=0", pixel_format="yuv422p", noise=True),
    "4:2:2, 10 bit": dict(options="x264-params=bframes=2", pixel_format="yuv422p10le"),
    "4:2:2, 10 bit, CAVLC": dict(options="crf=10 x264-params=cabac=0", pixel_format="yuv422p10le"),
    "open GoP": dict(options="x264-params=open-gop=1:bframes=3:keyint=8:min-keyint=8", gop=8),
    "intra refresh": dict(options="x264-params=intra-refresh=1:keyint=10"),
    "monochrome": dict(options="x264-params=bframes=3", pixel_format="gray"),
    "monochrome, CAVLC": dict(options="x264-params=cabac=0", pixel_format="gray"),
    "start codes": dict(options="x264-params=bframes=3", container="h264"),
    "fastest": dict(options="preset=ultrafast"),
    "slowest": dict(options="preset=placebo"),
}
CLIPS = [
    "cvr_h264_bframes.mp4",
    "openh264_MR1_BT_A.264",
    "openh264_cabac_bframes.264",
    "openh264_cavlc_bframes.264",
    "openh264_qcif_cabac.264",
    "torchcodec_h264_10bit.mp4",
    "torchcodec_nasa.mp4",
    "vali_848x464.mp4",
    "vali_rotated_90.mp4",
    "vpng_x264_bframes.mp4",
]


def check_against_ffmpeg(source):
    """Stop bits, QP and vectors of all pictures; how many pictures, macroblocks and vectors were compared."""
    extradata, packets, exported = ffmpeg(source)
    sequence = PictureSequence(extradata)
    pictures = macroblocks = vectors = 0
    for i, packet in enumerate(packets):
        picture = sequence.parse(packet)
        if picture is None:
            continue
        assert picture.complete, (i, picture.errors)
        check_bits(picture, packet, sequence.parser.nal_length_size)
        if i not in exported:
            continue
        theirs = exported[i]
        assert picture.slice_type == theirs.picture_type
        assert picture.vectors_exact
        np.testing.assert_array_equal(motion_rows(picture)[:, :7], theirs.vectors, err_msg=f"picture {i}")
        vectors += len(theirs.vectors)
        if theirs.qp is not None:  # FFmpeg counts from -QpBdOffset
            offset = 6 * (picture.sps.bit_depth_luma - 8)
            np.testing.assert_array_equal(picture.qp.ravel() + offset, theirs.qp, err_msg=f"picture {i}")
            macroblocks += len(theirs.qp)
        pictures += 1
    return pictures, macroblocks, vectors


def check_bits(picture, packet, nal_length_size):
    """The bits of a slice's macroblocks are the slice data: what stands between its header and its stop bit."""
    slices = [rbsp_of(unit).rstrip(b"\0") for unit in nal_units(packet, nal_length_size) if unit[0] & 31 in (1, 5)]
    bits, number = picture.macroblocks[1], picture.macroblocks[3]
    for i, (header, rbsp) in enumerate(zip(picture.headers, slices, strict=True)):
        total = int(bits[number == i].sum())
        if header.pps.entropy_coding_mode_flag:  # from a byte boundary to somewhere in the last byte
            stop = -(-header.slice_data_bit // 8) * 8 + total
            assert stop // 8 == len(rbsp) - 1 and rbsp[-1] >> (7 - stop % 8) & 1
        else:
            assert header.slice_data_bit + total == 8 * len(rbsp) - 1 - (rbsp[-1] & -rbsp[-1]).bit_length() + 1
    assert (bits >= 0).all()


@pytest.mark.parametrize("name", ENCODES)
def test_everything_equals_the_single_thread_export(name):
    pictures, macroblocks, vectors = check_against_ffmpeg(encode(**ENCODES[name]))
    assert pictures == 30 and macroblocks == 30 * 99 * (13 * 10 / 99 if "mid-row" in name else 1)
    assert vectors > 1000 or name == "all intra"


@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_equal_the_single_thread_export(name):
    pictures, *_ = check_against_ffmpeg(str(clip(name)))
    assert pictures >= 9


def test_the_encodes_contain_what_they_are_there_for():
    seen = 0
    for name, kwargs in ENCODES.items():
        pictures = list(_parse_all(encode(**kwargs)))
        flags = np.concatenate([picture.macroblocks[0] for picture in pictures])
        headers = [header for picture in pictures for header in picture.headers]
        b = [header for header in headers if header.slice_type == 1]
        seen |= int(np.bitwise_or.reduce(flags))
        assert ("I_PCM" in name) <= bool((flags & state.M_I_PCM).any()), name
        assert ("temporal" in name) <= any(not header.direct_spatial_mv_pred_flag for header in b), name
        assert ("8x8" in name) <= bool((flags & state.M_T8X8).any()), name
        assert ("slices" in name) == any(header.first_mb_in_slice for header in headers), name
        assert ("mid-row" in name) <= any(header.first_mb_in_slice % pictures[0].columns for header in headers), name
        assert ("CAVLC" in name or name in ("baseline", "fastest")) != headers[0].pps.entropy_coding_mode_flag, name
        assert ("pyramid" in name) <= any(header.nal_ref_idc for header in b), name
        assert ("8 references" in name) <= (max(int(picture.references.max()) for picture in pictures) >= 7), name
        assert ("weighted" in name) <= (headers[0].pps.weighted_pred_flag and headers[0].pps.weighted_bipred_idc == 2)
        assert ("constrained" in name) <= headers[0].pps.constrained_intra_pred_flag
        assert ("matrices" in name) <= (len(set(headers[0].pps.scaling_lists[0])) > 1), name
        assert ("monochrome" in name) == (pictures[0].sps.chroma_format_idc == 0), name
    assert seen & (state.M_SUB_DIRECT | state.M_DIRECT | state.M_SKIP | state.M_I_16X16 | state.M_I_NXN)


def _parse_all(data):
    extradata, packets, _ = ffmpeg(data)
    sequence = PictureSequence(extradata)
    return (sequence.parse(packet) for packet in packets)


@pytest.mark.parametrize("name", ["CABAC, B, 8x8", "temporal direct", "slices", "8 references", "10 bit", "open GoP"])
def test_random_access_equals_the_sequence_wherever_no_colocated_picture_counts(name):
    extradata, packets, _ = ffmpeg(encode(**ENCODES[name]))
    sequence, single = PictureSequence(extradata), PictureParser(extradata)
    ahead = [sequence.parse(packet) for packet in packets]
    for i in reversed(range(len(packets))):  # any order
        alone, full = single.parse(packets[i]), ahead[i]
        np.testing.assert_array_equal(alone.qp, full.qp)
        np.testing.assert_array_equal(alone.bits, full.bits)
        np.testing.assert_array_equal(alone.energy, full.energy)
        direct = (full.flags & (state.M_DIRECT | state.M_SUB_DIRECT)) != 0
        shape = 3 << state.M_SHAPE
        np.testing.assert_array_equal(alone.flags[~direct], full.flags[~direct])
        np.testing.assert_array_equal(alone.flags & ~shape, full.flags & ~shape)
        assert alone.vectors_exact == (full.slice_type != "B")
        if full.slice_type != "B":
            np.testing.assert_array_equal(motion_rows(alone), motion_rows(full))


@pytest.mark.parametrize(
    "kind, source", [(0, "pyramid"), (0, "open GoP"), (1, "openh264_MR1_BT_A.264"), (2, "baseline")]
)
def test_picture_order_counts_sort_the_pictures_as_ffmpeg_displays_them(kind, source):
    extradata, packets, exported = ffmpeg(encode(**ENCODES[source]) if source in ENCODES else str(clip(source)))
    sequence = PictureSequence(extradata)
    keys, period = [], 0
    for packet in packets:
        picture = sequence.parse(packet)
        assert picture.sps.pic_order_cnt_type == kind
        period += picture.headers[0].idr
        keys.append((period, picture.order))
    shown = list(exported)  # in the order in which the frames came out
    assert len(set(keys)) == len(keys) and shown == sorted(shown, key=lambda number: keys[number])
