"""Random token dropping and merging during training, so that accuracy falls gently when tokens are removed later."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.decisions.density import merge_regions
from codecmeta.models.small.model import FRAME_TOKENS, GRID, PATCH, PATCH_GRID


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
        prefers: what makes a token stay: chance alone, or showing an object, differing from the frame before, or
            being rich in detail.
        strength: how much that counts beside chance: nothing at 0, nearly everything at 2.
        fold: a dropped token becomes half of the kept one of its frame that is most like it (else see `merge`).
        regions: share of each frame's patches, those preferred least, whose connected regions enter the vision tower
            as one token each.
        pooled: share of frames seen in groups of `cell` x `cell` tokens, averaged.
        pairs: share of the kept tokens of every other frame that are averaged into the most similar one before.
        stay: shares of the visual tokens that the decoder layers 2, 3 and 4 still see.
    """

    keep: float
    unit: Literal["token", "frame"]
    merge: bool
    blurred: float
    contiguous: bool
    generator: torch.Generator
    prefers: Literal["chance", "objects", "change", "detail"] = "chance"
    strength: float = 0.0
    fold: bool = False
    regions: float = 0.0
    pooled: float = 0.0
    cell: int = 2
    pairs: float = 0.0
    stay: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def preference(self, batch: dict[str, Tensor]) -> Tensor:
        """What makes patches stay, float32 (clips, frames, 8, 8), as ranks from 0 to 1 within a clip."""
        pixels = batch["pixels"].float().mean(dim=-1)
        clips, frames = pixels.shape[:2]
        if self.prefers == "objects":
            shown = batch["patches"][0]  # negative on outlines: half an object
            field = torch.where(shown < 0, 0.5, (shown > 0).float())
        elif self.prefers == "change":
            change = (pixels[:, 1:] - pixels[:, :-1]).abs()
            # nothing came before the first frame: all of it is new, or nothing is known about it
            first = torch.rand(clips, 1, 1, 1, generator=self.generator).round() * 255
            field = _cells(torch.cat([first.expand(-1, -1, *pixels.shape[2:]), change], dim=1))
        elif self.prefers == "detail":
            field = (_cells(pixels**2) - _cells(pixels) ** 2).clamp(min=0)
        else:
            field = torch.zeros(clips, frames, PATCH_GRID, PATCH_GRID)
        field = field + 1e-3 * torch.rand(field.shape, generator=self.generator)
        ranks = field.flatten(1).argsort(dim=1).argsort(dim=1).float() / (field[0].numel() - 1)
        return ranks.view_as(field)

    def blur(self, patches: Tensor, preference: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Average groups of patch embeddings, (frames, 64, size).

        Also returns what to add to the scores of attention, (frames, 1, 1, 64), so that the patches of a region weigh
        as one token; None without regions.
        """
        if self.blurred > 0:
            half = PATCH_GRID // 2
            groups = patches.unflatten(1, (half, 2, half, 2))
            mean = groups.mean(dim=(2, 4), keepdim=True).expand_as(groups)
            chosen = torch.rand(len(patches), half, 1, half, 1, 1, generator=self.generator) < self.blurred
            patches = torch.where(chosen, mean, groups).flatten(1, 4)
        if self.regions == 0 or preference is None:
            return patches, None
        density = preference.flatten(0, 1)
        noise = torch.rand(density.shape, generator=self.generator) / max(self.strength, 0.1)
        regions = merge_regions((density + noise).numpy().astype(np.float32), tau_mode="quantile", q=self.regions)
        token = torch.from_numpy(regions.astype(np.int64)).flatten(1)
        size = torch.zeros(token.shape).scatter_add(1, token, torch.ones(token.shape)).gather(1, token)
        index = token[..., None].expand_as(patches)
        sums = torch.zeros_like(patches).scatter_add(1, index, patches).gather(1, index)
        return sums / size[..., None].to(sums.dtype), -size.log()[:, None, None].to(patches.dtype)

    def reduce(self, visual: Tensor, preference: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keep some of (clips, tokens, size); returns them and their numbers, int64 (clips, kept), ascending."""
        clips, tokens, size = visual.shape
        frames = tokens // FRAME_TOKENS
        score = torch.rand(clips, frames, FRAME_TOKENS, generator=self.generator)
        if preference is not None:
            score = score + self.strength * _cells(preference, PATCH_GRID // GRID).flatten(2)
        if self.unit == "frame":
            score = score * 1e-3 + torch.rand(clips, frames, 1, generator=self.generator)
        if self.merge:
            score[:, 0] += 4  # the first frame's tokens have nothing earlier to be merged into
        if self.pooled > 0:
            visual = self._pool(visual, score)
        held = int(score[0].isfinite().sum())
        count = min(held, max(FRAME_TOKENS + 1, round(held * self.keep)))
        kept = score.flatten(1).topk(count, dim=1).indices.sort(dim=1).values
        if self.fold:
            visual = _fold(visual, kept, score.flatten(1).isfinite())
        elif self.merge:
            visual = _merge(visual, kept, frames)
        visual = visual.gather(1, kept[..., None].expand(-1, -1, size))
        return _pair(visual, kept, self.pairs) if self.pairs > 0 else (visual, kept)

    def leaving(self, kept: Tensor, preference: Tensor | None) -> dict[int, Tensor]:
        """Which visual tokens are no longer seen from a decoder layer on: bool (clips, kept) of layers 2, 3 and 4."""
        score = torch.rand(kept.shape, generator=self.generator)
        if preference is not None:
            cells = _cells(preference, PATCH_GRID // GRID).flatten(1)
            score = score + self.strength * cells.gather(1, kept)
        order = score.argsort(dim=1, descending=True).argsort(dim=1)
        return {
            layer: order >= round(share * kept.shape[1])
            for layer, share in zip((2, 3, 4), self.stay, strict=True)
            if share < 1
        }

    def _pool(self, visual: Tensor, score: Tensor) -> Tensor:
        """Average the cells of some frames; all but the first token of a cell leave (their `score` becomes -inf)."""
        clips, frames, _ = score.shape
        cells = GRID // self.cell
        chosen = torch.rand(clips, frames, generator=self.generator).argsort(dim=1) < round(self.pooled * frames)
        groups = visual.view(clips, frames, cells, self.cell, cells, self.cell, -1)
        mean = groups.mean(dim=(3, 5), keepdim=True).expand_as(groups)
        inner = torch.ones(cells, self.cell, cells, self.cell, dtype=torch.bool)
        inner[:, 0, :, 0] = False
        score.masked_fill_(chosen[..., None] & inner.flatten(), float("-inf"))
        return torch.where(chosen[:, :, None, None, None, None, None], mean, groups).reshape(visual.shape)


def draw_thinning(generator: torch.Generator) -> Thinning:
    """A random mixture of dropping and merging, blind to what is shown."""
    draw = torch.rand(5, generator=generator).tolist()
    return Thinning(
        keep=0.15 + 0.8 * draw[0],
        unit="frame" if draw[1] < 0.25 else "token",
        merge=draw[2] < 0.4,
        blurred=0.5 * max(0.0, 2 * draw[3] - 1),
        contiguous=draw[4] < 0.5,
        generator=generator,
    )


def draw_choosy_thinning(generator: torch.Generator) -> Thinning:
    """A random mixture that may look at what is shown, as methods do that are worth their name.

    Thinned blindly only, a model may count objects by the share of tokens that show one.
    """
    draw = torch.rand(13, generator=generator).tolist()
    preferences: tuple[Literal["chance", "objects", "change", "detail"], ...] = (
        "chance",
        "objects",
        "change",
        "detail",
    )
    stay = (1.0, 1.0, 1.0)
    if draw[0] < 0.35:
        second = 0.3 + 0.7 * draw[1]
        third = second * (0.3 + 0.7 * draw[2])
        stay = (second, third, 0.0 if draw[3] < 0.6 else third)
    return Thinning(
        keep=min(1.0, 0.08 + draw[4]),
        unit="frame" if draw[5] < 0.15 else "token",
        merge=draw[6] < 0.2,
        blurred=0.0,
        contiguous=draw[7] < 0.25,
        generator=generator,
        prefers=preferences[int(4 * draw[8])],
        strength=2 * draw[9],
        fold=draw[6] > 0.5,
        regions=0.6 * max(0.0, 1.5 * draw[10] - 0.5),
        pooled=0.9 * max(0.0, 2 * draw[11] - 1),
        cell=2 if draw[11] < 0.9 else 4,
        pairs=0.6 * max(0.0, 2 * draw[12] - 1),
        stay=stay,
    )


def _cells(pixels: Tensor, side: int = PATCH) -> Tensor:
    """Means of `side` x `side` cells: (..., height, width) -> (..., height / side, width / side)."""
    return pixels.unflatten(-1, (-1, side)).unflatten(-3, (-1, side)).mean(dim=(-3, -1))


def _merge(visual: Tensor, kept: Tensor, frames: int) -> Tensor:
    """Every token replaced by the mean of the run of tokens that ends before the next kept one of its place."""
    clips, _, size = visual.shape
    starts = torch.zeros(visual.shape[:2], dtype=torch.long).scatter_(1, kept, 1)
    run = starts.view(clips, frames, FRAME_TOKENS).cumsum(1) - 1
    index = run.clamp(min=0)[..., None].expand(-1, -1, -1, size)
    grid = visual.view(clips, frames, FRAME_TOKENS, size)
    total = torch.zeros_like(grid).scatter_add(1, index, grid)
    count = torch.zeros_like(grid).scatter_add(1, index, torch.ones_like(grid))
    return (total / count.clamp(min=1)).gather(1, index).flatten(1, 2)


def _fold(visual: Tensor, kept: Tensor, held: Tensor) -> Tensor:
    """Kept tokens become half the mean of the dropped ones of their frame that are most like them; others are lost."""
    stays = torch.zeros(visual.shape[:2], dtype=torch.bool).scatter_(1, kept, True)
    frame = torch.arange(visual.shape[1]) // FRAME_TOKENS
    units = normalize(visual.detach().float(), dim=-1)
    reachable = stays[:, None] & (frame[:, None] == frame)
    similar = (units @ units.transpose(1, 2)).masked_fill(~reachable, float("-inf"))
    best = similar.max(dim=2)
    loose = (held & ~stays & best.values.isfinite()).to(visual.dtype)
    index = best.indices[..., None].expand_as(visual)
    total = torch.zeros_like(visual).scatter_add(1, index, visual * loose[..., None])
    count = torch.zeros_like(loose).scatter_add(1, best.indices, loose)[..., None]
    return torch.where(count > 0, (visual + total / count.clamp(min=1)) / 2, visual)


def _pair(visual: Tensor, kept: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Average the most similar tokens of odd frames into the frame before: (clips, kept, size), and what is left."""
    frame = kept // FRAME_TOKENS
    units = normalize(visual.detach().float(), dim=-1)
    before = (frame[:, :, None] - frame[:, None] == 1) & (frame % 2 == 1)[:, :, None]
    best = (units @ units.transpose(1, 2)).masked_fill(~before, float("-inf")).max(dim=2)
    able = int(best.values.isfinite().sum(dim=1).min())
    count = round(share * able)
    if count == 0:
        return visual, kept
    later = best.values.topk(count, dim=1).indices
    index = best.indices.gather(1, later)[..., None].expand(-1, -1, visual.shape[-1])
    moved = visual.gather(1, later[..., None].expand(-1, -1, visual.shape[-1]))
    total = visual.scatter_add(1, index, moved)
    members = torch.ones_like(visual).scatter_add(1, index, torch.ones_like(moved))
    left = torch.ones(kept.shape, dtype=torch.bool).scatter_(1, later, False)
    rest = left.nonzero()[:, 1].view(len(kept), -1)
    merged = (total / members).gather(1, rest[..., None].expand(-1, -1, visual.shape[-1]))
    return merged, kept.gather(1, rest)
