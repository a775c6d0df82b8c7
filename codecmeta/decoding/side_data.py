"""What FFmpeg hands out beside a decoded frame: motion vectors, quantisers, the display matrix."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from numpy.typing import NDArray

from codecmeta.record.display import QpBlocks
from codecmeta.record.metadata import VECTOR


def side_data(frame: Any, name: str) -> Any:
    """One kind of side data of a PyAV frame, by its name there; None where the frame has none.

    Not by `frame.side_data`: that is kept in the frame and holds the frame, so that only the garbage collector could
    free it, and a film of 4K pictures fills the memory before it runs. PyAV cannot list the side data of a frame that
    has a kind it has no name for (that of a newer FFmpeg): then nothing is known of it, which is no reason to stop.
    """
    try:
        return SideDataContainer(frame).get(name)
    except ValueError:
        return None


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


def display_matrix(frame: Any) -> tuple[int, ...] | None:
    """The nine numbers of AV_FRAME_DATA_DISPLAYMATRIX, which stands for the container's matrix as for orientations in
    the stream; where PyAV cannot list the frame's side data, the turn alone that it gives of it."""
    matrix = side_data(frame, "DISPLAYMATRIX")
    if matrix is not None:
        return struct.unpack("=9i", bytes(matrix)[:36])
    return _TURNS.get(-round(frame.rotation / 90) * 90 % 360)


_F, _U = 1 << 16, 1 << 30
_TURNS = {
    90: (0, _F, 0, -_F, 0, 0, 0, 0, _U),
    180: (-_F, 0, 0, 0, -_F, 0, 0, 0, _U),
    270: (0, -_F, 0, _F, 0, 0, 0, 0, _U),
}
