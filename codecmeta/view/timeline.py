"""The frame table -> what a timeline shows: bars of bytes by picture type, GoPs, token budgets, events. Arrays only.

The PNG and the page draw the same `Timeline`, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codecmeta.decisions.events import change_scores
from codecmeta.record.metadata import UNKNOWN, B, Frames, I, Metadata, P, Probe

TYPES = (I, P, B, UNKNOWN)
"""Picture types in the order of the columns of `Timeline.bytes`."""

TYPE_NAMES = ("I pictures", "P pictures", "B pictures", "type unknown")
TYPE_LETTERS = ("I", "P", "B", "?")
TYPE_COLOURS = ("#d55e00", "#0072b2", "#56b4e9", "#999999")
"""Vermilion, blue and sky blue of Okabe and Ito's palette, which colour-blind readers can tell apart, and grey."""

EVENT_COLOUR = "#cc79a7"
"""Reddish purple of the same palette."""

MAX_BARS = 360
"""A bar stays at least a pixel wide on a telephone and two to three in the PNG."""

MAX_GOPS = 120
"""More groups of pictures than this are not told apart, only counted."""

EVENT = 0.1
"""Changes that score less are not marked as event boundaries. The best thresholds for cuts, fades and entrances are
0.20, 0.11 and 0.09 (benchmarks/results/events.json)."""


@dataclass(frozen=True)
class Timeline:
    """What is drawn over time. Positions are seconds, or frame numbers where the file's clock runs backwards.

    edges: float64 (bars + 1,), where bars begin and end. first: int64 (bars + 1,), the first frame of each bar, and
    the number of frames. pictures, bytes: int64 (bars, 4), pictures in a bar and their bytes, by `TYPES`. gops: int64
    (groups + 1,), the first frame of each group of pictures, and the number of frames. gop_edges: float64 (groups +
    1,), their positions. at: float64 (T,), positions of the sampled frames (their middle); times: float64 (T,), their
    own time in seconds. budgets: int64 (T,), their tokens.
    capacity: tokens that a frame has. events: float64 (events,), positions of event boundaries; event_frames: int64
    (events,), the first frames of the new events. clock: whether positions are seconds.
    """

    edges: NDArray[np.float64]
    first: NDArray[np.int64]
    pictures: NDArray[np.int64]
    bytes: NDArray[np.int64]
    gops: NDArray[np.int64]
    gop_edges: NDArray[np.float64]
    at: NDArray[np.float64]
    times: NDArray[np.float64]
    budgets: NDArray[np.int64]
    capacity: int
    events: NDArray[np.float64]
    event_frames: NDArray[np.int64]
    clock: bool

    @property
    def frames_per_bar(self) -> int:
        """Frames that one bar stands for; the last bar may have fewer."""
        return int(self.first[1] - self.first[0])

    @property
    def mean_bytes(self) -> NDArray[np.float64]:
        """float64 (bars, 4): mean bytes of the pictures of each type in a bar, 0 where there is none."""
        return self.bytes / np.maximum(self.pictures, 1)

    @property
    def bars_title(self) -> str:
        """What the bars show, and their unit."""
        if self.frames_per_bar == 1:
            return "bytes per frame (square-root scale, a bar per frame)"
        return f"mean bytes per frame by picture type (square-root scale, a bar per {self.frames_per_bar} frames)"

    @property
    def gops_title(self) -> str:
        """How many groups of pictures there are."""
        return counted(len(self.gops) - 1, "group") + " of pictures"

    @property
    def gops_told_apart(self) -> bool:
        """Whether there are few enough groups of pictures to be drawn one by one."""
        return len(self.gops) - 1 <= MAX_GOPS

    @property
    def gop_blocks(self) -> NDArray[np.float64]:
        """float64 (blocks + 1,): edges of what is drawn of the groups; one block where they are not told apart."""
        return self.gop_edges if self.gops_told_apart else self.gop_edges[[0, -1]]

    @property
    def most_tokens(self) -> int:
        """Where the axis of tokens ends: all of a frame, or more where a method adds some of its own."""
        return max(self.capacity, int(self.budgets.max()), 1)

    @property
    def token_ticks(self) -> list[int]:
        """Numbers on the axis of tokens."""
        return sorted({0, self.capacity // 2, self.capacity})

    @property
    def span(self) -> tuple[float, float]:
        """Where the axis begins and ends."""
        return float(self.edges[0]), float(self.edges[-1])

    def share(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions as shares 0..1 of the axis."""
        start, stop = self.span
        return (np.asarray(positions) - start) / (stop - start)


def timeline(
    meta: Metadata | Probe, rows: NDArray[np.int64], budgets: NDArray[np.int64], capacity: int, events: int
) -> Timeline:
    """Bars, groups and events of a whole video, and the token budgets of its sampled frames.

    rows: int64 (T,), sampled rows of the frame table. budgets: int64 (T,). events: how many events the video is cut
    into at most, see `_marks`; changes that score less than `EVENT` do not count.
    """
    frames = meta.frames
    count = len(frames)
    per_bar = -(-count // MAX_BARS)
    first = np.append(np.arange(0, count, per_bar), count)
    edges, clock = _frame_edges(frames)
    pictures, bytes_ = np.zeros((2, len(first) - 1, len(TYPES)), np.int64)
    for column, kind in enumerate(TYPES):
        of_kind = frames.picture_type == kind
        pictures[:, column] = np.add.reduceat(of_kind, first[:-1], dtype=np.int64)
        bytes_[:, column] = np.add.reduceat(frames.packet_bytes * of_kind, first[:-1])
    gops = np.append(np.unique(meta.gops.start), count)
    change = change_scores(meta, np.arange(count))
    starts = _marks(change, events - 1)
    return Timeline(
        edges=edges[first],
        first=first,
        pictures=pictures,
        bytes=bytes_,
        gops=gops,
        gop_edges=edges[gops],
        at=(edges[rows] + edges[rows + 1]) / 2,
        times=frames.time[rows],
        budgets=budgets,
        capacity=capacity,
        events=edges[starts],
        event_frames=starts,
        clock=clock,
    )


def _marks(change: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """int64 (marks,) ascending: frames behind the largest changes of at least `EVENT`, the larger one of two that are
    nearer to each other than half of an equal share of the film. So they stand where things happen all over the film,
    and not only where the largest changes crowd."""
    room = (len(change) + 1) / (2 * max(most, 1))
    found: list[int] = []
    for at in np.argsort(-change, kind="stable").tolist():
        if len(found) == most or change[at] < EVENT:
            break
        if all(abs(at + 1 - other) >= room for other in found):
            found.append(at + 1)
    return np.array(sorted(found), np.int64)


def _frame_edges(frames: Frames) -> tuple[NDArray[np.float64], bool]:
    """float64 (n + 1,): when each frame appears and the last one goes; frame numbers where the clock runs backwards."""
    time, steps = frames.time, np.diff(frames.time)
    if not np.isfinite(time).all() or (steps < 0).any() or (len(time) > 1 and not steps.any()):
        return np.arange(len(time) + 1, dtype=np.float64), False
    return np.append(time, time[-1] + (np.median(steps[steps > 0]) if len(steps) else 0.04)), True


def time_ticks(span: tuple[float, float], most: int) -> NDArray[np.float64]:
    """At most `most` round positions inside a span, at seconds, minutes or hours as its length demands."""
    length = span[1] - span[0]
    small = [factor * 10.0**power for power in range(-6, 2) for factor in (1, 2, 5)]
    steps = [*(one for one in small if one < 15), 15, 30, *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30))]
    steps += [3600.0 * hours for hours in (1, 2, 6, 12, *(24 * 2**days for days in range(30)))]
    step = next(one for one in steps if length / one <= most - 1)
    return np.arange(np.ceil(span[0] / step - 1e-9), np.floor(span[1] / step + 1e-9) + 1) * step + 0.0  # no -0.0


def frame_ticks(span: tuple[float, float], most: int) -> NDArray[np.float64]:
    """At most `most` round frame numbers inside a span."""
    length = span[1] - span[0]
    step = next(f * 10.0**p for p in range(16) for f in (1, 2, 5) if length / (f * 10.0**p) <= most - 1)
    return np.arange(np.ceil(span[0] / step), np.floor(span[1] / step) + 1) * step


def root_ticks(largest: float, apart: float) -> list[int]:
    """Round numbers from 0 to `largest` for an axis of square roots, at least a share `apart` of the axis between."""
    ticks = [0]
    candidates = [factor * 10**power for power in range(16) for factor in (1, 2, 5) if factor * 10**power <= largest]
    for value in reversed(candidates):
        position = (value / largest) ** 0.5
        above = (min(ticks[1:], default=np.inf) / largest) ** 0.5
        if position >= apart and above - position >= apart:
            ticks.append(value)
    return sorted(ticks)


def clock_text(seconds: float, longest: float, decimals: int = 2) -> str:
    """Seconds as "3.50 s", or as "1:05" or "1:02:05" where the longest time beside it has minutes or hours."""
    if longest < 60:
        return f"{seconds:.{decimals}f} s"
    minutes, rest = divmod(round(seconds, decimals), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:0{3 + decimals if decimals else 2}.{decimals}f}"
    return f"{hours}:{minutes:02}:{text}" if longest >= 3600 else f"{minutes}:{text}"


def axis_labels(line: Timeline, most: int) -> list[tuple[float, str]]:
    """(share of the axis, text) of at most `most` ticks."""
    ticks = (time_ticks if line.clock else frame_ticks)(line.span, most)
    step = float(ticks[1] - ticks[0]) if len(ticks) > 1 else line.span[1] - line.span[0]
    decimals = max(0, int(np.ceil(-np.log10(step) - 1e-9)))
    texts = [clock_text(tick, line.span[1], decimals) if line.clock else f"{tick:.0f}" for tick in ticks.tolist()]
    return list(zip(line.share(ticks).tolist(), texts, strict=True))


def counted(count: int, thing: str) -> str:
    """ "1 frame", "2,000 frames"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def compact(value: float) -> str:
    """A number in few characters: 5,000; 20k; 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:,g}"
