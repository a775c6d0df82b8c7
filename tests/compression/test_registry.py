"""One row per method and per model, from which everything else follows; and no file that imports itself in a circle."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
import transformers

import codecmeta.compression
from codecmeta.compression import FAMILIES, METHODS
from codecmeta.compression.methods.registry import ROWS

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
def test_a_row_names_a_model_of_transformers_and_its_adapter(name):
    assert issubclass(getattr(transformers, name), transformers.PreTrainedModel)
    module = import_module(f"codecmeta.models.adapters.{FAMILIES[name].module}")
    assert FAMILIES[name].cls in vars(module)


def test_the_readme_lists_what_the_registries_hold():
    text = (ROOT / "README.md").read_text()
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
