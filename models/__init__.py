"""Video language models that strategies are applied to: one adapter per architecture, and a small built-in model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codecmeta.models.loading import SMALL, load
    from codecmeta.models.preprocessing import Preprocessing
    from codecmeta.models.video_model import Answer, VideoModel

_HOME = {
    "SMALL": "loading",
    "Answer": "video_model",
    "Preprocessing": "preprocessing",
    "VideoModel": "video_model",
    "load": "loading",
}

__all__ = ["SMALL", "Answer", "Preprocessing", "VideoModel", "load"]


def __getattr__(name: str) -> Any:
    """Import a name, and torch with it, when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'codecmeta.models' has no attribute {name!r}")
    value = getattr(import_module(f"codecmeta.models.{_HOME[name]}"), name)
    globals()[name] = value
    return value
