"""Ask the built-in model about clips that no training seed can produce, encoded and read back from files.

    python -m codecmeta.models.small.evaluate --clips 150 --json benchmarks/results/small_model.json

Every clip is an mp4 file with its own encoder settings, size, frame rate and length. Answers count as right only if
they match exactly. Two sets are reported beside the overall accuracy: questions about objects whose colour-shape pair
was never trained on ("held-out pairs", part of the overall numbers), and questions in one wording per type that was
never trained on ("unseen wording", not part of them).
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

import codecmeta
import codecmeta.models
from codecmeta.compression.engine.transformers_names import IDS, MASK, PIXELS
from codecmeta.compression.methods.random_keep import RandomKeep
from codecmeta.models.small.model import FRAMES
from codecmeta.models.small.world.encoding import Encoder, draw_encoder, write_clip
from codecmeta.models.small.world.questions import NUMBERS, TYPES, Question, all_questions
from codecmeta.models.small.world.scenes import (
    COLOURS,
    DIRECTIONS,
    HELD_OUT,
    SHAPES,
    Kind,
    Scene,
    frame_times,
    make_scene,
    render,
)
from codecmeta.models.video_model import VideoModel

SIDES: tuple[int, ...] = (64, 96, 128, 192, 256)
LENGTHS: tuple[int, ...] = (16, 24, 36, 48, 72, 96)
KINDS: tuple[Kind, ...] = ("plain", "late", "cut")


@dataclass(frozen=True)
class Clip:
    """An evaluation clip: what is true about it and how it is encoded."""

    scene: Scene
    encoder: Encoder
    frames: int
    width: int
    height: int

    def write(self, path: Path) -> None:
        """Render and encode the clip."""
        frames = render(self.scene, frame_times(self.frames), width=self.width, height=self.height)
        write_clip(path, frames, self.encoder)


@dataclass(frozen=True)
class AskedQuestion:
    """One question, the model's answer, and whether the question is about a held-out pair."""

    question: Question
    given: str
    held_out: bool

    @property
    def right(self) -> bool:
        """Exact match."""
        return self.given == self.question.answer


def make_clip(seed: int) -> Clip:
    """The evaluation clip of a seed; kinds take turns, and all colour-shape pairs, held-out ones too, are as likely."""
    scene = make_scene(seed, split="eval", kind=KINDS[seed % 3])
    rng = np.random.default_rng([seed, 2])
    side = int(rng.choice(SIDES))
    wide, high = (4, 3) if scene.aspect > 1 else (3, 4) if scene.aspect < 1 else (4, 4)
    return Clip(scene, draw_encoder(rng), int(rng.choice(LENGTHS)), side * wide // 4, side * high // 4)


def main() -> None:
    """Evaluate and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first clip")
    parser.add_argument("--weights", default="small", help='"small" or a folder of weights')
    parser.add_argument("--thin", action="store_true", help="measure random token dropping instead")
    parser.add_argument("--json", type=Path, help="where to write the result; left out, it is printed only")
    options = parser.parse_args()
    begin = time.time()
    seeds = range(options.first_seed, options.first_seed + options.clips)
    if options.thin:
        found: dict = {"settings": thin_out(options.weights, seeds)}
    else:
        asked = evaluate(options.weights, seeds)
        found = {**summarise_questions(asked[False]), "unseen_wording": summarise_questions(asked[True])}
    command = f"python -m codecmeta.models.small.evaluate --clips {options.clips} --first-seed {options.first_seed}"
    result = {
        "command": command + (" --thin" if options.thin else ""),
        "clips": options.clips,
        **found,
        "seconds": round(time.time() - begin, 1),
    }
    text = json.dumps(result, indent=2) + "\n"
    print(text)
    if options.json:
        options.json.write_text(text)


def evaluate(weights: str, seeds: Sequence[int]) -> dict[bool, list[AskedQuestion]]:
    """Ask everything about the clips of these seeds; the key says whether the wording was unseen."""
    model = codecmeta.models.load(weights)
    asked: dict[bool, list[AskedQuestion]] = {False: [], True: []}
    for seed in seeds:
        with clip_file(seed) as (clip, path):
            rng = np.random.default_rng([seed, 3])
            sets = {unseen: all_questions(clip.scene, rng, unseen_wording=unseen) for unseen in (False, True)}
            texts = [question.text for questions in sets.values() for question in questions]
            answers = answer_in_one_batch(model, path, texts)
            if seed == seeds[0] and answers[0] != model.ask(path, texts[0]).text:
                raise RuntimeError("answers in a batch differ from model.ask")
        rest = iter(answers)
        for unseen, questions in sets.items():
            asked[unseen] += [AskedQuestion(item, next(rest), _is_held_out(item, clip.scene)) for item in questions]
    return asked


def thin_out(weights: str, seeds: Sequence[int]) -> list[dict]:
    """Accuracy with random visual tokens only, original and contiguous positions, through `model.ask`."""
    model = codecmeta.models.load(weights)
    settings = [(1.0, True), *product((0.5, 0.3, 0.2, 0.1, 0.05), (True, False))]
    right: dict[tuple[float, bool], list[AskedQuestion]] = {setting: [] for setting in settings}
    for seed in seeds:
        with clip_file(seed) as (clip, path):
            for question in all_questions(clip.scene, np.random.default_rng([seed, 3])):
                for budget, keep_ids in settings:
                    strategy = RandomKeep(budget=budget, keep_ids=keep_ids, seed=seed)
                    given = model.ask(path, question.text, strategy=strategy).text
                    right[budget, keep_ids].append(AskedQuestion(question, given, False))
    return [
        {"tokens": budget, "positions": "original" if keep_ids else "contiguous", **summarise_questions(asked)}
        for (budget, keep_ids), asked in right.items()
    ]


@contextmanager
def clip_file(seed: int) -> Iterator[tuple[Clip, Path]]:
    """The evaluation clip of a seed, and a temporary file that holds it."""
    clip = make_clip(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        clip.write(path)
        yield clip, path


def summarise_questions(asked: Sequence[AskedQuestion]) -> dict:
    """Accuracies with counts: overall, per type, on held-out pairs, and of guessing."""
    held_out = [item for item in asked if item.held_out]
    return {
        "questions": len(asked),
        "accuracy": _accuracy(asked),
        "types": {kind: _line([item for item in asked if item.question.type == kind]) for kind in TYPES},
        "held_out_pairs": _line(held_out),
        "held_out_types": {
            kind: _line([item for item in held_out if item.question.type == kind])
            for kind in ("colour", "shape", "direction")
        },
    }


def _line(asked: Sequence[AskedQuestion]) -> dict:
    """Accuracy, count and what two ways of guessing without looking at the clip would score.

    A random guess knows which words fit the question: one of six colours, or one of the two objects named. The best
    constant is the most frequent answer.
    """
    answers = Counter(item.question.answer for item in asked)
    most = max(answers.values(), default=0)
    return {
        "questions": len(asked),
        "accuracy": _accuracy(asked),
        "random_guess": round(sum(1 / _choices(item.question) for item in asked) / max(len(asked), 1), 3),
        "best_constant": round(most / max(len(asked), 1), 3),
    }


def _choices(question: Question) -> int:
    """How many words could answer the question."""
    if question.type == "first":
        return 2
    return next(len(words) for words in (COLOURS, SHAPES, DIRECTIONS, NUMBERS) if question.answer in words)


def _accuracy(asked: Sequence[AskedQuestion]) -> float:
    return round(sum(item.right for item in asked) / max(len(asked), 1), 4)


def _is_held_out(question: Question, scene: Scene) -> bool:
    """Is the question about an object whose colour-shape pair was never trained on?"""
    if question.type not in ("colour", "shape", "direction"):
        return False
    item = scene.objects[question.names[0][1]]
    return (item.colour, item.shape) in HELD_OUT


def answer_in_one_batch(model: VideoModel, path: Path, texts: Sequence[str]) -> list[str]:
    """What `model.ask` answers to each text, with one pass over the file and one batch instead of one per question."""
    _, _, pictures = codecmeta.read(str(path), FRAMES, transform=model.preprocessing.resize)
    rows = [model.inputs(np.stack(pictures), text) for text in texts]
    length = max(row[IDS].shape[1] for row in rows)
    padding = [length - row[IDS].shape[1] for row in rows]
    pad = model.tokenizer.pad_token_id
    inputs = {
        name: torch.cat(
            [functional.pad(row[name], (left, 0), value=fill) for row, left in zip(rows, padding, strict=True)]
        )
        for name, fill in ((IDS, pad), (MASK, 0))
    }
    inputs[PIXELS] = torch.cat([row[PIXELS] for row in rows])
    with torch.inference_mode():
        ids = model.model.generate(**inputs, max_new_tokens=8, do_sample=False)
    return [text.strip() for text in model.tokenizer.batch_decode(ids[:, length:], skip_special_tokens=True)]


if __name__ == "__main__":
    main()
