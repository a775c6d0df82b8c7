"""Compiling with numba, the one long pause that a first use brings: said on stderr, done once, and in nobody's time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba import njit as njit  # kernels take it from here, so that their compiling is said
from numba.core import event

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


class _Announcing(event.Listener):
    """Prints one line, once per process, when numba begins to compile what its cache does not hold. Numba tells, as
    only a call knows which kernels are needed and with which types. A parser speaks for itself."""

    def on_start(self, event: event.Event) -> None:
        global _announced
        module = event.data["dispatcher"].py_func.__module__
        if _announced or not module.startswith("codecmeta.") or module.startswith("codecmeta.codecs."):
            return
        _announced = True
        print("codecmeta: compiling numeric kernels for this machine, a few seconds, once", file=sys.stderr, flush=True)

    def on_end(self, event: event.Event) -> None:
        """Nothing to say."""


event.register("numba:compile", _Announcing())
