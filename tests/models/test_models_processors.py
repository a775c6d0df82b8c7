"""Pixels, patches and grids against the checkpoints' own processors, on their published settings.

The processors of transformers that need only Pillow. Pillow and torch both round to 8 bits after each of two passes,
with weights of different precision: a value is at most `LEVELS` of 255 apart, and `SHARE` of them at all, on white
noise. Both pass across first; Pillow 13 and later begin with the side that makes less work, which for upright pictures
makes more of a difference, so there Pillow is asked for one pass after the other.

The video processors do the same on tensors with torchvision, whose resizing of 8-bit pictures is by its source a call
of torch.nn.functional.interpolate with antialias, which is ours, too; it is no dependency, so that is not tried here.
"""

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")

from PIL import Image  # noqa: E402

from codecmeta.compression import adapter_for  # noqa: E402
from codecmeta.models.preprocessing import Preprocessing  # noqa: E402
from tests.support import tiny  # noqa: E402

LEVELS, SHARE = 2, 0.01

HALF = [0.5, 0.5, 0.5]
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
ONEVISION = {
    "do_resize": True, "do_rescale": True, "do_normalize": True, "do_convert_rgb": True, "image_mean": HALF,
    "image_std": HALF, "resample": 3, "rescale_factor": 1 / 255, "size": {"height": 384, "width": 384},
}  # fmt: skip
QWEN = {
    "image_mean": CLIP_MEAN, "image_std": CLIP_STD, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
    "min_pixels": 3136, "max_pixels": 12845056,
}  # fmt: skip
QWEN_VIDEO = QWEN | {"min_pixels": 128 * 28 * 28, "max_pixels": 768 * 28 * 28}


def processor(module, name, settings):
    """A processor, where this transformers has it."""
    return getattr(pytest.importorskip(module), name)(**settings)


def noise(count, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def close(got, want, std):
    """Both normalised, channels in front of the last two axes."""
    levels = (got - want).abs() * torch.as_tensor(std)[:, None, None] * 255
    return got.shape == want.shape and levels.max() < LEVELS + 0.01 and (levels > 0.01).float().mean() < SHARE


@pytest.mark.parametrize("shape", [(720, 1280), (240, 320), (384, 384), (385, 400)])
def test_onevision_pixels(shape):
    module = "transformers.models.llava_onevision.image_processing_pil_llava_onevision"
    stock = processor(module, "LlavaOnevisionImageProcessorPil", ONEVISION)
    pictures = noise(2, *shape)
    want = stock(images=list(pictures), return_tensors="pt").pixel_values[:, 0]  # the whole picture, before its parts
    own = Preprocessing.from_config(ONEVISION)
    got = own.normalise(np.stack([own.resize(picture) for picture in pictures]))
    assert close(got, want, HALF)
    if shape == (384, 384):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(1280, 720), (400, 100), (384, 900)])
def test_upright_pictures_are_resized_across_first(size):
    picture = noise(1, *size)[0]
    across = Image.fromarray(picture).resize((384, size[0]), Image.Resampling.BICUBIC)
    want = np.asarray(across.resize((384, 384), Image.Resampling.BICUBIC))
    got = Preprocessing.from_config(ONEVISION).resize(picture)
    levels = np.abs(got.astype(int) - want)
    assert levels.max() <= LEVELS and (levels > 0).mean() < SHARE


SHAPES = [(360, 640), (240, 320), (1080, 1920), (40, 50)]


@pytest.mark.parametrize(
    "settings, shape, windowed",
    [*((QWEN_VIDEO, shape, False) for shape in SHAPES), (QWEN, (40, 50), False), (QWEN, (360, 640), True)],
)
def test_qwen_patches_and_grid(settings, shape, windowed):
    """Qwen2.5-VL (`windowed`) has the same processor. Of an image it makes two equal pictures: of a pair of different
    ones, the first must stand where the first image has its first, and the second where the second has its second."""
    stock = processor(
        "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl", "Qwen2VLImageProcessorPil", settings
    )
    pictures = noise(2, *shape)
    want = stock(images=list(pictures), return_tensors="pt")
    own = Preprocessing.from_config(settings)
    adapter = adapter_for(tiny.qwen(windowed=windowed))
    adapter.patch = 14
    pixels = own.normalise(np.stack([own.resize(picture) for picture in pictures]))
    inputs, placeholders = adapter.inputs(pixels)
    (time, rows, columns), grids = inputs["video_grid_thw"][0].tolist(), want.image_grid_thw.tolist()
    assert time == 1 and grids == [[1, rows, columns]] * 2
    assert placeholders == rows * columns // 4
    first, second = want.pixel_values.unflatten(1, (3, 2, 14, 14)).chunk(2)
    pair = torch.stack((first[:, :, 0], second[:, :, 1]), dim=2)
    assert close(inputs["pixel_values_videos"].unflatten(1, (3, 28, 14)), pair.flatten(2, 3), CLIP_STD)


def test_shapes_are_the_ones_that_qwen_chooses():
    module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    rng = np.random.default_rng(0)
    shapes = [
        (8, 400),
        (13, 14),
        (14, 14),
        (42, 42),
        (70, 98),
        *np.exp(rng.uniform(2, 8, (3000, 2))).astype(int).tolist(),
    ]
    for settings in (QWEN, QWEN_VIDEO):
        own = Preprocessing.from_config(settings)
        for height, width in shapes:
            if max(height, width) <= 200 * min(height, width):
                limits = {"min_pixels": settings["min_pixels"], "max_pixels": settings["max_pixels"]}
                want = module.smart_resize(height, width, factor=28, **limits)
                assert own.fitting(height, width) == want, (height, width)
