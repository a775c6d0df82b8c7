"""README.md says what is there, and what it shows runs; every page finds what it points to, every public name says
what it does."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    small = {f"codecmeta/{name}.py" for name in ("__init__", "__main__", "version", "errors", "compiling")}
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


def test_a_visitor_reads_the_readme_in_two_minutes() -> None:
    assert README.count("\n") <= 140


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "models").rglob("*.md")])


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M), flags=re.M)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", one.lower()).strip()) for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda one: str(one.relative_to(ROOT)))
def test_pictures_and_links_exist(page: Path) -> None:
    """In the checkout; `mkdocs build --strict`, in CI, looks at the site."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        made = page.parent.name == "docs" and name.startswith("api/")  # by docs/site.py
        there = page.parent / name if name else page
        assert made or there.exists(), target
        assert not anchor or anchor in anchors(there), target


FACES = ("codecmeta", "codecmeta.compression", "codecmeta.models")


@pytest.mark.parametrize("module", FACES)
def test_every_public_name_is_documented(module: str) -> None:
    """So are the public methods and properties that a public class defines itself; data has a text below it."""
    if module == "codecmeta.models":
        pytest.importorskip("torch")
    face = importlib.import_module(module)
    assert (face.__doc__ or "").strip()
    for name in face.__all__:
        value = getattr(face, name)
        if name.startswith("_"):
            continue
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            assert name in documented_data(), f"{module}.{name} has no text below it"
            continue
        assert own_text(value), f"{module}.{name}"
        for member, held in vars(value).items() if inspect.isclass(value) else ():
            called = inspect.isroutine(held) or isinstance(held, (property, classmethod, staticmethod))
            if called and not member.startswith("_"):
                assert inspect.getdoc(getattr(value, member)), f"{module}.{name}.{member}"


def own_text(value: Any) -> bool:
    """Whether somebody wrote a docstring: not the class above it, nor a dataclass that is given its signature."""
    text = ((vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__) or "").strip()
    return bool(text) and not text.startswith(f"{value.__name__}(")


@functools.cache
def documented_data() -> set[str]:
    """Names of module variables that a text follows."""
    found = set()
    for path in (one for folder in ("codecmeta", "compression", "models") for one in (ROOT / folder).rglob("*.py")):
        for one, text in itertools.pairwise(ast.parse(path.read_text()).body):
            if (
                isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                targets = one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)]
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_every_page_is_in_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f": {page.name}\n" in nav, page.name


def test_the_tables_are_those_of_the_committed_results() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.readme", "--check"], cwd=ROOT, capture_output=True, text=True
    )
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
