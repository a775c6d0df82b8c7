"""Method `divprune`: tokens that are as far from each other as can be (DivPrune, CVPR 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, budget_tokens
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor

ROWS_AT_ONCE = 1024
"""Tokens compared with all others at once for the first choice: bounds its memory."""


@dataclass(frozen=True, kw_only=True)
class DivPrune(Strategy):
    """DivPrune: keep the tokens whose smallest distance to each other is as large as a greedy choice makes it.

    Distance is 1 - cosine, over the whole clip. The first token is the one that is farthest from its nearest neighbour,
    every further one the one that is farthest from all chosen so far (Alvar et al., "DivPrune: Diversity-based Visual
    Token Pruning for Large Multimodal Models", CVPR 2025, algorithm 1), of equal ones the earlier. Neither the question
    nor the codec is asked. The paper prunes images; a clip is taken as one set of tokens here.

    budget: share of visual tokens that enter the language model.
    """

    name: ClassVar[str] = "divprune"
    budget: float = 0.5

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """floor(budget T N) tokens; in which frames, the features decide. Metadata is not used."""
        total = budget_tokens(layout, self.budget)
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        if total == layout.tokens_full:
            return Plan(layout, slots.sum(axis=1))
        return Plan(layout, slots.sum(axis=1), slots=slots, total=total)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Keep the chosen tokens, in order."""
        flat = tokens.flatten(0, 1)
        kept = farthest(flat, plan.tokens).sort().values
        return Reduced(flat[kept], kept.cpu().numpy())


def farthest(tokens: Tensor, count: int) -> Tensor:
    """int64 (count,): tokens in the order in which they are chosen. tokens: (n, width), compared in float32.

    Distances are rounded to six decimals, or rounding noise would rank tokens that are the same.
    """
    import torch
    from torch.nn.functional import normalize

    units = normalize(tokens.float(), dim=-1)
    nearest = torch.cat(
        [
            (1 - units[start : start + ROWS_AT_ONCE] @ units.T).topk(2, dim=1, largest=False).values[:, -1]
            for start in range(0, len(units), ROWS_AT_ONCE)
        ]
    )
    chosen: list[Tensor] = []
    distance = nearest
    for number in range(count):
        chosen.append(distance.round(decimals=6).argmax())
        apart = 1 - units @ units[chosen[-1]]
        distance = apart if number == 0 else torch.minimum(distance, apart)
        distance[chosen[-1]] = -torch.inf
    return torch.stack(chosen)
