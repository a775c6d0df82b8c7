"""Method `random`: a seeded random choice of tokens; the control that many published methods do not beat."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.base import Layout, Plan, Strategy, budget_tokens
from codecmeta.metadata import Metadata


@dataclass(frozen=True, kw_only=True)
class RandomKeep(Strategy):
    """Keep exactly floor(budget * T * N) tokens of the clip, drawn without looking.

    budget: share of the visual tokens that enter the language model. seed: another seed, another draw; results are
    worth averaging over several.
    """

    name: ClassVar[str] = "random"
    budget: float = 0.5
    seed: int = 0

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Draw the tokens; metadata is not used."""
        chosen = np.zeros(layout.tokens_full, bool)
        drawn = np.random.default_rng(self.seed).permutation(layout.tokens_full)
        chosen[drawn[: budget_tokens(layout, self.budget)]] = True
        slots = chosen.reshape(layout.frames, -1)
        return Plan(layout, slots.sum(axis=1), slots=None if slots.all() else slots)
