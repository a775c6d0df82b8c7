"""Method `dycoke`: every fourth frame whole, of the others what differs (DyCoke, CVPR 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.inside import Inside, entry_layer
from codecmeta.compression.methods.fastv import most_attended
from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, budget_tokens, share_of
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Dycoke(Strategy):
    """DyCoke: temporal merging before the language model, and, where asked for, eviction from the cache after it.

    Temporal merging (DyCoke, CVPR 2025, and its code) goes through windows of four frames. The first is kept whole.
    Frame 1 is compared with frame 0, frame 3 with frame 2, frame 2 with frame 0, token by token at the same place, by
    cosine, as the frames came from the encoder; of each compared frame the least similar tokens stay and the others are
    dropped. How many tokens each frame keeps is known before the encoder runs.

    The second stage (its dynamic pruning of the cache) chooses, in the published code at every step from a full cache
    that stays in memory, what new tokens may look at. Here it happens once, when the prompt is through, and the cache
    gets shorter: layers from `evict_layer` on lose the share `evict` of their visual entries, those that the last
    prompt token looked at least in the layer before.

    budget: share of visual tokens that enter the language model; 1/window at least, as whole frames are kept. window:
    frames of which one is whole, a power of two; beyond the published 4, frame 4 is compared with frame 0, and so on.
    paper_compat: what the published code does. All compared frames keep int((1 - K) N) tokens, where K is the pruning
    rate that makes up the budget in whole windows; the frame in the middle of the last window is kept whole; of an odd
    number of frames the last is lost; the tokens of a frame are ordered from least to most similar. evict: P, published
    0.7, here 0 unless asked for. evict_layer: default 3.
    """

    name: ClassVar[str] = "dycoke"
    effects: ClassVar[Effects] = {"evict_layer": ("evict above 0", lambda own: own.evict)}
    budget: float = 0.5
    window: int = 4
    paper_compat: bool = False
    evict: float = 0.0
    evict_layer: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 2 or self.window & (self.window - 1) or (self.paper_compat and self.window != 4):
            raise ValueError(f"window must be a power of two, and 4 with paper_compat; got {self.window}")
        if not 0 <= self.evict < 1:
            raise ValueError(f"evict must be at least 0 and less than 1; got {self.evict}")

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Tokens of each frame; metadata is not used. Raises ValueError where whole frames exceed the budget."""
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        counts = self._published(layout) if self.paper_compat else self._exact(layout)
        whole = (counts == layout.tokens_per_frame).all()
        return Plan(layout, counts, slots=None if whole and not self.paper_compat else slots)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Keep the least similar tokens of each compared frame."""
        similar = self.similarity(tokens)
        pieces, slots = [], []
        for t, count in enumerate(plan.counts):
            kept = similar[t].argsort(stable=True)[:count]
            places = kept.sort().values
            pieces.append(tokens[t, kept if self.paper_compat and count < len(similar[t]) else places])
            slots.append(places.cpu().numpy() + t * plan.layout.tokens_per_frame)
        import torch

        return Reduced(torch.cat(pieces), np.concatenate(slots))

    def similarity(self, tokens: Tensor) -> Tensor:
        """Cosine of every token with the one that its frame is compared by: (T, N, width) -> float32 (T, N).

        Frames that are kept whole get -1 throughout.
        """
        from torch.nn.functional import normalize

        units = normalize(tokens.float(), dim=-1)
        similar = units.new_full(units.shape[:2], -1.0)
        for t in range(len(tokens)):
            if t % self.window:
                similar[t] = (units[t] * units[t - (t & -t)]).sum(dim=-1)  # t & -t: 1 for odd frames, 2, 4 ...
        return similar

    def inside(self, depth: int) -> Inside | None:
        """The second stage, where asked for."""
        return Evict(depth, self.evict_layer, self.evict) if self.evict else None

    def _exact(self, layout: Layout) -> NDArray[np.int64]:
        """int64 (T,): the whole budget; frames that are compared differ by one token at most, the earlier have more."""
        total, frames = budget_tokens(layout, self.budget), np.arange(layout.frames)
        compared = frames % self.window > 0
        rest = total - int((~compared).sum()) * layout.tokens_per_frame
        if rest < 0:
            raise ValueError(
                f"dycoke keeps every {self.window}th frame whole, {(~compared).sum()} of {layout.frames}, which is "
                f"more than the budget {self.budget}; raise it, or set a larger window than {self.window}"
            )
        counts = np.full(layout.frames, layout.tokens_per_frame, np.int64)
        if compared.any():
            share, more = divmod(rest, int(compared.sum()))
            counts[compared] = share + (np.arange(compared.sum()) < more)
        return counts

    def _published(self, layout: Layout) -> NDArray[np.int64]:
        """int64 (T,): as the published code keeps them, whose sum is near the budget for long clips."""
        rate = 1 - (4 * self.budget - 1) / 3
        if rate > 1:
            raise ValueError(f"dycoke keeps every fourth frame whole: budget must be at least 0.25; got {self.budget}")
        if layout.frames == 1:
            raise ValueError("dycoke with paper_compat loses the last of an odd number of frames, here the only one")
        few = int((1 - rate) * layout.tokens_per_frame + 1e-9)
        counts = np.full(layout.frames, few, np.int64)
        counts[::4] = layout.tokens_per_frame
        even = layout.frames - layout.frames % 2
        counts[even:] = 0
        middle = np.arange(0, layout.frames, 4) + 2
        late = (middle - 2 >= layout.frames - 4) & (middle < even)
        counts[middle[late]] = layout.tokens_per_frame
        return counts


class Evict(Inside):
    """Once the prompt is through, deep layers lose the visual entries that the last token looked at least."""

    def __init__(self, depth: int, layer: int | None, share: float) -> None:
        at = entry_layer("dycoke's eviction", 3 if layer is None else layer, depth)
        self.watch, self.forget = (at - 1,), tuple(range(at, depth))
        self.share = share

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Nothing goes before the prompt is through."""
        raise AssertionError("there are no cuts")

    def remembered(self, layer: int, alive: int) -> int:
        """The share 1 - evict."""
        return share_of(alive, 1 - self.share)

    def remember(self, layer: int, alive: NDArray[np.int64], scores: dict[int, Tensor]) -> NDArray[np.int64]:
        """The share 1 - evict with the most attention, the same in all these layers."""
        return most_attended(scores[self.watch[0]], self.remembered(layer, len(alive)))
