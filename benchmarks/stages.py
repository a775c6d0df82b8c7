"""Seconds of every stage from a file to the first tokens, with and without fewer tokens.

    python -m benchmarks.stages --json benchmarks/results/stages_cpu.json
    python -m benchmarks.stages --device cuda --json benchmarks/results/stages_cuda.json

Methods alternate within a round, the first round is not counted, medians are reported; the clock waits for the device.
`small` is the built-in model. All others have random weights, made on the device: stages, cache and operations do not
depend on what the weights say, answers do, so none are shown. Which tokens METok keeps depends on attention; with
random weights the number is right and the choice arbitrary. The 7B models have their real shapes. On a CPU stand-ins
are measured whose widths and patches per frame are a quarter of LLaVA-OneVision's, so that vision encoder and language
model share the work as they do there: 0.5B is a model whose vision encoder dominates, 7B one whose language model does.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import transformers
from transformers import initialization

import codecmeta  # noqa: E402
from codecmeta.compression import Metok, Metom, Plain, Strategy, adapter_for, apply  # noqa: E402
from codecmeta.compression.measure.cost import TextModel, prefill_flops  # noqa: E402
from codecmeta.compression.measure.memory import PeakMemory  # noqa: E402
from codecmeta.models.loading import load  # noqa: E402
from codecmeta.models.preprocessing import Preprocessing  # noqa: E402
from codecmeta.models.small.world.encoding import Encoder, write_clip  # noqa: E402

PROMPT, NEW = 60, 9
"""Text tokens of the prompt, and tokens that are generated."""


def methods() -> dict[str, Strategy]:
    """What is compared. RPM alone at two strengths: the published saving, and half of the patches."""
    half: dict[str, Any] = {"tau_mode": "target", "share": 0.5}
    return {
        "none": Plain(),
        "metom 50 %": Metom(budget=0.5),
        "metom 30 %": Metom(budget=0.3),
        "metom 30 % + matm": Metom(budget=0.3, matm=True),
        "metom 30 % + matm, 50 % merged": Metom(budget=0.3, matm=True, **half),
        "metok": Metok(),
        "rpm, 14 % merged": Metom(btm=False, tau_mode="target", share=0.14),
        "rpm, 50 % merged": Metom(btm=False, **half),
    }


def llava(width: int, depth: int, hidden: int, heads: int, keys: int, scale: int = 1) -> Any:
    """LLaVA-OneVision: SigLIP-so400m at 384 pixels, and a Qwen2 of these sizes. scale: divides all widths, and the
    pixels of a side by its root."""
    vision = transformers.SiglipVisionConfig(
        hidden_size=1152 // scale, intermediate_size=4304 // scale, num_hidden_layers=26, num_attention_heads=16,
        image_size=int(384 / scale**0.5), patch_size=14, vision_use_head=False,
    )  # fmt: skip
    text = transformers.Qwen2Config(
        vocab_size=152000, hidden_size=width // scale, intermediate_size=hidden // scale, num_hidden_layers=depth,
        num_attention_heads=heads, num_key_value_heads=keys, max_position_embeddings=131072, eos_token_id=None,
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


LLAVA, QWEN2 = "LlavaOnevisionForConditionalGeneration", "Qwen2VLForConditionalGeneration"
SHAPES: dict[str, tuple[str, Any, Preprocessing]] = {
    "llava-onevision-7b": (LLAVA, lambda: llava(3584, 28, 18944, 28, 4), Preprocessing(384, 384)),
    "qwen2-vl-7b": (
        QWEN2, qwen2_vl_7b, Preprocessing(0, 0, factor=28, min_pixels=128 * 28 * 28, max_pixels=192 * 28 * 28)
    ),
    "llava-onevision-0.5b, quarter": (LLAVA, lambda: llava(896, 24, 4864, 14, 2, 4), Preprocessing(192, 192)),
    "llava-onevision-7b, quarter": (LLAVA, lambda: llava(3584, 28, 18944, 28, 4, 4), Preprocessing(192, 192)),
}  # fmt: skip
ON_CPU = ["small", "llava-onevision-0.5b, quarter", "llava-onevision-7b, quarter"]
ON_CUDA = ["llava-onevision-7b", "qwen2-vl-7b"]


def build(name: str, device: str) -> tuple[Any, Preprocessing]:
    """A model on the device, and how it wants its pictures; bfloat16 on an accelerator."""
    if name == "small":
        small = load(device=device)
        return small.model, small.preprocessing
    cls, config, preprocessing = SHAPES[name]
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with torch.device(device), initialization.no_init_weights():
        model = getattr(transformers, cls)._from_config(config(), dtype=dtype, attn_implementation="sdpa")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(0, 0.02) if weight.dim() > 1 else weight.fill_(0.0 if name.endswith("bias") else 1.0)
    return model.eval(), preprocessing


def grainy_clip(folder: Path) -> Path:
    """A clip with something new in every frame, unlike drawn ones, whose still frames RPM leaves alone: a texture that
    drifts, under grain that is strongest in the middle. 192 frames of 480x272."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (272, 480 + 192, 3), dtype=np.uint8), (0, 0), 3)
    texture = cv2.normalize(texture, None, 40, 215, cv2.NORM_MINMAX)
    rows, columns = np.mgrid[-1:1:272j, -1:1:480j]
    grain = 12 * np.exp(-2 * (rows**2 + columns**2))[..., None] + 1
    frames = np.empty((192, 272, 480, 3), np.uint8)
    for number in range(192):
        noise = grain * rng.standard_normal((272, 480, 1), np.float32)
        frames[number] = np.clip(texture[:, number : number + 480] + noise, 0, 255)
    path = folder / "grainy.mp4"
    write_clip(path, frames, Encoder(crf=20, gop=24, b_frames=0))
    return path


def measure(
    model: Any, preprocessing: Preprocessing, video: Path, frames: int, rounds: int, names: list[str] | None
) -> list[dict[str, Any]]:
    """One row per method."""
    adapter = adapter_for(model)
    reads = []
    for _ in range(rounds + 1):
        meta, rows, inputs, seconds = look(model, adapter, preprocessing, video, frames)
        reads.append(seconds)
    chosen = {name: one for name, one in methods().items() if names is None or name in names}
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for turn in range(rounds + 1):
        for name, strategy in chosen.items():
            row = once(model, adapter, strategy, meta, rows, inputs)
            if turn:
                seen[name].append(row)
    found = []
    for name, turns in seen.items():
        stages = {**medians(reads[1:]), **medians([turn.pop("seconds") for turn in turns])}
        whole = sum(stages[part] for part in ("probe", "metadata", "decode", "preprocess", "generate_to_first_token"))
        peaks = peak_bytes(model, adapter, chosen[name], meta, rows, inputs)
        found.append(
            {"frames": len(rows), "method": name, **turns[-1], **peaks, "seconds": {**stages, "first_token": whole}}
        )
    return found


def look(
    model: Any, adapter: Any, preprocessing: Preprocessing, video: Path, frames: int
) -> tuple[Any, Any, dict[str, torch.Tensor], dict[str, float]]:
    """Metadata, rows, the model's inputs, and what reading and preparing them took."""
    read: dict[str, float] = {}
    meta, rows, pictures = codecmeta.read(video, frames, transform=preprocessing.resize, seconds=read)
    if spare := -len(rows) % adapter.pictures:
        rows, pictures = np.append(rows, [rows[-1]] * spare), [*pictures, *[pictures[-1]] * spare]
    start = time.perf_counter()
    inputs = prepare(model, adapter, preprocessing.normalise(np.stack(pictures)))
    wait(model)
    read["preprocess"] = read.pop("transform") + time.perf_counter() - start
    return meta, rows, inputs, read


def wait(model: Any) -> None:
    """Until the device has done everything that it was asked for."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def medians(turns: list[dict[str, float]]) -> dict[str, float]:
    """By stage."""
    return {name: round(statistics.median(turn[name] for turn in turns), 5) for name in turns[0]}


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


@contextmanager
def projector_timed(model: Any, adapter: Any) -> Any:
    """A list that receives the seconds of every call of the projector."""
    projector, calls, started = adapter.vision[1], [], []

    def before(module: Any, args: Any) -> None:
        wait(model)
        started.append(time.perf_counter())

    def after(module: Any, args: Any, output: Any) -> None:
        wait(model)
        calls.append(time.perf_counter() - started.pop())

    handles = [projector.register_forward_pre_hook(before), projector.register_forward_hook(after)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def once(
    model: Any, adapter: Any, strategy: Strategy, meta: Any, rows: Any, inputs: dict[str, torch.Tensor]
) -> dict[str, Any]:
    """Generate `NEW` tokens and say what that took. Vision is without the projector here."""
    wait(model)
    start = time.perf_counter()
    with projector_timed(model, adapter) as projector, apply(model, strategy, meta, frames=rows) as session:
        model.generate(**inputs, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, eos_token_id=None)
        wait(model)
    end = time.perf_counter()
    first = session.first_token_at or end
    text = TextModel.of(model.config.text_config)
    spent = session.seconds
    return {
        "tokens_full": session.tokens_full,
        "tokens_kept": session.tokens_kept,
        "tokens_llm_mean": round(float(np.mean(session.layer_tokens)), 1),
        "encoder_full": session.encoder_full,
        "encoder_tokens": session.encoder_tokens,
        "kv_bytes": session.kv_bytes,
        "prefill_teraflops": round(prefill_flops(text, [n + PROMPT for n in session.layer_tokens]) / 1e12, 4),
        "seconds": {
            "vision": spent["vision"] - sum(projector),
            "projector": sum(projector),
            "strategy": spent["strategy"],
            "prefill": spent["prefill"],
            "generate_to_first_token": first - start,
            "per_token": (end - first) / (NEW - 1),
        },
    }


@torch.inference_mode()
def peak_bytes(
    model: Any, adapter: Any, strategy: Strategy, meta: Any, rows: Any, inputs: dict[str, torch.Tensor]
) -> dict[str, int]:
    """Most memory in use at once beside the weights: from pixels to the first token, and inside the language model.
    Two runs, as a CPU's record of one takes time."""
    found = {}
    for name, part in (("peak_bytes", model), ("prefill_peak_bytes", adapter.language_model)):
        with PeakMemory(part) as memory, apply(model, strategy, meta, frames=rows):
            model.generate(**inputs, max_new_tokens=1, do_sample=False)
        found[name] = memory.peaks[0]
    return found


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What the methods make of the plain model's seconds: vision (with projector) under RPM, and vision with the
    language model's prompt, the strategy's own work included; and of the memory of the prompt."""
    by = {row["method"]: row for row in rows}
    plain = by["none"]

    def spent(row: dict[str, Any], *stages: str) -> float:
        return sum(row["seconds"][stage] for stage in stages)

    vision, all_ = ("vision", "projector"), ("vision", "projector", "strategy", "prefill")
    found = {}
    for name, row in by.items():
        found[f"{name}: vision, of the plain model's time"] = spent(row, *vision) / spent(plain, *vision)
        found[f"{name}: vision + language model, times faster"] = spent(plain, *all_) / spent(row, *all_)
        found[f"{name}: memory of the prompt, of the plain model's"] = (
            row["prefill_peak_bytes"] / plain["prefill_peak_bytes"]
        )
    return {name: round(value, 3) for name, value in found.items() if not name.startswith("none")}


def main() -> None:
    """Print a table, and write the rows with the command and the machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", type=Path, help="default: one with grain, made for this")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", action="append", dest="models", choices=["small", *SHAPES], help="default: all fit")
    parser.add_argument("--frames", type=int, nargs="+", help="default: 16 on a CPU, else 32 64 128")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--method", action="append", dest="methods", help="only these; default: all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cpu = options.device == "cpu"
    names = options.models or (ON_CPU if cpu else ON_CUDA)
    with tempfile.TemporaryDirectory() as folder:
        run(names, options.video or grainy_clip(Path(folder)), options)


def run(names: list[str], video: Path, options: argparse.Namespace) -> None:
    """Measure model after model and write what there is after each."""
    cpu = options.device == "cpu"
    results = []
    for name in names:
        model, preprocessing = build(name, options.device)
        for frames in options.frames or ([16] if cpu else [32, 64, 128]):
            rows = measure(model, preprocessing, video, frames, options.rounds, options.methods)
            for row in rows:
                stages = "  ".join(f"{stage} {value:.3f}" for stage, value in row["seconds"].items())
                print(
                    f"{name} {frames:4d} {row['method']:30} {row['tokens_kept']:6d} of {row['tokens_full']}  {stages}"
                )
            compared = ratios(rows) if rows[0]["method"] == "none" else {}
            results.append({"model": name, "frames": frames, "ratios": compared, "rows": rows})
            if options.json:  # what is measured is kept, whatever comes next
                options.json.write_text(
                    json.dumps({**environment(options.device), "results": results}, indent=1) + "\n"
                )
        del model
        gc.collect()  # hooks and modules point at each other; the next model needs the room
        if not cpu:
            torch.cuda.empty_cache()


def environment(device: str) -> dict[str, Any]:
    """The command, the machine and the versions."""
    cuda = device.startswith("cuda")
    return {
        "command": f"python -m benchmarks.stages {' '.join(sys.argv[1:])}".strip(),
        "machine": {
            "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {torch.get_num_threads()} threads",
            "processors": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
            "system": platform.platform(),
        },
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


if __name__ == "__main__":
    main()
