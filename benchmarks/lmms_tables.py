"""Results of lmms-eval -> the table of docs/lmms_eval.md.

    python -m benchmarks.lmms_tables RUNS... --json benchmarks/results/lmms_eval.json

RUNS: folders that were --output_path of `lmms_eval --model codecmeta`, searched for *_results.json. Of every run and
task its main number, how many questions there were, and, from the statistics that `stats=` had written, tokens, bytes,
seconds and unparsable answers. A run that failed leaves no results file, whatever its exit code: it is missing here.
Without RUNS the page is drawn anew from the JSON.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "lmms_eval.md"
_MARKS = "<!-- table:lmms -->", "<!-- /table -->"
METRICS = {
    "videomme": "videomme_perception_score",
    "longvideobench_val_v": "lvb_acc",
    "mlvu_dev": "mlvu_percetion_score",  # spelled so there
    "egoschema_subset": "score",
    "nextqa_mc_test": "exact_match",
    "mvbench": "mvbench_accuracy",
}
"""The tasks of both papers -> the number that the harness gives for each."""
SHARES = ("longvideobench_val_v", "egoschema_subset", "nextqa_mc_test")
"""Tasks whose number is a share; the others' is in per cent."""


def collect(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """Every task of every run below some folders. Raises ValueError where there is none, and where two runs of the same
    arguments disagree about which counts."""
    runs: dict[tuple[str, str], dict[str, Any]] = {}
    for file in sorted(one for folder in folders for one in folder.rglob("*_results.json")):
        result = json.loads(file.read_text())
        arguments = _arguments(result["config"]["model_args"])
        if result["config"].get("limit") is not None:
            raise ValueError(f"{file}: a run with --limit fills no table")
        for task, scores in _tasks(result):
            known = {name: value for name, value in arguments.items() if name != "stats"}
            key = (json.dumps(known, sort_keys=True), task)
            if key in runs:
                raise ValueError(f"{file}: {task} was run twice with {known}; leave one of the folders out")
            rows = _statistics(arguments.get("stats"), task)
            if rows and len(rows) != scores["questions"]:
                raise ValueError(f"{file}: {task} has {scores['questions']} questions, its statistics {len(rows)}")
            runs[key] = {"arguments": known, "task": task, **scores, **_means(rows)}
    if not runs:
        raise ValueError("no *_results.json there; lmms-eval ends with exit code 0 when a run failed: look at its log")
    return list(runs.values())


def _arguments(given: Any) -> dict[str, str]:
    """--model_args as the results hold them: the text, or what it was parsed into."""
    if isinstance(given, str):
        return dict(part.split("=", 1) for part in given.split(",") if part)
    return {name: str(value) for name, value in given.items()}


def _tasks(result: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Per cent right and the number of questions of every task that is one of `METRICS`; the parts of MVBench
    together, each counting alike, as its paper has them."""
    found = {}
    for name, values in result["results"].items():
        task = "mvbench" if name.startswith("mvbench_") else name
        number = values.get(f"{METRICS.get(task)},none")
        if isinstance(number, int | float):
            found.setdefault(task, []).append((float(number), int(result["n-samples"][name]["effective"])))
    for task, parts in found.items():
        score = sum(number for number, _ in parts) / len(parts) * (100 if task in SHARES else 1)
        more = {"parts": len(parts)} if task == "mvbench" else {}
        yield task, {"score": round(score, 2), "questions": sum(count for _, count in parts), **more}


def _statistics(path: str | None, task: str) -> list[dict[str, Any]]:
    """Lines of all ranks about one task; a question that several ranks had for padding once."""
    if path is None:
        return []
    whole, rows = Path(path), {}
    for file in sorted(whole.parent.glob(f"{whole.stem}.rank*{whole.suffix or '.jsonl'}")):
        for row in map(json.loads, file.read_text().splitlines()):
            if row["task"] == task or (task == "mvbench" and row["task"].startswith("mvbench_")):
                rows[row["task"], row["doc_id"]] = row
    return list(rows.values())


def _means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    answered = [row for row in rows if "problem" not in row]
    if not answered:
        return {}
    full = sum(row["tokens_full"] for row in answered)
    return {
        "share_kept": round(sum(row["tokens_kept"] for row in answered) / full, 4),
        "share_llm_mean": round(sum(row["tokens_llm_mean"] for row in answered) / full, 4),
        "kv_bytes": round(sum(row["kv_bytes"] for row in answered) / len(answered)),
        "first_token_seconds": round(sum(row["seconds"]["first_token"] for row in answered) / len(answered), 4),
        "unparsable": sum(bool(row["unparsable"]) for row in rows),
        "not_asked": len(rows) - len(answered),
    }


_PUBLISHED = [  # a model as papers call it, words of its checkpoint's name, method, budget, published accuracy and time
    ("LLaVA-OneVision-7B", ("onevision", "7b"), "none", None, "100", "100"),
    ("LLaVA-OneVision-7B", ("onevision", "7b"), "metom", 0.5, "102.0", "41.5"),
    ("LLaVA-OneVision-7B", ("onevision", "7b"), "metom", 0.3, "101.2", "27.3"),
    ("LLaVA-OneVision-7B", ("onevision", "7b"), "metok", None, "", ""),
    ("LLaVA-Video-7B", ("llava-video", "7b"), "none", None, "100", "100"),
    ("LLaVA-Video-7B", ("llava-video", "7b"), "metom", 0.3, "98.4", ""),
    ("Qwen2-VL-7B", ("qwen2-vl", "7b"), "none", None, "100", "100"),
    ("Qwen2-VL-7B", ("qwen2-vl", "7b"), "metom", 0.3, "101.3", "23.7"),
    ("LLaVA-Video-72B", ("llava-video", "72b"), "none", None, "100", "100"),
    ("LLaVA-Video-72B", ("llava-video", "72b"), "metom", 0.5, "101.4", "41.9"),
    ("LLaVA-Video-72B", ("llava-video", "72b"), "metom", 0.3, "99.1", ""),
    ("LongVA-7B", ("longva", "7b"), "none", None, "100", "100"),
    ("LongVA-7B", ("longva", "7b"), "metok", None, "at least 100", ""),
]


def draw(result: dict[str, Any]) -> str:
    """Scores of the papers' tasks with evenly spread frames, from the JSON of this script; cells are empty until
    somebody has run them. relative: the mean over tasks of the score by that of the same model with method none.

    Raises ValueError where several runs would fill one cell, or runs of a model were shown other numbers of frames.
    """

    def scores(words: tuple[str, ...], method: str, budget: float | None) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for run in result["runs"]:
            given = run["arguments"]
            asked = float(given["budget"]) if "budget" in given else None
            named = all(word in given["pretrained"].lower() for word in words)
            evenly = given.get("choose", "uniform") == "uniform"
            if named and evenly and given.get("method", "none") == method and asked == budget:
                if run["task"] in found:
                    raise ValueError(f"two runs of {method} on {given['pretrained']}, {run['task']}: which one counts?")
                found[run["task"]] = run
        return found

    rows = []
    for model, words, method, budget, accuracy, time in _PUBLISHED:
        own, plain = scores(words, method, budget), scores(words, "none", None)
        if len({one["arguments"].get("frames") for one in (*own.values(), *plain.values())}) > 1:
            raise ValueError(f"runs of {model} with {method} and with none were shown other numbers of frames")
        shared = [own[task]["score"] / plain[task]["score"] for task in METRICS if task in own and task in plain]
        share = [one["share_llm_mean"] for one in own.values() if "share_llm_mean" in one]
        rows.append(
            [model, method, "" if budget is None else f"{budget:.0%}"]
            + [f"{own[task]['score']:.1f}" if task in own else "" for task in METRICS]
            + [f"{sum(share) / len(share):.1%}" if share else "", sum(one.get("unparsable", 0) for one in own.values())
               if own else "", f"{100 * sum(shared) / len(shared):.1f}" if shared else "", accuracy, time]
        )  # fmt: skip
    names = ["VideoMME", "LongVideoBench", "MLVU", "EgoSchema", "NExT-QA", "MVBench"]
    head = ["model", "method", "budget", *names, "tokens, layer mean", "unparsable", "relative"]
    return _table([*head, "relative, published", "time to first token, published"], rows)


def _table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def redrawn(page: str, result: dict[str, Any]) -> str:
    """The page with its table drawn anew."""
    before, rest = page.split(_MARKS[0])
    return f"{before}{_MARKS[0]}\n{draw(result)}\n{_MARKS[1]}{rest.split(_MARKS[1])[1]}"


def main() -> None:
    """Collect runs into the JSON, and draw the table from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        if arguments.runs:
            command = " ".join(["python -m benchmarks.lmms_tables", *map(shlex.quote, sys.argv[1:])])
            result = {"command": command, "runs": collect(arguments.runs)}
            drawn = redrawn(PAGE.read_text(), result)  # before anything is written
            arguments.json.write_text(json.dumps(result, indent=1) + "\n")
        else:
            drawn = redrawn(PAGE.read_text(), json.loads(arguments.json.read_text()))
    except ValueError as error:
        sys.exit(str(error))
    PAGE.write_text(drawn)


if __name__ == "__main__":
    main()
