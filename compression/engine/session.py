"""A strategy at work on one model: hooks that shorten what the model sees, and the record of what they did.

    with apply(model, Metom(budget=0.5), meta, frames=rows) as session:
        output = model.generate(**inputs)
    print(session.tokens_full, session.tokens_kept, session.kv_bytes)

Nothing outside the model instance is touched, and when the block ends, also by an exception, the hooks are gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import DynamicCache

from codecmeta.compression.engine.adapter import Adapter, adapter_for
from codecmeta.compression.engine.inside import Inside, Prompt, forget, hook_layers
from codecmeta.compression.engine.packing import Packing
from codecmeta.compression.strategy import Context, Layout, Plan, Reduced, Strategy
from codecmeta.record.metadata import Metadata


@contextmanager
def apply(
    model: nn.Module, strategy: Strategy, meta: Metadata | None = None, *, frames: ArrayLike | None = None
) -> Iterator[Session]:
    """Run a transformers video model with fewer tokens, as long as the block lasts.

    >>> with apply(model, Metom(budget=0.5), meta, frames=rows) as session:
    ...     output = model.generate(**inputs, max_new_tokens=20)

    The inputs are those of the plain model, with all placeholders of the video in the prompt, and generate() returns
    what it always returns: prompt ids and new ids. One sequence with one video at a time; the cache grows dynamically.

    model: a supported class, see `codecmeta.compression.FAMILIES`. meta: codec metadata of the video, for methods that
    plan from it. frames: int (pictures,), frame-table rows of the pictures in the inputs; default: the rows for which
    `meta` holds residual maps, as after `codecmeta.extract(path, frames=16)`.

    Raises ValueError, there or when the model runs, for what a method cannot do on this model or with these inputs.
    """
    session = Session(adapter_for(model), strategy, meta, frames)
    try:
        session.attach(model)
        yield session
    finally:
        session.detach()


@dataclass
class Compressed:
    """One sequence whose prompt was shortened: which of its `length` tokens were kept, its last position ids, and what
    happened to it inside the layers."""

    keep: Tensor
    length: int
    last: Tensor
    prompt: Prompt | None = None

    @property
    def removed(self) -> int:
        """Tokens that the cache lacks."""
        return self.length - len(self.keep)


class Session:
    """What a strategy did; filled while the model runs, and about its latest prompt.

    plan: the `Plan`, made when the block begins, or with the first picture where only the inputs tell how many there
    are. tokens_full: visual tokens of the plain model (separators not counted). tokens_kept: those that entered the
    language model. counts: int64 (T,), the same by frame. kept: bool (T, tokens per frame), the places of the
    token grid that they took. layer_tokens: visual tokens that enter each layer.
    encoder_tokens, encoder_full: tokens in the vision encoder. kv_bytes: measured on the cache after the prompt.
    seconds: vision (encoder and projector), strategy (planning and reducing), prefill (the language model over the
    prompt). first_token_at: `time.perf_counter()` when the first scores were there.
    """

    def __init__(self, adapter: Adapter, strategy: Strategy, meta: Metadata | None, frames: ArrayLike | None) -> None:
        self.adapter = adapter
        self.strategy = strategy = strategy.preferring(adapter.preferences)
        self.plan: Plan | None = None
        self.counts: NDArray[np.int64] | None = None
        self.kept: NDArray[np.bool_] | None = None
        self.layer_tokens: list[int] = []
        self.kv_bytes = 0
        self.seconds = {"vision": 0.0, "strategy": 0.0, "prefill": 0.0}
        self.first_token_at: float | None = None
        self._meta = meta
        self._rows = _rows(strategy, meta, frames)
        self._planning = 0.0
        self._packing: Packing | None = None
        self._patches: Tensor | None = None
        self._attention: Tensor | None = None
        self._encoded = False
        self._ids: Tensor | None = None
        self._positioned = False
        self._started = 0.0
        self._sequences: WeakKeyDictionary[Any, Compressed] = WeakKeyDictionary()
        self._shortened: Compressed | None = None
        self._current: Compressed | None = None
        self._inside: Inside | None = None
        self.prompt: Prompt | None = None
        self._prefilling = False
        self._handles: list[RemovableHandle] = []

    @property
    def tokens_full(self) -> int:
        """Visual tokens of the plain model."""
        return self.plan.layout.tokens_full if self.plan else 0

    @property
    def tokens_kept(self) -> int:
        """Visual tokens that entered the language model."""
        return 0 if self.counts is None else int(self.counts.sum())

    @property
    def encoder_full(self) -> int:
        """Tokens of the clip in the plain vision encoder."""
        layout = self.plan.layout if self.plan else None
        return layout.frames * layout.patches_per_frame * layout.unit if layout else 0

    @property
    def encoder_tokens(self) -> int:
        """Tokens of the clip in the vision encoder."""
        return int(self.plan.encoder_tokens.sum()) if self.plan else 0

    @property
    def keep_ids(self) -> bool:
        """Whether kept tokens preserve their position ids."""
        return self.adapter.keep_ids if self.strategy.keep_ids is None else self.strategy.keep_ids

    def attach(self, model: nn.Module) -> None:
        """Hook into the model; plan already, where the number of pictures is known."""
        language_model = self.adapter.language_model
        for hook in language_model._forward_pre_hooks.values():
            if isinstance(getattr(hook, "__self__", None), Session):
                raise RuntimeError("a strategy is already applied to this model; leave its `with` block first")
        if not self.keep_ids and not self.adapter.gapless:
            raise ValueError("this model's position ids are rows and columns and cannot be renumbered; keep_ids=False")
        if self._rows is not None and not self.strategy.needs_pictures:
            layout = self.adapter.layout(len(self._rows), self._meta.stream if self._meta else None)
            if layout is not None:
                self._make_plan(layout)
        add, first, last = self._handles.append, *self.adapter.vision
        add(first.register_forward_pre_hook(self._before_vision, with_kwargs=True))
        for handle in self.adapter.merge_patches(lambda: self._packing, self.strategy):
            add(handle)
        if self.strategy.needs_vision_attention:
            for handle in self.adapter.watch_vision(self._see):
                add(handle)
        add(last.register_forward_hook(self._after_vision))
        add(self.adapter.inner.register_forward_pre_hook(self._before_inner, with_kwargs=True))
        self._inside = self.strategy.inside(len(self.adapter.layers))
        if self._inside is not None:
            for handle in hook_layers(self.adapter.layers, self._inside, self):
                add(handle)
        add(language_model.register_forward_pre_hook(self._before_language_model, with_kwargs=True))
        add(language_model.register_forward_hook(self._after_language_model, with_kwargs=True))
        add(model.register_forward_hook(self._after_model))

    def detach(self) -> None:
        """Take every hook away again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._packing = None

    def _make_plan(self, layout: Layout, pictures: Tensor | None = None) -> Plan:
        start = perf_counter()
        if pictures is None:
            self.plan = self.strategy.plan(layout, self._meta, self._rows)
        else:
            self.plan = self.strategy.plan_with(pictures, layout, self._meta, self._rows)
        self._planning = perf_counter() - start
        return self.plan

    def _before_vision(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        layout = self.adapter.layout_of_call(args, kwargs, self._meta.stream if self._meta else None)
        pictures = layout.frames * layout.pictures
        plan = self.plan
        if self._rows is not None and pictures != len(self._rows):
            raise ValueError(
                f"the inputs hold {pictures} pictures, but {len(self._rows)} frame rows were given; "
                "one video per prompt, and one row per picture"
            )
        if self.strategy.needs_pictures:
            plan = self._make_plan(layout, self.adapter.pictures_of_call(args, kwargs))
        elif plan is None or plan.layout != layout:
            plan = self._make_plan(layout)
        self._packing = None
        if plan.regions is not None:
            device = next(module.parameters()).device
            self._packing = Packing(plan.regions, device, self.adapter.patch_order(plan.layout))
        self._encoded = True
        self._started = self._now()

    def _after_vision(self, module: nn.Module, args: Any, output: Any) -> None:
        self._packing = None
        self._patches = output if self.strategy.needs_patches else None
        self.seconds["vision"] = self._now() - self._started

    def _see(self, attention: Tensor) -> None:
        self._attention = attention

    def _before_inner(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._ids = args[0] if args else kwargs.get("input_ids")
        self._positioned = kwargs.get("position_ids") is not None

    def _before_language_model(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        cache = kwargs.get("past_key_values")
        ids, self._ids = self._ids, None
        sequence = None if cache is None else self._sequences.get(cache)
        self._current, self._shortened, self.prompt = sequence, None, None
        if sequence is not None:
            return args, self._continue(sequence, kwargs)
        if ids is None:
            raise ValueError("the prompt came as inputs_embeds; pass input_ids, so that the video's place is known")
        places = (ids == self.adapter.video_token).nonzero()
        if not len(places):
            return None
        start = self._now()
        kwargs = self._shorten(ids, places, cache, kwargs)
        self._prefilling, self._started = True, self._now()
        self.seconds["strategy"] = self._planning + self._started - start
        return args, kwargs

    def _shorten(self, ids: Tensor, places: Tensor, cache: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Replace the prompt by the one that the strategy leaves over."""
        plan = self.plan
        if plan is None or not self._encoded:
            raise ValueError(
                "the prompt's video did not pass through the vision encoder inside this block: pass pixel values "
                "(no features computed before, no chunked prefill)"
            )
        full = plan.layout.tokens_full
        self.counts = np.full(plan.layout.frames, plan.layout.tokens_per_frame, np.int64)
        self.kept = np.ones((plan.layout.frames, plan.layout.tokens_per_frame), bool)
        self.layer_tokens = [full] * plan.layout.depth
        if plan.slots is None and self._inside is None:
            return kwargs
        self._check_prompt(ids, places, cache, kwargs, full)
        first = int(places[0, 1])
        embeddings = kwargs["inputs_embeds"]
        if plan.slots is None:
            return self._pass_whole(first, full, kwargs)
        grid = embeddings[0, first : first + full].unflatten(0, (plan.layout.frames, -1))
        # where the model does not pool, its tokens are the finest there is
        patches = grid if plan.layout.patches == plan.layout.tokens else self._patches
        context = Context(patches, self._attention, self.adapter.newline(), self._meta, self._rows)
        reduced = self.strategy.reduce(plan, grid, context)
        self._patches = self._attention = None
        shared = self.strategy.needs_patches and plan.layout.patches != plan.layout.tokens
        self.counts = _realised(plan, reduced, shared or reduced.separators is not None)
        self.kept.flat[:] = False
        self.kept.flat[reduced.slots] = True
        self.layer_tokens = [len(reduced.slots)] * plan.layout.depth
        length = embeddings.shape[1]
        every = torch.arange(length, device=embeddings.device)
        slots = torch.as_tensor(reduced.slots, device=embeddings.device)
        behind = first + full + (0 if reduced.separators is None else self.adapter.separators)
        keep = torch.cat((every[:first], first + slots, every[behind:]))
        embeddings = _put_in_place(embeddings, reduced.tokens, first, behind)
        reduced = replace(reduced, tokens=embeddings[0, first : first + len(slots)])
        kwargs = {**kwargs, "inputs_embeds": embeddings}
        positions = kwargs.get("position_ids")
        positions = every[None] if positions is None else positions
        self._shortened = Compressed(keep, length, positions[..., -1:], self._enter(reduced, first, len(keep)))
        positions = positions[..., keep]
        mask = kwargs.get("attention_mask")
        if self.keep_ids and mask is None and cache is None:
            mask = keep.new_ones(1, length)  # without it, gaps in the positions are taken for packed sequences
        if not self.keep_ids:
            positions = positions - (keep - torch.arange(len(keep), device=keep.device))
        return {**kwargs, "position_ids": positions, "attention_mask": None if mask is None else mask[:, keep]}

    def _pass_whole(self, first: int, full: int, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Nothing is taken out before the language model, but something will be inside."""
        embeddings = kwargs["inputs_embeds"]
        length = embeddings.shape[1]
        every = torch.arange(length, device=embeddings.device)
        positions = kwargs.get("position_ids")
        positions = every[None] if positions is None else positions
        whole = Reduced(embeddings[0, first : first + full], np.arange(full, dtype=np.int64))
        self._shortened = Compressed(every, length, positions[..., -1:], self._enter(whole, first, length))
        return {**kwargs, "position_ids": positions}

    def _enter(self, entered: Reduced, first: int, length: int) -> Prompt | None:
        """Follow a prompt of `length` tokens through the layers, if the method acts there."""
        if self._inside is not None and self.plan is not None:
            own = self.adapter.separators if entered.separators is None else 0
            entered = replace(entered, layout=self.plan.layout)
            self.prompt = Prompt(self._inside, entered, first, length, own)
        return self.prompt

    def cached_places(self, layer: int, total: int, device: torch.device) -> Tensor | None:
        """Which of `total` columns of an attention mask are in a layer's cache, None where all are."""
        prompt = self._current.prompt if self._current else None
        if prompt is None:
            return None
        new = torch.arange(prompt.length, total, device=device)
        return torch.cat((prompt.kept(layer, device), new))

    def _check_prompt(self, ids: Tensor, places: Tensor, cache: Any, kwargs: dict[str, Any], full: int) -> None:
        """Refuse what would come out wrong, with the reason."""
        expected = full + self.adapter.separators
        if len(ids) != 1:
            raise ValueError(
                f"{len(ids)} sequences at once (a batch, beams or several return sequences): every sequence would keep "
                "another number of tokens; run them one by one"
            )
        if (ids == self.adapter.image_token).any():
            raise ValueError("the prompt holds images beside the video; only one video per prompt is supported")
        if len(places) != expected or int(places[-1, 1] - places[0, 1]) + 1 != expected:
            raise ValueError(
                f"the prompt holds {len(places)} video placeholders, expected {expected} in one piece "
                f"({full} tokens and {self.adapter.separators} separators): one video per prompt, entered in one piece "
                "(no chunked prefill)"
            )
        if self._inside is not None and cache is None and kwargs.get("use_cache") is False:
            raise ValueError("a method that acts inside the layers needs the key-value cache (use_cache=True)")
        if cache is not None and not isinstance(cache, DynamicCache):
            raise ValueError(f"the cache is a {type(cache).__name__}; only DynamicCache can hold a shortened prompt")
        if cache is not None and cache.get_seq_length():
            raise ValueError("the cache already holds tokens; the video must be in the first prompt that enters it")
        mask = kwargs.get("attention_mask")
        if mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2):
            raise ValueError("attention_mask must be two-dimensional (sequences, tokens) or None")

    def _continue(self, sequence: Compressed, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Tokens after the prompt: positions and mask of the full sequence -> those of the shortened one."""
        count = kwargs["inputs_embeds"].shape[1]
        positions = kwargs.get("position_ids")
        expected = sequence.last + 1 + torch.arange(count, device=sequence.last.device)
        if positions is None:
            positions = expected
        elif not self._positioned:
            positions = positions + sequence.removed  # counted by the model itself, from the shortened cache
        elif not torch.equal(positions, expected.expand_as(positions)):
            raise RuntimeError(
                f"new tokens at positions {positions.flatten().tolist()} do not follow the prompt, which ended at "
                f"{sequence.last.flatten().tolist()}: the cache holds a shortened prompt and cannot be cut or refilled"
            )
        if count > 1 and sequence.prompt is not None and sequence.prompt.inside.forget:
            raise ValueError(
                "the cache has forgotten the video in some layers and cannot take a second question; start anew"
            )
        sequence.last = positions[..., -1:]
        kwargs = {**kwargs, "position_ids": positions if self.keep_ids else positions - sequence.removed}
        mask = kwargs.get("attention_mask")
        if mask is not None:
            kwargs["attention_mask"] = torch.cat((mask[:, sequence.keep], mask[:, sequence.length :]), dim=1)
        return kwargs

    def _after_language_model(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._prefilling:
            self._prefilling = False
            self.seconds["prefill"] = self._now() - self._started
            cache = getattr(output, "past_key_values", None)
            self.kv_bytes = cache_bytes(cache)
            if cache is not None and self._shortened is not None:
                self._sequences[cache] = self._shortened
            if self.prompt is not None:
                self._leave(self.prompt, cache)
            self._shortened = None

    def _leave(self, prompt: Prompt, cache: Any) -> None:
        """The prompt is through: delete what the method wants forgotten, and note what each layer saw."""
        self.layer_tokens = [len(prompt.by_layer[layer]) for layer in range(len(self.adapter.layers))]
        forget(cache, prompt.inside.forget, prompt)
        self.kv_bytes = cache_bytes(cache)
        self.prompt = None

    def _after_model(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.first_token_at is None:
            self.first_token_at = self._now()

    def _now(self) -> float:
        """The clock, after everything that was asked of the device is done."""
        device = next(self.adapter.language_model.parameters()).device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return perf_counter()


def _put_in_place(embeddings: Tensor, tokens: Tensor, first: int, behind: int) -> Tensor:
    """A prompt (1, length, width) with `tokens` for what was from `first` to `behind`.

    Written over the old one where that is possible: the model holds on to its prompt while the layers run, and a second
    one would be memory that the plain model does not need.
    """
    length = first + len(tokens) + embeddings.shape[1] - behind
    tokens = tokens.to(embeddings.dtype)
    if length > embeddings.shape[1] or embeddings.requires_grad or tokens.requires_grad:
        return torch.cat((embeddings[:, :first], tokens[None], embeddings[:, behind:]), dim=1)
    if tokens.untyped_storage().data_ptr() == embeddings.untyped_storage().data_ptr():
        tokens = tokens.clone()
    after = embeddings[:, behind:].clone()
    embeddings[0, first : first + len(tokens)] = tokens
    embeddings[:, first + len(tokens) : length] = after
    return embeddings[:, :length]


def cache_bytes(cache: Any) -> int:
    """Bytes of all keys and values that a transformers cache holds."""
    total = 0
    for layer in getattr(cache, "layers", ()):
        for tensor in (layer.keys, layer.values):
            total += 0 if tensor is None else tensor.numel() * tensor.element_size()
    return total


def _rows(strategy: Strategy, meta: Metadata | None, frames: ArrayLike | None) -> NDArray[np.int64] | None:
    """Rows of the pictures in the inputs, None where the strategy can do without."""
    if frames is not None:
        return np.asarray(frames, np.int64)
    if not strategy.needs_metadata:
        return None
    if meta is None or meta.residual is None:
        raise ValueError(
            f"method {strategy.name!r} plans from codec metadata: pass meta, and as frames the frame-table rows of the "
            "pictures in the inputs"
        )
    return np.asarray(meta.residual.frame, np.int64)


def _realised(plan: Plan, reduced: Reduced, shared: bool) -> NDArray[np.int64]:
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
