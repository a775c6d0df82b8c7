"""Codec metadata for video language models: motion vectors, residual energy and packet sizes, read while decoding.

`probe` reads what the container knows, `extract` the signals inside, `read` signals and sampled pictures in one pass;
`patch_density`, `frame_budgets` and `event_boundaries` turn them into decisions. Names are imported when first used.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecmeta.version import __version__

if TYPE_CHECKING:
    from codecmeta.cache.store import load, save
    from codecmeta.container.probe import probe
    from codecmeta.corpus.batch import extract_many
    from codecmeta.corpus.corpus import Corpus
    from codecmeta.decisions.budget import frame_budgets, gop_weights
    from codecmeta.decisions.choose import Choice
    from codecmeta.decisions.density import merge_regions, patch_density
    from codecmeta.decisions.events import change_scores, event_boundaries
    from codecmeta.decisions.motion import motion_grid
    from codecmeta.errors import CacheError, VideoError
    from codecmeta.extraction.choose import choose_frames, packet_events
    from codecmeta.extraction.read import extract, read
    from codecmeta.extraction.to_file import extract_to_file
    from codecmeta.record.metadata import Metadata, Probe

_root = Path(__file__).resolve().parents[1]
if (_root / "setup.cfg").exists():  # source checkout: cli/, compression/ and models/ sit beside this folder
    __path__.append(str(_root))

_HOME = {
    "CacheError": "errors",
    "Choice": "decisions.choose",
    "Corpus": "corpus.corpus",
    "Metadata": "record.metadata",
    "Probe": "record.metadata",
    "VideoError": "errors",
    "change_scores": "decisions.events",
    "choose_frames": "extraction.choose",
    "event_boundaries": "decisions.events",
    "extract": "extraction.read",
    "extract_many": "corpus.batch",
    "extract_to_file": "extraction.to_file",
    "frame_budgets": "decisions.budget",
    "gop_weights": "decisions.budget",
    "load": "cache.store",
    "merge_regions": "decisions.density",
    "motion_grid": "decisions.motion",
    "packet_events": "extraction.choose",
    "patch_density": "decisions.density",
    "probe": "container.probe",
    "read": "extraction.read",
    "save": "cache.store",
}

__all__ = [
    "CacheError",
    "Choice",
    "Corpus",
    "Metadata",
    "Probe",
    "VideoError",
    "__version__",
    "change_scores",
    "choose_frames",
    "event_boundaries",
    "extract",
    "extract_many",
    "extract_to_file",
    "frame_budgets",
    "gop_weights",
    "load",
    "merge_regions",
    "motion_grid",
    "packet_events",
    "patch_density",
    "probe",
    "read",
    "save",
]


_ROOMS = ("compression", "hf", "models")  # need torch or transformers; imported when they are first used


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"codecmeta.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'codecmeta' has no attribute {name!r}")
    value = getattr(import_module(f"codecmeta.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for help(), completion and editors; nothing is imported by looking."""
    return sorted({*__all__, *_ROOMS, *(name for name in globals() if name.startswith("__"))})
