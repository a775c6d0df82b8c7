"""What is drawn more or less often in a written HEVC stream."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Chances:
    """How often what is chosen, drawn anew for each stream."""

    split: float = 0.5
    skip: float = 0.3
    intra: float = 0.3
    coded: float = 0.5  # a coded block flag
    tu_split: float = 0.4
    merge: float = 0.5
    bypass: float = 0.2
    pcm: float = 0.2
    delta_qp: int = 6
    density: float = 0.5  # of coefficients
    large: float = 0.03  # levels
    far: float = 0.05  # vectors
    sao: float = 0.3
    all_2nx2n: bool = False
