"""From folders and lists to the videos in them."""

from __future__ import annotations

from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    ".264 .3gp .avi .flv .h264 .h265 .hevc .ivf .m2ts .m4v .mkv "
    ".mov .mp4 .mpeg .mpg .mts .ogv .ts .vob .webm .wmv".split()
)


def find_videos(path: Path) -> list[tuple[Path, Path]]:
    """The videos under a path: (path, path relative to the folder given), sorted; a file stands for itself, whatever
    its suffix, even if it does not exist (reading it will say so)."""
    if not path.is_dir():
        return [(path, Path(path.name))]
    found = (one for one in path.rglob("*") if one.suffix.lower() in VIDEO_SUFFIXES and one.is_file())
    return [(one, one.relative_to(path)) for one in sorted(found)]


def read_manifest(text: str) -> list[Path]:
    """The paths of a manifest: one per line, empty lines and lines that begin with # left out."""
    lines = (line.strip() for line in text.splitlines())
    return [Path(line) for line in lines if line and not line.startswith("#")]
