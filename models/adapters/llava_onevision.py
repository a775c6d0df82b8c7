"""LLaVA-OneVision (SigLIP tower, Qwen2 language model): where its parts are and how a video becomes its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.engine.adapter import ATTENTION, Adapter
from codecmeta.compression.engine.packing import Packing, merge_embeddings
from codecmeta.compression.engine.vision_attention import received_attention
from codecmeta.compression.strategy import Layout
from codecmeta.record.metadata import Stream


class LlavaOnevision(Adapter):
    """Adapter of `LlavaOnevisionForConditionalGeneration`.

    Every frame is resized to a square and cut into patches; the projected patch grid is halved by bilinear pooling;
    one newline token follows the last frame. Positions are one-dimensional.
    """

    separators: ClassVar[int] = 1

    def __init__(self, model: nn.Module) -> None:
        config: Any = model.config
        vision = config.vision_config
        if vision.model_type != "siglip_vision_model" or config.vision_feature_select_strategy != "full":
            raise ValueError(
                f"LLaVA-OneVision with a {vision.model_type} tower and feature selection "
                f"{config.vision_feature_select_strategy!r} is not supported; expected siglip_vision_model, 'full'"
            )
        inner: Any = model.model
        self.inner = inner
        self.language_model = inner.language_model
        self.layers = list(inner.language_model.layers)
        self.video_token = config.video_token_id
        self.image_token = config.image_token_id
        self.keep_ids = False
        self.preferences = getattr(config, "codecmeta", None) or {}
        self.size, self.patch = vision.image_size, vision.patch_size
        tower = inner.vision_tower
        self.tower = getattr(tower, "vision_model", tower)
        self.projector = inner.multi_modal_projector
        self.vision = (tower, self.projector)
        part: Any
        for part in (self.tower, self.language_model):
            if part.config._attn_implementation not in ATTENTION:
                raise ValueError(
                    f"attention implementation {part.config._attn_implementation!r} is not supported; "
                    f"load the model with attn_implementation='sdpa' (or one of {', '.join(ATTENTION)})"
                )

    def layout(self, pictures: int, stream: Stream | None) -> Layout:
        """Patches that fit into the square, halved and rounded up; pixels that no patch covers are cut off."""
        side = self.size // self.patch
        covered = side * self.patch / self.size
        view = None if stream is None else (0.0, 0.0, stream.width * covered, stream.height * covered)
        half = -(-side // 2)
        return Layout(pictures, (side, side), (half, half), view, newline=True, depth=len(self.layers))

    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """Frames arrive as (pictures, 3, height, width)."""
        return self.layout(len(args[0] if args else kwargs["pixel_values"]), stream)

    def pictures_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """As they come, cut to whole patches."""
        covered = self.size // self.patch * self.patch
        return (args[0] if args else kwargs["pixel_values"])[..., :covered, :covered]

    def inputs(self, pixels: Tensor) -> tuple[dict[str, Tensor], int]:
        """All frames as they are."""
        layout = self.layout(len(pixels), None)
        return {"pixel_values_videos": pixels[None]}, layout.tokens_full + self.separators

    def newline(self) -> Tensor | None:
        """The learned newline."""
        newline: Any = self.inner.image_newline
        return newline.detach()

    def watch_vision(self, see: Callable[[Tensor], None]) -> Iterator[RemovableHandle]:
        """From the layer whose output goes to the projector; pooled like the features, bilinearly."""
        layers: Any = self.tower.encoder.layers
        config: Any = self.inner.config
        layer = config.vision_feature_layer
        attention = layers[layer if layer < 0 else layer - 1].self_attn

        def look(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            queries, keys = (
                project(hidden).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj)
            )
            received = torch.stack(
                [received_attention(q, k, attention.scale) for q, k in zip(queries, keys, strict=True)]
            )
            side = self.size // self.patch
            square = received.view(-1, 1, side, side)
            see(interpolate(square, size=(-(-side // 2),) * 2, mode="bilinear").flatten(1))

        yield attention.register_forward_pre_hook(look, with_kwargs=True)

    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """Merge after the embeddings, set frames apart inside every attention, scatter back after the projector."""
        implementation = self.tower.config._attn_implementation
        if implementation == "flash_attention_2":
            raise ValueError("RPM needs the vision tower on 'sdpa' or 'eager' attention; it is on 'flash_attention_2'")
        positions = self.tower.embeddings.position_embedding.weight

        def merge(module: nn.Module, args: Any, embedded: Any) -> Any:
            packed = packing()
            return None if packed is None else merge_embeddings(packed, embedded, positions, strategy.pos)

        def set_apart(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            packed = packing()
            if packed is None:
                return None
            names = ("hidden_states", "attention_mask")
            kwargs = {**kwargs, **dict(zip(names, args, strict=False))}
            hidden = kwargs["hidden_states"]
            mask = packed.attention_mask(hidden.dtype, strategy.proportional)
            return (), {**kwargs, "hidden_states": packed.pad(hidden), "attention_mask": mask}

        def join(module: nn.Module, args: Any, output: Any) -> Any:
            packed = packing()
            return None if packed is None else (packed.unpad(output[0]), *output[1:])

        def scatter(module: nn.Module, args: Any, projected: Any) -> Any:
            packed = packing()
            return None if packed is None else packed.scatter(projected)

        yield self.tower.embeddings.register_forward_hook(merge)
        for layer in self.tower.encoder.layers:
            yield layer.self_attn.register_forward_pre_hook(set_apart, with_kwargs=True)
            yield layer.self_attn.register_forward_hook(join)
        yield self.projector.register_forward_hook(scatter)
