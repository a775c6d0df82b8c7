"""README.md says what is there, and what it shows runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from codecmeta.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_file_tree_is_the_file_tree() -> None:
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", README, flags=re.S)
    assert tree
    listed, folder = set(), ""
    for line in tree[1].splitlines():
        name = line.split()[0]
        folder = name if not line.startswith(" ") else folder
        path = name if not line.startswith(" ") else folder + name
        assert (ROOT / path).exists(), path
        listed.add(path.rstrip("/"))
    modules = {f"codecmeta/{one.name}" for one in (ROOT / "codecmeta").glob("*.py")}
    small = {f"codecmeta/{name}.py" for name in ("__init__", "version", "errors", "compiling", "locks")}
    assert modules - listed == small


def test_the_python_block_runs_and_its_comments_are_true(monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"## Use the arrays\n\n```python\n(.*?)```", README, flags=re.S)
    assert block
    monkeypatch.chdir(ROOT / "data_samples")
    names: dict = {}
    exec(block[1].replace("clip.mp4", "after_cut.mp4"), names)
    assert names["density"].shape == names["regions"].shape == (16, 27, 27) and names["density"].dtype == np.float32
    assert 0 <= names["density"].min() and names["density"].max() <= 1
    assert names["budgets"].sum() == 940 and names["budgets"].shape == (16,)
    assert names["change"].shape == (95,) and names["events"][0][0] == 0 and names["events"][-1][1] == 96


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"codecmeta {command}" in README


def test_pictures_and_links_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_tables_are_those_of_the_committed_results() -> None:
    done = subprocess.run([sys.executable, "benchmarks/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda one: one.name)
def test_examples_run_on_a_sample(script: Path) -> None:
    """Every example says how it is called in its docstring, and runs that way."""
    if re.search(r"codecmeta\.(compression|models)|import torch", script.read_text()):
        pytest.importorskip("torch")
    assert f"python examples/{script.name}" in script.read_text()
    done = subprocess.run(
        [sys.executable, str(script), "data_samples/shapes.mp4"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout, done.stderr
