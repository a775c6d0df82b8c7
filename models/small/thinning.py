"""Random token dropping and merging during training, so that accuracy falls gently when tokens are removed later."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from codecmeta.models.small.model import FRAME_TOKENS, PATCH_GRID


@dataclass(frozen=True)
class Thinning:
    """One random way to remove tokens, applied to a whole batch (every clip keeps the same number of tokens).

    Attributes:
        keep: share of the visual tokens that stay.
        unit: what is dropped at once: single tokens, or whole frames.
        merge: average a dropped token into the last kept one of its place (else it is lost).
        blurred: share of the 2x2 groups of patches that become their average before the vision tower.
        contiguous: number the kept tokens without gaps (else they keep their original positions).
        generator: source of the random choices.
    """

    keep: float
    unit: Literal["token", "frame"]
    merge: bool
    blurred: float
    contiguous: bool
    generator: torch.Generator

    def blur(self, patches: Tensor) -> Tensor:
        """Average random 2x2 groups of patch embeddings, (frames, 64, size)."""
        if self.blurred == 0:
            return patches
        half = PATCH_GRID // 2
        groups = patches.unflatten(1, (half, 2, half, 2))
        mean = groups.mean(dim=(2, 4), keepdim=True).expand_as(groups)
        chosen = torch.rand(len(patches), half, 1, half, 1, 1, generator=self.generator) < self.blurred
        return torch.where(chosen, mean, groups).flatten(1, 4)

    def reduce(self, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Keep some of (clips, tokens, size); returns them and their numbers, int64 (clips, kept), ascending."""
        clips, tokens, size = visual.shape
        frames = tokens // FRAME_TOKENS
        score = torch.rand(clips, frames, FRAME_TOKENS, generator=self.generator)
        if self.unit == "frame":
            score = score * 1e-3 + torch.rand(clips, frames, 1, generator=self.generator)
        if self.merge:
            score[:, 0] += 2  # the first frame's tokens have nothing earlier to be merged into
        count = max(FRAME_TOKENS + 1, round(tokens * self.keep))
        kept = score.flatten(1).topk(count, dim=1).indices.sort(dim=1).values
        if self.merge:
            visual = _merge(visual, kept, frames)
        return visual.gather(1, kept[..., None].expand(-1, -1, size)), kept


def draw_thinning(generator: torch.Generator) -> Thinning:
    """A random mixture of dropping and merging."""
    draw = torch.rand(5, generator=generator).tolist()
    return Thinning(
        keep=0.15 + 0.8 * draw[0],
        unit="frame" if draw[1] < 0.25 else "token",
        merge=draw[2] < 0.4,
        blurred=0.5 * max(0.0, 2 * draw[3] - 1),
        contiguous=draw[4] < 0.5,
        generator=generator,
    )


def _merge(visual: Tensor, kept: Tensor, frames: int) -> Tensor:
    """Every token replaced by the mean of the run of tokens that ends before the next kept one of its place."""
    clips, _, size = visual.shape
    starts = torch.zeros(visual.shape[:2], dtype=torch.long).scatter_(1, kept, 1)
    run = starts.view(clips, frames, FRAME_TOKENS).cumsum(1) - 1
    index = run[..., None].expand(-1, -1, -1, size)
    grid = visual.view(clips, frames, FRAME_TOKENS, size)
    total = torch.zeros_like(grid).scatter_add(1, index, grid)
    count = torch.zeros_like(grid).scatter_add(1, index, torch.ones_like(grid))
    return (total / count.clamp(min=1)).gather(1, index).flatten(1, 2)
