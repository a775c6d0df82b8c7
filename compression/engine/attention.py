"""How much tokens are looked at, computed beside whatever kernel runs a layer."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from codecmeta.compression.engine import transformers_names as names


def attention_received(
    module: nn.Module,
    kwargs: dict[str, Any],
    rows: int,
    weights: Tensor | None = None,
    combine: Literal["mean", "max"] = "mean",
) -> Tensor:
    """What each token receives from the last `rows` tokens, averaged over these and all heads: float32 (tokens,).

    weights: float (rows,), of each row in the mean. combine: "max" takes the largest of all rows and heads instead.
    As `attention_rows`, but one key head and a few rows at a time: never more scores than half of the numbers in the
    layer's hidden states, however long the question.
    """
    queries, keys = _queries_and_keys(module, kwargs, rows)
    heads, total = keys.shape[0], keys.shape[1]
    groups = queries.unflatten(0, (heads, -1))
    width = names.Call(module, (), kwargs)["hidden"].shape[-1]
    step = max(1, width // (2 * groups.shape[1]))
    received = keys.new_zeros(total, dtype=torch.float32)
    for head in range(heads):
        for start in range(0, rows, step):
            part = groups[head, :, start : start + step]
            seen = _probabilities(part, keys[head], module, kwargs, rows - start)
            if combine == "max":
                received = torch.maximum(received, seen.amax(dim=(0, 1)))
            elif weights is None:
                received += seen.sum(dim=(0, 1))
            else:
                received += (seen * weights[start : start + step, None].to(seen)).sum(dim=(0, 1))
    if combine == "max":
        return received
    return received / (queries.shape[0] * (rows if weights is None else float(weights.sum())))


def cached_keys(module: nn.Module, kwargs: dict[str, Any]) -> Tensor:
    """All keys of the layer, as in its cache: (key heads, tokens, width)."""
    return _queries_and_keys(module, kwargs, 1)[1]


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
    call = names.Call(module, (), kwargs)
    hidden, cache = call["hidden"], call.get("cache")
    cos, sin = (names.combined(one, module) for one in call["rotary"])

    turn = names.rotation(module) or rotate
    queries = turn(names.projected(module, "query", hidden[:, -rows:]), cos[..., -rows:, :], sin[..., -rows:, :])
    if cache is not None:
        return queries[0], names.keys_of(cache, module)[0]
    return queries[0], turn(names.projected(module, "key", hidden), cos, sin)[0]


def _probabilities(queries: Tensor, keys: Tensor, module: nn.Module, kwargs: dict[str, Any], last: int) -> Tensor:
    """Softmax of queries that share their keys: float32 (heads, n, tokens). queries: (heads, n, width), those of the
    `last`-last token and the ones after it. keys: (tokens, width)."""
    count, total = queries.shape[1], len(keys)
    scores = queries.float() @ keys.float().T * names.part(module, "scale")
    mask = names.Call(module, (), kwargs).get("mask")
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


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding in halves: (1, heads, tokens, width) by cos and sin (1, tokens, width or less); what
    these do not reach is left as it is."""
    turned, rest = states.split((cos.shape[-1], states.shape[-1] - cos.shape[-1]), dim=-1)
    first, second = turned.chunk(2, dim=-1)
    turned = turned * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]
    return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned


def received_attention(queries: Tensor, keys: Tensor, scaling: float) -> Tensor:
    """What each patch of a frame receives inside a vision encoder, mean over heads and queries: (heads, n, width) ->
    float32 (n,).

    One head at a time, so that no more than one n x n map is ever in memory.
    """
    total = torch.zeros(keys.shape[1], dtype=torch.float32, device=keys.device)
    for query, key in zip(queries.float(), keys.float(), strict=True):
        total += (query @ key.T * scaling).softmax(dim=-1).mean(dim=0)
    return total / len(keys)
