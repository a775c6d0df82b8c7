"""Every method on held-out clips with the built-in model: accuracy, tokens and seconds.

    python -m benchmarks.methods --clips-in heldout                 # makes missing clips first
    python -m benchmarks.methods --clips-in heldout --clips 200     # a part, for a quick look
    python -m benchmarks.methods --clips-in harder --clips 100 --world fine    # harder clips, the model for them
    python -m benchmarks.methods --clips-in heldout --world regions            # what merges before the encoder

Writes benchmarks/results/methods.json and docs/methods.png; of the others methods_fine.json and regions.json. Answers
are kept in the folder of the clips: stopped, the same command goes on where it was. Answers of the built-in model are
one word, and one word is one token, so one token is asked for; `--words 16` also counts answers that do not stop, as
unparsable ones.

Options were chosen on the tuning split (`--seed 1`); what is reported is the test split (`--seed 2`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]

from benchmarks.heldout import TEST, TUNING  # noqa: E402
from benchmarks.method_tables import VARIANTS  # noqa: E402
from codecmeta.cli import main as codecmeta  # noqa: E402
from codecmeta.models.evaluation.plot import png  # noqa: E402

BUDGETS = ("0.5", "0.3", "0.2", "0.1")
METHODS = (
    "random",
    "random layer=1",
    "uniform mode=temporal",
    "uniform mode=spatial",
    "uniform mode=tokens",
    "replenish",
    "replenish hold=fold refill=true",
    "replenish weights=features",
    "replenish signal=none",
    "metom budget=1",
    "metom",
    "metom matm=true",
    "metom tau_tem=2",
    "metom tau_tem=2 rpm=false",
    "metom tau_tem=2 signal=bits_first",
    "metom tau_tem=2 rpm=false signal=bits_first",
    "metom tau_tem=2 density_source=pixels",
    "metom tau_tem=2 weights=uniform",
    "metom tau_tem=2 weights=shuffled",
    "metok",
    "metok alpha=1",
    "metok boundaries=codec",
    "metok alpha=1 boundaries=codec",
    "evs",
    "dycoke budget=0.5,0.3",
    "dycoke window=16 budget=0.2,0.1",
    "fastv",
    "tome",
    "sttm",
    "holitom",
    "vidcom2",
    "divprune",
    "visionzip",
    "fastvid",
    "flashvid",
    "prunevid",
    "dart",
    "sparsevlm",
    "scissor",
    "rlt",
    "codecsight",
)
"""`tau_tem=2` switches MeToM's merging over time off, so that the number of tokens is the budget; at a budget of 1 it
merges patches alone. dycoke keeps whole frames and needs longer windows below a quarter. `signal=bits_first` was chosen
on the tuning split. `alpha=1` makes every event a key event of METok, which asks the built-in text-image model, as
published. `random layer=1` draws where FastV, ToMe and STTM act in a model of 5 layers."""

FINE = (
    "random",
    "uniform mode=tokens",
    "replenish",
    "replenish weights=features",
    "replenish signal=none",
    "metom",
    "metom tau_tem=2 rpm=false signal=bits_first",
    "evs",
    "vidcom2",
    "divprune",
)
"""Methods on the harder clips, where a question costs eight times as much."""

REGIONS = (
    "metom budget=1",
    "metom budget=1 proportional=true",
    "metom budget=1 tau_mode=target",
    "metom budget=1 tau_mode=target proportional=true",
    "metom budget=1 tau_mode=target signal=bits_first",
    "metom budget=1 tau_mode=target density_source=pixels",
    "metom budget=1 tau_mode=target density_source=noise",
    "metom budget=1 tau_mode=target density_source=noise proportional=true",
)
"""Merging before the vision encoder alone, at 14 % of the patches, beside regions drawn by chance."""


class World(NamedTuple):
    """model: that is asked. script: makes the clips. result: name of the JSON. more: arguments of `codecmeta eval`."""

    model: str
    script: str
    methods: Sequence[str]
    budgets: Sequence[str]
    result: str
    more: Sequence[str] = ()


WORLDS = {
    "plain": World("small", "benchmarks.heldout", METHODS, BUDGETS, "methods", ("--text-model", "small")),
    "regions": World("small", "benchmarks.heldout", REGIONS, (), "regions"),
    "fine": World("fine", "benchmarks.fine_clips", FINE, BUDGETS[1:], "methods_fine"),
}

TOO_LOW = ("uniform mode=temporal", "uniform mode=spatial")
"""Left out of the figure: at 10 % they fall so low that nothing could be told of the others."""


def main() -> None:
    """Make the clips, run `codecmeta eval`, write its JSON one method a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips-in", type=Path, required=True, help="folder of the clips and of the answers")
    parser.add_argument("--world", choices=WORLDS, default="plain")
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=TEST)
    parser.add_argument("--words", type=int, default=1, help="longest answer, in tokens")
    parser.add_argument("--timed", type=int, default=30, help="clips on which seconds are taken")
    parser.add_argument("--json", type=Path, help="default: in benchmarks/results")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "methods.png")
    options = parser.parse_args()
    world = WORLDS[options.world]
    clips = ["--clips", str(options.clips), "--seed", str(options.seed)]
    subprocess.run([sys.executable, "-m", world.script, str(options.clips_in), *clips], check=True, cwd=ROOT)
    answered = options.clips_in / f"results-{options.words}.json"
    split = "test" if options.seed == TEST else "tuning" if options.seed == TUNING else "other"
    made_by = f"{world.script.replace('.', '/')}.py {' '.join(clips)}"
    note = f"{split} split: {made_by}; options chosen on seed 1"
    arguments = ["eval", str(options.clips_in / "dataset.jsonl"), "--out", str(answered), "--note", note]
    arguments += ["--max-new-tokens", str(options.words), "--timed", str(options.timed), "--reference", "random"]
    arguments += ["--model", world.model, *world.more, "--seed", "0"]  # masks are drawn per video: a draw per clip
    arguments += [part for budget in world.budgets for part in ("--budget", budget)]
    arguments += [part for method in world.methods for part in ("--method", method)]
    codecmeta.main(arguments, standalone_mode=False)
    result = json.loads(answered.read_text())
    result["command"] = " ".join(["python -m benchmarks.methods", *sys.argv[1:]]).replace(
        str(options.clips_in), "FOLDER"
    )
    if options.world == "plain":
        left_out = (*VARIANTS, *TOO_LOW)
        whole = [one for one in result["methods"] if not any(part in one["label"] for part in left_out)]
        options.figure.write_bytes(png({**result, "methods": whole}))
    file = options.json or ROOT / "benchmarks" / "results" / f"{world.result}.json"
    file.write_text(one_method_a_line(result))


def one_method_a_line(result: dict[str, Any]) -> str:
    """JSON that can be read by line."""
    methods = ",\n".join(json.dumps(one) for one in result.pop("methods"))
    head = json.dumps(result, indent=1)
    return f'{head[: head.rindex("}")].rstrip()},\n "methods": [\n{methods}\n]\n}}\n'


if __name__ == "__main__":
    main()
