"""Method `visionzip`: what the encoder looks at, and a few tokens for all else (VisionZip, CVPR 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.compression.methods.fastv import most_attended
from codecmeta.compression.methods.holitom import share_out
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, budget_tokens
from codecmeta.record.metadata import Metadata


@dataclass(frozen=True, kw_only=True)
class Visionzip(Strategy):
    """VisionZip: dominant tokens by the vision encoder's attention, contextual ones for the rest, frame by frame.

    Dominant tokens are those that received most attention in the encoder's last layer, over its heads and queries, as
    in ports to encoders without a class token (VisionZip, CVPR 2025, takes the attention of the class token). Of the
    others every step-th is a contextual token, step = max(1, rest // contextual); what is left is assigned to the most
    similar of these, and the mean of what is assigned is added to it. With contextual=0 this is FasterVLM (2024): the
    most attended tokens alone.

    Otherwise than published: similarity is that of projected features, where the code compares keys of the encoder,
    which a projector that pools has no counterpart of; and the sum of a target and a mean is passed on as it is, as in
    the code, twice as long as other tokens.

    budget: share of visual tokens that enter the language model, met exactly; frames differ by one token at most.
    contextual: share of a frame's tokens that are contextual, published 10 of 64.
    """

    name: ClassVar[str] = "visionzip"
    needs_vision_attention: ClassVar[bool] = True

    budget: float = 0.25
    contextual: float = 10 / 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.contextual <= 1:
            raise ValueError(f"contextual must be between 0 and 1; got {self.contextual}")

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Tokens of each frame; metadata is not used."""
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        counts = share_out(slots.sum(axis=1), budget_tokens(layout, self.budget))
        return Plan(layout, counts, slots=None if (counts == layout.tokens_per_frame).all() else slots)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Dominant and contextual tokens of every frame, in raster order."""
        assert context is not None and context.attention is not None
        cells = tokens.shape[1]
        values, slots, homes = [], [], np.full(tokens.shape[:2], -1, np.int64)
        for t, count in enumerate(plan.counts):
            kept, states, others, into = self._frame(tokens[t].float(), context.attention[t], int(count))
            values.append(states)
            slots.append(kept + t * cells)
            homes[t, others] = into + t * cells
        return Reduced(torch.cat(values).to(tokens.dtype), np.concatenate(slots), into=homes.ravel())

    def _frame(
        self, states: Tensor, attention: Tensor, count: int
    ) -> tuple[NDArray[np.int64], Tensor, NDArray[np.int64], NDArray[np.int64]]:
        """What is kept of a frame and its values; the tokens that are taken in, and by which."""
        few = round(count * self.contextual)
        dominant = most_attended(attention, count - few)
        rest = np.setdiff1d(np.arange(len(states)), dominant)
        targets = rest[:: max(1, len(rest) // few)][:few] if few else rest[:0]
        others = np.setdiff1d(rest, targets)
        states, takers = states.clone(), others[:0]
        if few and len(others):
            at = torch.as_tensor(targets, device=states.device)
            loose = states[torch.as_tensor(others, device=states.device)]
            into = (normalize(loose, dim=-1) @ normalize(states[at], dim=-1).T).argmax(dim=1)
            sums = torch.zeros_like(states[at]).index_add_(0, into, loose)
            states[at] += sums / into.bincount(minlength=few).clamp(min=1)[:, None]
            takers = targets[into.cpu().numpy()]
        kept = np.sort(np.concatenate((dominant, targets)))
        return kept, states[torch.as_tensor(kept, device=states.device)], others[: len(takers)], takers
