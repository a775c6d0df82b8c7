"""Method `uniform`: every n-th frame, or a coarser grid in every frame; the control that looks at nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.base import Context, Layout, Plan, Reduced, Strategy, budget_tokens
from codecmeta.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Uniform(Strategy):
    """Spend the budget evenly.

    budget: share of the visual tokens that may enter the language model; what comes out is the largest number of whole
    frames, or of whole cells, within it. mode: "temporal" keeps whole frames, evenly spread, both ends included;
    "spatial" keeps every frame and averages its tokens over a coarser grid (at a quarter: 2x2 tokens into one). Take
    "spatial" where short events must not be missed, "temporal" where small things must stay visible.
    """

    name: ClassVar[str] = "uniform"
    budget: float = 0.5
    mode: Literal["temporal", "spatial"] = "temporal"

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Choose the frames, or the cells; metadata is not used."""
        total = budget_tokens(layout, self.budget)
        grid = np.zeros((layout.frames, *layout.tokens), bool)
        if self.mode == "temporal":
            frames = max(1, total // layout.tokens_per_frame)
            grid[np.round(np.linspace(0, layout.frames - 1, frames)).astype(int)] = True
        else:
            cells = coarse_grid(layout.tokens, max(1, total // layout.frames))
            starts = [np.arange(count) * side // count for side, count in zip(layout.tokens, cells, strict=True)]
            grid[:, starts[0][:, None], starts[1]] = True
        slots = grid.reshape(layout.frames, -1)
        return Plan(layout, slots.sum(axis=1), slots=None if slots.all() else slots)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Pick the frames, or average the cells; an averaged token takes the slot of its cell's first token."""
        if self.mode == "temporal":
            return super().reduce(plan, tokens, context)
        from torch.nn.functional import adaptive_avg_pool2d

        assert plan.slots is not None
        cells = coarse_grid(plan.layout.tokens, int(plan.counts[0]))
        grid = tokens.transpose(1, 2).unflatten(2, plan.layout.tokens)
        pooled = adaptive_avg_pool2d(grid, cells).flatten(2).transpose(1, 2)
        return Reduced(pooled.flatten(0, 1), np.flatnonzero(plan.slots).astype(np.int64))


def coarse_grid(tokens: tuple[int, int], cells: int) -> tuple[int, int]:
    """The grid of at most `cells` cells that holds the most, then keeps the aspect best, then has more columns.

    >>> coarse_grid((14, 14), 49)
    (7, 7)
    """
    rows, columns = tokens
    grids = [(r, min(columns, cells // r)) for r in range(1, min(rows, cells) + 1)]
    return max(grids, key=lambda grid: (grid[0] * grid[1], -abs(np.log(grid[0] * columns / (grid[1] * rows))), grid[1]))
