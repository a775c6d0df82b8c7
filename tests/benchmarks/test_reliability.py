"""The reliability measurements of benchmarks/, small; their committed results, whole."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

from benchmarks import reliability, reliability_mutations  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"


def check_corpus(found: dict) -> None:
    good, bad = found["good"], found["bad"]
    assert found["done"] == good and found["rows"] == good + 5 and found["exit_code"] == 1
    assert bad["3/segfault.mp4"] == "worker crashed (SIGSEGV)" and bad["4/hang.mp4"].startswith("timed out after")
    assert all(bad[name] for name in bad) and found["unfinished_files"] == found["written_again"] == 0
    assert found["second_run"] == {"skipped": good, "done": 2, "failed": 3}


def check_kill(found: dict) -> None:
    assert found["caches_under_their_name"] > found["kills"]
    assert found["of_them_broken"] == found["unfinished_files_after_the_next_run"] == 0


def check_mutations(found: dict) -> None:
    assert found["processes_left"] == 0 and found["longest_case_seconds"] <= found["timeout_seconds"]
    assert sum(end["all"] for end in found["ends"].values()) == found["cases"]
    assert set(found["ends"]) <= {"cached", "refused", "worker crashed (SIGSEGV)"}, found["bad"]


def test_bad_files_cost_a_row_each(tmp_path: Path) -> None:
    check_corpus(reliability.corpus(tmp_path, good=20, timeout=6))


def test_killed_writers_leave_nothing_broken(tmp_path: Path) -> None:
    check_kill(reliability.kill(tmp_path, kills=3))


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    for found in reliability.memory(tmp_path, minutes=(0.5, 2)).values():
        assert found["long_over_short"] <= 1.3


def test_descriptors_and_memory_stay_flat(tmp_path: Path) -> None:
    found = reliability.flat(tmp_path, files=60)
    assert found["descriptors_more"] == 0 and found["growth_mb"] <= 20


def test_damaged_videos_are_refused_or_cached(tmp_path: Path) -> None:
    found = reliability_mutations.run(50, tmp_path, seed=5, jobs=2)
    check_mutations(found)
    assert found["ends"]["cached"]["all"] > 10 and found["ends"]["refused"]["all"] > 5


@pytest.mark.parametrize("part", ["corpus", "flat", "kill", "memory", "mutations", "throughput"])
def test_the_committed_results_are_what_is_claimed(part: str) -> None:
    if part == "mutations":
        found = json.loads((RESULTS / "reliability_mutations.json").read_text())
        check_mutations(found)
        assert found["cases"] == 10_000
        return
    found = json.loads((RESULTS / "reliability.json").read_text())[part]
    if part == "corpus":
        check_corpus(found)
        assert found["good"] == 400
    elif part == "kill":
        check_kill(found)
        assert found["kills"] == 100
    elif part == "memory":
        kinds = {name: one for name, one in found.items() if name != "command"}
        assert {f"{codec}, frames {frames}" for codec in ("h264", "mpeg4") for frames in ("all", "64")} == set(kinds)
        for kind in kinds.values():
            assert [one["minutes"] for one in kind["runs"]] == [2, 120] and kind["long_over_short"] <= 1.3
            short, long = (one["peak_resident_mb"] for one in kind["runs"])
            assert kind["long_over_short"] == pytest.approx(long / short, abs=0.001)
    elif part == "throughput":
        one, two = (statistics.median(found["seconds"][f"{jobs} workers"]) for jobs in (1, 2))
        assert found["files"] == 40 and found["speedup"] >= 1.85
        assert found["speedup"] == pytest.approx(one / two, abs=0.001)
    else:
        assert found["points"][-1]["files"] == 2000 and found["descriptors_more"] == 0 and found["growth_mb"] <= 20


def test_the_page_about_scale_is_drawn_from_its_measurements() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
