"""Codec metadata for video language models: motion vectors, residual energy and packet sizes, read while decoding."""

from pathlib import Path

_root = Path(__file__).resolve().parents[1]
if (_root / "setup.cfg").exists():  # source checkout: cli/, compression/ and models/ sit beside this folder
    __path__.append(str(_root))
