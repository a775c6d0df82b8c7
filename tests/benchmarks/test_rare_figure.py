"""The README's first picture shows where the event is and what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import codecmeta
from benchmarks.rare_figure import BASE, LEFT, RIGHT, SHOWN, THERE, TOP, draw

SAMPLE = Path(__file__).parents[2] / "data_samples" / "arrivals.mp4"


def test_the_event_and_the_shares_are_where_they_belong() -> None:
    end = float(codecmeta.probe(SAMPLE).frames.time[-1])
    drawn = draw(SAMPLE, (end / 4, end / 2), {"uniform": 0.25, "events": 0.75})
    there = np.flatnonzero((drawn[TOP + 2] == THERE).all(axis=1))
    wide = RIGHT - LEFT
    assert abs(there.min() - (LEFT + wide / 4)) <= 1 and abs(there.max() - (LEFT + wide / 2)) <= 1
    bars = drawn[BASE:, LEFT + 690 :]
    length = {name: int((bars == colour).all(axis=2).sum(axis=1).max()) for name, colour in SHOWN.items()}
    assert abs(length["uniform"] - 30) <= 4 and abs(length["events"] - 90) <= 4  # of 120 pixels; letters blend in
