"""Means over questions, and how far chance may have moved them. Questions about one video are not independent, so
whole videos are drawn again (cluster bootstrap)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Bootstrap:
    """95 % intervals of means over questions, clustered by video.

    clusters: int (questions,), the video of each question, numbered from 0. draws: how often all videos are drawn anew,
    with replacement; the same draws serve every mean, so comparisons are paired. seed: of the draws.
    """

    def __init__(self, clusters: ArrayLike, draws: int = 5000, seed: int = 0) -> None:
        self.clusters = np.asarray(clusters, np.int64)
        self.count = int(self.clusters.max()) + 1
        rng = np.random.default_rng(seed)
        self.weights = rng.multinomial(self.count, np.full(self.count, 1 / self.count), size=draws).astype(np.float32)

    def interval(self, values: ArrayLike, where: ArrayLike | None = None) -> tuple[float, float, float]:
        """(mean, lower, upper) of values (questions,), of those questions where `where` is True. NaN for none."""
        numbers = np.asarray(values, np.float64)
        chosen = np.ones(len(numbers), bool) if where is None else np.asarray(where, bool)
        if not chosen.any():
            return float("nan"), float("nan"), float("nan")
        sums, counts = self._per_video(np.where(chosen, numbers, 0.0)), self._per_video(chosen.astype(np.float64))
        drawn = self.weights @ counts
        means = (self.weights @ sums)[drawn > 0] / drawn[drawn > 0]
        low, high = np.percentile(means, (2.5, 97.5))
        return float(numbers[chosen].mean()), float(low), float(high)

    def _per_video(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(self.clusters, weights=values, minlength=self.count).astype(np.float64)
