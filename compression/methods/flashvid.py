"""Method `flashvid`: diverse attended tokens, trees over time for the others (FlashVID, ICLR 2026)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.compression.inside import Inside
from codecmeta.compression.merging import index_of
from codecmeta.compression.methods.fastv import KeepAttended
from codecmeta.compression.methods.fastvid import cut_alike
from codecmeta.compression.methods.holitom import cluster_means, share_out
from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy
from codecmeta.record.metadata import Metadata


@dataclass(frozen=True, kw_only=True)
class Flashvid(Strategy):
    """FlashVID: select, merge over time, merge in space, and prune once more inside the model.

    (1) The clip is cut where mean tokens of neighbouring frames have a cosine below `tau_s`, and at the lowest others
    until there are 8 segments (FlashVID, ICLR 2026, arXiv 2602.08024). (2) Every frame may bring B = ceil(R N f_e)
    tokens, ceil(alpha B) of them selected: max-min diversity on distances (1 - cosine) times the attention that the
    candidate received in the encoder's last layer; first the one farthest from its nearest. (3) Of the others each
    token links to its most similar one in the frame before, within the segment, if their cosine exceeds `tau_t`; linked
    tokens form trees, and a tree becomes its mean, in the place of its earliest token. Only the best links are made
    where all of them would leave less than B tokens per frame. (4) What is left of each frame is clustered by density
    peaks, and a cluster's mean stands at its centre's place. (5) At layer 20 of 28 the share `inner` of the tokens
    stays that the last prompt token attends to most in the layer before. Tokens are in order of frame and place.

    R counts the average over layers: f_e R of the tokens enter, at least by these numbers. Otherwise than published:
    attention is that received, which the code takes where an encoder has no class token; clusters per segment are
    shared out over its frames by largest remainders, so that B tokens per frame of a segment come out exactly, where
    the code rounds up in each; ties of density go to the earlier token, where random noise breaks them. The second
    version of the selection, with a term for the event, is not here.

    budget: R, share of visual tokens. expansion: f_e, how many times as many enter. alpha: share of a frame's tokens
    that are selected by diversity. tau_t: lowest cosine of a link over time. tau_s, segments: where the clip is cut.
    neighbours: of the density peaks. inner: 1 switches the last stage off. inner_layer: default 20 of 28 in proportion.
    """

    name: ClassVar[str] = "flashvid"
    needs_vision_attention: ClassVar[bool] = True
    effects: ClassVar[Effects] = {"inner_layer": ("inner below 1", lambda own: own.inner < 1)}

    budget: float = 0.25
    expansion: float = 1.25
    alpha: float = 0.7
    tau_t: float = 0.8
    tau_s: float = 0.9
    segments: int = 8
    neighbours: int = 7
    inner: float = 0.3
    inner_layer: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.expansion < 1:
            raise ValueError(f"expansion must be at least 1; got {self.expansion}")
        for name, value in (("alpha", self.alpha), ("inner", self.inner)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be more than 0 and at most 1; got {value}")
        if min(self.segments, self.neighbours) < 1:
            raise ValueError("segments and neighbours must be at least 1")

    def _per_frame(self, cells: int) -> int:
        """B."""
        return min(cells, math.ceil(cells * self.budget * self.expansion - 1e-9))

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """B tokens per frame in all; metadata is not used."""
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        count = self._per_frame(layout.tokens_per_frame)
        if count == layout.tokens_per_frame:
            return Plan(layout, slots.sum(axis=1))
        return Plan(layout, slots.sum(axis=1), slots=slots, total=layout.frames * count)

    def inside(self, depth: int) -> Inside | None:
        """The last stage."""
        if self.inner >= 1:
            return None
        layer = max(1, round(depth * 20 / 28)) if self.inner_layer is None else self.inner_layer
        return KeepAttended("flashvid's last stage", depth, layer, self.inner)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Stages 1 to 4."""
        assert context is not None and context.attention is not None
        frames, cells = tokens.shape[:2]
        count = self._per_frame(cells)
        selected = np.zeros((frames, cells), bool)
        chosen = math.ceil(self.alpha * count - 1e-9)
        for t in range(frames):
            selected[t, diverse(tokens[t], context.attention[t], chosen)] = True
        values, kept = tokens.float().flatten(0, 1).clone(), selected.ravel().copy()
        homes = np.full(frames * cells, -1, np.int64)
        for start, stop in cut_alike(tokens, self.tau_s, self.segments):
            most = (stop - start) * (count - chosen)
            every, tree, roots, means = self._trees(tokens, selected, start, stop, most)
            centre = np.full(len(roots), -1, np.int64)
            numbers = np.bincount(roots // cells - start, minlength=stop - start)
            for t, clusters in zip(range(start, stop), share_out(numbers, most), strict=True):
                own = np.flatnonzero(roots // cells == t)
                if clusters:
                    centres, merged, into = cluster_means(means[index_of(own, means)], int(clusters), self.neighbours)
                    at = roots[own[centres]]
                    values[index_of(at, values)] = merged
                    kept[at] = True
                    centre[own] = at[into]
            homes[every] = centre[tree]
        places = np.flatnonzero(kept).astype(np.int64)
        return Reduced(values[index_of(places, values)].to(tokens.dtype), places, into=homes)

    def _trees(
        self, tokens: Tensor, selected: NDArray[np.bool_], start: int, stop: int, least: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Tensor]:
        """Trees of a segment, at least so many: flat places of all their tokens and the tree of each, those of the
        roots, ascending, and the trees' means."""
        cells = tokens.shape[1]
        units = normalize(tokens[start:stop].float(), dim=-1)
        loose = [np.flatnonzero(~selected[t]) for t in range(start, stop)]
        links: list[NDArray[np.float64]] = []  # rows of (cosine, child, parent)
        for t in range(1, stop - start):
            similar = units[t][index_of(loose[t], units)] @ units[t - 1][index_of(loose[t - 1], units)].T
            if similar.numel():
                best, into = (one.cpu().numpy() for one in similar.max(dim=1))
                child, parent = (start + t) * cells + loose[t], (start + t - 1) * cells + loose[t - 1][into]
                links.append(np.stack((np.round(best, 6), child, parent), axis=1)[best > self.tau_t])
        every = np.concatenate([(start + t) * cells + one for t, one in enumerate(loose)])
        root = {int(place): int(place) for place in every}
        if links:
            made = np.concatenate(links)
            made = made[np.lexsort((made[:, 1], -made[:, 0]))][: max(0, len(every) - least)]
            for late, early in sorted((int(c), int(p)) for _, c, p in made):  # parents come before their children
                root[late] = root[early]
        home = np.array([root[int(place)] for place in every], np.int64)
        roots, number, sizes = np.unique(home, return_inverse=True, return_counts=True)
        states = tokens.flatten(0, 1)[index_of(every, tokens)].float()
        sums = states.new_zeros(len(roots), states.shape[1]).index_add_(0, index_of(number, states), states)
        return every, number.ravel(), roots, sums / index_of(sizes, states)[:, None]


def diverse(tokens: Tensor, attention: Tensor, count: int) -> NDArray[np.int64]:
    """Greedy max-min choice on (1 - cosine) times the candidate's attention: (n, width), (n,) -> ascending (count,)."""
    units = normalize(tokens.double(), dim=-1)
    weighed = ((1 - units @ units.T).cpu().numpy() * attention.double().cpu().numpy()).round(9)
    np.fill_diagonal(weighed, np.inf)
    chosen = [int(weighed.min(axis=0).argmax())] if len(weighed) > 1 else [0]
    np.fill_diagonal(weighed, -np.inf)
    nearest = np.full(len(weighed), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, weighed[chosen[-1]])
        chosen.append(int(nearest.argmax()))
    return np.sort(np.array(chosen[:count], np.int64))
