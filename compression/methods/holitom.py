"""Method `holitom`: windows of frames that stand still, then attention, then similarity (HoliTom, NeurIPS 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.compression.inside import Inside
from codecmeta.compression.merging import absorb, index_of
from codecmeta.compression.methods.fastv import KeepAttended, most_attended
from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, budget_tokens
from codecmeta.record.metadata import Metadata


@dataclass(frozen=True, kw_only=True)
class Holitom(Strategy):
    """HoliTom: merge what stands still over whole windows of frames, thin out the rest, and merge again in the model.

    Outer stage (HoliTom, NeurIPS 2025), before the language model. The clip is cut into windows so that averaging every
    place that stays alike through its window (neighbouring cosines above `tau`) saves most tokens. If that alone does
    not meet the budget, each window's still tokens are clustered by density peaks (DPC-KNN) and every frame keeps those
    of its moving tokens that the vision encoder's last layer attends to most. The attention is the encoder's own, over
    all its heads and queries. Inner stage: at the entry of layer 18 of 28 the tokens that the last prompt token looked
    at least in the layer before are averaged, one after the other, into the most similar kept one.

    Otherwise than published: ties in DPC-KNN go to the earlier token, where random noise breaks them, so results
    repeat; the budget is shared out over windows and frames by largest remainders, so it is met exactly; and tokens are
    in order of frame and place, where the published order has a window's still tokens first.

    budget: r, share of visual tokens that may enter the language model; still tokens alone can bring it lower, to
    nearly the same number at all larger budgets where much stands still. 1.0 switches the outer stage off, and the
    inner one still halves what enters its layer. tau: published 0.8, and 0.65 at a budget of 0.1. contextual: D, share
    of a frame's moving tokens that are chosen by clustering in place of attention, published 0. neighbours: of
    DPC-KNN. beta: weight of a cluster's centre beside the mean of its members. inner: share of visual tokens that the
    inner stage removes; 0 switches it off. inner_layer: default 18 of 28 in proportion.
    """

    name: ClassVar[str] = "holitom"
    needs_vision_attention: ClassVar[bool] = True
    effects: ClassVar[Effects] = {
        **dict.fromkeys(("tau", "contextual", "neighbours", "beta"), ("a budget below 1", lambda own: own.budget < 1)),
        "inner_layer": ("inner above 0", lambda own: own.inner),
    }

    budget: float = 0.25
    tau: float = 0.8
    contextual: float = 0.0
    neighbours: int = 7
    beta: float = 0.6
    inner: float = 0.5
    inner_layer: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, top in (("contextual", self.contextual, 1.0), ("beta", self.beta, 1.0)):
            if not 0 <= value <= top:
                raise ValueError(f"{name} must be between 0 and 1; got {value}")
        if not 0 <= self.inner < 1:
            raise ValueError(f"inner must be at least 0 and less than 1; got {self.inner}")
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1; got {self.neighbours}")

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """At most the budget; metadata is not used."""
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        if self.budget >= 1:
            return Plan(layout, slots.sum(axis=1))
        total = budget_tokens(layout, self.budget)
        return Plan(layout, slots.sum(axis=1), exact=False, slots=slots, total=total)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """The outer stage on tokens (T, N, width) and the vision encoder's attention (T, N)."""
        assert context is not None and context.attention is not None
        attention = context.attention.double().cpu().numpy()
        exact, cells = tokens.float(), tokens.shape[1]
        # frame, places, values, for how many frames they stand (0: they move)
        groups: list[tuple[int, NDArray[np.int64], Tensor, int]] = []
        for start, stop, still in windows(tokens, self.tau):
            places = np.flatnonzero(still)
            if len(places):
                groups.append((start, places, exact[start:stop, index_of(places, tokens)].mean(dim=0), stop - start))
            moving = np.flatnonzero(~still)
            groups += [(t, moving, exact[t, index_of(moving, tokens)], 0) for t in range(start, stop)]
        sizes = np.array([len(places) for _, places, _, _ in groups])
        values, slots, homes = [], [], np.full(tokens.shape[:2], -1, np.int64)
        for (t, places, states, stands), count in zip(groups, share_out(sizes, plan.tokens), strict=True):
            if stands:
                kept, merged, into = self._cluster(states, int(count))
            else:
                kept, merged, into = self._choose(states, attention[t, places], int(count))
            values.append(merged)
            slots.append(t * cells + places[kept])
            homes[t : t + max(1, stands), places] = np.where(into < 0, -1, t * cells + places[into])
        every = np.concatenate(slots)
        order = np.argsort(every)
        merged = torch.cat(values)[index_of(order, tokens)].to(tokens.dtype)
        return Reduced(merged, every[order], into=homes.ravel())

    def inside(self, depth: int) -> Inside | None:
        """The inner stage."""
        if not self.inner:
            return None
        layer = max(1, round(depth * 18 / 28)) if self.inner_layer is None else self.inner_layer
        return MergeUnattended(depth, layer, 1 - self.inner)

    def _choose(
        self, states: Tensor, attention: NDArray[np.float64], count: int
    ) -> tuple[NDArray[np.int64], Tensor, NDArray[np.int64]]:
        """Moving tokens of one frame: the most attended, and centres of clusters of the others. As `_cluster`."""
        dominant = round(count * (1 - self.contextual))
        best = most_attended(torch.as_tensor(attention), dominant)
        rest = np.setdiff1d(np.arange(len(states)), best)
        centres, merged, taken = self._cluster(states[index_of(rest, states)], count - dominant)
        kept, into = np.concatenate((best, rest[centres])), np.arange(len(states))
        into[rest] = np.where(taken < 0, -1, rest[taken])
        return kept, torch.cat((states[index_of(best, states)], merged)), into

    def _cluster(self, states: Tensor, count: int) -> tuple[NDArray[np.int64], Tensor, NDArray[np.int64]]:
        """Cluster float32 (n, width) around `count` centres: their ascending indices, beta of the centre beside the
        mean of its members, which go to the centre of highest cosine; and the index that each of the n went to, -1
        where there is no centre."""
        if count >= len(states):
            return np.arange(len(states)), states, np.arange(len(states))
        if count == 0:
            return np.arange(0), states[:0], np.full(len(states), -1, np.int64)
        centres = density_peaks(states, count, self.neighbours)
        members = np.setdiff1d(np.arange(len(states)), centres)
        units = normalize(states, dim=-1)
        into = (units[index_of(members, states)] @ units[index_of(centres, states)].T).argmax(dim=1)
        sums = torch.zeros_like(states[:count]).index_add_(0, into, states[index_of(members, states)])
        sizes = into.bincount(minlength=count)[:, None]
        own = states[index_of(centres, states)]
        mixed = self.beta * own + (1 - self.beta) * sums / sizes.clamp(min=1)
        homes = np.arange(len(states))
        homes[members] = centres[into.cpu().numpy()]
        return centres, torch.where(sizes > 0, mixed, own), homes


def windows(tokens: Tensor, tau: float) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """Cut a clip (T, N, width) into windows that save most tokens: half-open ranges of frames, and what stands still.

    A window of L frames in which n places have all their neighbouring cosines above tau saves (L - 1) n tokens. By
    dynamic programming over where windows end; of equally good cuts the one whose last window is longest, single frames
    where nothing is saved. Nothing stands still in a single frame.
    """
    units = normalize(tokens.float(), dim=-1)
    alike = ((units[1:] * units[:-1]).sum(dim=-1) > tau).cpu().numpy()
    frames, cells = tokens.shape[:2]
    run = np.zeros(cells, np.int64)  # for how many frame steps up to here each place has stood still
    best, start = [0], []
    runs = []
    for end in range(frames):
        run = np.where(alike[end - 1], run + 1, 0) if end else run
        runs.append(run)
        still = np.bincount(run, minlength=end + 1)[::-1].cumsum()[::-1][: end + 1]  # [k]: places still for k steps
        gain = np.arange(end + 1) * still
        value = np.array(best)[end - np.arange(end + 1)] + gain
        steps = 0 if value.max() == value[0] else int(np.flatnonzero(value == value.max())[-1])
        best.append(int(value[steps]))
        start.append(end - steps)
    cuts: list[tuple[int, int, NDArray[np.bool_]]] = []
    end = frames - 1
    while end >= 0:
        steps = end - start[end]
        cuts.insert(0, (start[end], end + 1, (runs[end] >= steps) if steps else np.zeros(cells, bool)))
        end = start[end] - 1
    return cuts


def share_out(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Split `total` in proportion to sizes, none above its size: floors, then largest remainders, earlier first.

    >>> share_out(np.array([4, 3, 3]), 5)
    array([2, 2, 1])
    """
    total = min(total, int(sizes.sum()))
    whole, remainder = np.divmod(sizes * total, sizes.sum())
    whole[np.argsort(-remainder, kind="stable")[: total - int(whole.sum())]] += 1
    return whole


def density_peaks(states: Tensor, count: int, neighbours: int) -> NDArray[np.int64]:
    """Centres by DPC-KNN: (n, width) -> ascending indices (count,).

    The centres are the largest `peak_scores`, the earlier first; of fewer centres than `neighbours`, so many
    neighbours.
    """
    return most_attended(peak_scores(states, min(neighbours, count)), count)


def cluster_means(states: Tensor, count: int, neighbours: int) -> tuple[NDArray[np.int64], Tensor, NDArray[np.int64]]:
    """Clusters around `density_peaks`, every token with the nearest centre: (n, width) -> ascending centres, means, and
    the number of the centre that each token went to."""
    if count >= len(states):
        return np.arange(len(states)), states, np.arange(len(states))
    centres, into = clusters(states, count, neighbours)
    sums = torch.zeros_like(states[:count]).index_add_(0, into, states)
    return centres, sums / into.bincount(minlength=count)[:, None], into.cpu().numpy()


def clusters(states: Tensor, count: int, neighbours: int) -> tuple[NDArray[np.int64], Tensor]:
    """Ascending centres, and the number of the centre that is nearest to each token, of equally near ones the first; a
    centre is its own: (n, width) -> int64 (count,), int64 (n,)."""
    centres = density_peaks(states, count, neighbours)
    own = states[index_of(centres, states)]
    into = torch.cdist(states, own, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
    into[index_of(centres, states)] = torch.arange(count, device=states.device)
    return centres, into


def peak_scores(states: Tensor, neighbours: int) -> Tensor:
    """rho * delta of DPC-KNN: (n, width) -> (n,).

    Density rho is exp(-mean squared distance, by width, to the `neighbours` nearest, itself among them); delta is the
    distance to the nearest token of higher density, of equal ones an earlier token counts as denser, and the largest of
    all distances for the densest.
    """
    distance = torch.cdist(states.float(), states.float(), compute_mode="donot_use_mm_for_euclid_dist")
    distance = distance / states.shape[1] ** 0.5
    nearest = distance.topk(min(neighbours, len(states)), largest=False).values
    density = (-(nearest**2).mean(dim=1)).exp()
    index = torch.arange(len(states), device=states.device)
    denser = (density[None] > density[:, None]) | ((density[None] == density[:, None]) & (index < index[:, None]))
    delta = distance.masked_fill(~denser, torch.inf).amin(dim=1)
    delta = torch.where(denser.any(dim=1), delta, distance.max())
    return density * delta


class MergeUnattended(KeepAttended):
    """The inner stage: what is not kept is averaged into the most similar kept token, earlier ones first."""

    def __init__(self, depth: int, layer: int, share: float) -> None:
        super().__init__("holitom's inner stage", depth, layer, share)

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """h <- (h + x) / 2 for every dropped x in turn."""
        kept, states = super().cut(layer, entered, alive, scores, hidden)
        if len(kept) == len(alive):
            return kept, hidden
        lost = np.setdiff1d(np.arange(len(alive)), kept)
        units = normalize(hidden.float(), dim=-1)
        into = (units[index_of(lost, hidden)] @ units[index_of(kept, hidden)].T).argmax(dim=1)
        sizes = np.ones(len(hidden), np.int64)
        merged = absorb(hidden, hidden, sizes, lost, kept[into.cpu().numpy()], "sequential")
        return kept, merged[index_of(kept, hidden)]
