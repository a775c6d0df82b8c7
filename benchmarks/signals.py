"""Does the codec see what matters? Signals of encoded clips against the objects and motion that are known to be there.

    python -m benchmarks.signals --json benchmarks/results/signals.json --figure docs/signals.png

The clips are those of the tuning split of benchmarks/heldout.py, encoded in many ways. On 16 frames of each, spread as
a model samples them, every signal gets a value per cell of 16x16 pixels, and is compared with three truths:

* object: cells that an object covers at least half of;
* moving object: the same for objects that move on the screen;
* change: cells whose object is not the one of the frame sampled before, what a model could not know from that frame.

Numbers are areas under the ROC curve (0.5: says nothing; 1: every such cell ranks above every other one of its frame;
below 0.5: says the opposite), and Spearman's correlation with true motion in pixels per frame, camera motion included.
Ties count half. A frame counts if both classes exist in it; frames are averaged within a clip, clips over the set;
intervals draw the clips anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray

import codecmeta  # noqa: E402
from benchmarks.heldout import TUNING, Clip, make_clip  # noqa: E402
from codecmeta.codecs.protocol import Refused  # noqa: E402
from codecmeta.extraction import by_parser  # noqa: E402
from codecmeta.models.evaluation.statistics import Bootstrap  # noqa: E402
from codecmeta.models.small.world.scenes import object_map  # noqa: E402
from codecmeta.record.metadata import Maps, Metadata  # noqa: E402
from codecmeta.record.selection import sample_rows  # noqa: E402

FRAMES, CELL = 16, 16

SIGNALS = {
    "exact residual": "root mean square of the residual, from the H.264 bitstream",
    "exact residual, all frames between samples": "the same energy averaged over the frames that a sample stands for",
    "bits": "bits per macroblock, from the H.264 bitstream",
    "quantiser": "QP per macroblock, from the H.264 bitstream; low means fine",
    "motion vectors": "length of the vectors in pixels per frame, from the H.264 bitstream",
    "estimated residual": "from decoded pixels, as for codecs without a parser",
    "frame difference": "root mean square difference to the frame displayed before",
    "difference to the last sample": "root mean square difference to the frame sampled before (the RLT rule)",
}
TRUTHS = ("object", "moving object", "change")


def energy_of(meta: Metadata, rows: NDArray[np.int64], grid: tuple[int, int], window: bool = False) -> Any:
    """The residual of `meta`, per cell."""
    return codecmeta.patch_density(meta, rows, grid, signal="residual", window=window)


def signals_of(path: Path, grid: tuple[int, int], rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Every signal that this clip has: float32 (T, rows, columns)."""
    meta = codecmeta.extract(path, frames=FRAMES)
    found: dict[str, NDArray[np.float32]] = {}
    if meta.capability["residual"]["level"] == "exact":
        found["exact residual"] = energy_of(meta, rows, grid)
        every = codecmeta.extract(path, frames="all", details=False)
        found["exact residual, all frames between samples"] = energy_of(every, rows, grid, window=True)
        found["bits"] = codecmeta.patch_density(meta, rows, grid, signal="bits")
        found["quantiser"] = energy_of(replace(meta, residual=meta.qp), rows, grid)
        found["motion vectors"] = vector_lengths(meta, rows, grid)
        with patch.object(by_parser, "Reader", side_effect=Refused("asked not to")):
            meta = codecmeta.extract(path, frames=FRAMES)
    found["estimated residual"] = energy_of(meta, rows, grid)
    wanted = np.unique(np.concatenate((rows, np.maximum(rows - 1, 0))))
    _, read_rows, pictures = codecmeta.read(path, rows=wanted)
    luma = {
        row: cv2.cvtColor(one, cv2.COLOR_RGB2GRAY).astype(np.float32)
        for row, one in zip(read_rows, pictures, strict=True)
    }
    pairs = {
        "frame difference": np.maximum(rows - 1, 0),
        "difference to the last sample": np.concatenate((rows[:1], rows[:-1])),
    }
    for name, before in pairs.items():
        values = np.stack([np.abs(luma[one] - luma[two]) for one, two in zip(rows, before, strict=True)])
        found[name] = energy_of(replace(meta, residual=Maps(rows, values, 1)), rows, grid)
    return found


def vector_lengths(meta: Metadata, rows: NDArray[np.int64], grid: tuple[int, int]) -> NDArray[np.float32]:
    """float32 (T, rows, columns): mean square length of the vectors, 0 where there is none."""
    field = codecmeta.motion_grid(meta, rows, cell=4)
    lengths = np.hypot(field.motion[..., 0], field.motion[..., 1])
    return energy_of(replace(meta, residual=Maps(rows, lengths, 4)), rows, grid)


def truth_of(clip: Clip, rows: NDArray[np.int64], grid: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """bool (T, rows, columns) for each of `TRUTHS`, and "motion", float (T, rows, columns), in pixels per frame."""
    times = clip.times()[rows]
    labels = object_map(clip.scene, times, width=clip.width, height=clip.height)
    moving = [0] + [int(item.direction != "still") for item in clip.scene.objects]
    share = np.stack([_area(labels == number, grid) for number in range(len(clip.scene.objects) + 1)])
    owner = share.argmax(axis=0)
    speed = _speeds(clip, times)
    return {
        "object": 1 - share[0] >= 0.5,
        "moving object": np.tensordot(np.array(moving, np.float32), share, 1) >= 0.5,
        "change": np.concatenate((np.zeros_like(owner[:1]), owner[1:] != owner[:-1])).astype(bool),
        "motion": (share * speed[:, :, None, None]).sum(axis=0),
    }


def _speeds(clip: Clip, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels per frame, (1 + objects, T): of the background in the middle of the picture, then of the objects."""
    step = 1 / max(clip.frames - 1, 1)
    size = np.array([clip.width, clip.height])
    speeds = []
    camera = []
    for time in times:
        side = int(clip.scene.cut is not None and time >= clip.scene.cut)
        now, before = (
            clip.backdrops[side].window(one, one * (clip.frames - 1) / clip.rate) for one in (time, max(time - step, 0))
        )
        shift = (np.array(now[:2]) - np.array(before[:2])) * size
        camera.append(np.hypot(*shift) + abs(now[2] - before[2]) * 0.35 * size.mean())
    speeds.append(camera)
    for item in clip.scene.objects:
        speeds.append(np.hypot(*((item.centres(times) - item.centres(times - step)) * size).T))
    return np.array(speeds)


def _area(masks: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Share of each cell that a mask covers: bool (T, height, width) -> float32 (T, rows, columns)."""
    return np.stack([cv2.resize(one.astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA) for one in masks])


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, ties get their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return ((last - count + 1 + last) / 2)[place]


def roc_area(values: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """The chance that a positive cell has a larger value than a negative one, ties counting half (Mann-Whitney)."""
    ones = int(positive.sum())
    others = positive.size - ones
    if not ones or not others:
        return float("nan")
    return float((ranks(values.ravel())[positive.ravel()].sum() - ones * (ones + 1) / 2) / (ones * others))


def spearman(values: NDArray[Any], truth: NDArray[Any]) -> float:
    """Rank correlation; 0 where the signal says nothing, NaN where there is nothing to see."""
    one, two = ranks(values.ravel()), ranks(truth.ravel())
    if not np.ptp(two):
        return float("nan")
    return float(np.corrcoef(one, two)[0, 1]) if np.ptp(one) else 0.0


def compare(clip: Clip, path: Path) -> Iterator[dict[str, Any]]:
    """One row per sampled frame and signal."""
    probe = codecmeta.probe(path)
    rows, types = sample_rows(probe.frames.time, FRAMES), probe.frames.picture_type
    grid = (max(1, round(clip.height / CELL)), max(1, round(clip.width / CELL)))
    truth = truth_of(clip, rows, grid)
    for name, values in signals_of(path, grid, rows).items():
        for t, row in enumerate(rows):
            scores = {one: roc_area(values[t], truth[one][t]) for one in TRUTHS}
            scores["motion"] = spearman(values[t], truth["motion"][t])
            kind = chr(types[row]) if types[row] else "unknown"
            yield {"clip": clip.number, "signal": name, "strata": {**clip.strata, "picture": kind}, **scores}


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over clips and its 95 % interval for every signal and truth."""
    table: dict[str, Any] = {}
    clips = sorted({row["clip"] for row in rows})
    if not clips:
        return table
    for name in SIGNALS:
        mine = [row for row in rows if row["signal"] == name]
        if mine:
            table[name] = {"clips": len({row["clip"] for row in mine}), "frames": len(mine)}
        for truth in (*TRUTHS, "motion") if mine else ():
            means = [np.array([row[truth] for row in mine if row["clip"] == number]) for number in clips]
            kept = [float(np.nanmean(one)) for one in means if len(one) and not np.isnan(one).all()]
            if kept:
                table[name][truth] = [round(value, 4) for value in Bootstrap(np.arange(len(kept))).interval(kept)]
    return table


def main() -> None:
    """Encode, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=120)
    parser.add_argument("--seed", type=int, default=TUNING, help="split of benchmarks/heldout.py")
    parser.add_argument("--folder", type=Path, help="of clips that heldout.py has written; default: encode them anew")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.clips):
            clip = make_clip(options.seed, number)
            path = options.folder / "clips" / clip.name if options.folder else clip.write(Path(folder))
            rows += compare(clip, path)
            if not options.folder:
                path.unlink()
            if number % 20 == 19:
                print(f"{number + 1} of {options.clips} clips", file=sys.stderr, flush=True)
    strata = sorted({(name, value) for row in rows for name, value in row["strata"].items()})
    result = {
        "what": __doc__.splitlines()[0],
        "command": f"python -m benchmarks.signals --clips {options.clips} --seed {options.seed}",
        "split": {"generator": "benchmarks/heldout.py", "seed": options.seed, "clips": options.clips},
        "signals": SIGNALS,
        "all": summarise(rows),
        "strata": {
            f"{name}: {value}": summarise([row for row in rows if row["strata"][name] == value])
            for name, value in strata
        },
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text) if not options.json else options.json.write_text(text)
    if options.figure:
        from benchmarks.signals_figure import draw

        done: Any = cv2.imencode(".png", draw(result))
        options.figure.write_bytes(done[1].tobytes())


if __name__ == "__main__":
    main()
