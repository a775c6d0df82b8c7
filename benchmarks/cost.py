"""What the methods save on paper: operations and cache of 7B models by the accountant, from their shapes alone.

    python -m benchmarks.cost --json benchmarks/results/cost.json

No model is built and nothing is timed. MeToM's counts follow from its budget (merging over time can only lower them).
METok's depend on where a video's events are and which of them matter: means over random cuts and random frame scores,
with the smallest and the largest. Operations are those of a counter on real modules (two per multiply-add, attention
over the full square), the language-model head for all prompt tokens included, as such a counter includes it. The cache
is what is left while the answer is written.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codecmeta.compression import Layout, Metok, Metom  # noqa: E402
from codecmeta.compression.measure.cost import TextModel, cache_size, prefill_flops  # noqa: E402
from codecmeta.compression.methods.metok import EventPruning, Pooling  # noqa: E402
from codecmeta.compression.plan import Newline  # noqa: E402
from codecmeta.compression.strategy import budget_tokens  # noqa: E402

TEXT, DRAWS, SEED = 60, 1000, 0
"""Text tokens of the prompt; how many random videos METok is averaged over."""

QWEN2_7B = TextModel(layers=28, width=3584, key_width=512, hidden=18944, vocabulary=152064)


@dataclass(frozen=True)
class Shape:
    """A video model on paper: patches and tokens along a side of a frame, its newline, METok's pooling."""

    patches: int
    tokens: int
    newline: Newline
    pooling: Pooling

    def layout(self, frames: int) -> Layout:
        """The token grid of a clip."""
        return Layout(frames, (self.patches,) * 2, (self.tokens,) * 2, newline=self.newline, depth=QWEN2_7B.layers)


SHAPES = {
    "LongVA-7B": Shape(24, 12, "", "average"),
    "LLaVA-OneVision-7B": Shape(27, 14, "video", "bilinear"),
}


def account(layers: list[int], entries: list[int]) -> dict[str, float]:
    """TFLOP of the prompt and MiB of the cache, for visual tokens entering each layer and left in its cache."""
    return {
        "prefill_teraflops": prefill_flops(QWEN2_7B, [n + TEXT for n in layers], head=True) / 1e12,
        "cache_mib": cache_size(QWEN2_7B, [n + TEXT for n in entries]) / 2**20,
    }


def metok(shape: Shape, frames: int) -> list[dict[str, float]]:
    """One account for each of `DRAWS` random videos."""
    strategy, layout, rng = Metok(pooling=shape.pooling), shape.layout(frames), np.random.default_rng(SEED)
    inside = strategy.inside(layout.depth)
    assert isinstance(inside, EventPruning)
    found = []
    for _ in range(DRAWS):
        cuts = np.sort(rng.choice(np.arange(1, frames), strategy.n_events - 1, replace=False))
        edges = [0, *cuts.tolist(), frames]
        events = strategy.choose(list(zip(edges[:-1], edges[1:], strict=True)), rng.random(frames))
        layers = strategy.layer_tokens(layout, events)
        found.append(account(layers, [0 if n in inside.forget else count for n, count in enumerate(layers)]))
    return found


def metom(shape: Shape, layout: Layout, budget: float, percent: float) -> dict[str, float]:
    """BTM at its budget, and MATM where percent is not 0; the newline stays."""
    entering = budget_tokens(layout, budget)
    inside = Metom(budget=budget, matm=percent > 0, percent=percent or 50).inside(layout.depth)
    at = layout.depth if inside is None else inside.cuts[0]
    left = entering - int(entering * percent / 100)
    layers = [count + layout.separators for count in [entering] * at + [left] * (layout.depth - at)]
    return account(layers, layers)


def compare(shape: Shape, frames: int) -> list[dict[str, Any]]:
    """A row per method, with what it saves."""
    layout = shape.layout(frames)
    full = [layout.tokens_full + layout.separators] * layout.depth
    plain = account(full, full)
    rows = [{"method": "none", **plain}]
    for budget, percent in ((0.5, 0), (0.3, 0), (0.3, 50)):
        name = f"metom {budget:.0%}{' + matm' if percent else ''}"
        rows.append(saved({"method": name, **metom(shape, layout, budget, percent)}, plain))
    draws = metok(shape, frames)
    mean = {name: statistics.mean(one[name] for one in draws) for name in plain}
    row = saved({"method": "metok", **mean}, plain)
    for name, what in (("prefill_teraflops", "flops_saved_range"), ("cache_mib", "cache_saved_range")):
        share = [1 - one[name] / plain[name] for one in draws]
        row[what] = [round(min(share), 4), round(max(share), 4)]
    return [{"frames": frames, **one} for one in [*rows, row]]


def saved(row: dict[str, Any], plain: dict[str, float]) -> dict[str, Any]:
    """The row with its savings."""
    flops, cache = (1 - row[name] / plain[name] for name in ("prefill_teraflops", "cache_mib"))
    return {**row, "flops_saved": round(flops, 4), "cache_saved": round(cache, 4)}


def main() -> None:
    """Print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[32, 48, 64, 128])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {
        name: [row for frames in options.frames for row in compare(shape, frames)] for name, shape in SHAPES.items()
    }
    for name, rows in results.items():
        for row in rows:
            values = "  ".join(f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, float))
            print(f"{name:20} {row['frames']:4d} {row['method']:18} {values}")
    if options.json:
        command = f"python -m benchmarks.cost {' '.join(sys.argv[1:])}".strip()
        result = {
            "command": command,
            "text_tokens": TEXT,
            "draws": DRAWS,
            "language_model": "Qwen2-7B",
            "results": results,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
