"""Train the built-in model from nothing, on a CPU.

    python -m codecmeta.models.small.training.train --out runs/small --stage 0 --steps 500
    python -m codecmeta.models.small.training.train --out runs/small --stage 1 --steps 1100 --resume
    python -m codecmeta.models.small.training.train --out runs/small --stage 2 --steps 1800 --decay 400 --resume

Writes `state.pt` (to resume from), `log.jsonl` and `weights/`, the folder that is shipped. See MODEL_CARD.md for the
commands that made the shipped weights.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from codecmeta.models.small.model import PREPROCESSOR, build_model
from codecmeta.models.small.tokenizer import build_tokenizer
from codecmeta.models.small.training.data import Batches, prefix_ids
from codecmeta.models.small.training.forward import Auxiliary, Losses, losses, parameters, vision_losses
from codecmeta.models.small.training.thinning import draw_choosy_thinning, draw_thinning
from codecmeta.models.small.world.questions import TYPES


@dataclass(frozen=True)
class Stage:
    """What one part of the training shows.

    Attributes:
        clips: clips per step.
        frames: frames fed of the clip's 16, in turns; the others are left out, positions stay.
        encoded: share of clips whose pixels went through H.264.
        thinned: share of batches with random token dropping or merging.
        choosy: drop and merge by what is shown, inside the language model too.
        vision_only: train the vision tower on labels of its patches, without the language model.
    """

    clips: int
    frames: tuple[int, ...]
    encoded: float
    thinned: float
    choosy: bool = False
    vision_only: bool = False


STAGES: dict[int, Stage] = {
    # Shapes and colours first, from single frames: cheap, and nothing else can be learnt before.
    0: Stage(clips=128, frames=(2,), encoded=0.0, thinned=0.0, vision_only=True),
    # Half the tokens, twice the clips per minute: learn to bind words to objects.
    1: Stage(clips=16, frames=(8,), encoded=0.0, thinned=0.0),
    # What inference will see.
    2: Stage(clips=16, frames=(16, 8), encoded=0.35, thinned=0.4),
    # What methods make of it.
    3: Stage(clips=16, frames=(16, 8), encoded=0.35, thinned=0.75, choosy=True),
}


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--stage", type=int, choices=sorted(STAGES), required=True)
    parser.add_argument("--steps", type=int, required=True, help="train until this step, counted over all stages")
    parser.add_argument("--decay", type=int, default=0, help="lower the learning rate to zero over the last N steps")
    parser.add_argument("--stop", type=int, help="end at this step, although the learning rate's schedule goes on")
    parser.add_argument("--rate", type=float, default=1.2e-3, help="learning rate before the decay")
    parser.add_argument("--warm", type=int, default=100, help="raise the learning rate over the first N steps")
    parser.add_argument("--place-weight", type=float, default=0.5, help="of the losses on where objects are")
    parser.add_argument("--tracking-weight", type=float, default=0.3, help="of the loss on finding objects again")
    parser.add_argument("--nameless", type=float, default=0.3, help="share of objects in colours without a name")
    parser.add_argument("--late", action="store_true", help="every fourth clip has objects that appear one by one")
    parser.add_argument("--questions", type=int, default=8, help="questions per clip")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of the token thinning")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=100, help="steps from checkpoint to checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.pt")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments)


def train(options: argparse.Namespace) -> None:
    """Run one stage, writing checkpoints and a log into `options.out`."""
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    auxiliary = Auxiliary(model.config.vision_config.hidden_size, model.config.text_config.hidden_size)
    trained = parameters((model, auxiliary))
    optimizer = torch.optim.AdamW(
        [
            {"params": [value for value in trained if value.ndim >= 2], "weight_decay": 0.05},
            {"params": [value for value in trained if value.ndim < 2], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
        fused=True,
    )
    step = seen = 0
    if options.resume:
        state = torch.load(options.out / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        auxiliary.load_state_dict(state["auxiliary"])
        optimizer.load_state_dict(state["optimizer"])
        step, seen = state["step"], state["seen"]
    begin = step
    last = options.stop or options.steps
    stage = STAGES[options.stage]
    data = Batches(
        tokenizer,
        clips=stage.clips,
        questions=options.questions,
        frames=stage.frames,
        encoded=stage.encoded,
        nameless=options.nameless,
        late=options.late,
        first_seed=seen,
        steps=last - step,
    )
    loader = DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=8, multiprocessing_context="spawn")
    prefix = torch.tensor(prefix_ids(tokenizer))
    log = Log(options.out / "log.jsonl", options, stage)
    for batch in loader:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, begin, options)
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        thinned = torch.rand((), generator=generator).item() < stage.thinned
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if stage.vision_only:
                result = vision_losses(model, auxiliary, batch)
            else:
                draw = draw_choosy_thinning if stage.choosy else draw_thinning
                thinning = draw(generator) if thinned else None
                result = losses(model, auxiliary, batch, prefix, thinning)
        optimizer.zero_grad(set_to_none=True)
        result.total(options.place_weight, options.tracking_weight).backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step, seen = step + 1, seen + stage.clips
        log.add(step, result, batch, float(norm), thinned)
        if step % options.save_every == 0 or step == last:
            state = {"model": model, "auxiliary": auxiliary, "optimizer": optimizer}
            save_state(
                {name: value.state_dict() for name, value in state.items()} | {"step": step, "seen": seen}, options.out
            )
            export(model, tokenizer, options.out / "weights")


def learning_rate(step: int, begin: int, options: argparse.Namespace) -> float:
    """Warm up from step `begin`, stay, and fall linearly to zero over the last `--decay` steps."""
    warm = min(1.0, (step - begin + 1) / options.warm)
    left = min(1.0, (options.steps - step) / options.decay) if options.decay else 1.0
    return options.rate * warm * left


def export(model: LlavaOnevisionForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the folder that `from_pretrained` reads: bfloat16 weights without the auxiliary read-outs."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = build_model(tokenizer)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n")


def save_state(state: dict, folder: Path) -> None:
    """Write the checkpoint under a temporary name first, so that a killed run leaves a whole one."""
    draft = folder / "state.pt.part"
    torch.save(state, draft)
    os.replace(draft, folder / "state.pt")


class Log:
    """One JSON line per 20 steps: losses, share of right answers per question type, clips per second."""

    def __init__(self, path: Path, options: argparse.Namespace, stage: Stage, every: int = 20) -> None:
        self.path, self.every = path, every
        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
        self._write({"options": settings, "stage": asdict(stage), "threads": torch.get_num_threads()})
        self._clear()

    def add(self, step: int, result: Losses, batch: dict[str, torch.Tensor], norm: float, thinned: bool) -> None:
        """Count one step."""
        self.steps += 1
        self.clips += len(batch["text"])
        for name in self.sums:
            self.sums[name] += norm if name == "norm" else float(getattr(result, name).detach())
        if not thinned:
            for number in range(len(TYPES)):
                chosen = batch["types"] == number
                self.right[number] += int(result.correct[chosen].sum())
                self.asked[number] += int(chosen.sum())
        if step % self.every == 0:
            line = {name: round(value / self.steps, 4) for name, value in self.sums.items()}
            accuracy = {kind: round(a / max(b, 1), 3) for kind, a, b in zip(TYPES, self.right, self.asked, strict=True)}
            seconds = time.time() - self.begin
            speed = round(self.clips / seconds, 1)
            self._write(
                {"step": step, **line, **accuracy, "clips_per_second": speed, "time": time.strftime("%H:%M:%S")}
            )
            self._clear()

    def _clear(self) -> None:
        self.begin, self.steps, self.clips = time.time(), 0, 0
        self.sums = dict.fromkeys(("answer", "patch", "token", "naming", "place", "tracking", "norm"), 0.0)
        self.right, self.asked = [0] * len(TYPES), [0] * len(TYPES)

    def _write(self, line: dict[str, object]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
