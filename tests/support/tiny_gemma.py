"""A tiny Gemma 4 with random weights; names it shares with other tiny models are in `tiny`."""

from inspect import signature
from typing import Any

import torch
import transformers

from codecmeta.compression.engine import transformers_names as names
from tests.support.tiny import AFTER, BEFORE, FRAMES, IMAGE, TOKENS, VIDEO, sharpen

SIDE = 3 * TOKENS
"""Patches along a side of a frame: 3x3 of them make a token."""
WINDOW = 24
"""Tokens that most layers see, less than any prompt has here."""


def gemma4(
    seed: int = 0,
    attention: str = "sdpa",
    large: bool = False,
    window: int = WINDOW,
    vocabulary: int = 96,
    video: int = VIDEO,
    markers: tuple[int, int] = (92, 93),
) -> Any:
    """Gemma 4 with 9x9 patches and 3x3 tokens per picture, and layers of both kinds. As the small published ones it has
    inputs per layer, and its last two layers use the keys of others; `large`: pictures see all of themselves, keys are
    values where there is no window, and experts beside the MLP."""
    torch.manual_seed(seed)
    text = {
        "vocab_size": vocabulary, "vocab_size_per_layer_input": vocabulary, "hidden_size": 48, "intermediate_size": 64,
        "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
        "global_head_dim": 24, "max_position_embeddings": 512, "sliding_window": window,
        "layer_types": ["sliding_attention", "full_attention"] * 3, "hidden_size_per_layer_input": 8,
        "num_kv_shared_layers": 2, "use_double_wide_mlp": True, "pad_token_id": 0, "bos_token_id": None,
        "eos_token_id": None,
    }  # fmt: skip
    if large:
        text |= {
            "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "use_bidirectional_attention": "vision",
            "attention_k_eq_v": True, "num_global_key_value_heads": 1, "enable_moe_block": True, "num_experts": 4,
            "top_k_experts": 2, "moe_intermediate_size": 32,
        }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 16, "patch_size": 4, "position_embedding_size": 64,
    }  # fmt: skip
    config = transformers.Gemma4Config(
        text_config=text, vision_config=vision, audio_config=None, tie_word_embeddings=False, image_token_id=IMAGE,
        video_token_id=video, audio_token_id=88, boi_token_id=markers[0], eoi_token_id=markers[1],
    )  # fmt: skip
    architecture = transformers.Gemma4ForConditionalGeneration
    model = architecture._from_config(config, attn_implementation=attention).eval()
    sharpen(model)
    with torch.no_grad():
        model.model.vision_tower.patch_embedder.position_embedding_table.normal_(0, 0.5)
    return model


def gemma4_inputs(
    frames: int = FRAMES, seed: int = 1, padding: int = 0, grid: tuple[int, int] = (SIDE, SIDE)
) -> dict[str, torch.Tensor]:
    """Three tokens of a time and a marker before every picture, one marker behind it; `grid` patches of 4x4 pixels, and
    so many of padding."""
    rng = torch.Generator().manual_seed(seed)
    text = torch.randint(1, 80, (BEFORE + AFTER,), generator=rng)
    parts = [text[:BEFORE]]
    for _ in range(frames):
        time = torch.randint(1, 80, (3,), generator=rng)
        parts += [time, torch.tensor([92]), torch.full((grid[0] * grid[1] // 9,), VIDEO), torch.tensor([93])]
    ids = torch.cat((*parts, text[BEFORE:]))[None]
    patches = torch.rand(frames, grid[0] * grid[1], 3 * 4 * 4, generator=rng)
    row, column = torch.meshgrid(*map(torch.arange, grid), indexing="ij")
    places = torch.stack((column, row), dim=-1).flatten(0, 1).repeat(frames, 1, 1)
    patches = torch.nn.functional.pad(patches, (0, 0, 0, padding))
    places = torch.nn.functional.pad(places, (0, 0, 0, padding), value=-1)
    video = {names.PIXELS: patches, names.PLACES: places}
    if names.LENGTHS in signature(transformers.Gemma4ForConditionalGeneration.forward).parameters:
        video[names.LENGTHS] = torch.tensor([frames])
    else:
        video = {name: one[None] for name, one in video.items()}
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == VIDEO).long() * 2,
        **video,
    }
