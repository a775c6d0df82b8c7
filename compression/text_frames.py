"""A question and pictures -> how well each picture fits the question, by a text-image model (SigLIP or CLIP).

What METok asks for its key events and key frames. It costs a second pass over the pictures; report its time too.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize


@torch.inference_mode()
def text_frame_scores(
    encoder: Any, tokenizer: Any, pixels: Tensor, question: str, *, combine: Literal["max", "mean"] = "max"
) -> tuple[float, ...]:
    """Cosine of the question and each picture: one number per picture, ready for `Metok(frame_scores=...)`.

    >>> siglip = SiglipModel.from_pretrained("google/siglip-so400m-patch14-384")
    >>> scores = text_frame_scores(siglip, tokenizer, pixels, "When does the goal fall?")

    encoder: a transformers model with `get_text_features` and `get_image_features`. pixels: float (T, 3, height,
    width), preprocessed for it. A question that is longer than the text tower takes is cut into chunks, each padded to
    the full length (these towers were trained on padded text), and their features are combined by the elementwise
    maximum, as METok's code does, or the mean.
    """
    limit = encoder.config.text_config.max_position_embeddings
    ids = tokenizer(question, add_special_tokens=True).input_ids
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    chunks = [ids[start : start + limit] for start in range(0, len(ids), limit)]
    padded = torch.tensor([chunk + [pad] * (limit - len(chunk)) for chunk in chunks], device=pixels.device)
    texts = _features(encoder.get_text_features(input_ids=padded))
    text = texts.max(dim=0).values if combine == "max" else texts.mean(dim=0)
    pictures = _features(encoder.get_image_features(pixel_values=pixels.to(encoder.dtype)))
    return tuple((normalize(pictures, dim=-1) @ normalize(text, dim=-1)).tolist())


def _features(output: Any) -> Tensor:
    """float32 (n, width): newer transformers wrap the pooled features."""
    return getattr(output, "pooler_output", output).float()
