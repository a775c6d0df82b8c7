"""Residual energy against pixels: what the decoder adds to a whole-sample prediction is the residual, squared.

FFmpeg decodes without its loop filter, so a decoded block is its prediction plus its residual, clipped. Blocks whose
vector points at whole samples have a prediction that is a copy from the reference picture (found by the parser's own
reference lists, which this therefore checks too).
"""

from __future__ import annotations

import numpy as np
import pytest

from codecmeta.codecs.h264 import state
from codecmeta.codecs.h264.sequence import PictureSequence
from codecmeta.codecs.h264.stream import H264Picture
from tests.support.h264_encodes import clip, encode, ffmpeg
from tests.support.h264_energy import TOLERANCE, _differences, inter_differences

ENCODES = {
    "CABAC, 8x8": dict(options="crf=20 x264-params=weightp=0:bframes=2:8x8dct=1"),
    "CAVLC, 8x8": dict(options="crf=20 x264-params=weightp=0:bframes=2:8x8dct=1:cabac=0"),
    "CAVLC, 4x4": dict(options="profile=baseline crf=26"),
    "matrices": dict(options="crf=22 x264-params=weightp=0:bframes=0:cqm=jvt"),
    "matrices, no 8x8": dict(options="crf=22 x264-params=weightp=0:bframes=0:cqm=jvt:8x8dct=0"),
    "qp 4": dict(options="qp=4 x264-params=weightp=0:bframes=0"),
    "qp 51": dict(options="qp=51 x264-params=weightp=0:bframes=0"),
    "chroma offset": dict(options="crf=20 x264-params=weightp=0:bframes=0:chroma-qp-offset=-6"),
    "10 bit": dict(options="crf=20 x264-params=weightp=0:bframes=0", pixel_format="yuv420p10le"),
    "10 bit, matrices": dict(options="crf=20 x264-params=weightp=0:bframes=0:cqm=jvt", pixel_format="yuv420p10le"),
    "4:2:2": dict(options="crf=20 x264-params=weightp=0:bframes=0:chroma-qp-offset=5", pixel_format="yuv422p"),
    "4:2:2, CAVLC, matrices": dict(
        options="crf=20 x264-params=weightp=0:bframes=0:cabac=0:cqm=jvt", pixel_format="yuv422p10le"
    ),
    "all intra": dict(options="crf=30", gop=1),
    "large blocks": dict(options="preset=ultrafast crf=24"),
    "large blocks, CABAC": dict(options="preset=ultrafast crf=24 x264-params=cabac=1:cqm=jvt"),
}


def _parsed(name):
    """`name` of an encode, or the path of a clip."""
    source = encode(frames=16, **ENCODES[name]) if name in ENCODES else str(name)
    extradata, packets, exported = ffmpeg(source, planes=True)
    sequence = PictureSequence(extradata)
    return [sequence.parse(packet) for packet in packets], [exported[i].planes for i in range(len(packets))]


@pytest.mark.parametrize("name", [name for name in ENCODES if name != "all intra"])
def test_inter_energy_is_the_squared_difference_to_the_prediction(name):
    found, zero = inter_differences(*_parsed(name))
    kinds = [kind for kind, values in found.items() if len(values) > 20]
    assert "chroma" in kinds and len(kinds) >= 2, {kind: len(values) for kind, values in found.items()}
    for kind in kinds:
        assert max(found[kind]) <= TOLERANCE, kind
    assert sum(len(values) - zero[kind] for kind, values in found.items()) > 20  # blocks that carry a residual


@pytest.mark.parametrize("name", ["CABAC, 8x8", "4:2:2", "4:2:2, CAVLC, matrices"])
def test_root_mean_squares_of_8x8_blocks_keep_the_energy_of_both_chroma_planes(name):
    for picture in _parsed(name)[0]:
        _, chroma = H264Picture(picture).rms()
        samples = 64 if picture.sps.chroma_format_idc == 2 else 32  # of both planes beside an 8x8 luma block
        levels = float(1 << (picture.sps.bit_depth_chroma - 8))
        energy = (chroma.astype(float) ** 2).sum() * samples * levels**2
        assert energy == pytest.approx(picture.chroma_energy.sum(dtype=float), rel=1e-3)


def test_long_term_references_and_operations_of_a_conformance_stream_lead_to_the_right_pictures():
    """MR1_BT_A: several references by every modification, long-term ones, sliding window and operations 1, 3 and 4.

    A wrong entry in a list would be a prediction from a wrong picture.
    """
    found, zero = inter_differences(*_parsed(clip("openh264_MR1_BT_A.264")))
    assert len(found["luma 4x4"]) > 5000 and len(found["chroma"]) > 1000
    assert max(found["luma 4x4"]) <= TOLERANCE and max(found["chroma"]) <= TOLERANCE


@pytest.mark.parametrize("name", ["all intra", "large blocks", "large blocks, CABAC"])
def test_intra_16x16_energy_is_the_squared_difference_to_one_of_the_four_predictions(name):
    check_intra_16x16(*_parsed(name))


def check_intra_16x16(pictures, planes, tolerance=TOLERANCE):
    count = carrying = 0
    for picture, (luma, *_) in zip(pictures, planes, strict=True):
        for mb in np.nonzero(picture.macroblocks[0] & state.M_I_16X16)[0]:
            y, x = divmod(int(mb), picture.columns)
            if not (x and y):
                continue
            block = luma[16 * y : 16 * y + 16, 16 * x : 16 * x + 16]
            if block.min() == 0 or block.max() == 255:
                continue
            energy = picture.luma_energy[4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
            best = np.inf
            for prediction in _intra_16x16_predictions(luma, 16 * x, 16 * y):
                residual = (block - prediction).reshape(4, 4, 4, 4).transpose(0, 2, 1, 3)
                worst = max(_differences(energy[r, c], residual[r, c]) for r in range(4) for c in range(4))
                best = min(best, worst)
            assert best <= tolerance
            count += 1
            carrying += energy.sum() > 0
    assert count >= 3 and carrying >= 1, (count, carrying)


def _intra_16x16_predictions(luma, x, y):
    """8.3.3: vertical, horizontal, DC, plane, from decoded samples around (x, y); both neighbours available."""
    above, left = luma[y - 1, x : x + 16], luma[y : y + 16, x - 1]
    corner = luma[y - 1, x - 1]
    yield np.broadcast_to(above, (16, 16))
    yield np.broadcast_to(left[:, None], (16, 16))
    yield np.full((16, 16), (above.sum() + left.sum() + 16) >> 5)
    i = np.arange(1, 9)
    over, beside = np.append(above, corner), np.append(left, corner)  # index -1 is the corner
    h = int((i * (over[7 + i] - over[7 - i])).sum())
    v = int((i * (beside[7 + i] - beside[7 - i])).sum())
    b, c, a = (5 * h + 32) >> 6, (5 * v + 32) >> 6, 16 * (int(left[15]) + int(above[15]))
    column, row = np.meshgrid(np.arange(16), np.arange(16))
    yield np.clip((a + b * (column - 7) + c * (row - 7) + 16) >> 5, 0, 255)


def _nxn_predictions(above, left, corner):
    """8.3.1.2 and 8.3.2.2: the nine predictions of an N x N block; above 2N samples, left N, the corner between."""
    n = len(left)
    line = [*left[::-1], corner, *above[:n]]  # from the lower left round the corner to the upper right

    def three(values, i):
        return (values[i - 1] + 2 * values[i] + values[i + 1] + 2) >> 2

    def two(values, i):
        return (values[i] + values[i + 1] + 1) >> 1

    def vertical_right(x, y):
        if 2 * x - y < -1:
            return three(line, n + 1 + 2 * x - y)
        at = n + x - (y >> 1)
        return three(line, at) if y & 1 else two(line, at)

    def horizontal_down(x, y):
        if 2 * y - x < -1:
            return three(line, n - 1 + x - 2 * y)
        at = n - y + (x >> 1)
        return three(line, at) if x & 1 else two(line, at - 1)

    def horizontal_up(x, y):
        at, longer = y + (x >> 1), [*left, *[left[-1]] * n]
        return three(longer, at + 1) if x & 1 else two(longer, at)

    over = [*above, above[-1]]
    mean = (sum(above[:n]) + sum(left) + n) // (2 * n)
    modes = [
        lambda x, y: above[x],
        lambda x, y: left[y],
        lambda x, y: mean,
        lambda x, y: three(over, x + y + 1),
        lambda x, y: three(line, n + x - y),
        vertical_right,
        horizontal_down,
        lambda x, y: three(over, x + (y >> 1) + 1) if y & 1 else two(over, x + (y >> 1)),
        horizontal_up,
    ]
    return [np.array([[mode(x, y) for x in range(n)] for y in range(n)]) for mode in modes]


def _smoothed(above, left, corner):
    """8.3.2.2.1: the reference samples of Intra_8x8 are filtered, all being available."""
    line = [left[-1], *left[::-1], corner, *above, above[-1]]
    line = [(line[i - 1] + 2 * line[i] + line[i + 1] + 2) >> 2 for i in range(1, len(line) - 1)]
    n = len(left)
    return line[n + 1 :], line[:n][::-1], line[n]


def _reference_samples(luma, x, y, size, above_right):
    """What stands above (and to the right, repeated where that is not available), to the left and at the corner."""
    above = luma[y - 1, x : x + size].tolist()
    above += luma[y - 1, x + size : x + 2 * size].tolist() if above_right else [above[-1]] * size
    return above, luma[y : y + size, x - 1].tolist(), int(luma[y - 1, x - 1])


ORDER = {4: ((0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15)), 8: ((0, 1), (2, 3))}  # 6.4.3, 6.4.5


def _has_above_right(size, row, column, mb_x, columns):
    """Whether the block above and to the right was decoded before (6.4.11.4); the picture is one slice."""
    if column == 16 // size - 1:
        return row == 0 and mb_x < columns - 1
    return row == 0 or ORDER[size][row - 1][column + 1] < ORDER[size][row][column]


@pytest.mark.parametrize("name", ["all intra", "matrices", "CAVLC, 8x8", "10 bit", "10 bit, matrices", "qp 4"])
def test_intra_nxn_energy_is_the_squared_difference_to_one_of_the_nine_predictions(name):
    check_intra_nxn(*_parsed(name))


def check_intra_nxn(pictures, planes, tolerance=TOLERANCE, inside=False):
    """inside: only blocks that see nothing but their own macroblock."""
    carrying, worst = {4: 0, 8: 0}, 0.0
    for picture, (luma, *_) in zip(pictures, planes, strict=True):
        peak = (1 << picture.sps.bit_depth_luma) - 1
        macroblocks = np.nonzero(picture.macroblocks[0] & state.M_I_NXN)[0]
        for mb in macroblocks[:: max(len(macroblocks) // 12, 1)]:
            mb_y, mb_x = divmod(int(mb), picture.columns)
            size = 8 if picture.macroblocks[0, mb] & state.M_T8X8 else 4
            for row, column in np.ndindex(16 // size, 16 // size):
                x, y = 16 * mb_x + column * size, 16 * mb_y + row * size
                block = luma[y : y + size, x : x + size]
                if not (x and y) or block.min() == 0 or block.max() == peak or (inside and not (row and column)):
                    continue
                above_right = _has_above_right(size, row, column, mb_x, picture.columns)
                samples = _reference_samples(luma, x, y, size, above_right)
                energy = picture.luma_energy[y // 4 : (y + size) // 4, x // 4 : (x + size) // 4].sum()
                predictions = _nxn_predictions(*(_smoothed(*samples) if size == 8 else samples))
                worst = max(worst, min(_differences(energy, block - one) for one in predictions))
                carrying[size] += energy > 0
    assert worst <= tolerance
    assert carrying[4] + carrying[8] > 50, carrying


def _intra_chroma_predictions(plane, x, y):
    """8.3.4: DC of each 4x4 block, horizontal, vertical, plane; both neighbours available."""
    above, left, corner = plane[y - 1, x : x + 8], plane[y : y + 8, x - 1], plane[y - 1, x - 1]
    mean = np.empty((8, 8), int)
    for row, column in np.ndindex(2, 2):
        a, b = above[4 * column : 4 * column + 4].sum(), left[4 * row : 4 * row + 4].sum()
        value = (a + b + 4) >> 3 if row == column else ((a if column else b) + 2) >> 2
        mean[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = value
    yield mean
    yield np.broadcast_to(left[:, None], (8, 8))
    yield np.broadcast_to(above, (8, 8))
    over, beside, i = np.append(above, corner), np.append(left, corner), np.arange(1, 5)  # index -1 is the corner
    b = (34 * int((i * (over[3 + i] - over[3 - i])).sum()) + 32) >> 6
    c = (34 * int((i * (beside[3 + i] - beside[3 - i])).sum()) + 32) >> 6
    a = 16 * (int(left[7]) + int(above[7]))
    column, row = np.meshgrid(np.arange(8), np.arange(8))
    yield np.clip((a + b * (column - 3) + c * (row - 3) + 16) >> 5, 0, 255)


@pytest.mark.parametrize("name", ["all intra", "matrices", "CAVLC, 4x4", "chroma offset"])
def test_intra_chroma_energy_is_the_squared_difference_to_one_of_the_four_predictions(name):
    check_intra_chroma(*_parsed(name))


def check_intra_chroma(pictures, planes, tolerance=TOLERANCE):
    count = carrying = 0
    for picture, (_, *chroma) in zip(pictures, planes, strict=True):
        intra = (state.M_I_NXN | state.M_I_16X16) & picture.macroblocks[0]
        for mb in np.nonzero(intra)[0]:
            y, x = divmod(int(mb), picture.columns)
            for plane, energies in zip(chroma, picture.chroma_energy, strict=True):
                block = plane[8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
                if not (x and y) or block.min() == 0 or block.max() == 255:
                    continue
                energy = energies[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
                best = np.inf
                for prediction in _intra_chroma_predictions(plane, 8 * x, 8 * y):
                    parts = (block - prediction).reshape(2, 4, 2, 4).transpose(0, 2, 1, 3)
                    best = min(best, max(_differences(energy[at], parts[at]) for at in np.ndindex(2, 2)))
                assert best <= tolerance
                count += 1
                carrying += energy.sum() > 0
    assert count >= 50 and carrying >= 20, (count, carrying)
