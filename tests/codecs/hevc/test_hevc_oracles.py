"""The oracle itself, with no parser: transforms by their definition, samples of written streams by FFmpeg."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.hevc_ffmpeg import decode_packets
from tests.support.hevc_headers import CRA
from tests.support.hevc_pixels import (
    CHROMA_FILTER,
    DCT,
    DST,
    DST4,
    LUMA_FILTER,
    SKIP,
    inverse_transform,
    reconstruct,
    scaled,
)
from tests.support.hevc_syntax import I
from tests.support.hevc_writer import write


def test_the_matrices_are_integer_cosines_and_sines_and_nearly_orthogonal():
    k, n = np.indices((32, 32))
    exact = np.cos(np.pi * k * (2 * n + 1) / 64) * np.where(k, 64 * np.sqrt(2), 64)
    assert abs(DCT - exact).max() < 1.7
    k, n = np.indices((4, 4))
    assert abs(DST4 - 128 * 2 / 3 * np.sin(np.pi * (2 * k + 1) * (n + 1) / 9)).max() < 0.7
    for size in (4, 8, 16, 32):
        part = DCT[:: 32 // size, :size]
        assert abs(part @ part.T / (4096 * size) - np.eye(size)).max() < 0.005
    assert abs(DST4 @ DST4.T / (4096 * 4) - np.eye(4)).max() < 0.005


def test_the_interpolation_filters_pass_a_constant_and_are_mirrored():
    for table in (LUMA_FILTER, CHROMA_FILTER):
        assert (table.sum(1) == 64).all()
        np.testing.assert_array_equal(table[1:, :], table[1:][::-1, ::-1])


@pytest.mark.parametrize("size", [4, 8, 16, 32])
@pytest.mark.parametrize("depth", [8, 10])
def test_the_inverse_transform_is_the_cosine_transform_of_its_definition(size, depth):
    random = np.random.default_rng(size + depth)
    coefficients = random.integers(-600, 600, (size, size))
    k, n = np.indices((size, size))
    basis = np.cos(np.pi * k * (2 * n + 1) / (2 * size)) * np.where(k, np.sqrt(2 / size), np.sqrt(1 / size))
    exact = basis.T @ coefficients @ basis * size / 2 ** (15 - depth)
    assert abs(inverse_transform(coefficients.astype(np.int64), 0, depth) - exact).max() < 0.03 * abs(exact).max() + 1


def test_transform_skip_and_the_sine_transform_have_the_weight_of_a_4x4_block():
    random = np.random.default_rng(1)
    coefficients = random.integers(-900, 900, (4, 4)).astype(np.int64)
    energies = [(inverse_transform(coefficients, kind, 8) ** 2).sum() for kind in (0, SKIP, DST)]
    assert max(energies) / min(energies) < 1.02


def test_a_level_of_one_is_scaled_with_its_rounding():
    flat = np.full((4, 6, 32, 32), 16, np.uint8)
    level = np.array([[0, 0, 1]], np.int64)
    assert scaled(level, 0, 1, 32, 0, 8, flat, True, 0)[0, 0] == 3  # 2.5
    assert scaled(level, 0, 1, 4, 4, 8, flat, True, 0)[0, 0] == 32  # levelScale 64


def _compare(stream, kinds):
    """Reconstructed from the writer's own record, against FFmpeg; references by order count."""
    shown = decode_packets([picture.packet for picture in stream.pictures])
    planes, compared = {}, 0
    for picture in stream.pictures:
        if picture.slice_type not in kinds:
            continue
        if picture.kind >= 16 and (picture.kind != CRA or picture.ended):
            planes = {}
        picture.coded.references = [planes[poc] for poc in picture.coded.references]
        planes[picture.poc], _ = reconstruct(picture.coded)
        if picture.number in shown:
            for mine, theirs in zip(planes[picture.poc], shown[picture.number], strict=True):
                np.testing.assert_array_equal(mine, theirs, err_msg=f"seed {stream.seed}, picture {picture.number}")
            compared += 1
    return compared


def test_intra_pictures_of_the_writer_equal_ffmpeg():
    assert sum(_compare(write(seed), {I}) for seed in range(1000, 1060)) > 90


def test_inter_pictures_of_the_writer_whose_vectors_are_written_out_equal_ffmpeg():
    assert sum(_compare(write(seed, plain=True), {0, 1, 2}) for seed in range(1000, 1060)) > 200
