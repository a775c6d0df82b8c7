"""Method `divprune`: tokens that are as different from each other as can be (DivPrune, CVPR 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, budget_tokens
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DivPrune(Strategy):
    """DivPrune: the kept set has the largest smallest distance that greedy choice finds.

    Distances are 1 - cosine. First comes the token whose nearest other is farthest, then again and again the one whose
    nearest chosen token is farthest, of equal ones the earlier (DivPrune, CVPR 2025: max-min diversity). Published for
    images; on a clip it goes over the tokens of all frames at once, or frame by frame.

    budget: share of visual tokens that enter the language model, floor(budget T N) where the code rounds. scope:
    "clip", or "frame", the same number in every frame up to one, which is faster by the number of frames.
    """

    name: ClassVar[str] = "divprune"
    budget: float = 0.1
    scope: Literal["clip", "frame"] = "clip"

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """How many tokens in all, and with scope "frame" in each; metadata is not used."""
        total = budget_tokens(layout, self.budget)
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        if total == layout.tokens_full:
            return Plan(layout, slots.sum(axis=1))
        if self.scope == "frame":
            return Plan(layout, np.diff(np.arange(layout.frames + 1) * total // layout.frames), slots=slots)
        return Plan(layout, slots.sum(axis=1), slots=slots, total=total)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Choose greedily."""
        import torch

        flat, cells = tokens.flatten(0, 1), tokens.shape[1]
        if self.scope == "clip":
            kept = spread_out(flat, plan.tokens)
        else:
            parts = zip(tokens, plan.counts, strict=True)
            kept = torch.cat([spread_out(frame, int(count)) + t * cells for t, (frame, count) in enumerate(parts)])
        return Reduced(flat[kept], kept.cpu().numpy())


def spread_out(tokens: Tensor, count: int) -> Tensor:
    """Greedy max-min choice by cosine: (n, width) -> ascending indices int64 (count,).

    Distances in float32, rounded to six decimals, or rounding noise would rank tokens that are the same. One pass over
    the tokens per choice; never the square of all pairs at once.
    """
    import torch
    from torch.nn.functional import normalize

    if count == 0:
        return torch.zeros(0, dtype=torch.int64, device=tokens.device)
    units = normalize(tokens.float(), dim=-1)
    index = torch.arange(len(units), device=units.device)
    alone = []
    for block in index.split(2048):
        similar = units[block] @ units.T
        alone.append(similar.masked_fill(block[:, None] == index, -torch.inf).amax(dim=1))
    chosen = (1 - torch.cat(alone)).round(decimals=6).argmax()[None]
    nearest = torch.full_like(units[:, 0], torch.inf)
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, (1 - units @ units[chosen[-1]]).round(decimals=6))
        nearest = nearest.index_fill(0, chosen[-1], -torch.inf)
        chosen = torch.cat((chosen, nearest.argmax()[None]))
    return chosen.sort().values
