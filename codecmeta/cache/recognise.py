"""Is the cache there already? By the summary in its first KiB, the settings and the video it was made from."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecmeta.cache.store import SUFFIX, load, opened
from codecmeta.cache.user_block import Summary, read_summary
from codecmeta.cache.writer import fingerprint, levels
from codecmeta.errors import CacheError
from codecmeta.record.selection import Selection


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
    with load(cache) as meta, opened(cache) as file:
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
