"""LLaVA-OneVision (SigLIP tower, Qwen2 language model): where its parts are and how a video becomes its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter
from codecmeta.compression.engine.attention import received_attention
from codecmeta.compression.engine.packing import Packing, merge_embeddings, refuse_merging
from codecmeta.compression.engine.proof import check_patch_attention
from codecmeta.compression.plan import Layout
from codecmeta.record.metadata import Stream


class LlavaOnevision(Adapter):
    """Adapter of `LlavaOnevisionForConditionalGeneration`.

    Every frame is resized to a square and cut into patches; the projected patch grid is halved by bilinear pooling;
    one newline token follows the last frame. Positions are one-dimensional.
    """

    def __init__(self, model: nn.Module) -> None:
        config: Any = model.config
        vision = config.vision_config
        if vision.model_type != "siglip_vision_model" or config.vision_feature_select_strategy != "full":
            raise ValueError(
                f"LLaVA-OneVision with a {vision.model_type} tower and feature selection "
                f"{config.vision_feature_select_strategy!r} is not supported; expected siglip_vision_model, 'full'"
            )
        self.find_parts(model)
        self.keep_ids = False
        self.size, self.patch = vision.image_size, vision.patch_size
        inner: Any = model.model
        tower = inner.vision_tower
        self.tower = getattr(tower, "vision_model", tower)
        self.projector = inner.multi_modal_projector
        self.vision = (tower, self.projector)
        names.check_attention(self.tower, self.language_model)

    def layout(self, pictures: int, stream: Stream | None) -> Layout:
        """Patches that fit into the square, halved and rounded up; pixels that no patch covers are cut off."""
        side = self.size // self.patch
        covered = side * self.patch / self.size
        view = None if stream is None else (0.0, 0.0, stream.width * covered, stream.height * covered)
        half = -(-side // 2)
        return Layout(pictures, (side, side), (half, half), view, newline="video", depth=len(self.layers))

    def pooled(self, square: Tensor) -> Tensor:
        """As the model pools its features: (n, channels, side, side) -> (n, channels, rows, columns)."""
        half = -(-square.shape[-1] // 2)
        return interpolate(square, size=(half, half), mode="bilinear")

    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """Frames arrive as (pictures, 3, height, width)."""
        return self.layout(len(self._frames(args, kwargs)), stream)

    def packed(self, packing: Packing) -> Packing:
        """The packing of what the encoder's layers take."""
        return packing

    def pictures_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """As they come, cut to whole patches."""
        covered = self.size // self.patch * self.patch
        return self._frames(args, kwargs)[..., :covered, :covered]

    def _frames(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        frames: Tensor = names.Call(self.vision[0], args, kwargs)["pictures"]
        return frames

    def inputs(self, pixels: Tensor) -> tuple[dict[str, Tensor], int]:
        """All frames as they are."""
        layout = self.layout(len(pixels), None)
        return {names.PIXELS: pixels[None]}, layout.tokens_full + layout.separators

    def newline(self) -> Tensor | None:
        """The learned newline."""
        newline: Any = self.inner.image_newline
        return newline.detach()

    def watch_vision(self, see: Callable[[Tensor], None]) -> Iterator[RemovableHandle]:
        """From the layer whose output goes to the projector; pooled like the features, bilinearly."""
        layers: Any = self.tower.encoder.layers
        config: Any = self.inner.config
        layer = config.vision_feature_layer
        attention = names.part(layers[layer if layer < 0 else layer - 1], "attention")
        names.require(attention, "hidden")
        projections = names.part(attention, "query projection"), names.part(attention, "key projection")
        heads, scale = names.part(attention, "heads"), names.part(attention, "scale")

        def look(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            hidden = names.Call(module, args, kwargs)["hidden"]
            queries, keys = (project(hidden).unflatten(-1, (heads, -1)).transpose(1, 2) for project in projections)
            received = torch.stack([received_attention(q, k, scale) for q, k in zip(queries, keys, strict=True)])
            side = self.size // self.patch
            see(self.pooled(received[:, -(side**2) :].view(-1, 1, side, side)).flatten(1))

        yield attention.register_forward_pre_hook(look, with_kwargs=True)

    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """Merge after the embeddings, set frames apart inside every attention, scatter back after the projector."""
        implementation = names.implementation(self.tower)
        if implementation == "flash_attention_2":
            yield refuse_merging(self.tower.embeddings, packing)
            return
        positions = self.tower.embeddings.position_embedding.weight

        def merge(module: nn.Module, args: Any, embedded: Any) -> Any:
            packed = packing()
            return None if packed is None else merge_embeddings(self.packed(packed), embedded, positions, strategy.pos)

        def set_apart(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            packed = packing()
            if packed is None:
                return None
            call = names.Call(module, args, kwargs)
            hidden, packed = call["hidden"], self.packed(packed)
            return call.put(hidden=packed.pad(hidden), mask=packed.bias(hidden.dtype, strategy.proportional)).changed

        def join(module: nn.Module, args: Any, output: Any) -> Any:
            packed = packing()
            return None if packed is None else (self.packed(packed).unpad(output[0]), *output[1:])

        def scatter(module: nn.Module, args: Any, projected: Any) -> Any:
            packed = packing()
            return None if packed is None else packed.scatter(projected)

        yield self.tower.embeddings.register_forward_hook(merge)
        for layer in self.tower.encoder.layers:
            attention = names.part(layer, "attention")
            check_patch_attention(attention, implementation)
            yield attention.register_forward_pre_hook(set_apart, with_kwargs=True)
            yield attention.register_forward_hook(join)
        yield self.projector.register_forward_hook(scatter)
