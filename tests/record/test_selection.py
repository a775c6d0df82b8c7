"""Which rows a number of frames means: as many as were asked for, evenly, whatever the times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import codecmeta
from codecmeta.record.selection import sample_rows, selected
from tests.support.clips import pan, write_clip


@pytest.mark.parametrize("seed", range(200))
def test_as_many_frames_as_asked_for(seed: int) -> None:
    """Whatever the steps between frames: bursts, gaps of hours, equal times."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0.0, 0.001, 0.04, 0.04, 0.04, 1.0, 10000.0], rng.integers(1, 200))
    time = np.cumsum(steps)
    for frames in (1, 2, 8, len(time) // 2 + 1, len(time), 10**9):
        rows = sample_rows(time, frames)
        assert len(rows) == min(frames, len(time))
        assert (np.diff(rows) > 0).all() and 0 <= rows[0] and rows[-1] < len(time)


def test_even_in_time_where_time_is_even() -> None:
    """Row r of every 10th of 101 equal steps."""
    assert sample_rows(np.arange(101) * 0.04, 11).tolist() == list(range(0, 101, 10))


def test_a_gap_does_not_eat_the_sample() -> None:
    """Two recordings of 50 frames, hours apart: half of the sample each."""
    time = np.concatenate([np.arange(50) * 0.04, 10000 + np.arange(50) * 0.04])
    rows = sample_rows(time, 8)
    assert len(rows) == 8 and (rows < 50).sum() == 4


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"frames": np.int64(4)}, 4),
        ({"frames": 8}, 8),
        ({"frames": "all"}, "all"),
        ({"times": [0, 1.5]}, (0.0, 1.5)),
        ({"times": np.array([0.5])}, (0.5,)),
    ],
)
def test_numbers_of_any_kind(given: dict[str, Any], meant: Any) -> None:
    assert selected(**given) == meant and type(selected(**given)) is type(meant)


@pytest.mark.parametrize("given", ["8", "x", b"8", True, 0, -1, 1.5, [], ["1"], [np.nan]])
def test_anything_else_is_one_clear_line(given: Any) -> None:
    with pytest.raises(ValueError, match="expected .all., .keyframes. or a positive number"):
        selected(given)


@pytest.mark.parametrize("given", [[], [-1], [0.5], ["1"], [True], [2**70], np.array([2**64 - 1], np.uint64)])
def test_rows_are_counted_from_0(given: Any) -> None:
    with pytest.raises(ValueError, match="expected indices of frames, counted from 0"):
        selected(rows=given)


def test_more_frames_than_there_are(tmp_path: Any) -> None:
    path = write_clip(tmp_path / "short.mp4", pan(5, (64, 48), (1, 0)))
    for frames in (10**9, np.int64(10**9)):
        meta, rows, images = codecmeta.read(path, frames)
        assert rows.tolist() == list(range(5)) and len(images) == 5
    with pytest.raises(ValueError, match="frames='8'"):
        codecmeta.read(path, "8")  # type: ignore[arg-type]
