"""Pictures of any size -> what a vision encoder takes in, by the settings that come with a checkpoint.

The resizing is the one that checkpoints were made with: torch's antialiased interpolation on 8-bit values, which
torchvision calls too (and which follows Pillow). Box filters (Pillow's code 4) are area means, done by OpenCV.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

NEAREST, LANCZOS, BILINEAR, BICUBIC, BOX, HAMMING = range(6)
"""Pillow's numbers for `resample`, as preprocessor files hold them."""

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """How one checkpoint wants its pictures.

    height, width: pixels of the square or rectangle that every picture is stretched to, whatever its shape; 0 where the
    picture's shape is kept and both sides become multiples of `factor`, with min_pixels to max_pixels in all. resample:
    Pillow's number of the filter. rescale: factor that takes 0..255 to 0..1. mean, std: per channel, after rescaling.
    num_frames: pictures per video that the checkpoint was made for, None if it does not say. edge: where not 0, a
    picture keeps its shape, its shorter side gets so many pixels, and the middle `height` x `width` is cut out. long:
    where not 0, a picture is first brought to this longer side in its own shape, then stretched (SmolVLM2). cap: where
    not 0, most pixels of a picture beside what it may have of all (`cap_pixels_per_frame`); see `of_clip`. filling:
    whether a picture also grows to as many pixels of max_pixels as its shape allows (Gemma 4).
    """

    height: int
    width: int
    resample: int = BICUBIC
    rescale: float = 1 / 255
    mean: tuple[float, ...] = _CLIP_MEAN
    std: tuple[float, ...] = _CLIP_STD
    num_frames: int | None = None
    factor: int = 0
    min_pixels: float = 0
    max_pixels: float = 0
    edge: int = 0
    long: int = 0
    cap: int = 0
    filling: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, crop: bool = False) -> Preprocessing:
        """Read a preprocessor file's settings. crop: whether it may cut off the borders, as CLIP's does; a model whose
        tokens have to cover the whole picture cannot take that. Which frames are shown is decided elsewhere, whatever
        `do_sample_frames` says. Raises ValueError for steps that are not implemented.
        """
        cropped = crop and bool(config.get("do_center_crop"))
        size = _cropped_size(config) if cropped else _size(config)
        if config.get("do_center_crop") and not cropped:
            raise ValueError("preprocessing with do_center_crop is not supported")
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not config.get(step, True):
                raise ValueError(f"preprocessing without {step} is not supported")
        resample = int(config.get("resample", BICUBIC))
        if resample not in (NEAREST, LANCZOS, BILINEAR, BICUBIC, BOX):
            raise ValueError(f"resample={resample} is not supported; expected 0 to 4 (Pillow's numbers)")
        return cls(
            **size,
            resample=resample,
            rescale=float(config.get("rescale_factor", 1 / 255)),
            mean=tuple(config.get("image_mean", _CLIP_MEAN)),
            std=tuple(config.get("image_std", _CLIP_STD)),
            num_frames=config.get("num_frames"),
        )

    def resize(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One picture, uint8 (h, w, 3) -> uint8 (height, width, 3)."""
        if self.long:
            height, width = picture.shape[:2]
            picture = self._stretch(picture, *_longest(height, width, self.long))
        if not self.edge:
            return self._stretch(picture, *self.shape_of(*picture.shape[:2]))
        short = min(picture.shape[:2])
        picture = self._stretch(picture, *(int(self.edge * side / short) for side in picture.shape[:2]))
        top, left = (picture.shape[0] - self.height) // 2, (picture.shape[1] - self.width) // 2
        return np.ascontiguousarray(picture[top : top + self.height, left : left + self.width])

    def _stretch(self, picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        if picture.shape[:2] == (height, width):
            return picture
        if self.resample == BOX:
            return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
        planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
        if self.resample == NEAREST:
            out = interpolate(planes, (height, width), mode="nearest-exact")
        else:
            mode = {BILINEAR: "bilinear", BICUBIC: "bicubic", LANCZOS: "lanczos"}[self.resample]
            out = interpolate(planes, (height, width), mode=mode, antialias=True, align_corners=False)
        return np.ascontiguousarray(out[0].permute(1, 2, 0).numpy())

    def of_clip(self, pictures: int, limits: Callable[[float, float, int], tuple[float, float]]) -> Preprocessing:
        """For the pictures of a clip of so many: its pixel limits are those of each. limits: what a model makes of the
        published ones (`Adapter.pixel_limits`)."""
        if not self.factor:
            return self
        low, high = limits(self.min_pixels, self.max_pixels, pictures)
        if self.cap:
            high = max(min(self.cap, self.max_pixels // pictures), int(self.min_pixels * 1.05))
        return replace(self, min_pixels=low, max_pixels=high, cap=0)

    def shape_of(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture of this size becomes."""
        return (self.height, self.width) if self.height else self.fitting(height, width)

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) for a picture whose shape is kept: multiples of `factor` within the pixel limits.

        >>> Preprocessing(0, 0, factor=28, min_pixels=3136, max_pixels=602112).fitting(720, 1280)
        (560, 1008)
        """
        if self.filling:
            return _filling(height, width, self.factor, self.max_pixels)
        rows, columns = (round(side / self.factor) * self.factor for side in (height, width))
        if rows * columns > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels)
            sides = (math.floor(side / shrink / self.factor) * self.factor for side in (height, width))
            rows, columns = (max(self.factor, side) for side in sides)
        elif rows * columns < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            rows, columns = (math.ceil(side * grow / self.factor) * self.factor for side in (height, width))
        return rows, columns

    def normalise(self, pictures: NDArray[np.uint8]) -> Tensor:
        """uint8 (T, height, width, 3) -> float32 (T, 3, height, width), standardised per channel."""
        planes = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(torch.float32)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (planes * self.rescale - mean) / std


def _filling(height: int, width: int, factor: int, most: float) -> tuple[int, int]:
    """(height, width) of the largest picture in this shape, both multiples of `factor`, of at most so many pixels; of
    one row or column where it is longer than that."""
    scale = math.sqrt(most / (height * width))
    rows, columns = (math.floor(scale * side / factor) * factor for side in (height, width))
    longest = int(most // factor**2) * factor
    if not rows:
        return factor, min(width // height * factor, longest)
    if not columns:
        return min(height // width * factor, longest), factor
    return rows, columns


def _cropped_size(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same where a centre crop follows: {"shortest_edge": 224}, or 224 in older files, and the size of the crop."""
    size, crop = config.get("size"), config.get("crop_size")
    edge: Any = size.get("shortest_edge") if isinstance(size, Mapping) and len(size) == 1 else size
    sides: Any = (crop.get("height"), crop.get("width")) if isinstance(crop, Mapping) else (crop, crop)
    if not all(isinstance(side, int) for side in (edge, *sides)) or max(sides) > edge:
        raise ValueError(
            f"preprocessing to size {size} with a centre crop of {crop} is not supported; expected a shortest edge and "
            "a crop that is no larger"
        )
    return {"height": sides[0], "width": sides[1], "edge": edge}


def _longest(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) with this longer side, in the picture's shape; the other one is even."""
    other = int(side / (max(height, width) / min(height, width)))
    other = max(1, other + other % 2)
    return (other, side) if width >= height else (side, other)


def _size(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Preprocessing` that say how large pictures become."""
    size = config.get("size") or config.get("video_sampling", {}).get("video_size") or {}
    square = config.get("max_image_size", {}).get("longest_edge")
    if square and set(size) == {"longest_edge"}:
        return {"height": square, "width": square, "long": min(4096, size["longest_edge"])}
    if set(size) == {"height", "width"}:
        return {"height": size["height"], "width": size["width"]}
    if {"patch_size", "max_soft_tokens", "pooling_kernel_size"} <= set(config):
        factor = config["patch_size"] * config["pooling_kernel_size"]
        most = config["max_soft_tokens"] * factor**2
        return {"height": 0, "width": 0, "factor": factor, "max_pixels": most, "filling": True}
    low = config.get("min_pixels") or size.get("min_pixels") or size.get("shortest_edge")
    high = config.get("max_pixels") or size.get("max_pixels") or size.get("longest_edge")
    if low and high and "patch_size" in config and "merge_size" in config:
        factor = config["patch_size"] * config["merge_size"]
        if config.get("cap_pixels_per_frame") and config.get("video_processor_type") == "Qwen2VLVideoProcessor":
            raise ValueError(
                "preprocessing with cap_pixels_per_frame is not supported for Qwen2-VL: it means other limits"
            )
        cap = config.get("max_video_tokens", 768) * factor**2 if config.get("cap_pixels_per_frame") else 0
        return {"height": 0, "width": 0, "factor": factor, "min_pixels": low, "max_pixels": high, "cap": cap}
    raise ValueError(f"preprocessing to size {dict(size)} is not supported; expected a height and a width")
