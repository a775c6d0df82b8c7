"""Codec metadata for video language models: motion vectors, residual energy and packet sizes, read while decoding.

`probe` reads what the container knows, `extract` the signals inside, `read` signals and sampled pictures in one pass;
`patch_density`, `frame_budgets` and `event_boundaries` turn them into decisions. Names are imported when first used.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecmeta.version import __version__

if TYPE_CHECKING:
    from codecmeta.cache.store import load
    from codecmeta.container.probe import probe
    from codecmeta.corpus.corpus import Corpus
    from codecmeta.decisions.budget import frame_budgets, gop_weights
    from codecmeta.decisions.density import merge_regions, patch_density
    from codecmeta.decisions.events import change_scores, event_boundaries
    from codecmeta.decisions.motion import motion_grid
    from codecmeta.errors import CacheError, VideoError
    from codecmeta.extraction.read import extract, read
    from codecmeta.record.metadata import Metadata, Probe

_root = Path(__file__).resolve().parents[1]
if (_root / "setup.cfg").exists():  # source checkout: cli/, compression/ and models/ sit beside this folder
    __path__.append(str(_root))

_HOME = {
    "CacheError": "errors",
    "Corpus": "corpus.corpus",
    "Metadata": "record.metadata",
    "Probe": "record.metadata",
    "VideoError": "errors",
    "change_scores": "decisions.events",
    "event_boundaries": "decisions.events",
    "extract": "extraction.read",
    "frame_budgets": "decisions.budget",
    "gop_weights": "decisions.budget",
    "load": "cache.store",
    "merge_regions": "decisions.density",
    "motion_grid": "decisions.motion",
    "patch_density": "decisions.density",
    "probe": "container.probe",
    "read": "extraction.read",
    "save": "cache.store",
    "extract_to_file": "extraction.to_file",
    "extract_many": "corpus.batch",
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
    "save",
    "extract_to_file",
    "extract_many",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'codecmeta' has no attribute {name!r}")
    value = getattr(import_module(f"codecmeta.{_HOME[name]}"), name)
    globals()[name] = value
    return value
