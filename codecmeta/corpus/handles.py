"""Caches that stay open: for access in any order, many times, by one process and its threads."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from codecmeta.cache.store import load, reopen
from codecmeta.record.metadata import Metadata


class Handles:
    """Opens every cache with the full check the first time and without it later, and keeps the last ones open.

    most: how many; the one that was used longest ago is let go, and its file closes when nobody reads from it any more.
    A copy in another process (a fork, or a pickle) starts with none open. A file that was replaced is checked again.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"handles={most}: expected at least 1")
        self.most = most
        self._begin()

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._open: OrderedDict[Path, Metadata] = OrderedDict()
        self._seen: dict[Path, tuple[int, int]] = {}
        self._lock = Lock()

    def __reduce__(self) -> Any:
        return Handles, (self.most,)

    def get(self, path: Path) -> Metadata:
        """The record of a cache; closing it does nothing. Raises as `codecmeta.load` does."""
        if self._owner != os.getpid():
            self._begin()
        with self._lock:
            record = self._open.get(path)
            if record is None:
                record = self._opened(path)
                self._open[path] = record
                while len(self._open) > self.most:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(path)
            return record

    def _opened(self, path: Path) -> Metadata:
        known = self._seen.get(path)
        state = _state(path)
        record = reopen(path) if known is not None and known == state else load(path)
        if state is not None:
            self._seen[path] = state
        return replace(record, close_file=partial(_stay_open, record))


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:  # opening will say why
        return None
    return status.st_mtime_ns, status.st_size


def _stay_open(record: Metadata) -> None:
    """What closing a shared record does; it holds the file that the record reads from."""
