"""Refuses cache files that were made to do harm, before anything in them is read.

Files come from other people: a link would open another file of this machine, a filter would load a plugin, a shape or a
compressed table would fill the memory, a wrong type would surface far away. What is read here is only what HDF5 says
about its objects; `check_record` then looks at the few tables that positions are taken from. What nobody reads (names
that the format does not have) is left alone.

HDF5 itself is trusted to parse damaged files without harm. Where that is not enough, `workers.isolated_map` is.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from codecmeta.errors import CacheError
from codecmeta.record.metadata import VECTOR, Frames, Gops, Maps, Metadata, Stream

_TABLES = {
    "frames": dict(zip(Frames.__dataclass_fields__, ("i8", "f8", "u1", "?", "i8", "i4", "?"), strict=True)),
    "gops": dict(zip(Gops.__dataclass_fields__, ("i8", "i8", "f8"), strict=True)),
    "motion": {"frame": "i8", "indptr": "i8"},
    "residual": {"frame": "i8", "frame_source": "u1", "luma_change": "f2"},
    "qp": {"frame": "i8"},
    "bits": {"frame": "i8"},
}
_ARRAYS: dict[str, dict[str, tuple[np.dtype, int]]] = {
    "motion": {"vectors": (VECTOR, 1), "distance": (np.dtype("i2"), 1)},
    "residual": {"luma_rms": (np.dtype("f2"), 3), "chroma_rms": (np.dtype("f2"), 3)},
    "qp": {"map": (np.dtype("i1"), 3)},
    "bits": {"map": (np.dtype("f4"), 3)},
}
_WHOLE, _PAIR, _REAL, _TEXT = "a whole number", "two whole numbers", "a number", "a text"
_ATTRIBUTES = {
    **dict.fromkeys(("format_version", "width", "height", "rotation", "stream_index", "source_bytes"), _WHOLE),
    **dict.fromkeys(("source_mtime_ns", "block", "origin_x", "origin_y", "offset", "mirrored"), _WHOLE),
    **dict.fromkeys(("time_base", "average_rate", "crop"), _PAIR),
    **dict.fromkeys(("format", "codec", "profile", "pixel_format", "source_name", "source_sha256"), _TEXT),
    **dict.fromkeys(("settings", "capability", "source", "codecmeta_version", "ffmpeg_version"), _TEXT),
    "duration_seconds": _REAL,
}
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_DEFLATE_MOST = 1100  # to one: deflate cannot do better than 1032
_CHUNK_MOST = 1 << 26  # bytes that reading a single value may unpack
_FRAMES_ALWAYS = 1 << 23  # a longer table (39 hours at 60 frames/s, 64 MiB) takes at least a byte per frame
_SIDE_MOST = 1 << 16  # pixels
_VECTORS_MOST = 1 << 22  # per frame: twice what 8K has in its smallest blocks
_BLOCKS_MOST = 1 << 22  # of a map: a picture of 16K by 16K in blocks of 8 pixels
_TIME_MOST = 2.0**63  # seconds: the last time stamp of a clock that counts seconds, and some clocks begin in 1970
_PACKET_MOST = 1 << 40  # bytes
_HOLES = 1 << 28  # bytes from which a file must not consist of holes


def check_cache(file: h5py.File, path: Path) -> None:
    """Raise CacheError if an opened file could do anything but hold metadata in bounded memory."""
    try:
        status = os.stat(path)
        if status.st_size > _HOLES and 0 < status.st_blocks * 512 < status.st_size // 16:
            raise _Refused(f"a file of {status.st_size:,} bytes that is mostly holes")
        _check_attributes(file, "/")
        for name in _TABLES:
            group = _member(file, name, h5py.Group)
            if group is not None:
                _check_group(group, name, status.st_size)
    except _Refused as reason:
        raise CacheError(f"{path}: refused: {reason}; get it from its source again, or extract it anew") from None


class _Refused(Exception):
    """Why a file is not read."""


def _check_group(group: h5py.Group, name: str, file_bytes: int) -> None:
    _check_attributes(group, name)
    for column, kind in _TABLES[name].items():
        table = _member(group, column, h5py.Dataset)
        if table is not None:
            _check_dataset(table, f"{name}/{column}", np.dtype(kind), 1, file_bytes)
            if len(table) > max(_FRAMES_ALWAYS, file_bytes):
                raise _Refused(f"{name}/{column} has {len(table):,} rows in a file of {file_bytes:,} bytes")
    for array, (dtype, dimensions) in _ARRAYS.get(name, {}).items():
        dataset = _member(group, array, h5py.Dataset)
        if dataset is not None:
            _check_dataset(dataset, f"{name}/{array}", dtype, dimensions, file_bytes)


def _member(parent: Any, name: str, kind: Any) -> Any:
    """An object of a group, None if there is none; links are not followed."""
    links = parent.id.links
    key = name.encode()
    if not links.exists(key):
        return None
    if links.get_info(key).type != h5py.h5l.TYPE_HARD:
        raise _Refused(f"{_where(parent, name)} is a link to elsewhere")
    found = parent[name]
    if not isinstance(found, kind):
        raise _Refused(f"{_where(parent, name)} is a {type(found).__name__.lower()}, not a {kind.__name__.lower()}")
    return found


def _where(parent: Any, name: str) -> str:
    return f"{parent.name}/{name}".strip("/")


def _check_dataset(dataset: h5py.Dataset, where: str, dtype: np.dtype, dimensions: int, file_bytes: int) -> None:
    plan = dataset.id.get_create_plist()
    if dataset.is_virtual or plan.get_external_count():
        raise _Refused(f"{where} keeps its data in another file")
    kind = dataset.dtype
    if kind != dtype or kind.hasobject:
        raise _Refused(f"{where} is of type {kind}, not {dtype}")
    shape = dataset.shape
    if shape is None or len(shape) != dimensions:
        raise _Refused(f"{where} has shape {shape}, not {dimensions} dimensions")
    filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    if not filters <= _FILTERS:
        raise _Refused(f"{where} needs the HDF5 filters {sorted(filters - _FILTERS)}")
    chunks = dataset.chunks
    if chunks is not None and math.prod(chunks) * dtype.itemsize > _CHUNK_MOST:
        raise _Refused(f"{where} has chunks of {chunks}")
    stored = dataset.id.get_storage_size()
    size = math.prod(shape) * dtype.itemsize
    if stored > file_bytes or size > stored * (_DEFLATE_MOST if filters else 1):
        raise _Refused(f"{where} says {size:,} bytes and holds {stored:,}")


def _check_attributes(item: Any, where: str) -> None:
    for name, wanted in _ATTRIBUTES.items():  # and not over what the file has, which may be a million
        if not h5py.h5a.exists(item.id, name.encode()):
            continue
        attribute = h5py.h5a.open(item.id, name.encode())
        text = h5py.check_string_dtype(attribute.dtype)
        if wanted is _TEXT:
            sound = text is not None and attribute.shape == ()
        elif wanted is _REAL:
            sound = attribute.dtype.kind in "fiu" and attribute.shape == ()
        else:
            sound = attribute.dtype.kind in "iu" and attribute.shape == (() if wanted is _WHOLE else (2,))
        if not sound:
            raise _Refused(f"attribute {name} of {where} is {attribute.dtype} {attribute.shape}, not {wanted}")


def check_record(meta: Metadata) -> None:
    """Raise ValueError where the tables of a record contradict each other or point outside of it."""
    stream, count = meta.stream, len(meta.frames)
    if not (0 < stream.width <= _SIDE_MOST and 0 < stream.height <= _SIDE_MOST):
        raise ValueError(f"a picture of {stream.width}x{stream.height}")
    if min(*stream.time_base, stream.average_rate[1]) < 1 or stream.average_rate[0] < 0:
        raise ValueError(f"a time base of {stream.time_base} or a frame rate of {stream.average_rate}")
    for table, length in ((meta.frames, count), (meta.gops, len(meta.gops))):
        if any(len(getattr(table, name)) != length for name in table.__dataclass_fields__):
            raise ValueError("columns of different lengths")
    if count and not (len(meta.gops) and 0 <= meta.frames.gop.min() and meta.frames.gop.max() < len(meta.gops)):
        raise ValueError("frames of a GoP that does not exist")
    if ((meta.gops.start < 0) | (meta.gops.stop < meta.gops.start) | (meta.gops.stop > count)).any():
        raise ValueError("a GoP of frames that do not exist")
    times = np.append(meta.frames.time, stream.duration_seconds)
    if not (np.abs(times) <= _TIME_MOST).all() or not all(
        isinstance(one, dict) and isinstance(one.get("level"), str) and isinstance(one.get("why"), str)
        for one in meta.capability.values()
    ):
        raise ValueError("times or a capability report that are none")
    sizes = np.concatenate([meta.frames.packet_bytes, meta.gops.packet_bytes_mean])
    if not ((sizes >= 0) & (sizes <= _PACKET_MOST)).all():
        raise ValueError("packets of an impossible size")
    if meta.motion is not None:
        _check_rows("motion", meta.motion.frame, count, len(meta.motion.indptr) - 1)
        counts = np.diff(meta.motion.indptr)
        ends = (int(meta.motion.indptr[0]), int(meta.motion.indptr[-1]))
        if ends != (0, meta.motion.vectors.shape[0]) or (counts < 0).any() or (counts > _VECTORS_MOST).any():
            raise ValueError("vectors that do not belong to their frames")
        if meta.motion.distance is not None and meta.motion.distance.shape != meta.motion.vectors.shape:
            raise ValueError("distances that do not belong to their vectors")
    for name in ("residual", "residual_chroma", "qp", "bits"):
        maps = getattr(meta, name)
        if maps is not None:
            frames, rows, columns = maps.values.shape
            _check_rows(name, maps.frame, count, frames)
            _check_grid(name, maps, rows, columns, stream)
            if len(maps.source) and (len(maps.source) != frames or maps.source.max() >= len(maps.sources)):
                raise ValueError(f"{name}: sources that are not named")


def _check_grid(name: str, maps: Maps, rows: int, columns: int, stream: Stream) -> None:
    """The blocks lie over the picture, those of what cropping removed left of it and above."""
    if len(maps.frame) and not 0 < rows * columns <= _BLOCKS_MOST:
        raise ValueError(f"{name}: maps of {rows}x{columns} blocks")
    inside = maps.block >= 1 and all(
        -_SIDE_MOST <= origin <= 0 and origin + count * maps.block <= side + 2 * maps.block
        for origin, count, side in (
            (maps.origin_x, columns, stream.width),
            (maps.origin_y, rows, stream.height),
        )
    )
    if not inside:
        raise ValueError(f"{name}: {rows}x{columns} blocks of {maps.block} pixels for a smaller picture")


def _check_rows(name: str, rows: NDArray[np.int64], count: int, length: int) -> None:
    if len(rows) != length or (len(rows) and not (0 <= rows[0] and rows[-1] < count and (np.diff(rows) > 0).all())):
        raise ValueError(f"{name}: frames that do not exist, or not in order")
