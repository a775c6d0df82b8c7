"""Seconds of every stage from a file to an answer, with and without fewer tokens.

    python benchmarks/stages.py --json benchmarks/results/stages_cpu.json
    python benchmarks/stages.py --device cuda --model llava-onevision-7b --frames 32 64 128 --json stages_cuda.json

Methods alternate within a round, the first round is not counted, medians are reported; the clock waits for the device.
`small` is the built-in model. The 7B models have their real shapes and random weights, made on the device: stages,
cache and operations do not depend on what the weights say, answers do, so none are shown. Which tokens METok keeps
depends on attention; with random weights the number is right and the choice arbitrary.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import codecmeta
from codecmeta.compression import Metok, Metom, Plain, Strategy, adapter_for, apply
from codecmeta.compression.cost import TextModel, prefill_flops
from codecmeta.models.loading import load
from codecmeta.models.preprocessing import Preprocessing

ROOT = Path(__file__).resolve().parents[1]
PROMPT, NEW = 60, 9
"""Text tokens of the prompt, and tokens that are generated."""


def methods() -> dict[str, Strategy]:
    """What is compared. RPM alone at two strengths: the published saving, and half of the patches."""
    return {
        "none": Plain(),
        "metom 50 %": Metom(budget=0.5),
        "metom 30 %": Metom(budget=0.3),
        "metom 30 % + matm": Metom(budget=0.3, matm=True),
        "metok": Metok(),
        "rpm, 14 % merged": Metom(btm=False, tau_mode="target", share=0.14),
        "rpm, 50 % merged": Metom(btm=False, tau_mode="target", share=0.5),
    }


def llava_7b() -> Any:
    """LLaVA-OneVision-7B: SigLIP-so400m at 384 pixels and Qwen2-7B."""
    vision = transformers.SiglipVisionConfig(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=26, num_attention_heads=16, image_size=384,
        patch_size=14, vision_use_head=False,
    )  # fmt: skip
    text = transformers.Qwen2Config(
        vocab_size=152000, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4, max_position_embeddings=131072, eos_token_id=None,
    )  # fmt: skip
    return transformers.LlavaOnevisionConfig(
        vision_config=vision, text_config=text, vision_feature_layer=-1, vision_feature_select_strategy="full",
        image_token_index=151646, video_token_index=151647,
    )  # fmt: skip


def qwen2_vl_7b() -> Any:
    """Qwen2-VL-7B."""
    return transformers.Qwen2VLConfig(
        vision_config={"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "mlp_ratio": 4},
        text_config={
            "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 131072,
            "eos_token_id": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
    )  # fmt: skip


SHAPES = {
    "llava-onevision-7b": ("LlavaOnevisionForConditionalGeneration", llava_7b, Preprocessing(384, 384)),
    "qwen2-vl-7b": (
        "Qwen2VLForConditionalGeneration", qwen2_vl_7b,
        Preprocessing(0, 0, factor=28, min_pixels=128 * 28 * 28, max_pixels=192 * 28 * 28),
    ),
}  # fmt: skip


def build(name: str, device: str) -> tuple[Any, Preprocessing]:
    """A model on the device, and how it wants its pictures."""
    if name == "small":
        small = load(device=device)
        return small.model, small.preprocessing
    cls, config, preprocessing = SHAPES[name]
    with torch.device(device), transformers.initialization.no_init_weights():
        model = getattr(transformers, cls)._from_config(config(), dtype=torch.bfloat16, attn_implementation="sdpa")
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.02) if weight.dim() > 1 else weight.fill_(1.0 if weight.dim() else 0.0)
    return model.eval(), preprocessing


def measure(
    model: Any, preprocessing: Preprocessing, video: Path, frames: int, rounds: int, names: list[str] | None
) -> list[dict[str, Any]]:
    """One row per method."""
    adapter = adapter_for(model)
    read: dict[str, float] = {}
    meta, rows, pictures = codecmeta.read(video, frames, transform=preprocessing.resize, seconds=read)
    if spare := -len(rows) % adapter.pictures:
        rows, pictures = np.append(rows, [rows[-1]] * spare), [*pictures, *[pictures[-1]] * spare]
    start = time.perf_counter()
    inputs = prepare(model, adapter, preprocessing.normalise(np.stack(pictures)))
    read["preprocess"] = read.pop("transform") + time.perf_counter() - start

    chosen = {name: one for name, one in methods().items() if names is None or name in names}
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for turn in range(rounds + 1):
        for name, strategy in chosen.items():
            row = once(model, strategy, meta, rows, inputs)
            if turn:
                seen[name].append(row)
    return [{"frames": len(rows), "method": name, **middle(turns, read)} for name, turns in seen.items()]


def prepare(model: Any, adapter: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """A prompt of `PROMPT` arbitrary text tokens around the video."""
    video, placeholders = adapter.inputs(pixels)
    text = torch.arange(PROMPT) % 200 + 5
    ids = torch.cat((text[:15], torch.full((placeholders,), adapter.video_token), text[15:]))[None]
    video["pixel_values_videos"] = video["pixel_values_videos"].to(model.dtype)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **video}
    if not adapter.gapless:
        inputs["mm_token_type_ids"] = (ids == adapter.video_token).long() * 2
    return {name: value.to(model.device) for name, value in inputs.items()}


@torch.inference_mode()
def once(model: Any, strategy: Strategy, meta: Any, rows: Any, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Generate `NEW` tokens and say what that took."""
    cuda = model.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    start = time.perf_counter()
    with apply(model, strategy, meta, frames=rows) as session:
        model.generate(**inputs, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, eos_token_id=None)
        if cuda:
            torch.cuda.synchronize()
    end = time.perf_counter()
    first = session.first_token_at or end
    text = TextModel.of(model.config.text_config)
    return {
        "tokens_full": session.tokens_full,
        "tokens_kept": session.tokens_kept,
        "tokens_llm_mean": round(float(np.mean(session.layer_tokens)), 1),
        "encoder_full": session.encoder_full,
        "encoder_tokens": session.encoder_tokens,
        "kv_bytes": session.kv_bytes,
        "prefill_teraflops": round(prefill_flops(text, [n + PROMPT for n in session.layer_tokens]) / 1e12, 4),
        "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "seconds": {**session.seconds, "first_token": first - start, "per_token": (end - first) / (NEW - 1)},
    }


def middle(turns: list[dict[str, Any]], read: dict[str, float]) -> dict[str, Any]:
    """Medians of the seconds; everything else is the same every time. `first_token` here starts after reading."""
    stages = {name: statistics.median(turn["seconds"][name] for turn in turns) for name in turns[0]["seconds"]}
    return {**turns[-1], "seconds": {name: round(value, 5) for name, value in (read | stages).items()}}


def main() -> None:
    """Print a table, and write the rows with the command and the machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", type=Path, default=ROOT / "data_samples" / "long.mp4")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default="small", choices=["small", *SHAPES])
    parser.add_argument("--frames", type=int, nargs="+", default=[16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", action="append", dest="methods", help="only these; default: all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model, preprocessing = build(options.model, options.device)
    rows = []
    for frames in options.frames:
        for row in measure(model, preprocessing, options.video, frames, options.rounds, options.methods):
            rows.append(row)
            stages = "  ".join(f"{name} {value:.3f}" for name, value in row["seconds"].items())
            print(f"{row['frames']:4d} {row['method']:18} {row['tokens_kept']:6d} of {row['tokens_full']:6d}  {stages}")
    device = (
        torch.cuda.get_device_name() if options.device.startswith("cuda") else f"CPU, {torch.get_num_threads()} threads"
    )
    result = {
        "command": f"python benchmarks/stages.py {' '.join(sys.argv[1:])}".strip(),
        "machine": {"device": device, "system": platform.platform(), "torch": torch.__version__},
        "transformers": transformers.__version__,
        "model": options.model,
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
