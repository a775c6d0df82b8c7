"""Imports run one way: every room of the house imports only from rooms below it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = [
    {"codecmeta.errors", "codecmeta.version", "codecmeta.compiling", "codecmeta.cache.locks"},
    {"codecmeta.record"},
    {"codecmeta.codecs.syntax"},
    {"codecmeta.codecs.look"},
    {"codecmeta.codecs.table"},
    {"codecmeta.codecs.protocol"},
    {"codecmeta.codecs.h264", "codecmeta.codecs.hevc"},
    {"codecmeta.cache", "codecmeta.container"},
    {"codecmeta.decisions"},
    {"codecmeta.decoding"},
    {"codecmeta.extraction"},
    {"codecmeta.corpus", "codecmeta.view", "codecmeta.hf"},
    {"codecmeta.compression.options"},
    {"codecmeta.compression.engine", "codecmeta.compression.methods", "codecmeta.compression"},
    {"codecmeta.models"},
    {"codecmeta.cli"},
    {"codecmeta.__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
TOP = {
    "codecmeta": "codecmeta",
    "compression": "codecmeta.compression",
    "models": "codecmeta.models",
    "cli": "codecmeta.cli",
}


def modules() -> dict[str, Path]:
    """Every module of the package but its face, by name."""
    found = {}
    for folder, prefix in TOP.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([prefix, *(one for one in parts if one != "__init__")])
            found[name] = path
    del found["codecmeta"]
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, wherever in it: also inside functions and for annotations."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            base = node.module or ""
            found |= {f"{base}.{one.name}" if f"{base}.{one.name}" in MODULES else base for one in node.names}
    return {one for one in found if one in MODULES}


GRAPH = {name: imports(path) for name, path in MODULES.items()}


def room(module: str) -> str:
    """The longest prefix of a module that has a floor."""
    parts = module.split(".")
    return next(name for end in range(len(parts), 0, -1) if (name := ".".join(parts[:end])) in FLOOR)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_import_goes_up(module: str) -> None:
    for other in GRAPH[module]:
        same = room(other) == room(module)
        assert same or FLOOR[room(other)] <= FLOOR[room(module)], f"{module} imports {other}"


def test_there_is_no_circle() -> None:
    left = {name: set(others) - {name} for name, others in GRAPH.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"modules that import each other, or are imported by such: {sorted(left)}"


def test_a_folder_has_few_entries_and_a_file_few_lines() -> None:
    entries = [one for one in (ROOT / "codecmeta").iterdir() if not one.name.startswith("__")]
    assert len(entries) <= 15, sorted(one.name for one in entries)
    beside = [path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
    lines = {path: path.read_text().count("\n") for path in [*MODULES.values(), *beside]}
    long = {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > 450}
    may_be = ("macroblock.py", "picture.py")  # kernels
    assert not {path for path in long if not path.endswith(may_be)}, long


def test_no_other_file_asks_for_a_codec_by_its_name() -> None:
    """What depends on a codec stands in its row of codecs/table.py, or in the folder of its parser."""
    names = {"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video"}
    for name, path in MODULES.items():
        if name.startswith(("codecmeta.codecs", "codecmeta.models.small")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                texts = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
                assert not texts & names, f"{name}:{node.lineno}"
