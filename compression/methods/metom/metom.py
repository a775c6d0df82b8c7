"""Method `metom`: merge where the codec found nothing new (MeToM, CVPR 2026)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.inside import Inside
from codecmeta.compression.methods.metom.btm import choose_core, fold, merge_over_time
from codecmeta.compression.methods.metom.matm import Matm
from codecmeta.compression.methods.metom.ragged import RaggedPlan, plan_ragged, token_places
from codecmeta.compression.methods.metom.twins import curvature_weights, frame_difference, smooth_noise
from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, budget_tokens, require
from codecmeta.decisions.budget import frame_budgets, gop_weights
from codecmeta.decisions.density import merge_regions, patch_density
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DensityPlan(Plan):
    """A plan whose counts wait for the features. density: float32 (T, tokens per frame), what the core is chosen by."""

    density: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Metom(Strategy):
    """MeToM: codec metadata decides what is merged, in stages that can be switched off one by one.

    RPM (`rpm`), before the vision encoder: connected patches of low residual density enter it as one token; the
    results are scattered back to the patch grid, so the model's own pooling sees a complete grid. BTM (`btm`), between
    projector and language model: each frame gets a number of tokens by the packet sizes of its group of pictures; its
    densest tokens are kept, merged over time where alike, and absorb the others. MATM (`matm`, off by default), inside
    the language model: the tokens that the question looks at least are merged into similar survivors; it costs rows of
    attention and depends on the question. The paper prints neither tau nor tau_tem, the minimum per frame, nor MATM's
    layers and percentage; the defaults here are choices, to be calibrated per model, which for the built-in one was not
    done (its frames are so alike that tau_tem from 0.70 to 0.98 keeps 18 to 21 % of the tokens at a budget of 30). In a
    model of 5 layers MATM's "layers" are one. Residual is that of luma; the paper's has three channels. A frame without
    any information is not merged, without asking its neighbours first.

    rpm, btm, matm: switch a stage off or on.

    budget: rho, share of visual tokens that may enter the language model (BTM's M_v = rho T N). Merging over time can
    only lower it. 1.0 switches BTM off.

    tau_mode, q, share, tau, connectivity, max_region, min_keep: which patches may merge, see
    `codecmeta.merge_regions`. The defaults take the lowest fifth of each frame. window_density, robust, signal: see
    `codecmeta.patch_density`. pos: position embedding of a region, the "mean" of its patches' or that of its
    "centroid". proportional: let a region weigh in attention as much as its patches did. ragged: what leaves the
    encoder enters the language model as it is, one token per region or lone patch and no pooling, in place of being
    scattered back to the grid; BTM then chooses among these, within the same budget (of the plain model's tokens), and
    without BTM all of them enter, which may be more than the plain model's.

    gop_mode, alloc, minimum: see `codecmeta.gop_weights` and `codecmeta.frame_budgets`. ties: which of equally dense
    patches merge and tokens are kept, see `codecmeta.merge_regions` and `btm.choose_core`. tau_tem: cosine above which
    core tokens of neighbouring frames merge, 0.80 unless the model prefers another; above 1 none do, and the number of
    tokens is then known exactly beforehand. temporal_span: frames at most this far apart are compared. temporal_radius:
    only cells at most this far apart on the grid. chain: let merges link up over more than two frames. fold: how tokens
    outside the core are absorbed, see `codecmeta.compression.methods.metom.btm.fold`.

    density_source, weights, seed: twins that show what the codec adds. density_source "pixels" feeds RPM and BTM's
    choice of tokens with differences of sampled frames (`twins.frame_difference`; with tau_mode="fixed" and tau=0.1 it
    is RLT's rule) in place of residual energy, "noise" with smooth random fields drawn by `seed`
    (`twins.smooth_noise`): the control for regions, as random tokens are for tokens. weights "uniform" gives every
    frame the same budget, "shuffled" those of the packets in another order, drawn by `seed`, and "curvature" V-CAST's
    shares from features (`twins.curvature_weights`), for which only the total is known beforehand.

    percent: R, visual tokens in 100 that MATM merges away. matm_layer: at the entry of which layer, default 8 of 28 in
    proportion. matm_watch: layers whose attention counts, default the four before. matm_queries: how many of the last
    prompt tokens ask, or "text" for all after the video. matm_fold: how survivors take others in, as `fold`.
    """

    name: ClassVar[str] = "metom"
    effects: ClassVar[Effects] = {
        **dict.fromkeys(
            ("tau_mode", "connectivity", "max_region", "min_keep", "pos", "proportional"),
            ("rpm=true", lambda own: own.rpm),
        ),
        "q": ("rpm=true and tau_mode=quantile", lambda own: own.rpm and own.tau_mode == "quantile"),
        "share": ("rpm=true and tau_mode=target", lambda own: own.rpm and own.tau_mode == "target"),
        "tau": ("rpm=true and tau_mode=fixed", lambda own: own.rpm and own.tau_mode == "fixed"),
        **dict.fromkeys(
            ("budget", "alloc", "minimum", "tau_tem", "temporal_span", "temporal_radius", "chain", "fold"),
            ("btm=true", lambda own: own.btm),
        ),
        "weights": ("btm=true", lambda own: own.btm),
        "gop_mode": (
            "btm=true and weights=packets or shuffled",
            lambda own: own.btm and own.weights in ("packets", "shuffled"),
        ),
        "seed": (
            "btm=true and weights=shuffled, or density_source=noise",
            lambda own: (own.btm and own.weights == "shuffled") or own.density_source == "noise",
        ),
        **dict.fromkeys(
            ("window_density", "robust", "signal"),
            (
                "density_source=residual, and rpm or btm",
                lambda own: own.density_source == "residual" and (own.rpm or own.btm),
            ),
        ),
        **dict.fromkeys(("density_source", "ties"), ("rpm or btm", lambda own: own.rpm or own.btm)),
        **dict.fromkeys(
            ("percent", "matm_layer", "matm_watch", "matm_queries", "matm_fold"), ("matm=true", lambda own: own.matm)
        ),
    }

    budget: float = 0.5
    rpm: bool = True
    btm: bool = True
    matm: bool = False

    tau_mode: Literal["quantile", "target", "fixed"] = "quantile"
    q: float = 0.20
    share: float = 0.14
    tau: float | None = None
    connectivity: Literal[4, 8] = 4
    max_region: int | None = None
    min_keep: float = 0.25
    window_density: bool = False
    robust: bool = False
    signal: Literal["auto", "residual", "bits", "bits_first"] = "auto"
    pos: Literal["mean", "centroid"] = "mean"
    proportional: bool = False
    ragged: bool = False

    gop_mode: Literal["auto", "gop", "window"] = "auto"
    alloc: Literal["exact", "paper"] = "exact"
    minimum: int | None = None
    ties: Literal["spread", "raster"] = "spread"
    tau_tem: float | None = None
    temporal_span: int = 1
    temporal_radius: int | None = None
    chain: bool = False
    fold: Literal["half", "sequential", "size_weighted", "drop"] = "half"

    density_source: Literal["residual", "pixels", "noise"] = "residual"
    weights: Literal["packets", "uniform", "shuffled", "curvature"] = "packets"
    seed: int = 0

    percent: float = 50
    matm_layer: int | None = None
    matm_watch: tuple[int, ...] | None = None
    matm_queries: int | Literal["text"] = 1
    matm_fold: Literal["half", "sequential", "size_weighted", "drop"] = "half"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.percent < 100:
            raise ValueError(f"percent must be at least 0 and less than 100; got {self.percent}")
        if isinstance(self.matm_queries, int) and self.matm_queries < 1:
            raise ValueError(f"matm_queries must be at least 1, or 'text'; got {self.matm_queries}")
        if self.ragged and (not self.rpm or self.weights == "curvature"):
            raise ValueError(
                "ragged=True takes what RPM leaves over into the language model: it needs rpm=True, and weights that "
                "are known before the features"
            )
        if self.weights == "curvature" and self.alloc == "paper":
            raise ValueError("weights='curvature' needs alloc='exact': the printed formula does not keep to a total")

    def inside(self, depth: int) -> Inside | None:
        """MATM, where it is switched on and has anything to do."""
        if not self.matm or self.percent == 0:
            return None
        return Matm(depth, self.percent, self.matm_layer, self.matm_watch, self.matm_queries, self.matm_fold)

    @property
    def needs_patches(self) -> bool:  # type: ignore[override]
        """Features before pooling, where that is left out."""
        return self.ragged

    @property
    def needs_metadata(self) -> bool:
        """Unless both signals come from their twins."""
        density = (self.rpm or self.btm) and self.density_source == "residual"
        return density or (self.btm and self.weights in ("packets", "shuffled"))

    @property
    def needs_pictures(self) -> bool:
        """For the density of pixels."""
        return (self.rpm or self.btm) and self.density_source == "pixels"

    @property
    def counts_from_content(self) -> bool:
        """What RPM leaves over, where that enters the language model as it is."""
        return self.ragged

    @property
    def merges_patches(self) -> bool:
        """RPM does."""
        return self.rpm

    def plan_with(
        self, pictures: Tensor, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None
    ) -> Plan:
        """As `plan`, with differences of frames as density."""
        return self._plan(layout, meta, rows, lambda grid: frame_difference(pictures, grid, layout.pictures))

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Regions from residual density, tokens per frame from packet sizes: MeToM's eqs. of RPM and BTM.

        A temporal position that stands for several pictures takes the mean of their densities and weights. Raises
        ValueError without the metadata or the pictures that it needs.
        """
        if self.needs_pictures:
            raise ValueError("density_source='pixels' plans from pictures: use plan_with")
        if self.needs_metadata:
            meta, rows = require(meta, rows, self)
        if self.density_source == "noise":
            return self._plan(layout, meta, rows, lambda grid: smooth_noise(layout.frames, grid, self.seed))
        return self._plan(layout, meta, rows, lambda grid: self._density(layout, grid, *require(meta, rows, self)))

    def _plan(
        self,
        layout: Layout,
        meta: Metadata | None,
        rows: NDArray[np.int64] | None,
        density: Callable[[tuple[int, int]], NDArray[np.float32]],
    ) -> Plan:
        """density: grid (rows, columns) -> (T, rows, columns)."""
        regions = self._regions(layout, density(layout.patches)) if self.rpm else None
        exact = self._tau_tem >= 1 or layout.frames == 1
        total = budget_tokens(layout, self.budget)
        if self.ragged:
            spend = partial(self._budgets, self._weights(layout, meta, rows), total) if self.btm else None
            return plan_ragged(layout, regions, density(layout.patches), spend, self.ties, exact or not self.btm)
        full = np.full(layout.frames, layout.tokens_per_frame, np.int64)
        if not self.btm or self.budget >= 1:
            return Plan(layout, full, regions=regions)
        dense = density(layout.tokens).reshape(layout.frames, -1)
        if self.weights == "curvature":
            slots = np.ones(dense.shape, bool)
            return DensityPlan(layout, full, exact=exact, regions=regions, slots=slots, total=total, density=dense)
        counts = self._budgets(self._weights(layout, meta, rows), total, layout.tokens_per_frame)
        return Plan(layout, counts, exact=exact, regions=regions, slots=choose_core(dense, counts, self.ties))

    def _weights(self, layout: Layout, meta: Metadata | None, rows: NDArray[np.int64] | None) -> NDArray[np.float64]:
        """float64 (T,): what the budgets of the frames follow."""
        if self.weights == "uniform":
            return np.ones(layout.frames)
        weights = gop_weights(*require(meta, rows, self), self.gop_mode).reshape(layout.frames, -1).mean(axis=1)
        return np.random.default_rng(self.seed).permutation(weights) if self.weights == "shuffled" else weights

    def _budgets(self, weights: NDArray[np.float64], total: int, held: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 (T,): tokens of each frame, of those that it holds."""
        counts = frame_budgets(weights, total, held, self.minimum, rule=self.alloc)
        return np.clip(counts, 0, held)  # the printed formula knows no capacity

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """BTM: merge the core over time, fold the rest into it, keep what is left in ascending order."""
        if isinstance(plan, RaggedPlan):
            return self._reduce_ragged(plan, context)
        core = plan.slots
        if isinstance(plan, DensityPlan):
            assert plan.density is not None
            # shares go with the root of a weight, V-CAST's with the weight itself
            counts = self._budgets(curvature_weights(tokens) ** 2, plan.tokens, plan.layout.tokens_per_frame)
            core = choose_core(plan.density, counts, self.ties)
        assert core is not None
        slots, values, into = self._merge(tokens, core, plan.layout.tokens[1])
        return Reduced(values, slots, into=into)

    def _reduce_ragged(self, plan: RaggedPlan, context: Context | None) -> Reduced:
        """The same on features before pooling, where only some places of the grid hold a token."""
        assert context is not None and context.patches is not None
        if self.btm:
            places, values, into = self._merge(context.patches, plan.core, plan.layout.patches[1], plan.alive)
        else:
            places = np.flatnonzero(plan.alive).astype(np.int64)
            values, into = context.patches.flatten(0, 1)[places], np.arange(plan.alive.size)
        slots = token_places(plan.layout)[places]
        order = np.argsort(slots, kind="stable")
        return Reduced(values[order], slots[order], into=plan.token_homes(into))

    def _merge(
        self, tokens: Tensor, core: NDArray[np.bool_], columns: int, alive: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], Tensor, NDArray[np.int64]]:
        """The cells (n,) of a grid (T, cells) where tokens are left, ascending, these tokens (n, width), and the cell
        that each one of the grid went into."""
        merged = merge_over_time(
            tokens,
            core,
            self._tau_tem,
            span=self.temporal_span,
            radius=self.temporal_radius,
            columns=columns,
            chain=self.chain,
        )
        values, into = fold(tokens, core, merged, self.fold, alive)
        places = np.flatnonzero(merged.home == np.arange(len(merged.home))).astype(np.int64)
        return places, values[places], into

    @property
    def _tau_tem(self) -> float:
        """The nearest published value before a language model is 0.80 (HoliTom on LLaVA-OneVision)."""
        return 0.80 if self.tau_tem is None else self.tau_tem

    def _regions(self, layout: Layout, density: NDArray[np.float32]) -> NDArray[np.int32] | None:
        """int32 (T, rows, columns), or None where no two patches may merge."""
        regions = merge_regions(
            density,
            tau_mode=self.tau_mode,
            q=self.q,
            share=self.share,
            tau=self.tau,
            connectivity=self.connectivity,
            max_region=self.max_region,
            min_keep=self.min_keep,
            tile=layout.window,
            ties=self.ties,
        )
        tokens = regions.reshape(len(regions), -1).max(axis=1) + 1
        return None if (tokens == layout.patches_per_frame).all() else regions

    def _density(
        self, layout: Layout, grid: tuple[int, int], meta: Metadata, rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """float32 (T, rows, columns): mean density of the pictures of each temporal position."""
        if self.window_density:
            _check_between(meta, rows)
        density = patch_density(
            meta,
            rows,
            grid,
            view=layout.view_of(grid),
            window=self.window_density,
            robust=self.robust,
            signal=self.signal,
        )
        return density.reshape(layout.frames, -1, *grid).mean(axis=1)


def _check_between(meta: Metadata, rows: NDArray[np.int64]) -> None:
    """Raise ValueError where nothing is known of the frames between the samples, although there are some."""
    stored = max((len(maps.frame) for maps in (meta.residual, meta.bits) if maps is not None), default=0)
    if stored <= len(np.unique(rows)) < len(meta.frames):
        raise ValueError(
            "window_density=True averages over the frames between the samples, and this metadata holds the samples "
            "alone; extract it with frames='all' and pass it (codecmeta run --cache)"
        )
