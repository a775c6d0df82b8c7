"""Method `random`: a seeded random choice of tokens; the control that many published methods do not beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.inside import Inside, entry_layer
from codecmeta.compression.plan import Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, share_of
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RandomKeep(Strategy):
    """Keep exactly floor(budget * T * N) tokens of the clip, drawn without looking.

    budget: share of the visual tokens that are kept. layer: at the entry of which layer of the language model the
    others go; before the model by default. Compare methods that act inside it with the draw at the same layer. seed:
    another seed, another draw; results are worth averaging over several.
    """

    name: ClassVar[str] = "random"
    budget: float = 0.5
    layer: int | None = None
    seed: int = 0

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Draw the tokens; metadata is not used."""
        if self.layer is not None:
            return super().plan(layout)
        chosen = np.zeros(layout.tokens_full, bool)
        chosen[draw(layout.tokens_full, self.budget, self.seed)] = True
        slots = chosen.reshape(layout.frames, -1)
        return Plan(layout, slots.sum(axis=1), slots=None if slots.all() else slots)

    def inside(self, depth: int) -> Inside | None:
        """The draw, where it is put off."""
        if self.layer is None:
            return None
        return KeepDrawn(entry_layer("random", self.layer, depth), self.budget, self.seed)


class KeepDrawn(Inside):
    """At the entry of one layer keep tokens at random."""

    def __init__(self, layer: int, share: float, seed: int) -> None:
        self.cuts = (layer,)
        self.share, self.seed = share, seed

    def left(self, layer: int, alive: int) -> int:
        """The share."""
        return share_of(alive, self.share)

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """The same draw as before the model."""
        kept = draw(len(alive), self.share, self.seed)
        return kept, hidden[kept]


def draw(count: int, share: float, seed: int) -> NDArray[np.int64]:
    """Ascending numbers below `count`, as many as the share allows."""
    return np.sort(np.random.default_rng(seed).permutation(count)[: share_of(count, share)])
