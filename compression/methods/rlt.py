"""Method `rlt`: places whose pixels did not change are dropped (Run-Length Tokenization, NeurIPS 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.methods.metom.twins import frame_difference
from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Layout, Plan
from codecmeta.compression.strategy import Strategy, budget_tokens
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Rlt(Strategy):
    """RLT: of every run of pictures that show the same in one place only the first is kept.

    A place changes from frame t-1 to t by the mean over its pixels and channels of |first picture of frame t-1 - last
    picture of frame t|, in pixels as the model gets them; it is kept where that is more than `tau`, and throughout the
    first frame (Run-Length Tokenization, NeurIPS 2024: what a codec's skipped blocks say, read from pixels). Which
    tokens stay is known before the encoder runs.

    Published for video transformers that drop patches before their encoder and may learn how long a run was. Here the
    encoder sees whole frames, places are those of the token grid, and lengths are not told.

    tau: published 0.1. budget: keep the places of the whole clip that changed most, this share of all tokens but at
    least the first frame, in place of a threshold; of equal ones the earlier.
    """

    name: ClassVar[str] = "rlt"
    effects: ClassVar[Effects] = {"tau": ("budget left out", lambda own: own.budget is None)}
    budget: float | None = None
    tau: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tau >= 0:
            raise ValueError(f"tau must be at least 0; got {self.tau}")

    @property
    def needs_pictures(self) -> bool:
        """Differences of them are all it looks at."""
        return True

    @property
    def counts_from_content(self) -> bool:
        """What exceeds tau, unless there is a budget."""
        return self.budget is None

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Raises ValueError: there is no plan without pictures."""
        raise ValueError("rlt plans from pictures: use plan_with")

    def plan_with(
        self, pictures: Tensor, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None
    ) -> Plan:
        """Keep what changed."""
        change = frame_difference(pictures, layout.tokens, layout.pictures).reshape(layout.frames, -1)
        if self.budget is None:
            slots = change > self.tau
        else:
            total = max(budget_tokens(layout, self.budget), layout.tokens_per_frame)
            slots = np.zeros(change.shape, bool)
            slots.flat[np.argsort(-np.round(change, 6).ravel(), kind="stable")[:total]] = True
        return Plan(layout, slots.sum(axis=1), slots=None if slots.all() else slots)
