"""Attention of one layer, written out."""

import torch
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb


def attention_by_hand(layer, hidden, rotary, unseen=()):
    """Softmax of every head in float64, one head at a time: (heads, tokens, tokens). unseen: masked tokens."""
    attention = layer.self_attn
    states = layer.input_layernorm(hidden)
    heads = []
    for h in range(4):
        q = attention.q_proj(states)[:, None, :, 12 * h : 12 * h + 12]
        k = attention.k_proj(states)[:, None, :, 12 * (h // 2) : 12 * (h // 2) + 12]
        q, k = apply_rotary_pos_emb(q, k, *rotary)
        scores = (q[0, 0].double() @ k[0, 0].double().T) / 12**0.5
        scores[:, list(unseen)] = -torch.inf
        heads.append(scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf).softmax(-1))
    return torch.stack(heads)
