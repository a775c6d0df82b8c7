"""Method `sttm`: quadtrees in space, then the same thing in neighbouring frames (STTM, ICCV 2025)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.compression.inside import Inside, entry_layer
from codecmeta.compression.methods.fastv import early_layer
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, share_of
from codecmeta.decisions.union_find import join_pairs
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import nn

GAP = 0.20
"""tau_s - tau_t in the setting published for LLaVA-OneVision at half of the tokens (0.85, 0.65)."""


@dataclass(frozen=True, kw_only=True)
class Sttm(Strategy):
    """STTM: tokens merge over a quadtree in every frame, then with overlapping ones of the next frame.

    In space, from coarse to fine (STTM, ICCV 2025, its quadtree): a cell of the token pyramid stays one token if the
    cosines with all its children are at least tau_s, else it is split, down to single tokens. In time (its temporal
    merging), tokens of consecutive frames one of which covers the other are linked where their cosine is at least
    tau_t; all that is linked becomes its mean, at the place of its first member. How many tokens are left depends on
    the features and is not known beforehand.

    Give tau_s and tau_t (default 0.85 and 0.65, published for LLaVA-OneVision near 50 %), for a share of tokens over
    many clips as `calibrate` finds them. Or give a budget: then every clip gets a pair of its own, tau_t = tau_s - 0.2,
    the highest that bisection finds to leave at most this share of its tokens; the paper has no such thing.

    tau_s, tau_t: lowest cosine in space and in time. budget: None for thresholds. layer: at the entry of which layer of
    the language model, default 2 of 28 in proportion (0: before the model). root: pyramid levels to go down from the
    coarsest, whose shorter side is at most 2, before testing. paper_compat: where a grid has an odd side, border cells
    have fewer than four children; the published code then also compares the frame's top left token of the finer level,
    in place of each child that does not exist.
    """

    name: ClassVar[str] = "sttm"
    budget: float | None = None
    tau_s: float | None = None
    tau_t: float | None = None
    layer: int | None = None
    root: int = 1
    paper_compat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget is not None and (self.tau_s is not None or self.tau_t is not None):
            raise ValueError("sttm takes either a budget, which finds thresholds for every clip, or tau_s and tau_t")
        if self.root < 0:
            raise ValueError(f"root must be at least 0; got {self.root}")

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """What enters the model: everything, or at layer 0, at most everything or the budget."""
        plan = super().plan(layout)
        if self.layer != 0:
            return plan
        total = None if self.budget is None else share_of(layout.tokens_full, self.budget)
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        return Plan(layout, plan.counts, exact=False, slots=slots, total=total)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Merge before the model (layer 0)."""
        pyramids, taus = self._thresholds(tokens, plan.layout.tokens)
        merged, slots, into = pyramids.merge(*taus)
        return Reduced(merged, slots, into=into)

    def inside(self, depth: int) -> Inside | None:
        """Merge at a layer's entry."""
        if self.layer == 0:
            return None
        at = early_layer(depth) if self.layer is None else self.layer
        return MergeTree(self, entry_layer("sttm", at, depth))

    def merge(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, NDArray[np.int64]]:
        """(T, N, width) in raster order -> what is left (n, width), and the ascending slots (n,) that it takes."""
        pyramids, taus = self._thresholds(tokens, grid)
        return pyramids.merge(*taus)[:2]

    def _thresholds(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Pyramids, tuple[float, float]]:
        """The clip's pyramids, and the tau_s and tau_t that it is merged with. Raises ValueError where none do."""
        pyramids = Pyramids(tokens, grid, self.root, self.paper_compat)
        if self.budget is None:
            return pyramids, (0.85 if self.tau_s is None else self.tau_s, 0.65 if self.tau_t is None else self.tau_t)
        most = share_of(pyramids.full, self.budget)
        tau = _bisect(lambda tau: len(pyramids.merge(tau, tau - GAP)[1]) - most)
        left = len(pyramids.merge(tau, tau - GAP)[1])
        if left > most:
            raise ValueError(
                f"sttm cannot merge {pyramids.full} tokens into {most}: {left} are left with everything alike"
            )
        return pyramids, (tau, tau - GAP)


class MergeTree(Inside):
    """One merge over the whole clip."""

    def __init__(self, strategy: Sttm, layer: int) -> None:
        self.strategy, self.cuts = strategy, (layer,)

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """The token grid comes in whole, as nothing acts before."""
        assert entered.layout is not None
        merged, slots = self.strategy.merge(hidden.unflatten(0, (entered.layout.frames, -1)), entered.layout.tokens)
        return slots, merged if len(slots) < len(alive) else hidden


@torch.no_grad()
def calibrate(
    model: nn.Module, clips: Iterable[Mapping[str, Any]], budget: float, strategy: Sttm | None = None
) -> Sttm:
    """Thresholds that leave a share of the tokens of a set of clips, on average over the clips: bisection.

    >>> tuned = calibrate(model, [model_inputs(clip) for clip in tuning_split], budget=0.3)
    >>> with apply(model, tuned): ...                    # on other clips: near the budget, not at it

    model: a supported transformers model. clips: what its call takes, prompt included; name the split in results.
    budget: the mean share, from above: what the result leaves is at most that, and by one step of bisection less.
    strategy: other options to keep. All grids of the split are held in memory (T * N * width numbers each).

    Returns a strategy with thresholds. Raises ValueError for a share that no thresholds reach.
    """
    from codecmeta.compression.engine.session import apply

    plain = strategy or Sttm()
    pyramids: list[Pyramids] = []

    class Recorded(Sttm):
        def _thresholds(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Pyramids, tuple[float, float]]:
            pyramids.append(Pyramids(tokens, grid, self.root, self.paper_compat))
            return pyramids[-1], (1.01 + GAP, 1.01 + GAP)  # nothing merges

    recorder = Recorded(layer=plain.layer, root=plain.root, paper_compat=plain.paper_compat)
    for clip in clips:
        with apply(model, recorder):
            model(**clip)
    if not pyramids:
        raise ValueError("no clips to calibrate on")

    def over(tau: float) -> float:
        return float(np.mean([len(one.merge(tau, tau - GAP)[1]) / one.full for one in pyramids])) - budget

    tau = _bisect(over)
    if over(tau) > 0:
        raise ValueError(
            f"no thresholds leave {budget} of the tokens: with everything alike {over(tau) + budget:.3f} stay"
        )
    return replace(plain, budget=None, tau_s=tau, tau_t=tau - GAP)


def _bisect(over: Callable[[float], float], steps: int = 14) -> float:
    """A high tau at which `over(tau)` is not positive, the highest if it only grows; the lowest if there is none.

    At 1.01 + GAP nothing merges, not even what is equal; at -1 everything that may.
    """
    low, high = -1.0, 1.01 + GAP
    if over(high) <= 0:
        return high
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if over(middle) <= 0 else (low, middle)
    return low


class Pyramids:
    """The token pyramids of one clip, and how alike parents and children in them are, ready for any thresholds.

    levels: from coarse to fine, the means (T, rows, columns, width) in float32. Sides are halved and rounded up; of an
    odd side the first row or column stays by itself. worst: for each level but the last, the lowest cosine of a cell
    with its children, (T, rows, columns).
    """

    def __init__(self, tokens: Tensor, grid: tuple[int, int], root: int = 1, paper_compat: bool = False) -> None:
        self.tokens = tokens
        self.frames, self.cells = tokens.shape[:2]
        self.full = self.frames * self.cells
        self.levels = [tokens.float().unflatten(1, grid)]
        while min(self.levels[0].shape[1:3]) > 2:
            self.levels.insert(0, _halved(self.levels[0]))
        self.levels = self.levels[min(root, len(self.levels) - 1) :]
        self.worst = [
            _lowest_cosine(coarse, fine, paper_compat)
            for coarse, fine in zip(self.levels[:-1], self.levels[1:], strict=True)
        ]

    def merge(self, tau_s: float, tau_t: float) -> tuple[Tensor, NDArray[np.int64], NDArray[np.int64]]:
        """What is left, (n, width) in the tokens' dtype, the ascending slots (n,) of the top left of each, and for each
        place of the grid, (T * N,), the slot of what it became."""
        values, boxes = self._nodes(tau_s)
        component = self._link(values, boxes, tau_t)
        if len(values) == self.full and (component == np.arange(self.full)).all():
            return self.tokens.flatten(0, 1), np.arange(self.full), np.arange(self.full)
        first, member, count = np.unique(component, return_inverse=True, return_counts=True)
        index = torch.as_tensor(member.ravel(), device=values.device)
        means = values.new_zeros(len(first), values.shape[1]).index_add_(0, index, values)
        means /= torch.as_tensor(count, device=values.device)[:, None]
        into = np.empty((self.frames, *self.levels[-1].shape[1:3]), np.int64)
        corners = boxes[:, 0] * self.cells + boxes[:, 1] * into.shape[2] + boxes[:, 2]
        for (frame, top, left, bottom, right), slot in zip(boxes.tolist(), corners[component].tolist(), strict=True):
            into[frame, top:bottom, left:right] = slot
        return means.to(self.tokens.dtype), corners[first], into.ravel()

    def _nodes(self, tau_s: float) -> tuple[Tensor, NDArray[np.int64]]:
        """The cells that stay whole: means (n, width) and boxes int64 (n, 5), frame, top, left, bottom, right (past the
        end), in order of frame, top, left."""
        open_ = torch.ones(self.levels[0].shape[:3], dtype=torch.bool, device=self.tokens.device)
        values, boxes = [], []
        for number, level in enumerate(self.levels):
            whole = open_ if number == len(self.worst) else open_ & (self.worst[number] >= tau_s)
            frame, row, column = (axis.cpu().numpy() for axis in whole.nonzero(as_tuple=True))
            values.append(level[whole])
            (top, bottom), (left, right) = (
                _extent(where, side, len(self.levels) - 1 - number)
                for where, side in zip((row, column), self.levels[-1].shape[1:3], strict=True)
            )
            boxes.append(np.stack((frame, top, left, bottom, right), axis=1))
            if number < len(self.worst):
                open_ = _children(open_ & ~whole, self.levels[number + 1].shape[1:3])
        every = np.concatenate(boxes)
        order = np.lexsort((every[:, 2], every[:, 1], every[:, 0]))
        return torch.cat(values)[torch.as_tensor(order, device=self.tokens.device)], every[order]

    def _link(self, values: Tensor, boxes: NDArray[np.int64], tau_t: float) -> NDArray[np.int64]:
        """int64 (n,): the first of all nodes that each one is linked to, over any number of frames."""
        if tau_t >= 1.01:  # no cosine is
            return np.arange(len(boxes))
        units = normalize(values, dim=-1)
        starts = np.searchsorted(boxes[:, 0], np.arange(self.frames + 1))
        left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for t in range(self.frames - 1):
            here, there = (slice(*starts[i : i + 2]) for i in (t, t + 1))
            a, b = boxes[here, None, 1:], boxes[None, there, 1:]
            inside = _covers(a, b) | _covers(b, a)
            alike = (units[here] @ units[there].T >= tau_t).cpu().numpy()
            i, j = np.nonzero(inside & alike)
            left.append(starts[t] + i)
            right.append(starts[t + 1] + j)
        first = np.arange(len(boxes))
        join_pairs(first, np.concatenate(left), np.concatenate(right))
        return first


def _covers(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether box a (..., top, left, bottom, right) holds box b."""
    starts, ends = a[..., :2] <= b[..., :2], a[..., 2:] >= b[..., 2:]
    return starts[..., 0] & starts[..., 1] & ends[..., 0] & ends[..., 1]


def _parents(side: int, device: torch.device | None = None) -> Tensor:
    """int64 (side,): the coarser cell of each row or column; of an odd side the first is alone."""
    return (torch.arange(side, device=device) + side % 2) // 2


def _halved(fine: Tensor) -> Tensor:
    """Means of the children of every coarser cell: (T, rows, columns, width) -> half the sides, rounded up."""
    for axis in (1, 2):
        parent = _parents(fine.shape[axis], fine.device)
        shape = [*fine.shape]
        shape[axis] = int(parent[-1]) + 1
        count = parent.bincount().reshape([-1 if i == axis else 1 for i in range(4)])
        fine = fine.new_zeros(shape).index_add_(axis, parent, fine) / count
    return fine


def _lowest_cosine(coarse: Tensor, fine: Tensor, paper_compat: bool) -> Tensor:
    """(T, rows, columns): the lowest cosine of each coarse cell with its children."""
    rows, columns = (_parents(side, fine.device) for side in fine.shape[1:3])
    up, units = normalize(coarse, dim=-1), normalize(fine, dim=-1)
    cosine = (up[:, rows][:, :, columns] * units).sum(dim=-1)
    lowest = torch.full(coarse.shape[:3], torch.inf, device=fine.device)
    cell = (rows[:, None] * coarse.shape[2] + columns).flatten()
    lowest = lowest.flatten(1).scatter_reduce(1, cell.expand(len(fine), -1), cosine.flatten(1), "amin")
    lowest = lowest.view(coarse.shape[:3])
    if paper_compat:
        corner = (up * units[:, :1, :1]).sum(dim=-1)
        missing = torch.ones(coarse.shape[1:3], dtype=torch.bool, device=fine.device)
        missing[fine.shape[1] % 2 :, fine.shape[2] % 2 :] = False
        lowest = torch.where(missing, torch.minimum(lowest, corner), lowest)
    return lowest


def _children(cells: Tensor, grid: torch.Size) -> Tensor:
    """Mark the children of marked cells: bool (T, rows, columns) -> (T, *grid)."""
    return cells[:, _parents(grid[0], cells.device)][:, :, _parents(grid[1], cells.device)]


def _extent(index: NDArray[np.int64], side: int, levels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row or column, and the one past the last, of cells `levels` above a grid of this side."""
    ancestor = torch.arange(side)
    sides = [side]
    for _ in range(levels):
        ancestor = _parents(sides[-1])[ancestor]
        sides.append(-(-sides[-1] // 2))
    edges = np.searchsorted(ancestor.numpy(), np.arange(sides[-1] + 1))
    return edges[index], edges[index + 1]
