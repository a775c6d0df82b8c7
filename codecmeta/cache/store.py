"""From metadata to one HDF5 file per video and back: format version 1.

The file (MUST unless marked MAY be absent; a group that the codec cannot fill is absent and `capability` says why):

    /            attributes format="codecmeta", format_version=1, codecmeta_version, ffmpeg_version, codec, profile,
                 pixel_format, width, height (displayed), rotation, MAY: mirrored (1), stream_index, crop, time_base,
                 average_rate, duration_seconds, source_name, source_bytes, source_mtime_ns, source_sha256 (of the size,
                 the first and the last MiB), settings (JSON), capability (JSON)
    /frames      one row per displayed frame: pts, time, picture_type, keyframe, packet_bytes, gop, corrupt
    /gops        start, stop, packet_bytes_mean
    /motion      MAY: frame, indptr, vectors; the vectors of frame[i] are rows indptr[i]:indptr[i + 1], those into the
                 past first, then by block height and width; MAY: distance int16, how many frames later each
                 vector's reference is displayed, 0 unknown
    /residual    MAY: frame, luma_rms float16, frame_source uint8; MAY: chroma_rms float16 over the same blocks (both
                 planes); MAY: luma_change float16 (see `codecmeta.record.metadata.Maps`); attributes block, origin_x,
                 origin_y, source (names)
    /qp          MAY: frame, map int8; attributes block, origin_x, origin_y, offset (to be added; 0 but for VP9)
    /bits        MAY: frame, map float32; attributes as /qp without offset

settings: what `extract` was asked for: frames, details, stream. Without details /bits, chroma_rms and distance are left
out, and an exact luma_rms is rounded (see `codecmeta.extract`).

In front of the HDF5 stands a user block of 1 KiB that repeats in one line of JSON what the file was made of (MAY be
empty, see `codecmeta.cache.user_block`).

Arrays are in chunks of whole frames (vectors: of 32,768 rows), byte-shuffled and gzip-compressed; one that fits in a
chunk is a single chunk of its own shape. A file appears under its name only when it is complete: it is written beside
it and moved.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from codecmeta.cache.check import check_cache, check_record
from codecmeta.cache.writer import FORMAT_VERSION, Writer
from codecmeta.errors import CacheError
from codecmeta.record.metadata import Frames, Gops, Maps, Metadata, Motion, Stream

SUFFIX = ".codecmeta.h5"
_CHUNKS = 1 << 23  # bytes of unpacked chunks that an open dataset may hold: a 64-frame map of 1080p is one of 4 MiB


def save(meta: Metadata, path: str | PathLike[str]) -> None:
    """Write a record that is in memory (or lazily loaded) as a cache file, atomically."""
    with Writer(Path(path)) as writer:
        if meta.motion is not None:
            distance = None if meta.motion.distance is None else meta.motion.distance[:]
            writer.append_motion(meta.motion.frame, np.diff(meta.motion.indptr), meta.motion.vectors[:], distance)
        for name, maps in (("residual", meta.residual), ("qp", meta.qp), ("bits", meta.bits)):
            if maps is not None:
                writer.append_maps(name, maps.frame, maps.values[:], maps.source if name == "residual" else None)
        if meta.residual is not None:
            writer.append_luma_change(meta.residual.luma_change)
        if meta.residual_chroma is not None:
            writer.append_chroma(meta.residual_chroma.values[:])
        writer.finish_arrays()
        for name, maps in (("residual", meta.residual), ("qp", meta.qp), ("bits", meta.bits)):
            if maps is not None:
                writer.place(name, maps)
        writer.write_tables(meta.path, meta.stream, meta.frames, meta.gops, meta.capability, meta.settings)
        writer.close_and_move()


def load(path: str | PathLike[str]) -> Metadata:
    """Open a cache file. Tables are read at once; vectors and maps are read from the file when they are indexed, so
    keep the record open while you use it (it is a context manager).

    Raises CacheError for a file that is not a cache, is damaged or hostile (see `codecmeta.cache.check`), or has a
    newer format version.
    """
    path = Path(path)
    file = opened(path)
    try:
        record = _record(path, file)
        check_record(record)
        return record
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, OSError, RuntimeError) as error:
        file.close()
        raise CacheError(f"{path}: damaged cache file ({error}); extract it again with overwrite") from error


def reopen(path: Path) -> Metadata:
    """Open a cache file that `load` has found sound before: the same, without looking for harm again. For a file that
    may have changed since, it may fail anywhere."""
    file = h5py.File(path, "r", locking=False, rdcc_nbytes=_CHUNKS)
    return _record(path, file)


def opened(path: Path) -> h5py.File:
    """The HDF5 file of a cache, checked for being one. Raises CacheError."""
    if not path.is_file():
        raise CacheError(f"{path}: no such cache file; make it with codecmeta extract")
    try:
        file = h5py.File(path, "r", locking=False, rdcc_nbytes=_CHUNKS)
    except OSError as error:
        raise CacheError(f"{path}: not a readable HDF5 file ({error}); extract it again with overwrite") from error
    try:
        check_cache(file, path)
        version = file.attrs.get("format_version")
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        file.close()
        raise CacheError(f"{path}: damaged cache file ({error}); extract it again with overwrite") from error
    except CacheError:
        file.close()
        raise
    if file.attrs.get("format") != "codecmeta" or not isinstance(version, (int, np.integer)):
        file.close()
        raise CacheError(f"{path}: an HDF5 file, but not a codecmeta cache")
    if version > FORMAT_VERSION:
        file.close()
        raise CacheError(
            f"{path}: format version {version}, this codecmeta reads up to {FORMAT_VERSION}; update codecmeta"
        )
    return file


def _record(path: Path, file: h5py.File) -> Metadata:
    attrs = file.attrs
    stream = Stream(
        codec=str(attrs["codec"]),
        profile=str(attrs["profile"]),
        pixel_format=str(attrs["pixel_format"]),
        width=int(attrs["width"]),
        height=int(attrs["height"]),
        rotation=int(attrs["rotation"]),
        time_base=(int(attrs["time_base"][0]), int(attrs["time_base"][1])),
        average_rate=(int(attrs["average_rate"][0]), int(attrs["average_rate"][1])),
        duration_seconds=float(attrs["duration_seconds"]),
        stream_index=int(attrs["stream_index"]),
        crop=(int(attrs["crop"][0]), int(attrs["crop"][1])) if "crop" in attrs else (0, 0),
        mirrored=bool(attrs["mirrored"]) if "mirrored" in attrs else False,
    )
    frames = Frames(**{name: file["frames"][name][:] for name in Frames.__dataclass_fields__})
    gops = Gops(**{name: file["gops"][name][:] for name in Gops.__dataclass_fields__})
    motion = None
    if "motion" in file:
        group = file["motion"]
        distance = StoredRows(group["distance"]) if "distance" in group else None
        motion = Motion(group["frame"][:], group["indptr"][:], StoredRows(group["vectors"]), distance)
    return Metadata(
        path=path.with_name(str(attrs["source_name"])),
        stream=stream,
        frames=frames,
        gops=gops,
        capability=json.loads(attrs["capability"]),
        settings=json.loads(attrs["settings"]),
        motion=motion,
        residual=_maps(file, "residual", "luma_rms"),
        residual_chroma=_maps(file, "residual", "chroma_rms"),
        qp=_maps(file, "qp", "map"),
        bits=_maps(file, "bits", "map"),
        close_file=file.close,
    )


def _maps(file: h5py.File, name: str, dataset: str) -> Maps | None:
    if name not in file or dataset not in file[name]:
        return None
    group = file[name]
    source = group["frame_source"][:] if "frame_source" in group else np.zeros(0, np.uint8)
    return Maps(
        group["frame"][:],
        StoredRows(group[dataset], int(group.attrs.get("offset", 0)), np.dtype(np.int16) if name == "qp" else None),
        int(group.attrs["block"]),
        int(group.attrs["origin_x"]),
        int(group.attrs["origin_y"]),
        source,
        tuple(json.loads(group.attrs["source"])) if "source" in group.attrs else (),
        group["luma_change"][:] if "luma_change" in group else np.zeros(0, np.float16),
    )


class StoredRows:
    """An array in an open cache file, read when it is indexed; `offset` is added to what is stored."""

    def __init__(self, dataset: h5py.Dataset, offset: int = 0, dtype: np.dtype | None = None) -> None:
        self.dataset, self.offset = dataset, offset
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype = dataset.dtype if dtype is None else dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        stored = self.dataset[key]
        return (
            stored
            if stored.dtype == self.dtype and not self.offset
            else (stored.astype(self.dtype) + self.offset).astype(self.dtype)
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)
