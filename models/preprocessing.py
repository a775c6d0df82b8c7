"""Pictures of any size -> what a vision encoder takes in, by the settings that come with a checkpoint.

The resizing is the one that checkpoints were made with: torch's antialiased interpolation on 8-bit values, which
torchvision calls too (and which follows Pillow). Box filters (Pillow's code 4) are area means, done by OpenCV.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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

    height, width: pixels of the square or rectangle that every picture is stretched to, whatever its shape. resample:
    Pillow's number of the filter. rescale: factor that takes 0..255 to 0..1. mean, std: per channel, after rescaling.
    num_frames: pictures per video that the checkpoint was made for, None if it does not say.
    """

    height: int
    width: int
    resample: int = BICUBIC
    rescale: float = 1 / 255
    mean: tuple[float, ...] = _CLIP_MEAN
    std: tuple[float, ...] = _CLIP_STD
    num_frames: int | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Read a preprocessor file's settings. Raises ValueError for steps that are not implemented."""
        size = config.get("size") or {}
        if set(size) != {"height", "width"}:
            raise ValueError(f"preprocessing to size {dict(size)} is not supported; expected a height and a width")
        for step in ("do_center_crop", "do_sample_frames"):
            if config.get(step):
                raise ValueError(f"preprocessing with {step} is not supported")
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not config.get(step, True):
                raise ValueError(f"preprocessing without {step} is not supported")
        resample = int(config.get("resample", BICUBIC))
        if resample not in (NEAREST, BILINEAR, BICUBIC, BOX):
            raise ValueError(f"resample={resample} is not supported; expected 0, 2, 3 or 4 (Pillow's numbers)")
        return cls(
            height=size["height"],
            width=size["width"],
            resample=resample,
            rescale=float(config.get("rescale_factor", 1 / 255)),
            mean=tuple(config.get("image_mean", _CLIP_MEAN)),
            std=tuple(config.get("image_std", _CLIP_STD)),
            num_frames=config.get("num_frames"),
        )

    def resize(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Stretch one picture, uint8 (h, w, 3), to uint8 (height, width, 3)."""
        if picture.shape[:2] == (self.height, self.width):
            return picture
        if self.resample == BOX:
            return cv2.resize(picture, (self.width, self.height), interpolation=cv2.INTER_AREA).astype(np.uint8)
        planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
        if self.resample == NEAREST:
            out = interpolate(planes, (self.height, self.width), mode="nearest-exact")
        else:
            mode = "bilinear" if self.resample == BILINEAR else "bicubic"
            out = interpolate(planes, (self.height, self.width), mode=mode, antialias=True, align_corners=False)
        return np.ascontiguousarray(out[0].permute(1, 2, 0).numpy())

    def normalise(self, pictures: NDArray[np.uint8]) -> Tensor:
        """uint8 (T, height, width, 3) -> float32 (T, 3, height, width), standardised per channel."""
        planes = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(torch.float32)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (planes * self.rescale - mean) / std
