"""Budgets at which methods really keep the share of tokens that is asked for, found on a split of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from codecmeta.compression import Strategy
from codecmeta.models.evaluation.answering import Asked, replies_to
from codecmeta.models.evaluation.chance import for_video
from codecmeta.models.evaluation.dataset import DatasetRow
from codecmeta.models.evaluation.settings import Setting
from codecmeta.models.text_image import TextImage
from codecmeta.models.video_model import VideoModel
from codecmeta.record.selection import Policy

STEPS = 8


class Split:
    """The videos of a dataset, read once, with one question each."""

    def __init__(
        self,
        model: VideoModel,
        rows: Sequence[DatasetRow],
        frames: int | None = None,
        choose: Policy = "uniform",
        text_model: TextImage | None = None,
    ) -> None:
        first: dict[Path, DatasetRow] = {}
        for row in rows:
            first.setdefault(row.video, row)
        self.model = model
        self.asked = {
            video: Asked(
                model,
                model.clip(video, frames, choose=choose, question=row.question, text_model=text_model),
                [row.prompt],
            )
            for video, row in first.items()
        }

    def share(self, strategy: Strategy) -> float:
        """Visual tokens per layer that a strategy leaves, as a share of the plain model's, over all videos."""
        replies = [
            replies_to(self.model, asked, for_video(strategy, video), max_new_tokens=1)[0]
            for video, asked in self.asked.items()
        ]
        return float(np.sum([one.tokens_llm_mean for one in replies]) / np.sum([one.tokens_full for one in replies]))


def match_tokens(split: Split, setting: Setting, share: float, steps: int = STEPS) -> Setting:
    """The setting with the largest budget that leaves at most `share` of the tokens on the split, by bisection.

    Where more budget always leaves more tokens the result is that budget to within 2 ** -steps. Raises ValueError for
    methods without a budget, for a share that the smallest budget tried exceeds, and for budgets that a method refuses.
    """
    if "budget" not in {field.name for field in fields(setting.strategies[0])}:
        raise ValueError(f"{setting.label!r} has no budget to match: how many tokens it keeps is an outcome")

    def at(budget: float) -> Setting:
        made = tuple(replace(one, budget=budget) for one in setting.strategies)  # type: ignore[call-arg]
        return Setting(setting.label, budget, made)

    if split.share(at(1.0).strategies[0]) <= share:
        return at(1.0)
    low, high, lowest = 0.0, 1.0, 0.5**steps
    for _ in range(steps):
        middle = (low + high) / 2
        fits = split.share(at(middle).strategies[0]) <= share
        low, high = (middle, high) if fits else (low, middle)
    if low < lowest:
        raise ValueError(f"{setting.label!r} leaves more than {share:.1%} of the tokens at any budget")
    return at(low)
