"""How far a probe is: never back, never past the end, and near it when it is done."""

from pathlib import Path

import pytest

import codecmeta
from codecmeta.view.overview import overview_of_file

LONG = Path(__file__).resolve().parents[2] / "data_samples" / "long.mp4"


@pytest.mark.parametrize("read", [codecmeta.probe, overview_of_file])
def test_reading_packets_says_how_far_it_is(read):
    seen: list[tuple[int, int]] = []
    read(LONG, progress=lambda *at: seen.append(at))
    places = [done for done, _ in seen]
    size = LONG.stat().st_size
    assert {whole for _, whole in seen} == {size} and places == sorted(places) and len(places) >= 10
    assert 0 < places[0] < 0.2 * size and 0.6 * size < places[-1] < size  # a third of the file are its tables
