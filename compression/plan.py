"""What goes between a strategy and a model: the grid of tokens, the plan, what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor

Newline = Literal["", "video", "frame", "row"]
"""What a model's newline token stands behind: nothing (there is none), the video, every frame, every row of a frame."""


@dataclass(frozen=True)
class Layout:
    """What a plan must know of a model: how one video becomes a grid of tokens.

    frames: temporal positions T of the token grid. patches: (rows, columns) of one frame in the vision encoder.
    tokens: (rows, columns) of one frame in the language model. view: rectangle (x0, y0, x1, y1) of displayed pixels
    that both grids cover, None where no metadata is at hand. pictures: sampled pictures per temporal position (2 where
    a model encodes pairs). unit: encoder tokens that make up one cell of `patches` (4 where a model joins 2x2 patches
    after encoding, which must stay together). newline: what the model's separator token stands behind. depth:
    layers of the language model. window: side, in cells of `patches`, of the squares inside which the vision encoder
    attends, None where it attends over whole frames; merged regions must not leave them. tokens_view: rectangle that
    `tokens` cover, where that is less than `view`, as where an odd side is pooled and rounded down.
    """

    frames: int
    patches: tuple[int, int]
    tokens: tuple[int, int]
    view: tuple[float, float, float, float] | None = None
    pictures: int = 1
    unit: int = 1
    newline: Newline = ""
    depth: int = 0
    window: int | None = None
    tokens_view: tuple[float, float, float, float] | None = None

    def view_of(self, grid: tuple[int, int]) -> tuple[float, float, float, float] | None:
        """The displayed pixels that one of the two grids covers."""
        return self.tokens_view if self.tokens_view is not None and grid == self.tokens else self.view

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

    @property
    def separators(self) -> int:
        """Newline tokens of the plain model's video. No budget and no count of visual tokens holds them."""
        return {"": 0, "video": 1, "frame": self.frames, "row": self.frames * self.tokens[0]}[self.newline]

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of a video's placeholders stand for the token grid, int64 (T * N,), and which for newlines, int64
        (separators,); both ascending.

        >>> Layout(1, (2, 2), (2, 2), newline="row").places()
        (array([0, 1, 3, 4]), array([2, 5]))
        """
        every = np.arange(self.tokens_full + self.separators)
        if not self.separators:
            return every, every[:0]
        between = self.tokens_full // self.separators + 1
        behind = every % between == between - 1
        return every[~behind], every[behind]

    def newlines_left(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool (separators,): which newlines stay where of the token grid only `slots` do. That of a row, or a frame,
        goes with its last token; the one behind the video always stays."""
        if self.newline in ("", "video"):
            return np.ones(self.separators, bool)
        return np.bincount(slots // (self.tokens_full // self.separators), minlength=self.separators) > 0


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
    into: int64 (T * tokens per frame,), for each place of the grid the slot of the token that took in what was there,
    itself where it stayed, -1 where it was dropped; None where everything without a slot was dropped. What went into
    several tokens is told of one of them. layout: the grid that the slots count in; the session fills it in for methods
    that act inside the layers.
    """

    tokens: Tensor
    slots: NDArray[np.int64]
    event: NDArray[np.int64] | None = None
    key_event: NDArray[np.bool_] | None = None
    separators: int | None = None
    into: NDArray[np.int64] | None = None
    layout: Layout | None = None

    def homes(self, layout: Layout) -> NDArray[np.int64]:
        """int64 (T, tokens per frame): `into`, whatever the method said of it."""
        homes = np.full(layout.tokens_full, -1, np.int64) if self.into is None else self.into.copy()
        homes[self.slots] = self.slots
        return homes.reshape(layout.frames, -1)

    def counts(self, layout: Layout) -> NDArray[np.int64]:
        """int64 (T,): how many tokens came out of each frame."""
        return np.bincount(self.slots // layout.tokens_per_frame, minlength=layout.frames).astype(np.int64)


def cell_homes(slots: NDArray[np.int64], layout: Layout) -> NDArray[np.int64]:
    """`Reduced.into` of frames that were pooled on grids of their own: the slot in whose cell each place lies.

    >>> cell_homes(np.array([0, 2, 6, 8]), Layout(1, (3, 3), (3, 3)))
    array([0, 0, 2, 0, 0, 2, 6, 6, 8])

    slots: int64 (n,) ascending, the top left place of every cell. A frame without any was dropped.
    """
    homes = np.full((layout.frames, *layout.tokens), -1, np.int64)
    frame, place = np.divmod(slots, layout.tokens_per_frame)
    for t in np.unique(frame):
        row, column = np.divmod(place[frame == t], layout.tokens[1])
        starts = [
            np.maximum.accumulate(np.where(np.isin(np.arange(side), at), np.arange(side), 0))
            for side, at in zip(layout.tokens, (row, column), strict=True)
        ]
        homes[t] = t * layout.tokens_per_frame + starts[0][:, None] * layout.tokens[1] + starts[1]
    return homes.ravel()


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
