"""Training batches: scenes rendered (some of them encoded and decoded), tokenised questions, and labels of the grid.

The labels say where every object is. They feed auxiliary losses that exist in training only: what each patch shows,
and which visual tokens a word such as "red" talks about.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerFast

from codecmeta.models.small.model import FRAME_TOKENS, FRAMES, GRID, PATCH_GRID, PROMPT, SIZE
from codecmeta.models.small.world.encoding import draw_encoder, round_trip
from codecmeta.models.small.world.questions import TYPES, Question, draw_questions
from codecmeta.models.small.world.scenes import (
    COLOURS,
    DIRECTIONS,
    HELD_OUT,
    NAMELESS,
    SHAPES,
    Scene,
    frame_times,
    make_scene,
    object_map,
    render,
    sample_indices,
    shrink,
)

IGNORE = -100
HEADS: dict[str, int] = {"shape": 1 + len(SHAPES), "colour": 1 + len(COLOURS), "direction": 5, "start": 4, "after": 2}
FAST_PRESETS = ("ultrafast", "superfast", "veryfast")
SIZES = ((64, 64), (96, 96), (128, 128))


@dataclass
class Sample:
    """One clip, its questions and its labels.

    Attributes:
        pixels: uint8 (frames, 64, 64, 3).
        frames: int64 (frames,), which of the 16 frames these are.
        questions: what is asked.
        barred: the answer to each question that would make a held-out pair, if there is one (see `never_shown`).
        patches: int64 (2, frames, 8, 8), shape and colour of every patch; IGNORE on outlines.
        tokens: int64 (5, frames, 4, 4), the `HEADS` of every visual token; IGNORE where undecided.
        owners: bool (objects, frames, 4, 4), the visual tokens that show each object.
        objects: int64 (frames, 4, 4), 1 + the object that a visual token shows most of, 0 or less where there is none.
        patch_places: float32 (2, frames, 8, 8), x and y of the centre of the object shown; NaN where there is none.
        token_places: float32 (4, frames, 4, 4), the same, and how far the object has come since it appeared.
    """

    pixels: np.ndarray
    frames: np.ndarray
    questions: list[Question]
    barred: list[str | None]
    patches: np.ndarray
    tokens: np.ndarray
    owners: np.ndarray
    objects: np.ndarray
    patch_places: np.ndarray
    token_places: np.ndarray


class Batches(IterableDataset):
    """A stream of batches (dicts of tensors) of consecutive training seeds."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        *,
        clips: int,
        questions: int,
        frames: tuple[int, ...],
        encoded: float,
        nameless: float,
        late: bool,
        first_seed: int,
        steps: int,
    ) -> None:
        """Batches take turns with the numbers of `frames`; see `make_sample` for the other arguments."""
        self.tokenizer, self.clips, self.questions = tokenizer, clips, questions
        self.frames, self.encoded, self.nameless, self.late = frames, encoded, nameless, late
        self.seed, self.steps = first_seed, steps

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        torch.set_num_threads(1)
        for step in range(self.steps):
            seeds = range(self.seed + step * self.clips, self.seed + (step + 1) * self.clips)
            frames = self.frames[step % len(self.frames)]
            samples = [
                make_sample(seed, self.questions, frames, self.encoded, self.nameless, self.late and seed % 4 == 0)
                for seed in seeds
            ]
            yield collate(samples, self.tokenizer)


def make_sample(
    seed: int, questions: int, frames: int, encoded: float, nameless: float = 0.0, late: bool = False
) -> Sample:
    """The training sample of a seed.

    Args:
        seed: the scene's seed; everything else about the sample follows from it too.
        questions: how many questions to ask.
        frames: how many of the 16 frames to keep (one drawn from each of `frames` equal runs).
        encoded: the chance that the pixels go through H.264.
        nameless: share of objects in a colour that has no name.
        late: make it a clip in which objects appear one after the other.
    """
    scene = make_scene(seed, kind="late" if late else None, nameless=nameless)
    rng = np.random.default_rng([seed, 1])
    numbers = np.arange(0, FRAMES, FRAMES // frames) + rng.integers(FRAMES // frames, size=frames)
    times, pixels = _film(scene, rng, encoded, numbers)
    labels = object_map(scene, times[numbers], width=SIZE, height=SIZE)
    chosen = draw_questions(scene, rng, questions)
    barred = [_barred_answer(question, scene) for question in chosen]
    return Sample(pixels, numbers, chosen, barred, *_labels(scene, labels, times[numbers], times))


def never_shown() -> np.ndarray:
    """bool (1 + shapes, 1 + colours): the pairs held out of training; row and column 0 are background.

    Training on a red object must not count as evidence against "triangle": red triangles are missing because we hold
    them out, not because the world lacks them. So the losses leave the held-out member of a pair out of the choice.
    """
    table = np.zeros((HEADS["shape"], HEADS["colour"]), bool)
    for colour, shape in HELD_OUT:
        table[1 + SHAPES.index(shape), 1 + list(COLOURS).index(colour)] = True
    return table


def _barred_answer(question: Question, scene: Scene) -> str | None:
    """The shape (or colour) that is held out together with the colour (or shape) of the object asked about."""
    if question.type not in ("colour", "shape", "after_cut"):
        return None
    item = scene.objects[question.names[0][1]]
    if question.answer == item.shape:
        return next((shape for colour, shape in HELD_OUT if colour == item.colour), None)
    return next((colour for colour, shape in HELD_OUT if shape == item.shape), None)


def collate(samples: list[Sample], tokenizer: PreTrainedTokenizerFast) -> dict[str, torch.Tensor]:
    """Samples into tensors. Text is int64 (clips, questions, length), padded on the right.

    `answers` int64 (clips, questions) is the place of the answer in its text, `barred` the token left out of the choice
    (-1 for none). `words` int64 (named, 3) holds the
    (clip, question, place) of every word that names an object, `owners` bool (named, frames*16) that object's tokens.
    """
    asked = [sample.questions for sample in samples]
    return spelled(asked, [sample.owners for sample in samples], tokenizer) | {
        "pixels": torch.from_numpy(np.stack([sample.pixels for sample in samples])),
        "frames": torch.from_numpy(np.stack([sample.frames for sample in samples])),
        "patches": torch.from_numpy(np.stack([sample.patches for sample in samples], axis=1)),
        "tokens": torch.from_numpy(np.stack([sample.tokens for sample in samples], axis=1)),
        "patch_places": torch.from_numpy(np.stack([sample.patch_places for sample in samples], axis=1)),
        "token_places": torch.from_numpy(np.stack([sample.token_places for sample in samples], axis=1)),
        "objects": torch.from_numpy(np.stack([sample.objects for sample in samples])),
        "barred": torch.tensor(
            [[tokenizer.convert_tokens_to_ids(word) if word else -1 for word in sample.barred] for sample in samples]
        ),
        "types": torch.tensor([[TYPES.index(question.type) for question in sample.questions] for sample in samples]),
    }


def spelled(
    asked: list[list[Question]], owners: list[np.ndarray], tokenizer: PreTrainedTokenizerFast
) -> dict[str, torch.Tensor]:
    """Text, answers, words and owners of `collate`, of the questions about each clip and the tokens of its objects."""
    texts = [[_tokenise(question, tokenizer) for question in questions] for questions in asked]
    length = max(len(ids) for row in texts for ids, _ in row)
    text = torch.full((len(texts), len(texts[0]), length), tokenizer.pad_token_id)
    answers = torch.zeros(text.shape[:2], dtype=torch.long)
    words, shown = [], []
    for clip, row in enumerate(texts):
        for number, (ids, named) in enumerate(row):
            text[clip, number, : len(ids)] = torch.tensor(ids)
            answers[clip, number] = len(ids) - 2
            words += [(clip, number, place) for place, _ in named]
            shown += [owners[clip][which].reshape(-1) for _, which in named]
    return {
        "text": text,
        "answers": answers,
        "words": torch.tensor(words),
        "owners": torch.from_numpy(np.stack(shown)),
    }


def _film(scene: Scene, rng: np.random.Generator, encoded: float, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The times of the 16 sampled frames, float64 (16,), and pixels of those wanted, uint8 (numbers, 64, 64, 3)."""
    width, height = SIZES[int(rng.integers(3))]
    through_codec = rng.random() < encoded
    count = int(rng.integers(FRAMES, 41 if through_codec else 97))
    times = frame_times(count)
    picked = sample_indices(count, FRAMES)
    if through_codec:
        frames = round_trip(render(scene, times, width=width, height=height), draw_encoder(rng, presets=FAST_PRESETS))
        return times[picked], shrink(frames[picked[numbers]], SIZE)
    return times[picked], shrink(render(scene, times[picked[numbers]], width=width, height=height), SIZE)


def _labels(scene: Scene, labels: np.ndarray, times: np.ndarray, all_times: np.ndarray) -> tuple[np.ndarray, ...]:
    """The last six attributes of a `Sample`, from an object map of the fed frames."""
    objects = len(scene.objects)
    shapes = np.array([0, *(1 + SHAPES.index(item.shape) for item in scene.objects)])
    names = list(COLOURS)
    numbers = [IGNORE if item.colour == NAMELESS else 1 + names.index(item.colour) for item in scene.objects]
    colours = np.array([0, *numbers])

    cover = _cover(labels, objects, PATCH_GRID)
    best = cover.argmax(0) + 1
    shown = np.where(cover.max(0) >= 0.3, best, np.where(cover.max(0) == 0, 0, IGNORE))
    patches = np.stack([_look_up(table, shown) for table in (shapes, colours)])
    places = _places(scene, times)
    patch_places = _look_up_places(places[:2], shown)

    cover = _cover(labels, objects, GRID)
    owners = cover >= 0.12
    shown = np.where(owners.any(0), cover.argmax(0) + 1, np.where(cover.max(0) == 0, 0, IGNORE))
    start = np.array([0, *(1 + int(np.digitize(item.appears, (0.01, 0.35, 0.5))) for item in scene.objects)]) - 1
    directions = np.array([IGNORE, *(DIRECTIONS.index(item.direction) for item in scene.objects)])
    since = [(all_times[None] <= times[:, None]) & item.visible(all_times)[None] for item in scene.objects]
    seen = np.stack([np.zeros(len(times), int), *(rows.sum(1) for rows in since)], axis=1)
    moved = np.take_along_axis(seen, np.maximum(shown, 0).reshape(len(times), -1), axis=1).reshape(shown.shape) >= 5
    after = (times >= (scene.cut or 2.0))[:, None, None] + np.zeros_like(shown)
    tokens = np.stack(
        [
            _look_up(shapes, shown),
            _look_up(colours, shown),
            np.where(moved, _look_up(directions, shown), IGNORE),
            np.where(shown > 0, _look_up(start, shown), IGNORE),
            after,
        ]
    )
    token_places = _look_up_places(places, shown)
    return patches.astype(np.int64), tokens.astype(np.int64), owners, shown, patch_places, token_places


def _places(scene: Scene, times: np.ndarray) -> np.ndarray:
    """float32 (4, frames, 1 + objects): centre x, y and the way x, y since the object appeared; NaN for background."""
    rows = [np.full((len(times), 4), np.nan)]
    for item in scene.objects:
        centres = item.centres(times)
        rows.append(np.concatenate([centres, centres - item.start], axis=1))
    return np.stack(rows, axis=1).astype(np.float32).transpose(2, 0, 1)


def _look_up_places(places: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """float32 (places, frames, grid, grid): what is known about the object shown, NaN where there is none."""
    number = np.maximum(shown, 0).reshape(1, len(shown), -1)
    return np.take_along_axis(places, np.repeat(number, len(places), axis=0), axis=2).reshape(-1, *shown.shape)


def _look_up(table: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """table[shown], and IGNORE where nothing is known."""
    return np.where(shown == IGNORE, IGNORE, table[np.maximum(shown, 0)])


def _cover(labels: np.ndarray, objects: int, grid: int) -> np.ndarray:
    """float64 (objects, frames, grid, grid): the share of every cell's pixels that shows each object."""
    cells = labels.reshape(len(labels), grid, SIZE // grid, grid, SIZE // grid)
    return np.stack([(cells == number).mean(axis=(2, 4)) for number in range(1, objects + 1)])


def _tokenise(question: Question, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[tuple[int, int]]]:
    """Token numbers of what follows the video (question, answer, end), and (place, object) of its naming words."""
    prompt = PROMPT.format(question=question.text).split("<video>")[1]
    ids = tokenizer(prompt + question.answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    places = []
    for word, which in question.names:
        number = tokenizer.convert_tokens_to_ids("Ġ" + word)
        places.append((ids.index(number), which))
    return ids, places


def prefix_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Token numbers of what precedes the video."""
    return tokenizer(PROMPT.split("<video>")[0], add_special_tokens=False)["input_ids"]


VISUAL_TOKENS = FRAMES * FRAME_TOKENS
