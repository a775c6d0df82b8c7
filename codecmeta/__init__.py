"""Codec metadata for video language models: motion vectors, residual energy and packet sizes, read while decoding.

`probe` reads what the container knows, `extract` the signals inside, `read` signals and sampled pictures in one pass;
`patch_density`, `frame_budgets` and `event_boundaries` turn them into decisions. Names are imported when first used.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecmeta.version import __version__

if TYPE_CHECKING:
    from codecmeta.budget import frame_budgets, gop_weights
    from codecmeta.cache import load
    from codecmeta.container import probe
    from codecmeta.corpus import Corpus
    from codecmeta.density import merge_regions, patch_density
    from codecmeta.errors import CacheError, VideoError
    from codecmeta.events import change_scores, event_boundaries
    from codecmeta.extraction import extract, read
    from codecmeta.metadata import Metadata, Probe
    from codecmeta.motion import motion_grid

_root = Path(__file__).resolve().parents[1]
if (_root / "setup.cfg").exists():  # source checkout: cli/, compression/ and models/ sit beside this folder
    __path__.append(str(_root))

_HOME = {
    "CacheError": "errors",
    "Corpus": "corpus",
    "Metadata": "metadata",
    "Probe": "metadata",
    "VideoError": "errors",
    "change_scores": "events",
    "event_boundaries": "events",
    "extract": "extraction",
    "frame_budgets": "budget",
    "gop_weights": "budget",
    "load": "cache",
    "merge_regions": "density",
    "motion_grid": "motion",
    "patch_density": "density",
    "probe": "container",
    "read": "extraction",
}

__all__ = [
    "CacheError",
    "Corpus",
    "Metadata",
    "Probe",
    "VideoError",
    "__version__",
    "change_scores",
    "event_boundaries",
    "extract",
    "frame_budgets",
    "gop_weights",
    "load",
    "merge_regions",
    "motion_grid",
    "patch_density",
    "probe",
    "read",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'codecmeta' has no attribute {name!r}")
    value = getattr(import_module(f"codecmeta.{_HOME[name]}"), name)
    globals()[name] = value
    return value
