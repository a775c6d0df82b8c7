"""Tokens per layer -> floating-point operations and cache bytes of a language model.

text = TextModel(layers=28, width=3584, key_width=512, hidden=18944)            # Qwen2-7B
prefill_flops(text, [6353] * 28)                                                # 9.9e13
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from codecmeta.compression.engine.transformers_sizes import (
    attending,
    differing,
    gates_queries,
    linear_attention,
    widths_of_attention,
    widths_of_mlp,
)


@dataclass(frozen=True)
class TextModel:
    """Sizes of a decoder with grouped-query attention and a gated MLP.

    width: of hidden states. key_width: of all keys of one token in one layer (key heads * head width). hidden: of the
    MLP; of all experts that a token passes. vocabulary: entries of the language-model head. query_width: of all
    queries, 0 where it is that of hidden states. gated: whether a gate is projected beside each query. router: scores
    that choose experts. attending: layers with attention, None for all. linear: of the other layers, heads and width of
    a head of keys, of values, and the length of the convolution (gated delta rule). projected: how many of keys and
    values a layer projects: 1 where values are keys, 0 where both are another layer's, and not in the cache again.
    window: most tokens that the cache of a layer holds, 0 for all. beside: width of what a layer takes for each token
    beside hidden states. other: layer -> fields that have another value there.
    """

    layers: int
    width: int
    key_width: int
    hidden: int
    vocabulary: int = 0
    query_width: int = 0
    gated: bool = False
    router: int = 0
    attending: tuple[int, ...] | None = None
    linear: tuple[int, int, int, int, int] | None = None
    projected: int = 2
    window: int = 0
    beside: int = 0
    other: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Any) -> TextModel:
        """From a transformers text configuration."""
        hidden, router = widths_of_mlp(config)
        linear = linear_attention(config)
        keys, queries = widths_of_attention(config, 0)
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            keys,
            hidden,
            config.vocab_size,
            queries,
            gates_queries(config),
            router,
            None if linear is None else attending(config),
            linear,
            other=differing(config),
        )

    def at(self, layer: int) -> TextModel:
        """The sizes of one layer."""
        return replace(self, **self.other[layer]) if layer in self.other else self

    def attends(self, layer: int) -> bool:
        """Whether a layer has attention, and keys and values in the cache."""
        return self.attending is None or layer in self.attending


def prefill_flops(
    model: TextModel, tokens: Sequence[int], *, formula: Literal["gated", "fastv"] = "gated", head: bool = False
) -> float:
    """Operations (two per multiply-add) of one pass over a prompt; tokens: how many enter each layer.

    formula "gated": projections with shared keys, three MLP matrices, attention over the full square (also in layers
    with a window, where kernels may do less), as a counter of real modules gives; layers of linear attention with their
    recurrence as it is written, where kernels that work in chunks do more. "fastv": the often quoted
    4nd^2 + 2n^2d + 2ndm per layer (one key per query, two MLP matrices, one per multiply-add); name it when comparing
    with papers of that family. head: count the language-model head for all tokens of the last layer.
    """
    if len(tokens) != model.layers:
        raise ValueError(f"tokens must be one number per layer ({model.layers}); got {len(tokens)}")
    d = model.width
    total = 0.0
    for layer, n in enumerate(tokens):
        here = model.at(layer)
        k, m, q = here.key_width, here.hidden, here.query_width or d
        if formula == "fastv":
            total += 4 * n * d**2 + 2 * n**2 * d + 2 * n * d * m
            continue
        total += 2 * n * d * (3 * m + here.router + 3 * here.beside)
        if model.attends(layer):
            total += 2 * n * d * (2 * q + here.projected * k + (q if here.gated else 0)) + 4 * n**2 * q
        else:
            total += n * _linear_attention(model)
    return total + (2.0 * tokens[-1] * d * model.vocabulary if head else 0.0)


def _linear_attention(model: TextModel) -> float:
    """Operations per token of a layer: projections of queries, keys, values, output gate, decay and learning rate, the
    convolution, and for each head of values three products of its state with a key or a query."""
    assert model.linear is not None
    key_heads, key, heads, value, kernel = model.linear
    mixed = 2 * key_heads * key + heads * value
    projections = 2 * model.width * (mixed + 2 * heads * value + 2 * heads)
    return projections + 2.0 * mixed * kernel + 6 * heads * key * value


def cache_size(model: TextModel, entries: Sequence[int], bytes_per_number: int = 2) -> int:
    """Bytes of keys and values, in the layers that have some; entries: how many tokens each layer's cache holds."""
    held = 0
    for layer, count in enumerate(entries):
        here = model.at(layer)
        if model.attends(layer) and here.projected:
            held += here.key_width * (min(count, here.window) if here.window else count)
    return 2 * bytes_per_number * held
