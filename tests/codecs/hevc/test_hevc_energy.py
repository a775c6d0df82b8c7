"""Residual energy per 8x8 block against the residual itself, rebuilt sample by sample.

The bound is that of the integer transform: its rows are orthogonal but for a percent, its result is rounded. Inside
transforms of 16x16 and 32x32 and in lossless blocks each 8x8 part has its own energy.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from codecmeta.codecs.hevc import state
from codecmeta.codecs.hevc.sequence import Sequence
from tests.support.hevc_compare import compare_file
from tests.support.hevc_encodes import SETTINGS, clip, encode
from tests.support.hevc_parsed import coded_of
from tests.support.hevc_pixels import BYPASS, DCT, DST, DST4, PCM, SKIP, Coded, reconstruct, scaled
from tests.support.hevc_writer import write

ENCODES = ["medium", "slower", "all intra", "CTB 16", "qp 4", "qp 51", "10 bit", "10 bit, qp 3", "monochrome"]
ENCODES += ["lossless", "CU lossless", "transform skip", "scaling lists", "chroma offsets", "deep transform trees"]
ENCODES += ["small transforms", "odd size", "min CU 32", "weighted"]


def _squares(plane: np.ndarray, size: int) -> np.ndarray:
    """Sums of squares over size x size samples."""
    rows, columns = plane.shape[0] // size, plane.shape[1] // size
    return (plane.astype(np.float64) ** 2).reshape(rows, size, columns, size).sum((1, 3))


def check_energy(
    picture, residuals: list[np.ndarray], ignored: list[np.ndarray] | None = None, rounding: float = 0.51
) -> Counter:
    """All blocks of all planes, but those with `ignored` samples; how many of each kind were compared. rounding: grey
    levels that the two stages of the inverse transform may add."""
    counts: Counter = Counter()
    luma = picture.luma_energy.astype(np.float64)
    rows, columns = luma.shape[0] // 2, luma.shape[1] // 2
    luma = luma.reshape(rows, 2, columns, 2).sum((1, 3))
    pairs = [("luma", luma, _squares(residuals[0], 8), 64)]
    for name, energy, residual in zip(("Cb", "Cr"), picture.chroma_energy, residuals[1:], strict=False):
        pairs.append((name, energy.astype(np.float64), _squares(residual, 4), 16))
    for c, (name, energy, truth, samples) in enumerate(pairs):
        if ignored is not None:
            keep = _squares(ignored[c], 4 if c else 8) == 0
            energy, truth = energy[keep], truth[keep]
        ours, real = np.sqrt(energy / samples), np.sqrt(truth / samples)
        worst = abs(ours - real) - 0.01 * real
        assert worst.max(initial=0) <= rounding, (name, np.unravel_index(worst.argmax(), worst.shape), worst.max())
        assert not truth[energy == 0].any(), name  # no energy: the prediction is not changed
        counts[name] += int((truth > 0).sum())
    if len(residuals) == 1:
        assert not picture.chroma_energy.any()
    large = picture.tu[(picture.tu[:, state.TU_LOG2] >= 4) & (picture.tu[:, state.TU_CBF] & 1 > 0)]
    counts["blocks in large transforms"] += int((4 ** (large[:, state.TU_LOG2] - 3)).sum())
    return counts


@pytest.mark.parametrize("name", ENCODES)
def test_energy_of_each_8x8_block_is_that_of_its_residual(name):
    counts = Counter()
    for picture, _, residuals, _ in compare_file(encode(**SETTINGS[name])):
        counts += check_energy(picture, residuals)
    assert counts["luma"] > 100, counts
    if name in ("medium", "min CU 32", "10 bit", "weighted"):
        assert counts["blocks in large transforms"] > 200


@pytest.mark.parametrize("name, most", [("torchcodec_hevc.mp4", None), ("hevcjs_qcif_10bit.265", 30)])
def test_energy_of_real_clips(name, most):
    counts = Counter()
    for picture, _, residuals, _ in compare_file(str(clip(name)), most):
        counts += check_energy(picture, residuals)
    assert counts["luma"] > 300, counts


def _overflowing(coded: Coded) -> list[np.ndarray]:
    """Per plane, samples of transforms whose first stage is clipped to 16 bits: no encoder's, and no longer linear."""
    masks = [np.zeros((coded.height >> (c > 0), coded.width >> (c > 0)), bool) for c in range(3)]
    flat = coded.scaling is None
    scaling = np.full((4, 6, 32, 32), 16, np.uint8) if flat else coded.scaling
    for c, x, y, log2, _, kind, qp, matrix, start, count in coded.blocks.tolist():
        n = 1 << log2
        if not count or kind & (BYPASS | PCM | SKIP):
            continue
        levels = coded.levels.astype(np.int64)
        d = scaled(levels, start, count, n, qp, coded.bit_depth[c > 0], scaling, flat, matrix)
        columns = (DST4 if kind & DST else DCT[:: 32 // n, :n]).T @ d + 64 >> 7
        masks[c][y : y + n, x : x + n] = abs(columns).max() > 32767
    return masks


DENSE = 0.5 + 0.5 * 64 * 32**0.5 / 2**12
"""Grey levels: half a level by the last rounding, and half a unit by that of the first stage, times the norm of a row
of the 32-point matrix over the shift of the second stage (8.6.4.2). Encoders' levels stay below 0.51."""


def test_energy_of_random_levels():
    """Dense and huge levels, all kinds of blocks, whatever no encoder sends."""
    counts = Counter()
    for seed in range(2000, 2040):
        stream = write(seed)
        sequence = Sequence(None, annex_b=True, trace=True)
        planes = {}
        for planned in stream.pictures:
            picture = sequence.parse(planned.packet)
            coded = coded_of(picture, planes)
            planes[picture.identity], residuals = reconstruct(coded)
            counts += check_energy(picture, residuals, _overflowing(coded), DENSE)
    assert counts["blocks in large transforms"] > 1000 and min(counts["Cb"], counts["Cr"]) > 500, counts
