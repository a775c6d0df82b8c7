"""VideoLLaMA3: a rotary SigLIP encoder, a Qwen2 language model, and a time before every picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import said
from codecmeta.compression.plan import Layout
from codecmeta.models.adapters.qwen2_vl import Qwen2VL
from codecmeta.record.metadata import Stream


class VideoLlama3(Qwen2VL):
    """Adapter of `VideoLlama3ForConditionalGeneration`.

    As Qwen2-VL in what a token is: the mean of 2x2 patches, consecutive rows in the encoder. Every picture stands alone
    in the prompt, behind its time, which stays where it loses all tokens. Positions are one-dimensional.

    The model's processor takes tokens out by itself unless it is told not to (`use_token_compression`): those whose
    pixels hardly differ from the picture before. That is a method of its own, so here it is off: the plain model sees
    all tokens, and a prompt that was compressed already is refused. `rlt` with tau=0.1/255 takes out the same, but for
    one token of a picture in which nothing moved.
    """

    gapless: ClassVar[bool] = True
    one_piece: ClassVar[bool] = False
    asking: ClassVar[tuple[str, ...]] = ("query projection", "key projection")
    flat: ClassVar[str] = "pictures"

    def __init__(self, model: nn.Module) -> None:
        self.find_parts(model)
        config: Any = model.config
        inner: Any = model.model
        self.keep_ids = False
        self.tower = inner.vision_model
        self.blocks = list(self.tower.encoder.layers)
        self.vision = (self.tower, inner.projector)
        self.last_in_order = self.tower.post_layernorm
        self.merge, self.pictures = 2, 1
        self.patch = config.vision_config.patch_size
        names.check_attention(self.tower, self.language_model)

    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """From the grid, as in Qwen2-VL. Raises ValueError where the processor joins other than 2x2 patches."""
        merge = names.Call(self.tower, args, kwargs).get("merge")
        if merge is not None and merge.tolist() != [self.merge]:
            raise ValueError(f"the processor joins {merge.tolist()} patches along a side of a token, expected [2]")
        return super().layout_of_call(args, kwargs, stream)

    def refusal(self, call: names.Call) -> str:
        """For a video that the processor has compressed."""
        kept = call.get("compression")
        if kept is None or bool(kept.all()):
            return ""
        return (
            f"VideoLLaMA3's processor has taken {int((~kept).sum())} of {len(kept)} tokens out of the video by itself: "
            "pass it use_token_compression=False (method rlt with tau=0.1/255 takes out the same)"
        )

    def inputs(self, pixels: Tensor) -> tuple[dict[str, Tensor], int]:
        """As for Qwen2-VL, and how many patches are joined."""
        made, count = super().inputs(pixels)
        return {**made, names.MERGE: torch.tensor([self.merge])}, count

    def pixel_limits(self, fewest: float, most: float, pictures: int) -> tuple[float, float]:
        """The most is published for all pictures together."""
        return fewest, most // pictures

    def placeholders(
        self, count: int, times: Sequence[float] | None, token: Callable[[int], str], duration: float | None = None
    ) -> str:
        """For each picture its time and its placeholders, between commas, as transformers' processor writes them.
        Raises ValueError without times."""
        times = said(times)
        each = token(self.video_token) * (count // len(times))
        return ",".join(f"Time {time:.1f}s:{each}" for time in times)
