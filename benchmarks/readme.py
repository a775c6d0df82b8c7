"""Draws the tables of README.md from the JSON under benchmarks/results.

python benchmarks/readme.py             # rewrite what stands between the table markers
python benchmarks/readme.py --check     # exit 1 if README.md and the results disagree
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def table(header: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def extract_table(result: dict[str, Any]) -> str:
    """Frames per second of every way of reading, from benchmarks/extract.py."""
    names = {
        "decode": "plain decode",
        "probe": "probe",
        "vectors_qp": "vectors + QP",
        "vectors_qp_residual": "vectors + QP + residual",
    }
    rows = [
        [one["clip"], f"{one['size'][0]}x{one['size'][1]}", one["frames"]]
        + [f"{one['frames_per_second'][name]:,.0f}" if name in one["frames_per_second"] else "" for name in names]
        for one in result["speed"]
    ]
    return table(["clip", "size", "frames", *names.values()], rows)


def cache_table(result: dict[str, Any]) -> str:
    """Bytes of caches as a share of the video's, from benchmarks/extract.py."""
    rows = [
        [one["clip"], f"{one['video_bytes']:,}"]
        + [f"{one['caches'][name]['share_of_video']:.2f}" if name in one["caches"] else "" for name in ("all", "64")]
        for one in result["cache"]
    ]
    return table(["clip", "bytes of the video", "all frames, share of it", "64 frames, share of it"], rows)


def events_table(result: dict[str, Any]) -> str:
    """F1 of cuts and the share of fades and entrances found, from benchmarks/events.py."""
    methods = {"all signals": "all signals", "packet table": "packets only", "packet size jump": "packet size alone"}
    rows = [
        [name, *(f"{group[kind][method][measure]:.2f}" for kind, measure in _EVENTS for method in methods)]
        for name, group in result["groups"].items()
    ]
    kinds = {"cut": "cuts, F1", "fade": "fades found", "entrance": "entrances found"}
    return table(["encoder", *(f"{kinds[kind]}: {name}" for kind, _ in _EVENTS for name in methods.values())], rows)


_EVENTS = (("cut", "f1"), ("fade", "found"), ("entrance", "found"))


def small_model_table(result: dict[str, Any]) -> str:
    """Exact matches of the built-in model, from codecmeta.models.small.evaluate."""
    lines = {"all": result, **result["types"], "held-out colour-shape pairs": result["held_out_pairs"]}
    rows = [
        [
            name,
            one["questions"],
            f"{one['accuracy']:.3f}",
            f"{one['best_constant']:.2f}" if "best_constant" in one else "",
        ]
        for name, one in lines.items()
    ]
    return table(["questions about", "questions", "right", "best constant answer"], rows)


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "extract": ("extract.json", extract_table),
    "cache": ("extract.json", cache_table),
    "events": ("events.json", events_table),
    "small_model": ("small_model.json", small_model_table),
}


def redrawn(text: str) -> str:
    """The README with every table drawn anew."""
    for name, (file, draw) in TABLES.items():
        drawn = draw(json.loads((RESULTS / file).read_text()))
        pattern = rf"<!-- table:{name} -->.*?<!-- /table -->"
        if not re.search(pattern, text, flags=re.S):
            raise SystemExit(f"README.md has no place for the table {name!r}")
        text = re.sub(pattern, lambda _, d=drawn, n=name: f"<!-- table:{n} -->\n{d}\n<!-- /table -->", text, flags=re.S)
    return text


def main() -> None:
    """Rewrite or check README.md."""
    readme = ROOT / "README.md"
    new = redrawn(readme.read_text())
    if "--check" in sys.argv[1:]:
        sys.exit(
            0 if new == readme.read_text() else "README.md and benchmarks/results disagree: run benchmarks/readme.py"
        )
    readme.write_text(new)


if __name__ == "__main__":
    main()
