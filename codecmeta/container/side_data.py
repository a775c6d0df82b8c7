"""What FFmpeg hands out beside a decoded frame, and the orientation in it."""

from __future__ import annotations

import struct
from typing import Any

from av.sidedata.sidedata import SideDataContainer

_CONTAINER: Any = SideDataContainer  # its type hints do not say that it is made of a frame


def side_data(frame: Any, name: str) -> Any:
    """One kind of side data of a PyAV frame, by its name there; None where the frame has none.

    Not by `frame.side_data`: that is kept in the frame and holds the frame, so that only the garbage collector could
    free it, and a film of 4K pictures fills the memory before it runs. PyAV cannot list the side data of a frame that
    has a kind it has no name for (that of a newer FFmpeg): then nothing is known of it, which is no reason to stop.
    """
    try:
        return _CONTAINER(frame).get(name)
    except ValueError:
        return None


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
