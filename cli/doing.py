"""Lines on a terminal that say what is being done and how far it is, and are gone when it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Show the line while the block runs; nothing where standard error is no terminal."""
    shown = sys.stderr.isatty()
    if shown:
        print(f"\r\x1b[K{what} ...", end="", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def move(bar: tqdm, done: int, whole: int) -> None:
    """Set a bar to `done` of `whole`."""
    bar.total = whole
    bar.update(done - bar.n)
