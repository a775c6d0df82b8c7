"""A prompt after its video was shortened: what was kept, and the shortened sequence itself."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter
from codecmeta.compression.engine.contract import ContractError
from codecmeta.compression.engine.prompt import Prompt
from codecmeta.compression.plan import Layout, Plan, Reduced


@dataclass
class Block:
    """One block of `apply` as the caches know it that were filled there. whole: whether they count tokens just now as
    the plain model's would, which they do outside the language model, where positions and new tokens are counted."""

    whole: bool = True


@dataclass
class Compressed:
    """One sequence whose prompt was shortened: which of its `length` tokens were kept, its last and its largest
    position ids, whether kept tokens preserve theirs, what happened to it inside the layers, and the block where that
    was. It lies in its cache and is copied with it. held: tokens of the prompt in the first layer of the cache.
    proved: whether the first new token was seen to be where it belongs."""

    keep: Tensor
    length: int
    last: Tensor
    largest: Tensor
    keep_ids: bool
    block: Block
    prompt: Prompt | None = None
    held: int = 0
    proved: bool = False

    def __deepcopy__(self, memo: Any) -> Compressed:
        """For a copy of the cache; the block is the same, and no tensor here is ever written to."""
        return copy(self)

    @property
    def removed(self) -> int:
        """Tokens that the cache lacks."""
        return self.length - len(self.keep)

    def whole_length(self, actual: int) -> int | None:
        """Tokens of the plain model's cache, where the first layer of this one holds `actual`; None where the cache
        should say what it has."""
        return self.length + actual - self.held if self.block.whole else None

    def follow(self, call: names.Call, ids: Tensor | None, new: int, own: tuple[int, int]) -> names.Call:
        """Tokens after the prompt: positions and mask of the full sequence -> those of the shortened one.

        new: tokens that have followed it already. own: placeholders that stand for video and images. Raises ValueError
        for what cannot follow, ContractError where the model puts the tokens elsewhere.
        """
        count = call["embeddings"].shape[1]
        if new < 0:
            raise ValueError("the cache was cut into the prompt, which was shortened as a whole; start anew")
        if count > 1 and ids is not None and ((ids == own[0]) | (ids == own[1])).any():
            raise ValueError(
                "what follows holds placeholders of a video or an image, and the cache has its video already: pass new "
                "text only, and ask about another video with a cache of its own"
            )
        if count > 1 and self.prompt is not None and self.prompt.inside.forget:
            raise ValueError(
                "the cache has forgotten the video in some layers and cannot take a second question; start anew"
            )
        mask, positions = call.get("mask"), call.get("positions")
        columns = self.length + new + count
        if mask is not None and (mask.dim() != 2 or mask.shape[1] != columns):
            raise ValueError(
                f"attention_mask is {tuple(mask.shape)}, expected (sequences, {columns}): all {self.length} tokens of "
                f"the prompt as the plain model has it, {new} that followed, {count} new"
            )
        ends = [end + 1 + new + torch.arange(count, device=end.device) for end in (self.last, self.largest)]
        if positions is None:
            positions = ends[0]
        # behind the prompt's last token, or behind the video's last second, if that is later
        if not any(bool((names.rotated(positions) == end).all()) for end in ends):
            raise ContractError(
                "every new token right behind the last one",
                f"new tokens at positions {positions.flatten().tolist()} do not follow the prompt, which ended at "
                f"{self.last.flatten().tolist()}, and {new} tokens behind it",
            )
        call.put(positions=positions if self.keep_ids else positions - self.removed)
        if mask is not None:
            call.put(mask=torch.cat((mask[:, self.keep], mask[:, self.length :]), dim=1))
        return call


def compressed(
    keep: Tensor, length: int, positions: Tensor, keep_ids: bool, block: Block, prompt: Prompt | None
) -> Compressed:
    """What is known when a prompt of `length` tokens with these position ids was shortened to `keep`."""
    rotated = names.rotated(positions)
    return Compressed(keep, length, rotated[..., -1:], rotated.max(), keep_ids, block, prompt)


def check_prompt(
    adapter: Adapter, inside: bool, ids: Tensor, places: Tensor, cache: Any, call: names.Call, layout: Layout
) -> None:
    """Refuse what would come out wrong, with the reason."""
    if len(ids) != 1:
        raise ValueError(
            f"{len(ids)} sequences at once (a batch, beams or several return sequences): every sequence would keep "
            "another number of tokens; run them one by one"
        )
    if (ids == adapter.image_token).any():
        raise ValueError("the prompt holds images beside the video; only one video per prompt is supported")
    expected = layout.tokens_full + layout.separators
    whole = not adapter.one_piece or contiguous(places[:, 1].cpu().numpy())
    if len(places) != expected or not whole:
        raise ValueError(
            f"the prompt holds {len(places)} video placeholders, expected {expected} in one piece "
            f"({layout.tokens_full} tokens and {layout.separators} separators): one video per prompt, entered in "
            "one piece (no chunked prefill)"
        )
    if inside and cache is None and call.get("caching") is False:
        raise ValueError("a method that acts inside the layers needs the key-value cache (use_cache=True)")
    if cache is not None and not names.grows(cache):
        raise ValueError(f"the cache is a {type(cache).__name__}; only DynamicCache can hold a shortened prompt")
    if cache is not None and names.tokens_in(cache):
        raise ValueError("the cache already holds tokens; the video must be in the first prompt that enters it")
    mask = call.get("mask")
    if mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2):
        raise ValueError("attention_mask must be two-dimensional (sequences, tokens) or None")


def contiguous(places: NDArray[np.int64]) -> bool:
    """Whether ascending places follow each other without gaps."""
    return int(places[-1] - places[0]) + 1 == len(places)


def tokens_at(embeddings: Tensor, places: NDArray[np.int64]) -> Tensor:
    """(n, width): the tokens of a prompt (1, length, width) at ascending places; a view where these have no gaps, since
    the model holds on to its prompt while the layers run, and a copy would be memory that it does not need."""
    return embeddings[0, places[0] : places[-1] + 1] if contiguous(places) else embeddings[0, places]


def kept_places(
    length: int, where: NDArray[np.int64], slots: NDArray[np.int64], gone: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What is left of a prompt of `length` tokens.

    where: int64 (T * N,) ascending, the place of each slot of the token grid in the prompt. slots: int64 (n,)
    ascending, those that are taken, one by several tokens, perhaps. gone: places of separators that are taken away.
    Everything else stays: text, markers, times, newlines. Returns: int64, for each place that is left, where it was;
    and int64 (n,), which of these hold the visual tokens.
    """
    times = np.ones(length, np.int64)
    times[where] = np.bincount(slots, minlength=len(where))
    times[gone] = 0
    kept = np.repeat(np.arange(length), times)
    visual = np.zeros(length, bool)
    visual[where] = True
    return kept, np.flatnonzero(visual[kept])


def put_in_place(embeddings: Tensor, tokens: Tensor, kept: NDArray[np.int64], visual: NDArray[np.int64]) -> Tensor:
    """A prompt (1, length, width) shortened to `kept`, with `tokens` at `visual`, which stand in one piece.

    Written over the old one where that is possible: the model holds on to its prompt while the layers run, and a second
    one would be memory that the plain model does not need.
    """
    length, first = len(kept), int(visual[0])
    behind = embeddings.shape[1] - (length - first - len(tokens))
    tokens = tokens.to(embeddings.dtype)
    if length > embeddings.shape[1] or embeddings.requires_grad or tokens.requires_grad:
        return torch.cat((embeddings[:, :first], tokens[None], embeddings[:, behind:]), dim=1)
    if tokens.untyped_storage().data_ptr() == embeddings.untyped_storage().data_ptr():
        tokens = tokens.clone()
    after = embeddings[:, behind:].clone()
    embeddings[0, first : first + len(tokens)] = tokens
    embeddings[:, first + len(tokens) : length] = after
    return embeddings[:, :length]


def put_beside(call: names.Call, keep: Tensor, slots: NDArray[np.int64], keep_ids: bool) -> None:
    """Shorten all that a decoder takes per token beside its embeddings: positions, mask and side inputs, of which a
    token has what belongs to its own place, merged or not. keep: int64 (n,), the places of the prompt that are left.
    slots: int64, those of the token grid."""
    positions, mask = call["positions"], call.get("mask")
    if keep_ids and mask is None and call.get("cache") is None:
        # without it, gaps in the positions are taken for packed sequences
        mask = keep.new_ones(1, positions.shape[-1])
    positions = positions[..., keep]
    if not keep_ids:
        positions = positions - (keep - torch.arange(len(keep), device=keep.device))
    call.put(positions=positions, mask=None if mask is None else mask[:, keep])
    if call.get("deepstack") is not None:
        rows = torch.as_tensor(slots, device=keep.device)
        features = [one[rows] for one in call["deepstack"]]
        call.put(visual_mask=call["visual_mask"][:, keep], deepstack=features)
    if call.get("per_layer") is not None:
        call.put(per_layer=call["per_layer"][:, keep])


def no_masks(call: names.Call) -> Any:
    """Have the module around a decoder make no masks for a cache that was shortened: to it, this one holds as much as
    the plain model's. Masks that are made already it takes as they are. Returns what a forward pre-hook returns."""
    return None if names.noted(call.get("cache")) is None else call.put(mask={}).changed


def flat_mask(call: names.Call, around: tuple[Any, Any] | None) -> None:
    """Pass a decoder the two-dimensional mask of which the module around it has made others. around: that mask, and
    the types of the tokens; None where that module makes none."""
    if around is not None:
        call.put(mask=around[0])


def masked(
    adapter: Adapter, call: names.Call, around: tuple[Any, Any] | None, keep: Tensor | None = None
) -> names.Call:
    """Have the masks made anew that `flat_mask` took away. keep: int64, the places of the prompt that are left, None
    for tokens that follow it."""
    if around is None:
        return call
    types = around[1] if keep is None or around[1] is None else around[1][:, keep]
    return call.put(mask=adapter.masks(call, None if keep is None else types))


def realised(plan: Plan, reduced: Reduced, shared: bool) -> NDArray[np.int64]:
    """Tokens by frame as they came out; never silently other than planned. shared: whether several tokens may have one
    slot, as those from before the model's pooling and separators have."""
    counts = reduced.counts(plan.layout)
    kept, planned = int(counts.sum()), plan.tokens
    other = (counts != plan.counts).any() if plan.total is None else kept != planned
    if len(reduced.tokens) != kept or (plan.exact and other) or kept > planned or (counts > plan.counts).any():
        raise RuntimeError(f"planned {planned} tokens ({'exactly' if plan.exact else 'at most'}), got {kept}")
    if (np.diff(reduced.slots) < (0 if shared else 1)).any():
        raise RuntimeError("kept tokens must be in ascending order")
    return counts
