"""Every supported model architecture in one row; nothing of a model is imported before one arrives."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from codecmeta.compression.plugins import MODEL_GROUP, declared, load_class

if TYPE_CHECKING:
    from torch import nn

    from codecmeta.compression.engine.adapter import Adapter


@dataclass(frozen=True)
class Family:
    """cls: name of the adapter's class. module: where it is, in `codecmeta.models.adapters`. label: what people call
    the model, for docs/methods.md and help texts. own: the module in `codecmeta.models` that has the class of the
    model, where transformers has none."""

    cls: str
    module: str
    label: str
    own: str = ""


FAMILIES: dict[str, Family] = {
    "LlavaOnevisionForConditionalGeneration": Family("LlavaOnevision", "llava_onevision", "LLaVA-OneVision"),
    "Qwen2VLForConditionalGeneration": Family("Qwen2VL", "qwen2_vl", "Qwen2-VL"),
    "Qwen2_5_VLForConditionalGeneration": Family("Qwen25VL", "qwen2_vl", "Qwen2.5-VL"),
    "Qwen3VLForConditionalGeneration": Family("Qwen3VL", "qwen3_vl", "Qwen3-VL"),
    "Qwen3_5ForConditionalGeneration": Family("Qwen35", "qwen3_5", "Qwen3.5, Qwen3.6"),
    "Qwen3_5MoeForConditionalGeneration": Family("Qwen35", "qwen3_5", "Qwen3.5, Qwen3.6 with experts"),
    "VideoLlama3ForConditionalGeneration": Family("VideoLlama3", "video_llama_3", "VideoLLaMA3"),
    "SmolVLMForConditionalGeneration": Family("SmolVLM", "smolvlm", "SmolVLM2"),
    "Glm4vForConditionalGeneration": Family("Glm4V", "glm4v", "GLM-4.1V"),
    "Glm4vMoeForConditionalGeneration": Family("Glm4V", "glm4v", "GLM-4.5V"),
    "Glm46VForConditionalGeneration": Family("Glm46V", "glm4v", "GLM-4.6V"),
    "Gemma4ForConditionalGeneration": Family("Gemma4", "gemma4", "Gemma 4"),
    "InternVLForConditionalGeneration": Family("InternVL", "internvl", "InternVL3, InternVL3.5"),
    "LlavaQwenForCausalLM": Family(
        "LlavaQwen", "llava_qwen", "LLaVA-Video, LongVA, LLaVA-OneVision as first published", own="llava_qwen"
    ),
}
"""Class of a model -> row. A new model of this package is one adapter file and one row here; see
`codecmeta.compression.plugins` for those of others."""


def supported() -> list[str]:
    """Classes of transformers that have an adapter, here or in another package that declares one."""
    return sorted({*FAMILIES, *declared(MODEL_GROUP)})


def adapter_for(model: nn.Module) -> Adapter:
    """The adapter of a transformers model. Raises ValueError, listing what is supported, for any other class."""
    name = type(model).__name__
    if name not in supported():
        raise ValueError(f"{name} is not supported; supported are: {', '.join(supported())}")
    if name not in FAMILIES:
        from codecmeta.compression.engine.adapter import Adapter

        own: Adapter = load_class(declared(MODEL_GROUP)[name].value, Adapter)(model)
        return own
    row = FAMILIES[name]
    made: Adapter = getattr(import_module(f"codecmeta.models.adapters.{row.module}"), row.cls)(model)
    return made
