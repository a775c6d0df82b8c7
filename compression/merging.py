"""What methods that merge tokens share: rules by which a token takes others in."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FoldRule = Literal["half", "sequential", "size_weighted", "drop"]
"""How much of a token is left when it takes others in. "half": it keeps half of the weight, the mean of all that is
folded into it gets the other half. "sequential": one after the other, each time the average of both. "size_weighted":
the mean of everything. "drop": what is folded is lost."""


def absorb(
    flat: Tensor,
    values: Tensor,
    size: NDArray[np.int64],
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    rule: FoldRule,
) -> Tensor:
    """Let tokens `targets` take in tokens `sources`, by a `FoldRule`: (n, width), others stay as they are.

    flat, values: (n, width), tokens before merging and what the targets are worth now. size: int64 (n,), tokens that
    each target stands for already. sources, targets: int64 (m,), row of what is taken in and row that takes it in.
    """
    if rule == "drop":
        return values
    into = np.unique(targets)
    index = index_of(into, flat)
    count = index_of(np.bincount(targets, minlength=len(flat))[into], flat)[:, None]
    old = values[index].float()
    if rule == "sequential":
        # ((h + a) / 2 + b) / 2: the last of n weighs 1/2, the first 1/2^n, the core 1/2^n.
        later = np.zeros(len(sources), np.int64)
        seen = np.zeros(len(flat), np.int64)
        for i in range(len(sources) - 1, -1, -1):
            later[i] = seen[targets[i]]
            seen[targets[i]] += 1
        weight = torch.as_tensor(0.5 ** (later + 1.0), dtype=torch.float32, device=flat.device)
    else:
        weight = torch.ones(len(sources), device=flat.device)
    sums = torch.zeros_like(flat, dtype=torch.float32)
    sums.index_add_(0, index_of(targets, flat), flat[index_of(sources, flat)].float() * weight[:, None])
    gathered = sums[index]
    if rule == "half":
        new = (old + gathered / count) / 2
    elif rule == "sequential":
        new = old * 0.5**count + gathered
    else:
        held = index_of(size[into], flat)[:, None]
        new = (old * held + gathered) / (held + count)
    values = values.clone()
    values[index] = new.to(values.dtype)
    return values


def index_of(values: NDArray[np.int64], like: Tensor) -> Tensor:
    """int64: numbers of rows, on the device of a tensor."""
    return torch.as_tensor(np.ascontiguousarray(values), device=like.device)
