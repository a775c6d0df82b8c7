"""Is the cache there already? By the summary in its first KiB, the settings and the video it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecmeta.cache.store import SUFFIX, load, opened
from codecmeta.cache.user_block import Summary, read_summary
from codecmeta.cache.writer import fingerprint, levels
from codecmeta.container.source import Medium, version_of
from codecmeta.errors import CacheError
from codecmeta.record.selection import Selection, as_setting


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
    return {"frames": as_setting(frames), "details": details, "stream": stream}


def default_cache_path(video: Path) -> Path:
    """`clip.mp4` -> `clip.codecmeta.h5` in the same folder."""
    return video.with_name(video.stem + SUFFIX)


def kept(cache: str | Path, video: str | Medium, settings: dict[str, Any]) -> Written | None:
    """What a cache that is there already holds, None where there is none; costs a stat of the video and a small read.

    Raises CacheError unless it was made from this very video with these settings, OSError where there is no video.
    """
    try:
        summary = read_summary(cache)
    except FileNotFoundError:
        return None
    summary = summary or _summary_of(Path(cache))
    if summary.settings != settings:
        made, wanted = _what_differs(summary.settings, settings)
        raise CacheError(
            f"{cache}: made with {made}, asked for {wanted}; --overwrite (overwrite=True) replaces it, another -o "
            "keeps both"
        )
    _check_source(summary, cache, video)
    return _written(cache, summary)


def intact(cache: str | Path, video: str | Path) -> Written | None:
    """What a whole cache holds, with whatever settings and of whatever version of its video; None without one."""
    try:
        summary = read_summary(cache) or _summary_of(Path(cache))
    except (OSError, CacheError):
        return None
    return _written(cache, summary)


def _written(cache: str | Path, summary: Summary) -> Written:
    return Written(
        Path(cache),
        summary.cache_bytes,
        summary.source_bytes,
        summary.frames,
        summary.codec,
        summary.capability,
        skipped=True,
    )


def _what_differs(made: dict[str, Any], wanted: dict[str, Any]) -> tuple[str, str]:
    """Two settings in words, reduced to what differs. Details that follow from the frames are not said."""
    names = [name for name in {**made, **wanted} if made.get(name) != wanted.get(name)]
    if "frames" in names and all(one.get("details") == (one.get("frames") != "all") for one in (made, wanted)):
        names = [name for name in names if name != "details"]
    return _in_words(made, names), _in_words(wanted, names)


def _in_words(settings: dict[str, Any], names: list[str]) -> str:
    """Settings as the options that ask for them."""
    words = []
    for name in names:
        value = settings.get(name)
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list):
            words.append(f"{len(value)} times")
        elif isinstance(value, dict):
            by_policy = "policy" in value
            words.append(
                "--frames {frames} --choose {policy}".format(**value) if by_policy else f"{len(value['rows'])} rows"
            )
        else:
            words.append(f"no --{name}" if value is None else f"--{name} {value}")
    return " ".join(words)


def is_of(cache: str | Path, video: str | Medium) -> bool:
    """Whether there is a cache that was made from this very video, with whatever settings."""
    try:
        _check_source(read_summary(cache) or _summary_of(Path(cache)), cache, video)
    except (OSError, CacheError):
        return False
    return True


def check_video(cache: Path, video: Medium) -> None:
    """Raise CacheError unless the cache was made from this very video, whatever its name."""
    _check_source(_summary_of(cache), cache, video)


def _check_source(summary: Summary, cache: str | Path, video: str | Medium) -> None:
    medium = Path(video) if isinstance(video, str) else video
    size, changed = version_of(medium)
    same = summary.source_bytes == size and (
        (changed and summary.source_mtime_ns == changed) or summary.source_sha256 == fingerprint(medium)
    )
    if not same:
        raise CacheError(
            f"{cache}: made from another video than {video}, or from another version of it "
            f"({summary.source_bytes} bytes, this one has {size}); pass the one that it is of, or overwrite it"
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
