"""What a strategy is: a small frozen dataclass that plans from metadata alone, then reduces tensors by its plan.

A plan is made of arrays and is known before any feature exists; the tensor side only carries it out. A new method is
one file with one dataclass, and one row in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.options import check_literals
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor

    from codecmeta.compression.engine.inside import Inside


@dataclass(frozen=True)
class Layout:
    """What a plan must know of a model: how one video becomes a grid of tokens.

    frames: temporal positions T of the token grid. patches: (rows, columns) of one frame in the vision encoder.
    tokens: (rows, columns) of one frame in the language model. view: rectangle (x0, y0, x1, y1) of displayed pixels
    that both grids cover, None where no metadata is at hand. pictures: sampled pictures per temporal position (2 where
    a model encodes pairs). unit: encoder tokens that make up one cell of `patches` (4 where a model joins 2x2 patches
    after encoding, which must stay together). newline: whether the model has a separator token of its own. depth:
    layers of the language model. window: side, in cells of `patches`, of the squares inside which the vision encoder
    attends, None where it attends over whole frames; merged regions must not leave them.
    """

    frames: int
    patches: tuple[int, int]
    tokens: tuple[int, int]
    view: tuple[float, float, float, float] | None = None
    pictures: int = 1
    unit: int = 1
    newline: bool = False
    depth: int = 0
    window: int | None = None

    @property
    def patches_per_frame(self) -> int:
        """Cells of one frame in the vision encoder."""
        return self.patches[0] * self.patches[1]

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of one frame in the language model (N in MeToM)."""
        return self.tokens[0] * self.tokens[1]

    @property
    def tokens_full(self) -> int:
        """Tokens of the whole clip in the language model, separators not counted."""
        return self.frames * self.tokens_per_frame


@dataclass(frozen=True)
class Plan:
    """What will happen to one clip, decided before any feature exists.

    counts: int64 (T,), tokens that each frame brings to the language model. exact: whether this is what will come out,
    or what can come out at most (temporal merging depends on the features). total: tokens of the clip, where only
    their sum is known beforehand; `counts` is then what each frame can bring at most. regions: int32 (T, rows,
    columns), which encoder token stands for each patch, numbered 0.. within a frame; None leaves the encoder alone.
    slots: bool (T, tokens per frame), the places of the token grid that stay occupied; None leaves the tokens alone.
    """

    layout: Layout
    counts: NDArray[np.int64]
    exact: bool = True
    regions: NDArray[np.int32] | None = None
    slots: NDArray[np.bool_] | None = None
    total: int | None = None

    @property
    def tokens(self) -> int:
        """Tokens of the clip that enter the language model (at most, unless `exact`)."""
        return int(self.counts.sum()) if self.total is None else self.total

    @property
    def encoder_tokens(self) -> NDArray[np.int64]:
        """int64 (T,): tokens of each frame in the vision encoder."""
        if self.regions is None:
            return np.full(self.layout.frames, self.layout.patches_per_frame * self.layout.unit, np.int64)
        return (self.regions.reshape(len(self.regions), -1).max(axis=1).astype(np.int64) + 1) * self.layout.unit


@dataclass(frozen=True)
class Reduced:
    """The tokens that enter the language model: (n, width), and the slot of the clip's token grid that each one takes.

    slots: int64 (n,) ascending, frame * tokens per frame + raster number. A method that works by events adds: event,
    int64 (n,), the event of each token; key_event, bool (events,); separators, how many of the tokens are separators
    of its own that take the place of the model's (None: the model's own stay). These sit on the slot before them.
    layout: the grid that the slots count in; the session fills it in for methods that act inside the layers.
    """

    tokens: Tensor
    slots: NDArray[np.int64]
    event: NDArray[np.int64] | None = None
    key_event: NDArray[np.bool_] | None = None
    separators: int | None = None
    layout: Layout | None = None

    def counts(self, layout: Layout) -> NDArray[np.int64]:
        """int64 (T,): how many tokens came out of each frame."""
        return np.bincount(self.slots // layout.tokens_per_frame, minlength=layout.frames).astype(np.int64)


@dataclass(frozen=True)
class Context:
    """What else a method may look at when it reduces tokens.

    patches: (T, patches, width), projected features before the model's own pooling, for methods with `needs_patches`.
    attention: float32 (T, tokens per frame), attention that each place of the token grid received in the last layer of
    the vision encoder, averaged over heads and queries, for methods with `needs_vision_attention`. newline: (width,),
    the model's separator, None where it has none. meta, rows: what the plan was made from.
    """

    patches: Tensor | None = None
    attention: Tensor | None = None
    newline: Tensor | None = None
    meta: Metadata | None = None
    rows: NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Base of all methods.

    An option that is None takes what the model prefers, where its configuration says so, else the method's own
    default: {"codecmeta": {"keep_ids": true, "metom": {"tau_tem": 0.9}}} in a checkpoint's config.json.

    keep_ids: give every kept token the position id that it has in the full sequence (True), or number the kept ones
    without gaps (False). By default without gaps for one-dimensional positions. Set it to compare the two, which
    published methods do not agree on.
    """

    name: ClassVar[str]
    needs_patches: ClassVar[bool] = False
    needs_vision_attention: ClassVar[bool] = False
    keep_ids: bool | None = None

    def __post_init__(self) -> None:
        check_literals(self)
        budget = getattr(self, "budget", 1.0)
        if budget is not None and not 0 < budget <= 1:
            raise ValueError(f"budget must be more than 0 and at most 1; got {budget}")

    def preferring(self, preferences: Mapping[str, Any]) -> Self:
        """This strategy with a model's preferences in the place of options that are None."""
        wanted = {"keep_ids": preferences.get("keep_ids"), **preferences.get(self.name, {})}
        unknown = set(wanted) - {option.name for option in fields(self)}
        if unknown:
            raise ValueError(f"the model prefers {', '.join(sorted(unknown))}, which {self.name!r} does not have")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in wanted.items()
            if getattr(self, name) is None
        }
        return replace(self, **values)

    @property
    def needs_metadata(self) -> bool:
        """Whether there is no plan without codec metadata."""
        return False

    @property
    def query_agnostic(self) -> bool:
        """Whether a method that is made to look at the question does without, for want of something it needs."""
        return False

    @property
    def needs_pictures(self) -> bool:
        """Whether planning waits for the pictures, see `plan_with`."""
        return False

    def plan_with(
        self, pictures: Tensor, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None
    ) -> Plan:
        """`plan` for methods that also look at pixels: float (T * pictures, 3, height, width), normalised as the model
        gets them, and only what the token grid covers."""
        return self.plan(layout, meta, rows)

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Decide from metadata what to keep. Pure: no tensors, no model.

        rows: int64 (T * pictures,), the frame-table rows of the sampled pictures. Raises ValueError where the method
        needs metadata and there is none.
        """
        return Plan(layout, np.full(layout.frames, layout.tokens_per_frame, np.int64))

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Carry the plan out on projected, pooled tokens: float (T, tokens per frame, width).

        Called only where the plan has slots. The default keeps exactly the tokens at these slots.
        """
        assert plan.slots is not None
        slots = np.flatnonzero(plan.slots)
        return Reduced(tokens.flatten(0, 1)[slots], slots.astype(np.int64))

    def inside(self, depth: int) -> Inside | None:
        """What the method does inside a language model of so many layers, None for nothing."""
        return None


def budget_tokens(layout: Layout, budget: float) -> int:
    """Whole tokens of a clip within a share: floor(budget * T * N), at least 1."""
    return share_of(layout.tokens_full, budget)


def share_of(count: int, share: float) -> int:
    """Whole tokens within a share of so many: floor(share * count), at least 1.

    >>> share_of(6272, 0.3), share_of(3, 0.1)
    (1881, 1)
    """
    return max(1, int(share * count + 1e-9))


def require(meta: Metadata | None, rows: Any, strategy: Strategy) -> tuple[Metadata, NDArray[np.int64]]:
    """The metadata and rows that a strategy cannot do without."""
    if meta is None or rows is None:
        raise ValueError(f"method {strategy.name!r} plans from codec metadata: pass meta and the sampled frame rows")
    return meta, np.asarray(rows, np.int64)
