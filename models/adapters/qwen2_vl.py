"""Qwen2-VL and Qwen2.5-VL: pairs of pictures, joined 2x2 patches, and positions that are (time, row, column)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter
from codecmeta.compression.engine.attention import received_attention, rotate
from codecmeta.compression.engine.packing import Packing
from codecmeta.compression.engine.proof import check_segments
from codecmeta.compression.plan import Layout
from codecmeta.record.metadata import Stream


class Qwen2VL(Adapter):
    """Adapter of `Qwen2VLForConditionalGeneration`.

    Two pictures make one temporal position; 2x2 patches, four consecutive rows in the encoder, become one token. That
    window is the unit of merging: a region enters the encoder as one window, the mean of its windows at each of the
    four places, with the rotary angles of its central window. How many windows there are is up to the inputs.

    blocks: of the encoder. last_in_order: what runs last on patches or tokens in a row, where merged ones are scattered
    back. asking: which projections make queries and keys. flat: as what the encoder takes its patches.
    """

    gapless: ClassVar[bool] = False
    asking: ClassVar[tuple[str, ...]] = ("joint projection",)
    flat: ClassVar[str] = "hidden"

    def __init__(self, model: nn.Module) -> None:
        self.find_parts(model)
        config: Any = model.config
        self.keep_ids = True
        inner: Any = model.model
        self.tower = inner.visual
        self.blocks = list(self.tower.blocks)
        self.vision = (self.tower, self.tower.merger)
        self.last_in_order: nn.Module = self.tower.merger
        self.merge = config.vision_config.spatial_merge_size
        self.pictures = config.vision_config.temporal_patch_size
        self.patch = config.vision_config.patch_size
        names.check_attention(self.tower, self.language_model)

    def layout(self, pictures: int, stream: Stream | None) -> Layout | None:
        """Pictures keep their shape, in a size that preprocessing chooses: only the inputs tell."""
        return None

    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """From the grid (time, rows, columns) in patches of the one video in the call."""
        grid = names.Call(self.tower, args, kwargs)["grid"]
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
        return {names.PIXELS: patches, names.GRID: grid}, time * rows * columns // merge**2

    def pictures_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The reverse of `inputs`."""
        call = names.Call(self.tower, args, kwargs)
        grid, patches = call["grid"], call[self.flat]
        (time, rows, columns), merge, patch = grid[0].tolist(), self.merge, self.patch
        parts = patches.view(time, rows // merge, columns // merge, merge, merge, -1, self.pictures, patch, patch)
        pixels = parts.permute(0, 6, 5, 1, 3, 7, 2, 4, 8)
        return pixels.reshape(time * self.pictures, -1, rows * patch, columns * patch)

    def newline(self) -> Tensor | None:
        """There are no separators."""
        return None

    def watch_vision(self, see: Callable[[Tensor], None]) -> Iterator[RemovableHandle]:
        """From the last block, over its own segments; a token gets the mean of its four patches."""
        attention: nn.Module = names.part(self.blocks[-1], "attention")
        names.require(attention, "hidden", "rotary", "segment_ends")
        heads, scale, *asking = (names.part(attention, what) for what in ("heads", "scale", *self.asking))
        grid: list[Layout] = []

        def start(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            grid[:] = [self.layout_of_call(args, kwargs, None)]

        def look(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            call = names.Call(module, args, kwargs)
            cos, sin = (one.float()[None] for one in call["rotary"])
            made = torch.cat([project(call["hidden"]) for project in asking], dim=1)
            queries, keys = made.unflatten(1, (-1, heads, cos.shape[-1])).permute(1, 2, 0, 3)[:2]
            queries, keys = (rotate(one.float()[None], cos, sin)[0] for one in (queries, keys))
            ends = call["segment_ends"].tolist()
            parts = [
                received_attention(queries[:, a:b], keys[:, a:b], scale)
                for a, b in zip(ends[:-1], ends[1:], strict=True)
            ]
            tokens = torch.cat(parts).view(grid[0].frames, -1, self.merge**2).mean(dim=2)
            order = self.patch_order(grid[0])
            see(tokens if order is None else tokens[:, torch.as_tensor(np.argsort(order), device=tokens.device)])

        yield self.tower.register_forward_pre_hook(start, with_kwargs=True)
        yield attention.register_forward_pre_hook(look, with_kwargs=True)

    def windowed(self, block: int) -> bool:
        """Whether a block of the encoder attends in windows smaller than a frame."""
        return False

    def segments(self, packed: Packing, windowed: bool) -> NDArray[np.int64]:
        """int64: how many cells in a row attend to each other."""
        return packed.counts

    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """Merge windows before the first block, tell all blocks the new lengths and angles, scatter back after what
        runs last in this order, be that on patches or on tokens."""
        unit = self.merge**2

        shared: dict[Any, Any] = {}  # what all blocks of one run of the encoder share

        def ends(packed: Packing, windowed: bool, like: Tensor) -> tuple[Tensor, int]:
            if windowed not in shared:
                lengths = self.segments(packed, windowed) * unit
                shared[windowed] = torch.as_tensor(np.append(0, lengths.cumsum())).to(like), int(lengths.max())
            return shared[windowed]

        def before(number: int) -> Any:
            def hook(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
                packed = packing()
                if packed is None:
                    return None
                if getattr(strategy, "proportional", False):
                    raise ValueError("proportional attention is not available in this model's vision encoder")
                call = names.Call(module, args, kwargs)
                if number == 0:
                    windows = call["hidden"].unflatten(0, (packed.frames, packed.patches, unit)).flatten(2)
                    call.put(hidden=packed.merge(windows)[0].unflatten(1, (unit, -1)).flatten(0, 1))
                    shared.clear()
                    shared["angles"] = tuple(_central(packed, one, unit) for one in call["rotary"])
                lengths, longest = ends(packed, self.windowed(number), call["segment_ends"])
                if call.get("longest_segment") is not None:
                    call.put(longest_segment=longest)
                return call.put(segment_ends=lengths, rotary=shared["angles"]).changed

            return hook

        def scatter(module: nn.Module, args: Any, merged: Any) -> Any:
            packed = packing()
            shared.clear()
            if packed is None:
                return None
            windows = merged.unflatten(0, (packed.total, -1))
            return packed.scatter(windows.flatten(1)[None]).unflatten(2, windows.shape[1:]).flatten(0, 2)

        for number, block in enumerate(self.blocks):
            names.require(block, "hidden", "segment_ends", "rotary")
            check_segments(names.part(block, "attention"), names.implementation(self.tower))
            yield block.register_forward_pre_hook(before(number), with_kwargs=True)
        yield self.last_in_order.register_forward_hook(scatter)


class Qwen25VL(Qwen2VL):
    """Adapter of `Qwen2_5_VLForConditionalGeneration`: the same, but its encoder attends in square windows of a frame
    in all blocks but a few, and takes the patches window by window, from patch embedding to merger.

    Regions stay inside these windows (`Layout.window`), so a window has fewer tokens and none has a stranger's; the
    model puts what comes out of the merger back into raster order by itself.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.window = self.tower.window_size // self.merge // self.patch

    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """As in Qwen2-VL, with windows."""
        return replace(super().layout_of_call(args, kwargs, stream), window=self.window)

    def patch_order(self, layout: Layout) -> NDArray[np.int64] | None:
        """Window by window, in raster order of windows and inside each."""
        return np.argsort(self._windows(layout.patches), kind="stable")

    def windowed(self, block: int) -> bool:
        """All blocks but a few."""
        return block not in self.tower.fullatt_block_indexes

    def segments(self, packed: Packing, windowed: bool) -> NDArray[np.int64]:
        """Whole frames, or the windows in each. Raises ValueError where a region crosses their borders."""
        if not windowed:
            return packed.counts
        inside = self._windows(packed.grid)[packed.order]
        window = (np.arange(packed.frames)[:, None] * (inside.max() + 1) + inside).ravel()
        token = packed.token.cpu().numpy()
        home = np.full(packed.total, -1)
        home[token] = window
        if (home[token] != window).any():
            raise ValueError(f"merged regions cross the encoder's windows of {self.window}x{self.window} tokens")
        return np.unique(home, return_counts=True)[1]

    def _windows(self, grid: tuple[int, int]) -> NDArray[np.int64]:
        """int64 (cells,): the window of each cell of a frame, in raster order."""
        row, column = np.indices(grid) // self.window
        return (row * -(-grid[1] // self.window) + column).ravel()


def _central(packed: Packing, angles: Tensor, unit: int) -> Tensor:
    """Angles of each region's central window: (patches of all frames, width) -> (tokens, width)."""
    windows = angles.unflatten(0, (packed.frames, packed.patches, unit))
    frame = torch.repeat_interleave(
        torch.arange(packed.frames, device=angles.device), torch.as_tensor(packed.counts, device=angles.device)
    )
    return windows[frame, packed.central_patch].flatten(0, 1)
