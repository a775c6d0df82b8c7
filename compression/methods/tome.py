"""Method `tome`: bipartite merging inside the language model (ToMe, ICLR 2023, as papers on video use it)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.inside import Inside, entry_layer
from codecmeta.compression.methods.fastv import early_layer
from codecmeta.compression.plan import Reduced
from codecmeta.compression.strategy import Strategy, share_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Tome(Strategy):
    """ToMe on the visual tokens of all frames at once, at the entry of one layer of the language model.

    Rounds of bipartite soft matching (ToMe, ICLR 2023): tokens at even places find the most similar one at
    an odd place by the cosine of their hidden states, and as many of the best pairs as are still to go, at most half of
    all tokens, merge into the mean of the tokens they stand for. This is "ToMe" of the tables on video models, which
    merge once at layer 2, not in every block of a vision encoder, and without proportional attention.

    budget: share of visual tokens in layer `layer` and all later ones; all of them enter the model; floor(budget n),
    where the harness rounds up. layer: default 2 of 28 in proportion. scrambled: leave the tokens in the order in which
    each round leaves them, unmerged ones from most to least similar, then those at odd places, as the harness does that
    the published numbers come from: every token then sits at the position of another. Otherwise a merged token sits
    where its first member was, and order is preserved. (The harness also numbers positions anew without gaps; here
    positions of survivors are preserved either way.)
    """

    name: ClassVar[str] = "tome"
    budget: float = 0.5
    layer: int | None = None
    scrambled: bool = False

    def inside(self, depth: int) -> Inside:
        """Merge once."""
        return Bipartite(
            entry_layer("tome", early_layer(depth) if self.layer is None else self.layer, depth),
            self.budget,
            self.scrambled,
        )


class Bipartite(Inside):
    """One series of merges at the entry of one layer."""

    def __init__(self, layer: int, share: float, scrambled: bool) -> None:
        self.cuts = (layer,)
        self.share, self.scrambled = share, scrambled

    def left(self, layer: int, alive: int) -> int:
        """The share."""
        return share_of(alive, self.share)

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Merge down to the share."""
        first, merged = merge_bipartite(hidden, self.left(layer, len(alive)), self.scrambled)
        return np.sort(first), merged


def merge_bipartite(tokens: Tensor, count: int, scrambled: bool = False) -> tuple[NDArray[np.int64], Tensor]:
    """Merge tokens until `count` are left: (n, width) -> first member of each, int64 (count,), and their means.

    In ascending order of the first member, or as `Tome.scrambled` says. Similarities in float32; of equal ones the
    earlier pair merges first.
    """
    import torch

    values, sizes = tokens.float(), tokens.new_ones(len(tokens), 1, dtype=torch.float32)
    first = torch.arange(len(tokens), device=tokens.device)
    if count >= len(tokens):
        return first.cpu().numpy(), tokens
    while len(values) > count:
        best, into = _partners(values)
        order = best.argsort(descending=True, stable=True)
        merging = order[: min(len(values) - count, len(values) // 2)]
        staying = order[len(merging) :]
        target = into[merging]
        odd, odd_sizes = values[1::2] * sizes[1::2], sizes[1::2].clone()
        odd.index_add_(0, target, values[::2][merging] * sizes[::2][merging])
        odd_sizes.index_add_(0, target, sizes[::2][merging])
        odd_first = first[1::2].scatter_reduce(0, target, first[::2][merging], "amin")
        values = torch.cat((values[::2][staying], odd / odd_sizes))
        sizes = torch.cat((sizes[::2][staying], odd_sizes))
        first = torch.cat((first[::2][staying], odd_first))
        if not scrambled:
            first, places = first.sort()
            values, sizes = values[places], sizes[places]
    return first.cpu().numpy(), values.to(tokens.dtype)


def _partners(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """For every token at an even place: the largest cosine with one at an odd place, and which of these it is."""
    import torch
    from torch.nn.functional import normalize

    units = normalize(tokens, dim=-1)
    blocks = [(block @ units[1::2].T).max(dim=1) for block in units[::2].split(2048)]  # never the whole square at once
    return torch.cat([block.values for block in blocks]), torch.cat([block.indices for block in blocks])
