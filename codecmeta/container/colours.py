"""Colour matrices that FFmpeg's scaler does not know, and the nearest that it does."""

from __future__ import annotations

from typing import Any

_BT709, _UNSPECIFIED, _BT2020 = 1, 2, 9

NEAREST_MATRIX = {
    3: _UNSPECIFIED,  # reserved
    8: _BT709,  # YCgCo
    10: _BT2020,  # BT.2020 with constant luminance
    11: _BT709,  # Y'D'zD'x
    12: _BT709,  # derived from the primaries
    13: _BT2020,  # the same with constant luminance
    14: _BT2020,  # ICtCp
    15: _BT2020,  # IPT-C2
    16: _BT709,  # YCgCo-R, even addition of bits
    17: _BT709,  # YCgCo-R, odd addition of bits
}
"""By MatrixCoefficients of ITU-T H.273, Table 4."""


def matrix_of(frame: Any) -> int:
    """The matrix by which a decoded frame is shown in RGB: its own, or the nearest that the scaler knows."""
    own = int(frame.colorspace)
    return NEAREST_MATRIX.get(own, own)


def note_of(frame: Any) -> str:
    """What is to be said of the colours of a frame; "" where they are its own."""
    own = int(frame.colorspace)
    if own not in NEAREST_MATRIX:
        return ""
    return f"colour matrix {own} (ITU-T H.273) is none that FFmpeg's scaler converts; shown by {NEAREST_MATRIX[own]}"
