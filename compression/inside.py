"""What a method may do inside a language model, layer by layer, while the prompt passes through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from codecmeta.compression.plan import Reduced

if TYPE_CHECKING:
    from torch import Tensor

Queries = int | str
"""Which prompt tokens' attention counts: that many last ones, or "text", all after the video."""


class Inside(ABC):
    """What a method does inside the language model.

    watch: layers whose attention it needs. cuts: layers at whose entry it takes tokens out, at least 1. forget: layers
    whose visual keys and values go when the prompt is through, all but those that `remember` names. queries: see
    `Queries`. weights: float (text,), what the attention of each text token counts with queries="text", None for all
    alike. combine: of heads and queries, the mean or the largest. reads: layers at whose entry `read` is called.
    keys: layers whose keys `see_keys` is shown.
    """

    watch: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()
    forget: tuple[int, ...] = ()
    queries: Queries = 1
    weights: Tensor | None = None
    combine: Literal["mean", "max"] = "mean"
    reads: tuple[int, ...] = ()
    keys: tuple[int, ...] = ()

    @abstractmethod
    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Decide at the entry of a layer.

        entered: the visual tokens as they entered the model. alive: int64 (n,), which of them are left. scores: for
        each watched layer that has passed, float32 (n,), attention that they received there. hidden: (n, width), their
        hidden states. Returns ascending indices into `alive` and the hidden states of these.
        """

    def read(self, layer: int, visual: Tensor, text: Tensor) -> None:  # noqa: B027, for those who ask
        """Look at what enters a layer of `reads`, before anything is cut there: the hidden states of the visual tokens
        that are left, (n, width), and of the text after the video, (text, width)."""

    def see_keys(self, layer: int, visual: Tensor, text: Tensor) -> None:  # noqa: B027, for those who ask
        """Look at the keys of a layer of `keys`, as they are in its cache: (key heads, n, width) of the visual tokens
        that are left, (key heads, text, width) of the text after the video."""

    def left(self, layer: int, alive: int) -> int | None:
        """How many of so many tokens a cut leaves, None where that depends on the tokens."""
        return None

    def remembered(self, layer: int, alive: int) -> int | None:
        """How many of so many tokens stay in the cache of a layer of `forget`, None where that depends on them."""
        return 0

    def remember(self, layer: int, alive: NDArray[np.int64], scores: dict[int, Tensor]) -> NDArray[np.int64]:
        """Which visual tokens stay in the cache of a layer of `forget`: ascending indices into `alive`, none unless
        overridden. Arguments as in `cut`."""
        return alive[:0]


def entry_layer(method: str, layer: int, depth: int) -> int:
    """A layer at whose entry a method can act. Raises ValueError where the model has no such layer."""
    if not 1 <= layer < depth:
        raise ValueError(f"{method} acts at the entry of a layer between 1 and {depth - 1} of this model; got {layer}")
    return layer


def three_layers(
    method: str, layers: tuple[int, ...] | None, published: tuple[int, int, int], of: int, depth: int
) -> tuple[int, ...]:
    """Three ascending layers at whose entry a method prunes: `layers`, or the published ones of a model of `of` layers
    at another depth, the first at least 1. Raises ValueError where the model has no such layers."""
    cuts = layers or ()
    if not layers:
        for layer in published:
            cuts += (max(cuts[-1] + 1 if cuts else 1, round(depth * layer / of)),)
    if len(cuts) != 3 or not 1 <= cuts[0] < cuts[1] < cuts[2] < depth:
        raise ValueError(
            f"{method} prunes at three ascending layers between 1 and {depth - 1}; got {cuts} for a model of {depth} "
            "layers; give `layers`"
        )
    return cuts
