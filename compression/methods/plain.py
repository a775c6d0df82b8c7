"""Method `none`: the plain model, measured like the others."""

from dataclasses import dataclass
from typing import ClassVar

from codecmeta.compression.strategy import Strategy


@dataclass(frozen=True, kw_only=True)
class Plain(Strategy):
    """Keep everything. The model runs as it is; only its stages are measured."""

    name: ClassVar[str] = "none"
