"""Twins of the codec's signals that need no codec: the same decisions, fed by pixels or by features.

Whatever a method gains over its twin is what reading the bitstream adds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

FIRST = 255.0
"""What the first frame differs by, as in the published code: from nothing, everywhere alike."""


def frame_difference(pictures: Tensor, grid: tuple[int, int], per_frame: int = 1) -> NDArray[np.float32]:
    """How much each patch changed, by pixels: RLT's test for repeated patches (NeurIPS 2024).

    The mean over a patch and its channels of |first picture of frame t-1 - last picture of frame t|, where a frame is
    `per_frame` sampled pictures. RLT drops a patch where that is at most 0.1 in normalised pixels.

    pictures: float (T * per_frame, 3, height, width), normalised as the model gets them, exactly what the grid (rows,
    columns) covers. Returns float32 (T, rows, columns), 255 throughout the first frame.
    """
    from torch.nn.functional import adaptive_avg_pool2d

    earlier, later = pictures[::per_frame][:-1].float(), pictures[per_frame - 1 :: per_frame][1:].float()
    change = np.full((len(earlier) + 1, *grid), FIRST, np.float32)
    for t, (before, after) in enumerate(zip(earlier, later, strict=True), start=1):
        difference = (before - after).abs().mean(dim=0, keepdim=True)
        change[t] = adaptive_avg_pool2d(difference, grid)[0].cpu().numpy()
    return change


def smooth_noise(frames: int, grid: tuple[int, int], seed: int) -> NDArray[np.float32]:
    """What a choice of regions is worth that knows nothing: random fields as smooth as densities are.

    Uniform numbers, four times as coarse as a grid of (rows, columns), with cubic interpolation between them; drawn
    anew for every frame. Returns float32 (T, rows, columns).
    """
    rng = np.random.default_rng(seed)
    coarse = rng.random((frames, *(-(-side // 4) + 1 for side in grid)), dtype=np.float32)
    return np.stack([cv2.resize(one, grid[::-1], interpolation=cv2.INTER_CUBIC) for one in coarse])


def curvature_weights(tokens: Tensor, temperature: float = 0.7) -> NDArray[np.float64]:
    """How much of a budget each frame gets by V-CAST (2026): softmax of the curvature of the path of frame features.

    With f_t the mean token of frame t as a unit vector, the curvature is 1 - cos(f_t - f_{t-1}, f_{t+1} - f_t), and 1
    at both ends. tokens: (T, N, width). Returns float64 (T,), sum 1; shares go in proportion to it.
    """
    from torch.nn.functional import cosine_similarity, normalize

    means = normalize(tokens.double().mean(dim=1), dim=-1)
    steps = means[1:] - means[:-1]
    curvature = means.new_ones(len(means))
    curvature[1:-1] = 1 - cosine_similarity(steps[:-1], steps[1:], dim=-1)
    return (curvature / temperature).softmax(dim=0).cpu().numpy()
