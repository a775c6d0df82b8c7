"""Method `metok`: events decide how finely frames are seen, attention which tokens stay (METok, EMNLP 2025)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.inside import Inside, three_layers
from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Context, Layout, Plan, Reduced, cell_homes
from codecmeta.compression.strategy import Strategy, require
from codecmeta.decisions.budget import gop_weights
from codecmeta.decisions.events import change_scores, event_boundaries
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor

Pooling = Literal["bilinear", "average", "max"]


@dataclass(frozen=True)
class Events:
    """A clip cut into events, and what of it matters.

    ranges: half-open frame ranges in order. key: bool (events,). key_frame: bool (T,), the frames that are seen finer
    than the rest of their event.
    """

    ranges: list[tuple[int, int]]
    key: NDArray[np.bool_]
    key_frame: NDArray[np.bool_]


@dataclass(frozen=True)
class EventPlan(Plan):
    """A plan that also says what the events are, where that is known before the features."""

    events: Events | None = None


@dataclass(frozen=True, kw_only=True)
class Metok(Strategy):
    """METok, in three stages: event-aware pooling, pruning at three layers with a quota per event, and no visual
    keys and values in the deep layers while the answer is written. How many tokens stay is an outcome.

    (1) The clip is cut into `n_events` events where consecutive frames change most. An event matters as much as its
    best frame; the share `alpha` of events that matter most are key events, and in every event the best frames are key
    frames: `key_frames` of them, or the share `beta`. Frames are pooled with the strides `key_strides` (key frames,
    other frames) in key events and `other_strides` elsewhere, counted in patches of the encoder. After every event
    comes the model's newline token, where it has one; it belongs to its event. (2) At the entry of three layers
    (`layers`; default 3, 10 and 19 of 28, in proportion) each event keeps its best tokens by the attention of all text
    after the video in the layer before: first the share `ratio` of key events and half of it elsewhere, then `ratio`
    and nothing, then nothing at all. (3) `forget`: after the prompt, layers from the first to the last of these keep
    of their cache's visual entries only those that the last cut left, which by the published shares is none.

    boundaries: "features" compares projected frame features, as published; "codec" takes change scores from metadata,
    known before the encoder runs. codec_weight: w, adds the codec's change scores to those of the features, both
    standardised over the clip, the codec's w times; 0 as published. nonkey_uniform: one stride for all frames of
    events that are not key events, as the paper has it, in place of `other_strides`, as its code has it.

    frame_scores: how well each frame fits the question, one number per temporal position, from a text-image model, as
    published; `VideoModel.ask(..., text_model=...)` fills them in. Without them the packet sizes around each frame
    decide, which does not look at the question (`query_agnostic`). With codec boundaries the number of tokens is known
    before any feature exists, but not before the codec's signals are read. For a text model: use_full_prompt shows it
    the question with the chat template around it, as METok's code does, in place of the question alone; combine says
    how features of the parts of a text that is too long for it become one.

    n_events: parts that the clip is cut into. alpha: share of the events that are key events. key_frames: frames of an
    event that are key frames. beta: their share, in the place of a number. key_strides, other_strides: two each, for
    key frames and for other frames. newlines: keep the model's newline token after every event. prune: stage 2.
    layers: where stage 2 prunes and stage 3 begins and ends. ratio: share of tokens that key events keep. forget: stage
    3. use_full_prompt, combine: how a text model is asked.

    pooling: "bilinear" rounds grids up, "average" and "max" round down; by default as the model pools. quotas: six
    shares to use in place of those of stage 2, (key, other) for each of the three layers; all 1 prunes nothing.
    """

    name: ClassVar[str] = "metok"
    needs_patches: ClassVar[bool] = True
    effects: ClassVar[Effects] = {
        "key_frames": ("beta left out", lambda own: own.beta is None),
        "other_strides": ("nonkey_uniform left out", lambda own: own.nonkey_uniform is None),
        "codec_weight": ("boundaries=features", lambda own: own.boundaries == "features"),
        "ratio": ("prune=true and quotas left out", lambda own: own.prune and own.quotas is None),
        "quotas": ("prune=true", lambda own: own.prune),
        "layers": ("prune=true or forget=true", lambda own: own.prune or own.forget),
    }

    n_events: int = 5
    boundaries: Literal["features", "codec"] = "features"
    frame_scores: tuple[float, ...] | None = None
    use_full_prompt: bool = False
    combine: Literal["max", "mean"] = "max"
    alpha: float = 0.6
    key_frames: int = 6
    beta: float | None = None
    key_strides: tuple[int, ...] = (2, 4)
    other_strides: tuple[int, ...] = (4, 8)
    nonkey_uniform: int | None = None
    codec_weight: float = 0.0
    pooling: Pooling | None = None
    newlines: bool = True
    prune: bool = True
    layers: tuple[int, ...] | None = None
    ratio: float = 0.76
    quotas: tuple[float, ...] | None = None
    forget: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_events < 1 or self.key_frames < 0:
            raise ValueError(f"n_events must be at least 1 and key_frames 0; got {self.n_events}, {self.key_frames}")
        for name, share in (("alpha", self.alpha), ("beta", self.beta), ("ratio", self.ratio)):
            if share is not None and not 0 < share <= 1:
                raise ValueError(f"{name} must be more than 0 and at most 1; got {share}")
        if len(self.key_strides) != 2 or len(self.other_strides) != 2 or min(self.key_strides + self.other_strides) < 1:
            raise ValueError("strides are two numbers of at least 1, for key frames and for the others")
        if self.nonkey_uniform is not None and self.nonkey_uniform < 1:
            raise ValueError(f"nonkey_uniform must be a stride of at least 1; got {self.nonkey_uniform}")
        if self.codec_weight < 0 or (self.codec_weight and self.boundaries == "codec"):
            raise ValueError(
                f"codec_weight adds to boundaries='features' and is at least 0; got {self.codec_weight} with "
                f"boundaries={self.boundaries!r}"
            )
        if self.quotas is not None and len(self.quotas) != 6:
            raise ValueError(f"quotas are six shares, (key, other) for three layers; got {len(self.quotas)}")

    @property
    def needs_metadata(self) -> bool:
        """For codec boundaries, and to weigh frames that no text-image model has scored."""
        return self.boundaries == "codec" or self.frame_scores is None or self.codec_weight > 0

    @property
    def query_agnostic(self) -> bool:
        """Whether frames are weighed without looking at the question, by packet sizes: not METok proper."""
        return self.frame_scores is None

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> EventPlan:
        """With codec boundaries all of stage 1; else only that there will not be more than every token and newline."""
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        if self.boundaries == "features":
            counts = slots.sum(axis=1)
            finest = min(self.key_strides + self._other_strides)
            grid = pooled_grid(layout.patches, self.steps(layout, finest), self._pooling)
            counts[:] = max(layout.tokens_per_frame, grid[0] * grid[1]) + int(self.newlines and layout.newline != "")
            return EventPlan(layout, counts, exact=False, slots=slots)
        meta, rows = require(meta, rows, self)
        change = change_scores(meta, rows[:: layout.pictures])
        events = self.choose(event_boundaries(change, self.n_events), self._scores(layout, meta, rows))
        return EventPlan(layout, self.tokens_by_frame(layout, events), slots=slots, events=events)

    def replaces_separators(self, layout: Layout) -> bool:
        """A newline behind every event, where the model has one."""
        return self.newlines and layout.newline != ""

    def expected_layers(self, plan: Plan) -> tuple[list[int], list[int], bool]:
        """`layer_tokens` where the events are known; only the survivors of the last cut are not forgotten."""
        if not isinstance(plan, EventPlan) or plan.events is None:
            return super().expected_layers(plan)
        entering, inside = self.layer_tokens(plan.layout, plan.events), self.inside(plan.layout.depth)
        forgets = () if inside is None else inside.forget
        held = [entering[inside.cuts[-1]] if inside and n in forgets else alive for n, alive in enumerate(entering)]
        return entering, held, plan.exact

    def choose(self, ranges: list[tuple[int, int]], scores: Sequence[float] | NDArray[np.float64]) -> Events:
        """Key events and key frames by the frames' scores; of equal ones the earlier."""
        values = np.asarray(scores, np.float64)
        importance = np.array([values[start:stop].max() for start, stop in ranges])
        key = np.zeros(len(ranges), bool)
        key[np.argsort(-importance, kind="stable")[: math.ceil(self.alpha * len(ranges) - 1e-9)]] = True
        key_frame = np.zeros(len(values), bool)
        for start, stop in ranges:
            length = stop - start
            count = self.key_frames if self.beta is None else max(1, math.ceil(self.beta * length - 1e-9))
            best = np.argsort(-values[start:stop], kind="stable")[: max(count, length == 1)]
            key_frame[start + best] = True
        return Events(ranges, key, key_frame)

    def strides(self, events: Events) -> NDArray[np.int64]:
        """int64 (T,): the stride with which each frame is pooled."""
        key = np.repeat(events.key, [stop - start for start, stop in events.ranges])
        fine, coarse = np.array(self.key_strides), np.array(self._other_strides)
        return np.where(key, fine[1 - events.key_frame.astype(int)], coarse[1 - events.key_frame.astype(int)])

    @property
    def _pooling(self) -> Pooling:
        return "bilinear" if self.pooling is None else self.pooling

    @property
    def _other_strides(self) -> tuple[int, ...]:
        return self.other_strides if self.nonkey_uniform is None else (self.nonkey_uniform,) * 2

    def layer_tokens(self, layout: Layout, events: Events) -> list[int]:
        """Visual tokens that enter each of `layout.depth` layers, newlines included: known as soon as the events are.

        >>> Metok().layer_tokens(layout, events)[:4]                          # LLaVA-OneVision-7B, 32 frames
        [4186, 4186, 4186, 2954]
        """
        by_frame = self.tokens_by_frame(layout, events)
        alive = [int(by_frame[start:stop].sum()) for start, stop in events.ranges]
        inside = self.inside(layout.depth)
        shares = inside.shares if isinstance(inside, EventPruning) else {}
        entering = []
        for layer in range(layout.depth):
            if layer in shares:
                alive = [
                    quota(count, shares[layer][0 if key else 1]) for count, key in zip(alive, events.key, strict=True)
                ]
            entering.append(sum(alive))
        return entering

    def steps(self, layout: Layout, stride: int) -> int:
        """A stride in patches as one in cells of the layout, which may be 2x2 patches each."""
        side = math.isqrt(layout.unit)
        if stride % side:
            raise ValueError(
                f"strides must be multiples of {side} on this model, whose tokens are {side}x{side} patches"
            )
        return stride // side

    def tokens_by_frame(self, layout: Layout, events: Events) -> NDArray[np.int64]:
        """int64 (T,): tokens after stage 1, a newline counted with the last frame of its event."""
        grids = [
            pooled_grid(layout.patches, self.steps(layout, int(stride)), self._pooling)
            for stride in self.strides(events)
        ]
        counts = np.array([rows * columns for rows, columns in grids], np.int64)
        if self.newlines and layout.newline:
            counts[[stop - 1 for _, stop in events.ranges]] += 1
        return counts

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Stage 1 on projected features before the model's own pooling: (T, patches, width)."""
        import torch

        assert context is not None and context.patches is not None and isinstance(plan, EventPlan)
        layout = plan.layout
        patches = context.patches
        events = plan.events
        if events is None:
            means = torch.nn.functional.normalize(patches.float().mean(dim=1), dim=-1)
            change = 1 - (means[1:] * means[:-1]).sum(dim=-1).double().cpu().numpy()
            if self.codec_weight:
                meta, rows = require(context.meta, context.rows, self)
                change = _standard(change) + self.codec_weight * _standard(
                    change_scores(meta, rows[:: layout.pictures])
                )
            scores = self._scores(layout, context.meta, context.rows)
            events = self.choose(event_boundaries(change, self.n_events), scores)
        newline = context.newline if self.newlines else None
        pieces: list[Tensor] = []
        slots: list[NDArray[np.int64]] = []
        event: list[int] = []
        strides = self.strides(events)
        for number, (start, stop) in enumerate(events.ranges):
            for t in range(start, stop):
                step = self.steps(layout, int(strides[t]))
                grid = pooled_grid(layout.patches, step, self._pooling)
                pieces.append(pool(patches[t], layout.patches, step, self._pooling))
                slots.append(t * layout.tokens_per_frame + representatives(grid, layout.tokens))
            if newline is not None:
                pieces.append(newline[None].to(patches.dtype))
                slots.append(slots[-1][-1:])
            event += [number] * (sum(len(piece) for piece in pieces) - len(event))
        places = np.concatenate(slots)
        return Reduced(
            torch.cat(pieces),
            places,
            into=cell_homes(places, layout),
            event=np.array(event, np.int64),
            key_event=events.key,
            separators=None if newline is None else len(events.ranges),
        )

    def inside(self, depth: int) -> Inside | None:
        """Stages 2 and 3."""
        if not self.prune:
            return None
        shares = self.quotas or (self.ratio, self.ratio / 2, self.ratio, 0.0, 0.0, 0.0)
        return EventPruning(depth, self.layers, shares, self.forget)

    def _scores(
        self, layout: Layout, meta: Metadata | None, rows: NDArray[np.int64] | None
    ) -> Sequence[float] | NDArray[np.float64]:
        """How much each frame matters: as given, else bytes per packet around it."""
        if self.frame_scores is not None:
            if len(self.frame_scores) != layout.frames:
                raise ValueError(f"{len(self.frame_scores)} frame_scores were given for {layout.frames} frames")
            return self.frame_scores
        assert meta is not None and rows is not None
        return gop_weights(meta, rows, "window").reshape(layout.frames, -1).mean(axis=1)


def _standard(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean 0 and deviation 1; all 0 where nothing varies."""
    values = np.asarray(values, np.float64)
    spread = values.std()
    return (values - values.mean()) / spread if spread > 1e-12 else np.zeros_like(values)


class EventPruning(Inside):
    """At three layers every event keeps a share of its tokens, the ones that the text looks at most."""

    queries = "text"

    def __init__(self, depth: int, layers: tuple[int, ...] | None, shares: tuple[float, ...], forget: bool) -> None:
        self.cuts = cuts = three_layers("METok", layers, (3, 10, 19), 28, depth)
        self.watch = tuple(layer - 1 for layer in cuts)
        self.forget = tuple(range(cuts[0], cuts[2])) if forget else ()
        self.shares = {layer: shares[2 * step : 2 * step + 2] for step, layer in enumerate(cuts)}
        self._survivors = np.zeros(0, np.int64)

    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Keep the quota of every event; of tokens with equal attention the earlier."""
        assert entered.event is not None and entered.key_event is not None
        key_share, other_share = self.shares[layer]
        attention = scores[layer - 1].cpu().numpy()
        event = entered.event[alive]
        kept = []
        for number, is_key in enumerate(entered.key_event):
            members = np.flatnonzero(event == number)
            count = quota(len(members), key_share if is_key else other_share)
            kept.append(np.sort(members[np.argsort(-attention[members], kind="stable")[:count]]))
        chosen = np.concatenate(kept)
        if layer == self.cuts[-1]:
            self._survivors = alive[chosen]
        return chosen, hidden[chosen]

    def remember(self, layer: int, alive: NDArray[np.int64], scores: dict[int, Tensor]) -> NDArray[np.int64]:
        """Those that the last cut left: none by the published shares, all where `quotas` prune nothing."""
        return np.flatnonzero(np.isin(alive, self._survivors))


def quota(length: int, share: float) -> int:
    """Tokens that an event of so many keeps: at least one unless the share is 0.

    >>> quota(1177, 0.76), quota(311, 0.38), quota(895, 0.0)
    (895, 119, 0)
    """
    return 0 if share <= 0 or length == 0 else min(length, max(1, math.ceil(share * length - 1e-9)))


def pooled_grid(patches: tuple[int, int], stride: int, mode: Pooling) -> tuple[int, int]:
    """(rows, columns) after pooling a patch grid: rounded up for "bilinear", down (but at least 1) otherwise."""
    if mode == "bilinear":
        return -(-patches[0] // stride), -(-patches[1] // stride)
    return max(1, patches[0] // stride), max(1, patches[1] // stride)


def pool(patches: Tensor, grid: tuple[int, int], stride: int, mode: Pooling) -> Tensor:
    """Pool one frame: (patches, width) -> (tokens, width), in raster order."""
    from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

    image = patches.T.unflatten(1, grid)[None]
    if mode == "bilinear":
        out = interpolate(image, size=pooled_grid(grid, stride, mode), mode="bilinear")
    else:
        window = (min(stride, grid[0]), min(stride, grid[1]))
        out = (avg_pool2d if mode == "average" else max_pool2d)(image, window)
    return out[0].flatten(1).T


def representatives(grid: tuple[int, int], tokens: tuple[int, int]) -> NDArray[np.int64]:
    """The raster number in the model's own token grid that each cell of a pooled grid begins at, ascending.

    Cells of a finer grid, several of which share a token's place, are spread evenly in raster order.
    """
    if grid[0] > tokens[0] or grid[1] > tokens[1]:
        return np.arange(grid[0] * grid[1], dtype=np.int64) * (tokens[0] * tokens[1]) // (grid[0] * grid[1])
    rows, columns = (np.arange(count) * side // count for count, side in zip(grid, tokens, strict=True))
    return (rows[:, None] * tokens[1] + columns).ravel().astype(np.int64)
