"""Method `evs`: tokens that differ from the frame before (Efficient Video Sampling)."""

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


@dataclass(frozen=True, kw_only=True)
class Evs(Strategy):
    """EVS: keep the tokens that are least like the one at the same place in the frame before.

    Dissimilarity of token p of frame t is 1 - cos(x[t, p], x[t-1, p]), and larger than any for the first frame, which
    therefore always survives; the largest over the whole clip stay, of equal ones the earlier ("Efficient Video
    Sampling", NVIDIA 2025, in the form on embeddings that vLLM serves). How many stay is known before the encoder runs,
    in which frames is not.

    budget: share of visual tokens that enter the language model, 1 - q for a pruning rate q; never less than one frame.
    """

    name: ClassVar[str] = "evs"
    budget: float = 0.5

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """max(N, floor(budget T N)) tokens; metadata is not used."""
        total = max(budget_tokens(layout, self.budget), layout.tokens_per_frame)
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        if total == layout.tokens_full:
            return Plan(layout, slots.sum(axis=1))
        return Plan(layout, slots.sum(axis=1), slots=slots, total=total)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Keep the most dissimilar tokens, in order."""
        order = dissimilarity(tokens).flatten().argsort(descending=True, stable=True)
        kept = order[: plan.tokens].sort().values
        return Reduced(tokens.flatten(0, 1)[kept], kept.cpu().numpy())


def dissimilarity(tokens: Tensor) -> Tensor:
    """1 - cosine to the token at the same place one frame earlier, in float32: (T, N, width) -> (T, N).

    The first frame gets 255, as in the published code. Rounded to six decimals, or rounding noise would rank tokens
    that did not change at all.
    """
    import torch
    from torch.nn.functional import normalize

    units = normalize(tokens.float(), dim=-1)
    change = 1 - (units[1:] * units[:-1]).sum(dim=-1)
    change = change.round(decimals=6)
    return torch.cat((change.new_full((1, tokens.shape[1]), 255.0), change))
