"""Tokens per layer -> floating-point operations and cache bytes of a language model.

text = TextModel(layers=28, width=3584, key_width=512, hidden=18944)            # Qwen2-7B
prefill_flops(text, [6353] * 28)                                                # 9.9e13
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from codecmeta.compression.engine.transformers_names import head_width


@dataclass(frozen=True)
class TextModel:
    """Sizes of a decoder with grouped-query attention and a gated MLP.

    width: of hidden states. key_width: of all keys of one token in one layer (key heads * head width). hidden: of the
    MLP. vocabulary: entries of the language-model head.
    """

    layers: int
    width: int
    key_width: int
    hidden: int
    vocabulary: int = 0

    @classmethod
    def of(cls, config: Any) -> TextModel:
        """From a transformers text configuration."""
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            config.num_key_value_heads * head_width(config),
            config.intermediate_size,
            config.vocab_size,
        )


def prefill_flops(
    model: TextModel, tokens: Sequence[int], *, formula: Literal["gated", "fastv"] = "gated", head: bool = False
) -> float:
    """Operations (two per multiply-add) of one pass over a prompt; tokens: how many enter each layer.

    formula "gated": projections with shared keys, three MLP matrices, attention over the full square, as a counter of
    real modules gives. "fastv": the often quoted 4nd^2 + 2n^2d + 2ndm per layer (one key per query, two MLP matrices,
    one per multiply-add); name it when comparing with papers of that family. head: count the language-model head for
    all tokens of the last layer.
    """
    if len(tokens) != model.layers:
        raise ValueError(f"tokens must be one number per layer ({model.layers}); got {len(tokens)}")
    d, k, m = model.width, model.key_width, model.hidden
    total = 0.0
    for n in tokens:
        if formula == "fastv":
            total += 4 * n * d**2 + 2 * n**2 * d + 2 * n * d * m
        else:
            total += 2 * (2 * n * d**2 + 2 * n * d * k + 3 * n * d * m) + 4 * n**2 * d
    return total + (2.0 * tokens[-1] * d * model.vocabulary if head else 0.0)


def cache_size(model: TextModel, entries: Sequence[int], bytes_per_number: int = 2) -> int:
    """Bytes of keys and values; entries: how many tokens each layer's cache holds."""
    return sum(2 * model.key_width * bytes_per_number * count for count in entries)
