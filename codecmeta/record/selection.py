"""Which frames of a video get maps: what may be asked for, and which rows that means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GAP = 20  # times the usual distance of two frames: a longer one is a hole in the recording, or a wrong time stamp


@dataclass(frozen=True)
class Rows:
    """Chosen rows of the frame table, ascending, each once."""

    values: tuple[int, ...]


@dataclass(frozen=True)
class EstimatedRows(Rows):
    """Rows that were chosen in a table of `frames` frames before decoding, which alone tells how many there are: where
    it is another number, a row means the same share of the way."""

    frames: int


Policy = Literal["uniform", "keyframes", "cheap", "events", "query"]
POLICIES: tuple[Policy, ...] = ("uniform", "keyframes", "cheap", "events", "query")
TABLE_POLICIES: tuple[Policy, ...] = tuple(one for one in POLICIES if one != "query")
"""How frames may be chosen, see `codecmeta.choose_frames`; and without looking at pictures."""


@dataclass(frozen=True)
class ByPolicy:
    """So many frames, picked from the packet table."""

    frames: int
    policy: Policy


Selection = Literal["all", "keyframes"] | int | tuple[float, ...] | Rows | ByPolicy
"""Which frames get maps: all, the keyframes, so many evenly spread over time with both ends included, those nearest to
the given times in seconds, given rows, or so many that a policy picks."""


def selected(
    frames: Any = None,
    rows: ArrayLike | None = None,
    times: ArrayLike | None = None,
    policy: Policy = "uniform",
    *,
    default: Any = "all",
) -> Selection:
    """The selection that three arguments mean, of which one may be given, and how a number of frames is spread.

    >>> selected(16), selected(rows=[5, 0, 0]), selected(times=[0.5])
    (16, Rows(values=(0, 5)), (0.5,))

    frames: "all", "keyframes" or how many. rows: whole numbers (n,), indices of frames in display order. times: (n,),
    seconds. policy: which frames a number means, see `codecmeta.choose_frames`. Raises ValueError for anything else,
    saying which argument takes what was given.
    """
    if policy not in TABLE_POLICIES:
        way_out = " (query looks at pictures: pass what choose_frames returns)" if policy == "query" else ""
        raise ValueError(f"policy={policy!r}: expected one of {', '.join(TABLE_POLICIES)}{way_out}")
    if sum(one is not None for one in (frames, rows, times)) > 1:
        raise ValueError("frames, rows and times are three ways to choose frames: pass one of them")
    if policy != "uniform" and not (rows is None and times is None):
        raise ValueError(f"policy={policy!r} picks a number of frames; rows and times say which: pass frames=16")
    if rows is not None:
        return Rows(tuple(np.unique(row_numbers(rows)).tolist()))
    if times is not None:
        seconds = np.asarray(times)
        if seconds.ndim != 1 or not len(seconds) or seconds.dtype.kind not in "iuf" or not np.isfinite(seconds).all():
            raise ValueError(f"times={times!r}: expected seconds, such as [0.0, 1.5]")
        return tuple(seconds.astype(np.float64).tolist())
    frames = default if frames is None else frames
    if policy != "uniform" and isinstance(frames, str):
        raise ValueError(f"policy={policy!r} picks a number of frames, and frames={frames!r} is none; pass frames=16")
    if isinstance(frames, str) and frames in ("all", "keyframes"):
        return frames  # type: ignore[return-value]
    if isinstance(frames, Integral) and not isinstance(frames, bool) and int(frames) > 0:
        return int(frames) if policy == "uniform" else ByPolicy(int(frames), policy)
    several = isinstance(frames, (Sequence, np.ndarray)) and not isinstance(frames, str)
    way_out = "; pass rows=[...] for frames by their index, times=[...] for seconds" if several else ""
    raise ValueError(f'frames={frames!r}: expected "all", "keyframes" or a positive number of frames{way_out}')


def row_numbers(rows: ArrayLike) -> NDArray[np.int64]:
    """Frame indices as they were given, int64 (n,). Raises ValueError for what is none."""
    numbers = np.asarray(rows)
    if numbers.ndim != 1 or not len(numbers) or numbers.dtype.kind not in "iu" or numbers.astype(np.int64).min() < 0:
        way_out = "; seconds go into times" if numbers.dtype.kind == "f" else ""
        raise ValueError(f"rows={rows!r}: expected indices of frames, counted from 0{way_out}")
    return numbers.astype(np.int64)


def check_jobs(jobs: int) -> None:
    """Raise ValueError unless jobs is a positive whole number."""
    if not isinstance(jobs, Integral) or isinstance(jobs, bool) or jobs < 1:
        raise ValueError(f"jobs={jobs!r}: expected a whole number, at least 1")


def as_setting(selection: Selection) -> Any:
    """A selection as records keep it, in JSON."""
    if isinstance(selection, Rows):
        return {"rows": list(selection.values)}
    if isinstance(selection, ByPolicy):
        return {"frames": selection.frames, "policy": selection.policy}
    return list(selection) if isinstance(selection, tuple) else selection


def rows_of(selection: int | tuple[float, ...] | Rows, time: NDArray[np.float64], until: float) -> NDArray[np.int64]:
    """The rows that a selection means, ascending.

    time: float64 (n,), seconds of every frame. until: seconds at which the last one ends, as far as it is known.
    Raises ValueError for rows and times outside of the video: the nearest frame would be another one than was asked
    for.
    """
    if isinstance(selection, EstimatedRows) and selection.frames != len(time):
        return np.unique(np.array(selection.values, np.int64) * len(time) // selection.frames)
    if isinstance(selection, Rows):
        if selection.values[-1] >= len(time):
            raise ValueError(f"row {selection.values[-1]}: the video has {len(time)} frames, rows 0 to {len(time) - 1}")
        return np.array(selection.values, np.int64)
    if isinstance(selection, tuple):
        frame = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
        first, last = float(time[0]), max(float(time[-1]) + frame, until)
        outside = [one for one in selection if not first - frame / 2 <= one <= last]
        if outside:
            raise ValueError(f"time {outside[0]:g} s: the video shows frames from {first:g} to {last:g} s")
    return sample_rows(time, selection)


def sample_rows(time: NDArray[np.float64], frames: int | tuple[float, ...]) -> NDArray[np.int64]:
    """Rows of so many frames evenly spread in time, both ends included, or of the frames nearest to given times.

    time: float64 (n,), seconds of every frame, ascending. As many rows as asked for come back, or all there are; fewer
    only where several given times mean the same frame. Where steps in time fall into a hole of the recording, and would
    give one frame several times, a gap twenty times as long as frames usually are apart counts as one usual step.
    """
    if isinstance(frames, tuple):
        return np.unique(_nearest(time, np.array(frames, np.float64)))
    if frames >= len(time):
        return np.arange(len(time), dtype=np.int64)
    for clock in (time, _without_gaps(time)):
        rows = _nearest(clock, np.linspace(clock[0], clock[-1], frames))
        if len(np.unique(rows)) == frames:
            return rows
    return _spread(rows, len(time))


def _nearest(time: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.int64]:
    """The row nearest in time to each target, the earlier one of two; int64, ascending with the targets."""
    after = np.clip(np.searchsorted(time, targets), 1, max(len(time) - 1, 1))
    before = after - 1
    nearer = np.where(targets - time[before] <= time[np.minimum(after, len(time) - 1)] - targets, before, after)
    return np.minimum(nearer, len(time) - 1).astype(np.int64)


def _without_gaps(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times with every long gap shortened to the usual distance of two frames; untouched without one."""
    steps = np.diff(time)
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    if not (steps > _GAP * usual).any():
        return time
    return np.concatenate([time[:1], time[0] + np.cumsum(np.where(steps > _GAP * usual, usual, steps))])


def _spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Ascending rows below `count` with repetitions -> as many different ones, each moved as little as it takes."""
    order = np.arange(len(rows))
    rows = np.maximum.accumulate(rows - order) + order  # every one above the one before
    return np.minimum(rows, count - len(rows) + order).astype(np.int64)
