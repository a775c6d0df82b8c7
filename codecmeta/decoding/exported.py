"""Motion vectors and quantisers that FFmpeg's decoders export with a frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.container.side_data import side_data
from codecmeta.record.display import QpBlocks
from codecmeta.record.metadata import VECTOR


def exported_vectors(frame: Any) -> NDArray[np.void] | None:
    """The exported vectors, dtype VECTOR, field by field: the struct has padding bytes that nobody initialises, and a
    view would keep the whole frame alive."""
    exported = side_data(frame, "MOTION_VECTORS")
    if exported is None:
        return None
    source = exported.to_ndarray()
    vectors = np.empty(len(source), VECTOR)
    for name in ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y"):
        vectors[name] = source[name]
    vectors["scale"] = source["motion_scale"]
    return vectors


def exported_qp(frame: Any) -> QpBlocks | None:
    """AVVideoEncParams (libavutil/video_enc_params.h) read as plain integers: PyAV's own qp_map refuses cropped and
    MBAFF pictures and loops in Python."""
    exported = side_data(frame, "VIDEO_ENC_PARAMS")
    if exported is None:
        return None
    raw = memoryview(exported)
    count = int.from_bytes(raw[:4], "little")
    offset, size = np.frombuffer(raw[8:24], np.uint64).astype(int)
    base = int(np.frombuffer(raw[28:32], np.int32)[0])
    blocks = np.frombuffer(raw[offset : offset + count * size], np.int32).reshape(count, size // 4)[:, :5].copy()
    return QpBlocks(base, blocks)
