"""Tiny Qwen-VL checkpoints with random weights and a tokenizer of bytes, of sizes that vLLM's kernels take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as tf

from tests.support.stock_processors import processors
from tests.support.tiny import sharpen

SHOWN = {"shortest_edge": 4096, "longest_edge": 8 * 192 * 160}
"""Pixels of a whole video: eight pictures of 192x160, about thirty tokens for every two."""


def made(family: str, folder: Path) -> Path:
    """Write a checkpoint of "qwen3_vl" or "qwen2_5_vl" into a folder of this name."""
    processor = processors()[family]
    patch = 16 if family == "qwen3_vl" else 14
    processor.image_processor.patch_size = patch
    processor.video_processor.size = type(processor.video_processor.size)(**SHOWN)
    tokenizer = processor.tokenizer
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    torch.manual_seed(0)
    model = (_qwen3 if family == "qwen3_vl" else _qwen2_5)(ids, -(-len(tokenizer) // 64) * 64, patch)
    sharpen(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder / family)
    processor.save_pretrained(folder / family)
    return folder / family


def _text(vocabulary: int, **rope: Any) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, **rope},
    }  # fmt: skip


def _qwen3(ids: dict[str, int], vocabulary: int, patch: int) -> Any:
    text = {**_text(vocabulary, mrope_section=[12, 10, 10], mrope_interleaved=True), "head_dim": 64}
    vision = {
        "depth": 4, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "patch_size": patch,
        "out_hidden_size": 128, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1, 2],
    }  # fmt: skip
    config = tf.Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    return tf.Qwen3VLForConditionalGeneration(config)


def _qwen2_5(ids: dict[str, int], vocabulary: int, patch: int) -> Any:
    text = _text(vocabulary, mrope_section=[12, 10, 10])
    vision = {
        "depth": 4, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "patch_size": patch,
        "out_hidden_size": 128, "fullatt_block_indexes": [1, 3], "window_size": 112,
    }  # fmt: skip
    config = tf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    return tf.Qwen2_5_VLForConditionalGeneration(config)
