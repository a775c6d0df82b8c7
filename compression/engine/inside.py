"""Cutting visual tokens inside the language model, layer by layer, while the prompt passes through.

The layers themselves run as they are: a hook before a layer takes tokens out of what enters it, together with their
rotary angles and the mask; a hook after an attention module recomputes the few rows of attention that a method asks
for. What is gone at layer k is missing in the cache of layer k and all later ones; nothing is renumbered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.strategy import Reduced

Queries = int | str
"""Which prompt tokens' attention counts: that many last ones, or "text", all after the video."""


class Inside(ABC):
    """What a method does inside the language model.

    watch: layers whose attention it needs. cuts: layers at whose entry it takes tokens out, at least 1. forget: layers
    whose visual keys and values go when the prompt is through, all but those that `remember` names. queries: see
    `Queries`.
    """

    watch: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()
    forget: tuple[int, ...] = ()
    queries: Queries = 1

    @abstractmethod
    def cut(
        self, layer: int, entered: Reduced, alive: NDArray[np.int64], scores: dict[int, Tensor], hidden: Tensor
    ) -> tuple[NDArray[np.int64], Tensor]:
        """Decide at the entry of a layer.

        entered: the visual tokens as they entered the model. alive: int64 (n,), which of them are left. scores: for
        each watched layer that has passed, float32 (n,), attention that they received there. hidden: (n, width), their
        hidden states. Returns ascending indices into `alive` and the hidden states of these.
        """

    def remember(self, layer: int, alive: NDArray[np.int64], scores: dict[int, Tensor]) -> NDArray[np.int64]:
        """Which visual tokens stay in the cache of a layer of `forget`: ascending indices into `alive`, none unless
        overridden. Arguments as in `cut`."""
        return alive[:0]


def entry_layer(method: str, layer: int, depth: int) -> int:
    """A layer at whose entry a method can act. Raises ValueError where the model has no such layer."""
    if not 1 <= layer < depth:
        raise ValueError(f"{method} acts at the entry of a layer between 1 and {depth - 1} of this model; got {layer}")
    return layer


class Prompt:
    """One prompt on its way through the layers: which of its tokens are alive, and what they were looked at.

    entered: the visual tokens. first: the place of the first among the `length` tokens that enter the model.
    separators: how many tokens right behind them are no text.
    """

    def __init__(self, inside: Inside, entered: Reduced, first: int, length: int, separators: int = 0) -> None:
        self.inside, self.entered, self.first, self.length = inside, entered, first, length
        self.count = count = len(entered.slots)
        self.text = length - first - count - separators
        if self.text < 1:
            raise ValueError(
                "the prompt ends with the video; a method that asks the text what matters needs some after it"
            )
        self.alive = np.arange(count)
        self.scores: dict[int, tuple[NDArray[np.int64], Tensor]] = {}
        self.by_layer: dict[int, NDArray[np.int64]] = {}
        self._index: Tensor | None = None
        self._angles: tuple[int, tuple[Tensor, ...]] | None = None

    def before(self, layer: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Take tokens out of what enters a layer."""
        hidden = args[0] if args else kwargs["hidden_states"]
        if layer in self.inside.cuts:
            hidden = self._cut(layer, hidden)
        self.by_layer[layer] = self.alive
        if self._index is None:
            return None
        kwargs = {**kwargs, "position_embeddings": self._rotary(kwargs["position_embeddings"])}
        mask = kwargs.get("attention_mask")
        if mask is not None:
            rows = mask if mask.dim() == 2 else mask[..., self._index, :]  # (sequences, tokens) under flash attention
            kwargs["attention_mask"] = rows[..., self._index]
        if kwargs.get("position_ids") is not None:
            kwargs["position_ids"] = kwargs["position_ids"][..., self._index]
        return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

    def look(self, layer: int, module: nn.Module, kwargs: dict[str, Any]) -> None:
        """After a watched layer's attention: how much the visual tokens were looked at."""
        queries = self.inside.queries
        rows = self.text if queries == "text" else min(int(queries), self.text)
        scores = attention_received(module, kwargs, rows)[self.first : self.first + len(self.alive)]
        self.scores[layer] = (self.alive, scores.clone())

    def scores_of(self, alive: NDArray[np.int64]) -> dict[int, Tensor]:
        """How much some tokens were looked at: float32 (n,) for each watched layer so far that had all of them."""
        return {
            seen: values[torch.as_tensor(np.searchsorted(who, alive), device=values.device)]
            for seen, (who, values) in self.scores.items()
            if len(who) >= len(alive)  # tokens only ever go, so the larger set holds the smaller
        }

    def kept(self, layer: int, device: torch.device) -> Tensor:
        """int64: the tokens in the cache of a layer, numbered as they entered the model."""
        return self._places(self.by_layer[layer], device)

    def _cut(self, layer: int, hidden: Tensor) -> Tensor:
        before, after = self.first, self.first + len(self.alive)
        scores = self.scores_of(self.alive)
        chosen, states = self.inside.cut(layer, self.entered, self.alive, scores, hidden[0, before:after])
        if len(chosen) == len(self.alive):
            return hidden
        self.alive = self.alive[chosen]
        self._index = self._places(self.alive, hidden.device)
        self._angles = None
        return torch.cat((hidden[:, :before], states[None].to(hidden.dtype), hidden[:, after:]), dim=1)

    def _places(self, alive: NDArray[np.int64], device: torch.device) -> Tensor:
        end = np.arange(self.first + self.count, self.length)
        return torch.as_tensor(np.concatenate((np.arange(self.first), self.first + alive, end)), device=device)

    def _rotary(self, angles: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Cosines and sines of the tokens alive; gathered once per cut, as all layers get the same ones."""
        if self._angles is None or self._angles[0] != id(angles[0]):
            self._angles = (id(angles[0]), tuple(one[..., self._index, :] for one in angles))
        return self._angles[1]


def attention_received(module: nn.Module, kwargs: dict[str, Any], rows: int) -> Tensor:
    """What each token receives from the last `rows` tokens, averaged over these and all heads: float32 (tokens,).

    As `attention_rows`, but one key head and a few rows at a time: never more scores than half of the numbers in the
    layer's hidden states, however long the question.
    """
    queries, keys = _queries_and_keys(module, kwargs, rows)
    heads, total = keys.shape[0], keys.shape[1]
    groups = queries.unflatten(0, (heads, -1))
    step = max(1, kwargs["hidden_states"].shape[-1] // (2 * groups.shape[1]))
    received = keys.new_zeros(total, dtype=torch.float32)
    for head in range(heads):
        for start in range(0, rows, step):
            part = groups[head, :, start : start + step]
            seen = _probabilities(part, keys[head], module, kwargs, rows - start)
            received += seen.sum(dim=(0, 1))
    return received / (queries.shape[0] * rows)


def attention_rows(module: nn.Module, kwargs: dict[str, Any], rows: int) -> Tensor:
    """Attention of the last `rows` tokens in a Qwen2-like attention module: float32 (heads, rows, tokens).

    kwargs: what the module was called with. Keys come from the cache that the call has just filled, else they are
    computed again. Everything is done in float32 for these rows only, so whatever kernel runs the layer stays in use.
    """
    queries, keys = _queries_and_keys(module, kwargs, rows)
    groups = queries.unflatten(0, (keys.shape[0], -1))
    return torch.cat(
        [_probabilities(part, shared, module, kwargs, rows) for part, shared in zip(groups, keys, strict=True)]
    )


def _queries_and_keys(module: nn.Module, kwargs: dict[str, Any], rows: int) -> tuple[Tensor, Tensor]:
    """Rotated queries (heads, rows, width) of the last `rows` tokens, and all keys (key heads, tokens, width)."""
    attention: Any = module
    hidden, cache = kwargs["hidden_states"], kwargs.get("past_key_values")
    cos, sin = (_combined(one, attention) for one in kwargs["position_embeddings"])

    def heads(projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)

    queries = rotate(heads(attention.q_proj(hidden[:, -rows:])), cos[..., -rows:, :], sin[..., -rows:, :])
    if cache is not None:
        return queries[0], cache.layers[attention.layer_idx].keys[0]
    return queries[0], rotate(heads(attention.k_proj(hidden)), cos, sin)[0]


def _probabilities(queries: Tensor, keys: Tensor, module: nn.Module, kwargs: dict[str, Any], last: int) -> Tensor:
    """Softmax of queries that share their keys: float32 (heads, n, tokens). queries: (heads, n, width), those of the
    `last`-last token and the ones after it. keys: (tokens, width)."""
    attention: Any = module
    count, total = queries.shape[1], len(keys)
    scores = queries.float() @ keys.float().T * attention.scaling
    mask = kwargs.get("attention_mask")
    places = torch.arange(total - last, total - last + count, device=keys.device)
    if mask is None or mask.dim() == 2:
        ahead = torch.arange(total, device=keys.device) > places[:, None]
        hidden_keys = ahead if mask is None else ahead | (mask[0] == 0)
        scores = scores.masked_fill_(hidden_keys, float("-inf"))
    elif mask.dtype == torch.bool:
        scores = scores.masked_fill_(~mask[0, :, places - total], float("-inf"))
    else:
        scores = scores + mask[0, :, places - total].float()
    return scores.softmax(dim=-1)


def _combined(angles: Tensor, attention: Any) -> Tensor:
    """Cosines or sines as (1, tokens, width): older Qwen-VL layers get one set each for time, row and column."""
    if angles.dim() == 3:
        return angles
    sections = attention.config.rope_parameters["mrope_section"] * 2
    return torch.cat([part[i % 3] for i, part in enumerate(angles.split(sections, dim=-1))], dim=-1)


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding in halves: (1, heads, tokens, width) by cos and sin (1, tokens, width)."""
    first, second = states.chunk(2, dim=-1)
    return states * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]


def forget(cache: Any, layers: tuple[int, ...], prompt: Prompt) -> None:
    """Delete visual keys and values of some layers from a cache that holds exactly one prompt."""
    for layer in layers:
        places = prompt.by_layer[layer]
        stay = prompt.inside.remember(layer, places, prompt.scores_of(places))
        held, first = cache.layers[layer], prompt.first
        behind = np.arange(first + len(places), held.keys.shape[2])
        keep = torch.as_tensor(np.concatenate((np.arange(first), first + stay, behind)), device=held.keys.device)
        held.keys, held.values = held.keys[:, :, keep].contiguous(), held.values[:, :, keep].contiguous()
        prompt.by_layer[layer] = places[stay]


def hook_layers(layers: list[nn.Module], inside: Inside, session: Any) -> Iterator[RemovableHandle]:
    """Hooks that carry out `inside` on the layers; `session.prompt` is the prompt on its way, `session.cached_places`
    (a function of the layer and a device) what a shortened cache holds while new tokens follow."""

    def before(layer: int) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            if session.prompt is not None:
                return session.prompt.before(layer, args, kwargs)
            mask = kwargs.get("attention_mask")
            if mask is None:
                return None
            places = session.cached_places(layer, mask.shape[-1], mask.device)
            return None if places is None else (args, {**kwargs, "attention_mask": mask[..., places]})

        return hook

    def after(layer: int) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            if session.prompt is not None:
                session.prompt.look(layer, module, kwargs)

        return hook

    for number, layer in enumerate(layers):
        yield layer.register_forward_pre_hook(before(number), with_kwargs=True)
        if number in inside.watch:
            attention: Any = layer.self_attn
            yield attention.register_forward_hook(after(number), with_kwargs=True)
