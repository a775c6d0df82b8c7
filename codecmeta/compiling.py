"""Compiling with numba, the one long pause that a first use brings: said on stderr, done once, and in nobody's time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from codecmeta.cache.locks import lock_if_possible

_announced = False

clock: Callable[[str], object] = str
"""Told "stop" and "start": whoever sets a time limit for this process puts in what listens to it."""


@contextmanager
def in_turn(folder: str | None) -> Iterator[None]:
    """Around what fills numba's cache in a folder: processes take turns, so that one compiles and the others load, and
    the clock stands still."""
    clock("stop")
    try:
        with _lock_file(folder) as lock:
            if lock is not None:
                lock_if_possible(lock)
            yield
    finally:
        clock("start")


@contextmanager
def _lock_file(folder: str | None) -> Iterator[Any]:
    try:
        if folder is None:
            raise FileNotFoundError
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = open(Path(folder) / "codecmeta.lock", "w")
    except OSError:  # nobody can write there: whatever it holds is all there will be
        yield None
        return
    with file:
        yield file


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
