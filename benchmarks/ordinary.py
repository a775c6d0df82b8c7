"""What other frames than evenly spread ones cost on ordinary clips: the built-in model's answers, policy by policy.

    python -m benchmarks.heldout heldout --clips 500 --seed 2
    python -m benchmarks.ordinary heldout --json benchmarks/results/ordinary.json

The clips of `heldout.py` (3 seconds to 4 minutes; what a question asks about is mostly there for long), 16 frames, all
tokens. Beside each policy's right answers stands the difference to `uniform` on the same questions, with its 95 %
interval over clips. Answers are kept in the folder; a run that was stopped goes on behind them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codecmeta.models import load
from codecmeta.models.evaluation import make_settings, read_dataset
from codecmeta.models.evaluation.report import Marks
from codecmeta.models.evaluation.runner import Answers, evaluate, identity
from codecmeta.models.evaluation.statistics import Bootstrap
from codecmeta.record.selection import Policy

POLICIES: tuple[Policy, ...] = ("uniform", "keyframes", "cheap", "events")
STRATA = ("codec", "camera", "kind", "event", "seconds", "gop")


def main() -> None:
    """Ask what is not yet asked, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of benchmarks/heldout.py")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, _ = read_dataset(options.folder / "dataset.jsonl")
    model, (plain, *_) = load("small"), make_settings(["random"], [0.5], [0])
    right = {}
    for policy in POLICIES:
        answers = Answers(options.folder / f"ordinary-{policy}.jsonl", identity(model, None, 1, policy))
        how: dict[str, Any] = {"choose": policy, "timed": 0, "max_new_tokens": 1}
        if bad := evaluate(model, rows, [plain], answers, **how):
            raise SystemExit(f"{bad[0].video}: {bad[0].reason}")
        right[policy] = Marks(rows, [answers.replies[plain.keys[0], row.id] for row in rows]).right
        print(f"{policy}: {right[policy].mean():.4f}", file=sys.stderr, flush=True)
    videos = {video: number for number, video in enumerate(dict.fromkeys(row.video for row in rows))}
    bootstrap = Bootstrap([videos[row.video] for row in rows])
    parts = {f"{name}: {row.strata[name]}" for row in rows for name in STRATA}
    strata = {
        part: np.array([part in (f"{name}: {row.strata[name]}" for name in STRATA) for row in rows]) for part in parts
    }
    found: dict[str, Any] = {
        "command": f"python -m benchmarks.ordinary FOLDER, of benchmarks.heldout --clips {len(videos)} --seed 2",
        "questions": len(rows),
        "videos": len(videos),
        "policies": {
            policy: {
                "right": round(float(own.mean()), 4),
                "difference": _rounded(bootstrap.interval(own - right["uniform"])),
                "strata": {
                    part: {
                        "questions": int(where.sum()),
                        "difference": _rounded(bootstrap.interval(own - right["uniform"], where)),
                    }
                    for part, where in sorted(strata.items())
                },
            }
            for policy, own in right.items()
        },
    }
    print(json.dumps({policy: one["difference"] for policy, one in found["policies"].items()}))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def _rounded(values: tuple[float, float, float]) -> list[float]:
    return [round(one, 5) for one in values]


if __name__ == "__main__":
    main()
