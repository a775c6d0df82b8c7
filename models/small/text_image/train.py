"""Train the built-in text-image model, on a CPU.

    python -m codecmeta.models.small.text_image.train --out runs/text_image --steps 1600 --decay 600

Every step shows pictures of new scenes, some through an in-memory H.264 encode, and new texts; which text fits which
picture is known of every pair, so SigLIP's sigmoid loss gets the truth in place of the pairing that it is made for.
The vision tower starts from that of the built-in video model, all else from nothing. Writes `state.pt` (to resume
from), `log.jsonl` and `weights/`, the folder that is shipped.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize
from transformers import PreTrainedTokenizerFast, SiglipModel

from codecmeta.compression.engine.transformers_names import IDS, pooled
from codecmeta.models.loading import load
from codecmeta.models.small.model import SIZE
from codecmeta.models.small.text_image.model import PREPROCESSOR, TEXT_LENGTH, build_text_image
from codecmeta.models.small.text_image.texts import draw_text, shown_objects
from codecmeta.models.small.tokenizer import build_tokenizer
from codecmeta.models.small.training.data import FAST_PRESETS, SIZES
from codecmeta.models.small.training.train import learning_rate, save_state
from codecmeta.models.small.world.encoding import draw_encoder, round_trip
from codecmeta.models.small.world.scenes import make_scene, render, shrink

FIRST_SEED = 10_000_000
"""Of the scenes: the video model's training, whose tower this one starts from, used lower ones."""


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--steps", type=int, required=True, help="train until this step")
    parser.add_argument("--decay", type=int, default=0, help="lower the learning rate to zero over the last N steps")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate; the vision tower has a third of it")
    parser.add_argument("--warm", type=int, default=50, help="raise the learning rate over the first N steps")
    parser.add_argument("--scenes", type=int, default=32, help="scenes per step")
    parser.add_argument("--pictures", type=int, default=3, help="pictures per scene")
    parser.add_argument("--texts", type=int, default=96, help="texts per step")
    parser.add_argument("--encoded", type=float, default=0.3, help="share of scenes that go through H.264")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-every", type=int, default=50, help="steps from checkpoint to checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.pt")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options)


def train(options: argparse.Namespace) -> None:
    """Run it, writing checkpoints and a log into `options.out`."""
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    tokenizer = build_tokenizer()
    model = build_text_image(tokenizer)
    start_from_the_video_model(model)
    tower = [value for name, value in model.vision_model.named_parameters() if not name.startswith("head.")]
    known = {id(value) for value in tower}
    others = [value for value in model.parameters() if id(value) not in known]
    optimizer = torch.optim.AdamW([{"params": tower}, {"params": others}], betas=(0.9, 0.98), weight_decay=0.02)
    step = 0
    if options.resume:
        state = torch.load(options.out / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    begin, last, sums = step, time.time(), np.zeros(3)
    while step < options.steps:
        pixels, ids, fits = batch(step, options, tokenizer)
        rate = learning_rate(step, begin, options)
        for group, share in zip(optimizer.param_groups, (1 / 3, 1), strict=True):
            group["lr"] = share * rate
        logits = scores(model, pixels, ids)
        loss = binary_cross_entropy_with_logits(logits, fits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        sums += (loss.item(), ((logits > 0) == (fits > 0.5)).float().mean().item(), fits.mean().item())
        if step % 20 == 0:
            line = dict(zip(("loss", "right", "positive"), (sums / 20).round(4).tolist(), strict=True))
            line = {"step": step, **line, "seconds": round(time.time() - last, 1)}
            with (options.out / "log.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            last, sums = time.time(), np.zeros(3)
        if step % options.save_every == 0 or step == options.steps:
            save_state({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, options.out)
            export(model, tokenizer, options.out / "weights")


def start_from_the_video_model(model: SiglipModel) -> None:
    """Copy the built-in video model's vision tower; SigLIP's pooling head, which it does not have, stays random."""
    prefix = "model.vision_tower."
    whole = load().model.state_dict()
    state = {name.removeprefix(prefix): value for name, value in whole.items() if name.startswith(prefix)}
    missing, unexpected = model.vision_model.load_state_dict(state, strict=False)
    if unexpected or not all(name.startswith("head.") for name in missing):
        raise RuntimeError(f"the vision towers differ: missing {missing}, unexpected {unexpected}")


def scores(model: SiglipModel, pixels: Tensor, ids: Tensor) -> Tensor:
    """float32 (pictures, texts): SigLIP's logits."""
    pictures = normalize(pooled(model.get_image_features(pixels)), dim=-1)
    texts = normalize(pooled(model.get_text_features(ids)), dim=-1)
    return pictures @ texts.T * model.logit_scale.exp() + model.logit_bias


def batch(step: int, options: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels float32 (pictures, 3, 64, 64), ids int64 (texts, 24), and float32 (pictures, texts): 1 where they fit."""
    seeds = range(FIRST_SEED + step * options.scenes, FIRST_SEED + (step + 1) * options.scenes)
    made = [pictures_of(seed, options.pictures, options.encoded) for seed in seeds]
    pixels = torch.from_numpy(np.concatenate([pictures for pictures, _ in made]))
    shown = np.concatenate([objects for _, objects in made])
    rng = np.random.default_rng([step, 5])
    texts = [draw_text(rng) for _ in range(options.texts)]
    fits = torch.from_numpy(np.stack([text.fits(shown) for text in texts], axis=1).astype(np.float32))
    ids = padded([text.text for text in texts], tokenizer)
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, ids, fits


def pictures_of(seed: int, count: int, encoded: float) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of one training scene at random times, uint8 (count, 64, 64, 3), and what they show: `shown_objects`.

    One scene in twelve has nothing but its background.
    """
    scene = make_scene(seed, nameless=0.2)
    rng = np.random.default_rng([seed, 4])
    if rng.random() < 1 / 12:
        scene = replace(scene, objects=())
    times = np.sort(rng.random(count))
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    frames = render(scene, times, width=width, height=height)
    if rng.random() < encoded:
        frames = round_trip(frames, draw_encoder(rng, presets=FAST_PRESETS))
    return shrink(frames, SIZE), shown_objects(scene, times)


def padded(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """int64 (texts, 24): token numbers, padded to the full length as SigLIP's are."""
    ids = [tokenizer(text)[IDS] for text in texts]
    return torch.tensor([one + [tokenizer.pad_token_id] * (TEXT_LENGTH - len(one)) for one in ids])


def export(model: SiglipModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the folder that `from_pretrained` reads, in bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = build_text_image(tokenizer)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.chat_template = None  # of a model that talks
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n")


if __name__ == "__main__":
    main()
