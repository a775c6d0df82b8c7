"""Method `sparsevlm`: tokens that the telling words look at, at three layers, and a few for the rest (SparseVLM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecmeta.compression.inside import Inside, three_layers
from codecmeta.compression.methods.fastv import most_attended
from codecmeta.compression.methods.holitom import cluster_means
from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Reduced
from codecmeta.compression.strategy import Strategy

LAYERS = (2, 6, 15)
"""Where the published code prunes, of 32 layers."""

SCHEDULES = {
    0.0: (0.0, 0.0, 0.0),
    64 / 576: (66 / 576, 30 / 576, 17 / 576),
    128 / 576: (303 / 576, 110 / 576, 36 / 576),
    192 / 576: (300 / 576, 200 / 576, 110 / 576),
    1.0: (1.0, 1.0, 1.0),
}
"""Tokens per layer on average -> the shares of all tokens that the three cuts leave, published for 64, 128 and 192 of
576 tokens."""


@dataclass(frozen=True, kw_only=True)
class Sparsevlm(Strategy):
    """SparseVLM: words that have to do with what is seen rate the visual tokens; the best of the others are recycled.

    Raters are those tokens of the text after the video that the visual tokens are drawn to more than to the average
    one: softmax over the text of the inner products of embeddings, averaged over the visual tokens, above its mean
    (SparseVLM, ICML 2025, arXiv 2410.04417). At the entry of layers 2, 6 and 15 of 32 the visual tokens stay that the
    raters attended to most in the layer before, on average over heads and raters. Of those that go the share `recycle`
    with most attention is clustered by density peaks into a tenth as many, and a cluster becomes its mean, at its
    centre's place. Position ids are preserved.

    How many tokens stay: the paper takes a multiple of what an attention matrix lacks in rank, whose factor is in none
    of the sources used; its published runs have fixed numbers, 300, 200 and 110 of 576 tokens for 192 per layer on
    average and others for 128 and 64, to which recycled tokens are added. Here these numbers as shares, between the
    published ones linear in the budget: the published averages come out, others about.

    Otherwise than published: a recycled token stands at its cluster's centre, where the code has them behind all
    others; ties of density go to the earlier token, where random noise breaks them; where no word is above the mean,
    all are raters.

    budget: share of visual tokens per layer, on average over all layers; all of them enter the model. layers: where it
    prunes; default in proportion. recycle: 0 drops what goes, published 0.3.
    """

    name: ClassVar[str] = "sparsevlm"
    effects: ClassVar[Effects] = dict.fromkeys(("layers", "recycle"), ("a budget below 1", lambda own: own.budget < 1))

    budget: float = 192 / 576
    layers: tuple[int, ...] | None = None
    recycle: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.recycle < 1:
            raise ValueError(f"recycle must be at least 0 and less than 1; got {self.recycle}")

    def inside(self, depth: int) -> Inside | None:
        """Rate at the first layer, prune at three."""
        if self.budget >= 1:
            return None
        return RatedPruning(depth, self.layers, shares_of(self.budget), self.recycle)


class RatedPruning(Inside):
    """At three layers keep what the raters attend to, and recycle some of the rest."""

    queries = "text"
    reads = (0,)

    def __init__(self, depth: int, layers: tuple[int, ...] | None, shares: tuple[float, ...], recycle: float) -> None:
        cuts = three_layers("SparseVLM", layers, LAYERS, 32, depth)
        self.cuts, self.watch = cuts, tuple(layer - 1 for layer in cuts)
        self.shares, self.recycle = dict(zip(cuts, shares, strict=True)), recycle
        self._full = 0

    def read(self, layer: int, visual: Tensor, text: Tensor) -> None:
        """Choose the raters."""
        self.weights = raters(visual, text).float()

    def numbers(self, layer: int, alive: int) -> tuple[int, int, int]:
        """Of so many tokens: how many stay, how many of the others are recycled, and into how many."""
        if layer == self.cuts[0]:
            self._full = alive
        stay = min(alive, max(1, int(self.shares[layer] * self._full + 1e-9)))
        lost = alive - stay
        again = min(lost, int(lost * self.recycle + 1e-9) + 1) if self.recycle else 0
        return stay, again, min(again, again // 10 + 1)

    def left(self, layer: int, alive: int) -> int:
        """Those that stay, and clusters of others."""
        stay, _, made = self.numbers(layer, alive)
        return stay + made

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Of equally attended tokens the earlier stays."""
        attention = scores[layer - 1]
        stay, again, made = self.numbers(layer, len(alive))
        kept = most_attended(attention, stay)
        states = hidden.clone()
        if made:
            lost = np.setdiff1d(np.arange(len(alive)), kept)
            best = lost[most_attended(attention[lost.tolist()], again)]
            centres, means, _ = cluster_means(hidden[best.tolist()].float(), made, made)
            states[best[centres].tolist()] = means.to(states.dtype)
            kept = np.sort(np.concatenate((kept, best[centres])))
        return kept, states[kept.tolist()]


def raters(visual: Tensor, text: Tensor) -> Tensor:
    """Which words rate: (n, width) and (text, width) -> bool (text,)."""
    drawn = torch.zeros(len(text), dtype=torch.float32, device=text.device)
    words = text.float().T
    for block in visual.split(2048):
        drawn += (block.float() @ words).softmax(dim=-1).sum(dim=0)
    chosen = drawn / len(visual) > 1 / len(text) + 1e-7
    return chosen if bool(chosen.any()) else torch.ones_like(chosen)


def shares_of(budget: float) -> tuple[float, ...]:
    """Shares that the three cuts leave for so many tokens per layer.

    >>> [round(576 * share) for share in shares_of(192 / 576)]
    [300, 200, 110]
    """
    return tuple(float(np.interp(budget, list(SCHEDULES), column)) for column in zip(*SCHEDULES.values(), strict=True))
