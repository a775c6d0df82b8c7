"""A record -> its facts in plain types, for printing, for JSON and for the pictures."""

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
