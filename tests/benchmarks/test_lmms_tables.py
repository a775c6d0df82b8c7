"""Results of lmms-eval in the table of docs/lmms_eval.md."""

import json
from pathlib import Path

import pytest

from benchmarks.lmms_tables import PAGE, collect, draw, redrawn

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "lmms_eval.json"
MODEL = "pretrained=llava-hf/llava-onevision-qwen2-7b-ov-hf,frames=32"


def run(folder, arguments, scores, limit=None):
    """What the harness leaves of a run, as far as it is read. scores: task -> (metric, value, questions)."""
    file = folder / "llava" / "20260101_000000_results.json"
    file.parent.mkdir(parents=True)
    results = {task: {"alias": task, f"{metric},none": value} for task, (metric, value, _) in scores.items()}
    counts = {task: {"original": count, "effective": count} for task, (*_, count) in scores.items()}
    config = {"model": "codecmeta", "model_args": arguments, "limit": limit}
    file.write_text(json.dumps({"results": results, "n-samples": counts, "config": config}))


@pytest.fixture
def runs(tmp_path):
    """The plain model and MeToM at 30 %, on three tasks with two questions each; statistics of two ranks."""
    tasks = {"videomme": "videomme_perception_score", "egoschema_subset": "score"}
    parts = {f"mvbench_{name}": ("mvbench_accuracy", value, 1) for name, value in (("a", 40.0), ("b", 60.0))}
    run(tmp_path / "none", f"{MODEL},method=none", {
        "videomme": (tasks["videomme"], 60.0, 2), "egoschema_subset": (tasks["egoschema_subset"], 0.5, 2), **parts,
    })  # fmt: skip
    stats = tmp_path / "stats" / "metom.jsonl"
    stats.parent.mkdir()
    run(tmp_path / "metom", f"{MODEL},method=metom,budget=0.3,stats={stats}", {
        "videomme": (tasks["videomme"], 57.0, 2), "egoschema_subset": (tasks["egoschema_subset"], 0.525, 2),
    })  # fmt: skip
    for rank in range(2):
        lines = [
            {"task": task, "doc_id": rank, "tokens_full": 100, "tokens_kept": 30, "tokens_llm_mean": 25.0,
             "kv_bytes": 10, "seconds": {"first_token": 1.0}, "unparsable": task == "videomme" and rank == 1}
            for task in tasks
        ]  # fmt: skip
        stats.with_name(f"metom.rank{rank}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_runs_fill_the_cells_that_are_theirs(runs):
    found = collect([runs])
    assert {(one["arguments"]["method"], one["task"]): one["score"] for one in found} == {
        ("none", "videomme"): 60.0, ("none", "egoschema_subset"): 50.0, ("none", "mvbench"): 50.0,
        ("metom", "videomme"): 57.0, ("metom", "egoschema_subset"): 52.5,
    }  # fmt: skip
    assert not any("stats" in one["arguments"] for one in found)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in draw({"runs": found}).splitlines()[2:]]
    filled = {tuple(line[:3]): line[3:] for line in lines}
    assert filled["LLaVA-OneVision-7B", "none", ""][:9] == ["60.0", "", "", "50.0", "", "50.0", "", "0", "100.0"]
    # (57 / 60 + 52.5 / 50) / 2 = 1
    assert filled["LLaVA-OneVision-7B", "metom", "30%"] == [
        "57.0", "", "", "52.5", "", "", "25.0%", "1", "100.0", "101.2", "27.3",
    ]  # fmt: skip
    assert filled["Qwen2-VL-7B", "metom", "30%"] == [""] * 9 + ["101.3", "23.7"]


def test_what_would_make_a_wrong_table_is_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="exit code 0"):
        collect([tmp_path / "nothing"])
    run(runs / "short", f"{MODEL},method=metok", {"videomme": ("videomme_perception_score", 50.0, 2)}, limit=2)
    with pytest.raises(ValueError, match="--limit"):
        collect([runs])
    with pytest.raises(ValueError, match="run twice"):
        run(runs / "again", f"method=none,{MODEL}", {"videomme": ("videomme_perception_score", 61.0, 2)})
        collect([runs / "none", runs / "again"])
    run(
        runs / "frames",
        f"{MODEL},method=metok".replace("32", "64"),
        {"videomme": ("videomme_perception_score", 1.0, 2)},
    )
    with pytest.raises(ValueError, match="other numbers of frames"):
        draw({"runs": collect([runs / "none", runs / "frames"])})
    (runs / "stats" / "metom.rank1.jsonl").unlink()
    with pytest.raises(ValueError, match="2 questions, its statistics 1"):
        collect([runs / "metom"])


def test_the_page_has_the_committed_results():
    page = PAGE.read_text()
    assert redrawn(page, json.loads(RESULT.read_text())) == page
