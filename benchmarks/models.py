"""What published checkpoints cost, as their configurations tell: parameters, download, memory, tokens, key-value cache.

    python -m benchmarks.models --json benchmarks/results/models.json

The shapes below are those of the repositories' config.json (LLaVA-Video-72B's are those of Qwen2-72B, on which it is
built). Every model is built from them on torch's meta device,
which has shapes and no memory, and its parameters are counted; nothing is downloaded and nothing is run, so there are
no seconds here. Tokens are those of pictures of 640x360 by the published preprocessing, with the newlines behind
their rows.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from codecmeta.compression import adapter_for
from codecmeta.compression.engine.transformers_names import head_width
from codecmeta.models.llava_qwen import LlavaQwenForCausalLM, config_of

SIZE = (360, 640)
SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26,
    "num_attention_heads": 16, "image_size": 384, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip
INTERN_VIT = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": [448, 448], "patch_size": [14, 14],
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A checkpoint. id: of its repository. classes: transformers' configuration and model. text, vision: what their
    config.json says; tied: whether input and output embeddings are the same weights.
    factor: pixels per token and side where pictures keep their shape, and pictures per temporal position."""

    id: str
    classes: str
    text: dict[str, Any]
    vision: dict[str, Any]
    tied: bool
    factor: tuple[int, int] | None = None

    def build(self) -> tuple[Any, Any]:
        """Its configuration and its model's class."""
        if self.classes == "LlavaQwen":
            return config_of({**self.text, **self.vision}), LlavaQwenForCausalLM
        config = getattr(transformers, f"{self.classes}Config")(
            text_config=self.text, vision_config=self.vision, tie_word_embeddings=self.tied
        )
        return config, getattr(transformers, f"{self.classes}ForConditionalGeneration")


def text(
    hidden: int, inner: int, layers: int, heads: int, key_heads: int, vocabulary: int, **more: Any
) -> dict[str, Any]:
    return {
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": key_heads, "vocab_size": vocabulary, **more,
    }  # fmt: skip


QWEN2 = {"model_type": "qwen2"}
LLAVA = {
    "mm_vision_tower": "google/siglip-so400m-patch14-384", "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2, "mm_patch_merge_type": "spatial_unpad", "mm_spatial_pool_mode": "bilinear",
}  # fmt: skip
LONGVA = {
    **LLAVA, "mm_vision_tower": "openai/clip-vit-large-patch14-336", "mm_patch_merge_type": "unires",
    "mm_spatial_pool_mode": "average",
}  # fmt: skip
GRID = {**LLAVA, "mm_newline_position": "grid"}
SEVEN = (3584, 18944, 28, 28, 4, 152064)
MODELS = [
    Published(
        "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        "LlavaOnevision",
        text(896, 4864, 24, 14, 2, 152000, **QWEN2),
        SIGLIP,
        True,
    ),
    Published(
        "llava-hf/llava-onevision-qwen2-7b-ov-hf",
        "LlavaOnevision",
        text(3584, 18944, 28, 28, 4, 152128, **QWEN2),
        SIGLIP,
        False,
    ),
    Published(
        "Qwen/Qwen2-VL-2B-Instruct",
        "Qwen2VL",
        text(1536, 8960, 28, 12, 2, 151936),
        {"depth": 32, "embed_dim": 1280, "hidden_size": 1536},
        True,
        (28, 2),
    ),
    Published(
        "Qwen/Qwen2-VL-7B-Instruct",
        "Qwen2VL",
        text(3584, 18944, 28, 28, 4, 152064),
        {"depth": 32, "embed_dim": 1280, "hidden_size": 3584},
        False,
        (28, 2),
    ),
    Published(
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "Qwen2_5_VL",
        text(2048, 11008, 36, 16, 2, 151936),
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 2048},
        True,
        (28, 2),
    ),
    Published(
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "Qwen2_5_VL",
        text(3584, 18944, 28, 28, 4, 152064),
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
        False,
        (28, 2),
    ),
    Published(
        "Qwen/Qwen3-VL-2B-Instruct",
        "Qwen3VL",
        text(2048, 6144, 28, 16, 8, 151936, head_dim=128),
        {
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_heads": 16,
            "out_hidden_size": 2048,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        True,
        (32, 2),
    ),
    Published(
        "Qwen/Qwen3-VL-4B-Instruct",
        "Qwen3VL",
        text(2560, 9728, 36, 32, 8, 151936, head_dim=128),
        {
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_heads": 16,
            "out_hidden_size": 2560,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        True,
        (32, 2),
    ),
    Published(
        "Qwen/Qwen3-VL-8B-Instruct",
        "Qwen3VL",
        text(4096, 12288, 36, 32, 8, 151936, head_dim=128),
        {
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_heads": 16,
            "out_hidden_size": 4096,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        False,
        (32, 2),
    ),
    Published("OpenGVLab/InternVL3-1B-hf", "InternVL", text(896, 4864, 24, 14, 2, 151674, **QWEN2), INTERN_VIT, False),
    Published("OpenGVLab/InternVL3-2B-hf", "InternVL", text(1536, 8960, 28, 12, 2, 151674, **QWEN2), INTERN_VIT, False),
    Published(
        "OpenGVLab/InternVL3-8B-hf", "InternVL", text(3584, 18944, 28, 28, 4, 151674, **QWEN2), INTERN_VIT, False
    ),
    Published("lmms-lab/llava-onevision-qwen2-7b-ov", "LlavaQwen", text(*SEVEN), LLAVA, False),
    Published("lmms-lab/LLaVA-Video-7B-Qwen2", "LlavaQwen", text(*SEVEN), GRID, False),
    Published("lmms-lab/LLaVA-Video-72B-Qwen2", "LlavaQwen", text(8192, 29568, 80, 64, 8, 152064), GRID, False),
    Published("lmms-lab/LongVA-7B", "LlavaQwen", text(*SEVEN), LONGVA, False),
]


def row(one: Published) -> dict[str, Any]:
    """The numbers of one checkpoint."""
    config, cls = one.build()
    with torch.device("meta"):
        model = cls._from_config(config, dtype=torch.bfloat16)
    parameters = sum(one.numel() for one in model.parameters())
    written = config.text_config
    cache = 2 * written.num_hidden_layers * written.num_key_value_heads * head_width(written) * 2
    return {
        "id": one.id,
        "class": cls.__name__,
        "parameters": parameters,
        "download_bytes": 2 * parameters,
        "tokens_per_picture": of_rows(adapter_for(model)) if one.classes == "LlavaQwen" else tokens(one),
        "kv_bytes_per_token": cache,
    }


def of_rows(adapter: Any) -> float:
    """Tokens of a picture, and newlines behind its rows."""
    layout = adapter.layout(1, None)
    return float(layout.tokens_full + (layout.separators if layout.newline == "row" else 0))


def tokens(one: Published) -> float:
    """Tokens of a picture of `SIZE` in the language model."""
    if one.factor is not None:
        side, pictures = one.factor
        rows, columns = (round(length / side) for length in SIZE)
        return rows * columns / pictures
    return 196 if one.classes == "LlavaOnevision" else 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = {
        "command": "python -m benchmarks.models --json benchmarks/results/models.json",
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
        "picture": list(SIZE),
        "models": [row(one) for one in MODELS],
    }
    text = json.dumps(result, indent=2) + "\n"
    if arguments.json:
        arguments.json.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
