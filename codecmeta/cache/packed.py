"""Rows of a cache whose file is not kept open: it is remembered where each chunk lies, and one is read by itself.

Opening a file with HDF5 costs milliseconds, reading one chunk at a known place a fraction of one.
"""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from codecmeta.cache.store import StoredRows
from codecmeta.errors import CacheError
from codecmeta.record.metadata import Maps, Metadata

State = tuple[int, int, int]
"""Time of the last change in nanoseconds, bytes, and number of a file: the same as long as nobody wrote to it."""


class Recent:
    """What was used last, up to so many bytes; may be shared by threads."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._entries: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: Any) -> Any:
        """What was put under a key, None where it is gone."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: Any, value: Any, size: int) -> None:
        """Keep a value of so many bytes, and let go what was used longest ago."""
        with self._lock:
            self._bytes += size - self._entries.pop(key, (None, 0))[1]
            self._entries[key] = value, size
            while self._bytes > self.most_bytes and len(self._entries) > 1:
                self._bytes -= self._entries.popitem(last=False)[1][1]


def state_of(status: os.stat_result) -> State:
    """What tells a file from one that was written over it."""
    return status.st_mtime_ns, status.st_size, status.st_ino


def packed(record: Metadata, path: str, state: State, recent: Recent) -> Metadata:
    """A record that was just opened, with its file closed; vectors and maps are read from it as before when they are
    indexed. Raises CacheError then, where the file is another one than in `state`."""

    def rows(stored: Any) -> Any:
        return None if stored is None else PackedRows(stored, path, state, recent)

    def maps(one: Maps | None) -> Maps | None:
        return None if one is None else replace(one, values=rows(one.values))

    motion = record.motion
    made = replace(
        record,
        motion=motion and replace(motion, vectors=rows(motion.vectors), distance=rows(motion.distance)),
        residual=maps(record.residual),
        residual_chroma=maps(record.residual_chroma),
        qp=maps(record.qp),
        bits=maps(record.bits),
        close_file=None,
    )
    record.close()
    return made


class PackedRows:
    """An array in a cache file, read and unpacked chunk by chunk when it is indexed; see `StoredRows`."""

    def __init__(self, stored: StoredRows, path: str, state: State, recent: Recent) -> None:
        dataset: h5py.Dataset = stored.dataset
        self.shape, self.dtype, self._offset = stored.shape, stored.dtype, stored.offset
        self._path, self._state, self._recent = path, state, recent
        self._name, self._stored_dtype = str(dataset.name), dataset.dtype
        self._per_row = int(np.prod(self.shape[1:], dtype=np.int64))
        self._rows, self._deflated, self._shuffled, self._places = _layout(dataset)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            row = int(key) + (len(self) if key < 0 else 0)
            if not 0 <= row < len(self):
                raise IndexError(f"row {key} of {len(self)}")
            return self._between(row, row + 1)[0]
        if isinstance(key, slice) and key.step in (None, 1):
            start, stop, _ = key.indices(len(self))
            return self._between(start, max(start, stop))
        return self._between(0, len(self))[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def _between(self, start: int, stop: int) -> NDArray[Any]:
        if not self._places and stop > start:  # laid out in another way: slowly
            with h5py.File(self._path, "r", locking=False) as file:
                values = file[self._name][start:stop]
        else:
            first, last = start // self._rows, -(-stop // self._rows)
            parts = [self._chunk(number, start, stop) for number in range(first, last)] if stop > start else []
            empty = np.zeros((0, *self.shape[1:]), self._stored_dtype)
            values = parts[0] if len(parts) == 1 else np.concatenate([empty, *parts])
        return values if values.dtype == self.dtype and not self._offset else values.astype(self.dtype) + self._offset

    def _chunk(self, number: int, start: int, stop: int) -> NDArray[Any]:
        """The rows of one chunk that lie between two rows of the array."""
        begin = number * self._rows
        first, last = max(0, start - begin), min(self._rows, stop - begin)
        size, per_row = self._stored_dtype.itemsize, self._per_row
        data = np.frombuffer(self._unpacked(number), np.uint8)
        if self._shuffled:  # all first bytes, then all second bytes, ...
            planes, data = data.reshape(size, -1), np.empty((last - first) * per_row * size, np.uint8)
            for place, plane in enumerate(planes):
                data[place::size] = plane[first * per_row : last * per_row]
        else:
            data = data[first * per_row * size : last * per_row * size].copy()
        return data.view(self._stored_dtype).reshape(last - first, *self.shape[1:])

    def _unpacked(self, number: int) -> bytes:
        key = self._path, self._state, self._name, number
        data: bytes | None = self._recent.get(key)
        if data is None:
            data = self._read(*self._places[number])
            if self._deflated:
                data = zlib.decompress(data)
            self._recent.put(key, data, len(data))
        return data

    def _read(self, place: int, size: int) -> bytes:
        try:
            file = os.open(self._path, os.O_RDONLY)
        except OSError as error:
            raise CacheError(f"{self._path}: gone since it was opened ({error})") from error
        try:
            if state_of(os.fstat(file)) != self._state:
                raise CacheError(f"{self._path}: written anew since it was opened; ask the corpus for it again")
            return os.pread(file, size, place)
        finally:
            os.close(file)


def _layout(dataset: h5py.Dataset) -> tuple[int, bool, bool, list[tuple[int, int]]]:
    """Rows of a chunk, whether chunks are deflated and shuffled, and (place in the file, bytes) of each. No places
    where the dataset is laid out as no cache of this package is."""
    plain = dataset.dtype.kind != "O" and len(dataset) > 0
    if plain and dataset.chunks is None and dataset.id.get_offset() is not None:
        return len(dataset), False, False, [(dataset.id.get_offset(), dataset.nbytes)]
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    known: tuple[list[int], ...] = ([], [h5py.h5z.FILTER_DEFLATE], [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE])
    if not plain or dataset.chunks is None or dataset.chunks[1:] != dataset.shape[1:] or filters not in known:
        return 1, False, False, []
    rows = dataset.chunks[0]
    found: dict[int, tuple[int, int]] = {}

    def note(one: Any) -> None:
        if one.filter_mask == 0:
            found[one.chunk_offset[0] // rows] = (int(one.byte_offset), int(one.size))

    dataset.id.chunk_iter(note)  # asked for one by one, each is looked up from the first on
    count = -(-len(dataset) // rows)
    places = [found[number] for number in range(count)] if set(found) == set(range(count)) else []
    return rows, bool(filters), len(filters) == 2 and dataset.dtype.itemsize > 1, places
