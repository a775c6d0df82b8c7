"""Method `dart`: tokens that repeat least what a few pivots show (DART, EMNLP 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.inside import Inside, entry_layer
from codecmeta.compression.methods.fastv import early_layer
from codecmeta.compression.plan import Reduced
from codecmeta.compression.strategy import Strategy, share_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Dart(Strategy):
    """DART: at one layer keep a few pivots and the tokens that are least like them; no attention is looked at.

    Pivots are the `pivots` visual tokens and the `text_pivots` tokens of the text after the video whose keys in layer
    `layer` - 1 are longest, by the sum of magnitudes over all heads ("Stop Looking for Important Tokens in Multimodal
    Language Models: Duplication Matters More", EMNLP 2025, arXiv 2502.11494). Visual pivots stay. Then every pivot in
    turn, visual ones first, keeps an equal part of what is left of the budget: of the tokens not kept so far those
    whose hidden states have the lowest cosine with its own. Position ids are preserved.

    Otherwise than published: the budget is met exactly, the first pivots have one token more where it does not divide,
    and pivots are part of it, where the code rounds the parts down and has the pivots on top; pivots have their turns
    by the length of their keys, of equal ones the earlier first, where the code takes the order of a set; keys are as
    in the cache, after their rotation. Where the share is smaller than `pivots`, so many pivots are kept.

    budget: share of visual tokens in layer `layer` and all later ones; all of them enter the model; floor(budget n).
    layer: default 2 of 28 in proportion (published from 2 to 5 of 32). pivots, text_pivots: published 4 and 4.
    """

    name: ClassVar[str] = "dart"
    budget: float = 0.25
    layer: int | None = None
    pivots: int = 4
    text_pivots: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pivots < 1 or self.text_pivots < 0:
            raise ValueError(f"pivots must be at least 1 and text_pivots 0; got {self.pivots} and {self.text_pivots}")

    def inside(self, depth: int) -> Inside:
        """Prune once."""
        layer = entry_layer("dart", early_layer(depth) if self.layer is None else self.layer, depth)
        return KeepUnlike(layer, self.budget, self.pivots, self.text_pivots)


class KeepUnlike(Inside):
    """At the entry of one layer keep pivots and what is least like them."""

    def __init__(self, layer: int, share: float, pivots: int, text_pivots: int) -> None:
        self.cuts, self.reads, self.keys = (layer,), (layer,), (layer - 1,)
        self.share, self.pivots, self.text_pivots = share, pivots, text_pivots
        self._longest: tuple[NDArray[np.int64], NDArray[np.int64]]
        self._text: Tensor

    def see_keys(self, layer: int, visual: Tensor, text: Tensor) -> None:
        """Find the pivots, longest first."""
        self._longest = longest(visual, self.pivots), longest(text, self.text_pivots)

    def read(self, layer: int, visual: Tensor, text: Tensor) -> None:
        """The states of the text's pivots."""
        self._text = text[self._longest[1].tolist()]

    def left(self, layer: int, alive: int) -> int:
        """The share."""
        return share_of(alive, self.share)

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Of tokens that are equally unlike a pivot the earlier stays."""
        kept = unlike(hidden, self._longest[0], self._text, self.left(layer, len(alive)))
        return kept, hidden[kept.tolist()]


def longest(keys: Tensor, count: int) -> NDArray[np.int64]:
    """Tokens with the longest keys, longest first, of equal ones the earlier: (heads, n, width) -> int64 (count,)."""
    lengths = keys.float().abs().sum(dim=(0, 2)).double().cpu().numpy()
    return np.argsort(-np.round(lengths, 6), kind="stable")[:count].astype(np.int64)


def unlike(states: Tensor, pivots: NDArray[np.int64], text: Tensor, count: int) -> NDArray[np.int64]:
    """Visual pivots, and for each pivot in turn the tokens least like it: (n, width) -> ascending int64 (count,).

    pivots: of the tokens, in the order of their turns. text: (m, width), states of pivots that are no visual tokens,
    whose turns come after. Cosines in float32, rounded to six decimals.
    """
    import torch
    from torch.nn.functional import normalize

    pivots = pivots[:count]
    asking = torch.cat((states[pivots.tolist()], text.to(states)))
    cosines = normalize(asking.float(), dim=-1) @ normalize(states.float(), dim=-1).T
    similar = cosines.round(decimals=6).cpu().numpy()
    kept = np.zeros(len(states), bool)
    kept[pivots] = True
    room = count - len(pivots)
    for turn, row in enumerate(similar):
        part = room // len(asking) + (turn < room % len(asking))
        free = np.flatnonzero(~kept)
        kept[free[np.argsort(row[free], kind="stable")[:part]]] = True
    return np.flatnonzero(kept).astype(np.int64)
