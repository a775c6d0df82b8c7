"""Method `fastv`: tokens that the last one looks at (FastV, ECCV 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.inside import Inside, Queries, entry_layer
from codecmeta.compression.plan import Reduced
from codecmeta.compression.strategy import Strategy, share_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FastV(Strategy):
    """FastV: at one layer of the language model keep the visual tokens with the most attention in the layer before.

    The score of a token is the attention that the last prompt token pays it in layer `layer` - 1, averaged over heads
    (FastV, ECCV 2024). Published implementations run that layer with a full attention map, which costs the
    memory that pruning saves, one of them twice, which doubles its cache; here only the rows that ask are computed
    beside whatever kernel runs the layer. Position ids are preserved, as published.

    budget: share of visual tokens in layer `layer` and all later ones; all of them enter the model, so the average over
    the layers is higher; floor(budget n), where the code rounds. layer: K, default 2 of 28 in proportion (the paper has
    2 of 32 and of 40). queries: how many of the last prompt tokens ask, or "text" for all after the video; the method
    is the one with 1.
    """

    name: ClassVar[str] = "fastv"
    budget: float = 0.5
    layer: int | None = None
    queries: int | Literal["text"] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.queries, int) and self.queries < 1:
            raise ValueError(f"queries must be at least 1, or 'text'; got {self.queries}")

    def inside(self, depth: int) -> Inside:
        """Prune once."""
        return KeepAttended("fastv", depth, self.layer, self.budget, self.queries)


class KeepAttended(Inside):
    """At the entry of one layer keep the share of tokens that got the most attention in the layer before."""

    def __init__(self, method: str, depth: int, layer: int | None, share: float, queries: Queries = 1) -> None:
        at = entry_layer(method, early_layer(depth) if layer is None else layer, depth)
        self.watch, self.cuts = (at - 1,), (at,)
        self.share = share
        self.queries = queries

    def left(self, layer: int, alive: int) -> int:
        """The share."""
        return share_of(alive, self.share)

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Of tokens with equal attention the earlier stays."""
        kept = most_attended(scores[layer - 1], self.left(layer, len(alive)))
        return kept, hidden[kept]


def early_layer(depth: int) -> int:
    """Layer 2 of 28 at another depth, at least 1: in a shallow model an absolute 2 would leave much of it unpruned.

    >>> early_layer(28), early_layer(5), early_layer(64)
    (2, 1, 5)
    """
    return max(1, round(depth * 2 / 28))


def most_attended(scores: Tensor, count: int) -> NDArray[np.int64]:
    """Ascending indices of the `count` largest scores, of equal ones the earlier: float (n,) -> int64 (count,)."""
    order = np.argsort(-scores.double().cpu().numpy(), kind="stable")
    return np.sort(order[:count])
