"""Which frames of a video get maps: what may be asked for, and which rows that means."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

Selection = Literal["all", "keyframes"] | int | tuple[float, ...]
"""Which frames get maps: all, the keyframes, so many evenly spread over time with both ends included, or those nearest
to the given times in seconds."""

_GAP = 20  # times the usual distance of two frames: a longer one is a hole in the recording, or a wrong time stamp


def selection_of(frames: Any) -> Selection:
    """What was asked for, in plain types. Raises ValueError unless it is "all", "keyframes", a positive whole number
    or some finite times in seconds (a sequence or an array of them)."""
    if isinstance(frames, str):
        if frames in ("all", "keyframes"):
            return cast(Selection, frames)
    elif isinstance(frames, Integral) and not isinstance(frames, bool):
        if int(frames) > 0:
            return int(frames)
    elif isinstance(frames, Sequence | np.ndarray) and len(frames) and not isinstance(frames, bytes | bytearray):
        times = list(frames)
        if all(isinstance(one, Real) and np.isfinite(float(one)) for one in times):
            return tuple(float(one) for one in times)
    raise ValueError(
        f'frames={frames!r}: expected "all", "keyframes", a positive whole number of frames or times in seconds'
    )


def check_selection(frames: Selection, jobs: int) -> None:
    """Raise ValueError unless frames is what `selection_of` takes, and jobs a positive whole number."""
    selection_of(frames)
    if not isinstance(jobs, Integral) or isinstance(jobs, bool) or jobs < 1:
        raise ValueError(f"jobs={jobs!r}: expected a whole number, at least 1")


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
