"""A question and pictures -> how well each picture fits the question, by a text-image model (SigLIP or CLIP).

What METok asks for its key events and key frames. `codecmeta.models.load_text_image` loads such a model with all that
belongs to it.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.compression.engine.transformers_names import IDS, pooled


def text_frame_scores(
    encoder: Any, tokenizer: Any, pixels: Tensor, question: str, *, combine: Literal["max", "mean"] = "max"
) -> tuple[float, ...]:
    """Cosine of the question and each picture: one number per picture, ready for `Metok(frame_scores=...)`.

    >>> siglip = SiglipModel.from_pretrained("google/siglip-so400m-patch14-384")
    >>> scores = text_frame_scores(siglip, tokenizer, pixels, "When does the goal fall?")

    Arguments as in `picture_vectors` and `question_vector`.
    """
    text = question_vector(encoder, tokenizer, question, combine=combine)
    return tuple((picture_vectors(encoder, pixels) @ text).tolist())


@torch.inference_mode()
def picture_vectors(encoder: Any, pixels: Tensor) -> Tensor:
    """float32 (T, width) of length 1. encoder: a transformers model with `get_image_features`. pixels: float (T, 3,
    height, width), preprocessed for it."""
    return normalize(pooled(encoder.get_image_features(pixels.to(encoder.device, encoder.dtype))).float(), dim=-1)


@torch.inference_mode()
def question_vector(encoder: Any, tokenizer: Any, question: str, *, combine: Literal["max", "mean"] = "max") -> Tensor:
    """float32 (width,) of length 1. encoder: a transformers model with `get_text_features`.

    A question that is longer than the text tower takes is cut into chunks, each padded to the full length (these towers
    were trained on padded text), and their features are combined by the elementwise maximum, as METok's code does, or
    the mean. CLIP reads a text off its end token, so there every chunk gets a start and an end of its own.
    """
    limit = encoder.config.text_config.max_position_embeddings
    whole = encoder.config.model_type == "clip"
    head, tail = ([tokenizer.bos_token_id], [tokenizer.eos_token_id]) if whole else ([], [])
    ids = tokenizer(question, add_special_tokens=not whole)[IDS]
    room = limit - len(head) - len(tail)
    chunks = [head + ids[start : start + room] + tail for start in range(0, max(len(ids), 1), room)]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    padded = torch.tensor([chunk + [pad] * (limit - len(chunk)) for chunk in chunks], device=encoder.device)
    texts = pooled(encoder.get_text_features(padded)).float()
    return normalize(texts.amax(dim=0) if combine == "max" else texts.mean(dim=0), dim=-1)
