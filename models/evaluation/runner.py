"""Asks every question with every setting, and keeps each answer in a file as soon as it is there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from codecmeta.compression import Metok, Strategy
from codecmeta.errors import CacheError, VideoError
from codecmeta.models.evaluation.answering import Asked, Reply, replies_by_scores, replies_to
from codecmeta.models.evaluation.chance import as_many, for_video
from codecmeta.models.evaluation.dataset import BadRow, DatasetRow
from codecmeta.models.evaluation.settings import Setting
from codecmeta.models.text_image import TextImage
from codecmeta.models.video_model import VideoModel
from codecmeta.record.selection import Policy


class Answers:
    """Replies by (key of a strategy, `DatasetRow.id`), kept in a file if there is one.

    The file's first line says how was asked: anything else than `identity` (model, frames) is refused with ValueError.
    Then one line per answer, which belongs to its video, question and settings: rows of a dataset may come and go. A
    line torn by a crash, and what stands after it, is dropped.
    """

    def __init__(self, path: Path | None = None, identity: Mapping[str, Any] | None = None) -> None:
        self.replies: dict[tuple[str, str], Reply] = {}
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
                if number == 0:
                    values = {"choose": "uniform", **values}  # of files that are older than the choice
                    identity = {"choose": "uniform", **identity}
                if number == 0 and values != identity:
                    differs = sorted(name for name in {*values, *identity} if values.get(name) != identity.get(name))
                    raise ValueError(
                        f"{path} holds answers of another run ({', '.join(differs)} differ); "
                        "delete it or choose another --out"
                    )
                if number:
                    where = values.pop("key"), values.pop("id")
                    values.pop("video"), values.pop("question")  # for people
                    self.replies[where] = Reply(**values)
                whole += len(line)
        return whole

    def add(self, key: str, rows: Sequence[DatasetRow], replies: Sequence[Reply]) -> None:
        """Keep some answers, in the file before this returns: they outlive this process, whatever ends it."""
        pairs = list(zip(rows, replies, strict=True))
        self.replies |= {(key, row.id): reply for row, reply in pairs}
        if self._file:
            named = [{"key": key, "id": row.id, "video": row.video.name, "question": row.question} for row in rows]
            self._write([{**name, **asdict(one)} for name, (_, one) in zip(named, pairs, strict=True)])

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file.flush()

    def close(self) -> None:
        """Close the file, and have it on disk."""
        if self._file:
            os.fsync(self._file.fileno())
            self._file.close()


def identity(
    model: VideoModel,
    frames: int | None,
    max_new_tokens: int,
    choose: Policy = "uniform",
    text_model: TextImage | None = None,
) -> dict[str, Any]:
    """What all answers of a file have in common: the model's name and weights, which frames it is shown, how it is
    asked."""
    return {
        "model": model.name,
        "weights_sha256": _fingerprint(model),
        "frames": frames,
        "choose": choose,
        **({} if text_model is None else {"text_model": text_model.name}),
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
    choose: Policy = "uniform",
    text_model: TextImage | None = None,
    timed: int | None = None,
    max_new_tokens: int = 16,
    chance: Sequence[int] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[BadRow]:
    """Ask what is missing in `answers`. Every video is read once, and all settings take their turn on it. Returns the
    rows without answers: a video that cannot be read, or that a method cannot do, costs its own rows alone.

    frames, choose, text_model: which frames are shown, as in `VideoModel.ask`; with "query" every question sees its
    own. METok is told how well each of them fits the question, as published, where there is a text_model. timed: on so
    many of the videos the first question shares nothing with the others and its seconds are noted; default all. chance:
    seeds of random choices that are asked too, with as many tokens as each setting had on that video (see
    `codecmeta.models.evaluation.chance`). progress: called with the number of videos done and their total.
    Raises ValueError where not one row is left.
    """
    bad: list[BadRow] = []
    videos: dict[Path, list[DatasetRow]] = {}
    for row in rows:
        videos.setdefault(row.video, []).append(row)
    strategies = {key: one for setting in settings for key, one in zip(setting.keys, setting.strategies, strict=True)}
    warm = False
    for number, (video, asked) in enumerate(videos.items()):
        left = {
            key: one for key, one in strategies.items() if any((key, row.id) not in answers.replies for row in asked)
        }
        if left or _chance_left(strategies, asked, answers, chance):
            try:
                for together in [asked] if choose != "query" else [[row] for row in asked]:
                    read = partial(_read, model, together, frames, choose, text_model)
                    if not warm:  # compiling and starting count for nobody
                        for strategy in left.values():
                            _replies(model, read(), for_video(strategy, video), together, text_model)
                        warm = True
                    ready = read()
                    on = timed is None or number < timed
                    for key, strategy in left.items():
                        drawn = for_video(strategy, video)
                        how: dict[str, Any] = {"timed": on, "max_new_tokens": max_new_tokens}
                        answers.add(key, together, _replies(model, ready, drawn, together, text_model, **how))
                    for key, strategy in _chance_left(strategies, together, answers, chance).items():
                        drawn = for_video(strategy, video)
                        replies = replies_to(model, ready, drawn, max_new_tokens=max_new_tokens)
                        answers.add(key, together, replies)
            except (VideoError, CacheError, ValueError) as error:
                bad += [BadRow(row.line, str(video), " ".join(str(error).split())) for row in asked]
        progress(number + 1, len(videos))
    if len(bad) == len(rows):
        raise ValueError(f"not one question could be asked; line {bad[0].line}: {bad[0].reason}")
    return bad


def _replies(
    model: VideoModel,
    asked: Asked,
    strategy: Strategy,
    rows: Sequence[DatasetRow],
    text_model: TextImage | None,
    **how: Any,
) -> list[Reply]:
    if text_model is None or not isinstance(strategy, Metok):
        return replies_to(model, asked, strategy, **how)
    return replies_by_scores(model, asked, strategy, [row.question for row in rows], text_model, **how)


def _read(
    model: VideoModel,
    together: Sequence[DatasetRow],
    frames: int | None,
    choose: Policy,
    text_model: TextImage | None,
) -> Asked:
    """Questions about one video, with the frames that all of them are shown."""
    clip = model.clip(together[0].video, frames, choose=choose, question=together[0].question, text_model=text_model)
    return Asked(model, clip, [row.prompt for row in together], [row.written for row in together])


def _chance_left(
    strategies: Mapping[str, Strategy], asked: Sequence[DatasetRow], answers: Answers, seeds: Sequence[int]
) -> dict[str, Strategy]:
    """Chance at as many tokens as each strategy took on one video, where that was answered and chance was not."""
    taken = [answers.replies[key, row.id] for key in strategies for row in asked if (key, row.id) in answers.replies]
    every: dict[str, Strategy] = dict(as_many(reply, seed) for reply in taken for seed in seeds)
    return {key: one for key, one in every.items() if any((key, row.id) not in answers.replies for row in asked)}
