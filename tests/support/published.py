"""Small random checkpoints in the layout in which LLaVA-Video, LLaVA-OneVision and LongVA were published."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from codecmeta.compression import adapter_for
from codecmeta.models import llava_qwen
from codecmeta.models.preprocessing import Preprocessing
from tests.support import tiny

SIGLIP, CLIP = "google/siglip-tiny", "openai/clip-tiny"
SIDE = 5
"""Patches along a side of a frame: odd, so that pooling has to round. Of 43 pixels, 40 are covered."""
VOCABULARY = 264
"""Bytes, three tokens that Qwen2 has besides, and rows that none of them uses: the last stands for the video."""
VIDEO = VOCABULARY - 1
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "patch_size": 8}
TOWERS = {
    "siglip-tiny": llava_qwen.Tower(
        SiglipVisionConfig,
        {**SIZES, "num_hidden_layers": 2, "image_size": 43, "vision_use_head": False},
        Preprocessing(43, 43, mean=(0.5,) * 3, std=(0.5,) * 3),
    ),
    "clip-tiny": llava_qwen.Tower(
        CLIPVisionConfig,
        {**SIZES, "num_hidden_layers": 2, "image_size": 40, "projection_dim": 16},
        Preprocessing(40, 40, edge=40),
    ),
}
KINDS: dict[str, dict[str, Any]] = {
    "LLaVA-Video": {
        "model_type": "llava", "mm_patch_merge_type": "spatial_unpad", "mm_newline_position": "grid",
        "mm_spatial_pool_mode": "bilinear", "mm_spatial_pool_stride": 2, "add_time_instruction": True,
        "force_sample": True, "add_faster_video": False, "image_aspect_ratio": "anyres_max_9",
    },
    "LLaVA-OneVision": {"model_type": "llava_qwen", "mm_patch_merge_type": "spatial_unpad"},
    "LongVA": {"model_type": "qwen2", "mm_patch_merge_type": "unires", "mm_spatial_pool_mode": "average"},
}  # fmt: skip


def raw(kind: str, vocabulary: int = VOCABULARY, **more: Any) -> dict[str, Any]:
    """config.json of a small checkpoint."""
    clip = kind == "LongVA"
    return {
        "architectures": ["LlavaQwenForCausalLM"], "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "rope_theta": 1e9 if clip else 1e6, "rope_scaling": None, "vocab_size": vocabulary,
        "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": min(258, vocabulary - 1),
        "use_sliding_window": False, "sliding_window": 131072, "max_window_layers": 28, "torch_dtype": "float32",
        "mm_vision_tower": CLIP if clip else SIGLIP, "mm_projector_type": "mlp2x_gelu", "mm_hidden_size": 32,
        "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch", **KINDS[kind], **more,
    }  # fmt: skip


@contextmanager
def small_towers() -> Iterator[None]:
    """Vision towers of this size are known."""
    with pytest.MonkeyPatch.context() as patch:
        for name, tower in TOWERS.items():
            patch.setitem(llava_qwen.TOWERS, name, tower)
        yield


def unwritten(kind: str, attention: str = "sdpa", vocabulary: int = 91) -> Any:
    """A model with random weights, the video's placeholder being `tiny.VIDEO`."""
    torch.manual_seed(0)
    with small_towers():
        config = llava_qwen.config_of(raw(kind, vocabulary))
    model = llava_qwen.LlavaQwenForCausalLM._from_config(config, attn_implementation=attention).eval()
    tiny.sharpen(model)
    return model


def write(folder: Path, kind: str, **more: Any) -> dict[str, torch.Tensor]:
    """Write config.json, weights in two shards and a tokenizer; returns the weights by their published names."""
    torch.manual_seed(0)
    clip = kind == "LongVA"
    tokenizer_of_bytes(folder)
    own = raw(kind, **more)
    (folder / "config.json").write_text(json.dumps(own))
    text = Qwen2ForCausalLM(Qwen2Config(**{key: own[key] for key in llava_qwen.TEXT if own.get(key) is not None}))
    tower = TOWERS["clip-tiny" if clip else "siglip-tiny"]
    sizes = {**tower.sizes, "num_hidden_layers": 3 if clip else 2}  # CLIP's checkpoint has the layer that is not used
    encoder: Any = (CLIPVisionModel if clip else SiglipVisionModel)(tower.config(**sizes))
    projector = torch.nn.Sequential(torch.nn.Linear(32, 48), torch.nn.GELU(), torch.nn.Linear(48, 48))
    for part in (text, encoder, projector):
        tiny.sharpen(part)
    weights = {
        **text.state_dict(),
        **{
            f"model.vision_tower.vision_tower.vision_model.{name}": one
            for name, one in getattr(encoder, "vision_model", encoder).state_dict().items()
        },
        **{f"model.mm_projector.{name}": one for name, one in projector.state_dict().items()},
    }
    if not clip:
        weights["model.image_newline"] = torch.randn(48)
    weights = {name: one.detach().clone().contiguous() for name, one in weights.items()}
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: weights[name] for name in part}, folder / file, {"format": "pt"})
    where = {name: file for file, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return weights


def tokenizer_of_bytes(folder: Path) -> None:
    """The files of a Qwen2 tokenizer as these repositories have them."""
    (folder / "vocab.json").write_text(json.dumps({byte: n for n, byte in enumerate(sorted(ByteLevel.alphabet()))}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False) | {"special": True}
    special = {"256": "<|endoftext|>", "257": "<|im_start|>", "258": "<|im_end|>"}
    settings = {
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "added_tokens_decoder": {number: {"content": text, **flags} for number, text in special.items()},
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def inputs(model: Any, seed: int = 1, video: int = VIDEO) -> dict[str, torch.Tensor]:
    """Prompt ids of four and six tokens of text around every placeholder of a clip, its mask, and pixels."""
    rng = torch.Generator().manual_seed(seed)
    text = torch.randint(1, 80, (tiny.BEFORE + tiny.AFTER,), generator=rng)
    side = model.config.vision_config.image_size
    pixels = torch.randn(tiny.FRAMES, 3, side, side, generator=rng)
    pictures, count = adapter_for(model).inputs(pixels)
    ids = torch.cat((text[: tiny.BEFORE], torch.full((count,), video), text[tiny.BEFORE :]))[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pictures}
