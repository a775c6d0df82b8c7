"""A cache file in the making: takes the parts of a video as they are read, appears under its name when complete.

Rows are written in whole chunks. A dataset that ends within its first chunk gets its exact shape, which costs a small
video a few hundred bytes in place of several thousand for the index of a growing one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
from numpy.typing import NDArray

from codecmeta.cache.unfinished import begin_unfinished
from codecmeta.cache.user_block import SUMMARY_BYTES, Summary, write_summary
from codecmeta.container.source import Medium, opened_for_ranges, size_of, version_of
from codecmeta.record.metadata import SOURCES, VECTOR, Frames, Gops, Maps, Stream
from codecmeta.record.parts import Found, FrameSignals
from codecmeta.version import __version__

FORMAT_VERSION = 1

_CHUNK_BYTES = 1 << 16
_VECTORS_PER_CHUNK = 1 << 15
_FRAMES_AT_ONCE = 64
_COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 6, "shuffle": True}
_RUN_LENGTHS = {"residual/luma_rms", "qp/map", "bits/map"}
"""Where zlib is to look for repeated bytes alone (Z_RLE), as they are mostly zeros and neighbours alike: a fifth of the
time, and a tenth smaller but for bits. It would take up to a third more for chroma, and twice as much for vectors."""
_PLAIN_BYTES = 512  # a smaller table is cheaper without chunks
_VP9_OFFSET = 128  # int8 holds QPs up to 127 as they are; the 0..255 of VP9 are stored this much lower
_MAPS = {"residual": ("luma_rms", np.float16), "qp": ("map", np.int8), "bits": ("map", np.float32)}


class Writer:
    """A cache file in the making. A sink for `scan`; leaves nothing behind unless it was finished."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.file: h5py.File | None = None
        self._moved = False

    def __enter__(self) -> Writer:
        self.temporary, self._lock = begin_unfinished(self.target)
        self._disk = _Disk(self.temporary, self.target)
        self.clear()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close()
        self._disk.close()
        if not self._moved:
            self.temporary.unlink(missing_ok=True)
        self._lock.close()
        if kind is not None and issubclass(kind, Exception):  # what HDF5 says of it then has another cause
            self._disk.check()

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def clear(self) -> None:
        self._close()
        self._tables: dict[str, _Column] = {}
        self._arrays: dict[str, _Rows] = {}
        self._waiting: list[FrameSignals] = []
        self._summary: Summary | None = None
        self._disk.truncate(0)
        self.file = h5py.File(self._disk, "w", libver=("v110", "v110"), userblock_size=SUMMARY_BYTES)

    def add(self, frame: FrameSignals) -> None:
        self._waiting.append(frame)
        if len(self._waiting) == _FRAMES_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """Append the frames that wait. So many at once, whatever gave them: the order in which chunks fill, and with it
        every byte of the file, follows from the frames alone."""
        frames, self._waiting = self._waiting, []
        for name, append in (
            ("vectors", self._append_vectors),
            ("residual", self._append_residual),
            ("chroma", lambda known: self.append_chroma(_stacked(known, "chroma"))),
            ("qp", lambda known: self.append_maps("qp", _rows(known), _stacked(known, "qp"))),
            ("bits", lambda known: self.append_maps("bits", _rows(known), _stacked(known, "bits"))),
        ):
            known = [one for one in frames if getattr(one, name) is not None]
            if known:
                append(known)
        self._disk.check()

    def _append_vectors(self, frames: list[FrameSignals]) -> None:
        vectors = [one.vectors for one in frames if one.vectors is not None]
        distance = [one.distance for one in frames if one.distance is not None]
        counts = np.array([len(one) for one in vectors])
        self.append_motion(
            _rows(frames), counts, np.concatenate(vectors), np.concatenate(distance) if distance else None
        )

    def _append_residual(self, frames: list[FrameSignals]) -> None:
        source = np.array([one.residual_source for one in frames], np.uint8)
        self.append_maps("residual", _rows(frames), _stacked(frames, "residual"), source)
        self.append_luma_change([one.luma_change for one in frames if one.luma_change is not None])

    def append_motion(
        self, rows: Any, counts: NDArray[np.int64], vectors: NDArray[np.void], distance: NDArray[np.int16] | None = None
    ) -> None:
        """Vectors of further frames, `counts` of them for each of `rows`; distance: int16 (vectors,)."""
        array = self._array("motion/vectors", vectors, VECTOR, _VECTORS_PER_CHUNK)
        self._append_table("motion/frame", rows, np.int64)
        if "motion/indptr" not in self._tables:
            self._append_table("motion/indptr", [0], np.int64)
        self._append_table("motion/indptr", array.length + np.cumsum(counts), np.int64)
        array.append(vectors)
        if distance is not None:
            self._array("motion/distance", distance, np.dtype(np.int16), _VECTORS_PER_CHUNK).append(distance)

    def append_maps(self, name: str, rows: Any, values: NDArray[Any], source: NDArray[np.uint8] | None = None) -> None:
        """Maps of further frames: values (n, rows, columns)."""
        dataset, dtype = _MAPS[name]
        array = self._array(f"{name}/{dataset}", values, np.dtype(dtype))
        if name == "qp" and not array.offset and values.max(initial=0) > 127:
            array.set_offset(_VP9_OFFSET)
        array.append(values)
        self._append_table(f"{name}/frame", rows, np.int64)
        if source is not None and len(source):
            self._append_table(f"{name}/frame_source", source, np.uint8)

    def append_luma_change(self, values: Any) -> None:
        """How much the frames whose luma residual was appended last differ from the ones before; may be empty."""
        if len(values):
            self._append_table("residual/luma_change", values, np.float16)

    def append_chroma(self, values: NDArray[np.float16]) -> None:
        """Chroma maps of the frames whose luma residual was appended last: values (n, rows, columns)."""
        self._array("residual/chroma_rms", values, np.dtype(np.float16)).append(values)

    def _append_table(self, name: str, values: Any, dtype: Any) -> None:
        self._tables.setdefault(name, _Column(np.dtype(dtype))).data.extend(np.asarray(values, dtype).tobytes())

    def _array(self, name: str, values: NDArray[Any], dtype: np.dtype, chunk_rows: int = 0) -> _Rows:
        """The dataset of this name, made on first use for rows like `values`; chunk_rows: by default whole frames."""
        if name not in self._arrays:
            bytes_per_row = max(int(np.prod(values.shape[1:])) * dtype.itemsize, 1)
            rows = chunk_rows or int(np.clip(_CHUNK_BYTES // bytes_per_row, 1, 64))
            self._arrays[name] = _Rows(self._opened, name, values.shape[1:], dtype, rows)
        return self._arrays[name]

    def _table(self, name: str, values: NDArray[Any]) -> None:
        """A one-dimensional dataset that is known as a whole."""
        if values.nbytes <= _PLAIN_BYTES:
            self._opened.create_dataset(name, data=values)
        else:
            self._opened.create_dataset(name, data=values, chunks=(min(len(values), 16384),), **_COMPRESSION)

    @property
    def _opened(self) -> h5py.File:
        assert self.file is not None
        return self.file

    def finish(self, found: Found, source: Medium | None = None) -> None:
        """Write the tables of a scanned video and move the file to its name. source: the video, where it is not the
        file that `found` names."""
        self._flush()
        if not found.has_motion:
            for collected in (self._arrays, self._tables):
                for name in [one for one in collected if one.startswith("motion/")]:
                    del collected[name]
        self.finish_arrays()
        file = self._opened
        for name, grid in (("residual", found.residual_grid), ("qp", found.qp_grid), ("bits", found.qp_grid)):
            if name in file:
                file[name].attrs.update({"block": grid.block, "origin_x": grid.origin_x, "origin_y": grid.origin_y})
        if "residual" in file:
            file["residual"].attrs["source"] = json.dumps(SOURCES)
        self.write_tables(found.path, found.stream, found.frames, found.gops, found.capability, found.settings, source)
        self.close_and_move()

    def place(self, name: str, maps: Maps) -> None:
        """Write where the blocks of a group of maps lie and what its sources are called."""
        attrs = self._opened[name].attrs
        attrs.update({"block": maps.block, "origin_x": maps.origin_x, "origin_y": maps.origin_y})
        if maps.sources:
            attrs["source"] = json.dumps(maps.sources)

    def write_tables(
        self,
        source: Path,
        stream: Stream,
        frames: Frames,
        gops: Gops,
        capability: dict[str, Any],
        settings: dict[str, Any],
        medium: Medium | None = None,
    ) -> None:
        """The frame and GoP tables and every attribute of the file."""
        file = self._opened
        for group, table in (("frames", frames), ("gops", gops)):
            for name in table.__dataclass_fields__:
                self._table(f"{group}/{name}", getattr(table, name))
        for name, column in self._tables.items():
            self._table(name, np.frombuffer(column.data, column.dtype))
        file.attrs.update(
            {
                "format": "codecmeta",
                "format_version": FORMAT_VERSION,
                "codecmeta_version": __version__,
                "ffmpeg_version": ".".join(str(number) for number in av.library_versions["libavcodec"]),
                **{name: getattr(stream, name) for name in Stream.__dataclass_fields__ if name != "mirrored"},
                **({"mirrored": 1} if stream.mirrored else {}),
                "source_name": np.array(os.fsencode(source.name), h5py.string_dtype()),  # which may not be UTF-8
                "settings": json.dumps(settings),
                "capability": json.dumps(capability),
            }
        )
        if medium is not None or source.is_file():
            medium = source if medium is None else medium
            (size, changed), digest = version_of(medium), fingerprint(medium)
            file.attrs.update({"source_bytes": size, "source_mtime_ns": changed, "source_sha256": digest})
            self._summary = Summary(settings, size, changed, digest, len(frames), stream.codec, levels(capability))

    def finish_arrays(self) -> None:
        """Write what is still waiting for its chunk to fill."""
        for array in self._arrays.values():
            array.finish()
        if "qp/map" in self._arrays:
            self._opened["qp"].attrs["offset"] = self._arrays["qp/map"].offset

    def close_and_move(self) -> None:
        """Make the file appear under its name, complete, and so that a power cut does not change that."""
        self._close()
        if self._summary is not None:
            write_summary(self._disk, self._summary)
        self._disk.flush_to_disk()
        os.replace(self.temporary, self.target)
        self._moved = True


def _rows(frames: list[FrameSignals]) -> list[int]:
    return [one.row for one in frames]


def _stacked(frames: list[FrameSignals], name: str) -> NDArray[Any]:
    return np.stack([getattr(one, name) for one in frames])


class _Disk(io.FileIO):
    """What HDF5 writes to. A write that fails (a full disk) would have HDF5 crash when it closes the file, and refuse
    the next one; so the first error is kept for `check`, and what is written after it is dropped."""

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__(path, "w+")
        self._target = target
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of `data`; never raises."""
        rest = memoryview(data)
        try:
            while rest and self._error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Set the length; never raises."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
            return self.tell() if size is None else size

    def check(self) -> None:
        """Raise OSError if something was not written."""
        if self._error is not None:
            raise OSError(self._error.errno, self._error.strerror, str(self._target)) from None

    def flush_to_disk(self) -> None:
        """Raise OSError unless all is on the disk now. Without this a file that was moved may be empty after a power
        cut. Takes a few milliseconds."""
        self.check()
        try:
            os.fsync(self.fileno())
        except OSError as error:
            self._error = error
            self.check()


@dataclass(frozen=True)
class _Column:
    """A table in the making. One buffer that grows: thousands of small arrays that outlive the large ones between them
    keep the heap from shrinking, and two hours of video took 130 MB more."""

    dtype: np.dtype
    data: bytearray = field(default_factory=bytearray)


class _Rows:
    """A dataset that grows row by row and is written in whole chunks."""

    def __init__(self, file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype, chunk_rows: int) -> None:
        self.file, self.name, self.shape, self.dtype, self.chunk_rows = file, name, shape, dtype, chunk_rows
        self.offset = 0
        self.length = 0
        self._waiting: list[NDArray[Any]] = []
        self._written = 0

    def append(self, values: NDArray[Any]) -> None:
        """Take further rows, (n, *shape)."""
        self._waiting.append(values)
        self.length += len(values)
        full = (self.length - self._written) // self.chunk_rows * self.chunk_rows
        if full:
            together = np.concatenate(self._waiting)
            self._write(together[:full])
            self._waiting = [together[full:].copy()]

    def set_offset(self, offset: int) -> None:
        """Store every value `offset` lower, those that were written already too."""
        for start in range(0, self._written, self.chunk_rows):
            rows = self.file[self.name][start : start + self.chunk_rows].astype(np.int64) + self.offset - offset
            self.file[self.name][start : start + self.chunk_rows] = rows.astype(self.dtype)
        self.offset = offset

    def finish(self) -> None:
        """Write the rows that do not fill a chunk."""
        rest = np.concatenate(self._waiting)
        if self._written:
            self._write(rest)
        elif rest.size * self.dtype.itemsize <= _PLAIN_BYTES:
            self.file.create_dataset(self.name, data=self._stored(rest))
        else:
            dataset = self.file.create_dataset(self.name, rest.shape, self.dtype, chunks=rest.shape, **_COMPRESSION)
            self._fill(dataset, 0, self._stored(rest))

    def _write(self, values: NDArray[Any]) -> None:
        if not self._written:
            growing = {"maxshape": (None, *self.shape), "chunks": (self.chunk_rows, *self.shape), **_COMPRESSION}
            self.file.create_dataset(self.name, (0, *self.shape), self.dtype, **growing)
        dataset = self.file[self.name]
        dataset.resize(self._written + len(values), axis=0)
        self._fill(dataset, self._written, self._stored(values))
        self._written += len(values)

    def _fill(self, dataset: h5py.Dataset, first: int, values: NDArray[Any]) -> None:
        """Rows from the first one of a chunk on."""
        if self.name not in _RUN_LENGTHS:
            dataset[first:] = values
            return
        rows = dataset.chunks[0]
        for start in range(0, len(values), rows):
            chunk = np.zeros(dataset.chunks, self.dtype)  # its last rows may lie behind the last one there is
            chunk[: len(values) - start] = values[start : start + rows]
            planes = np.ascontiguousarray(chunk.view(np.uint8).reshape(-1, self.dtype.itemsize).T)  # HDF5's shuffle
            packer = zlib.compressobj(_COMPRESSION["compression_opts"], strategy=zlib.Z_RLE)
            data = packer.compress(planes.data) + packer.flush()
            dataset.id.write_direct_chunk((first + start, *(0 for _ in self.shape)), data)

    def _stored(self, values: NDArray[Any]) -> NDArray[Any]:
        return (values - self.offset if self.offset else values).astype(self.dtype)


def fingerprint(medium: Medium) -> str:
    """SHA-256 of a file's size and its first and last MiB, as hex: tells versions apart in little time."""
    size = size_of(medium)
    digest = hashlib.sha256(str(size).encode())
    with opened_for_ranges(medium) as read:
        digest.update(read(0, 1 << 20))
        digest.update(read(max(size - (1 << 20), 0), size))
    return digest.hexdigest()


def levels(capability: dict[str, Any]) -> dict[str, str]:
    """How well each signal is known, without the reasons."""
    return {signal: str(one["level"]) for signal, one in capability.items()}
