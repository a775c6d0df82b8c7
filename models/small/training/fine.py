"""Train the fine model from the built-in one's weights, on a CPU.

    python -m codecmeta.models.small.training.fine --out runs/fine --minutes 90
    python -m codecmeta.models.small.training.fine --out runs/fine --minutes 90 --resume      # goes on

Two processes of one thread each share every step: their gradients are averaged, which is twice as fast here as two
threads of one. The learning rate falls to zero over the last part of the minutes. Writes `state.pt` (to go on from),
`log.jsonl` and `weights/`, the folder that is shipped. Tokens are left out at random alone: nothing here does what a
compared method does, and no signal of a codec is read.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as ranks
import torch.nn.functional as F
from torch import Tensor, multiprocessing, nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from codecmeta.models.small.fine.model import (
    FRAME_TOKENS,
    FRAMES,
    GRID,
    PREPROCESSING,
    SIZE,
    VISUAL_TOKENS,
    build_model,
    build_tokenizer,
)
from codecmeta.models.small.training import forward
from codecmeta.models.small.training.data import FAST_PRESETS, IGNORE, prefix_ids, spelled
from codecmeta.models.small.training.train import save_state
from codecmeta.models.small.world.encoding import draw_encoder, round_trip
from codecmeta.models.small.world.fine import MOMENTS, SIDES, TYPES, draw_questions, make_scene, moment_of, side_of
from codecmeta.models.small.world.scenes import (
    COLOURS,
    DIRECTIONS,
    SHAPES,
    frame_times,
    object_map,
    render,
    sample_indices,
    shrink,
)

HEADS = {
    "shape": 1 + len(SHAPES),
    "colour": 1 + len(COLOURS),
    "direction": len(DIRECTIONS),
    "where": len(SIDES),
    "when": len(MOMENTS),
}
SIZES = ((128, 128), (160, 160), (192, 144))
RANKS = 2
SEEN_MOVING = 4
"""Frames that must have shown an object before its direction is asked of its tokens."""


class Batches(IterableDataset):
    """A rank's part of batches (dicts of tensors) of consecutive training seeds, without end.

    clips: of a step. frames: how many of the 32, in turns. step: the first one."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        clips: int,
        questions: int,
        frames: tuple[int, ...],
        step: int,
        rank: int,
    ) -> None:
        self.tokenizer, self.clips, self.questions, self.frames = tokenizer, clips, questions, frames
        self.step, self.rank = step, rank

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        step = self.step
        while True:
            seeds = range(step * self.clips + self.rank, (step + 1) * self.clips, RANKS)
            frames = self.frames[step % len(self.frames)]
            yield collate([make_sample(seed, self.questions, frames) for seed in seeds], self.tokenizer)
            step += 1


def make_sample(
    seed: int, questions: int, frames: int, *, split: str = "train", encoded: float = 0.35
) -> dict[str, Any]:
    """One clip: pixels uint8 (frames, 128, 128, 3), which of the 32 frames they are, questions, and what is true about
    its tokens: objects int64 (frames, 8, 8), 1 + the object shown most, 0 or less where there is none; owners bool
    (objects, frames, 8, 8); labels int64 (5, frames, 8, 8), the `HEADS`, IGNORE where undecided."""
    scene = make_scene(seed, split=split)
    rng = np.random.default_rng([seed, 1])
    numbers = np.arange(0, FRAMES, FRAMES // frames) + rng.integers(FRAMES // frames, size=frames)
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    through_codec = rng.random() < encoded
    count = int(rng.integers(FRAMES, 49 if through_codec else 129))
    times = frame_times(count)
    picked = sample_indices(count, FRAMES)
    if through_codec:
        film = round_trip(render(scene, times, width=width, height=height), draw_encoder(rng, presets=FAST_PRESETS))
        pixels = shrink(film[picked[numbers]], SIZE)
    else:
        pixels = shrink(render(scene, times[picked[numbers]], width=width, height=height), SIZE)
    times = times[picked]
    seen = object_map(scene, times[numbers], width=SIZE, height=SIZE)
    cells = seen.reshape(frames, GRID, SIZE // GRID, GRID, SIZE // GRID)
    cover = np.stack([(cells == number).mean(axis=(2, 4)) for number in range(1, len(scene.objects) + 1)])
    owners = cover >= 0.12
    shown = np.where(owners.any(0), cover.argmax(0) + 1, np.where(cover.max(0) == 0, 0, IGNORE))
    shapes = np.array([0, *(1 + SHAPES.index(item.shape) for item in scene.objects)])
    colours = np.array([0, *(1 + list(COLOURS).index(item.colour) for item in scene.objects)])
    ways = np.array([IGNORE, *(DIRECTIONS.index(item.direction) for item in scene.objects)])
    sides = np.array([IGNORE, *(_number(SIDES, side_of(*item.start)) for item in scene.objects)])
    moments = np.array([IGNORE, *(_number(list(MOMENTS), moment_of(item.appears)) for item in scene.objects)])
    visible = np.stack([np.zeros(FRAMES, bool), *(item.visible(times) for item in scene.objects)], axis=1)
    before = visible.cumsum(axis=0)[numbers]
    known = np.maximum(shown, 0)
    moved = np.take_along_axis(before, known.reshape(frames, -1), axis=1).reshape(shown.shape) >= SEEN_MOVING
    labels = np.stack(
        [
            np.where(shown == IGNORE, IGNORE, shapes[known]),
            np.where(shown == IGNORE, IGNORE, colours[known]),
            np.where(moved & (shown > 0), ways[known], IGNORE),
            np.where(shown > 0, sides[known], IGNORE),
            np.where(shown > 0, moments[known], IGNORE),
        ]
    )
    asked = draw_questions(scene, rng, questions)
    return {
        "pixels": pixels, "frames": numbers, "questions": asked, "owners": owners, "objects": shown, "labels": labels
    }  # fmt: skip


def _number(words: Sequence[str], word: str | None) -> int:
    return IGNORE if word is None else words.index(word)


def collate(samples: list[dict[str, Any]], tokenizer: PreTrainedTokenizerFast) -> dict[str, Tensor]:
    """Samples into tensors, named as those of `data.collate`."""
    asked = [sample["questions"] for sample in samples]
    types = [[TYPES.index(question.type) for question in questions] for questions in asked]
    found = spelled(asked, [sample["owners"] for sample in samples], tokenizer)
    stacked = {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in ("pixels", "frames")}
    return {
        **found,
        **stacked,
        "objects": torch.from_numpy(np.stack([sample["objects"] for sample in samples])).long(),
        "labels": torch.from_numpy(np.stack([sample["labels"] for sample in samples], axis=1)).long(),
        "barred": torch.full_like(found["answers"], -1),
        "types": torch.tensor(types),
    }


class ReadOuts(nn.Module):
    """What a visual token shows, read linearly; exists in training only."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(size, count) for count in HEADS.values()])

    def loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Summed cross entropy; background is frequent and easy, and weighs a twentieth."""
        total = hidden.new_zeros(())
        for name, head, target in zip(HEADS, self.heads, labels, strict=True):
            flat = target.flatten()
            loss = F.cross_entropy(head(hidden).flatten(0, -2), flat, ignore_index=IGNORE, reduction="none")
            weight = (flat != IGNORE) * torch.where((flat == 0) & (name in ("shape", "colour")), 0.05, 1.0)
            total = total + (loss * weight).sum() / weight.sum().clamp(min=1)
        return total


def losses(
    model: LlavaOnevisionForConditionalGeneration,
    read_outs: ReadOuts,
    batch: dict[str, Tensor],
    prefix: Tensor,
    keep: float,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], Tensor]:
    """Losses by name, and which answers are right; `keep`: share of the visual tokens that stay, chosen at random."""
    patches = forward.encode(model, forward.normalise(batch["pixels"]), None)
    visual = forward.project(model, patches, clips=len(batch["text"]))
    count = max(FRAME_TOKENS, round(keep * visual.shape[1]))
    draw = torch.rand(visual.shape[:2], generator=generator)
    kept = draw.topk(count, dim=1).indices.sort(dim=1).values
    places = (batch["frames"][:, :, None] * FRAME_TOKENS + torch.arange(FRAME_TOKENS)).flatten(1).gather(1, kept)
    visual = visual.gather(1, kept[..., None].expand(-1, -1, visual.shape[-1]))
    hidden, seeing, naming, tracking = forward.language_model(
        model, visual, places, False, batch, prefix, {}, VISUAL_TOKENS
    )
    answer, right = forward.answer_loss(model, hidden, batch)
    labels = batch["labels"].flatten(2).gather(2, kept.expand(len(HEADS), -1, -1))
    objects = batch["objects"].flatten(1).gather(1, kept)
    return {
        "answer": answer,
        "token": read_outs.loss(seeing, labels),
        "naming": forward.naming_loss(naming, batch, kept),
        "tracking": forward.tracking_loss(tracking, objects, kept // FRAME_TOKENS),
    }, right


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--decay", type=float, default=0.4, help="share of the minutes in which the rate falls to zero")
    parser.add_argument("--rate", type=float, default=6e-4, help="learning rate before it falls")
    parser.add_argument("--clips", type=int, default=8, help="clips per step")
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 16, 16, 32], help="of the clip's 32, in turns")
    parser.add_argument("--questions", type=int, default=14, help="questions per clip")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.pt")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(train, (options, f"file://{folder}/meeting"), nprocs=RANKS)


def train(rank: int, options: argparse.Namespace, meeting: str) -> None:
    """Train for so many minutes; the first rank writes checkpoints and a log into `options.out`."""
    torch.set_num_threads(1)
    ranks.init_process_group("gloo", init_method=meeting, rank=rank, world_size=RANKS)
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    read_outs = ReadOuts(model.config.text_config.hidden_size)
    trained = forward.parameters((model, read_outs))
    groups = [([value for value in trained if (value.ndim >= 2) == wide], 0.05 * wide) for wide in (True, False)]
    optimizer = torch.optim.AdamW(
        [{"params": values, "weight_decay": decay} for values, decay in groups], betas=(0.9, 0.98), fused=True
    )
    parts: dict[str, Any] = {"model": model, "read_outs": read_outs, "optimizer": optimizer}
    step = 0
    if options.resume:
        state = torch.load(options.out / "state.pt", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        step = state["step"]
    data = Batches(tokenizer, options.clips, options.questions, tuple(options.frames), step, rank)
    loader = DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=8, multiprocessing_context="spawn")
    prefix = torch.tensor(prefix_ids(tokenizer))
    log = Log(options.out / "log.jsonl", {name: str(value) for name, value in vars(options).items()}, rank)
    begin, first = time.time(), step
    for batch in loader:
        generator = torch.Generator().manual_seed(step)
        draw = torch.rand(2, generator=generator).tolist()
        keep = 1.0 if draw[0] < 0.35 else 0.1 + 0.9 * draw[1]
        found, right = losses(model, read_outs, batch, prefix, keep, generator.manual_seed(RANKS * step + rank))
        optimizer.zero_grad(set_to_none=True)
        total = found["answer"] + 0.3 * (found["token"] + found["naming"] + found["tracking"])
        total.backward()
        done = averaged(trained, (time.time() - begin) / 60 / options.minutes)
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1, (step - first + 1) / 40) * min(1, max(0, (1 - done) / options.decay))
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step += 1
        if rank == 0:
            log.add(step, found, batch, right, keep)
            if step % 50 == 0 or done >= 1:
                save_state({name: part.state_dict() for name, part in parts.items()} | {"step": step}, options.out)
                export(model, tokenizer, options.out / "weights")
        if done >= 1:
            break


def averaged(trained: list[nn.Parameter], done: float) -> float:
    """Average gradients over the ranks in place, and the share of the time that is over, so that all agree on it."""
    gradients = [value.grad for value in trained if value.grad is not None]
    flat = torch.cat([value.flatten() for value in gradients] + [torch.tensor([done])]) / RANKS
    ranks.all_reduce(flat)
    at = 0
    for value in gradients:
        value.copy_(flat[at : at + value.numel()].view_as(value))
        at += value.numel()
    return float(flat[-1])


def export(model: LlavaOnevisionForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the folder that `from_pretrained` reads: bfloat16 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = LlavaOnevisionForConditionalGeneration(model.config)
    copy.generation_config = model.generation_config
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING, indent=2) + "\n")


class Log:
    """One JSON line per 20 steps of the first rank's half: losses, and the share of right answers per type where half
    of the tokens stayed."""

    def __init__(self, path: Path, options: dict[str, str], rank: int, every: int = 20) -> None:
        self.path, self.every = path, every
        if rank == 0:
            self._write({"options": options})
        self._clear()

    def add(self, step: int, found: dict[str, Tensor], batch: dict[str, Tensor], right: Tensor, keep: float) -> None:
        """Count one step."""
        self.clips += len(right)
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach()) / self.every
        if keep >= 0.5:
            for number in range(len(TYPES)):
                chosen = batch["types"] == number
                self.right[number] += int(right[chosen].sum())
                self.asked[number] += int(chosen.sum())
        if step % self.every == 0:
            line: dict[str, Any] = {name: round(value, 3) for name, value in self.sums.items()}
            line["all"] = round(sum(self.right) / max(sum(self.asked), 1), 3)
            line |= {kind: round(a / max(b, 1), 3) for kind, a, b in zip(TYPES, self.right, self.asked, strict=True)}
            speed = round(RANKS * self.clips / (time.time() - self.begin), 2)
            self._write({"step": step, **line, "clips_per_second": speed, "time": time.strftime("%H:%M:%S")})
            self._clear()

    def _clear(self) -> None:
        self.begin, self.clips = time.time(), 0
        self.sums: dict[str, float] = {}
        self.right, self.asked = [0] * len(TYPES), [0] * len(TYPES)

    def _write(self, line: dict[str, object]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
