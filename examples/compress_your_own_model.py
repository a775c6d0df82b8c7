"""For a pipeline of your own: a stock transformers model, inputs as you prepare them, and fewer tokens inside.

    python examples/compress_your_own_model.py VIDEO ["How many objects are there?"] [FOLDER]

FOLDER is a LLaVA-OneVision checkpoint, by default the one that comes with codecmeta. Nothing of codecmeta loads the
model, cuts the video into pictures for it or writes its prompt; only the `with` line is added to what you have.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

import codecmeta
import codecmeta.models.small
from codecmeta.compression import Metom, apply

FRAMES = 16


def main(video: str, question: str, folder: str) -> None:
    """Answer once with the plain model and once with half of its tokens."""
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    # The pictures, as your pipeline makes them, and the frames that they are.
    meta, rows, pictures = codecmeta.read(video, FRAMES)
    inputs = prepare(model, tokenizer, pictures, question)
    print("plain:", answer(model, tokenizer, inputs))

    with apply(model, Metom(budget=0.5), meta, frames=rows) as session:
        print("planned before any picture was encoded:", session.plan.counts.tolist(), "tokens per frame at most")
        print("compressed:", answer(model, tokenizer, inputs))
    print(f"{session.tokens_kept} of {session.tokens_full} tokens, {session.kv_bytes:,} bytes of key-value cache")


def prepare(
    model: LlavaOnevisionForConditionalGeneration, tokenizer: AutoTokenizer, pictures: np.ndarray, question: str
) -> dict[str, torch.Tensor]:
    """Prompt ids with one placeholder per visual token, and pixels: float32 (1, frames, 3, side, side)."""
    vision = model.config.vision_config
    planes = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    pixels = torch.nn.functional.interpolate(planes, (vision.image_size,) * 2, mode="bilinear", antialias=True)
    side = -(-(vision.image_size // vision.patch_size) // 2)
    placeholders = "<video>" * (len(pictures) * side * side + 1)
    prompt = f"<|im_start|>user {placeholders}\n{question}<|im_end|><|im_start|>assistant\n"
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values_videos": pixels[None]}


def answer(
    model: LlavaOnevisionForConditionalGeneration, tokenizer: AutoTokenizer, inputs: dict[str, torch.Tensor]
) -> str:
    """The model's own generate(), unchanged."""
    with torch.inference_mode():
        ids = model.generate(**inputs, max_new_tokens=20, do_sample=False)
    return tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3, 4):
        sys.exit(__doc__)
    built_in = Path(codecmeta.models.small.__file__).parent / "weights"
    defaults = ["How many objects are there?", str(built_in)]
    main(*sys.argv[1:], *defaults[len(sys.argv) - 2 :])
