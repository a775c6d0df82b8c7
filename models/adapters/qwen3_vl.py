"""Qwen3-VL: a time before every temporal position, and features that enter again behind the first layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.engine.adapter import said
from codecmeta.compression.engine.packing import Packing
from codecmeta.models.adapters.qwen2_vl import Qwen2VL


class Qwen3VL(Qwen2VL):
    """Adapter of `Qwen3VLForConditionalGeneration`.

    As Qwen2-VL in its encoder and in what a token is. In the prompt every temporal position stands alone, with its time
    in words before it and markers around it; these stay where a position loses its tokens. What some blocks of the
    encoder give is projected by mergers of their own and added to the visual tokens behind the first layers of the
    language model (deepstack): a token that is left takes the rows of its own place there, also where it was merged
    from several. Nothing can be taken out inside these layers.
    """

    one_piece: ClassVar[bool] = False
    deepstack: ClassVar[bool] = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        config: Any = model.config
        self.again: list[nn.Module] = list(self.tower.deepstack_merger_list) if self.deepstack else []
        self.first_cut = max(1, len(self.again))
        self.markers = (config.vision_start_token_id, config.vision_end_token_id)

    def pixel_limits(self, fewest: float, most: float, pictures: int) -> tuple[float, float]:
        """The published ones are those of all pictures together."""
        return fewest / pictures, most / pictures

    def placeholders(
        self, count: int, times: Sequence[float] | None, token: Callable[[int], str], duration: float | None = None
    ) -> str:
        """For each temporal position its time, the mean of its pictures', and its placeholders between markers, as
        transformers' processor writes them. Raises ValueError without times."""
        times = said(times)
        positions = len(times) // self.pictures
        pairs = [times[i * self.pictures : (i + 1) * self.pictures] for i in range(positions)]
        start, end = (token(marker) for marker in self.markers)
        each = token(self.video_token) * (count // positions)
        return "".join(f"<{sum(pair) / len(pair):.1f} seconds>{start}{each}{end}" for pair in pairs)

    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """As in Qwen2-VL; every merger gets fewer tokens, and what it gives is scattered back."""

        def scatter(module: nn.Module, args: Any, merged: Tensor) -> Any:
            packed = packing()
            return None if packed is None else packed.scatter(merged[None]).flatten(0, 1)

        for merger in self.again:
            yield merger.register_forward_hook(scatter)
        yield from super().merge_patches(packing, strategy)
