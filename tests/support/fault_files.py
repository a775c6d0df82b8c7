"""Where the files on which the project was once wrong are: beside the real clips, or made at test time."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

FAULTS = Path(os.environ.get("CODECMETA_FAULTS", Path(__file__).resolve().parents[3] / "shared" / "faults"))
SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".flv", ".3gp", ".ts", ".ivf", ".avif")
FAULT_NAMES = sorted(one.name for one in FAULTS.glob("*") if one.suffix in SUFFIXES)

F, U = 1 << 16, 1 << 30
MATRICES = {  # of ISO/IEC 14496-12, 8.3.2: a b u, c d v, x y w; offsets are left out, players move the picture back
    "none": (F, 0, 0, 0, F, 0, 0, 0, U),
    "r90": (0, F, 0, -F, 0, 0, 0, 0, U),
    "r180": (-F, 0, 0, 0, -F, 0, 0, 0, U),
    "r270": (0, -F, 0, F, 0, 0, 0, 0, U),
    "hflip": (-F, 0, 0, 0, F, 0, 0, 0, U),
    "vflip": (F, 0, 0, 0, -F, 0, 0, 0, U),
    "transpose": (0, F, 0, F, 0, 0, 0, 0, U),
    "antitranspose": (0, -F, 0, -F, 0, 0, 0, 0, U),
}


def fault_file(name: str) -> Path:
    """One of those files; a skip that says where it was looked for, a failure where CI promises that it is there."""
    path = FAULTS / name
    if not path.is_file():
        why = f"{name} is not in {FAULTS} (set CODECMETA_FAULTS)"
        if os.environ.get("CODECMETA_REQUIRE_CLIPS") == "1":
            pytest.fail(why)
        pytest.skip(why)
    return path


def with_matrix(source: Path, target: Path, matrix: tuple[int, ...]) -> Path:
    """A copy of an mp4 file whose first track header has another display matrix."""
    data = bytearray(source.read_bytes())
    at = data.find(b"tkhd")
    start = at + 8 + (32 if data[at + 4] == 1 else 20) + 16
    assert struct.unpack(">9i", data[start : start + 36])[8] == U, "not a display matrix"
    data[start : start + 36] = struct.pack(">9i", *matrix)
    target.write_bytes(data)
    return target
