"""How well the built-in text-image model finds pictures, on clips that no training seed can produce.

    python -m codecmeta.models.small.text_image.evaluate --clips 90 --json benchmarks/results/text_image.json

Clips of models/small/evaluate.py, each an mp4 file with its own encoder settings, of which 16 pictures are looked at.
"clips": texts about an object that some of a clip's pictures show and others do not: how often the best picture shows
it, and how often a picture that shows it is above one that does not (AUC); chance is the share that shows it. "pool":
the same over the pictures of all clips, for every colour, shape and pair, mean over texts. "query": of 4 frames that
`choose_frames(policy="query")` takes for a question about an object's direction, the share that shows it, beside 4
spread evenly. Held-out pairs
were never shown in training, the unseen wording of each kind never read.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import codecmeta
from codecmeta.models.small.evaluate import clip_file
from codecmeta.models.small.text_image.texts import NAMES, FrameText, Wanted, name_of, shown_objects
from codecmeta.models.small.world.questions import TEMPLATES
from codecmeta.models.small.world.scenes import HELD_OUT, SHAPES, Scene, frame_times
from codecmeta.models.text_image import TextImage, load_text_image

PICTURES, CHOSEN = 16, 4


def main() -> None:
    """Evaluate and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=90)
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first clip")
    parser.add_argument("--weights", default="small", help='"small" or a folder of weights')
    parser.add_argument("--json", type=Path, help="where to write the result; left out, it is printed only")
    options = parser.parse_args()
    command = "python -m codecmeta.models.small.text_image.evaluate"
    seeds = range(options.first_seed, options.first_seed + options.clips)
    result = {
        "command": f"{command} --clips {options.clips} --first-seed {options.first_seed}",
        "clips_read": options.clips,
        **evaluate(load_text_image(options.weights), seeds),
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if options.json:
        options.json.write_text(text)


def evaluate(model: TextImage, seeds: Sequence[int]) -> dict[str, Any]:
    """All that is measured, over the clips of these seeds."""
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    queries: list[tuple[float, float]] = []
    every, shows = [], []
    for seed in seeds:
        with clip_file(seed) as (clip, path):
            meta, rows, pictures = codecmeta.read(str(path), PICTURES)
            shown = shown_objects(clip.scene, frame_times(clip.frames))
            every += [model.preprocessing.resize(picture) for picture in pictures]
            shows.append(shown[rows])
            for unseen, (group, text) in product((False, True), enumerate(texts_about(clip.scene, seed))):
                said = text[unseen]
                fits = said.fits(shown[rows])
                if fits.all() or not fits.any():
                    continue
                score = ranked(np.array(model.scores(pictures, said.text)), fits)
                found["unseen wording" if unseen else "seen wording"].append(score)
                if not unseen and is_held_out(said.wanted[0]):
                    found["held-out pairs"].append(score)
                if not unseen and group % 3 == 0:
                    queries.append(by_query(model, str(path), said, shown))
    pool = np.concatenate(shows)
    return {
        "clips": {name: summary(scores) for name, scores in sorted(found.items())},
        "pool": in_the_pool(model, np.stack(every), pool),
        "query": {
            "questions": len(queries),
            "frames": CHOSEN,
            "share_shown": round(float(np.mean([a for a, _ in queries])), 3),
            "share_shown_uniform": round(float(np.mean([b for _, b in queries])), 3),
        },
    }


def texts_about(scene: Scene, seed: int) -> list[tuple[FrameText, FrameText]]:
    """For each object a question by its colour and shape, by its colour, and by its shape: in a wording of training,
    and in the one that training never used."""
    rng = np.random.default_rng([seed, 6])
    texts = []
    for item in scene.objects:
        colour, shape = NAMES.index(item.colour), SHAPES.index(item.shape)
        for kind, wanted in (("direction", (colour, shape)), ("shape", (colour, None)), ("colour", (None, shape))):
            wordings = TEMPLATES[kind]
            both = (wordings[int(rng.integers(len(wordings) - 1))], wordings[-1])
            seen, unseen = (FrameText(wording.format(name_of(wanted)), (wanted,)) for wording in both)
            texts.append((seen, unseen))
    return texts


def by_query(model: TextImage, path: str, text: FrameText, shown: NDArray[np.bool_]) -> tuple[float, float]:
    """The share of chosen frames that fit, and that of frames spread evenly."""
    fits = text.fits(shown)
    chosen = codecmeta.choose_frames(path, CHOSEN, policy="query", question=text.text, scorer=model).rows
    spread = codecmeta.choose_frames(path, CHOSEN).rows
    return float(fits[chosen].mean()), float(fits[spread].mean())


def in_the_pool(model: TextImage, pictures: NDArray[np.uint8], shown: NDArray[np.bool_]) -> dict[str, Any]:
    """Texts that name a colour, a shape or a pair, against all pictures."""
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for colour, shape in product((None, *range(len(NAMES))), (None, *range(len(SHAPES)))):
        wanted: Wanted = (colour, shape)
        fits = FrameText("", (wanted,)).fits(shown)
        if wanted == (None, None) or fits.all() or not fits.any():
            continue
        kind = "shape" if colour is None else "colour" if shape is None else "pair"
        scores = np.array(model.scores(pictures, f"the {name_of(wanted)}"))
        found["held-out pair" if is_held_out(wanted) else kind].append(ranked(scores, fits))
    return {name: summary(scores) for name, scores in sorted(found.items())}


def ranked(scores: NDArray[np.float64], fits: NDArray[np.bool_]) -> tuple[float, float, float]:
    """(is the best picture right, share of pairs in the right order, share of pictures that are right)."""
    above, below = scores[fits][:, None], scores[~fits][None]
    auc = ((above > below) + 0.5 * (above == below)).mean()
    return float(fits[scores.argmax()]), float(auc), float(fits.mean())


def is_held_out(wanted: Wanted) -> bool:
    """Is it a pair that training never showed?"""
    colour, shape = wanted
    return colour is not None and shape is not None and (NAMES[colour], SHAPES[shape]) in HELD_OUT


def summary(scores: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Means over texts."""
    best, auc, chance = np.array(scores).mean(axis=0).round(3).tolist()
    return {"texts": len(scores), "best_shows_it": best, "auc": auc, "chance": chance}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
