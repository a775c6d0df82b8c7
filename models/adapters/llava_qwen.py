"""LLaVA-Video, LLaVA-OneVision and LongVA as first published: pooling, newlines, crop and prompt by their config."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.packing import Packing
from codecmeta.compression.methods.metok import pooled_grid
from codecmeta.compression.plan import Layout
from codecmeta.models.adapters.llava_onevision import LlavaOnevision
from codecmeta.models.llava_qwen import MARK, Selected, pooled
from codecmeta.record.metadata import Stream


class LlavaQwen(LlavaOnevision):
    """Adapter of `LlavaQwenForCausalLM`.

    SigLIP: every frame is stretched to a square. CLIP (LongVA): the middle square of every frame is seen, behind a
    class token, which is a region of its own where patches are merged and is left out before the projector. The
    projected grid is pooled; a newline follows every row, every frame or the video, or there is none. Newlines are in
    no budget and in no count of visual tokens, but in the cache; the one behind a row or a frame goes with the last
    token of it. Positions are one-dimensional.
    """

    spelled: ClassVar[bool] = False
    mark: ClassVar[str] = MARK

    def __init__(self, model: nn.Module) -> None:
        config: Any = model.config
        inner: Any = model.model
        self.find_parts(model)
        self.keep_ids = False
        self.size, self.patch = config.vision_config.image_size, config.vision_config.patch_size
        self.tower, self.projector = inner.vision_tower, inner.multi_modal_projector
        self.selected: Selected = inner.selected
        self.vision = (self.tower, self.projector)
        self.pooling, self.stride = config.video_pooling, config.video_stride
        self.where, self.times = config.video_newline, config.video_times
        own = self.preferences
        self.preferences = {**own, "metok": {"pooling": self.pooling, **own.get("metok", {})}}
        names.check_attention(self.tower, self.language_model)

    def layout(self, pictures: int, stream: Stream | None) -> Layout:
        """Patches that fit into the square, pooled. Average pooling of an odd side leaves its last patches out."""
        side = self.size // self.patch
        grid = pooled_grid((side, side), self.stride, self.pooling)
        view = seen = None
        if stream is not None:
            x, y, width, height = self._square(stream.width, stream.height)
            covered = side * self.patch / self.size
            view = (x, y, x + width * covered, y + height * covered)
            if self.pooling != "bilinear" and side % self.stride:
                part = grid[0] * self.stride / side * covered
                seen = (x, y, x + width * part, y + height * part)
        depth = len(self.layers)
        return Layout(pictures, (side, side), grid, view, newline=self.where, depth=depth, tokens_view=seen)

    def _square(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, top, width and height of the displayed pixels that become the square."""
        if not self.selected.skip:
            return 0.0, 0.0, float(width), float(height)
        short = min(width, height)
        columns, rows = (int(self.size * side / short) for side in (width, height))
        across, down = width / columns, height / rows
        left, top = ((side - self.size) // 2 for side in (columns, rows))
        return left * across, top * down, self.size * across, self.size * down

    def pictures_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """As they come, cut to what tokens are made of."""
        side = self.size // self.patch
        used = side if self.pooling == "bilinear" else side // self.stride * self.stride
        return self._frames(args, kwargs)[..., : used * self.patch, : used * self.patch]

    def pooled(self, square: Tensor) -> Tensor:
        """As the model pools its features: (n, channels, side, side) -> (n, channels, rows, columns)."""
        return pooled(square, self.pooling, self.stride)

    @property
    def even(self) -> bool:
        """The sentence about times says "uniformly sampled"."""
        return self.times

    def beside(self, times: Sequence[float] | None, duration: float | None) -> str:
        """What LLaVA-Video was trained to read behind a video (LLaVA-NeXT's `llava/train/train.py`), word for word:
        also where frames were not taken at even distances; their times are true. Raises ValueError without times."""
        if not self.times:
            return ""
        if times is None or duration is None:
            raise ValueError(
                "this model's prompts say when each picture is shown: pass the pictures' times and the video's "
                "duration, or load it with time_instruction=False"
            )
        each = ",".join(f"{time:.2f}s" for time in times)
        return (
            f"\nThe video lasts for {duration:.2f} seconds, and {len(times)} frames are uniformly sampled from it. "
            f"These frames are located at {each}.Please answer the following questions related to this video."
        )

    def newline(self) -> Tensor | None:
        """The learned newline, where one is used."""
        return super().newline() if self.where else None

    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """As in LLaVA-OneVision; class tokens are taken out of the packed sequence before the projector."""

        def without_class_tokens(module: nn.Module, args: Any, output: Any) -> Any:
            packed = packing()
            if packed is None or not self.selected.skip:
                return None
            headed = packed.headed(1)
            rest = torch.ones(headed.total, dtype=torch.bool, device=args[0].device)
            rest[headed.token.view(headed.frames, -1)[:, 0]] = False
            return args[0][:, rest]

        yield from super().merge_patches(packing, strategy)
        yield self.selected.register_forward_hook(without_class_tokens)

    def packed(self, packing: Packing) -> Packing:
        """The packing of what the encoder's layers take: with class tokens, where there are any."""
        return packing.headed(1) if self.selected.skip else packing
