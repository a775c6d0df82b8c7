"""The architecture of the built-in model: LLaVA-OneVision's own classes, small.

    model = build_model(build_tokenizer())      # random weights, about 2.2 million parameters

16 frames of 64x64 pixels; SigLIP patches of 8x8 pixels; `apply_pooling` halves the 8x8 grid to 4x4, so that one token
of the language model covers 16x16 pixels: the size of a macroblock.
"""

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from codecmeta.models.small.tokenizer import END, PAD

FRAMES = 16
SIZE = 64
PATCH = 8
PATCH_GRID = SIZE // PATCH
GRID = PATCH_GRID // 2
FRAME_TOKENS = GRID * GRID
VISION_SIZE = 96
IMAGE_MEAN = (0.5, 0.5, 0.5)
IMAGE_STD = (0.5, 0.5, 0.5)
PROMPT = "<|im_start|>user <video>\n{question}<|im_end|><|im_start|>assistant\n"

PREFERENCES = {"keep_ids": True, "metok": {"layers": [2, 3, 4]}}
"""Options that methods leave to the model: tokens keep their places, which is how most clips were thinned in training;
the first two of the five layers name what the patches show, so nothing is pruned before them."""

PREPROCESSOR = {
    "image_processor_type": "LlavaOnevisionImageProcessor",
    "processor_class": "LlavaOnevisionProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "do_pad": False,
    "rescale_factor": 1 / 255,
    "resample": 4,  # box: area means
    "size": {"height": SIZE, "width": SIZE},
    "image_mean": list(IMAGE_MEAN),
    "image_std": list(IMAGE_STD),
    "image_grid_pinpoints": [[SIZE, SIZE]],
    "num_frames": FRAMES,
}


def build_config(tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionConfig:
    """The configuration, with the token numbers of this tokenizer."""
    vision = SiglipVisionConfig(
        hidden_size=VISION_SIZE,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=3,
        image_size=SIZE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=608,
        num_hidden_layers=5,
        num_attention_heads=5,
        num_key_value_heads=1,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
    )
    return LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        image_grid_pinpoints=[[SIZE, SIZE]],
        tie_word_embeddings=True,
        codecmeta=PREFERENCES,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionForConditionalGeneration:
    """The model with random weights (seed torch first), in float32."""
    model = LlavaOnevisionForConditionalGeneration(build_config(tokenizer))
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(END)
    model.generation_config.pad_token_id = tokenizer.convert_tokens_to_ids(PAD)
    with torch.no_grad():
        model.model.vision_tower.embeddings.position_embedding.weight.copy_(_waves())
    return model


def _waves() -> torch.Tensor:
    """First position embeddings, float (64, 96): sines and cosines of row and column.

    Random ones say nothing about which patches are neighbours, and shapes are learnt much later with them.
    """
    frequencies = torch.pi / 2 * (1 / 8) ** torch.linspace(0, 1, VISION_SIZE // 4)
    angles = torch.arange(PATCH_GRID)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = line[:, None].expand(-1, PATCH_GRID, -1)
    columns = line[None].expand(PATCH_GRID, -1, -1)
    return 0.5 * torch.cat([rows, columns], dim=2).flatten(0, 1)
