"""A strategy at work on one model: hooks that shorten what the model sees, and the record of what they did.

    with apply(model, Metom(budget=0.5), meta, frames=rows) as session:
        output = model.generate(**inputs)
    print(session.tokens_full, session.tokens_kept, session.kv_bytes)

Nothing outside the model instance is touched, and when the block ends, also by an exception, the hooks are gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter
from codecmeta.compression.engine.contract import ContractError, say_if_newer
from codecmeta.compression.engine.families import adapter_for
from codecmeta.compression.engine.layers import hook_layers, planned_runs
from codecmeta.compression.engine.packing import Packing
from codecmeta.compression.engine.prompt import Prompt, forget
from codecmeta.compression.engine.proof import check_cache, check_decoder, check_fired, check_layers, check_lengths
from codecmeta.compression.engine.shortened import (
    Block,
    Compressed,
    check_prompt,
    compressed,
    contiguous,
    flat_mask,
    kept_places,
    masked,
    no_masks,
    put_beside,
    put_in_place,
    realised,
    tokens_at,
)
from codecmeta.compression.inside import Inside
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy, rows_of
from codecmeta.record.metadata import Metadata

PACKING = "hooks that merge patches"


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

    Raises ValueError, there or when the model runs, for what a method cannot do on this model or with these inputs, and
    ContractError where the installed transformers is not wired as this needs it: what can be seen without running is
    checked when the block begins, the rest while the first prompt and the first new token pass.
    """
    session = Session(adapter_for(model), strategy, meta, frames)
    try:
        session.attach(model)
        yield session
    finally:
        session.detach()


class Session:
    """What a strategy did; filled while the model runs, and about its latest prompt.

    plan: the `Plan`, made when the block begins, or with the first picture where only the inputs tell how many there
    are. tokens_full: visual tokens of the plain model (its newlines not counted). tokens_kept: those that entered the
    language model. newlines_kept: newlines of the model's own that entered with them. counts: int64 (T,), the tokens by
    frame. kept: bool (T, tokens per frame), the places of the token grid that they took. homes: int64 (T, tokens per
    frame), the slot (frame * tokens per frame + raster number) of the token that took in what was in each place, -1
    where that was dropped. layer_tokens: visual tokens that enter each layer.
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
        self.newlines_kept = 0
        self.homes: NDArray[np.int64] | None = None
        self.layer_tokens: list[int] = []
        self.kv_bytes = 0
        self.seconds = {"vision": 0.0, "strategy": 0.0, "prefill": 0.0}
        self.first_token_at: float | None = None
        self._meta = meta
        self._rows = rows_of(strategy, meta, frames)
        self._planning = 0.0
        self.fired: Counter[str] = Counter()
        self._packing: Packing | None = None
        self._packed_hooks = 0
        self._patches: Tensor | None = None
        self._attention: Tensor | None = None
        self._encoded = False
        self._ids: Tensor | None = None
        self._around: tuple[Any, Any] | None = None
        self._started = 0.0
        self._block = Block()
        self._new = 0
        self._shortened: Compressed | None = None
        self._current: Compressed | None = None
        self._inside: Inside | None = None
        self.prompt: Prompt | None = None
        self._prefilling = False
        self._handles: list[RemovableHandle] = []
        self._recalled: Tensor | None = None
        self.remember: Callable[[Tensor, Any], None] | None = None

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

    def encoding(self) -> tuple[Any, ...] | None:
        """What the tokens that the vision encoder makes of a clip depend on beside the clip: a key. None where the
        encoder has to run: for the plan, or for its attention."""
        plan, strategy = self.plan, self.strategy
        if plan is None or strategy.needs_pictures or strategy.needs_vision_attention:
            return None
        if plan.regions is None:
            return ()
        return plan.regions.tobytes(), getattr(strategy, "pos", ""), getattr(strategy, "proportional", "")

    def recall(self, video: Tensor, patches: Tensor) -> None:
        """Let the next prompt, which must come without pixels, have what was given to `remember`: the tokens, and what
        the projector made of the patches."""
        self._recalled, self._patches, self._encoded = video, patches, True

    def attach(self, model: nn.Module) -> None:
        """Hook into the model; plan already, where the number of pictures is known."""
        language_model = self.adapter.language_model
        self._inside = self.strategy.inside(len(self.adapter.layers))
        check_decoder(self.adapter, self.keep_ids, self._inside)
        say_if_newer()
        for hook in language_model._forward_pre_hooks.values():
            if isinstance(getattr(hook, "__self__", None), Session):
                raise RuntimeError("a strategy is already applied to this model; leave its `with` block first")
        if self._rows is not None and not self.strategy.needs_pictures:
            layout = self.adapter.layout(len(self._rows), self._meta.stream if self._meta else None)
            if layout is not None:
                self._make_plan(layout)
        add, first, last = self._handles.append, *self.adapter.vision
        add(first.register_forward_pre_hook(self._before_vision, with_kwargs=True))
        before = len(self._handles)
        for handle in self.adapter.merge_patches(self._pack, self.strategy):
            add(handle)
        self._packed_hooks = len(self._handles) - before
        if self.strategy.needs_vision_attention:
            for handle in self.adapter.watch_vision(self._see):
                add(handle)
        add(last.register_forward_hook(self._after_vision))
        add(self.adapter.inner.register_forward_pre_hook(self._before_inner, with_kwargs=True))
        if self._inside is not None:
            check_layers(self.adapter, self._inside)
            for handle in hook_layers(self.adapter, self._inside, self):
                add(handle)
        add(language_model.register_forward_pre_hook(self._before_language_model, with_kwargs=True))
        add(language_model.register_forward_hook(self._after_language_model, with_kwargs=True))
        add(language_model.register_forward_hook(self._whole_again, always_call=True))
        add(model.register_forward_hook(self._after_model))

    def detach(self) -> None:
        """Take every hook away again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._packing, self._block.whole = None, False

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
        self._encoded, self._attention = True, None
        self.fired.clear()
        self._started = self._now()

    def _pack(self) -> Packing | None:
        self.fired[PACKING] += 1
        return self._packing

    def _after_vision(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._packing is not None and self.fired[PACKING]:  # not where the encoder's output is remembered
            check_fired(self.fired, {PACKING: self._packed_hooks})
        self._packing = None
        self._patches = output if self.strategy.needs_patches or self.remember else None
        self.seconds["vision"] = self._now() - self._started

    def _see(self, attention: Tensor) -> None:
        self._attention = attention

    def _before_inner(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        call = names.Call(module, args, kwargs)
        if reason := self.adapter.refusal(call):
            raise ValueError(reason)
        self._ids = call.get("ids")
        if not self.adapter.around:
            return None
        self._around = call.get("mask"), call.get("token_types")
        return no_masks(call)

    def _before_language_model(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        call = names.Call(module, args, kwargs)
        cache = call.get("cache")
        self.fired.clear()
        ids, self._ids = self._ids, None
        sequence = names.noted(cache)
        self._current, self._shortened, self.prompt = sequence, None, None
        if sequence is not None:
            if sequence.block is not self._block:
                raise ValueError(
                    "the cache was filled in another block of apply(); a follow-up question belongs into the block in "
                    "which the prompt was shortened"
                )
            self._new = names.tokens_in(cache) - sequence.held
            flat_mask(call, self._around)
            changed = sequence.follow(call, ids, self._new, (self.adapter.video_token, self.adapter.image_token))
            self._new += call["embeddings"].shape[1]
            self._block.whole = False
            return masked(self.adapter, changed, self._around).changed
        if cache is not None and not names.has_note(cache) and names.tokens_in(cache):
            raise ContractError(
                "a cache that holds tokens to have been filled in this block, by this model, as one object",
                f"a {type(cache).__name__} with {names.tokens_in(cache)} tokens was never seen before",
            )
        if ids is None:
            raise ValueError("the prompt came as inputs_embeds; pass input_ids, so that the video's place is known")
        places = (ids == self.adapter.video_token).nonzero()
        if not len(places):
            return None
        start = self._now()
        changed = self._shorten(ids, places, cache, call).changed
        self._prefilling, self._started = True, self._now()
        self.seconds["strategy"] = self._planning + self._started - start
        return changed

    def _shorten(self, ids: Tensor, places: Tensor, cache: Any, call: names.Call) -> names.Call:
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
        self.homes = np.arange(full).reshape(self.kept.shape)
        self.layer_tokens, self.newlines_kept = [full] * plan.layout.depth, plan.layout.separators
        embeddings, columns = call["embeddings"], places[:, 1]
        if self._recalled is not None:
            embeddings[0, columns] = self._recalled
        elif self.remember is not None:
            self.remember(embeddings[0, columns], self._patches)
        if plan.slots is None and self._inside is None:
            return call
        flat_mask(call, self._around)
        check_prompt(self.adapter, self._inside is not None, ids, places, cache, call, plan.layout)
        where, own = (columns.cpu().numpy()[among] for among in plan.layout.places())
        if plan.slots is None:
            return self._pass_whole(where, own, call)
        whole = contiguous(where)  # then the grid is a view, and what comes out can be written over it
        grid = tokens_at(embeddings, where).unflatten(0, (plan.layout.frames, -1))
        # where the model does not pool, its tokens are the finest there is
        patches = grid if plan.layout.patches == plan.layout.tokens else self._patches
        if self.strategy.needs_vision_attention and self._attention is None:
            raise ContractError("the watched layer of the vision encoder to run", "its hook never fired")
        context = Context(patches, self._attention, self.adapter.newline(), self._meta, self._rows)
        reduced = self.strategy.reduce(plan, grid, context)
        self._patches = self._attention = None
        shared = self.strategy.needs_patches and plan.layout.patches != plan.layout.tokens
        self.counts = realised(plan, reduced, shared or reduced.separators is not None)
        self.kept.flat[:] = False
        self.kept.flat[reduced.slots] = True
        self.homes = reduced.homes(plan.layout)
        self.layer_tokens = [len(reduced.slots)] * plan.layout.depth
        length = embeddings.shape[1]
        left = plan.layout.newlines_left(reduced.slots) & (reduced.separators is None)
        kept, visual = kept_places(length, where, reduced.slots, own[~left])
        keep = torch.as_tensor(kept, device=embeddings.device)
        index = torch.as_tensor(visual, device=embeddings.device)
        if whole:
            embeddings = put_in_place(embeddings, reduced.tokens, kept, visual)
        else:
            embeddings = embeddings[:, keep].index_copy(1, index, reduced.tokens[None].to(embeddings.dtype))
        if self._inside is not None:
            reduced = replace(reduced, tokens=tokens_at(embeddings, visual))
        positions = call.get("positions")
        positions = torch.arange(length, device=keep.device)[None] if positions is None else positions
        self.newlines_kept = int(left.sum())
        prompt = self._enter(reduced, visual, len(kept), np.searchsorted(kept, own[left]), np.flatnonzero(left))
        self._shortened = compressed(keep, length, positions, self.keep_ids, self._block, prompt)
        call.put(embeddings=embeddings, positions=positions)
        put_beside(call, keep, reduced.slots, self.keep_ids)
        return masked(self.adapter, call, self._around, keep)

    def _pass_whole(self, where: NDArray[np.int64], own: NDArray[np.int64], call: names.Call) -> names.Call:
        """Nothing is taken out before the language model, but something will be inside."""
        embeddings = call["embeddings"]
        length = embeddings.shape[1]
        every = torch.arange(length, device=embeddings.device)
        positions = call.get("positions")
        positions = every[None] if positions is None else positions
        whole = Reduced(tokens_at(embeddings, where), np.arange(len(where), dtype=np.int64))
        prompt = self._enter(whole, where, length, own, np.arange(len(own)))
        self._shortened = compressed(every, length, positions, self.keep_ids, self._block, prompt)
        return call.put(positions=positions)

    def _enter(self, entered: Reduced, where: NDArray[np.int64], length: int, *newlines: Any) -> Prompt | None:
        """Follow a prompt of `length` tokens through the layers, if the method acts there."""
        if self._inside is not None and self.plan is not None:
            entered = replace(entered, layout=self.plan.layout)
            self.prompt = Prompt(self._inside, entered, where, length, *newlines)
        return self.prompt

    def cached_places(self, layer: int, total: int, device: torch.device) -> Tensor | None:
        """Which of `total` columns of an attention mask are in a layer's cache, None where all are."""
        prompt = self._current.prompt if self._current else None
        if prompt is None:
            return None
        new = torch.arange(prompt.length, total, device=device)
        return torch.cat((prompt.kept(layer, device), new))

    def _after_language_model(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        call = names.Call(module, args, kwargs)
        cache = names.cache_of(output)
        check_cache(cache, call.get("cache"), names.uses_cache(module, call.get("caching")))
        if self._prefilling:
            self._prefilling = False
            self.seconds["prefill"] = self._now() - self._started
            self._settle(cache)
        elif self._current is not None and (not self._current.proved or call["embeddings"].shape[1] > 1):
            self._prove(self._current, cache, "after new tokens")
            self._current.proved = True
        if cache is not None and not names.has_note(cache):
            names.note(cache, None)

    def _settle(self, cache: Any) -> None:
        """The prompt is through: does the cache hold what was planned?"""
        shortened, self._shortened = self._shortened, None
        self._new = 0
        if shortened is not None and cache is not None:
            self._prove(shortened, cache, "after the prompt")
        if self.prompt is not None:
            self._leave(self.prompt, cache)
        if shortened is not None and cache is not None:
            shortened.held = names.tokens_in(cache)
            names.note(cache, shortened)
        self.kv_bytes = names.cache_bytes(cache)

    def _whole_again(self, module: nn.Module, args: Any, output: Any) -> None:
        """The language model is through, or has failed."""
        self._block.whole = True

    def _prove(self, sequence: Compressed, cache: Any, when: str) -> None:
        """Raise ContractError unless all layers hold what they should, and hooks fired as often as planned."""
        depth = len(self.adapter.layers)
        if sequence.prompt is not None and self._inside is not None:
            check_fired(self.fired, planned_runs(depth, self._inside))
            held = [sequence.prompt.held(layer) for layer in self.adapter.attending]
        else:
            held = [len(sequence.keep)] * len(self.adapter.attending)
        check_lengths(cache, [tokens + self._new for tokens in held], when)

    def _leave(self, prompt: Prompt, cache: Any) -> None:
        """The prompt is through: delete what the method wants forgotten, and note what each layer saw."""
        self.layer_tokens = [len(prompt.by_layer[layer]) for layer in range(len(self.adapter.layers))]
        attending = self.adapter.attending
        forget(cache, (layer for layer in prompt.inside.forget if layer in attending), prompt)
        held = [prompt.held(layer) for layer in attending]
        check_lengths(cache, held, "after layers forgot the video")
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
