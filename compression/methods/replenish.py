"""Method `replenish`: conditional replenishment of the token grid, decided by the bitstream (this project's own)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, budget_tokens, require
from codecmeta.decisions.budget import frame_budgets, gop_weights
from codecmeta.decisions.dispersed import dispersed_order
from codecmeta.decisions.novelty import cell_novelty
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DebtPlan(Plan):
    """A plan whose places wait for the features. gains: float64 (T, tokens per frame), what each place comes to owe in
    each frame. weights: float64 (T,), what the budgets of the frames follow."""

    gains: NDArray[np.float64] | None = None
    weights: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class Replenish(Strategy):
    """Every cell of the token grid owes the model what happened there since it was last sent; large debts are paid.

    Video coders once worked this way (conditional replenishment, Mounts 1969): what has not changed need not be sent
    again, and what was not sent for long is sent all the same. From frame to frame the debt of a cell grows by its
    novelty, the root of the bits or of the residual energy that the codec spent there since the last sample, divided by
    the mean over the clip, plus `age`. Of each frame the cells with the largest debts are kept, as many as its share of
    the budget, and owe nothing again; of equal debts those come first that are far from each other. So cells that
    change are seen often, and every cell is seen at times: choosing by novelty alone spends everything on the same few
    cells. Shares go by the root of the packet sizes around each frame. Which tokens stay is known before any picture is
    decoded to features, and how many to the last one.

    budget: share of visual tokens that enter the language model, met exactly. age: what a cell owes for a frame in
    which nothing happened, in means of novelty; 0 forgets nothing and has no patience, large values go round the grid.
    signal: "bits_first" takes bits per macroblock where the codec gives them (H.264), else the residual; see
    `codecmeta.decisions.novelty`; "none" knows no novelty and needs the packet table alone. intra: whether bits of I
    pictures, which are texture, count as new. weights: "packets"; "uniform" for equal shares; or "features", by how
    much the tokens of a frame differ from those of the one before, for which the total alone is known before the
    encoder runs. gop_mode, minimum: see `codecmeta.gop_weights` and `codecmeta.frame_budgets`.

    hold: what becomes of the cells that are not sent: "mean" gives the mean of all that a cell shows until it is sent
    again half of the weight of the token that was sent last, "fold" averages dropped tokens into the most similar kept
    one of their frame (MeToM's rule), "drop" loses them. refill: merge kept tokens of neighbouring frames that are more
    alike than `tau_tem`, and spend what that frees on further cells; the count stays what it was, the places are then
    known with the features. It goes with "fold" and "drop", as a merged token stands for several frames. tau_tem:
    cosine above which tokens merge.
    """

    name: ClassVar[str] = "replenish"
    effects: ClassVar[Effects] = {
        **dict.fromkeys(("age", "intra"), ("signal other than none", lambda own: own.signal != "none")),
        "gop_mode": ("weights=packets", lambda own: own.weights == "packets"),
        "tau_tem": ("refill=true", lambda own: own.refill),
    }

    budget: float = 0.5
    age: float = 1.0
    signal: Literal["bits_first", "residual_first", "bits", "residual", "none"] = "bits_first"
    intra: bool = False
    weights: Literal["packets", "uniform", "features"] = "packets"
    gop_mode: Literal["auto", "gop", "window"] = "auto"
    minimum: int | None = None
    hold: Literal["mean", "fold", "drop"] = "mean"
    refill: bool = False
    tau_tem: float = 0.80

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.age >= 0:
            raise ValueError(f"age must be at least 0; got {self.age}")
        if self.refill and self.hold == "mean":
            raise ValueError(
                "refill=True merges tokens over time, which hold='mean' does too: set hold=fold or hold=drop"
            )

    @property
    def needs_metadata(self) -> bool:
        """Unless it knows neither novelty nor packets."""
        return self.signal != "none" or self.weights == "packets"

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Debts paid frame by frame. Raises ValueError without the metadata that it needs."""
        if self.needs_metadata:
            meta, rows = require(meta, rows, self)
        total = budget_tokens(layout, self.budget)
        if total == layout.tokens_full:
            return Plan(layout, np.full(layout.frames, layout.tokens_per_frame, np.int64))
        gains = np.full((layout.frames, layout.tokens_per_frame), self.age)
        if self.signal != "none":
            gains += cell_novelty(
                *require(meta, rows, self),
                layout.tokens,
                view=layout.view_of(layout.tokens),
                pictures=layout.pictures,
                signal=self.signal,
                intra=self.intra,
            ).reshape(gains.shape)
        weights = np.ones(layout.frames)
        if self.weights == "packets":
            weights = gop_weights(*require(meta, rows, self), self.gop_mode).reshape(layout.frames, -1).mean(axis=1)
        if (self.refill or self.weights == "features") and layout.frames > 1:
            slots = np.ones(gains.shape, bool)
            return DebtPlan(layout, slots.sum(axis=1), slots=slots, total=total, gains=gains, weights=weights)
        counts = self._budgets(weights, total, layout)
        return Plan(layout, counts, slots=pay_debts(gains, counts, layout.tokens))

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Keep the tokens that were sent, with a share of those that were not."""
        from codecmeta.compression.methods.metom.btm import fold, merge_over_time

        sent, most = plan.slots, 0
        assert sent is not None
        if isinstance(plan, DebtPlan):
            if self.weights == "features":
                plan = replace(plan, weights=feature_weights(tokens))
            sent = self._refilled(plan, tokens)
            most = int(sent.sum()) - plan.tokens
        if self.hold == "mean":
            values, into = hold_mean(tokens, sent)
            slots = np.flatnonzero(sent).astype(np.int64)
            return Reduced(values[slots], slots, into=into)
        merged = merge_over_time(tokens, sent, self.tau_tem if most else 2.0, most=most)
        values, into = fold(tokens, sent, merged, "half" if self.hold == "fold" else "drop")
        slots = np.flatnonzero(merged.home == np.arange(len(merged.home))).astype(np.int64)
        return Reduced(values[slots], slots, into=into)

    def _budgets(self, weights: NDArray[np.float64], total: int, layout: Layout) -> NDArray[np.int64]:
        return frame_budgets(weights, total, layout.tokens_per_frame, self.minimum)

    def _refilled(self, plan: DebtPlan, tokens: Tensor) -> NDArray[np.bool_]:
        """bool (T, tokens per frame): the largest choice found of which enough pairs merge to come down to the budget.

        Found by bisection, where more cells also bring more pairs; what it finds always comes down to the budget.
        """
        from codecmeta.compression.methods.metom.btm import count_merges

        layout, gains, weights = plan.layout, plan.gains, plan.weights
        assert gains is not None and weights is not None

        def choice(total: int) -> NDArray[np.bool_]:
            return pay_debts(gains, self._budgets(weights, total, layout), layout.tokens)

        enough, over = plan.tokens, min(2 * plan.tokens, layout.tokens_full) + 1  # a token enters one merge at most
        best = choice(enough)
        if not self.refill:
            return best
        while over - enough > 1:
            middle = (enough + over) // 2
            more = choice(middle)
            if count_merges(tokens, more, self.tau_tem) >= middle - plan.tokens:
                enough, best = middle, more
            else:
                over = middle
        return best


def feature_weights(tokens: Tensor) -> NDArray[np.float64]:
    """What frames bring that the one before did not show: squared mean of 1 - cosine at the same place, float64 (T,).

    The first frame counts as the one that brings most. Squares, as budgets go by the root of a weight.
    """
    from codecmeta.compression.methods.evs import dissimilarity

    change = dissimilarity(tokens).double().mean(dim=1).cpu().numpy()
    change[0] = change[1:].max() if len(change) > 1 else 1.0
    return change**2


def pay_debts(gains: NDArray[np.float64], counts: NDArray[np.int64], grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Which cells are sent: float64 (T, N), int64 (T,) -> bool (T, N).

    >>> pay_debts(np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), np.array([1, 1]), (1, 3))
    array([[ True, False, False],
           [False, False,  True]])

    In every frame all cells come to owe `gains`; the counts[t] largest debts are paid and start again from 0. Of equal
    debts the one that is earlier in `dispersed_order` is paid.
    """
    order = dispersed_order(grid)
    debt = np.zeros(gains.shape[1])
    sent = np.zeros(gains.shape, bool)
    for t, count in enumerate(counts):
        debt += gains[t]
        paid = order[np.argsort(-np.round(debt[order], 6), kind="stable")[:count]]
        sent[t, paid] = True
        debt[paid] = 0.0
    return sent


def hold_mean(tokens: Tensor, sent: NDArray[np.bool_]) -> tuple[Tensor, NDArray[np.int64]]:
    """Sent tokens averaged with the mean of what their place shows until it is sent again: (T, N, width) ->
    (T * N, width), rows of tokens that were not sent as they were; and int64 (T * N,), which of them holds each one.

    A token whose place is sent again in the next frame stays as it is; what a place shows before it is first sent is
    lost.
    """
    import torch

    frames, cells = sent.shape
    flat = tokens.flatten(0, 1)
    since = np.maximum.accumulate(np.where(sent, np.arange(frames)[:, None], -1), axis=0)  # last time each was sent
    held = np.flatnonzero(~sent & (since >= 0))
    into = np.where(since >= 0, since * cells + np.arange(cells), -1).ravel()
    if not len(held):
        return flat, into
    home = into[held]
    index = torch.as_tensor(home, device=flat.device)
    sums = torch.zeros_like(flat, dtype=torch.float32)
    sums.index_add_(0, index, flat[torch.as_tensor(held, device=flat.device)].float())
    changed, count = np.unique(home, return_counts=True)
    at = torch.as_tensor(changed, device=flat.device)
    mean = sums[at] / torch.as_tensor(count, device=flat.device)[:, None]
    values = flat.clone()
    values[at] = ((flat[at].float() + mean) / 2).to(flat.dtype)
    return values, into
