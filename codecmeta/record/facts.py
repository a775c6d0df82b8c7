"""A record -> its facts in plain types, for JSON, and in words, the same for the terminal, the picture and the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from codecmeta.record.metadata import Metadata, Probe


def summarise(record: Probe | Metadata) -> dict[str, Any]:
    """Facts about a video: of its stream, its frame table and its groups of pictures, and the capability report."""
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
        **({"mirrored": True} if stream.mirrored else {}),
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


def headline(facts: dict[str, Any]) -> str:
    """The facts of `summarise` in a line."""
    frames, gops = facts["frames"], facts["gops"]["count"]
    return (
        f"{facts['codec']} {facts['profile']}, {facts['width']} x {facts['height']} pixels, "
        f"{frames:,} frame{'' if frames == 1 else 's'}, {facts['seconds']:.10g} s, {facts['packet_bytes']:,} bytes in "
        f"{gops:,} GoP{'' if gops == 1 else 's'}"
    )


def in_words(facts: dict[str, Any]) -> dict[str, str]:
    """The facts of `summarise`, each with its name."""
    types = ", ".join(f"{count:,} {kind}" for kind, count in facts["picture_types"].items())
    gops, seconds = facts["gops"], facts["seconds"]
    rate = f", {8 * facts['packet_bytes'] / seconds / 1000:,.1f} kbit/s" if seconds else ""
    turned = f"{facts['rotation']} degrees clockwise" + (", mirrored" if facts.get("mirrored") else "")
    return {
        "file": facts["file"],
        "codec": f"{facts['codec']} {facts['profile']}, {facts['pixel_format']}",
        "displayed size": f"{facts['width']} x {facts['height']} pixels",
        "rotation": turned,
        "frame rate": f"{facts['average_rate']:.3f} frames/s on average" if facts["average_rate"] else "not known",
        "duration": f"{seconds:.10g} s",
        "frames": f"{facts['frames']:,} ({types})",
        "corrupt frames": f"{facts['corrupt_frames']:,}",
        "packet bytes": f"{facts['packet_bytes']:,} bytes{rate}",
        "groups of pictures": f"{gops['count']:,}, of {gops['shortest']:,} to {gops['longest']:,} frames",
    }
