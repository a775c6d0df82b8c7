"""The estimated residual: kernels against slow plain-Python twins, and pictures whose residual is known."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.decoding.estimate import LumaFrame, ResidualEstimator, difference_error, intra_error, motion_error
from codecmeta.record.metadata import VECTOR, B, I, P
from tests.support.clips import pan, texture, write_clip

Picture = np.ndarray


def blocks(luma: Picture) -> list[tuple[int, int, slice, slice]]:
    height, width = luma.shape
    return [
        (row, column, slice(row * 8, min(row * 8 + 8, height)), slice(column * 8, min(column * 8 + 8, width)))
        for row in range(math.ceil(height / 8))
        for column in range(math.ceil(width / 8))
    ]


def slow_intra(luma: Picture) -> Picture:
    """The definition of the module, one block and one prediction at a time."""
    picture = luma.astype(float)
    result = np.zeros((math.ceil(luma.shape[0] / 8), math.ceil(luma.shape[1] / 8)))
    for row, column, ys, xs in blocks(luma):
        block = picture[ys, xs]
        above = picture[ys.start - 1, xs] if row else None
        left = picture[ys, xs.start - 1] if column else None
        around = [one for one in (above, left) if one is not None]
        predictions = [np.full(block.shape, math.floor(np.concatenate(around or [block.ravel()]).mean() + 0.5))]
        if left is not None:
            predictions.append(np.repeat(left[:, None], block.shape[1], axis=1))
        if above is not None:
            predictions.append(np.repeat(above[None], block.shape[0], axis=0))
        result[row, column] = min(((block - one) ** 2).mean() for one in predictions)
    return result


def slow_prediction(reference: Picture, x: int, y: int, vector: np.void) -> float:
    """One pixel of the reference at a fractional place, bilinear, edges repeated."""
    height, width = reference.shape
    fx, fy = x + vector["motion_x"] / vector["scale"], y + vector["motion_y"] / vector["scale"]
    x0, y0 = math.floor(fx), math.floor(fy)
    total = 0.0
    for dx in (0, 1):
        for dy in (0, 1):
            weight = (1 - abs(fx - x0 - dx)) * (1 - abs(fy - y0 - dy))
            total += weight * float(reference[min(max(y0 + dy, 0), height - 1), min(max(x0 + dx, 0), width - 1)])
    return total


def slow_motion(luma: Picture, vectors: np.ndarray, past: list[Picture], future: list[Picture]) -> Picture:
    height, width = luma.shape
    found: dict[tuple[int, int], list[float]] = {}
    for vector in vectors:
        left, top = int(vector["dst_x"]) - int(vector["w"]) // 2, int(vector["dst_y"]) - int(vector["h"]) // 2
        pixels = [
            (y, x)
            for y in range(max(top, 0), min(top + int(vector["h"]), height))
            for x in range(max(left, 0), min(left + int(vector["w"]), width))
        ]
        candidates = [
            [slow_prediction(one, x, y, vector) for y, x in pixels]
            for one in (past if vector["source"] < 0 else future)
        ]
        if not candidates or not pixels:
            continue
        best = min(
            candidates, key=lambda values: sum((luma[at] - one) ** 2 for at, one in zip(pixels, values, strict=True))
        )
        for at, one in zip(pixels, best, strict=True):
            found[at] = [*found.get(at, []), one][:2]
    result = np.full((math.ceil(height / 8), math.ceil(width / 8)), np.nan)
    for row, column, ys, xs in blocks(luma):
        errors = [
            (float(luma[y, x]) - np.mean(found[y, x])) ** 2
            for y in range(ys.start, ys.stop)
            for x in range(xs.start, xs.stop)
            if (y, x) in found
        ]
        if 2 * len(errors) >= (ys.stop - ys.start) * (xs.stop - xs.start):
            result[row, column] = np.mean(errors)
    return result


def grey(seed: int, width: int = 45, height: int = 27) -> Picture:
    return np.ascontiguousarray(texture(width, height, seed)[..., 0])


@pytest.mark.parametrize("seed", range(3))
def test_intra_error_equals_its_definition(seed: int) -> None:
    luma = grey(seed)
    assert np.allclose(intra_error(luma), slow_intra(luma), rtol=1e-5)


def test_difference_error_is_the_mean_squared_difference() -> None:
    one, two = grey(1), grey(2)
    expected = [((one[ys, xs].astype(float) - two[ys, xs]) ** 2).mean() for _, _, ys, xs in blocks(one)]
    assert np.allclose(difference_error(one, two).ravel(), expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_motion_error_equals_its_definition(scale: int) -> None:
    rng = np.random.default_rng(scale)
    luma, references = grey(0), [grey(one) for one in (1, 2, 3, 4)]
    vectors = np.zeros(14, VECTOR)
    for vector in vectors:
        size = rng.choice([8, 16], 2)
        vector["source"], vector["w"], vector["h"], vector["scale"] = rng.choice([-1, 1]), *size, scale
        vector["dst_x"], vector["dst_y"] = rng.integers(0, 6, 2) * 8 + size // 2
        vector["motion_x"], vector["motion_y"] = rng.integers(-80, 80, 2)
    expected = slow_motion(luma, vectors, references[:2], references[2:])
    error = motion_error(luma, vectors, references[:2], references[2:])
    assert np.isnan(expected).any() and not np.isnan(expected).all()
    assert np.allclose(error, expected, rtol=1e-3, atol=1e-2, equal_nan=True)


def vector_field(luma: Picture, motion: tuple[int, int], source: int = -1) -> np.ndarray:
    """One vector of whole pixels for every 8x8 block."""
    rows, columns = math.ceil(luma.shape[0] / 8), math.ceil(luma.shape[1] / 8)
    field = [
        (source, 8, 8, c * 8 + 4, r * 8 + 4, motion[0] * 4, motion[1] * 4, 4)
        for r in range(rows)
        for c in range(columns)
    ]
    return np.array(field, VECTOR)


def test_estimator_predicts_from_the_right_pictures() -> None:
    """A pan of 5 pixels per picture, shown as I B P: vectors that point to where the content came from leave nothing
    over."""
    lumas = [np.ascontiguousarray(one[..., 1]) for one in pan(3, (96, 64), (5, 0))]
    back, ahead = vector_field(lumas[0], (-5, 0)), vector_field(lumas[0], (5, 0), source=1)
    estimator = ResidualEstimator(has_vectors=True)
    known = estimator.push(LumaFrame(0, I, lumas[0], np.zeros(0, VECTOR)))
    assert [one[0] for one in known] == [0] and known[0][2] == "intra"
    assert (
        estimator.push(LumaFrame(1, B, lumas[1], np.concatenate([back, ahead]))) == []
    )  # waits for the picture after it
    known = estimator.push(LumaFrame(2, P, lumas[2], vector_field(lumas[2], (-10, 0))))
    assert [one[0] for one in known] == [1, 2]
    for _, rms, source in known:
        assert source == "motion_compensated"
        assert np.abs(rms[:, 2:-2]).max() == 0  # the columns at the sides show content that came in there
        assert rms[:, 0].max() > 1


@pytest.mark.parametrize("one_reference", [True, False])
def test_only_h264_looks_further_back_than_the_nearest_reference(one_reference: bool) -> None:
    """A picture comes back after another one: MPEG's P pictures know only the one before, H.264 may mean the older."""
    dark, bright = (np.full((32, 32), value, np.uint8) for value in (50, 90))
    estimator = ResidualEstimator(has_vectors=True, one_reference=one_reference)
    still = vector_field(dark, (0, 0))
    estimator.push(LumaFrame(0, I, dark, still[:0]))
    estimator.push(LumaFrame(1, P, bright, still))
    ((_, rms, _),) = estimator.push(LumaFrame(2, P, dark, still))
    assert (rms == (40 if one_reference else 0)).all()


def test_estimator_averages_both_predictions_of_b_blocks() -> None:
    """Half way between dark and bright: both predictions together are exact, each alone is 50 levels off."""
    dark, middle, bright = (np.full((32, 32), value, np.uint8) for value in (50, 100, 150))
    both = np.concatenate([vector_field(dark, (0, 0)), vector_field(dark, (0, 0), source=1)])
    for vectors, expected in ((both, 0.0), (both[: len(both) // 2], 50.0)):
        estimator = ResidualEstimator(has_vectors=True)
        estimator.push(LumaFrame(0, I, dark, np.zeros(0, VECTOR)))
        estimator.push(LumaFrame(1, B, middle, vectors))
        known = estimator.push(LumaFrame(2, P, bright, vector_field(dark, (0, 0))))
        assert np.allclose(known[0][1], expected)


def test_frames_without_vectors_take_the_smaller_of_both_errors() -> None:
    first, second = grey(0), grey(1)
    second[:16] = first[:16]
    estimator = ResidualEstimator(has_vectors=False)
    estimator.push(LumaFrame(0, I, first, None))
    ((_, rms, source),) = estimator.push(LumaFrame(1, P, second, None))
    expected = np.sqrt(np.minimum(slow_intra(second), difference_error(second, first)))
    assert source == "previous_or_intra" and np.allclose(rms, expected, rtol=1e-4)
    assert (rms[:2] == 0).all() and (rms[2:] > 0).any()


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "mpeg4"])
def test_energy_is_where_something_new_is(made: Path, codec: str) -> None:
    """A square that flickers on a still background: its blocks carry the energy, whatever the codec."""
    rng = np.random.default_rng(0)
    background = texture(128, 96, 5)
    pictures = []
    for _ in range(16):
        picture = background.copy()
        picture[32:64, 48:80] = rng.integers(0, 255, (8, 8, 3)).repeat(4, 0).repeat(4, 1)
        pictures.append(picture)
    options = {"libx265": {"x265-params": "log-level=none"}, "libvpx-vp9": {"deadline": "realtime", "b": "2M"}}.get(
        codec, {}
    )
    meta = codecmeta.extract(write_clip(made / f"flicker-{codec}.mkv", pictures, codec, options))
    energy = (meta.residual.values[1:].astype(float) ** 2).mean(axis=0)
    inside = np.zeros_like(energy, bool)
    inside[4:8, 6:10] = True
    assert energy[inside].min() > 20 * energy[~inside].mean()


def test_ten_bit_pictures_are_measured_in_eight_bit_levels(made: Path) -> None:
    pictures = pan(8, (96, 64), (3, 0))
    deep = write_clip(made / "deep.mp4", pictures, options={"qp": "12"}, pix_fmt="yuv420p10le")
    flat = write_clip(made / "flat.mp4", pictures, options={"qp": "12"})
    one, two = codecmeta.extract(deep).residual.values[0], codecmeta.extract(flat).residual.values[0]
    assert np.abs(one.astype(float) - two).mean() < 0.1 * two.mean()


def test_luma_change_is_that_of_the_block_means_also_across_keyframes(made: Path) -> None:
    """Against a plain decode from start to end; the file is read in keyframe segments, which know no frame before."""
    path = write_clip(made / "change.mkv", pan(12, (100, 70), (3, 1)), "libvpx-vp9", {"g": "5", "deadline": "realtime"})
    with av.open(str(path)) as container:
        lumas = [one.to_ndarray()[:64, :96].astype(float) for one in container.decode(video=0)]  # yuv420p: luma first
    means = [luma.reshape(4, 16, 6, 16).mean((1, 3)) for luma in lumas]
    expected = [np.abs(after - before).mean() for before, after in pairwise(means)]
    meta = codecmeta.extract(path, jobs=2)
    assert meta.frames.keyframe.sum() > 1 and np.isnan(meta.residual.luma_change[0])
    assert np.allclose(meta.residual.luma_change[1:], expected, rtol=2e-3)
    keys = codecmeta.extract(path, frames="keyframes")
    assert np.isnan(keys.residual.luma_change).all()  # the frames before them were not decoded
    assert not len(codecmeta.extract(write_clip(made / "v.mp4", pan(4, (64, 64), (1, 0)))).residual.luma_change)
