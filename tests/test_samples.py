"""The sample clips: what truth.json says of them is what the project finds in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import codecmeta

SAMPLES = Path(__file__).resolve().parents[1] / "data_samples"
TRUTH = json.loads((SAMPLES / "truth.json").read_text())
QUESTIONS = [
    (name, one["question"], one["answer"]) for name, facts in TRUTH.items() for one in facts.get("questions", [])
]


@pytest.mark.parametrize("name", TRUTH)
def test_every_clip_has_the_frames_it_should(name: str) -> None:
    assert len(codecmeta.probe(SAMPLES / name).frames) == TRUTH[name]["frames"]
    assert (SAMPLES / name).stat().st_size < 500_000


def test_the_pan_has_its_motion() -> None:
    meta = codecmeta.extract(SAMPLES / "pan.mp4")
    field = codecmeta.motion_grid(meta, np.arange(1, 70))
    inner = field.motion[:, 1:-1, 3:-3][field.coverage[:, 1:-1, 3:-3] > 0.9]
    assert np.abs(np.median(inner, axis=0) - TRUTH["pan.mp4"]["motion_pixels_per_frame"]).max() < 0.1


def test_the_cuts_are_found_where_they_are() -> None:
    meta = codecmeta.extract(SAMPLES / "cuts.mp4")
    change = codecmeta.change_scores(meta, np.arange(len(meta.frames)))
    cuts = TRUTH["cuts.mp4"]["cuts"]
    events = codecmeta.event_boundaries(change, len(cuts) + 1)
    assert np.abs(np.array([start for start, _ in events[1:]]) - cuts).max() <= 1


@pytest.mark.parametrize(("name", "question", "answer"), QUESTIONS, ids=[f"{one[0]}-{one[2]}" for one in QUESTIONS])
def test_the_built_in_model_answers_the_sample_questions(name: str, question: str, answer: str) -> None:
    """With all tokens and with the default method."""
    pytest.importorskip("torch")
    from codecmeta.models import load

    model = load("small")
    for method in ("none", "metom"):
        assert model.ask(SAMPLES / name, question, strategy=method).text == answer, method
