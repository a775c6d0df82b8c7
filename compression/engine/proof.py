"""Proof that a model does what strategies rely on, before it answers: what a look at its modules and two tokens through
its attention show when a block begins, and what the first prompt and the first new token show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter
from codecmeta.compression.engine.contract import ContractError
from codecmeta.compression.inside import Inside

_proved: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
"""Attention modules that were seen to heed their mask, and the kernel that they used then."""


def check_decoder(adapter: Adapter, keep_ids: bool, inside: Inside | None) -> None:
    """What every strategy relies on: the arguments that a prompt is shortened by. Raises ValueError where the model
    allows no such numbering, or nothing inside its layers."""
    names.require(adapter.inner, "ids", "positions")
    names.require(adapter.language_model, "embeddings", "positions", "mask", "cache")
    if not keep_ids and not adapter.gapless:
        raise ValueError("this model's position ids are rows and columns and cannot be renumbered; keep_ids=False")
    if keep_ids and not adapter.gapped:
        raise ValueError(
            "this model attends in windows that count tokens, so what is kept has to be numbered without gaps; "
            "keep_ids=True"
        )
    check_place(adapter, inside)


def check_place(adapter: Adapter, inside: Inside | None) -> None:
    """Raise ValueError where a method acts inside the layers of a model that does not allow it."""
    if inside is not None and adapter.before_only:
        raise ValueError(f"{adapter.before_only}; take a method that acts before the language model")


def check_layers(adapter: Adapter, inside: Inside) -> None:
    """What strategies rely on that act inside the layers. Raises ValueError where one wants to cut too early."""
    language_model, first_cut, attending = adapter.language_model, adapter.first_cut, adapter.attending
    if early := [layer for layer in inside.cuts if layer < first_cut]:
        raise ValueError(
            f"this model adds visual features behind its first layers; tokens can be taken out at the entry of layer "
            f"{first_cut} or later, not at {', '.join(map(str, early))}"
        )
    check_watched(inside, attending)
    for number, layer in enumerate(adapter.layers):
        names.require(layer, "hidden", "mask", "rotary")
        if number not in attending:
            continue
        attention: nn.Module = names.part(layer, "attention")
        names.require(attention, "hidden", "rotary", "mask", "cache")
        own = names.part(attention, "number")
        if own != number:
            raise ContractError(f"layer {number} to use place {number} of the cache", f"it says {own}")
        if number in inside.watch + inside.keys:
            for what in ("query projection", "key projection", "head width", "scale"):
                names.part(attention, what)
        kernel = names.implementation(language_model)
        if kernel != "flash_attention_2":
            _check_heeds(attention, kernel, _by_mask(language_model, attention, sets=not adapter.gapless))


def check_watched(inside: Inside, attending: Sequence[int]) -> None:
    """Raise ValueError where a method looks at the attention, or the keys, of layers that have none."""
    if blind := [layer for layer in (*inside.watch, *inside.keys) if layer not in attending]:
        raise ValueError(
            f"layer {', '.join(map(str, blind))} of this model has no attention to look at; let the method act right "
            f"behind one that has: {', '.join(map(str, attending))}"
        )


def check_patch_attention(
    attention: nn.Module, implementation: str, beside: Callable[[Tensor], dict[str, Any]] = lambda hidden: {}
) -> None:
    """A vision encoder whose frames lie side by side, told apart by a mask. beside: hidden states -> what else a call
    has to have, by what it is."""
    names.require(attention, "hidden", "mask")

    def run(hidden: Tensor, alone: bool) -> Tensor:
        mask = None
        if not alone:
            mask = hidden.new_tensor([torch.finfo(hidden.dtype).min, 0.0])[None, None, None]
        return _first(names.call(attention, hidden=hidden, mask=mask, **beside(hidden)))

    _check_heeds(attention, implementation, run)


def check_segments(attention: nn.Module, implementation: str) -> None:
    """A vision encoder whose frames lie one behind the other, told apart by where each ends."""
    names.require(attention, "hidden", "segment_ends", "rotary")

    def run(hidden: Tensor, alone: bool) -> Tensor:
        hidden = hidden[0]
        ends = torch.tensor([0, 1] if alone else [0, 1, 2], dtype=torch.int32, device=hidden.device)
        width = hidden.shape[1] // names.part(attention, "heads")
        angles = (hidden.new_ones(len(hidden), width), hidden.new_zeros(len(hidden), width))
        optional: dict[str, Any] = {"longest_segment": 1} if names.takes(attention, "longest_segment") else {}
        return _first(names.call(attention, hidden=hidden, segment_ends=ends, rotary=angles, **optional))[None]

    if implementation != "flash_attention_2":
        _check_heeds(attention, implementation, run)


def _by_mask(language_model: nn.Module, attention: nn.Module, sets: bool) -> Callable[[Tensor, bool], Tensor]:
    """Run one attention module of a decoder. sets: whether positions are (time, row, column)."""
    rotary_embedding = names.part(language_model, "rotary embedding")

    def run(hidden: Tensor, alone: bool) -> Tensor:
        positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
        rotary = rotary_embedding(hidden, positions.expand(3, 1, -1) if sets else positions)
        mask = None
        if not alone:
            mask = hidden.new_zeros(1, 1, 2, 2)
            mask[..., ~torch.eye(2, dtype=torch.bool, device=hidden.device)] = torch.finfo(hidden.dtype).min
        return _first(names.call(attention, hidden=hidden, rotary=rotary, mask=mask, cache=None))

    return run


@torch.no_grad()
def _check_heeds(attention: nn.Module, implementation: str, run: Callable[[Tensor, bool], Tensor]) -> None:
    """Raise ContractError unless the second of two tokens, kept from seeing the first, is as if it were alone.

    run: what attention makes of hidden states (1, n, width), n = 2, where no token may see the other, or n = 1 (alone).
    Past a module in training, whose dropout is drawn anew in every call.
    """
    if attention.training or _proved.get(attention) == implementation:
        return
    weight = next(one for one in attention.parameters() if one.dim() == 2)
    width = weight.shape[1]
    numbers = torch.randn(1, 1, width, generator=torch.Generator().manual_seed(0))
    device = "cpu" if weight.device.type == "meta" else weight.device  # weights that are fetched layer by layer
    second = numbers.to(device=device, dtype=weight.dtype)
    got = run(torch.cat((-second, second), dim=1), False)[0, -1].float()
    want = run(second, True)[0, -1].float()
    tolerance = 64 * torch.finfo(weight.dtype).eps * float(want.abs().max())
    if float((got - want).abs().max()) > tolerance:
        raise ContractError(
            f"{type(attention).__name__} to leave out what its mask or its segments hide",
            "a token that was hidden from another one changed it",
        )
    _proved[attention] = implementation


def _first(output: Any) -> Tensor:
    value: Tensor = output[0] if isinstance(output, tuple) else output
    return value


def check_fired(fired: Mapping[str, int], planned: Mapping[str, int]) -> None:
    """Raise ContractError where a hook fired more or less often than planned."""
    for hook, times in planned.items():
        if fired.get(hook, 0) != times:
            raise ContractError(f"{hook} to run {times} times in this pass", f"it ran {fired.get(hook, 0)} times")


def check_cache(cache: Any, given: Any, used: bool) -> None:
    """Raise ContractError unless the cache that a prompt went into is there to be seen, and is the one given."""
    if used and cache is None:
        raise ContractError(
            f"the language model to return its cache as {names.described('cache')}", "it returned none, and uses one"
        )
    if given is not None and cache is not given:
        raise ContractError(
            f"the {type(given).__name__} that was given to be filled and returned", "another one came back"
        )


def check_lengths(cache: Any, planned: Sequence[int], when: str) -> None:
    """Raise ContractError unless every layer of a cache holds as many tokens as planned."""
    held = names.lengths(cache)
    if held != list(planned):
        raise ContractError(
            f"layers of the {type(cache).__name__} {when} to hold {list(planned)} tokens", f"got {held}"
        )
