"""Method `prunevid`: still places merge over scenes, similar ones in frames, then the question chooses (PruneVid)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.compression.inside import Inside, entry_layer
from codecmeta.compression.merging import index_of
from codecmeta.compression.methods.fastv import most_attended
from codecmeta.compression.methods.holitom import cluster_means, clusters
from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, share_of
from codecmeta.record.metadata import Metadata

NEIGHBOURS = 7
FEWEST = 14
"""Published: of DPC-KNN; and so many tokens are left as they are, where more are clustered."""


@dataclass(frozen=True, kw_only=True)
class Prunevid(Strategy):
    """PruneVid: merge over time and space before the model, let the question choose inside it, and forget the rest.

    (1) Mean tokens of frames are clustered by density peaks into `scenes` T clusters; the longest run of frames of each
    cluster is a scene (PruneVid, Findings of ACL 2025). (2) In a scene a place stands still if the cosines of all pairs
    of its frames are above `tau` on average; still places become their mean over the scene, at its first frame. In a
    scene of one frame nothing stands still. (3) The still tokens of a scene, and the moving ones of each frame, are
    clustered by density peaks into the share `cluster`, where there are more than 14, and a cluster becomes its mean at
    its centre's place. (4) In layer `layer` of the model a token is worth the largest attention that any head of any
    text token after the video pays it; from the next layer on the best `alpha` of each scene's still tokens and of each
    frame's moving ones stay, and from the cache of all layers before the others are deleted too. How many tokens come
    out of (2) is an outcome.

    Gaps in the sources used, and what is done here: frames that are in no longest run join the scene of the nearest
    frame that is, of equally near ones the earlier; ties of density go to the earlier token, where random noise breaks
    them; shares are rounded down, to at least one; tokens are in order of frame and place.

    scenes: clusters of frames per frame, published 0.25. tau, cluster, alpha: published 0.8, 0.5 and 0.4; with alpha=1
    stage 4 is left out. layer: whose attention decides, default 10 of 32 in proportion.
    """

    name: ClassVar[str] = "prunevid"
    effects: ClassVar[Effects] = {
        "scenes": ("tau below 1", lambda own: own.tau < 1),
        "layer": ("alpha below 1", lambda own: own.alpha < 1),
    }

    scenes: float = 0.25
    tau: float = 0.8
    cluster: float = 0.5
    alpha: float = 0.4
    layer: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, share in (("scenes", self.scenes), ("cluster", self.cluster), ("alpha", self.alpha)):
            if not 0 < share <= 1:
                raise ValueError(f"{name} must be more than 0 and at most 1; got {share}")

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """At most what clustering leaves where nothing stands still; metadata is not used."""
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        if self.tau >= 1 and self.cluster >= 1:
            return Plan(layout, slots.sum(axis=1))
        return Plan(layout, slots.sum(axis=1), exact=False, slots=slots)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Stages 1 to 3. `event` of what comes out numbers scenes' still tokens and frames' moving ones."""
        cells, exact = tokens.shape[1], tokens.float()
        groups: list[tuple[NDArray[np.int64], Tensor, int]] = []  # slots, values, for how many frames
        for start, stop in scene_runs(tokens, self.scenes):
            still = still_places(tokens[start:stop], self.tau)
            at = np.flatnonzero(still)
            groups.append((start * cells + at, exact[start:stop, index_of(at, tokens)].mean(dim=0), stop - start))
            at = np.flatnonzero(~still)
            groups += [(t * cells + at, exact[t, index_of(at, tokens)], 1) for t in range(start, stop)]
        slots, values, event, homes = [], [], [], np.full(tokens.shape[0] * cells, -1, np.int64)
        for number, (places, states, frames) in enumerate(groups):
            if not len(places):
                continue
            count = share_of(len(places), self.cluster) if len(places) > FEWEST else len(places)
            centres, merged, into = cluster_means(states, count, NEIGHBOURS)
            homes[np.arange(frames)[:, None] * cells + places] = places[centres[into]]
            slots.append(places[centres])
            values.append(merged)
            event.append(np.full(count, number))
        every = np.concatenate(slots).astype(np.int64)
        order = np.argsort(every)
        merged = torch.cat(values)[index_of(order, tokens)].to(tokens.dtype)
        return Reduced(merged, every[order], event=np.concatenate(event)[order].astype(np.int64), into=homes)

    def inside(self, depth: int) -> Inside | None:
        """Stage 4."""
        if self.alpha >= 1:
            return None
        layer = max(0, min(depth - 2, round(depth * 10 / 32))) if self.layer is None else self.layer
        return KeepAskedFor(entry_layer("prunevid, in the layer before,", layer + 1, depth), self.alpha)


class KeepAskedFor(Inside):
    """At the entry of one layer keep a share of every group; the cache of the layers before loses the rest."""

    queries = "text"
    combine = "max"

    def __init__(self, layer: int, share: float) -> None:
        self.cuts, self.watch, self.forget = (layer,), (layer - 1,), tuple(range(layer))
        self.share = share
        self._survivors = np.zeros(0, np.int64)

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Of tokens with equal attention the earlier stays. Where nothing merged, a frame's tokens are a group."""
        assert entered.layout is not None
        frames = entered.slots // entered.layout.tokens_per_frame
        groups = (frames if entered.event is None else entered.event)[alive]
        kept = []
        for group in np.unique(groups):
            members = np.flatnonzero(groups == group)
            attention = scores[layer - 1][index_of(members, hidden)]
            kept.append(members[most_attended(attention, share_of(len(members), self.share))])
        chosen = np.sort(np.concatenate(kept))
        self._survivors = alive[chosen]
        return chosen, hidden[index_of(chosen, hidden)]

    def remembered(self, layer: int, alive: int) -> int | None:
        """As many as survive."""
        return None

    def remember(self, layer: int, alive: NDArray[np.int64], scores: dict[int, Tensor]) -> NDArray[np.int64]:
        """The survivors."""
        return np.flatnonzero(np.isin(alive, self._survivors))


def scene_runs(tokens: Tensor, share: float) -> list[tuple[int, int]]:
    """Half-open ranges of frames, one for each cluster of mean tokens: (T, N, width) -> in order."""
    means = tokens.mean(dim=1, dtype=torch.float64)
    count = share_of(len(means), share)
    if count >= len(means):
        return [(t, t + 1) for t in range(len(means))]
    label = clusters(means.float(), count, NEIGHBOURS)[1].cpu().numpy()
    edges = np.flatnonzero(np.diff(label)) + 1
    runs = list(zip([0, *edges], [*edges, len(label)], strict=True))
    longest = [
        max((run for run in runs if label[run[0]] == one), key=lambda r: (r[1] - r[0], -r[0])) for one in set(label)
    ]
    longest.sort()
    # a frame between two of these runs joins the nearer one
    ends = [(before[1] + after[0] + 1) // 2 for before, after in zip(longest[:-1], longest[1:], strict=True)]
    return [(int(a), int(b)) for a, b in zip([0, *ends], [*ends, len(label)], strict=True)]


def still_places(frames: Tensor, tau: float) -> NDArray[np.bool_]:
    """Places whose frames have a mean cosine, over all pairs, above tau: (t, N, width) -> bool (N,)."""
    count = len(frames)
    if count < 2 or tau >= 1:
        return np.zeros(frames.shape[1], bool)
    units = normalize(frames.double(), dim=-1)
    total = (units.sum(dim=0) ** 2).sum(dim=-1) - (units**2).sum(dim=(0, 2))
    return (total / (count * (count - 1)) > tau).cpu().numpy()
