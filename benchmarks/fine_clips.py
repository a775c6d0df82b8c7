"""Harder clips for the fine model: small objects among others, events of 1 to 10 seconds, where and when.

    python -m benchmarks.fine_clips OUT --clips 100 --seed 2        # OUT/dataset.jsonl and OUT/clips/

What is to be seen is that of the fine model's world (models/small/world/fine.py); backdrops, cameras, sizes and
encoders are those of `benchmarks/heldout.py`, which training never had. Clips last 16 to 50 seconds, so that an event
of a sixteenth to a fifth of the clip lasts 1 to 10. Kinds take turns, then codecs, then cameras: balanced over 100
clips.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.heldout import CAMERAS, RATES, SIZES, STREAM, Clip, binned, draw_backdrop, draw_encoder, main
from codecmeta.models.small.world import fine
from codecmeta.models.small.world.questions import Question
from codecmeta.models.small.world.scenes import Scene

PER_CLIP = 6
LARGE = tuple(size for size in SIZES if min(size) >= 224)


def make_clip(split: int, number: int) -> Clip:
    """The clip with this number of the split with this seed; the same arguments always give the same clip."""
    seed = split * 1_000_000 + number
    rng = np.random.default_rng([STREAM, seed, 1])
    kind = fine.KINDS[number % 5]
    width, height = LARGE[int(rng.integers(len(LARGE)))]
    spans, cut = fine.draw_spans(rng, kind)
    objects = None
    while objects is None:
        objects = fine.draw_objects(rng, spans, width / height)
    camera = CAMERAS[number // 25 % 4]
    backdrops = tuple(draw_backdrop(rng, camera) for _ in range(1 if cut is None else 2))
    noise = float(rng.choice((0.0, rng.uniform(1, 6))))
    scene = Scene(seed, "eval", kind, objects, (), cut, noise, width / height)  # type: ignore[arg-type]
    rate = int(rng.choice(RATES[:3]))
    frames = int(rng.uniform(16, 50) * rate)
    codec, options, strata = draw_encoder(rng, number // 5, frames)
    strata |= {"camera": camera, "kind": kind, "seconds": binned(frames / rate, (25, 40), "s")}
    return Clip(number, scene, backdrops, frames, rate, width, height, codec, options, strata)


def questions(clip: Clip) -> list[Question]:
    """`PER_CLIP` of two dozen that are drawn, every type as likely as another, none twice: those about short events
    first, then the order in which they were drawn."""
    rng = np.random.default_rng([STREAM, clip.scene.seed, 18])
    drawn = fine.draw_questions(clip.scene, rng, 4 * PER_CLIP)
    every = list({one.text: one for one in drawn}.values())
    every.sort(key=lambda one: seconds_of(clip, one) is None or event_of(clip, one) != SHORT)
    return every[:PER_CLIP]


SHORT = "10 s or less"


def seconds_of(clip: Clip, question: Question) -> float | None:
    """How long the object is there that a question is about, of several the shortest; None about all of them."""
    asked = [clip.scene.objects[number] for _, number in question.names]
    return min((one.disappears - one.appears) * clip.frames / clip.rate for one in asked) if asked else None


def event_of(clip: Clip, question: Question) -> str:
    """The stratum of a question: how long what it is about is to be seen."""
    seconds = seconds_of(clip, question)
    if seconds is None:
        return "all objects"
    whole = seconds >= clip.frames / clip.rate
    return "all the time" if whole else SHORT if seconds <= 10 else "longer than 10 s"


def rows_of(clip: Clip) -> list[dict[str, Any]]:
    """One dataset row per question."""
    return [
        {
            "video": f"clips/{clip.name}",
            "question": one.text,
            "answer": one.answer,
            "type": one.type,
            "strata": {
                **clip.strata,
                "event": event_of(clip, one),
                "asks": "how many" if one.type == "count" else "else",
            },
        }
        for one in questions(clip)
    ]


if __name__ == "__main__":
    main(__doc__, make_clip, rows_of)
