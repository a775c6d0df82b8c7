"""How much attention each patch receives inside a vision encoder, computed beside whatever kernel runs the layer."""

from __future__ import annotations

import torch
from torch import Tensor


def received_attention(queries: Tensor, keys: Tensor, scaling: float) -> Tensor:
    """Columns of the attention map of one frame, averaged over heads and queries: (heads, n, width) -> float32 (n,).

    One head at a time, so that no more than one n x n map is ever in memory.
    """
    total = torch.zeros(keys.shape[1], dtype=torch.float32, device=keys.device)
    for query, key in zip(queries.float(), keys.float(), strict=True):
        total += (query @ key.T * scaling).softmax(dim=-1).mean(dim=0)
    return total / len(keys)
