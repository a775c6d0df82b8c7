"""Resizing against Pillow's algorithm written out, normalising against arithmetic."""

import numpy as np
import pytest
import torch

from codecmeta.models.preprocessing import BICUBIC, BILINEAR, BOX, Preprocessing

SETTINGS = {
    "size": {"height": 6, "width": 9},
    "resample": 3,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.25, 1],
}


def filter_weight(name, x):
    x = abs(x)
    if name == BILINEAR:
        return max(0.0, 1 - x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def pillow_axis(values, size, name):
    """Resample the first axis as Pillow does: a filter as wide as the reduction, weights that add up to 1."""
    length = len(values)
    scale = length / size
    wide = max(scale, 1.0)
    support = (1 if name == BILINEAR else 2) * wide
    out = []
    for i in range(size):
        centre = (i + 0.5) * scale
        first, last = max(0, int(centre - support + 0.5)), min(length, int(centre + support + 0.5))
        weights = np.array([filter_weight(name, (x - centre + 0.5) / wide) for x in range(first, last)])
        out.append(np.tensordot(weights / weights.sum(), values[first:last].astype(float), 1))
    return np.clip(np.floor(np.array(out) + 0.5), 0, 255)


@pytest.mark.parametrize("name", [BILINEAR, BICUBIC])
@pytest.mark.parametrize("shape", [(31, 44), (5, 7), (6, 30)])
def test_resizing_follows_pillow(name, shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    got = Preprocessing(6, 9, resample=name).resize(picture)
    across = pillow_axis(picture.swapaxes(0, 1), 9, name).swapaxes(0, 1)
    want = pillow_axis(across, 6, name)
    assert got.dtype == np.uint8 and got.shape == (6, 9, 3)
    assert np.abs(got - want).max() <= 1


def test_box_is_the_area_mean():
    picture = np.random.default_rng(0).integers(0, 256, (24, 27, 3), dtype=np.uint8)
    want = picture.reshape(6, 4, 9, 3, 3).mean((1, 3))
    assert np.abs(Preprocessing(6, 9, resample=BOX).resize(picture) - want).max() <= 0.51


def test_a_picture_of_the_right_size_passes_unchanged():
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    assert Preprocessing(6, 9).resize(picture) is picture


def test_normalising_is_scale_then_standardise():
    pictures = np.zeros((2, 6, 9, 3), np.uint8)
    pictures[1, 2, 3] = (255, 51, 102)
    out = Preprocessing.from_config(SETTINGS).normalise(pictures)
    assert out.shape == (2, 3, 6, 9)
    torch.testing.assert_close(out[1, :, 2, 3], torch.tensor([1.0, -0.8, 0.1]))
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([-1.0, -1.6, -0.3]))


QWEN = {"min_pixels": 3136, "max_pixels": 602112, "patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}


@pytest.mark.parametrize(
    "shape, want",
    [
        ((720, 1280), (560, 1008)),  # too many pixels: shrunk by sqrt(921600 / 602112), then down to multiples of 28
        ((240, 320), (252, 308)),  # 8.57 and 11.43 times 28, to the nearest
        ((30, 40), (56, 84)),  # too few: grown by sqrt(3136 / 1200), then up
        ((8, 400), (28, 420)),  # 0 and 14 times 28 are too few, too
    ],
)
def test_shapes_are_kept_within_the_pixel_limits(shape, want):
    preprocessing = Preprocessing.from_config(QWEN)
    assert preprocessing.fitting(*shape) == want
    assert preprocessing.resize(np.zeros((*shape, 3), np.uint8)).shape == (*want, 3)


@pytest.mark.parametrize(
    "shape, want",
    [
        ((720, 1280), (288, 528)),  # sqrt(70 * 48 * 48 / 921600) = 0.4183: 301.2 and 535.5, down to multiples of 48
        ((60, 100), (288, 480)),  # grown: 311.1 and 518.5
        ((10, 2000), (48, 3360)),  # no row is left: one, as long as 70 tokens and not as 200
        ((900, 10), (3360, 48)),
    ],
)
def test_pictures_fill_a_number_of_tokens(shape, want):
    """Gemma 4: video_processing_gemma4.py, get_aspect_ratio_preserving_size."""
    settings = {"size": None, "patch_size": 16, "max_soft_tokens": 70, "pooling_kernel_size": 3, "resample": 3}
    preprocessing = Preprocessing.from_config(settings | {"image_mean": [0.0] * 3, "image_std": [1.0] * 3})
    assert preprocessing.fitting(*shape) == want
    assert preprocessing.resize(np.zeros((*shape, 3), np.uint8)).shape == (*want, 3)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"size": {"shortest_edge": 336}}, "expected a height and a width"),
        ({"do_center_crop": True}, "do_center_crop is not supported"),
        ({"do_normalize": False}, "without do_normalize"),
        ({"resample": 5}, "resample=5 is not supported"),
    ],
)
def test_steps_that_are_not_implemented_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        Preprocessing.from_config(SETTINGS | change)


def test_a_cap_per_frame_is_another_one_for_qwen2_vl():
    """Its processor caps a frame's pixels at max_pixels, that of Qwen3-VL at 768 tokens."""
    capped = QWEN | {"cap_pixels_per_frame": True}
    assert Preprocessing.from_config(capped | {"video_processor_type": "Qwen3VLVideoProcessor"}).cap == 768 * 28**2
    with pytest.raises(ValueError, match="cap_pixels_per_frame is not supported for Qwen2-VL"):
        Preprocessing.from_config(capped | {"video_processor_type": "Qwen2VLVideoProcessor"})
