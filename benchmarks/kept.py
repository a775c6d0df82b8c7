"""What is to be seen in the tokens that a method keeps, by the truth about the clips: no question is asked.

    python -m benchmarks.kept --clips-in heldout --clips 100 --seed 1 --json benchmarks/results/kept.json

The generator of the held-out clips (benchmarks/heldout.py) knows which pixel shows which object. Of every clip: the
share of all object pixels that lie in kept tokens; the share of pixels that changed owner since the last sample; the
share of pixels of objects that are shown for at most three tenths of the clip (events), and how many of these events
are in any kept token at all, covering half of it; and how many places of the token grid are seen at least once. A
method that chooses blindly gets its share of the tokens in each of the first three, which stands beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.heldout import TUNING, make_clip
from codecmeta.models.evaluation.statistics import Bootstrap
from codecmeta.models.small.world.scenes import Scene, object_map

SIDE, PIXELS, SHORT = 4, 64, 0.3
METHODS = [
    "random",
    "uniform mode=tokens",
    "replenish",
    "replenish weights=features",
    "evs",
    "divprune",
    "metom rpm=false tau_tem=2",
]
MEASURES = ("object pixels", "changed pixels", "event pixels", "events seen", "places seen")


@dataclass(frozen=True)
class Truth:
    """Of one clip, as its model sees it. covered: float (objects, T, tokens), the share of each token's pixels that
    shows each object. changed: float (T, tokens), the share that shows another object, or another background, than one
    sample before; nothing in the first. event: bool (objects,)."""

    covered: NDArray[np.float64]
    changed: NDArray[np.float64]
    event: NDArray[np.bool_]


def truth_of(scene: Scene, times: NDArray[np.float64]) -> Truth:
    """times: float64 (T,), 0..1, when the samples are shown."""
    labels = object_map(scene, times, width=PIXELS, height=PIXELS)
    changed = np.concatenate((np.zeros_like(labels[:1], bool), labels[1:] != labels[:-1]))
    objects = range(1, len(scene.objects) + 1)
    event = np.array([item.disappears - item.appears <= SHORT for item in scene.objects])
    return Truth(np.stack([tokens_of(labels == number) for number in objects]), tokens_of(changed), event)


def tokens_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of each token's pixels: bool (T, PIXELS, PIXELS) -> float (T, tokens)."""
    cells = mask.reshape(len(mask), SIDE, PIXELS // SIDE, SIDE, PIXELS // SIDE)
    return cells.mean(axis=(2, 4)).reshape(len(mask), -1)


def seen(kept: NDArray[np.bool_], truth: Truth) -> dict[str, float]:
    """`MEASURES` of a choice of tokens, bool (T, tokens); NaN where a clip has nothing of the kind."""

    def share(pixels: NDArray[np.float64]) -> float:
        return float((pixels * kept).sum() / pixels.sum()) if pixels.sum() else float("nan")

    events = truth.covered[truth.event]
    found = [bool((one[kept] >= 0.5).any()) for one in events if (one >= 0.5).any()]
    values = (
        share(truth.covered.sum(axis=0)),
        share(truth.changed),
        share(events.sum(axis=0)) if len(events) else float("nan"),
        float(np.mean(found)) if found else float("nan"),
        float(kept.any(axis=0).mean()),
    )
    return dict(zip(MEASURES, values, strict=True))


def main() -> None:
    """Let every method choose on every clip, and write what was in its choice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips-in", type=Path, required=True, help="folder that benchmarks/heldout.py wrote")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=TUNING)
    parser.add_argument("--method", action="append", help="as in codecmeta eval; may be repeated")
    parser.add_argument("--budget", type=float, action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    methods = options.method or METHODS
    budgets = options.budget or [0.3, 0.1]
    rows = list(choices(options.clips_in, options.seed, options.clips, methods, budgets))
    result = {
        "what": " ".join(__doc__.split("\n\n")[0].split()),
        "command": f"python -m benchmarks.kept --clips-in FOLDER --clips {options.clips} --seed {options.seed}",
        "clips": options.clips,
        "results": summarise(rows),
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text) if options.json is None else options.json.write_text(text)


def choices(folder: Path, seed: int, clips: int, methods: list[str], budgets: list[float]) -> Any:
    """(label, clip number, share kept, `seen`) of every choice."""
    import torch

    from codecmeta import models
    from codecmeta.compression import apply
    from codecmeta.models.evaluation.answering import Asked
    from codecmeta.models.evaluation.chance import for_video
    from codecmeta.models.evaluation.settings import make_settings

    model = models.load("small")
    settings = make_settings(methods, budgets, seeds=[0])[1:]
    for number in range(clips):
        clip = make_clip(seed, number)
        read = model.clip(folder / "clips" / clip.name)
        truth = truth_of(clip.scene, clip.times()[read.rows])
        asked = Asked(model, read, ["How many objects are there?"])
        for setting in settings:
            strategy = for_video(setting.strategies[0], folder / clip.name)
            with torch.inference_mode(), apply(model.model, strategy, read.meta, frames=read.rows) as session:
                model.model(**asked.memory.recall(session, asked.inputs[0]), use_cache=True)
            assert session.kept is not None
            yield (
                f"{setting.label} at {setting.budget:.0%}",
                number,
                float(session.kept.mean()),
                seen(session.kept, truth),
            )
        if number % 20 == 19:
            print(f"{number + 1} of {clips} clips", file=sys.stderr, flush=True)


def summarise(rows: list[tuple[str, int, float, dict[str, float]]]) -> dict[str, Any]:
    """Means over clips with 95 % intervals."""
    results: dict[str, Any] = {}
    for key in dict.fromkeys(row[0] for row in rows):
        mine = [row for row in rows if row[0] == key]
        bootstrap = Bootstrap([row[1] for row in mine])
        results[key] = {"tokens kept": round(float(np.mean([row[2] for row in mine])), 4)}
        for measure in MEASURES:
            values = np.array([row[3][measure] for row in mine])
            known = np.isfinite(values)
            interval = bootstrap.interval(np.where(known, values, 0.0), known)
            results[key][measure] = [round(one, 4) for one in interval]
    return results


if __name__ == "__main__":
    main()
