"""A stand-in for the package flash-attn 2: its functions, by their signatures, computed plainly and in float32.

    with flash_attention():
        model.set_attn_implementation("flash_attention_2")

Causal masks are aligned at the last query and key, as the package does since 2.1. Nothing else than what is packed or
cut apart by `cu_seqlens` keeps tokens from each other: a mask is not among the arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import modeling_flash_attention_utils, modeling_utils


def flash_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Tensor:
    """(sequences, tokens, heads, width) each."""
    assert dropout_p == 0 and window_size == (-1, -1) and softcap == 0 and alibi_slopes is None
    groups = q.shape[2] // k.shape[2]
    k, v = (one.repeat_interleave(groups, dim=2) for one in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale)
    if causal:
        queries, keys = scores.shape[-2:]
        scores = scores.masked_fill(~torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries), float("-inf"))
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(dim=-1), v)


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: Any = None,
) -> Tensor:
    """(tokens of all sequences, heads, width) each; sequence i ends where cu_seqlens[i + 1] says."""
    assert len(q) == cu_seqlens_q[-1] and len(k) == cu_seqlens_k[-1]
    bounds = zip(cu_seqlens_q[:-1], cu_seqlens_q[1:], cu_seqlens_k[:-1], cu_seqlens_k[1:], strict=True)
    parts = []
    for first, last, first_key, last_key in bounds:
        assert last - first <= max_seqlen_q and last_key - first_key <= max_seqlen_k
        own = (q[first:last], k[first_key:last_key], v[first_key:last_key])
        parts.append(flash_attn_func(*(one[None] for one in own), softmax_scale=softmax_scale, causal=causal)[0])
    return torch.cat(parts)


def flash_attn_with_kvcache(*args: Any, **kwargs: Any) -> Tensor:
    """Paged caches are nothing that is used here."""
    raise AssertionError("a paged cache")


@contextmanager
def flash_attention() -> Iterator[None]:
    """As long as the block lasts, transformers finds the package."""
    package, padding = ModuleType("flash_attn"), ModuleType("flash_attn.bert_padding")
    for function in (flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache):
        setattr(package, function.__name__, function)
    utils: Any = modeling_flash_attention_utils
    padding.pad_input, padding.unpad_input = utils._pad_input, utils._unpad_input  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "flash_attn", package)
        patch.setitem(sys.modules, "flash_attn.bert_padding", padding)
        patch.setattr(utils, "is_flash_attn_2_available", lambda: True)
        patch.setattr(utils, "_loaded_implementation", None)
        patch.setattr(
            modeling_utils.PreTrainedModel, "_flash_attn_can_dispatch", lambda *args, **kwargs: True, raising=False
        )
        yield


def switch(model: Any) -> Any:
    """Have a model compute all attention so, past the checks that ask for a GPU."""
    for module in model.modules():
        if hasattr(module, "config") and hasattr(module.config, "_attn_implementation"):
            module.config._attn_implementation = "flash_attention_2"
    return model
