"""The caches of a corpus as one object: by key, in order, filtered by what the index says; made for training loops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from codecmeta.cache.store import load
from codecmeta.corpus.index import Row, read_index
from codecmeta.corpus.recent import RecentCaches
from codecmeta.errors import CacheError
from codecmeta.record.metadata import Metadata


class Corpus(Mapping[str, Metadata]):
    """The metadata of many videos, opened one at a time as they are asked for.

    >>> corpus = Corpus("caches/")                            # reads the index, opens nothing
    >>> with corpus["a/b.mp4"] as meta:
    ...     meta.residual.of(0)
    >>> short = corpus.where(lambda row: row.frames < 500, codec="h264")

    Keys are the paths of the videos relative to the folder or list that `codecmeta extract` was given, sorted. Videos
    that failed are not in it; `failed` has their rows. Unless trusted, every access opens its file anew and the corpus
    keeps none open, so it can be shared by threads, forked and pickled; close what you get (it is a context manager),
    or let it go out of scope.

    trusted: the caches do not change and were made by you. Each is then checked once, the first time this object meets
    it; what was used last stays in memory, up to `memory` bytes (half for tables, half for unpacked chunks of vectors
    and maps), and no file stays open, which makes access in any order fast. Records are shared and closing one does
    nothing. Every process that the corpus gets into by fork or pickle has a memory of its own.

    >>> corpus = Corpus("caches/", trusted=True)
    >>> corpus["a/b.mp4"].residual.values[3]

    Raises CacheError for a folder without an index, KeyError for a video that is not there.
    """

    def __init__(self, folder: str | PathLike[str], *, trusted: bool = False, memory: int = 1 << 30) -> None:
        self.folder = Path(folder)
        self._recent = RecentCaches(memory) if trusted else None
        rows: dict[str, Row] = {}
        found = False
        for index in read_index(self.folder):
            found = True
            rows.update(index)
        if not found:
            raise CacheError(
                f"{folder}: no index.jsonl; codecmeta extract VIDEOS -o {folder} writes one, also where all caches are "
                "there already"
            )
        self.failed = [row for row in rows.values() if row.status == "failed"]
        self.rows = {key: rows[key] for key in sorted(rows) if rows[key].status != "failed"}

    def __getitem__(self, key: str) -> Metadata:
        """Open the metadata of one video; raises as `codecmeta.load` does."""
        path = os.path.join(self.folder, self.rows[key].cache)  # a Path takes longer to make than a map to find
        return load(Path(path)) if self._recent is None else self._recent.get(path)

    def path(self, key: str) -> Path:
        """The cache file of one video."""
        return self.folder / self.rows[key].cache

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, key: object) -> bool:
        return key in self.rows

    def __repr__(self) -> str:
        return f"Corpus({str(self.folder)!r}): {len(self)} videos, {len(self.failed)} failed"

    def where(self, wanted: Callable[[Row], Any] | None = None, **equal: Any) -> Corpus:
        """The videos whose index row has these values and passes the test, as a corpus of their own.

        >>> corpus.where(codec="h264").where(lambda row: row.capability["residual"] == "exact")

        Raises TypeError for a name that `index.Row` does not have.
        """
        unknown = [name for name in equal if name not in Row.__dataclass_fields__]
        if unknown:
            raise TypeError(f"{', '.join(unknown)}: index rows have {', '.join(Row.__dataclass_fields__)}")
        return self._of(
            key
            for key, row in self.rows.items()
            if all(getattr(row, name) == value for name, value in equal.items()) and (wanted is None or wanted(row))
        )

    def _of(self, keys: Iterable[str]) -> Corpus:
        part = object.__new__(Corpus)
        part.folder, part.failed, part._recent = self.folder, [], self._recent
        part.rows = {key: self.rows[key] for key in keys}
        return part
