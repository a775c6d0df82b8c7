"""Method `codecsight`: what the codec once touched stays in view until the next I picture (CodecSight, 2026)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.methods.metom.ragged import token_places
from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Layout, Plan
from codecmeta.compression.strategy import Strategy, budget_tokens, require
from codecmeta.decisions.novelty import cell_novelty
from codecmeta.record.metadata import Metadata


@dataclass(frozen=True, kw_only=True)
class Codecsight(Strategy):
    """CodecSight's two rules: sticky dynamic patches, and groups that are kept whole.

    A patch in which the codec spent more than a threshold is dynamic, and stays dynamic until the next I picture; what
    is static need not be computed again (CodecSight, arXiv 2604.06036). A token of the language model that stands for a
    group of patches is kept whole, if one of them is dynamic, or not at all. The first sampled frame is kept whole.

    The rules are published for streams, where the I picture itself is encoded whole and every frame after it is seen.
    Here frames are sampled: an I picture since the last sample ends what was dynamic, but does not bring the whole
    frame back, or with common GoPs nothing would be saved. Thresholds are not published: the score of a patch is its
    novelty (`codecmeta.decisions.novelty`; bits or residual, vectors have no part in it), the largest since the last I
    picture, and `threshold` is in means over the clip. All this is known before the encoder runs.

    budget: the share of tokens with the highest scores, in place of a threshold, but at least the first frame; of
    equal ones the earlier. threshold: least novelty of a dynamic patch, in means over the clip. signal: bits, residual,
    or the other where one is missing.
    """

    name: ClassVar[str] = "codecsight"
    effects: ClassVar[Effects] = {"threshold": ("budget left out", lambda own: own.budget is None)}
    budget: float | None = None
    threshold: float = 1.0
    signal: Literal["bits_first", "residual_first", "bits", "residual"] = "bits_first"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.threshold >= 0:
            raise ValueError(f"threshold must be at least 0; got {self.threshold}")

    @property
    def needs_metadata(self) -> bool:
        """Always."""
        return True

    @property
    def counts_from_content(self) -> bool:
        """What exceeds the threshold, unless there is a budget."""
        return self.budget is None

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Keep groups with a dynamic patch. Raises ValueError without metadata."""
        meta, rows = require(meta, rows, self)
        novelty = cell_novelty(
            meta, rows, layout.patches, view=layout.view, pictures=layout.pictures, signal=self.signal, intra=False
        )
        score = group_scores(sticky(novelty, refreshed(meta, rows[layout.pictures - 1 :: layout.pictures])), layout)
        if self.budget is None:
            slots = score > self.threshold
        else:
            total = max(budget_tokens(layout, self.budget), layout.tokens_per_frame)
            slots = np.zeros(score.shape, bool)
            slots.flat[np.argsort(-score.ravel(), kind="stable")[:total]] = True
        return Plan(layout, slots.sum(axis=1), slots=None if slots.all() else slots)


def refreshed(meta: Metadata, last: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool (T,): whether a picture of type I came after the sample before, up to this one. last: int64 (T,), rows."""
    until = np.concatenate(([0], np.cumsum(meta.frames.picture_type == ord("I"))))
    return np.concatenate(([True], until[last[1:] + 1] > until[last[:-1] + 1]))


def sticky(novelty: NDArray[np.float64], fresh: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The largest novelty since the last fresh frame, that one included: (T, ...) and bool (T,) -> (T, ...)."""
    held = novelty.copy()
    for t in range(1, len(held)):
        if not fresh[t]:
            held[t] = np.maximum(held[t], held[t - 1])
    return held


def group_scores(patches: NDArray[np.float64], layout: Layout) -> NDArray[np.float64]:
    """The largest score of each token's patches, infinite in the first frame: (T, rows, columns) -> (T, tokens)."""
    score = np.full(layout.tokens_full, -np.inf)
    np.maximum.at(score, token_places(layout), patches.ravel())
    by_frame = score.reshape(layout.frames, -1)
    by_frame[0] = np.inf
    return by_frame
