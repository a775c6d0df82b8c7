"""lmms-eval's harness around these models: `lmms_eval --model codecmeta --model_args pretrained=...,method=metom,...`.

The harness calls `manifests` at every start, whatever is evaluated, and a plug-in that raises there silences all
others: so nothing is imported here but the one class that it asks for.
"""

from __future__ import annotations

from typing import Any


def manifests() -> list[Any]:
    """The entry point `codecmeta` of the group `lmms_eval.models`: where the model is, in its two forms."""
    try:
        from lmms_eval.models.registry_v2 import ModelManifest
    except ImportError:  # a release that registers models otherwise
        return []
    where = "codecmeta.models.lmms_eval.model"
    return [ModelManifest("codecmeta", simple_class_path=f"{where}.Simple", chat_class_path=f"{where}.Chat")]
