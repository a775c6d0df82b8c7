"""A prompt on its way through the layers, and what its shortened cache holds afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.attention import attention_received, cached_keys
from codecmeta.compression.engine.contract import ContractError
from codecmeta.compression.inside import Inside
from codecmeta.compression.plan import Reduced


class Prompt:
    """One prompt on its way through the layers: which of its tokens are alive, and what they were looked at.

    entered: the visual tokens. where: int64 (n,) ascending, the place of each among the `length` tokens that enter the
    model. newlines: int64 (m,) ascending, the places of the model's own separators among these; such a one is taken out
    with the last token that it stands behind. which: int64 (m,), their numbers among all separators of the layout.
    """

    def __init__(
        self,
        inside: Inside,
        entered: Reduced,
        where: NDArray[np.int64],
        length: int,
        newlines: NDArray[np.int64],
        which: NDArray[np.int64],
    ) -> None:
        self.inside, self.entered, self.where, self.length = inside, entered, where, length
        self.newlines, self.which = newlines, which
        self.count = count = len(where)
        self.text = length - 1 - int(max(where[-1], newlines[-1] if len(newlines) else 0))
        if self.text < 1:
            raise ValueError(
                "the prompt ends with the video; a method that asks the text what matters needs some after it"
            )
        self.alive = np.arange(count)
        self.scores: dict[int, tuple[NDArray[np.int64], Tensor]] = {}
        self.by_layer: dict[int, NDArray[np.int64]] = {}
        self._index: Tensor | None = None
        self._angles: tuple[int, tuple[Tensor, ...]] | None = None
        self._places: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def before(self, layer: int, call: names.Call) -> Any:
        """Take tokens out of what enters a layer."""
        hidden = call["hidden"]
        if layer in self.inside.reads:
            here = torch.as_tensor(self.among(self.alive), device=hidden.device)
            self.inside.read(layer, hidden[0, here], hidden[0, hidden.shape[1] - self.text :])
        if layer in self.inside.cuts:
            hidden = self._cut(layer, hidden)
        self.by_layer[layer] = self.alive
        if self._index is None:
            return None
        mask, positions = call.get("mask"), call.get("positions")
        call.put(hidden=hidden, rotary=self._rotary(call["rotary"]))
        if mask is not None:  # layers may be spread over devices, and what they share stays where it was made
            call.put(mask=names.shortened_mask(mask, self._index.to(mask.device)))
        if positions is not None:
            call.put(positions=positions[..., self._index.to(positions.device)])
        return call.changed

    def look(self, layer: int, module: nn.Module, kwargs: dict[str, Any]) -> None:
        """After a watched layer's attention: how much the visual tokens were looked at, and the keys."""
        inside, queries = self.inside, self.inside.queries
        rows = self.text if queries == "text" else min(int(queries), self.text)
        if layer not in self.by_layer:
            raise ContractError(f"the hook of layer {layer} to run before its attention", "it did not run")
        if layer in inside.keys:
            keys = cached_keys(module, kwargs)
            here = torch.as_tensor(self.among(self.alive), device=keys.device)
            inside.see_keys(layer, keys[:, here], keys[:, keys.shape[1] - self.text :])
        if layer not in inside.watch:
            return
        scores = attention_received(module, kwargs, rows, inside.weights, inside.combine)
        if len(scores) != self.held(layer):
            raise ContractError(
                f"{self.held(layer)} keys in the cache of layer {layer}", f"it shows {len(scores)} while it is filled"
            )
        self.scores[layer] = (self.alive, scores[torch.as_tensor(self.among(self.alive), device=scores.device)])

    def scores_of(self, alive: NDArray[np.int64]) -> dict[int, Tensor]:
        """How much some tokens were looked at: float32 (n,) for each watched layer so far that had all of them."""
        return {
            seen: values[torch.as_tensor(np.searchsorted(who, alive), device=values.device)]
            for seen, (who, values) in self.scores.items()
            if len(who) >= len(alive)  # tokens only ever go, so the larger set holds the smaller
        }

    def held(self, layer: int) -> int:
        """How many tokens of the prompt are in the cache of a layer."""
        return len(self.places(self.by_layer[layer]))

    def places(self, alive: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 ascending: all tokens with these visual ones, numbered as they entered the model."""
        if self._places is not None and self._places[0] is alive:  # most layers have the tokens of the one before
            return self._places[1]
        there = np.ones(self.length, bool)
        there[self.where] = False
        there[self.where[alive]] = True
        if len(self.newlines) and self.entered.layout is not None:
            there[self.newlines] = self.entered.layout.newlines_left(self.entered.slots[alive])[self.which]
        self._places = alive, np.flatnonzero(there)
        return self._places[1]

    def among(self, alive: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 (n,): the places of these visual tokens among `places`."""
        return np.searchsorted(self.places(alive), self.where[alive])

    def kept(self, layer: int, device: torch.device) -> Tensor:
        """int64: the tokens in the cache of a layer, numbered as they entered the model."""
        return torch.as_tensor(self.places(self.by_layer[layer]), device=device)

    def _cut(self, layer: int, hidden: Tensor) -> Tensor:
        before, now = self.places(self.alive), self.among(self.alive)
        visual = hidden[0, torch.as_tensor(now, device=hidden.device)]
        chosen, states = self.inside.cut(layer, self.entered, self.alive, self.scores_of(self.alive), visual)
        if len(chosen) == len(self.alive):
            return hidden
        self.alive = self.alive[chosen]
        after = self.places(self.alive)
        self._index = torch.as_tensor(after, device=hidden.device)
        self._angles = None
        hidden = hidden[:, torch.as_tensor(np.searchsorted(before, after), device=hidden.device)]
        hidden[0, torch.as_tensor(self.among(self.alive), device=hidden.device)] = states.to(hidden)
        return hidden

    def _rotary(self, angles: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Cosines and sines of the tokens alive; gathered once per cut, as all layers get the same ones."""
        if self._angles is None or self._angles[0] != id(angles[0]):
            assert self._index is not None
            index = self._index.to(angles[0].device)
            self._angles = (id(angles[0]), tuple(one[..., index, :] for one in angles))
        return self._angles[1]


def forget(cache: Any, layers: Iterable[int], prompt: Prompt) -> None:
    """Delete visual keys and values of some layers from a cache that holds exactly one prompt."""
    for layer in layers:
        places = prompt.by_layer[layer]
        stay = prompt.inside.remember(layer, places, prompt.scores_of(places))
        names.keep_in(cache, layer, np.searchsorted(prompt.places(places), prompt.places(places[stay])))
        prompt.by_layer[layer] = places[stay]
