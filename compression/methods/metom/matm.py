"""MeToM's third stage: tokens that few layers look at are merged into the most similar survivor (MATM)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.compression.inside import Inside, Queries
from codecmeta.compression.merging import FoldRule, absorb
from codecmeta.compression.plan import Reduced


class Matm(Inside):
    """One merge at the entry of layer `layer`: the `percent` % of visual tokens with the least attention, averaged over
    the watched layers, go into the survivor whose hidden state is most similar.

    Unprinted in the paper, so choices: the layer (8 of 28, in proportion to the model's depth), the layers watched
    (the four before it), the query (the last prompt token), and half of the weight for the survivor.
    """

    def __init__(
        self,
        depth: int,
        percent: float,
        layer: int | None = None,
        watch: tuple[int, ...] | None = None,
        queries: Queries = 1,
        rule: FoldRule = "half",
    ) -> None:
        at = max(1, round(depth * 8 / 28)) if layer is None else layer
        if not 1 <= at < depth:
            raise ValueError(f"MATM needs a layer between 1 and {depth - 1} of this model's {depth}; got {at}")
        self.watch = tuple(range(max(0, at - 4), at)) if watch is None else tuple(sorted(set(watch)))
        if not self.watch or not 0 <= self.watch[0] <= self.watch[-1] < at:
            raise ValueError(f"MATM at layer {at} can watch layers 0 to {at - 1}; got {self.watch}")
        self.cuts = (at,)
        self.queries = queries
        self.percent = percent
        self.rule: FoldRule = rule

    def left(self, layer: int, alive: int) -> int:
        """All but `percent` %, at least one."""
        return alive - min(int(alive * self.percent / 100 + 1e-9), alive - 1)

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Merge the least attended tokens; of equally attended ones the earlier stays."""
        mean = torch.stack([scores[watched] for watched in self.watch]).mean(dim=0).cpu().numpy()
        count = len(alive)
        removed = count - self.left(layer, count)
        order = np.lexsort((-np.arange(count), mean))
        lost, kept = np.sort(order[:removed]), np.sort(order[removed:])
        if not removed:
            return kept, hidden
        into = kept[_most_similar(hidden[torch.as_tensor(lost)], hidden[torch.as_tensor(kept)])]
        merged = absorb(hidden, hidden, np.ones(count, np.int64), lost, into, self.rule)
        return kept, merged[torch.as_tensor(kept)]


def _most_similar(tokens: Tensor, others: Tensor) -> NDArray[np.int64]:
    """int64 (n,): for each token the number of the other with the largest cosine, in float32; some at a time, so that
    no matrix of all pairs is made."""
    units = normalize(others.float(), dim=-1)
    step = max(1, tokens.shape[-1] // 2)
    parts = [(normalize(part.float(), dim=-1) @ units.T).argmax(dim=1) for part in tokens.split(step)]
    return torch.cat(parts).cpu().numpy()
