"""Chance with as many tokens as a method kept: what a comparison at unequal budgets leaves open.

Methods realise other numbers of tokens than they are asked for. Beside every one of them stands a random choice, before
the model, of exactly as many tokens as it had on average over the layers of that video, with masks drawn per video.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression import RandomKeep, Strategy
from codecmeta.models.evaluation.answering import Reply
from codecmeta.models.evaluation.dataset import DatasetRow


def for_video(strategy: Strategy, video: Path) -> Strategy:
    """A strategy that draws by chance, with a seed of its own for this video's file name: one mask for all videos would
    be one draw, however many questions are asked."""
    seed = getattr(strategy, "seed", None)
    if seed is None:
        return strategy
    return replace(strategy, seed=zlib.crc32(f"{seed} {video.name}".encode()))  # type: ignore[call-arg]


def as_many(reply: Reply, seed: int) -> tuple[str, RandomKeep]:
    """Chance with as many tokens as a reply took: its name in a file of answers, and the strategy."""
    count = max(1, round(reply.tokens_llm_mean))
    return f"chance ={count} #{seed}", RandomKeep(budget=min(1.0, count / reply.tokens_full), seed=seed)


def right_by_chance(
    rows: Sequence[DatasetRow], key: str, replies: Mapping[tuple[str, str], Reply], seeds: Sequence[int]
) -> NDArray[np.float64]:
    """float64 (questions,): how often chance was right at as many tokens as the strategy `key` took, over the seeds."""
    right = np.zeros((len(seeds), len(rows)))
    for i, seed in enumerate(seeds):
        for j, row in enumerate(rows):
            said = replies[as_many(replies[key, row.id], seed)[0], row.id].text
            right[i, j] = row.parse(said) == row.answer
    return right.mean(axis=0)
