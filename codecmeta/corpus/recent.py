"""Caches that were seen before: for access in any order, many times, by one process and its threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from codecmeta.cache.packed import Recent, State, packed, state_of
from codecmeta.cache.store import load, reopen
from codecmeta.record.metadata import Metadata


class RecentCaches:
    """Opens every cache with the full check the first time and without it later, and keeps what was used last: tables,
    and chunks of vectors and maps, unpacked. No file stays open.

    memory: bytes of all that, half for tables and half for chunks. A copy in another process (a fork, or a pickle)
    starts with nothing. A file that was replaced is checked again.
    """

    def __init__(self, memory: int) -> None:
        if memory < 1:
            raise ValueError(f"memory={memory}: expected at least 1 (bytes)")
        self.memory = memory
        self._begin()

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._records, self._chunks = Recent(self.memory // 2), Recent(self.memory // 2)
        self._seen: dict[str, State] = {}

    def __reduce__(self) -> Any:
        return RecentCaches, (self.memory,)

    def get(self, path: str) -> Metadata:
        """The record of a cache; closing it does nothing. Raises as `codecmeta.load` does."""
        if self._owner != os.getpid():
            self._begin()
        try:
            state = state_of(os.stat(path))
        except OSError:
            return load(Path(path))  # says why
        found: Metadata | None = self._records.get((path, state))
        if found is None:
            opened = (reopen if self._seen.get(path) == state else load)(Path(path))
            found = packed(opened, path, state, self._chunks)
            self._seen[path] = state
            self._records.put((path, state), found, _bytes(found))
        return found


def _bytes(record: Metadata) -> int:
    """Of the tables of a record, about."""
    tables = [*vars(record.frames).values(), *vars(record.gops).values()]
    if record.motion is not None:
        tables += [record.motion.frame, record.motion.indptr]
    return 16384 + sum(int(table.nbytes) for table in tables)
