"""From metadata to one HDF5 file per video and back: format version 1.

The file (MUST unless marked MAY be absent; a group that the codec cannot fill is absent and `capability` says why):

    /            attributes format="codecmeta", format_version=1, codecmeta_version, ffmpeg_version, codec, profile,
                 pixel_format, width, height (displayed), rotation, stream_index, crop, time_base, average_rate,
                 duration_seconds, source_name, source_bytes, source_mtime_ns, source_sha256 (of the size, the first
                 and the last MiB), settings (JSON), capability (JSON)
    /frames      one row per displayed frame: pts, time, picture_type, keyframe, packet_bytes, gop, corrupt
    /gops        start, stop, packet_bytes_mean
    /motion      MAY: frame, indptr, vectors; the vectors of frame[i] are rows indptr[i]:indptr[i + 1], those into the
                 past first, then by block height and width; MAY: distance int16, how many frames later each
                 vector's reference is displayed, 0 unknown
    /residual    MAY: frame, luma_rms float16, frame_source uint8; MAY: chroma_rms float16 over the same blocks (both
                 planes); MAY: luma_change float16 (see `codecmeta.metadata.Maps`); attributes block, origin_x,
                 origin_y, source (names)
    /qp          MAY: frame, map int8; attributes block, origin_x, origin_y, offset (to be added; 0 but for VP9)
    /bits        MAY: frame, map float32; attributes as /qp without offset

settings: what `extract` was asked for: frames, details, stream. Without details /bits, chroma_rms and distance are left
out, and an exact luma_rms is rounded (see `codecmeta.extract`).

In front of the HDF5 stands a user block of 1 KiB that repeats in one line of JSON what the file was made of (MAY be
empty, see `codecmeta.cache_summary`).

Arrays are in chunks of whole frames (vectors: of 32,768 rows), byte-shuffled and gzip-compressed; one that fits in a
chunk is a single chunk of its own shape. A file appears under its name only when it is complete: it is written beside
it and moved.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from codecmeta.cache_check import check_cache, check_record
from codecmeta.cache_summary import Summary, read_summary
from codecmeta.cache_writer import FORMAT_VERSION, Writer, fingerprint, levels
from codecmeta.errors import CacheError, VideoError
from codecmeta.extraction import Selection, check_selection, scan
from codecmeta.metadata import Frames, Gops, Maps, Metadata, Motion, Stream

SUFFIX = ".codecmeta.h5"


@dataclass(frozen=True)
class Written:
    """A cache file and what it took: bytes of the cache and of its video, frames in the table, codec, level of each
    signal, whether it was there already."""

    path: Path
    cache_bytes: int
    source_bytes: int
    frames: int
    codec: str
    capability: dict[str, str]
    skipped: bool


def extract_to_file(
    video: str | PathLike[str],
    cache: str | PathLike[str] | None = None,
    *,
    frames: Selection = "all",
    details: bool | None = None,
    jobs: int = 1,
    stream: int | None = None,
    overwrite: bool = False,
) -> Written:
    """Extract a video's metadata straight into its cache file; memory is bounded by the GoP, not by the length.

    cache: by default `clip.mp4` -> `clip.codecmeta.h5` beside the video. details: as for `extract`; None takes them for
    chosen frames and leaves them out for "all", where they would make the cache larger than the video. A cache that is
    there and was made from this video with these settings is kept (skipped=True); one that differs raises CacheError
    unless overwrite is given.
    Raises VideoError for videos that cannot be read; then no file is left behind.
    """
    check_selection(frames, jobs)
    source = Path(video)
    target = Path(cache) if cache is not None else default_cache_path(source)
    settings = asked(frames, details, stream)
    if not source.is_file():
        raise VideoError(f"{source}: no such file; pass the path of a video file")
    there = None if overwrite else kept(target, source, settings)
    if there is not None:
        return there
    with Writer(target) as writer:
        found = scan(source, writer, frames=frames, details=settings["details"], jobs=jobs, stream=stream)
        writer.finish(found)
    return Written(
        target,
        target.stat().st_size,
        source.stat().st_size,
        len(found.frames),
        found.stream.codec,
        levels(found.capability),
        skipped=False,
    )


def asked(frames: Selection, details: bool | None, stream: int | None) -> dict[str, Any]:
    """The settings that a cache file records, as it reads them back."""
    details = frames != "all" if details is None else details
    return {"frames": list(frames) if isinstance(frames, tuple) else frames, "details": details, "stream": stream}


def default_cache_path(video: Path) -> Path:
    """`clip.mp4` -> `clip.codecmeta.h5` in the same folder."""
    return video.with_name(video.stem + SUFFIX)


def kept(cache: str | Path, video: str | Path, settings: dict[str, Any]) -> Written | None:
    """What a cache that is there already holds, None where there is none; costs a stat of the video and a small read.

    Raises CacheError unless it was made from this very video with these settings, OSError where there is no video.
    """
    try:
        summary = read_summary(cache)
    except FileNotFoundError:
        return None
    summary = summary or _summary_of(Path(cache))
    if summary.settings != settings:
        raise CacheError(
            f"{cache}: made with {json.dumps(summary.settings)}, asked for {json.dumps(settings)}; "
            "overwrite it or choose another name"
        )
    _check_source(summary, cache, video)
    return Written(
        Path(cache),
        summary.cache_bytes,
        summary.source_bytes,
        summary.frames,
        summary.codec,
        summary.capability,
        skipped=True,
    )


def check_video(cache: Path, video: Path) -> None:
    """Raise CacheError unless the cache was made from this very video, whatever its name."""
    _check_source(_summary_of(cache), cache, video)


def _check_source(summary: Summary, cache: str | Path, video: str | Path) -> None:
    status = os.stat(video)
    same_size = summary.source_bytes == status.st_size
    if not same_size or (
        summary.source_mtime_ns != status.st_mtime_ns and summary.source_sha256 != fingerprint(Path(video))
    ):
        raise CacheError(
            f"{cache}: made from another version of {video} ({summary.source_bytes} bytes, now "
            f"{status.st_size}); overwrite it"
        )


def _summary_of(cache: Path) -> Summary:
    """What the summary of a cache without one would say."""
    with load(cache) as meta, _open(cache) as file:
        source = [file.attrs.get(name) for name in ("source_bytes", "source_mtime_ns", "source_sha256")]
    if None in source:
        raise CacheError(f"{cache}: does not say which video it was made from; overwrite it")
    return Summary(
        meta.settings,
        int(source[0]),
        int(source[1]),
        str(source[2]),
        len(meta.frames),
        meta.stream.codec,
        levels(meta.capability),
        cache.stat().st_size,
    )


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

    Raises CacheError for a file that is not a cache, is damaged or hostile (see `codecmeta.cache_check`), or has a
    newer format version.
    """
    path = Path(path)
    file = _open(path)
    try:
        record = _record(path, file)
        check_record(record)
        return record
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, OSError, RuntimeError) as error:
        file.close()
        raise CacheError(f"{path}: damaged cache file ({error}); extract it again with overwrite") from error


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise CacheError(f"{path}: no such cache file; make it with codecmeta extract")
    try:
        file = h5py.File(path, "r", locking=False)
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
