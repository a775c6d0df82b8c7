"""Which frames of a video get maps: what may be asked for, and which rows that means."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Selection = Literal["all", "keyframes"] | int | tuple[float, ...]
"""Which frames get maps: all, the keyframes, so many evenly spread over time with both ends included, or those nearest
to the given times in seconds."""


def check_selection(frames: Selection, jobs: int) -> None:
    """Raise ValueError unless frames is "all", "keyframes", a positive number or some times, and jobs is positive."""
    if isinstance(frames, tuple):
        sensible = len(frames) > 0 and bool(np.isfinite(frames).all())
    else:
        sensible = frames in ("all", "keyframes") or (isinstance(frames, int) and frames is not True and frames > 0)
    if not sensible:
        raise ValueError(f'frames={frames!r}: expected "all", "keyframes", a positive number of frames or times')
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: expected at least 1")


def sample_rows(time: NDArray[np.float64], frames: int | tuple[float, ...]) -> NDArray[np.int64]:
    """Rows of so many frames evenly spread in time, both ends included, or of the frames nearest to given times; fewer
    where several would be the same frame. time: float64 (n,), seconds of every frame."""
    targets = np.linspace(time[0], time[-1], frames) if isinstance(frames, int) else np.array(frames, np.float64)
    after = np.clip(np.searchsorted(time, targets), 1, max(len(time) - 1, 1))
    before = after - 1
    nearer = np.where(targets - time[before] <= time[np.minimum(after, len(time) - 1)] - targets, before, after)
    return np.unique(np.minimum(nearer, len(time) - 1)).astype(np.int64)
