"""Cutting visual tokens inside the language model, layer by layer, while the prompt passes through.

The layers themselves run as they are: a hook before a layer takes tokens out of what enters it, together with their
rotary angles and the mask; a hook after an attention module recomputes the few rows of attention that a method asks
for. What is gone at layer k is missing in the cache of layer k and all later ones; nothing is renumbered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter
from codecmeta.compression.inside import Inside


def hook_layers(adapter: Adapter, inside: Inside, session: Any) -> Iterator[RemovableHandle]:
    """Hooks that carry out `inside` on the layers; `session.prompt` is the prompt on its way, `session.cached_places`
    (a function of the layer and a device) what a shortened cache holds while new tokens follow."""

    def before(layer: int) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            session.fired[f"layer {layer}"] += 1
            call = names.Call(module, args, kwargs)
            if session.prompt is not None:
                return session.prompt.before(layer, call)
            mask = call.get("mask")
            if mask is None or layer not in attending:
                return None
            places = session.cached_places(layer, mask.shape[-1], mask.device)
            return None if places is None else call.put(mask=mask[..., places]).changed

        return hook

    def after(layer: int) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            session.fired[f"attention of layer {layer}"] += 1
            if session.prompt is not None:
                session.prompt.look(layer, module, dict(names.Call(module, args, kwargs).named()))

        return hook

    attending = adapter.attending
    for number, layer in enumerate(adapter.layers):
        yield layer.register_forward_pre_hook(before(number), with_kwargs=True)
        if number in inside.watch + inside.keys:
            attention: nn.Module = names.part(layer, "attention")
            yield attention.register_forward_hook(after(number), with_kwargs=True)


def planned_runs(layers: int, inside: Inside) -> dict[str, int]:
    """How often the hooks of `hook_layers` fire in one pass of the language model."""
    watched = {f"attention of layer {number}": 1 for number in inside.watch + inside.keys}
    return {f"layer {number}": 1 for number in range(layers)} | watched
