"""Asks every question with every setting, and keeps each answer in a file as soon as it is there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codecmeta.compression import Strategy
from codecmeta.errors import CacheError, VideoError
from codecmeta.models.evaluation.answering import Asked, Reply, replies_to
from codecmeta.models.evaluation.chance import as_many, for_video
from codecmeta.models.evaluation.dataset import DatasetRow
from codecmeta.models.evaluation.settings import Setting
from codecmeta.models.video_model import VideoModel


class Answers:
    """Replies by (key of a strategy, line of the dataset), kept in a file if there is one.

    The file's first line says what the answers belong to: anything else than `identity` (dataset, model, frames) is
    refused with ValueError. Then one line per answer. A line torn by a crash, and what stands after it, is dropped.
    """

    def __init__(self, path: Path | None = None, identity: Mapping[str, Any] | None = None) -> None:
        self.replies: dict[tuple[str, int], Reply] = {}
        self._file: Any = None
        if path is None:
            return
        whole = self._load(path, dict(identity or {})) if path.exists() else 0
        self._file = path.open("r+b" if path.exists() else "wb")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write([dict(identity or {})])

    def _load(self, path: Path, identity: dict[str, Any]) -> int:
        """Take over what is there; returns the bytes of its whole lines."""
        whole = 0
        with path.open("rb") as lines:
            for number, line in enumerate(lines):
                if not line.endswith(b"\n"):
                    break
                values = json.loads(line)
                if number == 0 and values != identity:
                    differs = sorted(name for name in {*values, *identity} if values.get(name) != identity.get(name))
                    raise ValueError(
                        f"{path} holds answers of another run ({', '.join(differs)} differ); "
                        "delete it or choose another --out"
                    )
                if number:
                    where = values.pop("key"), values.pop("line")
                    self.replies[where] = Reply(**values)
                whole += len(line)
        return whole

    def add(self, key: str, lines: Sequence[int], replies: Sequence[Reply]) -> None:
        """Keep some answers, in the file before this returns: they outlive this process, whatever ends it."""
        self.replies |= {(key, line): reply for line, reply in zip(lines, replies, strict=True)}
        if self._file:
            self._write([{"key": key, "line": line, **asdict(one)} for line, one in zip(lines, replies, strict=True)])

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file.flush()

    def close(self) -> None:
        """Close the file, and have it on disk."""
        if self._file:
            os.fsync(self._file.fileno())
            self._file.close()


def identity(dataset: Path, model: VideoModel, frames: int | None, max_new_tokens: int) -> dict[str, Any]:
    """What answers belong to: the dataset's bytes, the model's name and weights, and how it is asked."""
    return {
        "dataset_sha256": hashlib.sha256(dataset.read_bytes()).hexdigest(),
        "model": model.name,
        "weights_sha256": _fingerprint(model),
        "frames": frames,
        "max_new_tokens": max_new_tokens,
        "masks": "one per video and seed",
    }


def _fingerprint(model: VideoModel) -> str:
    """Of every parameter its name, its shape and its first 64 numbers: training anew changes all of these numbers."""
    digest = hashlib.sha256()
    for name, weight in model.model.named_parameters():
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def evaluate(
    model: VideoModel,
    rows: Sequence[DatasetRow],
    settings: Sequence[Setting],
    answers: Answers,
    *,
    frames: int | None = None,
    timed: int | None = None,
    max_new_tokens: int = 16,
    chance: Sequence[int] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Ask what is missing in `answers`. Every video is read once, and all settings take their turn on it.

    timed: on so many of the videos the first question shares nothing with the others and its seconds are noted; default
    all. chance: seeds of random choices that are asked too, with as many tokens as each setting had on that video (see
    `codecmeta.models.evaluation.chance`). progress: called with the number of videos done and their total. Raises
    ValueError or VideoError naming the line of the dataset where a video or a method fails; the answers before it are
    kept.
    """
    videos: dict[Path, list[DatasetRow]] = {}
    for row in rows:
        videos.setdefault(row.video, []).append(row)
    strategies = {key: one for setting in settings for key, one in zip(setting.keys, setting.strategies, strict=True)}
    warm = False
    for number, (video, asked) in enumerate(videos.items()):
        left = {
            key: one for key, one in strategies.items() if any((key, row.line) not in answers.replies for row in asked)
        }
        if left or _chance_left(strategies, asked, answers, chance):
            try:
                prompts = [row.prompt for row in asked]
                if not warm:  # compiling and starting count for nobody
                    for strategy in left.values():
                        replies_to(model, Asked(model, model.clip(video, frames), prompts), for_video(strategy, video))
                    warm = True
                ready = Asked(model, model.clip(video, frames), prompts)
                on = timed is None or number < timed
                for key, strategy in left.items():
                    drawn = for_video(strategy, video)
                    replies = replies_to(model, ready, drawn, timed=on, max_new_tokens=max_new_tokens)
                    answers.add(key, [row.line for row in asked], replies)
                for key, strategy in _chance_left(strategies, asked, answers, chance).items():
                    drawn = for_video(strategy, video)
                    replies = replies_to(model, ready, drawn, max_new_tokens=max_new_tokens)
                    answers.add(key, [row.line for row in asked], replies)
            except (VideoError, CacheError, ValueError) as error:
                raise type(error)(f"line {asked[0].line}: {error}") from error
        progress(number + 1, len(videos))


def _chance_left(
    strategies: Mapping[str, Strategy], asked: Sequence[DatasetRow], answers: Answers, seeds: Sequence[int]
) -> dict[str, Strategy]:
    """Chance at as many tokens as each strategy took on one video, where that was answered and chance was not."""
    taken = [
        answers.replies[key, row.line] for key in strategies for row in asked if (key, row.line) in answers.replies
    ]
    every: dict[str, Strategy] = dict(as_many(reply, seed) for reply in taken for seed in seeds)
    return {key: one for key, one in every.items() if any((key, row.line) not in answers.replies for row in asked)}
