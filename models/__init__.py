"""Video language models that strategies are applied to: one adapter per architecture, and a small built-in model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codecmeta.models.answer import Answer
    from codecmeta.models.loading import SMALL, load
    from codecmeta.models.preprocessing import Preprocessing
    from codecmeta.models.quoting import Quote, quote
    from codecmeta.models.text_image import TextImage, load_text_image
    from codecmeta.models.video_model import VideoModel, scorable

_HOME = {
    "SMALL": "loading",
    "Answer": "answer",
    "Preprocessing": "preprocessing",
    "Quote": "quoting",
    "TextImage": "text_image",
    "VideoModel": "video_model",
    "load": "loading",
    "load_text_image": "text_image",
    "quote": "quoting",
    "scorable": "video_model",
}

__all__ = [
    "SMALL",
    "Answer",
    "Preprocessing",
    "Quote",
    "TextImage",
    "VideoModel",
    "load",
    "load_text_image",
    "quote",
    "scorable",
]


def __getattr__(name: str) -> Any:
    """Import a name, and torch with it, when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'codecmeta.models' has no attribute {name!r}")
    value = getattr(import_module(f"codecmeta.models.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for help(), completion and editors; nothing is imported by looking."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
