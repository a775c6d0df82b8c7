"""Method `uniform`: every n-th frame, a coarser grid, or every n-th token; the control that looks at nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.plan import Context, Layout, Plan, Reduced, cell_homes
from codecmeta.compression.strategy import Strategy, budget_tokens
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Uniform(Strategy):
    """Spend the budget evenly.

    budget: share of the visual tokens that may enter the language model. mode: "temporal" keeps whole frames, evenly
    spread, both ends included, as many as fit into the budget; "spatial" keeps every frame and averages its tokens over
    the largest coarser grid that fits; "pool" averages 2x2 tokens into one, whatever the budget, then keeps as many
    frames as fit; "tokens" keeps single tokens, the same number in every frame up to one, evenly spread and one place
    further in every frame, and alone spends the budget to the last token. Take "spatial" where short events must not
    be missed, "temporal" where small things must stay visible, "tokens" to compare methods at equal cost.
    """

    name: ClassVar[str] = "uniform"
    budget: float = 0.5
    mode: Literal["temporal", "spatial", "pool", "tokens"] = "temporal"

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Choose the frames, or the cells; metadata is not used."""
        total = budget_tokens(layout, self.budget)
        grid = np.zeros((layout.frames, *layout.tokens), bool)
        if self.mode == "tokens":
            until = np.arange(layout.frames + 1) * total // layout.frames
            for t, count in enumerate(np.diff(until)):
                places = np.arange(count) * layout.tokens_per_frame // max(1, count)
                grid.reshape(layout.frames, -1)[t, (places + t) % layout.tokens_per_frame] = True
        else:
            cells = self._cells(layout)
            frames = min(layout.frames, max(1, total // (cells[0] * cells[1])))
            starts = [np.arange(count) * side // count for side, count in zip(layout.tokens, cells, strict=True)]
            if self.mode == "pool":
                starts = [np.arange(count) * 2 for count in cells]
            shown = np.round(np.linspace(0, layout.frames - 1, frames)).astype(int)
            grid[shown[:, None, None], starts[0][:, None], starts[1]] = True
        slots = grid.reshape(layout.frames, -1)
        return Plan(layout, slots.sum(axis=1), slots=None if slots.all() else slots)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Pick what is kept, or average the cells; an averaged token takes the slot of its cell's first token."""
        if self.mode in ("temporal", "tokens"):
            return super().reduce(plan, tokens, context)
        from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

        assert plan.slots is not None
        shown = tokens[np.flatnonzero(plan.counts)]
        grid = shown.transpose(1, 2).unflatten(2, plan.layout.tokens)
        if self.mode == "pool":
            pooled = avg_pool2d(grid, 2, ceil_mode=True)  # at an odd side the last cells average what is there
        else:
            pooled = adaptive_avg_pool2d(grid, self._cells(plan.layout))
        slots = np.flatnonzero(plan.slots).astype(np.int64)
        return Reduced(pooled.flatten(2).transpose(1, 2).flatten(0, 1), slots, into=cell_homes(slots, plan.layout))

    def _cells(self, layout: Layout) -> tuple[int, int]:
        """(rows, columns) of a frame that is kept."""
        rows, columns = layout.tokens
        if self.mode == "spatial":
            return coarse_grid(layout.tokens, max(1, budget_tokens(layout, self.budget) // layout.frames))
        return (-(-rows // 2), -(-columns // 2)) if self.mode == "pool" else (rows, columns)


def coarse_grid(tokens: tuple[int, int], cells: int) -> tuple[int, int]:
    """The grid of at most `cells` cells that holds the most, then keeps the aspect best, then has more columns.

    >>> coarse_grid((14, 14), 49)
    (7, 7)
    """
    rows, columns = tokens
    grids = [(r, min(columns, cells // r)) for r in range(1, min(rows, cells) + 1)]
    return max(grids, key=lambda grid: (grid[0] * grid[1], -abs(np.log(grid[0] * columns / (grid[1] * rows))), grid[1]))
