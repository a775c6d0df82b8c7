"""What is it worth to know where the objects are? Selections by the truth about clips, with the built-in model.

    python -m benchmarks.oracle --clips-in heldout --clips 120 --json benchmarks/results/oracle.json

A method of token selection can at best know what matters. Here it does: every frame keeps the same number of tokens,
those that show most of an object, most of what changed since the last sample, or least of any object; beside them
tokens drawn by chance. Nothing is merged, positions are preserved, one token of answer is read. Where the truth does
not beat chance, no signal can, and the model or the questions are the reason. On H.264 clips the codec chooses too,
from its residual or its bits, in the sampled frame or over all frames since the last sample, within each frame or over
the clip.
The clips are those of the tuning split, which benchmarks/heldout.py writes with `--seed 1`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

import codecmeta  # noqa: E402
from benchmarks.heldout import TUNING, Clip, make_clip  # noqa: E402
from codecmeta import models  # noqa: E402
from codecmeta.compression import Plain, Plan, Strategy  # noqa: E402
from codecmeta.models.evaluation.answering import Asked, replies_to  # noqa: E402
from codecmeta.models.evaluation.dataset import DatasetRow, read_dataset  # noqa: E402
from codecmeta.models.evaluation.statistics import Bootstrap  # noqa: E402
from codecmeta.models.small.world.scenes import object_map  # noqa: E402

BUDGETS = (0.5, 0.3, 0.2, 0.1)
FRAMES, SIDE, PIXELS = 16, 4, 64
CHOICES = {
    "objects": "most of an object",
    "changes": "most pixels that belong to another object, or to none, than in the frame sampled before",
    "objects and changes": "the sum of both",
    "background": "least of any object",
    "chance": "drawn by chance, as many in every frame",
}
CODEC = {
    "residual of the frame": "mean square of the exact residual, as many tokens in every frame",
    "residual of the frame, over the clip": "the same, the largest of the whole clip",
    "residual since the last sample": "mean over all frames since the last sample but keyframes, as many per frame",
    "residual since the last sample, over the clip": "the same, the largest of the whole clip",
    "bits of the frame": "mean square of the bits per macroblock, as many tokens in every frame",
    "bits of the frame, over the clip": "the same, the largest of the whole clip",
    "bits since the last sample": "mean over all frames since the last sample but keyframes, as many per frame",
    "bits since the last sample, over the clip": "the same, the largest of the whole clip",
}


@dataclass(frozen=True, kw_only=True)
class Keep(Strategy):
    """Keep given places of the token grid. slots: bool (T, tokens per frame)."""

    name: ClassVar[str] = "oracle"
    slots: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool), compare=False)

    def plan(self, layout: Any, meta: Any = None, rows: Any = None) -> Plan:
        """The places, whatever the metadata."""
        return Plan(layout, self.slots.sum(axis=1), slots=self.slots)


def values_of(clip: Clip, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """How much each token of each frame is wanted, float (T, tokens per frame), for each of `CHOICES`."""
    labels = object_map(clip.scene, clip.times()[rows], width=PIXELS, height=PIXELS)
    before = np.concatenate((np.zeros_like(labels[:1]), labels[:-1]))
    objects, changes = (_share(mask) for mask in (labels > 0, labels != before))
    chance = np.random.default_rng(clip.scene.seed).random(objects.shape)
    return {
        "objects": objects + 1e-6 * chance,
        "changes": changes + 1e-6 * chance,
        "objects and changes": objects + changes + 1e-6 * chance,
        "background": 1e-6 * chance - objects,
        "chance": chance,
    }


def _share(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of each token's pixels: bool (T, pixels, pixels) -> float (T, tokens)."""
    cells = mask.reshape(len(mask), SIDE, PIXELS // SIDE, SIDE, PIXELS // SIDE)
    return cells.mean(axis=(2, 4)).reshape(len(mask), -1)


def codec_values(path: Path, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """The same for `CODEC`, of an H.264 clip."""
    meta = codecmeta.extract(path, frames="all", details=True)
    between = []
    for start, stop in zip([0, *(rows[:-1] + 1)], rows + 1, strict=True):
        every = np.arange(start, stop)
        other = every[~meta.frames.keyframe[every]]
        between.append((other if len(other) else every).tolist())
    found = {}
    for name, maps in (("residual", meta.residual), ("bits", meta.bits)):
        assert maps is not None
        size = meta.stream.height, meta.stream.width
        found[f"{name} of the frame"] = np.stack([_energy(maps, size, [int(row)]) for row in rows])
        found[f"{name} since the last sample"] = np.stack([_energy(maps, size, frames) for frames in between])
    return {name: found[name.removesuffix(", over the clip")] for name in CODEC}


def _energy(maps: Any, size: tuple[int, int], frames: list[int]) -> NDArray[np.float64]:
    """Mean square over these frames of what each token covers: float (tokens,). size: of the picture, in pixels."""
    mean = np.square(np.asarray(maps.values)[frames].astype(np.float32)).mean(axis=0)
    rows, columns = (round(side / maps.block) for side in size)
    return cv2.resize(np.ascontiguousarray(mean[:rows, :columns]), (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()


def over_the_clip(values: NDArray[np.float64], budget: float) -> NDArray[np.bool_]:
    """The floor(budget * T * N) most wanted tokens of all frames, of equal ones the earlier."""
    slots = np.zeros(values.size, bool)
    slots[np.argsort(-values.ravel(), kind="stable")[: int(budget * values.size + 1e-9)]] = True
    return slots.reshape(values.shape)


def choose(values: NDArray[np.float64], budget: float) -> NDArray[np.bool_]:
    """The most wanted tokens of every frame, in all floor(budget * T * N); frames differ by one token at most."""
    total = int(budget * values.size + 1e-9)
    counts = total * (np.arange(len(values)) + 1) // len(values) - total * np.arange(len(values)) // len(values)
    rank = (-values).argsort(axis=1).argsort(axis=1)
    return rank < counts[:, None]


def answers(folder: Path, clips: int) -> Iterator[tuple[int, DatasetRow, dict[str, bool]]]:
    """(clip, question, {setting: right}) for every question about the first clips of the tuning split."""
    model = models.load()
    videos: dict[Path, list[DatasetRow]] = {}
    for row in read_dataset(folder / "dataset.jsonl")[0]:
        videos.setdefault(row.video, []).append(row)
    for number, (video, rows) in enumerate(list(videos.items())[:clips]):
        asked = Asked(model, model.clip(video), [row.prompt for row in rows])
        settings: dict[str, Strategy] = {"all": Plain()}
        clip = make_clip(TUNING, int(video.stem))
        every = values_of(clip, asked.clip.rows)
        every |= codec_values(video, asked.clip.rows) if clip.codec == "libx264" else {}
        for name, values in every.items():
            rule = over_the_clip if name.endswith("over the clip") else choose
            settings |= {f"{name} {budget:g}": Keep(slots=rule(values, budget)) for budget in BUDGETS}
        right: list[dict[str, bool]] = [{} for _ in rows]
        for name, strategy in settings.items():
            for one, row, reply in zip(right, rows, replies_to(model, asked, strategy, max_new_tokens=1), strict=True):
                one[name] = row.parse(reply.text) == row.answer
        yield from ((number, row, one) for row, one in zip(rows, right, strict=True))
        if number % 20 == 19:
            print(f"{number + 1} of {clips} clips", file=sys.stderr, flush=True)


def summarise(found: list[tuple[int, DatasetRow, dict[str, bool]]]) -> dict[str, Any]:
    """Accuracy of every setting that all these questions were asked with, and its difference to all tokens."""
    names = [name for name in max((one for _, _, one in found), key=len) if all(name in one for _, _, one in found)]
    numbers = {clip: number for number, clip in enumerate(sorted({clip for clip, _, _ in found}))}
    bootstrap = Bootstrap([numbers[clip] for clip, _, _ in found])
    right = {name: np.array([float(one[name]) for _, _, one in found]) for name in names}
    types = np.array([row.type for _, row, _ in found])
    return {
        "questions": len(found),
        "clips": len(numbers),
        "settings": {
            name: {
                "accuracy": _rounded(bootstrap.interval(values)),
                "difference": _rounded(bootstrap.interval(values - right["all"])),
                "without counting": _rounded(bootstrap.interval(values, types != "count")),
                "difference without counting": _rounded(bootstrap.interval(values - right["all"], types != "count")),
                "types": {kind: round(float(values[types == kind].mean()), 4) for kind in sorted(set(types))},
            }
            for name, values in right.items()
        },
    }


def _rounded(values: tuple[float, float, float]) -> list[float]:
    return [round(value, 4) for value in values]


def main() -> None:
    """Ask and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips-in", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=120)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = list(answers(options.clips_in, options.clips))
    h264 = [one for one in found if len(one[2]) > 1 + len(CHOICES) * len(BUDGETS)]
    result = {
        "what": " ".join(__doc__.split("\n\n")[0].split()),
        "command": f"python -m benchmarks.oracle --clips-in FOLDER --clips {options.clips}",
        "split": {"generator": "benchmarks/heldout.py", "seed": TUNING, "clips": options.clips},
        "choices": CHOICES | CODEC,
        "all clips": summarise(found),
        "H.264 clips": summarise(h264),
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text) if options.json is None else options.json.write_text(text)


if __name__ == "__main__":
    main()
