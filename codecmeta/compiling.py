"""Compiling with numba, the one long pause that a first use brings: said on stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

_announced = False


def announce_compiling(*functions: Any) -> None:
    """Print one line, once per process, if any of these numba functions is neither compiled nor in numba's cache."""
    global _announced
    if not _announced and any(not (function.signatures or _is_cached(function)) for function in functions):
        _announced = True
        print("codecmeta: compiling numeric kernels for this machine, a few seconds, once", file=sys.stderr, flush=True)


def _is_cached(function: Any) -> bool:
    name = f"{Path(function.py_func.__code__.co_filename).stem}.{function.py_func.__qualname__}-"
    folder = Path(function.stats.cache_path)
    return folder.is_dir() and any(entry.name.startswith(name) for entry in folder.glob("*.nbi"))
