"""The training forward: many questions about one clip at once, and the losses.

The sequence of one clip is prefix, visual tokens, newline, then blocks of one question and its answer each. A block
sees everything before the blocks and itself, and every block starts at the same position: to each question the clip
looks exactly as it does in `generate()`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlavaOnevisionForConditionalGeneration
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from codecmeta.models.small.model import FRAME_TOKENS, IMAGE_MEAN, IMAGE_STD
from codecmeta.models.small.training.data import HEADS, IGNORE, VISUAL_TOKENS, never_shown
from codecmeta.models.small.training.thinning import Thinning

SEEING_LAYER = 3  # what a visual token shows must be readable before this layer ...
NAMING_LAYER = 3  # ... in which the words of a question find the tokens that they talk about
NAMING_HEADS = 2
TRACKING_LAYER = 1  # in which a visual token's first head finds its object in earlier frames


class Auxiliary(nn.Module):
    """Linear read-outs that exist in training only: what every patch and every visual token shows."""

    def __init__(self, vision_size: int, text_size: int) -> None:
        super().__init__()
        self.patch = nn.ModuleList([nn.Linear(vision_size, HEADS["shape"]), nn.Linear(vision_size, HEADS["colour"])])
        self.token = nn.ModuleList([nn.Linear(text_size, size) for size in HEADS.values()])
        self.patch_place = nn.Linear(vision_size, 2)
        self.token_place = nn.Linear(text_size, 4)


@dataclass
class Losses:
    """Scalars to add up, and what to log."""

    answer: Tensor
    patch: Tensor
    token: Tensor
    naming: Tensor
    place: Tensor
    tracking: Tensor
    correct: Tensor

    def total(self, place_weight: float, tracking_weight: float) -> Tensor:
        """The training loss."""
        aided = 0.3 * (self.patch + self.token + self.naming)
        return self.answer + aided + place_weight * self.place + tracking_weight * self.tracking


def losses(
    model: LlavaOnevisionForConditionalGeneration,
    auxiliary: Auxiliary,
    batch: dict[str, Tensor],
    prefix: Tensor,
    thinning: Thinning | None = None,
) -> Losses:
    """All losses of a batch made by `data.collate`.

    Args:
        model, auxiliary: what is trained.
        batch: pixels, text and labels.
        prefix: int64 (length,), the text before the video.
        thinning: how to remove visual tokens, if at all.
    """
    pixels = normalise(batch["pixels"])
    preference = None if thinning is None or thinning.strength == 0 else thinning.preference(batch)
    patches = encode(model, pixels, thinning, preference)
    visual = project(model, patches, clips=len(batch["text"]))
    positions = (batch["frames"][:, :, None] * FRAME_TOKENS + torch.arange(FRAME_TOKENS)).flatten(1)
    kept = torch.arange(visual.shape[1]).expand(len(visual), -1)
    if thinning is not None:
        visual, kept = thinning.reduce(visual, preference)
        positions = positions.gather(1, kept)
    contiguous = thinning is not None and thinning.contiguous
    objects = batch["objects"].flatten(1).gather(1, kept)
    gone = {} if thinning is None else thinning.leaving(kept, preference)
    hidden, seeing, naming, tracking = language_model(model, visual, positions, contiguous, batch, prefix, gone)
    frames = kept // FRAME_TOKENS

    answers, correct = answer_loss(model, hidden, batch)
    labels = batch["tokens"].flatten(2).gather(2, kept.expand(len(HEADS), -1, -1))
    token = _read_out(auxiliary.token, seeing, labels)
    patch = _read_out(auxiliary.patch, patches, batch["patches"].flatten(3).flatten(1, 2))
    wanted = batch["token_places"].flatten(2).gather(2, kept.expand(4, -1, -1))
    place = _place_loss(auxiliary.token_place, seeing, wanted)
    place = place + _place_loss(auxiliary.patch_place, patches, batch["patch_places"].flatten(3).flatten(1, 2))
    named = naming_loss(naming, batch, kept)
    return Losses(answers, patch, token, named, place, tracking_loss(tracking, objects, frames), correct)


def final_states(model: LlavaOnevisionForConditionalGeneration, batch: dict[str, Tensor], prefix: Tensor) -> Tensor:
    """Hidden states of all questions after the last layer, float (clips, questions, length, size); all tokens kept."""
    visual = project(model, encode(model, normalise(batch["pixels"]), None), clips=len(batch["text"]))
    places = torch.arange(visual.shape[1]).expand(len(visual), -1)
    return language_model(model, visual, places, False, batch, prefix, {})[0]


def vision_losses(
    model: LlavaOnevisionForConditionalGeneration, auxiliary: Auxiliary, batch: dict[str, Tensor]
) -> Losses:
    """The losses on patches alone: single frames teach the vision tower much faster than clips do."""
    patches = encode(model, normalise(batch["pixels"]), None)
    patch = _read_out(auxiliary.patch, patches, batch["patches"].flatten(3).flatten(1, 2))
    place = _place_loss(auxiliary.patch_place, patches, batch["patch_places"].flatten(3).flatten(1, 2))
    zero = patch.new_zeros(())
    return Losses(zero, patch, zero, zero, place, zero, torch.zeros_like(batch["answers"], dtype=torch.bool))


def normalise(pixels: Tensor) -> Tensor:
    """uint8 (clips, frames, height, width, 3) to float32 (clips*frames, 3, height, width)."""
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    return ((pixels.flatten(0, 1).float() / 255 - mean) / std).permute(0, 3, 1, 2)


def encode(
    model: LlavaOnevisionForConditionalGeneration,
    pixels: Tensor,
    thinning: Thinning | None,
    preference: Tensor | None = None,
) -> Tensor:
    """The vision tower up to its last layer: float (clips*frames, patches, vision size)."""
    tower = model.model.vision_tower
    hidden, weigh = tower.embeddings(pixels), None
    if thinning is not None:
        hidden, weigh = thinning.blur(hidden, preference)
    for layer in tower.encoder.layers:
        hidden = layer(hidden, weigh)
    return hidden


def project(model: LlavaOnevisionForConditionalGeneration, patches: Tensor, clips: int) -> Tensor:
    """Projector and pooling: float (clips, frames*16, text size)."""
    pooled = model.model.apply_pooling(model.model.multi_modal_projector(patches))
    return pooled.reshape(clips, -1, pooled.shape[-1])


def language_model(
    model: LlavaOnevisionForConditionalGeneration,
    visual: Tensor,
    places: Tensor,
    contiguous: bool,
    batch: dict[str, Tensor],
    prefix: Tensor,
    gone: dict[int, Tensor],
    whole: int = VISUAL_TOKENS,
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], Tensor]:
    """Run the decoder layers. gone: by layer, which visual tokens nobody sees from there on, bool (clips, visual).
    whole: visual tokens of a clip of which nothing was left out.

    Returns: the final hidden states of the blocks (clips, questions, length, size), the visual tokens' hidden states
    before `SEEING_LAYER` (clips, visual, size), the naming words' log attention (named, heads, visual), and the log
    attention of the first head of `TRACKING_LAYER` between visual tokens (clips, visual, visual).
    """
    decoder = model.model.language_model
    clips, count, length = batch["text"].shape
    seen = len(prefix) + visual.shape[1] + 1
    parts = (
        decoder.embed_tokens(prefix).expand(clips, -1, -1),
        visual,
        model.model.image_newline.expand(clips, 1, -1).to(visual.dtype),
        decoder.embed_tokens(batch["text"].flatten(1)),
    )
    hidden = torch.cat([part.to(visual.dtype) for part in parts], dim=1)
    positions = _positions(places, contiguous, clips, count, length, len(prefix), whole)
    rotary = decoder.rotary_emb(hidden, positions)
    mask = _mask(seen, count, length, hidden.dtype)
    seeing, naming, tracking = hidden, (hidden, hidden), hidden
    for number, layer in enumerate(decoder.layers):
        if number in gone:
            hidden_from_all = nn.functional.pad(gone[number], (len(prefix), mask.shape[-1] - seen + 1))
            mask = torch.where(hidden_from_all[:, None, None], torch.finfo(mask.dtype).min, mask)
        if number == SEEING_LAYER:
            seeing = hidden[:, len(prefix) : seen - 1]
        if number == NAMING_LAYER:
            naming = _naming_attention(layer, hidden, rotary, batch, len(prefix), seen)
        if number == TRACKING_LAYER:
            tracking = _tracking_attention(layer, hidden[:, : seen - 1], rotary, len(prefix))
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
    return decoder.norm(hidden[:, seen:]).unflatten(1, (count, length)), seeing, naming, tracking


def _positions(
    places: Tensor, contiguous: bool, clips: int, count: int, length: int, prefix: int, whole: int
) -> Tensor:
    """int64 (clips, sequence): kept tokens keep their place in the full clip, or close ranks if `contiguous`."""
    tokens = places.shape[1]
    newline = tokens if contiguous else whole
    visual = torch.arange(tokens).expand(clips, -1) if contiguous else places
    block = (newline + 1 + torch.arange(length)).repeat(count)
    tail = torch.cat([torch.tensor([newline]), block]).expand(clips, -1)
    return torch.cat([torch.arange(prefix).expand(clips, -1), visual + prefix, tail + prefix], dim=1)


def _mask(seen: int, count: int, length: int, dtype: torch.dtype) -> Tensor:
    """Additive (1, 1, sequence, sequence): causal, and no block sees another block."""
    total = seen + count * length
    block = torch.cat([torch.zeros(seen, dtype=torch.long), 1 + torch.arange(count).repeat_interleave(length)])
    allowed = (block[:, None] == block[None]) | (block[None] == 0)
    allowed &= torch.ones(total, total, dtype=torch.bool).tril()
    return torch.zeros(total, total, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)[None, None]


def answer_loss(
    model: LlavaOnevisionForConditionalGeneration, hidden: Tensor, batch: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Cross entropy of the answer and the end token, and which answers are right, bool (clips, questions)."""
    where = batch["answers"][..., None] + torch.tensor([-1, 0])
    states = hidden.gather(2, where[..., None].expand(-1, -1, -1, hidden.shape[-1]))
    logits = model.lm_head(states).float()
    targets = batch["text"].gather(2, where + 1)
    clip, question = (batch["barred"] >= 0).nonzero(as_tuple=True)
    first = logits[..., 0, :].clone()
    first[clip, question, batch["barred"][clip, question]] = float("-inf")
    logits = torch.stack([first, logits[..., 1, :]], dim=-2)
    loss = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view_as(targets)
    return loss[..., 0].mean() + 0.1 * loss[..., 1].mean(), logits[..., 0, :].argmax(-1) == targets[..., 0]


def _read_out(heads: nn.ModuleList, hidden: Tensor, labels: Tensor) -> Tensor:
    """Summed cross entropy of linear heads; labels (heads, ...) shaped like hidden without its last axis.

    The first two heads are shape and colour: there 0 means background, which is frequent and easy and weighs a tenth,
    and pairs held out of training are left out of the choice.
    """
    table = torch.from_numpy(never_shown())
    shape, colour = (target.flatten().clamp(min=0) for target in labels[:2])
    barred = (table.T[colour], table[shape])
    total = hidden.new_zeros((), dtype=torch.float32)
    for number, (head, target) in enumerate(zip(heads, labels, strict=True)):
        logits = head(hidden).float().flatten(0, -2)
        if number < 2:
            logits = logits.masked_fill(barred[number], float("-inf"))
        flat = target.flatten()
        loss = F.cross_entropy(logits, flat, ignore_index=IGNORE, reduction="none")
        weight = (flat != IGNORE) * torch.where((flat == 0) & (number < 2), 0.1, 1.0)
        total = total + (loss * weight).sum() / weight.sum().clamp(min=1)
    return total


def _place_loss(head: nn.Linear, hidden: Tensor, wanted: Tensor) -> Tensor:
    """Summed mean error of places; `wanted` (places, ...) is shaped like hidden without its last axis, NaN = unknown.

    The states are normalised first: their length grows in training, and this loss would drown the others with it.
    """
    known = ~wanted[0].isnan()
    given = head(F.layer_norm(hidden[known], hidden.shape[-1:])).float()
    return F.smooth_l1_loss(given, wanted.movedim(0, -1)[known], beta=0.05) * len(wanted)


def _naming_attention(
    layer: Any,
    hidden: Tensor,
    rotary: tuple[Tensor, Tensor],
    batch: dict[str, Tensor],
    prefix: int,
    seen: int,
) -> tuple[Tensor, Tensor]:
    """Log attention of every naming word's first heads: float (named, heads, visual), and each one's clip."""
    attention = layer.self_attn
    clip, block, place = batch["words"].unbind(1)
    length = batch["text"].shape[2]
    states = layer.input_layernorm(hidden)
    size = attention.head_dim
    keys = attention.k_proj(states)[:, None]
    rows = states[clip, seen + block * length + place]
    queries = attention.q_proj(rows)[:, : NAMING_HEADS * size].unflatten(1, (NAMING_HEADS, size))
    cos, sin = rotary
    keys, _ = apply_rotary_pos_emb(keys, keys, cos, sin)
    at = seen + block * length + place
    queries, _ = apply_rotary_pos_emb(
        queries[:, :, None], queries[:, :, None], cos[clip, at][:, None], sin[clip, at][:, None]
    )
    own = seen + block[:, None] * length + torch.arange(length)
    every = torch.cat([torch.arange(seen).expand(len(clip), -1), own], dim=1)
    near = keys[:, 0][clip[:, None], every]
    scores = (queries[:, :, 0] @ near.transpose(1, 2)).float() * attention.scaling
    future = torch.cat([torch.zeros(len(clip), seen, dtype=torch.bool), torch.arange(length) > place[:, None]], dim=1)
    scores = scores.masked_fill(future[:, None], float("-inf")).log_softmax(-1)
    return scores[..., prefix : seen - 1], clip


def naming_loss(naming: tuple[Tensor, Tensor], batch: dict[str, Tensor], kept: Tensor) -> Tensor:
    """How little of a naming word's attention rests on its object's tokens: -log of the share."""
    attention, clip = naming
    owners = batch["owners"].gather(1, kept[clip])
    shown = owners.any(1)
    share = attention.masked_fill(~owners[:, None], float("-inf"))[shown].logsumexp(-1)
    return -share.mean() if len(share) else attention.new_zeros(())


def _tracking_attention(layer: Any, hidden: Tensor, rotary: tuple[Tensor, Tensor], prefix: int) -> Tensor:
    """Log attention of the layer's first head between visual tokens, float (clips, visual, visual)."""
    attention = layer.self_attn
    length = hidden.shape[1]
    states = layer.input_layernorm(hidden)
    queries = attention.q_proj(states)[..., : attention.head_dim]
    keys = attention.k_proj(states)
    cos, sin = (part[:, :length] for part in rotary)
    queries, keys = (part[:, 0] for part in apply_rotary_pos_emb(queries[:, None], keys[:, None], cos, sin))
    scores = (queries[:, prefix:] @ keys.transpose(1, 2)).float() * attention.scaling
    later = torch.ones(length, length, dtype=torch.bool).triu(1)[prefix:]
    return scores.masked_fill(later, float("-inf")).log_softmax(-1)[..., prefix:]


def tracking_loss(attention: Tensor, objects: Tensor, frames: Tensor) -> Tensor:
    """How little of a visual token's attention rests on its object in earlier frames: -log of the share."""
    same = (objects[:, :, None] == objects[:, None]) & (objects[:, :, None] > 0)
    earlier = same & (frames[:, :, None] > frames[:, None])
    known = earlier.any(-1)
    share = attention[known].masked_fill(~earlier[known], float("-inf")).logsumexp(-1)
    return -share.mean() if len(share) else attention.new_zeros(())


def parameters(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """All parameters of several modules, each once."""
    return list({id(value): value for module in modules for value in module.parameters()}.values())
