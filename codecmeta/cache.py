"""From metadata to one HDF5 file per video and back: format version 1.

The file (MUST unless marked MAY be absent; a group that the codec cannot fill is absent and `capability` says why):

    /            attributes format="codecmeta", format_version=1, codecmeta_version, ffmpeg_version, codec, profile,
                 pixel_format, width, height (displayed), rotation, stream_index, crop, time_base, average_rate,
                 duration_seconds, source_name, source_bytes, source_mtime_ns, source_sha256 (of the size, the first
                 and the last MiB), settings (JSON), capability (JSON)
    /frames      one row per displayed frame: pts, time, picture_type, keyframe, packet_bytes, gop, corrupt
    /gops        start, stop, packet_bytes_mean
    /motion      MAY: frame, indptr, vectors; the vectors of frame[i] are rows indptr[i]:indptr[i + 1]; MAY: distance
                 int16, how many frames later each vector's reference is displayed, 0 unknown
    /residual    MAY: frame, luma_rms float16, frame_source uint8; MAY: chroma_rms float16 over the same blocks (both
                 planes); attributes block, origin_x, origin_y, source (names)
    /qp          MAY: frame, map int8; attributes block, origin_x, origin_y, offset (to be added; 0 but for VP9)
    /bits        MAY: frame, map float32; attributes as /qp without offset

Arrays are in chunks of whole frames (vectors: of 16,384 rows), byte-shuffled and gzip-compressed. A file appears under
its name only when it is complete: it is written beside it and moved.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import av
import h5py
import numpy as np
from numpy.typing import NDArray

from codecmeta.errors import CacheError, VideoError
from codecmeta.extraction import Selection, check_selection, scan
from codecmeta.metadata import VECTOR, Frames, Gops, Maps, Metadata, Motion, Stream
from codecmeta.parts import Found, Part
from codecmeta.residual import SOURCES
from codecmeta.version import __version__

FORMAT_VERSION = 1
SUFFIX = ".codecmeta.h5"

_CHUNK_BYTES = 1 << 18
_VECTORS_PER_CHUNK = 16384
_COMPRESSION = {"compression": "gzip", "compression_opts": 6, "shuffle": True}
_PLAIN_BYTES = 512  # a smaller table is cheaper without chunks


@dataclass(frozen=True)
class Written:
    """A cache file and what it took: bytes of the cache and of its video, frames in the table, whether it was there
    already."""

    path: Path
    cache_bytes: int
    source_bytes: int
    frames: int
    skipped: bool


def extract_to_file(
    video: str | PathLike[str],
    cache: str | PathLike[str] | None = None,
    *,
    frames: Selection = "all",
    jobs: int = 1,
    stream: int | None = None,
    overwrite: bool = False,
) -> Written:
    """Extract a video's metadata straight into its cache file; memory is bounded by the GoP, not by the length.

    cache: by default `clip.mp4` -> `clip.codecmeta.h5` beside the video. A cache that is there and was made from this
    video with these settings is kept (skipped=True); one that differs raises CacheError unless overwrite is given.
    Raises VideoError for videos that cannot be read; then no file is left behind.
    """
    check_selection(frames, jobs)
    source = Path(video)
    target = Path(cache) if cache is not None else default_cache_path(source)
    if not source.is_file():
        raise VideoError(f"{source}: no such file; pass the path of a video file")
    if target.exists() and not overwrite:
        check_current(target, source, {"frames": frames, "stream": stream})
        with load(target) as meta:
            return Written(target, target.stat().st_size, source.stat().st_size, len(meta.frames), True)
    with _Writer(target) as writer:
        found = scan(source, writer, frames=frames, jobs=jobs, stream=stream)
        writer.finish(found)
    return Written(target, target.stat().st_size, source.stat().st_size, len(found.frames), False)


def default_cache_path(video: Path) -> Path:
    """`clip.mp4` -> `clip.codecmeta.h5` in the same folder."""
    return video.with_name(video.stem + SUFFIX)


def check_current(cache: Path, video: Path, settings: dict[str, Any]) -> None:
    """Raise CacheError unless the cache was made from this very video with these settings."""
    with _open(cache) as file:
        made = json.loads(file.attrs["settings"])
        recorded = {name: file.attrs[name] for name in ("source_bytes", "source_mtime_ns", "source_sha256")}
    if made != settings:
        raise CacheError(
            f"{cache}: made with {json.dumps(made)}, asked for {json.dumps(settings)}; "
            "overwrite it or choose another name"
        )
    status = video.stat()
    same_size = int(recorded["source_bytes"]) == status.st_size
    if not same_size or (
        int(recorded["source_mtime_ns"]) != status.st_mtime_ns and recorded["source_sha256"] != fingerprint(video)
    ):
        raise CacheError(
            f"{cache}: made from another version of {video} ({recorded['source_bytes']} bytes, now "
            f"{status.st_size}); overwrite it"
        )


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's size and its first and last MiB, as hex: tells versions apart in little time."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        digest.update(file.read(1 << 20))
        file.seek(max(size - (1 << 20), 0))
        digest.update(file.read(1 << 20))
    return digest.hexdigest()


def save(meta: Metadata, path: str | PathLike[str]) -> None:
    """Write a record that is in memory (or lazily loaded) as a cache file, atomically."""
    with _Writer(Path(path)) as writer:
        if meta.motion is not None:
            distance = None if meta.motion.distance is None else meta.motion.distance[:]
            writer.append_motion(meta.motion.frame, np.diff(meta.motion.indptr), meta.motion.vectors[:], distance)
        for name, maps in (("residual", meta.residual), ("qp", meta.qp), ("bits", meta.bits)):
            if maps is not None:
                writer.append_maps(name, maps.frame, maps.values[:], maps.source if name == "residual" else None)
                writer.place(name, maps)
        if meta.residual_chroma is not None:
            writer.append_chroma(meta.residual_chroma.values[:])
        writer.write_tables(meta.path, meta.stream, meta.frames, meta.gops, meta.capability, meta.settings)
        writer.close_and_move()


def load(path: str | PathLike[str]) -> Metadata:
    """Open a cache file. Tables are read at once; vectors and maps are read from the file when they are indexed, so
    keep the record open while you use it (it is a context manager).

    Raises CacheError for a file that is not a cache, is damaged, or has a newer format version.
    """
    path = Path(path)
    file = _open(path)
    try:
        return _record(path, file)
    except (KeyError, ValueError, TypeError, OSError, RuntimeError) as error:
        file.close()
        raise CacheError(f"{path}: damaged cache file ({error}); extract it again with overwrite") from error


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise CacheError(f"{path}: no such cache file; make it with codecmeta extract")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise CacheError(f"{path}: not a readable HDF5 file ({error}); extract it again with overwrite") from error
    version = file.attrs.get("format_version")
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
    )


class StoredRows:
    """An array in an open cache file, read when it is indexed; `offset` is added to what is stored."""

    def __init__(self, dataset: h5py.Dataset, offset: int = 0, dtype: np.dtype | None = None) -> None:
        self._dataset, self._offset = dataset, offset
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype = dataset.dtype if dtype is None else dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        stored = self._dataset[key]
        return (
            stored
            if stored.dtype == self.dtype and not self._offset
            else (stored.astype(self.dtype) + self._offset).astype(self.dtype)
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)


class _Writer:
    """A cache file in the making. A sink for `scan`; leaves nothing behind unless it was finished."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        self.file: h5py.File | None = None

    def __enter__(self) -> _Writer:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(self.target)
        self.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self.temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def clear(self) -> None:
        self._close()
        self._rows: dict[str, list[NDArray[Any]]] = {}
        self.file = h5py.File(self.temporary, "w", libver=("v110", "v110"), locking=False, rdcc_nbytes=1 << 23)

    def add(self, part: Part) -> None:
        if part.motion_rows:
            counts = np.array([len(vectors) for vectors in part.vectors])
            distance = np.concatenate(part.distance) if part.distance else None
            self.append_motion(part.motion_rows, counts, np.concatenate(part.vectors), distance)
        if part.residual_rows:
            self.append_maps(
                "residual", part.residual_rows, np.stack(part.residual), np.array(part.residual_source, np.uint8)
            )
        if part.chroma:
            self.append_chroma(np.stack(part.chroma))
        if part.qp_rows:
            self.append_maps("qp", part.qp_rows, np.stack(part.qp))
        if part.bits_rows:
            self.append_maps("bits", part.bits_rows, np.stack(part.bits))

    def append_motion(
        self, rows: Any, counts: NDArray[np.int64], vectors: NDArray[np.void], distance: NDArray[np.int16] | None = None
    ) -> None:
        """Vectors of further frames, `counts` of them for each of `rows`; distance: int16 (vectors,)."""
        start = self._append("motion/vectors", vectors, VECTOR, _VECTORS_PER_CHUNK)
        if distance is not None:
            self._append("motion/distance", distance, np.dtype(np.int16), _VECTORS_PER_CHUNK)
        self._rows.setdefault("motion/frame", []).append(np.asarray(rows, np.int64))
        self._rows.setdefault("motion/indptr", [np.zeros(1, np.int64)]).append(start + np.cumsum(counts))

    def append_maps(self, name: str, rows: Any, values: NDArray[Any], source: NDArray[np.uint8] | None = None) -> None:
        """Maps of further frames: values (n, rows, columns)."""
        dataset, dtype = {"residual": ("luma_rms", np.float16), "qp": ("map", np.int8), "bits": ("map", np.float32)}[
            name
        ]
        if name == "qp":
            values = values - self._qp_offset(values)
        frames_per_chunk = int(np.clip(_CHUNK_BYTES // max(values[0].size * np.dtype(dtype).itemsize, 1), 1, 64))
        self._append(f"{name}/{dataset}", values, np.dtype(dtype), frames_per_chunk)
        self._rows.setdefault(f"{name}/frame", []).append(np.asarray(rows, np.int64))
        if source is not None and len(source):
            self._rows.setdefault(f"{name}/frame_source", []).append(source)

    def append_chroma(self, values: NDArray[np.float16]) -> None:
        """Chroma maps of the frames whose luma residual was appended last: values (n, rows, columns)."""
        frames_per_chunk = int(np.clip(_CHUNK_BYTES // max(values[0].size * 2, 1), 1, 64))
        self._append("residual/chroma_rms", values, np.dtype(np.float16), frames_per_chunk)

    def _qp_offset(self, values: NDArray[Any]) -> int:
        """int8 holds QPs up to 127 as they are; the 0..255 of VP9 are stored 128 lower."""
        group = self._opened.require_group("qp")
        if "offset" not in group.attrs:
            group.attrs["offset"] = 0
        offset = int(group.attrs["offset"])
        if not offset and values.max(initial=0) > 127:
            group.attrs["offset"] = offset = 128
            if "map" in group:
                for at in range(len(group["map"])):
                    group["map"][at] = (group["map"][at].astype(np.int16) - 128).astype(np.int8)
        return offset

    def _append(self, name: str, values: NDArray[Any], dtype: np.dtype, chunk_rows: int) -> int:
        """Append rows to a dataset, made on first use; returns how many it had."""
        file = self._opened
        if name not in file:
            shape = values.shape[1:]
            file.create_dataset(
                name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(chunk_rows, *shape), **_COMPRESSION
            )
        dataset = file[name]
        start = dataset.shape[0]
        dataset.resize(start + len(values), axis=0)
        dataset[start:] = values.astype(dtype)
        return start

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

    def finish(self, found: Found) -> None:
        """Write the tables of a scanned video and move the file to its name."""
        file = self._opened
        for name, grid in (("residual", found.residual_grid), ("qp", found.qp_grid), ("bits", found.qp_grid)):
            if name in file:
                file[name].attrs.update({"block": grid.block, "origin_x": grid.origin_x, "origin_y": grid.origin_y})
        if "residual" in file:
            file["residual"].attrs["source"] = json.dumps(SOURCES)
        if "motion" in file and not found.has_motion:
            del file["motion"]
        self.write_tables(found.path, found.stream, found.frames, found.gops, found.capability, found.settings)
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
    ) -> None:
        """The frame and GoP tables and every attribute of the file."""
        file = self._opened
        for group, table in (("frames", frames), ("gops", gops)):
            for name in table.__dataclass_fields__:
                self._table(f"{group}/{name}", getattr(table, name))
        for name, parts in self._rows.items():
            if name.split("/")[0] in file:
                self._table(name, np.concatenate(parts))
        file.attrs.update(
            {
                "format": "codecmeta",
                "format_version": FORMAT_VERSION,
                "codecmeta_version": __version__,
                "ffmpeg_version": ".".join(str(number) for number in av.library_versions["libavcodec"]),
                **{name: getattr(stream, name) for name in Stream.__dataclass_fields__},
                "source_name": source.name,
                "settings": json.dumps(settings),
                "capability": json.dumps(capability),
            }
        )
        if source.is_file():
            status = source.stat()
            file.attrs.update(
                {
                    "source_bytes": status.st_size,
                    "source_mtime_ns": status.st_mtime_ns,
                    "source_sha256": fingerprint(source),
                }
            )

    def close_and_move(self) -> None:
        """Make the file appear under its name, complete."""
        self._opened.flush()
        self._close()
        os.replace(self.temporary, self.target)


def _remove_abandoned(target: Path) -> None:
    """Remove unfinished files for this target whose process is gone."""
    for stale in target.parent.glob(f".{target.name}.*.part"):
        owner = stale.name.split(".")[-2]
        if not owner.isdigit() or not _alive(int(owner)):
            stale.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return process != os.getpid()
