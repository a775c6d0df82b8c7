"""Regions of patches -> one encoder token each, and the encoder's results back onto the patch grid.

MeToM's residual-guided patch merging (RPM): patches of one connected low-density region enter the vision encoder as
their mean. The tokens of all frames are packed one behind the other without padding, so that everything that works
token by token (norms, MLPs, the projector) sees exactly as many rows as there are tokens; only inside attention are
frames set apart, side by side with a mask over the unused places.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Packing:
    """Where every patch and every token of a clip goes.

    regions: int (T, rows, columns), the token of each patch, numbered 0..K_t-1 within frame t. Token k of frame t is
    row offset[t] + k of the packed sequence of S = sum K_t tokens. Index tensors live on `device`. order: int64
    (patches,), the raster number of the patch at each place of a frame, where an encoder takes patches in another
    order than raster; tokens are then numbered anew, in the order of their first patch. All patches that come in or
    go out are in this order.
    """

    def __init__(
        self,
        regions: NDArray[np.int32],
        device: torch.device | str = "cpu",
        order: NDArray[np.int64] | None = None,
    ) -> None:
        flat = np.ascontiguousarray(regions.reshape(len(regions), -1)).astype(np.int64)
        self.counts = flat.max(axis=1) + 1
        self.order = np.arange(flat.shape[1]) if order is None else order
        if order is not None:
            flat = np.stack([_renumbered(frame[order]) for frame in flat])
        offsets = np.concatenate(([0], np.cumsum(self.counts)[:-1]))
        self.grid = regions.shape[1:]
        self.frames, self.patches = flat.shape
        self._flat = flat
        self._headed: Packing | None = None
        self.total = int(self.counts.sum())
        token = (flat + offsets[:, None]).ravel()
        sizes = np.bincount(token, minlength=self.total)
        if not sizes.all():
            raise ValueError("regions must be numbered 0..K-1 in every frame without gaps")
        self.token = torch.as_tensor(token, device=device)
        self.sizes = torch.as_tensor(sizes, device=device)
        longest = int(self.counts.max())
        places = np.repeat(np.arange(self.frames) * longest - offsets, self.counts) + np.arange(self.total)
        self.longest = longest
        self._masks: dict[tuple[torch.dtype, bool], Tensor] = {}
        self.places = torch.as_tensor(places, device=device)

    def merge(self, patches: Tensor) -> Tensor:
        """Average the patches of each region: (T, patches, width) -> (1, S, width). A lone patch passes unchanged."""
        sums = patches.new_zeros(self.total, patches.shape[-1], dtype=torch.float32)
        sums.index_add_(0, self.token, patches.flatten(0, 1).float())
        return (sums / self.sizes[:, None]).to(patches.dtype)[None]

    def scatter(self, tokens: Tensor) -> Tensor:
        """Give every patch its region's result: (1, S, width) -> (T, patches, width)."""
        return tokens[0][self.token].unflatten(0, (self.frames, self.patches))

    def pad(self, tokens: Tensor) -> Tensor:
        """Set the frames side by side: (1, S, width) -> (T, largest K_t, width), zeros in unused places."""
        out = tokens.new_zeros(self.frames * self.longest, tokens.shape[-1])
        return out.index_copy(0, self.places, tokens[0]).unflatten(0, (self.frames, self.longest))

    def unpad(self, padded: Tensor) -> Tensor:
        """The reverse of `pad`: (T, largest K_t, width) -> (1, S, width)."""
        return padded.flatten(0, 1)[self.places][None]

    def bias(self, dtype: torch.dtype, proportional: bool = False) -> Tensor | None:
        """What to add to attention scores: (T, 1, 1, largest K_t), or None where nothing has to be added.

        Unused places get the smallest number. proportional: a token also gets log(patches it stands for), as if its
        patches were all still there (ToMe's proportional attention).
        """
        if not proportional and (self.counts == self.longest).all():
            return None
        if (dtype, proportional) not in self._masks:
            self._masks[dtype, proportional] = self._mask(dtype, proportional)
        return self._masks[dtype, proportional]

    def _mask(self, dtype: torch.dtype, proportional: bool) -> Tensor:
        mask = torch.full((self.frames * self.longest,), torch.finfo(dtype).min, dtype=dtype, device=self.token.device)
        weight = (
            self.sizes.to(torch.float32).log().to(dtype) if proportional else torch.zeros_like(self.sizes, dtype=dtype)
        )
        return mask.index_copy(0, self.places, weight).view(self.frames, 1, 1, self.longest)

    def headed(self, unit: int) -> Packing:
        """The same regions where each is `unit` tokens, one for each place in a cell of so many patches, behind a token
        of its own in front of each frame: a class token. What comes in: that token, then the patches cell by cell."""
        if self._headed is None:
            cells = 1 + unit * self._flat[:, :, None] + np.arange(unit)
            patches = np.concatenate((np.zeros((self.frames, 1), np.int64), cells.reshape(self.frames, -1)), axis=1)
            made = self._headed = Packing(patches[:, None].astype(np.int32), self.token.device)
            central = (1 + unit * self.central_patch[:, None] + torch.arange(unit, device=self.token.device)).flatten()
            ends = tuple(np.cumsum(unit * self.counts)[:-1].tolist())
            made.central_patch = torch.cat([torch.cat((one.new_zeros(1), one)) for one in central.tensor_split(ends)])
        return self._headed

    @cached_property
    def central_patch(self) -> Tensor:
        """int64 (S,): for each token, the place in its frame of the member patch nearest to its region's centre."""
        row, column = (np.tile(axis, self.frames) for axis in np.unravel_index(self.order, self.grid))
        token, sizes = self.token.cpu().numpy(), self.sizes.cpu().numpy()
        centre_row, centre_column = (np.bincount(token, weights=axis) / sizes for axis in (row, column))
        distance = (row - centre_row[token]) ** 2 + (column - centre_column[token]) ** 2
        order = np.lexsort((np.arange(len(token)), distance.round(9), token))
        first = order[np.concatenate(([0], np.cumsum(sizes)[:-1]))]
        return torch.as_tensor(first % self.patches, device=self.token.device)


def _renumbered(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same regions, numbered by where they first appear."""
    first, member = np.unique(labels, return_index=True, return_inverse=True)[1:]
    return np.argsort(np.argsort(first))[member]


def merge_embeddings(
    packing: Packing, embedded: Tensor, positions: Tensor | None, pos: Literal["mean", "centroid"] = "mean"
) -> Tensor:
    """Merge what enters the encoder, patch plus position embedding: (T, patches, width) -> (1, S, width).

    pos "mean": average both. "centroid": average the patches only and give the region the position of its central
    patch; for ring-shaped regions, whose mean position means nothing. positions: (patches, width), needed for
    "centroid".
    """
    merged = packing.merge(embedded)
    if pos == "mean":
        return merged
    if positions is None:
        raise ValueError("pos='centroid' needs the encoder's position embeddings, which this model does not have")
    mean_position = packing.merge(positions.expand(packing.frames, -1, -1))
    central = merged - mean_position + positions[packing.central_patch].to(merged.dtype)
    return torch.where((packing.sizes > 1)[:, None], central, merged)


def refuse_merging(first: nn.Module, packing: Callable[[], Packing | None]) -> RemovableHandle:
    """For an encoder whose attention takes no mask, which would have to set frames apart: a hook on its first module
    that raises ValueError where patches are to be merged, and lets everything else pass."""

    def refuse(module: nn.Module, args: Any, output: Any) -> None:
        if packing() is not None:
            raise ValueError(
                "RPM needs the vision tower on 'sdpa' or 'eager' attention; it is on 'flash_attention_2', which takes "
                "no mask (other methods, and rpm=false, run on it)"
            )

    return first.register_forward_hook(refuse)
