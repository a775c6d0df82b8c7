"""MeToM without pooling: the encoder's own tokens, one per merged region or lone patch, enter the language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.engine.packing import Packing
from codecmeta.compression.methods.metom.btm import choose_core
from codecmeta.compression.plan import Layout, Plan


@dataclass(frozen=True)
class RaggedPlan(Plan):
    """A plan for tokens that are not pooled. alive, core: bool (T, patches), the patches that stand for an encoder
    token, each in the middle of its region, and those of them that stay."""

    alive: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))
    core: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))

    def token_homes(self, into: NDArray[np.int64]) -> NDArray[np.int64]:
        """`Reduced.into` from int64 (T * patches,), the patch that took in each one that stands for an encoder token,
        -1 where it was lost. Of several patches in one place the first is told."""
        assert self.regions is not None
        place, cells = token_places(self.layout), self.layout.patches_per_frame
        home = np.empty(len(place), np.int64)
        for t, labels in enumerate(self.regions.reshape(len(self.regions), -1)):
            centre = np.empty(labels.max() + 1, np.int64)
            centre[labels[self.alive[t]]] = np.flatnonzero(self.alive[t]) + t * cells
            home[t * cells : (t + 1) * cells] = into[centre[labels]]
        first = np.unique(place, return_index=True)[1]
        return np.where(home[first] < 0, -1, place[home[first]])


def plan_ragged(
    layout: Layout,
    regions: NDArray[np.int32] | None,
    density: NDArray[np.float32],
    budgets: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None,
    ties: Literal["spread", "raster"],
    exact: bool,
) -> RaggedPlan:
    """Choose among the encoder's tokens by the mean density of their patches.

    regions: int32 (T, rows, columns), None where no patch is merged. density: float32 (T, rows, columns). budgets:
    tokens that each frame has, int64 (T,) -> those that it may keep; None keeps all.
    """
    if regions is None:
        everything = np.arange(layout.patches_per_frame, dtype=np.int32).reshape(layout.patches)
        regions = np.repeat(everything[None], layout.frames, axis=0)
    packing = Packing(regions)
    alive = np.zeros((layout.frames, packing.patches), bool)
    alive[np.repeat(np.arange(layout.frames), packing.counts), packing.central_patch.numpy()] = True
    counts, core = packing.counts, alive
    if budgets is not None:
        counts = budgets(packing.counts)
        core = np.zeros_like(alive)
        for t, cells in enumerate(alive):
            labels = regions[t].ravel()
            mean = np.bincount(labels, density[t].ravel()) / np.bincount(labels)
            core[t, cells] = choose_core(mean[labels[cells]].astype(np.float32)[None], counts[t : t + 1], ties)[0]
    slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
    return RaggedPlan(layout, counts, exact=exact, regions=regions, slots=slots, alive=alive, core=core)


def token_places(layout: Layout) -> NDArray[np.int64]:
    """int64 (T * patches,): the slot of the model's token grid in which each patch lies."""
    row, column = (np.arange(side) * tokens // side for side, tokens in zip(layout.patches, layout.tokens, strict=True))
    place = (row[:, None] * layout.tokens[1] + column).ravel()
    return (np.arange(layout.frames)[:, None] * layout.tokens_per_frame + place).ravel().astype(np.int64)
