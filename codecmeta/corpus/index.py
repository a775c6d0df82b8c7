"""The index of a corpus: one row per video, kept as JSON lines that a killed run leaves readable.

A run appends each row when it is known, whole lines at a time; at its end the file is rewritten with one row per video,
sorted by key, under a temporary name, and moved. Where a key appears twice the later line counts, and a last line that
was cut off is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from codecmeta.cache.locks import needs_posix, try_lock
from codecmeta.cache.unfinished import begin_unfinished


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one video.

    path: as it was opened. key: its name in the corpus. cache: where its metadata is (in an index file: relative to
    the folder of that file). status: "done", "skipped" (it was there already) or "failed"; reason: why it failed.
    seconds: by the clock, 0.0 where it was there already. capability: level per signal, see `metadata.Capability`.
    cache_bytes: 0 where there is no cache. A row that failed with a cache is one of other settings, of an earlier
    version of the video, or one that a failed attempt to overwrite it has left as it was.
    """

    path: str
    key: str
    cache: str
    status: Literal["done", "skipped", "failed"]
    reason: str = ""
    seconds: float = 0.0
    frames: int = 0
    codec: str = ""
    capability: dict[str, str] = field(default_factory=dict)
    cache_bytes: int = 0
    source_bytes: int = 0

    def listed(self, folder: str | PathLike[str]) -> Row:
        """The row as an index in this folder keeps it: a cache that is there is good data, whatever the last run
        wanted of it; its reason still says what that run met."""
        status = "skipped" if self.status == "failed" and self.cache_bytes else self.status
        return replace(self, cache=os.path.relpath(self.cache, folder), status=status)

    def json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def read_rows(lines: Iterable[bytes]) -> dict[str, Row]:
    """The rows of an index file by key; lines that are not whole are left out."""
    rows: dict[str, Row] = {}
    shared: dict[tuple[str, ...], dict[str, str]] = {}
    for line in lines:
        row = _parsed(line, shared)
        if row is not None:
            known = rows.get(row.key)
            if row.status == "skipped" and known is not None and known.status != "failed":
                row = replace(row, seconds=known.seconds)  # what it took when it was made
            rows[row.key] = row
    return rows


def _parsed(line: bytes, shared: dict[tuple[str, ...], dict[str, str]]) -> Row | None:
    """A row of the index, or None; equal capabilities, of which a corpus has few, become one object."""
    try:
        values = json.loads(line)
        capability = values["capability"]
        values["capability"] = shared.setdefault((*capability, *capability.values()), capability)
        return Row(**values)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class IndexWriter:
    """The index file of a run in progress. Raises BlockingIOError where another run is writing it."""

    def __init__(self, path: Path) -> None:
        needs_posix("writing an index")
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab+", buffering=0)
        if not try_lock(self._file):
            self._file.close()
            raise BlockingIOError(f"{path}: another run is writing it; wait for it, or give each its --shard I/N")
        size = self._file.seek(0, os.SEEK_END)
        if size:
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def add(self, row: Row) -> None:
        """Append a row, at once. Raises OSError where that fails, as on a full disk."""
        rest = memoryview(row.listed(self.path.parent).json().encode() + b"\n")
        with self._named_errors():
            while rest:
                rest = rest[self._file.write(rest) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave one row per video, sorted; where that fails, the rows as they came."""
        with self._file, self._named_errors():
            with open(self.path, "rb") as file:
                rows = read_rows(file)
            temporary, lock = begin_unfinished(self.path)
            with lock:
                try:
                    with open(temporary, "wb") as file:
                        file.writelines(rows[key].json().encode() + b"\n" for key in sorted(rows))
                        file.flush()
                        os.fsync(file.fileno())
                    os.replace(temporary, self.path)
                except OSError:
                    temporary.unlink(missing_ok=True)
                    raise

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """What the disk refuses says which file it was for."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error


def index_path(folder: Path, shard: tuple[int, int] = (0, 1)) -> Path:
    """Where a run keeps its index: shards never write the same file."""
    name = "index.jsonl" if shard[1] == 1 else f"index.{shard[0]}-of-{shard[1]}.jsonl"
    return folder / name


def index_files(folder: Path) -> list[Path]:
    """All indices of a corpus, the one written last at the end; that of Ray is a folder `index` of Parquet files."""
    found = [*folder.glob("index.jsonl"), *folder.glob("index.*-of-*.jsonl")]
    if any(folder.glob("index/*.parquet")):
        found.append(folder / "index")
    return sorted(found, key=lambda one: (one.stat().st_mtime_ns, one.name))


def read_index(folder: Path) -> Iterator[dict[str, Row]]:
    """The rows of every index file of a corpus, in the order in which they were written."""
    for path in index_files(folder):
        if path.is_dir():
            yield parquet_rows(path)
        else:
            with open(path, "rb") as file:
                yield read_rows(file)


def parquet_rows(folder: Path) -> dict[str, Row]:
    """The rows of an index in Parquet files, as Ray writes it."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f"{folder}: reading it needs pyarrow; pip install 'codecmeta[ray]'") from error
    rows: list[dict[str, Any]] = [
        row for one in folder.glob("*.parquet") for row in parquet.read_table(one).to_pylist()
    ]
    return {one["key"]: Row(**{**one, "capability": json.loads(one["capability"])}) for one in rows}
