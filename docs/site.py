"""What mkdocs does besides rendering: it finds the whole package, and writes the API from the public names.

The three folders beside `codecmeta/` are subpackages of it once installed. Tools that read sources without running them
are shown a folder in which they lie that way.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("cli", "compression", "models")
PAGES = {"codecmeta": "codecmeta", "compression": "codecmeta.compression", "models": "codecmeta.models"}


def fenced(source: str) -> str:
    """A source whose docstrings have their examples (from `>>>` to the next empty line) as blocks of code."""
    lines, indent = [], ""
    for line in source.splitlines():
        if not indent and line.lstrip().startswith(">>> "):
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(f"{indent}```pycon")
        elif indent and line.strip() in ("", '"""'):
            lines.append(f"{indent}```")
            indent = ""
        lines.append(line)
    return "\n".join(lines) + "\n"


@event_priority(100)  # before mkdocstrings, which reads its settings then
def on_config(config: Any) -> Any:
    """Point the docstring reader at a folder in which `codecmeta` is whole."""
    whole = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, whole, ignore_errors=True)
    for source, place in [("codecmeta", "."), *((one, one) for one in BESIDE)]:
        shutil.copytree(
            ROOT / source, whole / "codecmeta" / place, ignore=shutil.ignore_patterns("__pycache__", "weights"),
            dirs_exist_ok=True,
        )  # fmt: skip
    for path in whole.rglob("*.py"):
        path.write_text(fenced(path.read_text()))
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [str(whole)]
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each public module: its docstring, and every name of its `__all__` where it is defined."""
    for page, module in PAGES.items():
        files.append(File.generated(config, f"api/{page}.md", content=api_page(module)))
    return files


def api_page(module: str) -> str:
    """The page of a public module in Markdown."""
    face = import_module(module)
    lines = [f"# {module}", "", str(face.__doc__), ""]
    for name in sorted(face.__all__, key=str.lower):
        if not name.startswith("_"):
            lines += [f"::: {defined(face, module, name)}", ""]
    return "\n".join(lines)


def defined(face: Any, module: str, name: str) -> str:
    """The full path under which a public name is defined. Nothing is imported for it that the face does not import."""
    if name in face._HOME:
        return f"{module}.{face._HOME[name]}.{name}"
    home = getattr(getattr(face, name), "__module__", module)
    return f"{home}.{name}"
