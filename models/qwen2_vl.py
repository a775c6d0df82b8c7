"""Qwen2-VL and Qwen2.5-VL: pairs of pictures, joined 2x2 patches, and positions that are (time, row, column)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.adapter import ATTENTION, Adapter
from codecmeta.compression.base import Layout
from codecmeta.compression.rpm import Packing
from codecmeta.metadata import Stream


class Qwen2VL(Adapter):
    """Adapter of `Qwen2VLForConditionalGeneration`.

    Two pictures make one temporal position; 2x2 patches, four consecutive rows in the encoder, become one token. That
    window is the unit of merging: a region enters the encoder as one window, the mean of its windows at each of the
    four places, with the rotary angles of its central window. How many windows there are is up to the inputs.
    """

    gapless: ClassVar[bool] = False

    def __init__(self, model: nn.Module) -> None:
        config: Any = model.config
        inner: Any = model.model
        self.inner = inner
        self.language_model = inner.language_model
        self.layers = list(inner.language_model.layers)
        self.video_token = config.video_token_id
        self.image_token = config.image_token_id
        self.keep_ids = True
        self.preferences = getattr(config, "codecmeta", None) or {}
        self.tower = inner.visual
        self.vision = (self.tower, self.tower.merger)
        self.merge = config.vision_config.spatial_merge_size
        self.pictures = config.vision_config.temporal_patch_size
        self.patch = config.vision_config.patch_size
        part: Any
        for part in (self.tower, self.language_model):
            if part.config._attn_implementation not in ATTENTION:
                raise ValueError(
                    f"attention implementation {part.config._attn_implementation!r} is not supported; "
                    f"load the model with attn_implementation='sdpa' (or one of {', '.join(ATTENTION)})"
                )

    def layout(self, pictures: int, stream: Stream | None) -> Layout | None:
        """Pictures keep their shape, in a size that preprocessing chooses: only the inputs tell."""
        return None

    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """From the grid (time, rows, columns) in patches of the one video in the call."""
        grid = kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]
        if len(grid) != 1:
            raise ValueError(f"the inputs hold {len(grid)} videos or images; only one video per prompt is supported")
        time, rows, columns = grid[0].tolist()
        cells = (rows // self.merge, columns // self.merge)
        view = None if stream is None else (0.0, 0.0, float(stream.width), float(stream.height))
        return Layout(time, cells, cells, view, self.pictures, self.merge**2, depth=len(self.layers))

    def inputs(self, pixels: Tensor) -> tuple[dict[str, Tensor], int]:
        """Flat patches of pairs of pictures, those of a 2x2 window in a row, and the grid they came from."""
        pictures, channels, height, width = pixels.shape
        rows, columns, merge = height // self.patch, width // self.patch, self.merge
        time = pictures // self.pictures
        parts = (time, self.pictures, channels, rows // merge, merge, self.patch, columns // merge, merge, self.patch)
        patches = pixels.reshape(parts).permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(time * rows * columns, -1)
        grid = torch.tensor([[time, rows, columns]])
        return {"pixel_values_videos": patches, "video_grid_thw": grid}, time * rows * columns // merge**2

    def newline(self) -> Tensor | None:
        """There are no separators."""
        return None

    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """Merge windows before the first block, tell all blocks the new lengths and angles, scatter back after the
        merger."""
        unit = self.merge**2

        def before(first: bool) -> Any:
            def hook(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
                packed = packing()
                if packed is None:
                    return None
                if getattr(strategy, "proportional", False):
                    raise ValueError("proportional attention is not available in this model's vision encoder")
                hidden, kwargs = (args[0], kwargs) if args else (kwargs["hidden_states"], dict(kwargs))
                if first:
                    windows = hidden.unflatten(0, (packed.frames, packed.patches, unit)).flatten(2)
                    hidden = packed.merge(windows)[0].unflatten(1, (unit, -1)).flatten(0, 1)
                lengths = torch.as_tensor(packed.counts * unit, device=hidden.device)
                ends = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(kwargs["cu_seqlens"].dtype)
                angles = tuple(_central(packed, one, unit) for one in kwargs["position_embeddings"])
                kwargs = {**kwargs, "cu_seqlens": ends, "position_embeddings": angles}
                if kwargs.get("max_seqlen") is not None:
                    kwargs["max_seqlen"] = int(packed.longest * unit)
                return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

            return hook

        def scatter(module: nn.Module, args: Any, merged: Any) -> Any:
            packed = packing()
            return None if packed is None else packed.scatter(merged[None]).flatten(0, 1)

        for number, block in enumerate(self.tower.blocks):
            yield block.register_forward_pre_hook(before(number == 0), with_kwargs=True)
        yield self.tower.merger.register_forward_hook(scatter)


class Qwen25VL(Qwen2VL):
    """Adapter of `Qwen2_5_VLForConditionalGeneration`: the same, but its encoder attends in windows of its own.

    Merged regions would cut across these windows, so patches are not merged here.
    """

    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """Refuse RPM."""
        if getattr(strategy, "rpm", False):
            raise ValueError("Qwen2.5-VL's encoder attends in windows that RPM's regions would cross; set rpm=False")
        return iter(())


def _central(packed: Packing, angles: Tensor, unit: int) -> Tensor:
    """Angles of each region's central window: (patches of all frames, width) -> (tokens, width)."""
    windows = angles.unflatten(0, (packed.frames, packed.patches, unit))
    frame = torch.repeat_interleave(
        torch.arange(packed.frames, device=angles.device), torch.as_tensor(packed.counts, device=angles.device)
    )
    return windows[frame, packed.central_patch].flatten(0, 1)
