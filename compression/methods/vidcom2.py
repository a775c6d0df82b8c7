"""Method `vidcom2`: tokens far from what the clip and their frame look like (VidCom2, EMNLP 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, budget_tokens
from codecmeta.decisions.budget import frame_budgets
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor

BANDWIDTHS = (1 / 8, 1 / 4, 1 / 2, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Vidcom2(Strategy):
    """VidCom2: frames that stand out get more tokens, and of each frame those stay that stand out most.

    Of each token the half of all channels that vary least over the clip is taken, as a unit vector x (VidCom2, EMNLP
    2025). How ordinary a token is: v = sum over a of exp(-|x - c|^2 / 2a) for the mean c of the clip, a from 1/8 to 2
    in powers of two, and f, the same for the mean of its frame. With u_t = -mean of v over frame t, the frame keeps the
    share min(1, R (1 + softmax((u - max u) / 0.01)_t - 1 / T)) of its tokens, those with the smallest v + f.

    The published shares are rounded frame by frame and meet the budget by chance. vLLM serves the method with an exact
    count, max(tokens of one frame, floor(R T N)), which is the default here: every frame has one token, the rest goes
    in proportion to the shares, fractions to the largest remainders, none over its capacity. (How vLLM breaks ties
    between fractions is not in the sources used; here earlier frames come first.)

    budget: R, share of visual tokens. paper_compat: the published rounding, max(1, round(share N)) per frame.
    temperature: of the softmax.
    """

    name: ClassVar[str] = "vidcom2"
    budget: float = 0.25
    paper_compat: bool = False
    temperature: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature must be more than 0; got {self.temperature}")

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """How many tokens in all; metadata is not used."""
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        total = max(budget_tokens(layout, self.budget), layout.tokens_per_frame)
        if self.budget >= 1 or (total == layout.tokens_full and not self.paper_compat):
            return Plan(layout, slots.sum(axis=1))
        if self.paper_compat:
            return Plan(layout, slots.sum(axis=1), exact=False, slots=slots)
        return Plan(layout, slots.sum(axis=1), slots=slots, total=total)

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Keep the least ordinary tokens of every frame."""
        clip, frame = ordinary(tokens)
        frames, cells = clip.shape
        unusual = -clip.mean(axis=1)
        soft = np.exp((unusual - unusual.max()) / self.temperature)
        shares = np.minimum(1.0, self.budget * (1 + soft / soft.sum() - 1 / frames))
        if self.paper_compat:
            counts = np.maximum(1, np.rint(shares * cells)).astype(np.int64)
        else:
            counts = frame_budgets(shares**2, plan.tokens, cells, 1)  # shares go by the root of a weight
        order = np.argsort(np.round(clip + frame, 6), axis=1, kind="stable")
        kept = np.concatenate([np.sort(order[t, :count]) + t * cells for t, count in enumerate(counts)])
        import torch

        return Reduced(tokens.flatten(0, 1)[torch.as_tensor(kept, device=tokens.device)], kept)


def ordinary(tokens: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How near each token is to the mean of the clip and to that of its frame: (T, N, width) -> two float64 (T, N)."""
    from torch.nn.functional import normalize

    exact = tokens.double()
    calm = exact.flatten(0, 1).var(dim=0).argsort(stable=True)[: exact.shape[-1] // 2]
    units = normalize(exact[..., calm.sort().values], dim=-1)
    means = units.mean(dim=(0, 1)), units.mean(dim=1, keepdim=True)
    distances = [((units - mean) ** 2).sum(dim=-1) for mean in means]
    clip, frame = (sum((-one / (2 * a)).exp() for a in BANDWIDTHS).cpu().numpy() for one in distances)  # type: ignore[union-attr]
    return clip, frame
