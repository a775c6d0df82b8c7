"""`codecmeta show`: what is known about a video, or what is in a cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np

from codecmeta.cache import load
from codecmeta.container import probe
from codecmeta.errors import CacheError, VideoError
from codecmeta.metadata import Metadata, Probe


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--png", type=click.Path(path_type=Path), help="Draw a video's density and timeline into this file.")
def show(file: Path, as_json: bool, png: Path | None) -> None:
    """Print a readable summary of FILE, a video or a cache."""
    try:
        if png is not None:
            from codecmeta.draw import overview, write_png  # OpenCV, needed for this only

            write_png(overview(_video_of(file)), png)
            click.echo(f"wrote {png}", err=True)
        summary = _of_cache(file) if h5py.is_hdf5(file) or file.suffix == ".h5" else summarise(probe(file))
    except (VideoError, CacheError, ValueError) as error:
        click.echo(f"failed: {error}", err=True)
        sys.exit(1)
    click.echo(json.dumps(summary) if as_json else _text(summary))


def _video_of(file: Path) -> Path:
    """The video itself: a cache holds no pictures, so its video is looked for beside it."""
    if not h5py.is_hdf5(file):
        return file
    with load(file) as meta:
        video = meta.path
    if not video.is_file():
        raise VideoError(f"{file}: the pictures are in {video.name}, which is not beside it; pass the video itself")
    return video


def _of_cache(file: Path) -> dict[str, Any]:
    with load(file) as meta:
        summary = summarise(meta)
        summary["settings"] = meta.settings
        summary["cache_bytes"] = file.stat().st_size
        for name, maps in (("residual", meta.residual), ("qp", meta.qp), ("bits", meta.bits)):
            if maps is not None:
                summary["stored"][name] = {
                    "frames": len(maps.frame),
                    "shape": list(maps.values.shape[1:]),
                    "block": maps.block,
                }
        if meta.motion is not None:
            summary["stored"]["motion"] = {"frames": len(meta.motion.frame), "vectors": int(meta.motion.indptr[-1])}
    return summary


def summarise(record: Probe | Metadata) -> dict[str, Any]:
    """Facts about a video in plain types, for printing and for JSON."""
    stream, frames, gops = record.stream, record.frames, record.gops
    letters, counts = np.unique(frames.picture_type, return_counts=True)
    seconds = stream.duration_seconds or (float(frames.time[-1] - frames.time[0]) if len(frames) > 1 else 0.0)
    lengths = gops.stop - gops.start
    return {
        "file": record.path.name,
        "codec": stream.codec,
        "profile": stream.profile,
        "pixel_format": stream.pixel_format,
        "width": stream.width,
        "height": stream.height,
        "rotation": stream.rotation,
        "average_rate": stream.average_rate[0] / stream.average_rate[1],
        "seconds": round(seconds, 3),
        "frames": len(frames),
        "corrupt_frames": int(frames.corrupt.sum()),
        "picture_types": {
            chr(letter) if letter else "unknown": int(count) for letter, count in zip(letters, counts, strict=True)
        },
        "packet_bytes": int(frames.packet_bytes.sum()),
        "gops": {"count": len(gops), "shortest": int(lengths.min()), "longest": int(lengths.max())},
        "capability": record.capability,
        "stored": {},
    }


def _text(summary: dict[str, Any]) -> str:
    types = ", ".join(f"{count} {kind}" for kind, count in summary["picture_types"].items())
    turned = f", rotated {summary['rotation']} degrees" if summary["rotation"] else ""
    corrupt = f", {summary['corrupt_frames']} corrupt" if summary["corrupt_frames"] else ""
    gops = summary["gops"]
    lines = [
        summary["file"],
        f"  video    {summary['codec']} {summary['profile']} {summary['pixel_format']}, "
        f"{summary['width']}x{summary['height']}{turned}, {summary['average_rate']:.3f} frames/s, "
        f"{summary['seconds']} s",
        f"  frames   {summary['frames']} ({types}){corrupt}",
        f"  packets  {summary['packet_bytes']:,} bytes in {gops['count']} GoPs "
        f"of {gops['shortest']} to {gops['longest']} frames",
    ]
    if "settings" in summary:
        lines.append(f"  cache    {summary['cache_bytes']:,} bytes, made with {json.dumps(summary['settings'])}")
    for name, entry in summary["stored"].items():
        lines.append(f"  {name:8} " + ", ".join(f"{key} {value}" for key, value in entry.items()))
    lines.append("  signals")
    for name, entry in summary["capability"].items():
        lines.append(f"    {name:14} {entry['level']:10} {entry['why']}")
    return "\n".join(lines)
