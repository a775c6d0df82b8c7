"""The architecture of the built-in text-image model: SigLIP's own classes, small.

    model = build_text_image(build_tokenizer())      # random weights, about 0.8 million parameters

One picture of 64x64 pixels in patches of 8x8, as the built-in video model sees them, against a text of at most 24
tokens of the built-in video model's tokenizer.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipModel

from codecmeta.models.small.model import IMAGE_MEAN, IMAGE_STD, PATCH, SIZE, VISION_SIZE

TEXT_LENGTH = 24

PREPROCESSOR = {
    "image_processor_type": "SiglipImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": 4,  # box: area means, as the built-in video model
    "size": {"height": SIZE, "width": SIZE},
    "image_mean": list(IMAGE_MEAN),
    "image_std": list(IMAGE_STD),
}


def build_text_image(tokenizer: PreTrainedTokenizerFast) -> SiglipModel:
    """The model with random weights (seed torch first), in float32."""
    sizes = {"hidden_size": VISION_SIZE, "intermediate_size": 384, "num_attention_heads": 3}
    text = {
        **sizes,
        "num_hidden_layers": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": TEXT_LENGTH,
        "projection_size": VISION_SIZE,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    vision = {**sizes, "num_hidden_layers": 3, "image_size": SIZE, "patch_size": PATCH}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    with torch.no_grad():  # SigLIP's own start is for one right text in thousands; here a text fits a quarter
        model.logit_scale.fill_(2.3)
        model.logit_bias.fill_(-2.0)
    return model
