"""Method `scissor`: connected components of alike tokens, in frames and then over all of them (LLaVA-Scissor, 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, share_of
from codecmeta.decisions.union_find import join_pairs
from codecmeta.record.metadata import Metadata


@dataclass(frozen=True, kw_only=True)
class Scissor(Strategy):
    """LLaVA-Scissor: one token for everything that hangs together by similarity.

    Tokens of a frame whose cosine exceeds `tau` are linked, and every connected component becomes its mean
    (LLaVA-Scissor, 2025: semantic connected components). The means of all frames are linked and averaged in the same
    way. In the end every token of the clip goes to the most similar of what is left, which becomes (c + sum of its
    tokens) / (their number + 1).

    Otherwise than published: components are exact, where the code samples nodes of large graphs and so differs from run
    to run; a component stands where its first member was, in order of frame and place, where the code orders by degree.
    The published results are those of a model that was trained for it.

    tau: published 0.9. budget: share of visual tokens that may enter the language model; for every clip the largest tau
    that bisection finds to leave at most so many. The paper has no such thing.
    """

    name: ClassVar[str] = "scissor"
    effects: ClassVar[Effects] = {"tau": ("budget left out", lambda own: own.budget is None)}
    budget: float | None = None
    tau: float = 0.9

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """At most the budget, or everything; metadata is not used."""
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        if self.budget == 1:
            return Plan(layout, slots.sum(axis=1))
        total = None if self.budget is None else share_of(layout.tokens_full, self.budget)
        return Plan(layout, slots.sum(axis=1), exact=False, slots=slots, total=total)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Link twice, then assign."""
        exact = tokens.float()
        if plan.total is None:
            first, means = link(exact, self.tau)
        else:
            low, high = -1.01, 1.0  # at -1.01 everything hangs together, and one token is always within the budget
            first, means = link(exact, low)
            for _ in range(14):
                middle = (low + high) / 2
                tried = link(exact, middle)
                if len(tried[0]) <= plan.tokens:
                    low, (first, means) = middle, tried
                else:
                    high = middle
        flat = exact.flatten(0, 1)
        units = normalize(means, dim=-1)
        into = torch.cat([(normalize(block, dim=-1) @ units.T).argmax(dim=1) for block in flat.split(2048)])
        sums = means.index_add(0, into, flat)
        values = sums / (into.bincount(minlength=len(means)) + 1)[:, None]
        return Reduced(values.to(tokens.dtype), first, into=first[into.cpu().numpy()])


def link(tokens: Tensor, tau: float) -> tuple[NDArray[np.int64], Tensor]:
    """Components in each frame, then among their means: float32 (T, N, width) -> slots of the first members, ascending
    int64 (n,), and means (n, width)."""
    cells = tokens.shape[1]
    parts = [_means(frame, tau) for frame in tokens]
    slots = np.concatenate([t * cells + first for t, (first, _) in enumerate(parts)])
    first, means = _means(torch.cat([means for _, means in parts]), tau)
    return slots[first], means


def _means(tokens: Tensor, tau: float) -> tuple[NDArray[np.int64], Tensor]:
    """First member and mean of each component, in order of the first."""
    units = normalize(tokens, dim=-1)
    left, right = [], []
    for start in range(0, len(units), 2048):
        alike = (units[start : start + 2048] @ units.T > tau).cpu().numpy()
        i, j = np.nonzero(alike)
        left.append((i + start)[i + start < j])
        right.append(j[i + start < j])
    home = np.arange(len(tokens))
    join_pairs(home, np.concatenate(left), np.concatenate(right))
    first, number, sizes = np.unique(home, return_inverse=True, return_counts=True)
    sums = torch.zeros_like(tokens[: len(first)])
    sums.index_add_(0, torch.as_tensor(number.ravel(), device=tokens.device), tokens)
    return first.astype(np.int64), sums / torch.as_tensor(sizes, device=tokens.device)[:, None]
