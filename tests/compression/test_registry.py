"""One row per method and per model, from which everything else follows; and no file that imports itself in a circle."""

import ast
import subprocess
import sys
from dataclasses import fields
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
import torch
import transformers
from click.testing import CliRunner

import codecmeta.compression
from codecmeta.cli import main
from codecmeta.compression import FAMILIES, METHODS, adapter_for, make
from codecmeta.compression.describe import options_of
from codecmeta.compression.methods.registry import ROWS
from codecmeta.compression.plugins import declared

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_names_the_class_that_is_called_so(name):
    cls = METHODS[name]
    assert cls.name == name and cls.__name__ == ROWS[name].cls
    assert getattr(codecmeta.compression, ROWS[name].cls) is cls and ROWS[name].cls in codecmeta.compression.__all__


def test_every_file_of_a_method_has_a_row():
    here = ROOT / "compression" / "methods"
    files = {file.stem for file in here.glob("*.py")} - {"__init__", "registry"}
    assert files == {row.module for row in ROWS.values() if "." not in row.module}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_names_a_model_of_transformers_or_its_own_and_its_adapter(name):
    own = FAMILIES[name].own
    where = import_module(f"codecmeta.models.{own}") if own else transformers
    if not own and not hasattr(where, name):
        pytest.skip(f"transformers {transformers.__version__} does not have {name}")
    assert issubclass(getattr(where, name), transformers.PreTrainedModel)
    module = import_module(f"codecmeta.models.adapters.{FAMILIES[name].module}")
    assert FAMILIES[name].cls in vars(module)


def test_the_page_of_methods_lists_what_the_registries_hold():
    text = (ROOT / "docs" / "methods.md").read_text()
    for name, row in ROWS.items():
        assert f"| `{name}` | {row.line} |" in text
    for name, family in FAMILIES.items():
        assert f"| {family.label} | `{name}` |" in text


def test_importing_the_methods_imports_no_torch():
    heavy = "[name for name in ('torch', 'transformers') if name in sys.modules]"
    code = f"import sys, codecmeta.compression; print(len(codecmeta.compression.METHODS), {heavy})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(ROWS)} []\n" and not done.stderr


def imports(file, known):
    """Modules of the package that a file imports, wherever in it: inside functions and for annotations, too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_nothing_in_compression_and_models_imports_in_a_circle():
    files = {}
    for package in ("compression", "models"):
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            files[".".join(("codecmeta", *(parts[:-1] if parts[-1] == "__init__" else parts)))] = file
    graph = {name: {one for one in imports(file, files) if one in files} - {name} for name, file in files.items()}
    assert len(files) > 50
    assert len(list(TopologicalSorter(graph).static_order())) == len(files)  # raises CycleError, which names the circle


@pytest.mark.parametrize("name", ROWS)
def test_every_option_says_what_it_means(name):
    found = {one.name: one for one in options_of(METHODS[name])}
    assert set(found) == {one.name for one in fields(METHODS[name])}
    assert [one for one, option in found.items() if len(option.meaning) < 6] == []
    assert set(METHODS[name].effects) <= set(found)


def test_the_command_explains_a_method():
    listed = CliRunner().invoke(main, ["methods"])
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(ROWS)
    text = " ".join(CliRunner().invoke(main, ["methods", "metom"]).stdout.split())
    assert "MeToM, CVPR 2026" in text
    assert "q=0.2 (a number; needs rpm=true and tau_mode=quantile) which patches may merge" in text
    assert "tau_mode=quantile (quantile or target or fixed; needs rpm=true)" in text
    wrong = CliRunner().invoke(main, ["methods", "metmo"])
    assert wrong.exit_code == 1 and "did you mean 'metom'?" in wrong.stderr


OWN = """
from dataclasses import dataclass
from typing import ClassVar
from codecmeta.compression import Strategy

@dataclass(frozen=True, kw_only=True)
class Mine(Strategy):
    \"\"\"Keep everything, slowly.

    patience: how slowly.
    \"\"\"

    name: ClassVar[str] = "mine"
    patience: int = 3
"""


def test_a_method_of_ones_own_goes_by_its_module_and_class(tmp_path, monkeypatch):
    (tmp_path / "my_methods.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = make("my_methods:Mine", options={"patience": "4"})
    assert (made.name, made.patience) == ("mine", 4)
    assert "patience=3 (a whole number) how slowly." in " ".join(
        CliRunner().invoke(main, ["methods", "my_methods:Mine"]).stdout.split()
    )
    for name, said in (
        ("my_methods:Yours", "cannot be imported"),
        ("no_such_module:Mine", "cannot be imported"),
        ("pathlib:Path", "expected a subclass of codecmeta.compression.strategy.Strategy"),
    ):
        with pytest.raises(ValueError, match=said):
            make(name)


def test_other_packages_declare_methods_and_models(tmp_path, monkeypatch):
    """An installed package with entry points: its method goes by name, its adapter by the class it is for."""
    (tmp_path / "other_package.py").write_text(
        OWN
        + """
from codecmeta.compression import Adapter
class Own(Adapter):
    def __init__(self, model):
        self.model = model
Own.__abstractmethods__ = frozenset()
"""
    )
    facts = tmp_path / "other_package-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: other_package\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(
        "[codecmeta.methods]\nmine = other_package:Mine\n[codecmeta.models]\nLinear = other_package:Own\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    declared.cache_clear()
    try:
        assert "mine" in METHODS and make("mine").patience == 3
        layer = torch.nn.Linear(2, 2)
        assert adapter_for(layer).model is layer
        assert "mine" in CliRunner().invoke(main, ["methods"]).stdout
    finally:
        monkeypatch.undo()
        declared.cache_clear()
    with pytest.raises(ValueError, match="no method 'mine'"):
        make("mine")
